package plan

import (
	"fmt"
	"math"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// RatePoint is the latency at one throughput.
type RatePoint struct {
	// Rate of all routes in requests a second.
	Rate float64 `json:"rate"`
	// Saturated: it is more than the system holds. Then there are no latencies.
	Saturated bool `json:"saturated,omitempty"`
	// Mean over all routes, and P99 of the slowest.
	Mean time.Duration `json:"mean_ns"`
	P99  time.Duration `json:"p99_ns"`
}

// LatencyCurve predicts at several throughputs under the mix of an open load, for a drawing: the model is compiled once, and
// percentiles come from a table good to about 1e-5. What the load does to the hit ratios of caches is left out.
func LatencyCurve(sys *topology.System, load Load, rates []float64, o Options) ([]RatePoint, error) {
	if load.Users > 0 || load.Total() <= 0 {
		return nil, fmt.Errorf("a curve over the rate is one of an open load")
	}
	m, err := newModel(sys, load, o)
	if err != nil {
		return nil, err
	}
	s, err := m.compile(sys, m.mixOf(load))
	if err != nil {
		return nil, err
	}
	table, err := newCurve(0.99)
	if err != nil {
		return nil, err
	}
	points := make([]RatePoint, len(rates))
	for i, rate := range rates {
		if points[i], err = s.pointAt(rate, table); err != nil {
			return nil, fmt.Errorf("predicting at %.4g requests a second: %w", rate, err)
		}
	}
	return points, nil
}

func (s *steady) pointAt(rate float64, table *curve) (RatePoint, error) {
	p := RatePoint{Rate: rate}
	if !(rate >= 0) || math.IsInf(rate, 0) {
		return p, fmt.Errorf("a rate of %v", rate)
	}
	ok, err := s.reach(Load{Rates: map[string]float64{"": rate}})
	if err != nil || !ok {
		p.Saturated = err == nil
		return p, err
	}
	sum, shares := 0.0, 0.0
	for i := range s.routes {
		pass := &s.routes[i]
		sum += pass.share * s.mean[i]
		shares += pass.share
		var q float64
		if pass.cache != nil && pass.cache.hit > 0 {
			q, err = pass.cache.quantile(s.mean[i], s.variance[i], table.q)
		} else {
			q, err = s.at(i, table)
		}
		if err != nil {
			return p, fmt.Errorf("route %s: %w", pass.name, err)
		}
		p.P99 = max(p.P99, seconds(q))
	}
	p.Mean = seconds(sum / shares)
	return p, nil
}
