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
	// Changes are single changes to the system and what each would do to it.
	Changes []Change `json:"changes"`
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
}

// Make predicts the system under the load and looks around: at the limits, and at each single change.
func Make(sys *topology.System, load Load, o Options) (*Plan, error) {
	m, err := newModel(sys, load, o)
	if err != nil {
		return nil, err
	}
	p, err := m.plan(sys, load)
	if err != nil {
		return nil, err
	}
	for _, ch := range m.changes() {
		changed, err := newModel(sys, load, ch.apply(o))
		if err != nil {
			return nil, err
		}
		if ch.cores > 0 {
			changed.cores = m.cores + ch.cores
		}
		after, err := changed.plan(sys, load)
		if err != nil {
			return nil, fmt.Errorf("planning for %s: %w", ch.what, err)
		}
		c := Change{What: ch.what, Saturation: after.Saturation.Throughput, Knee: after.Knee.Throughput}
		if p.Knee.Throughput > 0 {
			c.Gain = c.Knee/p.Knee.Throughput - 1
		}
		c.Mean, c.P99 = summary(after.Prediction)
		p.Changes = append(p.Changes, c)
	}
	return p, nil
}

// summary is the mean latency over all routes and the p99 of the slowest.
func summary(p *Prediction) (mean, p99 time.Duration) {
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

func (m *model) plan(sys *topology.System, load Load) (*Plan, error) {
	p, err := m.predict(load)
	if err != nil {
		return nil, err
	}
	out := &Plan{Prediction: p}
	mix := m.mixOf(load)
	held := m.heldRate(mix)
	_, by := m.busiest(m.ratesAt(mix, held))
	out.Saturation = Limit{Throughput: held, By: by}
	if out.Knee, err = m.knee(sys, mix, held); err != nil {
		return nil, err
	}
	if load.Users > 0 {
		out.Saturation.Users = m.usersFor(load, held, 1)
		if out.Knee.Users, err = m.usersAt(load, out.Knee.Throughput); err != nil {
			return nil, err
		}
	}
	return out, nil
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

// knee searches open throughputs of the mix, between nothing and all that is held.
func (m *model) knee(sys *topology.System, mix map[string]float64, held float64) (Limit, error) {
	if len(sys.SLOs) == 0 {
		return m.powerKnee(mix, held)
	}
	broken := ""
	lo, hi := 0.0, held
	for range 40 {
		x := (lo + hi) / 2
		name, err := m.brokenSLO(sys, mix, x)
		if err != nil {
			return Limit{}, err
		}
		if name == "" {
			lo = x
		} else {
			hi, broken = x, name
		}
	}
	if lo > 0.9999*held || broken == "" {
		_, by := m.busiest(m.ratesAt(mix, held))
		return Limit{Throughput: lo, By: by}, nil
	}
	return Limit{Throughput: lo, By: "SLO " + broken}, nil
}

// brokenSLO names the first SLO, by name, that the mix breaks at throughput x, and "" if there is none.
func (m *model) brokenSLO(sys *topology.System, mix map[string]float64, x float64) (string, error) {
	s, err := m.solveOpen(m.ratesAt(mix, x))
	if err != nil {
		return "", err
	}
	for _, name := range sortedKeys(sys.SLOs) {
		slo := sys.SLOs[name]
		for i, route := range m.routes {
			if route != slo.Route {
				continue
			}
			if s.saturated {
				return name, nil
			}
			for key, limit := range slo.Latency {
				q, err := percentile(key)
				if err != nil {
					return "", err
				}
				v, err := quantile(s.mean[i], s.variance[i], q)
				if err != nil {
					return "", err
				}
				if v > limit.Std().Seconds() {
					return name, nil
				}
			}
		}
	}
	return "", nil
}

// powerKnee maximises throughput / mean latency by golden-section search: power has one maximum.
func (m *model) powerKnee(mix map[string]float64, held float64) (Limit, error) {
	power := func(x float64) (float64, error) {
		s, err := m.solveOpen(m.ratesAt(mix, x))
		if err != nil || s.saturated {
			return 0, err
		}
		var mean float64
		for i, route := range m.routes {
			mean += mix[route] * s.mean[i]
		}
		return x / mean, nil
	}
	const ratio = 0.6180339887498949
	a, b := 0.0, held
	for range 40 {
		x1, x2 := b-ratio*(b-a), a+ratio*(b-a)
		p1, err := power(x1)
		if err != nil {
			return Limit{}, err
		}
		p2, err := power(x2)
		if err != nil {
			return Limit{}, err
		}
		if p1 > p2 {
			b = x2
		} else {
			a = x1
		}
	}
	x := (a + b) / 2
	_, by := m.busiest(m.ratesAt(mix, x))
	return Limit{Throughput: x, By: by}, nil
}

// usersAt is the number of users whose requests make throughput x, by the interactive response time law N = X (R + Z).
func (m *model) usersAt(load Load, x float64) (int, error) {
	s, err := m.solveOpen(m.ratesAt(load.Mix, x))
	if err != nil {
		return 0, err
	}
	var mean float64
	for i, route := range m.routes {
		if !s.saturated {
			mean += load.Mix[route] * s.mean[i]
		}
	}
	return int(math.Ceil(x * (mean + load.Think.Seconds()))), nil
}

// usersFor is N* = X (D + Z): the users beyond which the bottleneck must queue (Denning and Buzen 1978).
func (m *model) usersFor(load Load, held, share float64) int {
	var alone float64
	for _, route := range m.routes {
		cpu, _, delay, _, _ := m.total(route, 0)
		alone += load.Mix[route] * (cpu + delay)
	}
	return int(math.Ceil(share * held * (alone + load.Think.Seconds())))
}
