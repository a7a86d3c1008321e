package plan

import (
	"math"

	"github.com/banyanhq/banyan/queueing"
)

// What a call waits for beside the CPU follows from how long visits take, what they call included, and so from the bottom
// up, as in a layered queueing network: a service with a concurrency limit is given no more than it has places for, and a
// place is held until the answer; calls that are made at the same time end with the last of them.

// stay is the time of a visit from its call to its answer, what it calls included: mean and variance, and the CPU time
// in it, stretched.
type stay struct{ mean, variance, cpu float64 }

// wait is the time that calls wait for a place at a service: mean and variance; infinite where its places do not do.
type wait struct {
	mean, variance float64
	chance         float64 // to wait at all
	used           float64 // share of the places that are held
}

// layer finds out whether calls wait for more than the CPU, and in which order that is to be looked at.
func (s *steady) layer() {
	for i := range s.routes {
		r := &s.routes[i]
		r.node = make([]int, len(s.services))
		for k := range r.node {
			r.node[k] = -1
		}
		r.stay, r.plain = make([]stay, len(r.tree)), make([]stay, len(r.tree))
		for k, v := range r.tree {
			r.node[v.service] = k
			s.crowded = s.crowded || s.services[v.service].places > 0
			s.layered = s.layered || s.crowded || len(v.fork) > 0
		}
	}
	if !s.layered {
		return
	}
	// Calls have no cycles: each route's tree has callers first, and so has what all of them make together.
	seen := make([]bool, len(s.services))
	var down func(service int)
	down = func(service int) {
		if seen[service] {
			return
		}
		seen[service] = true
		for i := range s.routes {
			r := &s.routes[i]
			if k := r.node[service]; k >= 0 {
				for _, b := range r.tree[k].down {
					down(r.tree[b.to].service)
				}
			}
		}
		s.order = append(s.order, service)
	}
	for i := range s.services {
		down(i)
	}
}

// climb adds to the latencies at throughput x what calls wait for places, and takes off what they save by being made at the
// same time. It reports false where the places of a service do not do. burst is the wait for the CPU by bursts.
func (s *steady) climb(x, burst float64) (bool, error) {
	for i := range s.routes {
		if err := s.hop(&s.routes[i], x, burst); err != nil {
			return false, err
		}
	}
	for _, i := range s.order {
		if err := s.stayAt(i, x, burst); err != nil {
			return false, err
		}
		if math.IsInf(s.waits[i].mean, 1) {
			return false, nil
		}
	}
	for i := range s.routes {
		r := &s.routes[i]
		o := &s.odd[i]
		mean, variance := s.mean[i], s.variance[i]
		plainMean, plainVariance := mean-o.mean, variance-o.variance // without what only some lose
		for k, v := range r.tree {
			if w := s.waits[v.service]; w.mean > 0 {
				mean += v.visits * w.mean
				variance += v.visits * w.variance
				o.none += v.visits * math.Log1p(-min(w.chance, 1-1e-12))
			}
			if len(v.fork) > 0 {
				apart, together := s.fork(r, k, false)
				mean -= v.visits * (apart.mean - together.mean)
				variance -= v.visits * (apart.variance - together.variance)
				apart, together = s.fork(r, k, true)
				plainMean -= v.visits * (apart.mean - together.mean)
				plainVariance -= v.visits * (apart.variance - together.variance)
			}
		}
		plainMean, plainVariance = max(plainMean, 0), max(plainVariance, 0)
		s.mean[i], s.variance[i] = max(mean, plainMean), max(variance, plainVariance)
		o.mean, o.variance = s.mean[i]-plainMean, s.variance[i]-plainVariance
	}
	return true, nil
}

