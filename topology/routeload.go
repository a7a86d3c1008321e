package topology

import (
	"net/url"
	"strings"
	"time"
)

// RouteLoad is a load in terms of routes, as the planner, the simulator and records of load tests speak of it: an open one
// (Rates) or a closed one (Users, Think and Mix).
type RouteLoad struct {
	// Rates of an open load: requests a second by route.
	Rates map[string]float64 `json:"rates,omitempty"`
	// Users of a closed load. 0 for an open one.
	Users int `json:"users,omitempty"`
	// Think is the mean pause of a user between two requests.
	Think time.Duration `json:"think_ns,omitempty"`
	// Mix of a closed load: the share of requests that each route gets.
	Mix map[string]float64 `json:"mix,omitempty"`
}

// Scaled returns the load times a factor: rates for an open load, users for a closed one (at least one).
func (l RouteLoad) Scaled(factor float64) RouteLoad {
	if l.Users > 0 {
		l.Users = max(1, int(float64(l.Users)*factor+0.5))
		return l
	}
	rates := make(map[string]float64, len(l.Rates))
	for r, v := range l.Rates {
		rates[r] = v * factor
	}
	return RouteLoad{Rates: rates}
}

// Total is the number of requests a second of an open load, 0 for a closed one.
func (l RouteLoad) Total() float64 {
	var sum float64
	for _, v := range l.Rates {
		sum += v
	}
	return sum
}

// OfStep is the route that a step of a load test takes, by its method, path, headers and query; nil where there is none.
func (r *Router) OfStep(st *Step) *Route {
	method := st.Method
	if method == "" {
		method = "GET"
	}
	host := ""
	for _, name := range sortedKeys(st.Headers) {
		if strings.EqualFold(name, "host") {
			host = st.Headers[name]
		}
	}
	return r.Match(method, host, st.BarePath(), st.Parts())
}

// BarePath is a step's path without its query, decoded, as a router matches it. Variables stay as they are: a route's path
// ends before them.
func (st *Step) BarePath() string {
	path, _, _ := strings.Cut(st.Path, "?")
	path, _, _ = strings.Cut(path, "#")
	if decoded, err := url.PathUnescape(path); err == nil {
		return decoded
	}
	return path
}

// ThinkAfter is the mean pause of a user after a step of a scenario.
func (w *Workload) ThinkAfter(s *Scenario, st *Step) Duration {
	switch {
	case st.Think != nil:
		return *st.Think
	case s.Think != nil:
		return *s.Think
	}
	return w.Think
}
