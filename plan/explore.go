package plan

import (
	"fmt"
	"math"
	"slices"

	"github.com/banyanhq/banyan/topology"
)

// Exploration is what would be if services were faster, cached or enlarged, and which resource fills first as the mix of
// routes moves.
type Exploration struct {
	// Counterfactuals are the figures after one thing is different, with those of the system as it is first.
	Counterfactuals []Change `json:"counterfactuals"`
	// Mixes has, for each route, the ranges of its share of all requests over which one resource fills first.
	Mixes []MixRange `json:"mixes"`
	// Loads has the same over the load, as multiples of the one given: the resource that is used most.
	Loads []LoadRange `json:"loads"`
}

// MixRange is a range of a route's share of all requests, the other routes keeping their proportions.
type MixRange struct {
	Route string  `json:"route"`
	From  float64 `json:"from"`
	To    float64 `json:"to"`
	// By is the resource that fills first in all of the range, and Least and Most the throughputs that it holds there.
	By    string  `json:"by"`
	Least float64 `json:"least"`
	Most  float64 `json:"most"`
	// Now says that today's share lies in the range.
	Now bool `json:"now,omitempty"`
}

// LoadRange is a range of the load in requests a second over which one resource is used most.
type LoadRange struct {
	From float64 `json:"from"`
	To   float64 `json:"to"`
	By   string  `json:"by"`
}

// cacheHits is the hit ratio of the cache that Explore puts before each service.
const cacheHits = 0.8

// mixSteps are the shares that are tried before the switches between them are looked for.
const mixSteps = 50

// Explore asks the model what Make does not: no retries, each service with 10, 25 and 50 % less CPU time, one replica more and
// the same CPU in larger replicas, a cache before it that answers four of five calls; tables with more shards and replicas, and with
// reads that any node answers; and the map of bottlenecks over mix and load.
func Explore(sys *topology.System, load Load, o Options) (*Exploration, error) {
	m, err := newModel(sys, load, o)
	if err != nil {
		return nil, err
	}
	mix := m.mixOf(load)
	s, err := m.compile(sys, mix)
	if err != nil {
		return nil, err
	}
	_, knee, err := s.limits(load)
	if err != nil {
		return nil, err
	}
	out := &Exploration{}
	add := func(what string) error {
		c, err := s.after(change{what: what}, load, knee)
		if err != nil {
			return fmt.Errorf("exploring %s: %w", what, err)
		}
		if knee.Throughput > 0 {
			c.Gain = c.Knee/knee.Throughput - 1
		}
		out.Counterfactuals = append(out.Counterfactuals, c)
		return nil
	}
	if err := add("as it is"); err != nil {
		return nil, err
	}
	if st := s.storm(sys); st != nil {
		out.Counterfactuals[0].Metastable = st.From
	}
	if s.tangle(sys) != nil {
		if err := add("no retries"); err != nil { // their own load is not part of a prediction: what they change is the region
			return nil, err
		}
	}
	for i := range s.services {
		st := &s.services[i]
		if !st.own && st.table == nil || st.visits <= 0 {
			continue
		}
		for _, less := range []float64{0.1, 0.25, 0.5} {
			st.scale = 1 - less
			s.gather()
			err := add(fmt.Sprintf("%s: %.0f%% less CPU time", st.name, 100*less))
			st.scale = 1
			s.gather()
			if err != nil {
				return nil, err
			}
		}
		if st.table != nil {
			for _, ch := range tableChanges(i, st) {
				undo := ch.apply(s)
				err := add(ch.what)
				undo()
				if err != nil {
					return nil, err
				}
			}
			continue
		}
		if err := s.cached(sys, i, func() error { return add(fmt.Sprintf("%s: cache in front, %.0f%% hits", st.name, 100*cacheHits)) }); err != nil {
			return nil, err
		}
		if st.limit <= 0 {
			continue
		}
		st.replicas++
		err := add(fmt.Sprintf("%s: scale out, %d replicas", st.name, st.replicas))
		st.replicas--
		if err == nil {
			grown := st.limit
			st.limit *= float64(st.replicas+1) / float64(st.replicas) // the same CPU in all as one replica more
			err = add(fmt.Sprintf("%s: scale up, %.3g cores each", st.name, st.limit))
			st.limit = grown
		}
		if err != nil {
			return nil, err
		}
	}
	out.Loads = s.loadMap()
	out.Mixes = s.mixMap(mix)
	return out, nil
}

