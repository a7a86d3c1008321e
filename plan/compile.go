package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/banyanhq/banyan/topology"
)

// steady is a model compiled for one mix of routes, so that it can be asked thousands of times: at other throughputs,
// with other replicas, limits, cores and demands. Throughputs are of all routes, in requests a second; times in seconds.
type steady struct {
	cores, burst float64
	apart        float64 // see queueing.CoresBusy
	background   float64 // cores used without any request
	bound        *bound  // of the requests that are let in; nil: there is none
	turned       float64 // requests a second that it refuses
	packed       bool    // as many requests as it lets in share the CPU, all the time
	services     []station
	tables       []*tableStation
	routes       []pass
	slos         []promise
	tail         []*curve // of p99, where an SLO has paid for it
	order        []int    // of services: the called before their callers
	crowded      bool     // calls wait for places
	layered      bool     // calls wait for places, or for each other

	full float64 // CPU seconds that a request of the mix uses where no replica ever rests
	// Found by the last solve.
	stretch        float64
	mean, variance []float64
	odd            []odd        // the part of them that only some requests lose, by route
	awake          []float64    // by service: how often of 1 its limit spares a visit waking it up
	lost           []loss       // to the CPU limit by each visit, by service
	waits          []wait       // for a place, by service
	memory         []lossMemory // by service
}

// station is a service; its demands are those of a request of the mix.
type station struct {
	service
	gone       int // replicas that are taken to be lost
	idle       float64
	scale      float64 // multiplies the CPU demand
	visits     float64
	full, wake float64
	square     float64       // second moment of the CPU time without waking up
	own        bool          // a service of the file
	table      *tableStation // nil: it is none
	spread     float64       // of a table: how many nodes as busy as its busiest one would have all of its work
	refusal    float64       // CPU time that it takes to refuse a request
	memory     float64       // bytes of one replica
}

// serving is how many replicas work.
func (st *station) serving() int { return max(st.replicas-st.gone, 0) }

// alike is how many replicas that are as busy as the busiest one would have all of its work: of a service, as many as work.
func (st *station) alike() float64 {
	if st.table != nil {
		return st.spread
	}
	return float64(st.serving())
}

// pass is a route's way through the services.
type pass struct {
	name            string
	share           float64
	at              []call
	tree            []visit
	node            []int  // of the tree, by service; -1 where it is not part of it
	stay, plain     []stay // with and without what only some visits lose
	hop             stay   // what the gateway adds to a call
	cache           *cachedRoute
	slow            float64 // multiplies the delay
	delay, delayVar float64
	cpu, visits     float64
	scv             float64
}

type call struct {
	service int
	demand  demand
	times   float64 // calls, retries counted, over those without any
}

// promise is one latency limit of an SLO.
type promise struct {
	slo   string
	key   string
	route int
	q     *curve
	limit float64
}

// compile makes the model ready for a mix.
func (m *model) compile(sys *topology.System, mix map[string]float64) (*steady, error) {
	s := &steady{cores: m.cores, apart: m.apart, burst: m.burst, bound: m.bound}
	index, curves := map[string]int{}, map[float64]*curve{}
	for i, svc := range m.services {
		index[svc.name] = i
		st := station{service: svc, idle: m.idle[svc.name], scale: 1}
		s.background += st.idle
		if f := sys.Services[svc.name]; f != nil {
			st.own, st.memory = true, float64(f.Limits.Memory)
		}
		if t := m.tables[svc.name]; t != nil {
			copied := *t // what a change does to it is undone, and the model is for all mixes
			st.table, st.spread = &copied, float64(t.nodes)
			s.tables = append(s.tables, &copied)
		}
		s.services = append(s.services, st)
	}
	for i, name := range m.routes {
		p := pass{name: name, share: mix[name], slow: 1, cache: m.cacheOf(name)}
		if !(p.share >= 0 && p.share <= 1e9) {
			return nil, fmt.Errorf("the load of route %s is %v of all: want a finite number of requests", name, p.share)
		}
		for _, svc := range sortedKeys(m.demands[name]) {
			p.at = append(p.at, call{service: index[svc], demand: m.demands[name][svc], times: 1})
		}
		if route := sys.RouteByName(name); route != nil {
			p.tree = growTree(sys, route, &p, index)
		}
		s.routes = append(s.routes, p)
		if err := s.promise(sys, i, curves); err != nil {
			return nil, err
		}
	}
	if c := curves[0.99]; c != nil {
		s.tail = append(s.tail, c)
	}
	slices.SortStableFunc(s.slos, func(a, b promise) int { return strings.Compare(a.slo, b.slo) })
	s.mean, s.variance, s.odd = make([]float64, len(s.routes)), make([]float64, len(s.routes)), make([]odd, len(s.routes))
	s.lost, s.waits, s.awake = make([]loss, len(s.services)), make([]wait, len(s.services)), make([]float64, len(s.services))
	s.memory = make([]lossMemory, len(s.services))
	s.layer()
	s.gather()
	return s, nil
}

// promise adds what the SLOs say of a route. Percentiles share their curves.
func (s *steady) promise(sys *topology.System, route int, curves map[float64]*curve) error {
	for _, slo := range sortedKeys(sys.SLOs) {
		if sys.SLOs[slo].Route != s.routes[route].name {
			continue
		}
		for _, key := range sortedKeys(sys.SLOs[slo].Latency) {
			q, err := percentile(key)
			if err == nil && curves[q] == nil {
				curves[q], err = newCurve(q)
			}
			if err != nil {
				return fmt.Errorf("SLO %s: %w", slo, err)
			}
			s.slos = append(s.slos, promise{slo: slo, key: key, route: route, q: curves[q], limit: sys.SLOs[slo].Latency[key].Std().Seconds()})
		}
	}
	return nil
}

// gather sums demands; to be called again after a scale or a slow was changed.
func (s *steady) gather() {
	s.full = 0
	for i := range s.services {
		st := &s.services[i]
		st.visits, st.full, st.wake, st.square, st.refusal = 0, 0, 0, 0, 0
	}
	s.gatherTables()
	for i := range s.routes {
		r := &s.routes[i]
		r.cpu, r.delay, r.delayVar, r.visits = 0, 0, 0, 0
		square := 0.0
		for _, c := range r.at {
			d, st := c.demand, &s.services[c.service]
			cpu, wake := st.scale*d.cpu, st.scale*d.wake
			full, delay := cpu+st.scale*d.async, r.slow*d.delay
			n := r.share * d.visits * c.times
			st.visits += n
			st.full += n * full
			st.wake += n * wake
			st.square += n * full * full * (1 + d.scv)
			switch {
			case s.bound == nil:
			case st.name == Gateway && !st.own:
				st.refusal += r.share * cpu
			case st.name == Client && !st.own:
				st.refusal += n * full
			}
			r.cpu += d.visits * cpu
			r.delay += d.visits * delay
			r.delayVar += d.visits * d.delaySCV * delay * delay
			if d.cpu > 0 {
				r.visits += d.visits
				square += d.visits * cpu * cpu * (1 + d.scv)
			}
		}
		r.scv = 0
		if r.cpu > 0 {
			one := r.cpu / r.visits
			r.scv = max(0, square/r.visits/(one*one)-1)
		}
	}
	for _, st := range s.services {
		s.full += st.full
	}
}
