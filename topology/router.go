package topology

import (
	"net"
	"slices"
	"strings"
)

// Router finds the route of a request. It is the only place that knows how routes match, so that what the gateway
// does, what a load test names its steps and what the planner counts are the same. It is safe for concurrent use.
type Router struct {
	exact    map[string][]candidate
	prefixes []candidate // longest path first, then the more specific
	looks    bool
}

// candidate is a route with what it asks of a request besides host, method and path.
type candidate struct {
	*Route
	conditions []condition
}

// NewRouter returns a router over routes. Among routes with the same path a host wins over none, a full host over a
// wildcard, a method over none, more conditions of 'match' over fewer; among equals the first of the file wins.
func NewRouter(routes []*Route) *Router {
	r := &Router{exact: map[string][]candidate{}}
	for _, route := range routes {
		route := candidate{route, route.Match.conditions()}
		r.looks = r.looks || len(route.conditions) > 0
		if route.Exact || !strings.HasSuffix(route.Path, "/") {
			r.exact[route.Path] = append(r.exact[route.Path], route)
		} else {
			r.prefixes = append(r.prefixes, route)
		}
	}
	for _, same := range r.exact {
		slices.SortStableFunc(same, func(a, b candidate) int { return specificity(b) - specificity(a) })
	}
	slices.SortStableFunc(r.prefixes, func(a, b candidate) int {
		if d := len(b.Path) - len(a.Path); d != 0 {
			return d
		}
		return specificity(b) - specificity(a)
	})
	return r
}

// Looks reports whether any route looks at more than host, method and path. Where none does, Match needs no parts.
func (r *Router) Looks() bool { return r.looks }

// Match returns the route of a request, nil if there is none. The path is the request's, already decoded and without
// its query; host may carry a port. A HEAD request takes the routes of GET where none names HEAD. Parts that are nil have
// nothing that a route could look at.
func (r *Router) Match(method, host, path string, parts Parts) *Route {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(host)
	if route := firstMatch(r.exact[path], method, host, path, parts); route != nil {
		return route
	}
	return firstMatch(r.prefixes, method, host, path, parts)
}

func firstMatch(routes []candidate, method, host, path string, parts Parts) *Route {
	for i := range routes {
		route := &routes[i]
		if !strings.HasPrefix(path, route.Path) {
			continue
		}
		if matchMethod(route.Method, method) && matchHost(route.Host, host) && route.holds(parts) {
			return route.Route
		}
	}
	return nil
}

// holds reports whether a request has all that the route asks for besides host, method and path.
func (r *candidate) holds(parts Parts) bool {
	if len(r.conditions) > 0 && parts == nil {
		return false
	}
	for i := range r.conditions {
		if !r.conditions[i].holds(parts) {
			return false
		}
	}
	return true
}

func matchMethod(want, method string) bool {
	return want == "" || want == method || (want == "GET" && method == "HEAD")
}

func matchHost(want, host string) bool {
	if want == "" || want == "*" {
		return true
	}
	if rest, ok := strings.CutPrefix(want, "*"); ok {
		label, ok := strings.CutSuffix(host, strings.ToLower(rest))
		return ok && label != "" && !strings.Contains(label, ".")
	}
	return strings.EqualFold(want, host)
}

// specificity orders routes of the same path: a host weighs more than a method, and that more than conditions.
func specificity(r candidate) int {
	s := 0
	switch {
	case r.Host == "" || r.Host == "*":
	case strings.HasPrefix(r.Host, "*"):
		s = 4
	default:
		s = 8
	}
	switch r.Method {
	case "":
	case "GET":
		s++ // below HEAD, which it serves as well
	default:
		s += 2
	}
	return s*(maxConditions+1) + min(len(r.conditions), maxConditions)
}
