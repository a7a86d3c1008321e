package app

import (
	"os"
	"time"

	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/orchestrate"
)

// balancer lets the orchestrator tell the gateway of its replicas.
type balancer struct {
	*gateway.Gateway
	zone string // of this machine
}

func (b balancer) Add(service, id, address string) {
	b.Gateway.Add(service, gateway.Backend{ID: id, Address: address, Zone: b.zone})
}

var _ orchestrate.Balancer = balancer{}

// sample joins the counters of all parts.
func (a *App) sample() observe.Sample {
	s := observe.Sample{At: time.Now(), Since: a.since}
	a.addCalls(&s)
	a.addReplicas(&s)
	a.addBackends(&s)
	if t := a.tables.Load(); t != nil {
		a.tableHistory.add(t.Sums(s.At))
	}
	var err error
	if s.Machine, err = observe.ReadMachine(); err != nil {
		a.cfg.Log.Debug("reading the machine's counters", "error", err)
	}
	self, err := observe.ProcSelf()
	self.Waited = orchestrate.Waited(os.Getpid())
	if err != nil {
		a.cfg.Log.Debug("reading this process's counters", "error", err)
	}
	s.Processes = append(s.Processes, self)
	return s
}

// addCalls takes over what the gateway has counted.
func (a *App) addCalls(s *observe.Sample) {
	g := a.gateway.Stats()
	// Calls from outside are edges too, from nowhere to the service that answers them.
	outside := map[string]*observe.CallCounters{}
	for _, r := range g.Routes {
		c := counters(r.Traffic)
		c.Route = r.Route
		s.Routes = append(s.Routes, c)
		edge := outside[r.Service]
		if edge == nil {
			edge = &observe.CallCounters{To: r.Service, ByCode: map[int]int64{}}
			outside[r.Service] = edge
		}
		addCounters(edge, c)
		if c.Requests > 0 {
			s.Attributed = append(s.Attributed, observe.AttributedCounters{
				Route: r.Route, From: observe.Outside, To: r.Service, Count: c.Requests, Sum: time.Duration(c.Latency.Sum()),
			})
		}
	}
	for _, edge := range outside {
		s.Edges = append(s.Edges, *edge)
	}
	for _, e := range g.Edges {
		c := counters(e.Traffic)
		c.From, c.To = e.From, e.To
		s.Edges = append(s.Edges, c)
	}
	for _, c := range g.Calls {
		s.Attributed = append(s.Attributed, observe.AttributedCounters{Route: c.Route, From: c.From, To: c.To, Count: c.Count, Sum: c.Sum})
	}
	for _, d := range g.Services {
		if d.Bound > 0 {
			s.Bounds = append(s.Bounds, observe.BoundState{Service: d.Service, Limit: d.Bound})
		}
	}
	for _, b := range g.Backends {
		s.Backends = append(s.Backends, observe.BackendState{
			Service: b.Service, Replica: b.ID, Address: b.Address, Breaker: observe.Breaker(b.Breaker), Healthy: b.Ready,
			Draining: b.Draining, InFlight: b.InFlight, Requests: b.Requests, Errors: b.Failures, Latency: b.Latency,
		})
	}
}

// noRoom is the kind of the gateway's error where a service has as many requests as it may have.
const noRoom = "connection_limit_reached"

func counters(t gateway.Traffic) observe.CallCounters {
	c := observe.CallCounters{Requests: t.Requests, Refused: t.Errors[noRoom], ByCode: t.Codes, InFlight: t.InFlight, Latency: t.Latency}
	for code, n := range t.Codes {
		if code >= 500 || code == 0 {
			c.Errors += n
		}
	}
	return c
}

func addCounters(to *observe.CallCounters, c observe.CallCounters) {
	to.Requests += c.Requests
	to.Errors += c.Errors
	to.Refused += c.Refused
	to.InFlight += c.InFlight
	for code, n := range c.ByCode {
		to.ByCode[code] += n
	}
	if to.Latency == nil {
		to.Latency = c.Latency.Clone()
		return
	}
	if err := to.Latency.Merge(c.Latency); err != nil {
		panic("the gateway's histograms differ in precision: " + err.Error())
	}
}

// addReplicas takes over what the orchestrator knows.
func (a *App) addReplicas(s *observe.Sample) {
	for _, u := range a.orch.Usage() {
		s.Processes = append(s.Processes, observe.ProcessCounters{
			Service: u.Service, Replica: u.Replica, CPU: u.CPU, Throttled: u.Throttled, Waited: u.Waited, Memory: int64(u.Memory),
		})
	}
	for _, svc := range a.orch.Status() {
		state := observe.ServiceState{Service: svc.Service, Wanted: svc.Desired, Ready: svc.Ready, Message: svc.ReplaceError}
		for _, r := range svc.Replicas {
			if state.Message == "" && r.CrashLooping {
				state.Message = "crash-looping: " + r.LastExit
			} else if state.Message == "" && r.Why != "" {
				state.Message = r.ID + ": " + r.Why
			}
			state.Replicas = append(state.Replicas, observe.ReplicaState{
				Replica: r.ID, State: r.State, Restarts: int64(r.Restarts), CPULimit: float64(svc.CPU),
				MemoryLimit: int64(svc.Memory), LimitsAdvisory: svc.LimitsAdvisory != "",
			})
		}
		s.Services = append(s.Services, state)
	}
}

// addBackends adds the services that run elsewhere, whose processes nobody here sees.
func (a *App) addBackends(s *observe.Sample) {
	sys := a.system.Load()
	for _, name := range sys.SortedServices() {
		if !sys.Services[name].External() {
			continue
		}
		state := observe.ServiceState{Service: name, Wanted: len(sys.Services[name].Backends)}
		for _, b := range s.Backends {
			if b.Service != name {
				continue
			}
			r := observe.ReplicaState{Replica: b.Replica, State: "unready"}
			if b.Healthy && !b.Draining {
				r.State = "ready"
				state.Ready++
			}
			state.Replicas = append(state.Replicas, r)
		}
		s.Services = append(s.Services, state)
	}
}

// pulse reads the two counters that say what requests cost.
func (a *App) pulse() observe.Pulse {
	p := observe.Pulse{Requests: a.gateway.Requests(), CPU: a.orch.CPU()}
	if self, err := observe.ProcSelf(); err == nil {
		p.CPU += self.CPU
	}
	p.At = time.Now()
	return p
}
