package plan

import (
	"errors"
	"fmt"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Load is what a prediction is made for: open (Rates) or closed (Users).
type Load struct {
	// Rates of an open load: requests a second by route.
	Rates map[string]float64 `json:"rates,omitempty"`
	// Users of a closed load. 0 for an open one.
	Users int `json:"users,omitempty"`
	// Think is the mean pause of a user between two requests.
	Think time.Duration `json:"think_ns,omitempty"`
	// Mix of a closed load: the share of requests that each route gets, adding up to 1.
	Mix map[string]float64 `json:"mix,omitempty"`
}

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
			method := step.Method
			if method == "" {
				method = "GET"
			}
			route := router.Match(method, "", StepPath(step.Path), step.Parts())
			if route == nil {
				return m, 0, fmt.Errorf("scenario %s: no route answers %s %s", name, method, step.Path)
			}
			n := float64(weight) / weights
			if step.Weight > 0 {
				n *= float64(step.Weight)
			}
			m.perStart[route.Name] += n
			total += n
			think += n * thinkOf(w, scenario, step).Seconds()
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

func thinkOf(w *topology.Workload, scenario *topology.Scenario, step *topology.Step) time.Duration {
	switch {
	case step.Think != nil:
		return step.Think.Std()
	case scenario.Think != nil:
		return scenario.Think.Std()
	}
	return w.Think.Std()
}

// StepPath is a step's path without its query, as a router matches it. Variables stay as they are: a route's path ends before them.
func StepPath(path string) string {
	for i := range len(path) {
		if path[i] == '?' || path[i] == '#' {
			return path[:i]
		}
	}
	return path
}

// Scaled returns the load times a factor: rates for an open load, users for a closed one (at least one).
func (l Load) Scaled(factor float64) Load {
	if l.Users > 0 {
		l.Users = max(1, int(float64(l.Users)*factor+0.5))
		return l
	}
	rates := make(map[string]float64, len(l.Rates))
	for r, v := range l.Rates {
		rates[r] = v * factor
	}
	return Load{Rates: rates}
}

// Total is the number of requests a second of an open load, 0 for a closed one.
func (l Load) Total() float64 {
	var sum float64
	for _, v := range l.Rates {
		sum += v
	}
	return sum
}
