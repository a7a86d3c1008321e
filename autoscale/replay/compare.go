package replay

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
)

// Point of a policy's curve.
type Point struct {
	Knob float64 `json:"knob"`
	Outcome
}

// Result of one policy.
type Result struct {
	Policy string `json:"policy"`
	Knob   string `json:"knob"` // what its knob is
	// Curve in the order of the cost.
	Curve []Point `json:"curve"`
	// Reached says whether any setting met the objective. The rest is interpolated on the curve at the objective.
	Reached bool    `json:"reached"`
	Cost    float64 `json:"costOverOracle,omitempty"`
	// At is the cheapest setting that met the objective.
	At Point `json:"at"`
}

// Comparison of policies on one trace.
type Comparison struct {
	Steps     int     `json:"steps"`
	Objective float64 `json:"objective"` // share of the steps that must hold
	Results   []Result
}

// Of returns the result of a policy; nil when it was not compared.
func (c *Comparison) Of(policy string) *Result {
	for i := range c.Results {
		if c.Results[i].Policy == policy {
			return &c.Results[i]
		}
	}
	return nil
}

// Compare sweeps each policy on a trace. objective is the share of steps that must hold, such as 0.995.
func Compare(ctx context.Context, tr Trace, p Plant, names []string, objective float64) (*Comparison, error) {
	if err := p.check(tr); err != nil {
		return nil, err
	}
	if !(objective > 0 && objective <= 1) {
		return nil, fmt.Errorf("objective %v: want a share of the steps above 0, at most 1", objective)
	}
	all, err := contestants(tr, &p, names)
	if err != nil {
		return nil, err
	}
	c := &Comparison{Objective: objective}
	for _, k := range all {
		curve, err := sweep(ctx, tr, &p, k)
		if err != nil {
			return nil, err
		}
		r := Result{Policy: k.name, Knob: k.knob, Curve: curve}
		r.locate(objective)
		c.Steps = curve[0].Steps
		c.Results = append(c.Results, r)
	}
	return c, nil
}

// sweep plays all settings of a policy, as many side by side as there are processors.
func sweep(ctx context.Context, tr Trace, p *Plant, k contestant) ([]Point, error) {
	curve := make([]Point, len(k.knobs))
	next := make(chan int)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := range next {
				curve[i] = Point{k.knobs[i], p.play(tr, k.with(k.knobs[i]))}
			}
		})
	}
	for i := range curve {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	workers.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("replaying policy %s: %w", k.name, err)
	}
	slices.SortStableFunc(curve, func(a, b Point) int {
		switch {
		case a.ReplicaHours < b.ReplicaHours:
			return -1
		case a.ReplicaHours > b.ReplicaHours:
			return 1
		}
		return 0
	})
	return curve, nil
}

// locate finds the cost at the objective: between the best point below it that is cheaper and the first that meets it.
func (r *Result) locate(objective float64) {
	below := -1
	for i := range r.Curve {
		p := &r.Curve[i]
		if p.Held() < objective {
			if below < 0 || p.Held() >= r.Curve[below].Held() {
				below = i
			}
			continue
		}
		r.Reached, r.At, r.Cost = true, *p, p.Cost()
		if below >= 0 {
			b := &r.Curve[below]
			w := (objective - b.Held()) / (p.Held() - b.Held())
			r.Cost = b.Cost() + w*(p.Cost()-b.Cost())
		}
		return
	}
}
