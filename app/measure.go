package app

import (
	"math/bits"
	"slices"
	"time"

	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

// ClientSide is what the load generator saw, in the planner's terms.
type ClientSide struct {
	Source     string
	Start, End time.Time
	// Load that was offered.
	Load plan.Load
	// Latency and errors by route.
	Latency map[string]*stats.Histogram
	Errors  map[string]int64
	NotSent int64
	// CPU is the mean number of cores that the generator used; 0 where it ran on another machine.
	CPU   float64
	Notes []string
}

// Measurement joins what clients saw with what was observed of the system: during the load, and (idle, which may be
// nil) just before it.
func Measurement(sys *topology.System, client ClientSide, during, idle *observe.Window) *plan.Measurement {
	m := &plan.Measurement{
		System: sys.Name, Source: client.Source, Start: client.Start, End: client.End,
		Cores: float64(during.Machine.Cores), MachineCPU: during.Cores(), Load: client.Load,
		Routes: map[string]plan.RouteMeasurement{}, Services: map[string]plan.ServiceMeasurement{},
		NotSent: client.NotSent, Notes: client.Notes, Slice: schedulerSlice(during.Machine.Cores),
	}
	// Windows are whole seconds; the load is not. Calls are scaled to the load's own length.
	scale := 1.0
	if during.Covered > 0 {
		scale = m.Seconds() / during.Covered.Seconds()
	}
	for route, h := range client.Latency {
		m.Routes[route] = plan.RouteMeasurement{
			Requests: h.Count(), Errors: client.Errors[route],
			Mean: time.Duration(h.Mean()), StdDev: time.Duration(h.StdDev()),
			P50: h.QuantileDuration(0.5), P95: h.QuantileDuration(0.95), P99: h.QuantileDuration(0.99),
		}
	}
	for _, r := range during.Routes {
		if rm, ok := m.Routes[r.Route]; ok {
			rm.Refused = min(int64(float64(r.Refused)*scale+0.5), rm.Errors)
			m.Routes[r.Route] = rm
		}
	}
	for _, a := range during.Attributed {
		m.Calls = append(m.Calls, plan.CallMeasurement{
			Route: a.Route, From: a.From, To: a.To,
			Count: int64(float64(a.Count)*scale + 0.5), Time: time.Duration(float64(a.Sum) * scale),
		})
	}
	resting := idleUse(idle)
	for _, s := range during.Services {
		sm := plan.ServiceMeasurement{CPU: s.Cores, Replicas: s.Running}
		if during.Covered > 0 {
			sm.Waited = s.Waited.Seconds() / during.Covered.Seconds()
		}
		if svc := sys.Services[s.Service]; svc != nil {
			sm.Limit = float64(svc.Limits.CPU)
		}
		if during.Covered > 0 && s.Running > 0 {
			sm.Throttled = s.Throttled.Seconds() / during.Covered.Seconds() / s.Running
		}
		sm.Idle = resting[s.Service]
		m.Services[s.Service] = sm
	}
	observed(m, during)
	if client.CPU > 0 {
		m.Services[plan.Client] = plan.ServiceMeasurement{CPU: client.CPU, Replicas: 1}
	}
	return m
}

// idleUse is the number of cores that each service used in the middle one of an idle window's seconds. The mean would count what
// an earlier load has left behind: connections that are closed, garbage that is collected, spans that are written.
func idleUse(w *observe.Window) map[string]float64 {
	use := map[string]float64{}
	if w == nil {
		return use
	}
	seconds := map[string][]float64{}
	for _, iv := range w.Intervals {
		if iv.Duration() <= 0 {
			continue
		}
		now := map[string]float64{}
		for _, p := range iv.Processes {
			now[p.Service] += p.CPU.Seconds() / iv.Duration().Seconds()
		}
		for svc, cores := range now {
			seconds[svc] = append(seconds[svc], cores)
		}
	}
	for svc, all := range seconds {
		slices.Sort(all)
		use[svc] = (all[(len(all)-1)/2] + all[len(all)/2]) / 2
	}
	return use
}

// Quiet reports whether nothing was asked of the system in a window, so that its CPU is the idle use.
func Quiet(w *observe.Window) bool {
	for _, r := range w.Routes {
		if r.Requests > 0 {
			return false
		}
	}
	return true
}

// schedulerSlice is the base slice that Linux takes by default on so many cores, which it does not tell everybody: 0.7 ms,
// and as much again for each doubling of the cores up to 8 (kernel/sched/fair.c, sysctl_sched_base_slice).
func schedulerSlice(cores int) time.Duration {
	const one = 700 * time.Microsecond
	return one * time.Duration(bits.Len(uint(min(max(cores, 1), 8))))
}