// cached runs a function while a cache stands before service i: the visits to it fall, and with them those that it causes.
func (s *steady) cached(sys *topology.System, i int, then func() error) error {
	saved := make([][]call, len(s.routes))
	for r := range s.routes {
		saved[r] = slices.Clone(s.routes[r].at)
		route := sys.RouteByName(s.routes[r].name)
		for k := range s.routes[r].at {
			c := &s.routes[r].at[k]
			via := 0.0
			if c.service == i {
				via = 1
			} else if route != nil {
				via = shareVia(sys, route.To, s.services[i].name, s.services[c.service].name)
			}
			c.demand.visits *= 1 - cacheHits*via
		}
	}
	s.gather()
	err := then()
	for r := range s.routes {
		s.routes[r].at = saved[r]
	}
	s.gather()
	return err
}

// shareVia is the share of the visits to a service that come through another, by the calls that the file declares.
func shareVia(sys *topology.System, from, through, to string) float64 {
	all, some := map[string]demand{}, map[string]demand{}
	expandWork(sys, from, 1, all)
	addTables(sys, &topology.Route{}, all)
	if all[to].visits <= 0 || all[through].visits <= 0 {
		return 0
	}
	expandWork(sys, through, all[through].visits, some)
	addTables(sys, &topology.Route{}, some)
	return min(1, some[to].visits/all[to].visits)
}

// loadMap finds which resource is used most from no load to what is held.
func (s *steady) loadMap() []LoadRange {
	held, by := s.held()
	if held <= 0 || held >= ample {
		return []LoadRange{{To: min(held, ample), By: by}}
	}
	var out []LoadRange
	s.ranges(0.001, 1, func(u float64) string {
		if u >= 1 {
			return by
		}
		return s.busiest(u * held)
	}, func(from, to float64, by string) {
		if len(out) == 0 {
			from = 0
		}
		out = append(out, LoadRange{From: from * held, To: to * held, By: by})
	})
	return out
}

// mixMap finds which resource fills first as each route's share goes from nothing to all.
func (s *steady) mixMap(mix map[string]float64) []MixRange {
	if len(s.routes) < 2 {
		return nil
	}
	defer func() {
		for i := range s.routes {
			s.routes[i].share = mix[s.routes[i].name]
		}
		s.gather()
	}()
	total := 0.0
	for _, v := range mix {
		total += v
	}
	var out []MixRange
	for r := range s.routes {
		today := mix[s.routes[r].name] / total
		others := 1 - today
		held := func(share float64) (float64, string) {
			for i := range s.routes {
				s.routes[i].share = (1 - share) * mix[s.routes[i].name] / total / max(others, 1e-12)
			}
			s.routes[r].share = share
			s.gather()
			x, by := s.held()
			return min(x, ample), by
		}
		s.ranges(0, 1, func(share float64) string { _, by := held(share); return by }, func(from, to float64, by string) {
			a, _ := held(from)
			b, _ := held(to)
			out = append(out, MixRange{Route: s.routes[r].name, From: from, To: to, By: by, Least: min(a, b), Most: max(a, b),
				Now: from <= today && today <= to})
		})
	}
	return out
}

// ranges divides lo to hi where what by names changes, each place found to a ten-thousandth, and gives each range.
func (s *steady) ranges(lo, hi float64, by func(float64) string, give func(from, to float64, by string)) {
	from, name := lo, by(lo)
	at := lo
	for i := 1; i <= mixSteps; i++ {
		next := lo + (hi-lo)*float64(i)/mixSteps
		for other := by(next); other != name; other = by(next) {
			a, b := at, next // name at a, another at b
			for b-a > 1e-4*(hi-lo) {
				if mid := (a + b) / 2; by(mid) == name {
					a = mid
				} else {
					b = mid
				}
			}
			give(from, b, name)
			from, at, name = b, b, by(b)
			if math.Abs(next-b) < 1e-12 {
				break
			}
		}
		at = next
	}
	give(from, hi, name)
}
