package topology

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// Edge is a call that one service may make to another.
type Edge struct {
	Caller, Callee string
}

// SortedServices returns the names of the services in their order.
func (s *System) SortedServices() []string { return sortedKeys(s.Services) }

// Edges returns who calls whom among the services, sorted, each pair once. What services use besides (caches, tables,
// queues, topics, functions) is left out.
func (s *System) Edges() []Edge {
	var out []Edge
	for caller, service := range s.Services {
		for _, use := range service.Uses {
			if kind, name := ServiceOf(use); kind == "" && s.Services[name] != nil {
				out = append(out, Edge{caller, name})
			}
		}
	}
	slices.SortFunc(out, func(a, b Edge) int {
		return cmp.Or(cmp.Compare(a.Caller, b.Caller), cmp.Compare(a.Callee, b.Callee))
	})
	return slices.Compact(out)
}

// ServiceOf splits what stands in 'uses': ("", NAME) for a service, and (caches, NAME), (tables, NAME), (queues, NAME),
// (topics, NAME), (functions, NAME) or (sagas, NAME) for the rest.
func ServiceOf(use string) (kind, name string) {
	if kind, name, ok := strings.Cut(use, "."); ok {
		return kind, name
	}
	return "", use
}

// RouteByName returns the route of a name, nil if there is none.
func (s *System) RouteByName(name string) *Route {
	for _, r := range s.Routes {
		if r.Name == name {
			return r
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
