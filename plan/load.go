package plan

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Load is what a prediction is made for: open (Rates) or closed (Users). Shares of a closed one's mix add up to 1.
type Load = topology.RouteLoad

// ErrNoWorkload means that neither the file nor the caller says what load to plan for.
var ErrNoWorkload = errors.New("no workload: add one to the file, or give --rate or --users")

// LoadOf returns the load that a system's workload puts on its routes. A changing open load (stages, a trace) is
// planned for at its peak rate; a trace's peak must be given, for reading it is not the planner's.
func LoadOf(sys *topology.System, tracePeak float64) (Load, error) {
	w := sys.Workload
	if w == nil || len(w.Scenarios) == 0 {
		return Load{}, ErrNoWorkload
	}
	mix, think, err := RequestMix(sys)
	if err != nil {
		return Load{}, err
	}
	if w.Users > 0 {
		return mix.Closed(w.Users, think), nil
	}
	peak := float64(w.Rate)
	for _, s := range w.Stages {
		peak = max(peak, float64(s.Rate+s.Amplitude))
	}
	if w.Trace != nil {
		peak = tracePeak
	}
	if peak <= 0 {
		return Load{}, ErrNoWorkload
	}
	return mix.Open(peak), nil
}

// Mix is how the starts of scenarios spread over routes.
type Mix struct {
	perStart map[string]float64 // requests of each route for each scenario started
	share    map[string]float64
}

// Open returns the open load of so many scenario starts a second.
func (m Mix) Open(starts float64) Load {
	rates := map[string]float64{}
	for route, n := range m.perStart {
		rates[route] = n * starts
	}
	return Load{Rates: rates}
}

// Closed returns the closed load of so many users, who pause for think on average between two requests.
func (m Mix) Closed(users int, think time.Duration) Load {
	return Load{Users: users, Think: think, Mix: m.share}
}

// RequestMix returns how scenarios spread over routes, and the mean think time after a request.
func RequestMix(sys *topology.System) (Mix, time.Duration, error) {
	w := sys.Workload
	m := Mix{perStart: map[string]float64{}, share: map[string]float64{}}
	router := topology.NewRouter(sys.Routes)
	var total, weights, think float64
	for name := range w.Mix {
		weights += float64(w.Mix[name])
	}
	if weights <= 0 {
		return m, 0, errors.New("the workload's mix adds up to nothing")
	}
	for name, weight := range w.Mix {
		scenario := w.Scenarios[name]
		if scenario == nil {
			return m, 0, fmt.Errorf("the workload's mix names scenario %s, which does not exist", name)
		}
		for _, step := range scenario.Steps {
			if !step.IsRouted() {
				continue
			}
			route := router.OfStep(step)
			if route == nil {
				return m, 0, fmt.Errorf("scenario %s: no route answers %s %s", name, cmp.Or(step.Method, "GET"), step.Path)
			}
			n := float64(weight) / weights
			if step.Weight > 0 {
				n *= float64(step.Weight)
			}
			m.perStart[route.Name] += n
			total += n
			think += n * w.ThinkAfter(scenario, step).Std().Seconds()
		}
	}
	if total <= 0 {
		return m, 0, errors.New("the workload's scenarios make no requests")
	}
	for route, n := range m.perStart {
		m.share[route] = n / total
	}
	return m, time.Duration(think / total * float64(time.Second)), nil
}
