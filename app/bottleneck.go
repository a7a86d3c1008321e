package app

import (
	"time"

	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

// Observation puts a window into the terms of plan.Bottlenecks.
func Observation(sys *topology.System, w *observe.Window) *plan.Observation {
	covered := w.Covered.Seconds()
	o := &plan.Observation{System: sys.Name, Seconds: covered, Cores: float64(w.Machine.Cores), Busy: w.Cores()}
	if g, ok := w.Service(plan.Gateway); ok {
		o.GatewayCPU = g.Cores
	}
	// A route's requests are counted by its name, and who answers them by the calls that they caused.
	answers := map[string]string{}
	for _, a := range w.Attributed {
		if a.From == observe.Outside {
			answers[a.Route] = a.To
		}
	}
	for _, r := range w.Routes {
		o.Routes = append(o.Routes, observedCalls(r, answers[r.Route]))
	}
	for _, e := range w.Edges {
		o.Edges = append(o.Edges, observedCalls(e, e.To))
	}
	for _, name := range sys.SortedServices() {
		svc := sys.Services[name]
		s := plan.ObservedService{Name: name, Limit: float64(svc.Limits.CPU), Concurrency: float64(svc.Concurrency)}
		for _, b := range w.Bounds {
			if b.Service == name {
				s.Bound = b.Limit
			}
		}
		for _, b := range w.Backends {
			if b.Service == name {
				s.Replicas = append(s.Replicas, observedReplica(b, w.Processes, covered))
			}
		}
		for _, iv := range w.Intervals {
			s.Slices = append(s.Slices, timeline(name, &iv))
		}
		o.Services = append(o.Services, s)
	}
	return o
}

func observedCalls(c observe.CallSums, to string) plan.ObservedCalls {
	return plan.ObservedCalls{
		Route: c.Route, From: c.From, To: to, Calls: float64(c.Requests), Errors: float64(c.Errors), Refused: float64(c.Refused), Time: c.Sum.Seconds(), InFlight: c.InFlight,
	}
}

func observedReplica(b observe.BackendSums, processes []observe.ProcessSums, covered float64) plan.ObservedReplica {
	r := plan.ObservedReplica{Name: b.Replica, Tries: float64(b.Requests), Failed: float64(b.Errors), InFlight: b.InFlight}
	if h := b.Latency; h != nil && h.Count() > 0 {
		at := func(q float64) float64 { return h.QuantileDuration(q).Seconds() }
		r.Time = time.Duration(h.Mean()).Seconds() * r.Tries
		r.StdDev, r.P5, r.P20, r.P50, r.P99 = stdDev(h), at(0.05), at(0.2), at(0.5), at(0.99)
	}
	for _, p := range processes {
		if p.Service == b.Service && p.Replica == b.Replica && covered > 0 {
			r.CPU, r.Throttled = p.CPU.Seconds()/covered, p.Throttled.Seconds()/covered
		}
	}
	return r
}

func stdDev(h *stats.Histogram) float64 { return time.Duration(h.StdDev()).Seconds() }

// timeline is what a second was for a service.
func timeline(service string, iv *observe.Interval) plan.ObservedTimeline {
	var t plan.ObservedTimeline
	var most float64
	for _, e := range iv.Edges {
		took := e.Sum.Seconds()
		if e.To == service {
			t.Calls += float64(e.Requests - e.Refused)
			t.Time += took
			t.InFlight += e.InFlight
		}
		if e.From == service {
			t.Callee += took
			most = max(most, took)
		}
	}
	if t.Callee > t.Time { // made at the same time
		t.Callee = most
	}
	return t
}
