package policy

import (
	"sync/atomic"
	"time"
)

// weightedRoundRobin takes the candidates in turn, as often as their weights say and evenly spread: the smooth order of
// nginx (I. Sysoev, 2012), in which each turn goes to the one that is furthest behind its due share. The order repeats
// after the sum of the weights (divided by what they have in common), so that it is computed once for each set, and a
// turn is one addition. What is ineligible passes its turn to the next.
type weightedRoundRobin struct{ turn atomic.Uint64 }

func (p *weightedRoundRobin) prepare(v *view) { v.cycle = smoothCycle(v.members) }

func (p *weightedRoundRobin) Pick(r *Request) int {
	n := uint64(len(r.view.cycle))
	if n == 0 {
		return -1
	}
	for range 4 * r.Len() {
		if i := int(r.view.cycle[(p.turn.Add(1)-1)%n]); r.Eligible(i) {
			return i
		}
	}
	return r.anyFrom(p.turn.Load())
}

func (p *weightedRoundRobin) Done(Grant, time.Duration, Outcome) {}

// random draws a candidate by weight.
type random struct{}

func (p *random) prepare(v *view) { v.cycle = smoothCycle(v.members) }

func (p *random) Pick(r *Request) int {
	n := uint64(len(r.view.cycle))
	if n == 0 {
		return -1
	}
	for range 4 {
		if i := int(r.view.cycle[r.rand()%n]); r.Eligible(i) {
			return i
		}
	}
	return r.anyFrom(r.rand())
}

func (p *random) Done(Grant, time.Duration, Outcome) {}

// anyFrom returns the first eligible candidate from a place on, -1 if there is none.
func (r *Request) anyFrom(place uint64) int {
	n := r.Len()
	if n == 0 {
		return -1
	}
	first := int(place % uint64(n))
	for k := range n {
		if i := (first + k) % n; r.Eligible(i) {
			return i
		}
	}
	return -1
}

// maxCycleWork bounds the making of a cycle: its length times the number of members.
const maxCycleWork = 1 << 22

// smoothCycle returns the members' indices in weighted turn. Weights whose cycle would be too long are scaled down,
// none below 1.
func smoothCycle(members []*Member) []uint16 {
	n := int64(len(members))
	weights := make([]int64, n)
	var sum, common int64
	for i, m := range members {
		weights[i] = int64(m.weight())
		sum += weights[i]
		common = gcd(common, weights[i])
	}
	most := max(maxCycleWork/n, n)
	if sum/common > most {
		total := sum
		sum = 0
		for i := range weights {
			weights[i] = max(1, weights[i]*(most-n)/total)
			sum += weights[i]
		}
	} else {
		sum /= common
		for i := range weights {
			weights[i] /= common
		}
	}
	cycle := make([]uint16, 0, sum)
	credit := make([]int64, n)
	for range sum {
		best := 0
		for i := range credit {
			if credit[i] += weights[i]; credit[i] > credit[best] {
				best = i
			}
		}
		credit[best] -= sum
		cycle = append(cycle, uint16(best))
	}
	return cycle
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
