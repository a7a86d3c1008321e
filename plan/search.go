package plan

import (
	"math"

	"github.com/banyanhq/banyan/queueing"
)

// The searches over a compiled model: how much it holds, where its knee is, how many users that is.

// ample is a throughput that counts as without end, for systems whose requests use no CPU.
const ample = 1e12

// brokenAt says how much the worst promise is strained at throughput x: 1 is at its limit, infinite is overload.
func (s *steady) brokenAt(x float64) (ratio float64, worst int, err error) {
	ok, err := s.solve(x)
	if err != nil {
		return 0, -1, err
	}
	if !ok {
		return math.Inf(1), -1, nil
	}
	return s.strain()
}

// knee is the highest throughput that keeps every promise; without promises, the one of the greatest power.
func (s *steady) knee() (Limit, error) {
	held, by := s.held()
	held = min(held, ample)
	if len(s.slos) == 0 {
		return s.powerKnee(held)
	}
	x, worst, err := s.cross(held, s.brokenAt)
	if err != nil {
		return Limit{}, err
	}
	if worst < 0 || x > 0.9999*held {
		return Limit{Throughput: x, By: by}, nil
	}
	return Limit{Throughput: x, By: "SLO " + s.slos[worst].slo}, nil
}

// kneeAfter is the knee after a change, looked for first where it was before, which is known to a millionth of what is held, and then near
// there.
func (s *steady) kneeAfter(before Limit) (Limit, error) {
	if len(s.slos) == 0 || before.Throughput <= 0 {
		return s.knee()
	}
	strain := inverse(s.brokenAt)
	for _, apart := range []float64{4e-6, 0.02} {
		lo, hi := before.Throughput*(1-apart), before.Throughput*(1+apart)
		below, _, err := strain(lo)
		if err != nil {
			return Limit{}, err
		}
		above, worst, err := strain(hi)
		if err != nil {
			return Limit{}, err
		}
		if below < 0 || above >= 0 || worst < 0 {
			continue
		}
		if apart < 1e-3 {
			return before, nil
		}
		x, worst, err := between(bracket{lo, hi, below, above}, before.Throughput, worst, strain)
		if err != nil {
			return Limit{}, err
		}
		return Limit{Throughput: x, By: "SLO " + s.slos[worst].slo}, nil
	}
	return s.knee()
}

// cross finds where a strain that grows with the throughput reaches 1 between 0 and held, where it is infinite, and
// which promise does it. Its inverse is bounded and smooth, so that a secant that is kept from stalling (Illinois;
// Dowell and Jarratt 1971) takes few steps.
func (s *steady) cross(held float64, strain func(float64) (float64, int, error)) (float64, int, error) {
	at := inverse(strain)
	lo, hi := 1e-9*held, held
	flo, worst, err := at(lo)
	if err != nil || flo <= 0 {
		return 0, worst, err
	}
	return between(bracket{lo, hi, min(flo, 1e3), -1}, held, -1, at)
}

// inverse is how much less than its limit a strain is, by its inverse: 0 at the limit.
func inverse(strain func(float64) (float64, int, error)) func(float64) (float64, int, error) {
	return func(x float64) (float64, int, error) {
		r, worst, err := strain(x)
		if r == 0 {
			return 1e9, worst, err
		}
		return min(1/r, 1e9) - 1, worst, err
	}
}

// bracket is two throughputs, and the values there: of one that keeps every promise, and of one that breaks one.
type bracket struct{ lo, hi, flo, fhi float64 }

// between finds the zero in a bracket, to a millionth of a throughput, and which promise is the worst there; found is who is at its end.
func between(b bracket, scale float64, found int, at func(float64) (float64, int, error)) (float64, int, error) {
	side := 0
	for i := range 60 {
		x := b.lo + (b.hi-b.lo)*b.flo/(b.flo-b.fhi)
		if i == 0 && found < 0 || !(x > b.lo && x < b.hi) {
			x = b.lo + (b.hi-b.lo)/2 // from half, so that light loads do not bend the secant
		}
		f, worst, err := at(x)
		if err != nil {
			return 0, -1, err
		}
		if f > 0 {
			b.lo, b.flo = x, f
			if side == 1 {
				b.fhi /= 2
			}
			side = 1
		} else {
			b.hi, b.fhi = x, f
			if worst >= 0 {
				found = worst
			}
			if side == -1 {
				b.flo /= 2
			}
			side = -1
		}
		if b.hi-b.lo < 1e-6*scale || math.Abs(f) < 1e-7 {
			break
		}
	}
	if found < 0 {
		// Never met from above: the one that is nearest below.
		_, worst, err := at(b.lo)
		if err != nil {
			return 0, -1, err
		}
		found = worst
	}
	return b.lo, found, nil
}

