package plan

import (
	"fmt"
	"math"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Plan is a prediction with what it means: how much the system holds, what breaks first, what to change.
type Plan struct {
	*Prediction
	// Saturation is the throughput at which the bottleneck is full, with the same mix of routes.
	Saturation Limit `json:"saturation"`
	// Knee is the highest throughput that keeps every SLO; without SLOs, the one at which throughput over mean latency
	// is largest (Kleinrock's power, 1979): beyond it latency grows faster than throughput.
	Knee Limit `json:"knee"`
	// Storm is the metastable region; nil where no retry storm can sustain itself.
	Storm *Storm `json:"storm,omitempty"`
	// Unchanged is the system as it is and Changes are single changes to it, by the same closed form: Simulate leaves both alone.
	Unchanged Change   `json:"unchanged"`
	Changes   []Change `json:"changes"`
}

// Limit is a throughput that something bounds.
type Limit struct {
	// Throughput of all routes in requests a second.
	Throughput float64 `json:"throughput"`
	// Users that put this load on a closed system; 0 for an open one.
	Users int `json:"users,omitempty"`
	// By names what bounds it: a service, the machine, or an SLO.
	By string `json:"by"`
}

// Change is one thing done differently, and the figures after it.
type Change struct {
	What       string        `json:"what"`
	Saturation float64       `json:"saturation"`
	Knee       float64       `json:"knee"`
	Mean       time.Duration `json:"mean_ns"` // over all routes, at the planned load; 0 where that saturates
	P99        time.Duration `json:"p99_ns"`  // of the slowest route
	// Gain is the knee's change as a share of today's.
	Gain float64 `json:"gain"`
	// Metastable is the throughput from which on a retry storm sustains itself, where that was looked for; 0: none does.
	Metastable float64 `json:"metastable,omitempty"`
}

// Make predicts the system under the load and looks around: at the limits, and at each single change.
func Make(sys *topology.System, load Load, o Options) (*Plan, error) {
	m, err := newModel(sys, load, o)
	if err != nil {
		return nil, err
	}
	s, err := m.compile(sys, m.mixOf(load))
	if err != nil {
		return nil, err
	}
	p, err := s.predictOf(m, sys, load)
	if err != nil {
		return nil, err
	}
	out := &Plan{Prediction: p}
	if out.Saturation, out.Knee, err = s.limits(load); err != nil {
		return nil, err
	}
	out.Storm = s.storm(sys)
	out.Unchanged = Change{What: "none", Saturation: out.Saturation.Throughput, Knee: out.Knee.Throughput}
	out.Unchanged.Mean, out.Unchanged.P99 = p.Latency()
	for _, ch := range s.changes() {
		c := out.Unchanged
		c.What = ch.what
		if !ch.idle {
			undo := ch.apply(s)
			c, err = s.after(ch, load, out.Knee)
			undo()
			if err != nil {
				return nil, fmt.Errorf("planning for %s: %w", ch.what, err)
			}
		}
		if out.Knee.Throughput > 0 {
			c.Gain = c.Knee/out.Knee.Throughput - 1
		}
		out.Changes = append(out.Changes, c)
	}
	return out, nil
}

// limits are the saturation and the knee under the mix of the load.
func (s *steady) limits(load Load) (saturation, knee Limit, err error) {
	held, by := s.held()
	saturation = Limit{Throughput: min(held, ample), By: by}
	if knee, err = s.knee(); err != nil || load.Users == 0 {
		return saturation, knee, err
	}
	think := load.Think.Seconds()
	// N* = X (D + Z): the users beyond which the bottleneck must queue (Denning and Buzen 1978).
	saturation.Users = int(math.Ceil(saturation.Throughput * (s.alone() + think)))
	users, err := s.users(knee.Throughput, think)
	if err == nil && !math.IsInf(users, 1) {
		knee.Users = int(math.Ceil(users))
	}
	return saturation, knee, err
}

// after is what a change that was just made has brought; before is the knee without it.
func (s *steady) after(ch change, load Load, before Limit) (Change, error) {
	c := Change{What: ch.what}
	held, _ := s.held()
	knee, err := s.kneeAfter(before)
	if err != nil {
		return c, err
	}
	c.Saturation, c.Knee = min(held, ample), knee.Throughput
	if ok, err := s.reach(load); err != nil || !ok {
		return c, err
	}
	c.Mean = seconds(s.latency())
	for i := range s.routes {
		v, err := s.p99(i)
		if err != nil {
			return c, err
		}
		c.P99 = max(c.P99, seconds(v))
	}
	return c, nil
}

// Latency is the mean latency over all routes and the p99 of the slowest; both 0 where the system is saturated.
func (p *Prediction) Latency() (mean, p99 time.Duration) {
	if p.Saturated || p.Throughput == 0 {
		return 0, 0
	}
	var sum float64
	for _, r := range p.Routes {
		sum += r.Rate * r.Mean.Seconds()
		p99 = max(p99, r.P99)
	}
	return seconds(sum / p.Throughput), p99
}

// mixOf is the share of each route in a load.
func (m *model) mixOf(load Load) map[string]float64 {
	if load.Users > 0 {
		return load.Mix
	}
	mix, total := map[string]float64{}, load.Total()
	for r, v := range load.Rates {
		mix[r] = v / total
	}
	return mix
}
