package plan

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/banyanhq/banyan/queueing"
)

// change is one thing to do differently.
type change struct {
	what     string
	service  int               // index of the service, -1 for the machine
	replicas int               // set to, 0: unchanged
	cpu      float64           // set to, 0: unchanged
	places   int               // of a replica, set to, 0: unchanged
	cores    float64           // set to, 0: unchanged
	idle     bool              // nothing that is modelled depends on it
	table    func(*tableShape) // does it to a table; nil: it is none, or its nodes are enlarged
}

// apply makes the change; undo takes it back.
func (c change) apply(s *steady) (undo func()) {
	if c.service < 0 {
		cores := s.cores
		s.cores = c.cores
		return func() { s.cores = cores }
	}
	st := &s.services[c.service]
	old := *st
	if c.table != nil {
		was := st.table.tableShape
		c.table(&st.table.tableShape)
		st.replicas = st.table.nodes
		s.gather()
		return func() {
			st.table.tableShape, st.replicas = was, was.nodes
			s.gather()
		}
	}
	if c.replicas > 0 {
		st.replicas = c.replicas
	}
	if c.cpu > 0 {
		st.limit = c.cpu
	}
	if c.places > 0 {
		st.places = c.places
	}
	return func() { st.replicas, st.limit, st.places = old.replicas, old.limit, old.places }
}

// changes lists, for each service, one replica more and, where it has a limit, twice the CPU; and one core more for
// the machine.
func (s *steady) changes() []change {
	var list []change
	for i, st := range s.services {
		if st.name == Gateway || st.name == Client {
			continue
		}
		if st.table != nil {
			if st.visits > 0 {
				list = append(list, tableChanges(i, &s.services[i])...)
			}
			continue
		}
		list = append(list, change{what: fmt.Sprintf("%s: %d -> %d replicas", st.name, st.replicas, st.replicas+1), service: i,
			replicas: st.replicas + 1, idle: st.limit <= 0 && st.places <= 0})
		if st.places > 0 {
			list = append(list, change{what: fmt.Sprintf("%s: concurrency %d -> %d", st.name, st.places, 2*st.places), service: i, places: 2 * st.places})
		}
		if st.limit > 0 {
			list = append(list, change{what: fmt.Sprintf("%s: cpu %g -> %g", st.name, st.limit, 2*st.limit), service: i, cpu: 2 * st.limit})
		}
	}
	return append(list, change{what: fmt.Sprintf("machine: %g -> %g cores", s.cores, s.cores+1), service: -1, cores: s.cores + 1})
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// p99 of a route's latency, after a solve.
func (s *steady) p99(route int) (float64, error) {
	if len(s.tail) == 0 {
		c, err := newCurve(0.99)
		if err != nil {
			return 0, err
		}
		s.tail = append(s.tail, c)
	}
	return s.at(route, s.tail[0])
}

// percentile reads a key such as p99 or p99.9 as a share.
func percentile(key string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimPrefix(key, "p"), 64)
	if err != nil || !strings.HasPrefix(key, "p") || v <= 0 || v >= 100 {
		return 0, fmt.Errorf("percentile %q: want p and a number between 0 and 100, such as p99", key)
	}
	return v / 100, nil
}

func quantile(mean, variance, q float64) (float64, error) {
	return queueing.FittedQuantile(mean, variance, q)
}
