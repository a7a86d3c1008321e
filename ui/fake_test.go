package ui

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/orchestrate"
	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

// fakeSystem is a system whose traffic is made up, seen through a real observer.
type fakeSystem struct {
	sys      *topology.System
	observer *observe.Observer
	start    time.Time

	mu     sync.Mutex
	now    time.Time
	calls  map[[3]string]*observe.CallCounters // route, from, to
	cpu    map[string]time.Duration
	scaled map[string]int
	events []orchestrate.Event
	stored int64
	broken string // a service whose calls fail and whose replica is gone
	rng    *rand.Rand
}

var _ System = (*fakeSystem)(nil)

// newFake returns a system that has run for so long, until now.
func newFake(t testing.TB, sys *topology.System, ran time.Duration, now time.Time) *fakeSystem {
	t.Helper()
	o, err := observe.New(observe.Config{System: sys.Name, Sample: func() observe.Sample { return observe.Sample{} }})
	if err != nil {
		t.Fatal(err)
	}
	start := now.Add(-ran).Truncate(time.Second)
	f := &fakeSystem{sys: sys, observer: o, start: start, now: start, calls: map[[3]string]*observe.CallCounters{}, cpu: map[string]time.Duration{},
		scaled: map[string]int{}, rng: rand.New(rand.NewPCG(1, 2))}
	for _, name := range sys.SortedServices() {
		if !sys.Services[name].External() {
			f.events = append(f.events, orchestrate.Event{Time: start, Service: name, Replica: name + "-0", What: "started", Why: "process 1 at 127.0.0.1:1"},
				orchestrate.Event{Time: start.Add(time.Second), Service: name, Replica: name + "-0", What: "ready"})
		}
	}
	for !f.now.After(now) {
		f.tick()
	}
	return f
}

func shopSystem(t testing.TB) *topology.System {
	t.Helper()
	sys, err := topology.Load("testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return sys
}

// tick lets a second pass.
func (f *fakeSystem) tick() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, r := range f.sys.Routes {
		n := 40 + 30*(i%3) + f.rng.IntN(10)
		f.serve([3]string{r.Name, "", ""}, n, 12*time.Millisecond)
		f.serve([3]string{"", observe.Outside, r.To}, n, 12*time.Millisecond)
	}
	for _, e := range f.sys.Edges() {
		f.serve([3]string{"", e.Caller, e.Callee}, 20+f.rng.IntN(10), 4*time.Millisecond)
	}
	f.stored += 5
	s := observe.Sample{At: f.now, Since: f.start, Machine: observe.MachineCounters{Cores: 4, Busy: time.Duration(f.now.Sub(f.start)), MemoryUsed: 1 << 30, MemoryTotal: 8 << 30}}
	for k, c := range f.calls {
		v := *c
		v.Latency = c.Latency.Clone()
		if k[0] != "" {
			s.Routes = append(s.Routes, v)
		} else {
			s.Edges = append(s.Edges, v)
		}
	}
	for _, name := range f.sys.SortedServices() {
		f.replicas(&s, name)
	}
	f.cpu["gateway"] += 60 * time.Millisecond
	s.Processes = append(s.Processes, observe.ProcessCounters{Service: observe.Gateway, Replica: observe.Gateway, CPU: f.cpu["gateway"], Memory: 60 << 20})
	f.observer.Observe(s)
	f.now = f.now.Add(time.Second)
}

func (f *fakeSystem) serve(k [3]string, n int, typical time.Duration) {
	c := f.calls[k]
	if c == nil {
		c = &observe.CallCounters{Route: k[0], From: k[1], To: k[2], ByCode: map[int]int64{}, Latency: stats.NewHistogram(observe.Digits)}
		f.calls[k] = c
	}
	for range n {
		c.Latency.RecordDuration(time.Duration((0.5 + f.rng.ExpFloat64()) * float64(typical)))
	}
	c.Requests += int64(n)
	c.ByCode[200] += int64(n)
	if f.broken != "" && k[2] == f.broken {
		c.Errors += int64(n / 4)
	}
}

func (f *fakeSystem) replicas(s *observe.Sample, name string) {
	svc := f.sys.Services[name]
	if svc.External() {
		for _, b := range svc.Backends {
			s.Backends = append(s.Backends, observe.BackendState{Service: name, Replica: b.Address, Address: b.Address, Breaker: observe.BreakerClosed, Healthy: true, Requests: 1, Latency: stats.NewHistogram(observe.Digits)})
		}
		return
	}
	st := observe.ServiceState{Service: name, Wanted: f.wanted(name)}
	for i := range st.Wanted {
		id := fmt.Sprintf("%s-%d", name, i)
		state, breaker := observe.StateReady, observe.BreakerClosed
		if f.broken == name && i == 0 {
			state, breaker, st.Message = "waiting", observe.BreakerOpen, "crash-looping: exit status 1"
		} else {
			st.Ready++
		}
		st.Replicas = append(st.Replicas, observe.ReplicaState{Replica: id, State: state, CPULimit: float64(svc.Limits.CPU)})
		f.cpu[id] += time.Duration(80+f.rng.IntN(40)) * time.Millisecond
		s.Backends = append(s.Backends, observe.BackendState{Service: name, Replica: id, Address: "127.0.0.1:1", Breaker: breaker, Healthy: state == observe.StateReady, Latency: stats.NewHistogram(observe.Digits)})
		s.Processes = append(s.Processes, observe.ProcessCounters{Service: name, Replica: id, CPU: f.cpu[id], Memory: 20 << 20})
	}
	s.Services = append(s.Services, st)
}

