package slo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/prometheus/promql"
)

// Standing of an objective.
type Standing struct {
	Objective
	// Events in the window, and how many of them were bad.
	Events float64 `json:"events"`
	Bad    float64 `json:"bad"`
	// Share of events that were good; NaN where there were none.
	Share float64 `json:"-"`
	// Left is the share of the budget that is left: 1 untouched, 0 used up, below 0 overdrawn. Where the metrics do not
	// reach back over the whole window, the same traffic without a failure is assumed for the rest.
	Left float64 `json:"left"`
	// Rates says how fast the budget is used now, by the windows of the alerts.
	Rates []Rate `json:"rates"`
	// Ends is after how long the budget is used up if it goes on as in the last hour (or the longest window that is
	// shorter); 0: it is not.
	Ends time.Duration `json:"ends"`
	// Data is how far back the metrics reach, at most the window.
	Data time.Duration `json:"data"`
}

// Rate of burning over a window.
type Rate struct {
	Window time.Duration `json:"window"`
	Burn   float64       `json:"burn"`
	// Alert is the factor at which an alert would fire, and Severity its weight.
	Alert    float64 `json:"alert"`
	Severity string  `json:"severity"`
}

// Query evaluates an expression now.
type Query func(ctx context.Context, expr string) (promql.Vector, error)

// Board says how it stands with each objective. data is how far back the metrics reach.
func Board(ctx context.Context, all []Objective, cfg Config, data time.Duration, query Query) ([]Standing, error) {
	out := make([]Standing, 0, len(all))
	for _, o := range all {
		s, err := stand(ctx, o, cfg, data, query)
		if err != nil {
			return nil, fmt.Errorf("slo %s, %s: %w", o.SLO, o.Kind, err)
		}
		out = append(out, s)
	}
	return out, nil
}

func stand(ctx context.Context, o Objective, cfg Config, data time.Duration, query Query) (Standing, error) {
	s := Standing{Objective: o, Share: math.NaN(), Left: 1, Data: min(data, o.Window), Rates: []Rate{}}
	ask := func(expr string) (float64, error) {
		v, err := query(ctx, expr)
		switch {
		case err != nil:
			return 0, err
		case len(v) == 0 || math.IsNaN(v[0].F):
			return 0, nil
		case len(v) > 1:
			return 0, errors.New("more than one series")
		}
		return v[0].F, nil
	}
	window := Promql(o.Window)
	var err error
	if s.Events, err = ask(o.Total("increase", window)); err != nil {
		return s, err
	}
	if s.Bad, err = ask(o.Bad("increase", window)); err != nil {
		return s, err
	}
	s.Bad = max(s.Bad, 0) // what is extrapolated may differ by a fraction of an event
	if s.Events > 0 {
		s.Share = 1 - s.Bad/s.Events
		s.Left = 1 - s.Bad/s.Events/o.Budget()*min(1, s.Data.Seconds()/o.Window.Seconds())
	}
	for _, b := range Burns(o, cfg) {
		ratio, err := ask(o.Ratio(Promql(b.Long)))
		if err != nil {
			return s, err
		}
		s.Rates = append(s.Rates, Rate{b.Long, max(ratio, 0) / o.Budget(), b.Factor, b.Severity})
	}
	if len(s.Rates) > 0 && s.Rates[0].Burn > 0 && s.Left > 0 {
		s.Ends = time.Duration(min(s.Left*float64(o.Window)/s.Rates[0].Burn, math.MaxInt64/2))
	}
	return s, nil
}
