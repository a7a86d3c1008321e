package plan

import (
	"fmt"
	"math"

	"github.com/banyanhq/banyan/queueing"
)

// besides is the number of cores that are used beside what is answered: without any request, and for refusing some.
func (s *steady) besides() float64 { return s.background + s.turned*s.refusal() }

// use is the number of cores that all services together use at throughput x.
func (s *steady) use(x float64) float64 {
	woken, _ := s.waking(x)
	return s.besides() + x*(s.full+woken)
}

// waking is the CPU time of a request that goes into waking up at throughput x, and what one more a second adds to the cores in use for
// that, both in seconds.
func (s *steady) waking(x float64) (woken, slope float64) {
	for i := range s.services {
		if st := &s.services[i]; st.wake > 0 {
			rested := st.asleep(x)
			woken += st.wake * rested
			slope += st.wake * rested * rested
		}
	}
	return woken, slope
}

// fullAt is the throughput at which a service uses all of its limit, infinite where it never does. Full, it never sleeps. One
// that may use all cores is never full before the machine is.
func (s *steady) fullAt(i int) float64 {
	st := &s.services[i]
	if st.serving() == 0 && st.visits > 0 {
		return 0
	}
	if st.limit <= 0 {
		return math.Inf(1)
	}
	room := st.limit*st.alike() - st.idle
	if room <= 0 {
		return 0
	}
	return room / max(st.full, 1e-300)
}

// machineFullAt is the throughput at which the machine is full.
func (s *steady) machineFullAt() float64 {
	if s.full <= 0 {
		return math.Inf(1)
	}
	room := max(0, s.cores-s.besides())
	all := s.full
	for i := range s.services {
		all += s.services[i].wake
	}
	// Use is concave in x: Newton's steps from below stay there.
	x := room / all
	for range 20 {
		woken, slope := s.waking(x)
		step := (room - x*(s.full+woken)) / (s.full + slope)
		x += step
		if step <= 1e-12*x {
			break
		}
	}
	return x
}

// held is the throughput at which the first resource is full, and its name.
func (s *steady) held() (x float64, by string) {
	x, by = s.cpuHeld()
	if s.crowded {
		return s.placesHeld(x, by)
	}
	return x, by
}

// cpuHeld is the same where places are ample.
func (s *steady) cpuHeld() (x float64, by string) {
	x, by = s.machineFullAt(), Machine
	for i := range s.services {
		if at := s.fullAt(i); at < x {
			x, by = at, s.services[i].name
		}
	}
	return x, by
}

// solve finds mean and variance of each route's latency at throughput x. It reports false where something is full.
func (s *steady) solve(x float64) (bool, error) {
	for i := range s.services {
		if x >= s.fullAt(i) {
			return false, nil
		}
	}
	if !s.shareCores(x) {
		return false, nil
	}
	return s.finish(x)
}

// shareCores finds how much sharing the cores stretches CPU time at throughput x; false where they are full.
func (s *steady) shareCores(x float64) bool {
	s.stretch = s.stretchAt(s.use(x))
	return !math.IsInf(s.stretch, 1)
}

// stretchAt is how much CPU time is stretched where so many cores are used, by the law of queueing.CoresBusy; infinite where they are full.
func (s *steady) stretchAt(used float64) float64 {
	servers, _ := wholeServers(s.cores)
	stretch, err := queueing.CoresStretch(max(used/s.cores, 1e-12)*float64(servers), servers, s.apart)
	if err != nil {
		return math.Inf(1)
	}
	return stretch
}

// wholeServers represents a number of cores as whole servers of equal speed.
func wholeServers(cores float64) (servers int, speed float64) {
	n := math.Ceil(cores - 1e-9)
	return int(n), cores / n
}

// cpuOf is the number of cores that a service uses at throughput x. How often its limit spares it waking up, awake says as
// the last solve found it.
func (s *steady) cpuOf(i int, x float64) float64 {
	st := &s.services[i]
	return st.idle + s.turned*st.refusal + x*(st.full+st.wake*st.asleep(x)*(1-s.awake[i]))
}