// wanted is how many replicas a service has been given; f.mu is held.
func (f *fakeSystem) wanted(name string) int {
	if n, ok := f.scaled[name]; ok {
		return n
	}
	return f.sys.Services[name].Replicas.Min
}

func (f *fakeSystem) State() string                      { return "serving" }
func (f *fakeSystem) Topology() *topology.System         { return f.sys }
func (f *fakeSystem) Planned() (*topology.System, error) { return f.sys, nil }
func (f *fakeSystem) Present(w time.Duration) (observe.Status, error) {
	return f.observer.Present(w)
}
func (f *fakeSystem) Window(from, to time.Time) (*observe.Window, error) {
	return f.observer.Window(from, to)
}

func (f *fakeSystem) Replicas() (all []orchestrate.ServiceStatus) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range f.sys.SortedServices() {
		svc := f.sys.Services[name]
		if svc.External() {
			continue
		}
		n := f.wanted(name)
		s := orchestrate.ServiceStatus{Service: name, Desired: n, Ready: n, CPU: svc.Limits.CPU, Memory: svc.Limits.Memory, Settled: true}
		for i := range n {
			s.Replicas = append(s.Replicas, orchestrate.ReplicaStatus{ID: fmt.Sprintf("%s-%d", name, i), State: "ready", PID: 100 + i})
		}
		all = append(all, s)
	}
	return all
}

func (f *fakeSystem) Events() []orchestrate.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]orchestrate.Event(nil), f.events...)
}

func (f *fakeSystem) happen(e orchestrate.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, e)
}

func (f *fakeSystem) ScaledServices() (all []string) {
	for _, name := range f.sys.SortedServices() {
		if f.sys.Services[name].Scale != nil {
			all = append(all, name)
		}
	}
	return all
}

func (f *fakeSystem) ScaleDecisions(service string) ([]autoscale.Decision, bool) {
	if svc := f.sys.Services[service]; svc == nil || svc.Scale == nil {
		return nil, false
	}
	return []autoscale.Decision{
		{At: f.start.Add(20 * time.Second), Service: service, From: autoscale.Size{Replicas: 2}, To: autoscale.Size{Replicas: 3}, Why: "CPU at 91 % of a target of 70 %", Requests: 80, CPU: 0.91, Ready: 2},
		{At: f.start.Add(35 * time.Second), Service: service, From: autoscale.Size{Replicas: 3}, To: autoscale.Size{Replicas: 3}, Why: "CPU at 66 %", Requests: 81, CPU: 0.66, Ready: 3},
	}, true
}

func (f *fakeSystem) Stores() (all []Store) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name := range f.sys.Caches {
		all = append(all, Store{ID: "caches." + name, Lookups: 10 * f.stored, HitRatio: 0.83, Used: 12 << 20, Limit: 64 << 20})
	}
	for name := range f.sys.Queues {
		s := Store{ID: "queues." + name, Waiting: 7, InFlight: 2, OldestAge: 1500 * time.Millisecond, Stored: f.stored, Handled: f.stored - 9}
		if name == "mail-dead" {
			s = Store{ID: "queues." + name, Dead: 2}
		}
		all = append(all, s)
	}
	return all
}

// fakeLoads pretends to run load tests: each step is released by the test.
type fakeLoads struct{ step chan struct{} }

func (l *fakeLoads) Load(ctx context.Context, req LoadRequest, progress func(load.Progress)) (*LoadOutcome, error) {
	for i := 1; ; i++ {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case _, more := <-l.step:
			if !more {
				return &LoadOutcome{Result: &load.Result{Total: &load.Step{Requests: 1000, Rate: 100, Latency: stats.NewHistogram(2), Errors: map[load.Kind]int64{}}}}, nil
			}
		}
		if req.Rate == 666 {
			return nil, errors.New("the target does not answer")
		}
		progress(load.Progress{Elapsed: time.Duration(i) * time.Second, Length: 30 * time.Second, Sent: 100, P50: 3 * time.Millisecond, P99: 20 * time.Millisecond})
	}
}

func eventNow(service, what, why string) orchestrate.Event {
	return orchestrate.Event{Time: time.Now(), Service: service, Replica: service + "-0", What: what, Why: why}
}
