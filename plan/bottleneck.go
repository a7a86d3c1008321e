package plan

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// Class is the kind of a bottleneck.
type Class string

const (
	ClassCPU        Class = "cpu"        // the processors, of a service's share or of the machine, are what requests wait for
	ClassQuota      Class = "quota"      // the CPU limit of a control group holds replicas back
	ClassPool       Class = "pool"       // requests wait for one of a few permits: a concurrency limit, connections, threads
	ClassLock       Class = "lock"       // requests pass a section one after the other
	ClassDownstream Class = "downstream" // time goes by in a dependency, and not because anybody waits in line
	ClassRetry      Class = "retry"      // calls are made again and again
	ClassSkew       Class = "skew"       // one replica is given, or takes, far more than its peers: hot keys, a slow host
	ClassQueue      Class = "queue"      // more arrives than leaves
	ClassLog        Class = "log"        // writes to a table wait for its log to get to the disk
	ClassHot        Class = "hot"        // one partition key of a table is asked for far more than the others
	ClassBound      Class = "bound"      // the adaptive bound of a service refuses what is more than it holds: a symptom of what is behind it
)

// Observation is what was observed of a running system over a window, as Bottlenecks wants it. Times are sums over all
// calls, in seconds.
type Observation struct {
	System string `json:"system"`
	// Seconds that were observed.
	Seconds float64 `json:"seconds"`
	// Cores of the machine, and how many of them were busy, by whatever process.
	Cores float64 `json:"cores"`
	Busy  float64 `json:"busy"`
	// GatewayCPU is the cores that the gateway used.
	GatewayCPU float64           `json:"gateway_cpu"`
	Routes     []ObservedCalls   `json:"routes"` // From is empty, To the service
	Edges      []ObservedCalls   `json:"edges"`  // those from outside too, From empty
	Services   []ObservedService `json:"services"`
	Tables     []ObservedTable   `json:"tables,omitempty"`
}

// ObservedCalls is the calls on a route or an edge.
type ObservedCalls struct {
	Route  string  `json:"route,omitempty"`
	From   string  `json:"from,omitempty"`
	To     string  `json:"to,omitempty"`
	Calls  float64 `json:"calls"`
	Errors float64 `json:"errors,omitempty"`
	// Refused are the calls that were turned away since the service had as many as it may have.
	Refused  float64 `json:"refused,omitempty"`
	Time     float64 `json:"time"`
	InFlight float64 `json:"in_flight"`
}

// ObservedService is what is known of one service.
type ObservedService struct {
	Name string `json:"name"`
	// Limit of a replica in cores, and Concurrency of a replica in requests at once; 0: none.
	Limit       float64 `json:"limit,omitempty"`
	Concurrency float64 `json:"concurrency,omitempty"`
	// Bound is how many requests its adaptive bound let in at once, on average; 0: it has none.
	Bound    float64            `json:"bound,omitempty"`
	Replicas []ObservedReplica  `json:"replicas"`
	Slices   []ObservedTimeline `json:"slices"`
}

// ObservedReplica is what one replica did.
type ObservedReplica struct {
	Name string `json:"name"`
	// Tries that it was sent, Failed among them, and the Time they took, without the wait for the replica.
	Tries  float64 `json:"tries"`
	Failed float64 `json:"failed,omitempty"`
	Time   float64 `json:"time"`
	// StdDev and quantiles of the time of a try, in seconds.
	StdDev   float64 `json:"stddev"`
	P5       float64 `json:"p5"`
	P20      float64 `json:"p20"`
	P50      float64 `json:"p50"`
	P99      float64 `json:"p99"`
	InFlight float64 `json:"in_flight"`
	// CPU that it used, in cores, and the share of the window that its limit held it back.
	CPU       float64 `json:"cpu"`
	Throttled float64 `json:"throttled,omitempty"`
}

// ObservedTimeline is a part of the window, about a second.
type ObservedTimeline struct {
	// Calls to the service that ended and were not refused, their time, and the time of the calls that it made meanwhile.
	Calls  float64 `json:"calls"`
	Time   float64 `json:"time"`
	Callee float64 `json:"callee,omitempty"`
	// InFlight calls to the service.
	InFlight float64 `json:"in_flight"`
}

