// Package replay plays recorded traffic against autoscaling policies, and says what each costs at equal service.
//
// The plant is a fluid: a service meets its objective in a step when as many replicas serve throughout the step as its
// capacity asks for at the step's rate. A replica that is started serves after the start-up delay, and is paid for from
// the moment it is asked for. A policy sees what has been measured: the rate of a step becomes known a tick after the
// step began, never before. Each policy is swept over its one knob, the utilisation that it aims at, and compared where its
// curve of cost over service crosses the objective: a policy that is cheap because it serves badly gains nothing.
//
// Costs are relative to an oracle that has exactly the replicas that each step needs, in that step.
package replay

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/policy"
)

// Trace is a recorded series: requests a second in each step, NaN where unknown.
type Trace struct {
	Step  time.Duration
	Rates []float64
}

// Plant is what is scaled.
type Plant struct {
	Capacity *autoscale.Capacity
	StartUp  time.Duration
	Tick     time.Duration // between two decisions
	Min, Max int           // replicas
	// Reactive is the policy (topology.Scale has their names) that the predictive one plays beside itself. Default:
	// kubernetes.
	Reactive string
	// WarmUp is how many steps at the beginning are played but not scored.
	WarmUp int
}

// Outcome of one policy with one setting of its knob.
type Outcome struct {
	Steps        int     `json:"steps"`
	Violated     int     `json:"violated"`           // steps in which too few replicas served
	Requests     float64 `json:"requests"`           // in all steps that were scored
	Affected     float64 `json:"violatedRequests"`   // of them in steps that were violated
	ReplicaHours float64 `json:"replicaHours"`       // asked for, serving or not
	Oracle       float64 `json:"oracleReplicaHours"` // the least that would have done
	Changes      int     `json:"changes"`
}

// Held is the share of the steps that met the objective.
func (o Outcome) Held() float64 { return 1 - float64(o.Violated)/float64(max(o.Steps, 1)) }

// Cost is that over the oracle's.
func (o Outcome) Cost() float64 { return o.ReplicaHours / o.Oracle }

// decider is a policy in a run: observe is called when a step of the trace has passed.
type decider interface {
	observe(step int)
	decide(now time.Duration, u policy.Usage) int
}

func (p *Plant) check(tr Trace) error {
	switch {
	case tr.Step <= 0:
		return errors.New("the trace has no step")
	case p.Tick <= 0 || p.StartUp < 0 || p.Capacity == nil:
		return errors.New("a plant wants a capacity, a tick and a start-up delay that is not negative")
	case p.Min < 0 || p.Max < max(p.Min, 1):
		return fmt.Errorf("from %d to %d replicas: want 0 or more, and at least one in the end", p.Min, p.Max)
	case tr.Step/p.Tick > 100_000:
		return fmt.Errorf("%d decisions in a step: want at most 100000", tr.Step/p.Tick)
	case len(tr.Rates) == 0:
		return fmt.Errorf("the trace is shorter than one step of %v: nothing is left to score", tr.Step)
	case len(tr.Rates) <= p.WarmUp+1:
		return fmt.Errorf("%d steps, of which %d are warm-up: nothing is left to score", len(tr.Rates), p.WarmUp)
	}
	for _, r := range tr.Rates[p.WarmUp:] {
		if r > 0 {
			return nil
		}
	}
	return errors.New("the trace holds no request after its warm-up")
}

// run is the state of a replay.
type run struct {
	plant *Plant
	now   time.Duration
	fleet policy.ImaginedFleet
	out   Outcome
}

// play runs a policy over a trace.
func (p *Plant) play(tr Trace, d decider) Outcome {
	ticks := max(1, int(tr.Step/p.Tick))
	tick := tr.Step / time.Duration(ticks)
	rate := firstKnown(tr.Rates)
	r := run{plant: p, fleet: policy.NewImaginedFleet(p.need(rate))}
	for i, next := range tr.Rates {
		seen := rate // of the step before, until the first tick of this one has passed
		if next >= 0 {
			rate = next
		}
		need := p.need(rate)
		scored := i >= p.WarmUp
		violated := false
		for range ticks {
			r.fleet.Arrive(r.now)
			changed := r.decide(d, seen)
			seen = rate
			violated = violated || r.fleet.Ready() < need
			if scored {
				r.out.ReplicaHours += float64(r.fleet.Total()) * tick.Hours()
				r.out.Changes += changed
			}
			r.now += tick
		}
		if scored {
			r.score(need, rate*tr.Step.Seconds(), tr.Step, violated)
		}
		d.observe(i)
	}
	return r.out
}

func (p *Plant) need(rate float64) int { return min(max(p.Capacity.Need(rate), p.Min), p.Max) }

func (r *run) score(need int, requests float64, step time.Duration, violated bool) {
	r.out.Steps++
	r.out.Requests += requests
	r.out.Oracle += float64(need) * step.Hours()
	if violated {
		r.out.Violated++
		r.out.Affected += requests
	}
}

// decide carries out a decision, and returns 1 when it changed anything.
func (r *run) decide(d decider, rate float64) int {
	total := r.fleet.Total()
	want := min(max(d.decide(r.now, policy.Usage{Replicas: total, Ready: r.fleet.Ready(), Requests: rate}), r.plant.Min), r.plant.Max)
	if want == total {
		return 0
	}
	r.fleet.Resize(want, r.now+r.plant.StartUp)
	return 1
}

func firstKnown(rates []float64) float64 {
	for _, r := range rates {
		if r >= 0 && !math.IsInf(r, 0) {
			return r
		}
	}
	return 0
}

// Coarser returns the trace with steps at least so long, each the mean of those in it.
func (tr Trace) Coarser(step time.Duration) Trace {
	k := int((step + tr.Step - 1) / max(tr.Step, 1))
	if k <= 1 {
		return tr
	}
	out := Trace{Step: tr.Step * time.Duration(k)}
	for i := 0; i+k <= len(tr.Rates); i += k {
		sum, n := 0.0, 0.0
		for _, r := range tr.Rates[i : i+k] {
			if r >= 0 {
				sum += r
				n++
			}
		}
		out.Rates = append(out.Rates, sum/n) // NaN when none is known
	}
	return out
}