// bursts is how much longer than at random arrivals CPU time waits, as a multiple of it.
func (s *steady) bursts(x float64) float64 {
	if s.burst == 1 {
		return 0
	}
	return (s.burst - 1) * (s.stretchAt(min(s.use(x), mostUsed*s.cores)) - 1)
}

// mostUsed is the share of the machine from which on waiting is taken to grow no more.
const mostUsed = 0.999

// finish turns the machine's stretch into latencies.
func (s *steady) finish(x float64) (bool, error) {
	_, speed := wholeServers(s.cores)
	s.loseToLimits(x)
	if err := s.solveTables(x); err != nil {
		return false, err
	}
	wait := s.bursts(x)
	for i := range s.routes {
		r := &s.routes[i]
		o, woken := odd{}, 0.0
		var asked, askedVar float64 // what is waited for at tables
		for _, c := range r.at {
			mean, variance := s.tableWait(&c)
			asked += c.demand.visits * mean
			askedVar += c.demand.visits * variance
			woken += c.demand.visits * s.woken(&c, x)
			if l := &s.lost[c.service]; l.chance > 0 {
				o.add(c.demand.visits, l.mean, l.variance(), l.chance)
			}
		}
		if math.IsInf(o.mean, 1) {
			return false, nil
		}
		s.mean[i], s.variance[i], s.odd[i] = r.delay+asked+o.mean, r.delayVar+askedVar+o.variance, o
		if r.cpu+woken <= 0 {
			continue
		}
		one := (r.cpu + woken) / speed
		s.mean[i] += one * (s.stretch + wait)
		n := max(r.visits, 1)
		v, err := queueing.PSVariance(one/n, r.scv, max(1, s.stretch+wait))
		if err != nil {
			return false, fmt.Errorf("route %s: %w", r.name, err)
		}
		if s.packed { // no request is alone for a while: each piece of work takes as many times its length as any other
			one = one / n * (s.stretch + wait)
			v = one * one * r.scv
		}
		s.variance[i] += n * v
	}
	if s.layered {
		return s.climb(x, wait)
	}
	return true, nil
}

// woken is the CPU time of waking up that a visit waits for at throughput x. The client wakes up beside what it
// measures.
func (s *steady) woken(c *call, x float64) float64 {
	st := &s.services[c.service]
	if st.name == Client && !st.own {
		return 0
	}
	return st.scale * c.demand.wake * st.asleep(x) * (1 - s.awake[c.service])
}

// loseToLimits fills lost and awake for throughput x.
func (s *steady) loseToLimits(x float64) {
	for i := range s.services {
		st := &s.services[i]
		s.lost[i], s.awake[i] = loss{}, 0
		if !st.limited(s.cores) || st.visits <= 0 || st.full+st.wake <= 0 {
			continue
		}
		n := max(st.alike(), 1)
		k := lossKey{
			full: st.full / st.visits, wake: st.wake / st.visits,
			scv: st.square/st.visits/math.Pow(max(st.full/st.visits, 1e-300), 2) - 1, idle: st.idle / n, limit: st.limit, cores: s.cores,
		}
		if st.full <= 0 {
			k.scv = 1
		}
		out := s.memory[i].table(k).at(x * st.visits / n)
		s.lost[i], s.awake[i] = out.loss, out.awake
	}
}

// latency is the mean over all routes after a solve.
func (s *steady) latency() float64 {
	var sum, shares float64
	for i := range s.routes {
		sum += s.routes[i].share * s.mean[i]
		shares += s.routes[i].share
	}
	return sum / shares
}

// strain is the highest ratio of a promised percentile to its limit after a solve, and which promise that is.
func (s *steady) strain() (ratio float64, worst int, err error) {
	worst = -1
	for i, p := range s.slos {
		if worst >= 0 {
			// No percentile is above that of the requests that lose something.
			_, _, mean, variance, late := s.split(p.route)
			if most, err := p.q.at(mean, variance); err == nil && late > 0 && most/p.limit <= ratio {
				continue
			}
		}
		v, err := s.at(p.route, p.q)
		if err != nil {
			return 0, 0, err
		}
		if v/p.limit > ratio || worst < 0 {
			ratio, worst = v/p.limit, i
		}
	}
	return ratio, worst, nil
}