// powerKnee maximises throughput over mean latency (Kleinrock 1979) by golden-section search: power has one maximum.
func (s *steady) powerKnee(held float64) (Limit, error) {
	power := func(x float64) (float64, error) {
		ok, err := s.solve(x)
		if err != nil || !ok {
			return 0, err
		}
		return x / max(s.latency(), 1e-12), nil
	}
	const ratio = 0.6180339887498949
	a, b := 0.0, held
	x1, x2 := b-ratio*(b-a), a+ratio*(b-a)
	p1, err := power(x1)
	if err != nil {
		return Limit{}, err
	}
	p2, err := power(x2)
	if err != nil {
		return Limit{}, err
	}
	for b-a > 1e-5*held {
		if p1 > p2 {
			b, x2, p2 = x2, x1, p1
			x1 = b - ratio*(b-a)
			p1, err = power(x1)
		} else {
			a, x1, p1 = x1, x2, p2
			x2 = a + ratio*(b-a)
			p2, err = power(x2)
		}
		if err != nil {
			return Limit{}, err
		}
	}
	x := (a + b) / 2
	return Limit{Throughput: x, By: s.busiest(x)}, nil
}

// busiest names the resource that is used most at throughput x, places as the last solve found them. A service that is
// full never sleeps: what waking up costs does not count against its limit.
func (s *steady) busiest(x float64) string {
	_, by := s.mostUsed(x)
	return by
}

// mostUsed is how much the busiest resource is used, and its name.
func (s *steady) mostUsed(x float64) (best float64, by string) {
	best, by = s.use(x)/s.cores, Machine
	for i := range s.services {
		st := &s.services[i]
		if st.limit > 0 {
			cores := st.idle + x*st.full
			if !st.limited(s.cores) {
				cores += x * st.wake * st.asleep(x)
			}
			if u := cores / (st.limit * max(st.alike(), 1)); u > best {
				best, by = u, st.name
			}
		}
		if w := s.waits[i]; w.used > best {
			best, by = w.used, PlacesOf(st.name)
		}
	}
	return best, by
}

// users is the number of users, not rounded, whose requests make throughput x, by the interactive response time law
// N = X (R + Z); infinite where x is more than is held.
func (s *steady) users(x, think float64) (float64, error) {
	ok, err := s.solve(x)
	if err != nil {
		return 0, err
	}
	if !ok {
		return math.Inf(1), nil
	}
	return x * (s.latency() + think), nil
}

// alone is the mean time of a request that meets no other.
func (s *steady) alone() float64 {
	if s.layered || len(s.tables) > 0 {
		held, _ := s.cpuHeld()
		if ok, err := s.solve(1e-9 * min(held, 1)); err == nil && ok {
			return s.latency()
		}
	}
	_, speed := wholeServers(s.cores)
	var sum, shares float64
	for i := range s.routes {
		r := &s.routes[i]
		woken := 0.0
		for k := range r.at {
			woken += r.at[k].demand.visits * s.woken(&r.at[k], 1)
		}
		sum += r.share * ((r.cpu+woken)/speed + r.delay)
		shares += r.share
	}
	return sum / shares
}

// closed is the throughput of so many users, with the latencies left in s. All routes are one chain: a user's next request
// may be of any route, by the mix. CPU that nobody waits for and delays by CPU limits depend on the throughput, which
// depends on them: the fixed point is found by bisection, for a higher guess never gives a higher throughput.
func (s *steady) closed(users int, think float64) (float64, error) {
	held, _ := s.held()
	lo, hi := 0.0, min(held, ample, float64(users)/max(s.alone()+think, 1e-12)*1.0000001)
	servers, speed := wholeServers(s.cores)
	stretch := 1.0
	for range 40 {
		x := (lo + hi) / 2
		s.stretch = 1
		ok, err := s.finish(x)
		if err != nil {
			return 0, err
		}
		answer := 0.0
		if ok {
			// What is not the machine's sharing is a delay, as think time is.
			cpu := min(s.waited(x)/speed, s.latency()) // of calls at the same time it waits for no more than the longest
			rest := s.latency() - cpu
			net := &queueing.Network{Stations: []queueing.Station{{Name: Machine, Servers: servers, Discipline: queueing.PS}},
				Classes: []queueing.Class{{Name: "users", Population: users, Think: think + rest, Demands: []float64{max(cpu, 1e-12)}}}}
			if other := s.use(x) - x*cpu*speed; other > 0 {
				net.Classes = append(net.Classes, queueing.Class{Name: "background", Arrival: other / 0.001, Demands: []float64{0.001 / speed}})
			}
			if sol, err := queueing.Solve(net, queueing.Options{}); err == nil {
				answer, stretch = sol.Throughput[0], max(1, sol.Residence[0][0]/max(cpu, 1e-12))
			}
		}
		if answer < x {
			hi = x
		} else {
			lo = x
		}
		if hi-lo < 1e-6*hi {
			break
		}
	}
	s.stretch = stretch
	_, err := s.finish(lo)
	return lo, err
}

// waited is the CPU time that a request of the mix waits for at throughput x, without sharing, as the last solve found limits.
func (s *steady) waited(x float64) float64 {
	sum := 0.0
	for i := range s.routes {
		r := &s.routes[i]
		sum += r.share * r.cpu
		for k := range r.at {
			sum += r.share * r.at[k].demand.visits * s.woken(&r.at[k], x)
		}
	}
	return sum
}