// stayAt finds how long visits to a service take in each route, and how long they wait for a place. What those that wait
// in it for its own CPU wait would be waited before it otherwise, so that it does not count as holding a place.
func (s *steady) stayAt(service int, x, burst float64) error {
	st := &s.services[service]
	_, speed := wholeServers(s.cores)
	others := s.stretchAt(s.use(x) - s.cpuOf(service, x))
	var visits, hold, square float64
	for i := range s.routes {
		r := &s.routes[i]
		k := r.node[service]
		if k < 0 {
			continue
		}
		v := &r.tree[k]
		d := r.at[v.call].demand
		asked, askedVar := s.tableWait(&r.at[v.call])
		cpu, delay, lost := (st.scale*d.cpu+s.woken(&r.at[v.call], x))/speed, r.slow*d.delay+asked, s.lost[service]
		stretch := s.stretch + burst
		below := s.below(r, k, false)
		one, err := queueing.PSVariance(cpu, d.scv, max(1, stretch))
		if err != nil {
			return err
		}
		own := d.delaySCV*(delay-asked)*(delay-asked) + askedVar
		rest := own + below.variance
		r.stay[k] = stay{mean: cpu*stretch + delay + lost.mean + below.mean, variance: one + rest + lost.variance(), cpu: cpu*stretch + below.cpu}
		plain := s.below(r, k, true)
		r.plain[k] = stay{mean: cpu*stretch + delay + plain.mean, variance: one + own + plain.variance, cpu: r.stay[k].cpu}
		if st.places <= 0 {
			continue
		}
		alone, err := queueing.PSVariance(cpu, d.scv, max(1, others))
		if err != nil {
			return err
		}
		n := r.share * v.visits
		held := cpu*others + delay + below.mean
		visits += n
		hold += n * held
		square += n * (alone + rest + held*held)
	}
	s.waits[service] = wait{}
	if st.places <= 0 || visits <= 0 || hold <= 0 {
		return nil
	}
	hold /= visits
	places := st.places * max(st.serving(), 1)
	w := wait{used: x * visits * hold / float64(places)}
	if w.used >= 1 {
		s.waits[service] = wait{mean: math.Inf(1), used: w.used}
		return nil
	}
	q, err := queueing.MGc(x*visits, 1/hold, places, max(0, square/visits/(hold*hold)-1), queueing.Kimura)
	if err != nil {
		return err
	}
	w.mean, w.variance, w.chance = q.Wq, q.VarWq, q.PWait
	s.waits[service] = w
	return nil
}

// hop finds what a call between services spends in the gateway, which handles all alike.
func (s *steady) hop(r *pass, x, burst float64) error {
	r.hop = stay{}
	hops := 0.0
	for _, v := range r.tree {
		if s.services[v.service].table == nil { // which are asked past the gateway
			hops += v.visits
		}
	}
	for _, c := range r.at {
		if s.services[c.service].name != Gateway || hops <= 0 || r.node[c.service] >= 0 {
			continue
		}
		_, speed := wholeServers(s.cores)
		d, n := c.demand, c.demand.visits/hops
		cpu, delay, stretch := (s.services[c.service].scale*d.cpu+s.woken(&c, x))/speed, r.slow*d.delay, s.stretch+burst
		one, err := queueing.PSVariance(cpu, d.scv, max(1, stretch))
		if err != nil {
			return err
		}
		r.hop = stay{mean: n * (cpu*stretch + delay), variance: n * (one + d.delaySCV*delay*delay), cpu: n * cpu * stretch}
	}
	return nil
}

// below is the time that a visit spends with its calls; plain: without what only some of them lose.
func (s *steady) below(r *pass, k int, plain bool) stay {
	v := &r.tree[k]
	var sum stay
	for _, b := range v.down {
		one := s.called(r, b, plain)
		sum.mean += one.mean
		sum.variance += one.variance
		sum.cpu += one.cpu
	}
	if len(v.fork) > 0 {
		apart, together := s.fork(r, k, plain)
		sum.mean -= apart.mean - together.mean
		sum.variance = max(0, sum.variance-apart.variance+together.variance)
	}
	return sum
}