// Finding is one thing that limits or hurts a system.
type Finding struct {
	Class Class `json:"class"`
	// Service at which it is, or Machine; Edges are the ways on which it is felt, 'front -> store'; Routes those on which
	// requests lose time by it.
	Service string   `json:"service"`
	Edges   []string `json:"edges,omitempty"`
	Routes  []string `json:"routes,omitempty"`
	// Score ranks findings: the share of all requests' time that is lost by it, weighed by what it endangers. 0 to 1.
	Score float64 `json:"score"`
	// Evidence in figures, the strongest first.
	Evidence []string `json:"evidence"`
	// Remedy says what to do; Gain is the mean time of a request that this is predicted to save, of Mean, both over all
	// routes. By tells what predicts it.
	Remedy string        `json:"remedy"`
	Gain   time.Duration `json:"gain_ns"`
	Mean   time.Duration `json:"mean_ns"`
	By     string        `json:"by"`
}

// What makes a finding.
const (
	leastScore  = 0.15             // of a finding that is told
	leastCalls  = 30               // of a service that is judged
	leastDelay  = 0.003            // seconds in each visit that are worth a word where nobody waits in line
	leastShare  = 0.25             // of requests' time that is worth a word where nobody waits in line
	highUse     = 0.7              // of a CPU share: from here on waiting dominates (utilisation law)
	fullMachine = 0.9              // of the machine's cores
	queueSigns  = 2.5              // over-dispersion of the means of slices that shows requests waiting for each other
	calmWeight  = 0.5              // of time that passes without anybody standing in line: it hurts and limits nothing
	heldBack    = 0.08             // share of time held back by a limit that counts
	skewRatio   = 2.0              // of a replica's load or latency to its peers'
	wasteLimit  = 0.08             // share of tries that are repetitions
	backlogged  = 1.0 / 12         // share of arrivals that stay
	maxObserved = 10_000           // services, edges or routes
	maxSeconds  = 30 * 24 * 3600.0 // of an observation
)

// Bottlenecks ranks what limits a system or hurts it, the worst first; none if nothing is near its limit. It takes the
// time of requests apart: what each service has of its own (the time of its calls less that of the calls it makes) into
// CPU, being held back by a limit, the gateway's queue, repeated tries, and the rest, and asks of the rest whether requests
// wait for each other. Laws are the operational ones (Denning and Buzen, Computing Surveys 10(3), 1978): utilisation
// U = X S and Little's N = X R. An error says what is wrong with the figures.
func Bottlenecks(o *Observation) ([]Finding, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	var calls, whole float64
	for _, r := range o.Routes {
		calls += r.Calls - r.Refused
		whole += r.Time
	}
	if calls < leastCalls || whole <= 0 {
		return nil, fmt.Errorf("%.0f requests in %.0f s are too few to judge by: want at least %d; send it load, or take a longer window", calls, o.Seconds, leastCalls)
	}
	var found []Finding
	rest := 0.0
	full := o.rooms()
	for i := range o.Services {
		v := o.view(&o.Services[i])
		if v == nil {
			continue
		}
		of, left := v.findings(whole, full)
		rest += left
		found = append(found, of...)
	}
	if f, ok := o.machine(rest, whole); ok {
		found = append(found, f)
	}
	for i := range o.Tables {
		found = append(found, o.Tables[i].findings(whole)...)
	}
	bounds := o.bounds(full, found)
	found = append(slices.DeleteFunc(found, func(f Finding) bool { return f.Score < leastScore }), bounds...)
	for i := range found {
		f := &found[i]
		f.Score = min(f.Score, 1)
		f.Mean = seconds(whole / calls)
		f.Gain = min(time.Duration(float64(f.Gain)/calls), f.Mean)
		if f.Edges, f.Routes = o.reaches(f.Service); isTable(f.Service) {
			f.Edges, f.Routes = o.reachesTable(f.Service)
		}
	}
	slices.SortStableFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Class, b.Class))
	})
	return found, nil
}

