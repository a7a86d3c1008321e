package replay

import (
	"fmt"
	"math"
	"time"

	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/forecast"
	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// Policies are the names of those that can be compared.
func Policies() []string { return []string{"predictive", "hpa", "kpa", "aws", "step"} }

// contestant is a policy whose knob is swept.
type contestant struct {
	name  string
	knob  string // what the knob is
	knobs []float64
	with  func(knob float64) decider
}

// byDecide is a policy that goes by what is measured alone.
type byDecide func(now time.Duration, u policy.Usage) (int, policy.ScaleReason)

func (byDecide) observe(int) {}

func (d byDecide) decide(now time.Duration, u policy.Usage) int {
	n, _ := d(now, u)
	return n
}

// contestants of a comparison, in the order of their names.
func contestants(tr Trace, p *Plant, names []string) ([]contestant, error) {
	each := eachAtMean(tr, p)
	var out []contestant
	for _, name := range names {
		c := contestant{name: name, knob: "target utilisation", knobs: utilisations()}
		switch name {
		case "predictive":
			outlooks, err := forecastOnce(tr, p)
			if err != nil {
				return nil, err
			}
			c.knob, c.knobs = "headroom", headrooms()
			c.with = func(headroom float64) decider {
				return &predictive{outlooks: outlooks, scaler: policy.NewPredictiveScaler(policy.PredictiveConfig{
					Need: p.Capacity.Need, Headroom: headroom, CoolDown: autoscale.CoolDown, Min: p.Min, Max: p.Max})}
			}
		case "hpa":
			c.with = func(u float64) decider {
				return byDecide(policy.NewScaler(topology.Scale{CoolDown: topology.Duration(5 * time.Minute),
					Target: topology.ScaleTarget{Requests: topology.Rate(u * each)}}, p.Min, p.Max).Decide)
			}
		case "kpa":
			c.with = func(u float64) decider {
				return byDecide(policy.NewKnativeScaler(policy.KnativeConfig{Target: each, Utilization: u, Min: p.Min, Max: p.Max}).Decide)
			}
		case "aws":
			c.with = func(u float64) decider {
				return byDecide(policy.NewTrackingScaler(policy.TrackingConfig{Target: u * each, Min: p.Min, Max: p.Max}).Decide)
			}
		case "step":
			c.with = func(u float64) decider {
				return byDecide(policy.NewStepScaler(policy.StepConfig{Target: u * each, Min: p.Min, Max: p.Max}).Decide)
			}
		default:
			return nil, fmt.Errorf("policy %q is unknown: want %v", name, Policies())
		}
		out = append(out, c)
	}
	return out, nil
}

// eachAtMean is what a replica holds when as many serve as the mean rate needs.
func eachAtMean(tr Trace, p *Plant) float64 {
	sum, n := 0.0, 0.0
	for _, r := range tr.Rates {
		if r >= 0 {
			sum += r
			n++
		}
	}
	k := max(1, p.need(sum/math.Max(n, 1)))
	return p.Capacity.Holds(k) / float64(k)
}

func utilisations() (out []float64) {
	for u := 0.1; u < 1.001; u += 0.02 {
		out = append(out, u)
	}
	return out
}

func headrooms() (out []float64) {
	for h := 0.0; h < 2; h += 0.05 {
		out = append(out, h)
	}
	for h := 2.0; h < 40; h *= 1.06 {
		out = append(out, h)
	}
	return out
}

// predictive replays outlooks that were forecast once: they do not depend on its knob.
type predictive struct {
	outlooks []policy.Outlook
	now      policy.Outlook
	scaler   *policy.PredictiveScaler
}

func (d *predictive) observe(step int) {
	d.now = d.outlooks[step]
}

func (d *predictive) decide(now time.Duration, u policy.Usage) int {
	n, _ := d.scaler.Decide(now, u, d.now)
	return n
}

// forecastOnce gives the outlook after each step of a trace.
func forecastOnce(tr Trace, p *Plant) ([]policy.Outlook, error) {
	interval := max(p.Tick, tr.Step)
	predictor, err := forecast.NewPredictor(forecast.PredictorConfig{Step: tr.Step, Far: max(p.StartUp+interval, autoscale.CoolDown)})
	if err != nil {
		return nil, err
	}
	outlooks := make([]policy.Outlook, len(tr.Rates))
	for i, r := range tr.Rates {
		predictor.Observe(r)
		o := predictor.Outlook(p.StartUp + interval)
		outlooks[i] = policy.Outlook{Until: o.Until, Beyond: o.Beyond}
	}
	return outlooks, nil
}
