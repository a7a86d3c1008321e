package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

// The figures of Newcombe's paper, table II, method 10.
func TestDifferenceIntervalIsNewcombes(t *testing.T) {
	for _, c := range []struct {
		b, a      Proportion
		low, high float64
	}{
		{Proportion{56, 70}, Proportion{48, 80}, 0.0524, 0.3339},
		{Proportion{9, 10}, Proportion{3, 10}, 0.1705, 0.8090},
		{Proportion{6, 7}, Proportion{2, 7}, 0.0582, 0.8062},
		{Proportion{5, 56}, Proportion{0, 29}, -0.0381, 0.1926},
		{Proportion{0, 10}, Proportion{0, 10}, -0.2775, 0.2775},
		{Proportion{10, 10}, Proportion{0, 10}, 0.6075, 1},
	} {
		low, high := DifferenceInterval(c.a, c.b, 0.95)
		if math.Abs(low-c.low) > 6e-5 || math.Abs(high-c.high) > 6e-5 {
			t.Errorf("%v - %v: %.4f to %.4f, want %.4f to %.4f", c.b, c.a, low, high, c.low, c.high)
		}
	}
}

// An interval of 95 % misses the truth about once in twenty times; never much more often.
func TestIntervalsHoldTheTruth(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const runs = 2000
	missed, missedQuantile, missedRatio := 0, 0, 0
	for range runs {
		var a, b Proportion
		ha, hb := NewHistogram(3), NewHistogram(3)
		for range 400 {
			a.Of++
			b.Of++
			if rng.Float64() < 0.01 {
				a.Count++
			}
			if rng.Float64() < 0.04 {
				b.Count++
			}
			ha.Record(int64(1e6 * rng.ExpFloat64()))
			hb.Record(int64(2e6 * rng.ExpFloat64()))
		}
		if low, high := DifferenceInterval(a, b, 0.95); low > 0.03 || high < 0.03 {
			missed++
		}
		median := int64(693147)
		if low, high, ok := ha.QuantileInterval(0.5, 0.95); !ok || low > median+median/500 || high < median-median/500 {
			missedQuantile++
		}
		if low, high, ok := RatioInterval(ha, hb, 0.5, 0.95); !ok || low > 2 || high < 2 {
			missedRatio++
		}
	}
	for name, n := range map[string]int{"difference": missed, "quantile": missedQuantile, "ratio": missedRatio} {
		if float64(n)/runs > 0.065 {
			t.Errorf("the interval of a %s missed the truth %d times in %d", name, n, runs)
		}
	}
	if missed == 0 || missedQuantile == 0 {
		t.Error("intervals that never miss are too wide")
	}
}

func TestQuantileIntervalNeedsValues(t *testing.T) {
	h := NewHistogram(3)
	for i := range 20 {
		h.Record(int64(i + 1))
	}
	if _, _, ok := h.QuantileInterval(0.95, 0.99); ok {
		t.Error("twenty values say nothing of p95")
	}
	if low, high, ok := h.QuantileInterval(0.5, 0.9); !ok || low < 4 || high > 17 || low > 10 || high < 10 {
		t.Errorf("median of 1 to 20 from %d to %d, %v", low, high, ok)
	}
}
