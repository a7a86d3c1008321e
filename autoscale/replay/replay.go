// Package replay runs autoscaling policies over a recorded series of rates, each against the same plant, and compares
// what they cost at equal service.
package replay

import (
	"math"
	"time"

	"github.com/banyanhq/banyan/policy"
)

// Trace is a recorded series.
type Trace struct {
	Step  time.Duration
	Rates []float64 // requests a second, for each step; NaN: missing
}

// Plant is what is scaled.
type Plant struct {
	Need     func(rate float64) int // replicas that hold the objective at a rate
	StartUp  time.Duration
	Tick     time.Duration // between two decisions
	Min, Max int
	WarmUp   int // steps at the beginning that are not scored
}

// Policy decides on the number of replicas. Observe is called once for each step of the trace, after it has passed.
type Policy interface {
	Observe(rate float64)
	Decide(now time.Duration, u policy.Usage) int
}

// Outcome of a policy.
type Outcome struct {
	ReplicaHours float64
	Oracle       float64 // the same for the least that would have done at each step
	Steps        int
	Violated     int // steps in which too few replicas served
	Changes      int
}

// Run plays the trace.
func Run(tr Trace, p Plant, pol Policy) Outcome {
	var out Outcome
	ticks := max(1, int(tr.Step/p.Tick))
	tick := tr.Step / time.Duration(ticks)
	type start struct {
		ready time.Duration
		n     int
	}
	ready := p.Need(firstRate(tr.Rates))
	var starting []start
	now := time.Duration(0)
	rate, before := firstRate(tr.Rates), 0.0
	for i, r := range tr.Rates {
		before = rate
		if r >= 0 {
			rate = r
		}
		need := min(max(p.Need(rate), p.Min), p.Max)
		violated := false
		for k := range ticks {
			for len(starting) > 0 && starting[0].ready <= now {
				ready += starting[0].n
				starting = starting[1:]
			}
			total := ready
			for _, s := range starting {
				total += s.n
			}
			// what is measured lags by a tick
			seen := rate
			if k == 0 {
				seen = before
			}
			want := pol.Decide(now, policy.Usage{Replicas: total, Ready: ready, Requests: seen})
			if want != total && i >= p.WarmUp {
				out.Changes++
			}
			switch {
			case want > total:
				starting = append(starting, start{now + p.StartUp, want - total})
				total = want
			case want < total:
				for drop := total - want; drop > 0; {
					if n := len(starting); n > 0 { // the youngest first
						take := min(drop, starting[n-1].n)
						starting[n-1].n -= take
						drop -= take
						if starting[n-1].n == 0 {
							starting = starting[:n-1]
						}
						continue
					}
					ready -= drop
					drop = 0
				}
				total = want
			}
			if i >= p.WarmUp {
				out.ReplicaHours += float64(total) * tick.Hours()
				violated = violated || ready < need
			}
			now += tick
		}
		if i >= p.WarmUp {
			out.Steps++
			out.Oracle += float64(need) * tr.Step.Hours()
			if violated {
				out.Violated++
			}
		}
		pol.Observe(r)
	}
	return out
}

func firstRate(rates []float64) float64 {
	for _, r := range rates {
		if r >= 0 && !math.IsInf(r, 0) {
			return r
		}
	}
	return 0
}
