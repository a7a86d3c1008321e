package app

import (
	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/topology"
)

// WatchInterval puts a window of a few seconds into the terms of plan.Watch.
func WatchInterval(sys *topology.System, w *observe.Window) *plan.WatchInterval {
	iv := &plan.WatchInterval{
		Start: w.Start, Seconds: w.Covered.Seconds(), Busy: w.Cores(), Requests: map[string]float64{}, CPU: map[string]float64{},
		Visits: map[string]float64{}, Own: map[string]float64{},
	}
	for _, r := range w.Routes {
		iv.Requests[r.Route] += float64(r.Requests)
	}
	for _, s := range w.Services {
		iv.CPU[s.Service] += s.CPU.Seconds()
	}
	for name := range sys.Services {
		if t := timeline(name, &w.Interval); t.Calls > 0 {
			iv.Visits[name], iv.Own[name] = t.Calls, max(0, t.Time-t.Callee)
		}
	}
	return iv
}
