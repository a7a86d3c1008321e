package plan

import "github.com/banyanhq/banyan/simulate"

// hits compares the hit ratios of routes with an http_cache; nil where none was predicted and measured.
func hits(p *Prediction, sim *simulate.Result, m *Measurement) map[string]Pair {
	simulated := map[string]float64{}
	if sim != nil {
		for i := range sim.Routes {
			simulated[sim.Routes[i].Route] = sim.Routes[i].HitRatio()
		}
	}
	var out map[string]Pair
	for _, r := range p.Routes {
		measured, ok := m.HitRatios[r.Route]
		if r.HitRatio == nil || !ok {
			continue
		}
		if out == nil {
			out = map[string]Pair{}
		}
		out[r.Route] = pair(*r.HitRatio, simulated[r.Route], measured)
	}
	return out
}
