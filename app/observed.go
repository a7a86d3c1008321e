package app

import (
	"time"

	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/stats"
)

// observed fills in what a window says of edges, replicas and single seconds.
func observed(m *plan.Measurement, w *observe.Window) {
	for _, e := range w.Edges {
		em := plan.EdgeMeasurement{From: e.From, To: e.To, Count: e.Requests, Errors: e.Errors, Refused: e.Refused, Mean: e.MeanLatency()}
		em.Histogram = e.Latency
		em.StdDev, em.P50, em.P99 = spreadOf(e.Latency)
		m.Edges = append(m.Edges, em)
	}
	use := map[string]observe.ProcessSums{}
	for _, p := range w.Processes {
		use[p.Replica] = p
	}
	for _, b := range w.Backends {
		rm := plan.ReplicaMeasurement{Service: b.Service, Replica: b.Replica, Requests: b.Requests, Errors: b.Errors, InFlight: b.InFlight}
		rm.StdDev, _, _ = spreadOf(b.Latency)
		if b.Latency != nil {
			rm.Mean = time.Duration(b.Latency.Mean())
		}
		if p, ok := use[b.Replica]; ok && w.Covered > 0 {
			rm.CPU, rm.Throttled = p.CPU.Seconds()/w.Covered.Seconds(), p.Throttled.Seconds()/w.Covered.Seconds()
		}
		m.Replicas = append(m.Replicas, rm)
	}
	for _, iv := range w.Intervals {
		s := plan.Second{Seconds: iv.Duration().Seconds(), Requests: map[string]float64{}, CPU: map[string]float64{}, Calls: map[string]float64{}, Stolen: iv.Machine.Stolen.Seconds()}
		for _, r := range iv.Routes {
			s.Requests[r.Route] += float64(r.Requests - r.Refused)
		}
		for _, e := range iv.Edges {
			s.Calls[plan.EdgeName(e.From, e.To)] += float64(e.Requests - e.Refused)
		}
		for _, p := range iv.Processes {
			s.CPU[p.Service] += p.CPU.Seconds()
		}
		m.PerSecond = append(m.PerSecond, s)
	}
}

func spreadOf(h *stats.Histogram) (sd, p50, p99 time.Duration) {
	if h == nil || h.Count() == 0 {
		return 0, 0, 0
	}
	return time.Duration(h.StdDev()), h.QuantileDuration(0.5), h.QuantileDuration(0.99)
}
