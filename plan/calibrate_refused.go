package plan

import (
	"fmt"
	"slices"
	"time"
)

// mostRefused is the share of the requests that may have been refused in a run that demands are derived from. A service that
// refuses is full: what the others took is then the time of a full service, and no cost.
const mostRefused = 0.01

// refused says how many requests and calls of a run were turned away, where there were any, and refuses the run where there were many.
func (m *Measurement) refused() (note string, err error) {
	var all, turned int64
	for _, r := range m.Routes {
		all, turned = all+r.Requests, turned+r.Refused
	}
	what := "requests"
	for _, e := range m.Edges { // those from outside are the requests
		if e.From != "" && e.Count >= minRequests && float64(e.Refused)*float64(max(all, 1)) > float64(turned)*float64(e.Count) {
			all, turned, what = e.Count, e.Refused, fmt.Sprintf("calls from %s to %s", e.From, e.To)
		}
	}
	if turned == 0 {
		return "", nil
	}
	said := fmt.Sprintf("%d of %d %s were refused, since the service had no room for more (adaptive, concurrency)", turned, all, what)
	if float64(turned) > mostRefused*float64(all) {
		return "", fmt.Errorf("calibrating: %s: it was full, and the times of the others say so and not what a request costs; calibrate at a moderate load, about 30%% of what it holds", said)
	}
	return said + ": they are left out, and it was full for a while", nil
}

// answered is the measurement without what was refused, which takes no time and no CPU of any service: it would pull down what
// the others are found to ask. Percentiles stay as they are.
func (m *Measurement) answered() *Measurement {
	out := *m
	out.Routes = make(map[string]RouteMeasurement, len(m.Routes))
	for name, r := range m.Routes {
		if in := r.Requests - r.Refused; r.Refused > 0 && in > 0 {
			r.Mean = time.Duration(float64(r.Mean) * float64(r.Requests) / float64(in))
			r.Requests, r.Errors, r.Refused = in, r.Errors-r.Refused, 0
		}
		out.Routes[name] = r
	}
	turned := map[string]float64{} // share, by edge
	out.Edges = slices.Clone(m.Edges)
	for i := range out.Edges {
		e := &out.Edges[i]
		if e.Refused > 0 && e.Refused <= e.Count {
			turned[EdgeName(e.From, e.To)] = float64(e.Refused) / float64(e.Count)
			e.Count, e.Errors, e.Refused = e.Count-e.Refused, max(e.Errors-e.Refused, 0), 0
		}
	}
	out.Calls = slices.Clone(m.Calls)
	for i := range out.Calls {
		c := &out.Calls[i]
		if c.From != "" { // of which route they were, only their edge may tell
			c.Count = int64(float64(c.Count)*(1-turned[EdgeName(c.From, c.To)]) + 0.5)
		} else if r, ok := m.Routes[c.Route]; ok {
			c.Count = max(c.Count-r.Refused, 0)
		}
	}
	return &out
}
