package plan

import (
	"math"
	"slices"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// Storm is the metastable region of a system (Bronson and others, 'Metastable failures in distributed systems', HotOS
// 2021): loads that it holds as long as nothing happens, and at which, once calls time out, retries keep it overloaded
// though the cause is gone.
type Storm struct {
	// From is the lowest throughput, of all routes together, at which a storm sustains itself; Share of the saturation.
	From  float64 `json:"from"`
	Share float64 `json:"share"`
	// Service whose calls the storm multiplies most, and by how much.
	Service string  `json:"service"`
	Tries   float64 `json:"tries"`
	// Good is the share of requests that are still answered in it.
	Good float64 `json:"good"`
	// Simulated is what the simulator says of it; nil: it was not asked.
	Simulated *StormCheck `json:"simulated,omitempty"`
}

// tangle is the calls of each route as a tree of edges with time-outs and retries.
type tangle struct {
	s     *steady
	mix   []tries
	still bool      // nothing is retried
	times []float64 // by service: calls in the present state over those without retries
}

// storm finds the metastable region, nil where there is none. How often calls are tried follows from how many time out,
// that from the latency, and that from how often calls are tried: a monotone map, whose greatest fixed point is the state
// after everything has failed. Where that answers fewer requests than the same system without retries, a storm sustains
// itself. A call that has run into its time-out is not tried again; its caller's answer, 502, is. Abandoned
// tries are taken to cost their CPU all the same, and no breaker to open.
func (s *steady) storm(sys *topology.System) *Storm {
	t := s.tangle(sys)
	held, by := s.held()
	if t == nil || held <= 0 || held >= ample || s.bound != nil && s.bound.calms(held, t) {
		return nil
	}
	defer t.calm()
	sustained := func(x float64) bool {
		best := t.settle(x, false)
		// Below one half it is overload, retries or not.
		return best >= 0.5 && t.settle(x, true) < best-0.1
	}
	// From some throughput on up to overload: look for one that is inside, then for where it begins.
	lo, hi := 0.0, 0.0
	for _, share := range []float64{0.98, 0.95, 0.9, 0.8, 0.65, 0.5} {
		if sustained(share * held) {
			hi = share * held
			break
		}
	}
	if hi == 0 {
		return nil
	}
	for hi-lo > 1e-3*held {
		if mid := (lo + hi) / 2; sustained(mid) {
			hi = mid
		} else {
			lo = mid
		}
	}
	good := t.settle(hi, true)
	out := &Storm{From: hi, Share: hi / held, Good: good}
	for i, times := range t.times {
		if times > out.Tries+1e-9 {
			out.Tries, out.Service = times, s.services[i].name
		}
	}
	// Of those that are multiplied about alike, the one that fills up is the one to name.
	for i, times := range t.times {
		if s.services[i].name == by && times > 0.9*out.Tries {
			out.Tries, out.Service = times, by
		}
	}
	return out
}

// tries are a route's edges in the order of the calls: an edge comes before those of the service that it leads to.
type tries struct {
	route int
	share float64
	edges []edge
}

// edge is the calls to a service with what is tried again.
type edge struct {
	visit
	timeout  float64
	attempts int
	budget   float64 // retries as a share of calls
	least    float64 // retries a second that are always allowed
	// The state: mean and variance of the time of a try, tries of a call, calls over those without retries, and the
	// chance that a call fails.
	mean, variance float64
	tries          float64
	times          float64
	fails          float64
}

// tangle builds the trees; nil where nothing is retried.
func (s *steady) tangle(sys *topology.System) *tangle {
	t := &tangle{s: s, times: make([]float64, len(s.services))}
	retried := false
	for i := range s.routes {
		r := &s.routes[i]
		route := sys.RouteByName(r.name)
		if route == nil || len(r.tree) == 0 {
			continue
		}
		repeatable := route.Method == "" || policy.Idempotent(route.Method)
		tr := tries{route: i, share: r.share}
		for k, v := range r.tree {
			in := route.Inbound
			switch svc := sys.Services[s.services[v.service].name]; {
			case svc == nil: // a table, whose clients' retries are not known
				in = topology.Inbound{}
			case k > 0:
				in = svc.Inbound
			}
			e := newEdge(v, in, repeatable)
			retried = retried || e.attempts > 1
			tr.edges = append(tr.edges, e)
		}
		t.mix = append(t.mix, tr)
	}
	if !retried {
		return nil
	}
	return t
}

func newEdge(v visit, in topology.Inbound, repeatable bool) edge {
	e := edge{visit: v, timeout: in.Timeout.Std().Seconds(), attempts: 1, tries: 1, times: 1}
	if e.timeout <= 0 {
		e.timeout = math.Inf(1)
	}
	if r := in.Retry; r != nil && repeatable && (r.On == nil || slices.Contains(r.On, 502)) {
		e.attempts, e.budget, e.least = max(r.Attempts, 1), float64(r.Budget), float64(r.MinPerSecond)
	}
	return e
}

// calm takes all retries out of the model.
func (t *tangle) calm() {
	for i := range t.s.routes {
		for k := range t.s.routes[i].at {
			t.s.routes[i].at[k].times = 1
		}
	}
	t.s.gather()
}

// settle iterates to the fixed point at throughput x that follows when everything has failed, or solves the system without
// retries, and returns the share of requests that are answered.
func (t *tangle) settle(x float64, failed bool) (good float64) {
	t.still = !failed
	for i := range t.mix {
		for k := range t.mix[i].edges {
			e := &t.mix[i].edges[k]
			if e.fails = 0; failed {
				e.fails = 1
			}
		}
	}
	last := -1.0
	for range 300 {
		t.multiply(x)
		t.wait(x)
		good = 0
		var shares float64
		for i := range t.mix {
			if tr := &t.mix[i]; len(tr.edges) > 0 {
				good += tr.share * (1 - tr.edges[0].fails)
				shares += tr.share
			}
		}
		if shares > 0 {
			good /= shares
		}
		if math.Abs(good-last) < 1e-7 {
			break
		}
		last = good
	}
	return good
}

// multiply turns the chances of failing into tries, and hands the calls that these make to the model.
func (t *tangle) multiply(x float64) {
	plain, now := make([]float64, len(t.times)), make([]float64, len(t.times))
	for i := range t.mix {
		tr := &t.mix[i]
		for k := range tr.edges {
			tr.edges[k].times = 0
		}
		for k := range tr.edges {
			e := &tr.edges[k]
			if k == 0 {
				e.times = 1
			}
			if e.tries = e.wanted(tr); t.still {
				e.tries = 1
			}
			if calls := x * tr.share * e.visits * e.times; calls > 0 {
				e.tries = min(e.tries, 1+e.budget+e.least/calls)
			}
			e.times *= e.tries
			for _, b := range e.down {
				d := &tr.edges[b.to]
				if d.visits > 0 {
					d.times += e.times * e.visits * b.n / d.visits
				}
			}
			plain[e.service] += tr.share * e.visits
			now[e.service] += tr.share * e.visits * e.times
			t.s.routes[tr.route].at[e.call].times = e.times
		}
	}
	for i := range t.times {
		if t.times[i] = 1; plain[i] > 0 {
			t.times[i] = now[i] / plain[i]
		}
	}
	t.s.gather()
}

// behind is the chance that a call further down fails a try, and the shortest time-out that it may take to know.
func (e *edge) behind(tr *tries) (fails, after float64) {
	well := 1.0
	after = math.Inf(1)
	for _, b := range e.down {
		d := &tr.edges[b.to]
		well *= math.Pow(1-min(d.fails, 1), b.n)
		after = min(after, d.timeout)
	}
	return 1 - well, after
}

// wanted is how often a call is tried, without a budget: as often as tries fail further down, as long as there are
// attempts and time.
func (e *edge) wanted(tr *tries) float64 {
	fails, after := e.behind(tr)
	attempts := float64(e.attempts)
	if after > 0 && !math.IsInf(after, 1) && !math.IsInf(e.timeout, 1) {
		attempts = min(attempts, math.Ceil(e.timeout/after))
	}
	tries, chance := 0.0, 1.0
	for range int(max(attempts, 1)) {
		tries += chance
		chance *= fails
	}
	return tries
}

// wait solves the model with the present calls and finds how likely each call is to fail, from the leaves up.
func (t *tangle) wait(x float64) {
	s := t.s
	full := !s.shareCores(x)
	s.loseToLimits(x)
	if err := s.solveTables(x); err != nil { // of figures that are no numbers
		full = true
	}
	_, speed := wholeServers(s.cores)
	stretch := (s.stretch + s.bursts(x)) / speed
	for i := range t.mix {
		tr := &t.mix[i]
		for k := len(tr.edges) - 1; k >= 0; k-- {
			e := &tr.edges[k]
			c := &s.routes[tr.route].at[e.call]
			d := c.demand
			asked, _ := s.tableWait(c)
			own := (d.cpu+s.woken(c, x))*stretch + d.delay + asked + s.lost[e.service].mean
			if full {
				own = math.Inf(1)
			}
			e.mean, e.variance = own, own*own*max(d.scv, d.delaySCV)
			for _, b := range e.down {
				below := &tr.edges[b.to]
				// A call takes no longer than its time-out.
				e.mean += b.n * min(below.mean, below.timeout)
				e.variance += b.n * min(below.variance, below.timeout*below.timeout)
			}
			late := tailOf(e.mean, e.variance, e.timeout)
			behind, _ := e.behind(tr)
			// Of the tries that the budget grants, all must fail.
			e.fails = 1 - (1-late)*(1-math.Pow(behind, max(1, e.tries)))
		}
	}
}