// called is the time of all the calls of a branch, one after the other.
func (s *steady) called(r *pass, b branch, plain bool) stay {
	t, w := r.stay[b.to], s.waits[r.tree[b.to].service]
	if plain {
		t, w = r.plain[b.to], wait{}
	}
	hop := r.hop
	if s.services[r.tree[b.to].service].table != nil {
		hop = stay{}
	}
	return stay{mean: b.n * (t.mean + w.mean + hop.mean), variance: b.n * (t.variance + w.variance + hop.variance), cpu: b.n * (t.cpu + hop.cpu)}
}

// fork is the time of the calls that a visit makes at the same time: if they were made one after the other, and as they are,
// the longest of them. Calls are taken as independent, each of the distribution that is fitted to its mean and variance;
// but the cores of the machine cannot do the work of all in less time than it takes them together.
func (s *steady) fork(r *pass, k int, plain bool) (apart, together stay) {
	v := &r.tree[k]
	far := 0.0
	calls := make([]stay, len(v.fork)) // one of each branch
	for i, at := range v.fork {
		b := v.down[at]
		calls[i] = s.called(r, branch{b.to, 1}, plain)
		all := s.called(r, b, plain)
		apart.mean += all.mean
		apart.variance += all.variance
		apart.cpu += all.cpu
		far = max(far, calls[i].mean+15*math.Sqrt(calls[i].variance))
	}
	if math.IsInf(far, 1) {
		return apart, apart
	}
	// Mean and mean square are integrals of P(longest > t), which is steep near the start.
	const steps = 128
	square := 0.0
	for i := 1; i < steps; i++ {
		u := float64(i) / steps
		t := far * u * u
		done := 1.0
		for j, at := range v.fork {
			late := tailOf(calls[j].mean, calls[j].variance, t)
			whole, rest := math.Modf(v.down[at].n)
			done *= math.Pow(1-late, whole) * (1 - rest*late)
		}
		width := far * 2 * u / steps
		together.mean += (1 - done) * width
		square += 2 * t * (1 - done) * width
	}
	together.variance = max(0, square-together.mean*together.mean)
	servers, _ := wholeServers(s.cores)
	together.mean = min(max(together.mean, apart.cpu/float64(servers)), apart.mean)
	together.cpu = apart.cpu
	return apart, together
}

// placesHeld is the throughput at which the places of a service first do not do; x and by are where the CPU is full. Where
// that is so close that it is the CPU that visits hold their places for, the CPU is named.
func (s *steady) placesHeld(x float64, by string) (float64, string) {
	const close = 0.9
	lo, hi := 0.0, min(x, ample)
	name := ""
	for i := 0; i < 100 && hi-lo > 1e-9*hi; i++ {
		mid := (lo + hi) / 2
		clear(s.waits)
		if ok, err := s.solve(mid); ok && err == nil {
			lo = mid
			continue
		}
		hi = mid
		for k, w := range s.waits {
			if math.IsInf(w.mean, 1) {
				name = s.services[k].name
			}
		}
	}
	if name == "" || hi >= close*x {
		return hi, by
	}
	return hi, PlacesOf(name)
}

// PlacesOf names, as a resource that limits, the places that a service's concurrency limit leaves.
func PlacesOf(service string) string { return "concurrency of " + service }

// placesFullAt is the throughput at which the places of one service do not do, those of others taken as ample; false where the
// CPU is full before.
func (s *steady) placesFullAt(service int) (float64, bool) {
	if s.services[service].places <= 0 || s.services[service].visits <= 0 {
		return 0, false
	}
	places := make([]int, len(s.services))
	for i := range s.services {
		if places[i] = s.services[i].places; i != service {
			s.services[i].places = 0
		}
	}
	x, by := s.held()
	for i := range s.services {
		s.services[i].places = places[i]
	}
	return x, by == PlacesOf(s.services[service].name)
}