// check refuses figures that nothing observed.
func (o *Observation) check() error {
	if len(o.Routes) > maxObserved || len(o.Edges) > maxObserved || len(o.Services) > maxObserved {
		return fmt.Errorf("bottlenecks: more than %d routes, edges or services", maxObserved)
	}
	bad := func(vs ...float64) bool {
		return slices.ContainsFunc(vs, func(v float64) bool { return !(v >= 0) || math.IsInf(v, 0) })
	}
	if bad(o.Seconds, o.Cores, o.Busy, o.GatewayCPU) || o.Seconds == 0 || o.Seconds > maxSeconds {
		return fmt.Errorf("bottlenecks: the window or the machine's figures are negative, endless or missing")
	}
	for _, c := range slices.Concat(o.Routes, o.Edges) {
		if bad(c.Calls, c.Errors, c.Refused, c.Time, c.InFlight) || c.Refused > c.Calls {
			return fmt.Errorf("bottlenecks: calls from %q to %q: a figure is negative or no number", c.From, c.To)
		}
	}
	for _, t := range o.Tables {
		if bad(t.Reads, t.Writes, t.ReadTime, t.WriteTime, t.Forces, t.ForceTime, t.HotShare) {
			return fmt.Errorf("bottlenecks: %s: a figure is negative or no number", t.Table)
		}
	}
	for _, s := range o.Services {
		wrong := bad(s.Limit, s.Concurrency, s.Bound)
		for _, r := range s.Replicas {
			wrong = wrong || bad(r.Tries, r.Failed, r.Time, r.StdDev, r.P5, r.P20, r.P50, r.P99, r.InFlight, r.CPU, r.Throttled)
		}
		for _, t := range s.Slices {
			wrong = wrong || bad(t.Calls, t.Time, t.Callee, t.InFlight)
		}
		if wrong {
			return fmt.Errorf("bottlenecks: service %s: a figure is negative or no number", s.Name)
		}
	}
	return nil
}

// machine finds that the processors are taken by others than the services.
func (o *Observation) machine(rest, whole float64) (Finding, bool) {
	if o.Cores == 0 || o.Busy < fullMachine*o.Cores {
		return Finding{}, false
	}
	own := o.ownCPU()
	f := Finding{Class: ClassCPU, Service: Machine, Score: calmWeight * rest / whole, Gain: seconds(rest)}
	f.Evidence = []string{
		fmt.Sprintf("%.2f of %.0f cores are busy", o.Busy, o.Cores),
		fmt.Sprintf("the services and the gateway use %.2f of them, others %.2f", own, max(o.Busy-own, 0)),
	}
	f.Remedy, f.By = "give the system a machine of its own, or more cores", "the waiting that no service accounts for"
	if o.Busy-own < 0.25*o.Cores {
		most, cores := o.hungriest()
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s uses most of them, %.2f", most, cores))
		f.Remedy = fmt.Sprintf("give the system more cores, or have %s, which uses most of them, need fewer", most)
	}
	return f, true
}

// ownCPU is the cores that the services and the gateway use.
func (o *Observation) ownCPU() float64 {
	own := o.GatewayCPU
	for i := range o.Services {
		own += o.Services[i].cpu()
	}
	return own
}

// hungriest is who of the services and the gateway uses most cores.
func (o *Observation) hungriest() (name string, cores float64) {
	name, cores = Gateway, o.GatewayCPU
	for i := range o.Services {
		if s := &o.Services[i]; s.cpu() > cores {
			name, cores = s.Name, s.cpu()
		}
	}
	return name, cores
}

// cpu is the cores that all replicas use.
func (s *ObservedService) cpu() (cores float64) {
	for _, r := range s.Replicas {
		cores += r.CPU
	}
	return cores
}

// reaches names the edges into a service, and the routes whose requests get there.
func (o *Observation) reaches(service string) (edges, routes []string) {
	if service == Machine {
		return nil, nil
	}
	into := map[string]bool{service: true}
	for _, e := range o.Edges {
		if e.To == service && e.From != "" && e.Calls > 0 {
			edges = append(edges, e.From+" -> "+e.To)
		}
	}
	for grown := true; grown; {
		grown = false
		for _, e := range o.Edges {
			if e.From != "" && e.Calls > 0 && into[e.To] && !into[e.From] {
				into[e.From], grown = true, true
			}
		}
	}
	for _, r := range o.Routes {
		if into[r.To] && r.Calls > 0 {
			routes = append(routes, r.Route)
		}
	}
	return edges, routes
}
