package plan

import (
	"math"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// WhatIf is a system as it is and as it would be, under the same load.
type WhatIf struct {
	Before *Plan `json:"before"`
	After  *Plan `json:"after"`
	// CostBefore and CostAfter by the file's prices; nil without.
	CostBefore *Cost `json:"cost_before,omitempty"`
	CostAfter  *Cost `json:"cost_after,omitempty"`
}

// MakeWhatIf predicts two versions of a system. The load of each is its own: what a change does to the workload counts.
func MakeWhatIf(before, after *topology.System, loadBefore, loadAfter Load, o Options) (*WhatIf, error) {
	var w WhatIf
	var err error
	if w.Before, w.CostBefore, err = planned(before, loadBefore, o); err != nil {
		return nil, err
	}
	if w.After, w.CostAfter, err = planned(after, loadAfter, o); err != nil {
		return nil, err
	}
	return &w, nil
}

func planned(sys *topology.System, load Load, o Options) (*Plan, *Cost, error) {
	p, err := Make(sys, load, o)
	if err != nil {
		return nil, nil, err
	}
	m, err := newModel(sys, load, o)
	if err != nil {
		return nil, nil, err
	}
	s, err := m.compile(sys, m.mixOf(load))
	if err != nil {
		return nil, nil, err
	}
	return p, s.cost(sys.Prices, p.Throughput), nil
}

// Outcome is what a load did to a system, measured or predicted.
type Outcome struct {
	// Throughput of all routes in requests a second.
	Throughput float64 `json:"throughput"`
	// Mean latency over all requests, and P99 of the slowest route; 0 where the system is saturated.
	Mean time.Duration `json:"mean_ns"`
	P99  time.Duration `json:"p99_ns"`
	// CPU in cores, of all services and the gateway.
	CPU float64 `json:"cpu"`
}

// Outcome sums a prediction up.
func (p *Prediction) Outcome() Outcome {
	o := Outcome{Throughput: p.Throughput}
	o.Mean, o.P99 = p.Latency()
	for _, s := range p.Services {
		if s.Service != Client {
			o.CPU += s.CPU
		}
	}
	return o
}

// Outcome sums a measurement up.
func (m *Measurement) Outcome() Outcome {
	var o Outcome
	var sum float64
	var n int64
	for _, r := range m.Routes {
		n += r.Requests
		sum += float64(r.Requests) * r.Mean.Seconds()
		o.P99 = max(o.P99, r.P99)
	}
	if n > 0 {
		o.Mean = seconds(sum / float64(n))
	}
	if s := m.Seconds(); s > 0 {
		o.Throughput = float64(n) / s
	}
	for name, s := range m.Services {
		if name != Client {
			o.CPU += s.CPU
		}
	}
	return o
}

// Effect is the change of one figure.
type Effect struct {
	What   string  `json:"what"`
	Before float64 `json:"before"`
	After  float64 `json:"after"`
	// Change as a share of the figure before; NaN is never given: 0 where there was nothing before.
	Change float64 `json:"change"`
}

// Effects are the changes from one outcome to another: requests a second, mean and p99 in seconds, CPU in cores.
func Effects(before, after Outcome) []Effect {
	var out []Effect
	for _, f := range []struct {
		what string
		a, b float64
	}{
		{"requests/s", before.Throughput, after.Throughput},
		{"mean", before.Mean.Seconds(), after.Mean.Seconds()},
		{"p99", before.P99.Seconds(), after.P99.Seconds()},
		{"cpu", before.CPU, after.CPU},
	} {
		e := Effect{What: f.what, Before: f.a, After: f.b}
		if f.a > 0 && !math.IsInf(f.a, 0) {
			e.Change = f.b/f.a - 1
		}
		out = append(out, e)
	}
	return out
}
