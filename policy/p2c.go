package policy

import (
	"math"
	"sync/atomic"
	"time"
)

// p2cEWMA draws two candidates and takes the one of less load (M. Mitzenmacher, The Power of Two Choices in Randomized
// Load Balancing, 2001). Load is the peak-sensitive moving average of latency times the requests in flight, this one
// included (Finagle's Peak EWMA, as in Linkerd): a slow answer counts at once, and is forgotten over ten seconds.
type p2cEWMA struct{}

func (p *p2cEWMA) Pick(r *Request) int {
	n := uint64(r.Len())
	if n == 0 {
		return -1
	}
	for range 4 {
		i := int(r.rand() % n)
		if n == 1 {
			if r.Eligible(i) {
				return i
			}
			return -1
		}
		j := int(r.rand() % (n - 1))
		if j >= i {
			j++
		}
		switch iOK, jOK := r.Eligible(i), r.Eligible(j); {
		case iOK && jOK:
			if r.ewmaLoad(j) < r.ewmaLoad(i) {
				return j
			}
			return i
		case iOK:
			return i
		case jOK:
			return j
		}
	}
	return r.anyFrom(r.rand())
}

// ewmaLoad of a candidate. One that nothing is known of gets a request at once, and then none until that is answered.
// While slow start goes on, what is in flight counts more; an idle one is worth the same as others.
func (r *Request) ewmaLoad(i int) float64 {
	m := r.members[i]
	cost, pending := m.cost.at(r.now), float64(m.InFlight())
	if cost == 0 && pending > 0 {
		cost = float64(maxCost)
	}
	if r.window > 0 {
		pending /= r.share(m)
	}
	return cost * (pending + 1) / float64(m.weight())
}

func (p *p2cEWMA) Done(g Grant, latency time.Duration, o Outcome) {
	now := g.at + latency
	switch o {
	case Success:
		g.cost.observe(now, latency)
	case Failure:
		g.cost.observe(now, failureCost(time.Duration(g.cost.at(now)), latency))
	}
}

// maxCost is the most that one answer counts for.
const maxCost = time.Minute

// failureCost is the latency that a failure stands for: twice what was usual, so that failing fast attracts no more
// requests.
func failureCost(usual, latency time.Duration) time.Duration {
	return min(2*max(usual, latency, 5*time.Millisecond), maxCost)
}

// peakEWMA is a moving average of latency that rises to a peak at once and falls off exponentially with time. It is
// one word: 32 bits of an instant in units of 2^14 ns, which come round after 19 hours (a value so old may then count as
// new once), and the nanoseconds as a float32. 0: nothing is known.
type peakEWMA struct{ word atomic.Uint64 }

// ewmaDecay is the time in which the average forgets all but 1/e (Linkerd's default).
const ewmaDecay = 10 * time.Second

const ewmaUnit = 14

func (e *peakEWMA) at(now time.Duration) float64 {
	w := e.word.Load()
	if w == 0 {
		return 0
	}
	cost, keep := unpackEWMA(w, now)
	return cost * keep
}

func unpackEWMA(w uint64, now time.Duration) (cost, keep float64) {
	age := time.Duration(max(int32(uint32(now>>ewmaUnit)-uint32(w>>32)), 0)) << ewmaUnit
	return float64(math.Float32frombits(uint32(w))), math.Exp(-float64(age) / float64(ewmaDecay))
}

func (e *peakEWMA) observe(now, latency time.Duration) {
	rtt := float64(min(max(latency, 1), maxCost))
	for {
		old := e.word.Load()
		cost, keep := unpackEWMA(old, now)
		switch {
		case old == 0 || rtt > cost*keep:
			cost = rtt
		default:
			cost = cost*keep + rtt*(1-keep)
		}
		w := uint64(uint32(now>>ewmaUnit))<<32 | uint64(math.Float32bits(float32(cost)))
		if e.word.CompareAndSwap(old, w) {
			return
		}
	}
}
