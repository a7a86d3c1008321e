package replay

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/forecast"
	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

// Policies are the names of those that can be compared.
func Policies() []string { return []string{"predictive", "hpa", "kpa", "aws", "step"} }

// Named is the name here of a policy of topology.Scale.
func Named(scale string) string {
	if name := map[string]string{"knative": "kpa", "tracking": "aws", "steps": "step"}[scale]; name != "" {
		return name
	}
	return "hpa"
}

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
	usual := usualReplicas(tr, p)
	each := p.Capacity.Holds(usual) / float64(usual)
	var outlooks []stats.Outlook
	if slices.Contains(names, "predictive") {
		var err error
		if outlooks, err = forecastOnce(tr, p); err != nil {
			return nil, err
		}
	}
	var out []contestant
	for _, name := range names {
		c := contestant{name: name, knob: "target utilisation", knobs: utilisations()}
		switch name {
		case "predictive":
			c.with = func(u float64) decider { return newPredictive(tr, p, u, u*each, outlooks) }
		case "hpa":
			c.with = func(u float64) decider { return byDecide(kubernetes(p, u*each).Decide) }
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

// kubernetes is the horizontal pod autoscaler with a target of requests a second for each replica.
func kubernetes(p *Plant, target float64) *policy.Scaler {
	return policy.NewScaler(topology.Scale{CoolDown: topology.Duration(5 * time.Minute),
		Target: topology.ScaleTarget{Requests: topology.Rate(target)}}, p.Min, p.Max)
}

// usualReplicas are those that the mean rate needs. What each of them holds is what a target utilisation is a share of, and
// with so many the headroom of the predictive policy is the same as that of the reactive ones.
func usualReplicas(tr Trace, p *Plant) int {
	sum, n := 0.0, 0.0
	for _, r := range tr.Rates {
		if r >= 0 {
			sum += r
			n++
		}
	}
	return max(1, p.need(sum/math.Max(n, 1)))
}

// utilisations that all policies are played at: the closer together the higher they are, since there a little more of it
// decides whether the objective holds.
func utilisations() (out []float64) {
	for u := 10; u < 90; u += 2 {
		out = append(out, float64(u)/100)
	}
	for u := 900; u <= 1000; u += 5 {
		out = append(out, float64(u)/1000)
	}
	return out
}

// predictive is what scales a service that runs, where its file says 'predict'. It is told the outlook after each step,
// forecast once: none depends on the knob.
type predictive struct {
	outlooks []stats.Outlook
	now      stats.Outlook
	startUp  time.Duration
	scaler   *policy.ServiceScaler
}

func newPredictive(tr Trace, p *Plant, utilization, target float64, outlooks []stats.Outlook) *predictive {
	d := &predictive{outlooks: outlooks, startUp: p.StartUp}
	d.scaler = policy.NewServiceScaler(policy.ServiceConfig{Min: p.Min, Max: p.Max, Interval: max(p.Tick, tr.Step), Ahead: d, Need: p.Capacity.Need,
		Scale: topology.Scale{Policy: p.Reactive, CoolDown: topology.Duration(autoscale.CoolDown), Predict: true,
			Target: topology.ScaleTarget{Requests: topology.Rate(target), Utilization: topology.Percent(utilization)}}})
	return d
}

func (d *predictive) observe(step int) { d.now = d.outlooks[step] }

func (d *predictive) decide(now time.Duration, u policy.Usage) int {
	return d.scaler.Decide(now, u, d.startUp, 0).Replicas
}

// Observe does nothing: what is foretold has been already.
func (d *predictive) Observe(float64) {}

// Outlook is that after the latest step.
func (d *predictive) Outlook(time.Duration) stats.Outlook { return d.now }

// forecastOnce gives the outlook after each step of a trace.
func forecastOnce(tr Trace, p *Plant) ([]stats.Outlook, error) {
	interval := max(p.Tick, tr.Step)
	predictor, err := forecast.NewPredictor(forecast.PredictorConfig{Step: tr.Step, Far: max(p.StartUp+interval, autoscale.CoolDown)})
	if err != nil {
		return nil, err
	}
	outlooks := make([]stats.Outlook, len(tr.Rates))
	for i, r := range tr.Rates {
		predictor.Observe(r)
		outlooks[i] = predictor.Outlook(p.StartUp + interval)
	}
	return outlooks, nil
}
