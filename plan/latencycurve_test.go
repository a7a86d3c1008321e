package plan

import (
	"math"
	"testing"

	"github.com/banyanhq/banyan/topology"
)

// The curve is what Predict says at each of its points.
func TestLatencyCurveIsThePrediction(t *testing.T) {
	shop, err := topology.Load("../examples/shop/banyan.yaml")
	if err != nil {
		t.Fatal(err)
	}
	closed, err := LoadOf(shop, 0)
	if err != nil {
		t.Fatal(err)
	}
	mix := Load{Rates: closed.Mix}
	big, bigLoad := large(30, 8)
	for name, c := range map[string]struct {
		sys   *topology.System
		load  Load
		rates []float64
	}{"shop": {shop, mix, []float64{1, 300, 900, 1300, 5000}}, "large": {big, bigLoad, []float64{10, 400, 800, 1e6}}} {
		points, err := LatencyCurve(c.sys, c.load, c.rates, Options{Cores: 2})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i, rate := range c.rates {
			load := Load{Rates: map[string]float64{}}
			for r, v := range c.load.Rates {
				load.Rates[r] = v / c.load.Total() * rate
			}
			p, err := Predict(c.sys, load, Options{Cores: 2})
			if err != nil {
				t.Fatal(err)
			}
			mean, p99 := p.Latency()
			near := func(a, b float64) bool { return math.Abs(a-b) <= 1e-4*math.Max(a, b) }
			if got := points[i]; got.Saturated != p.Saturated || !near(float64(got.Mean), float64(mean)) || !near(float64(got.P99), float64(p99)) {
				t.Errorf("%s at %g/s: the curve has %+v, the prediction %v and %v (saturated: %v)", name, rate, got, mean, p99, p.Saturated)
			}
		}
	}
	if _, err := LatencyCurve(shop, closed, []float64{1}, Options{Cores: 2}); err == nil {
		t.Error("a closed load was taken for an open one")
	}
}
