package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestPausesHaveTheirMoments(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const n = 400_000
	for name, scv := range map[string]float64{"exponential": 1, "": 1, "constant": 0, "uniform": 1.0 / 12, "lognormal": 1} {
		sum, squares, left := 0.0, 0.0, 0.0
		for range n {
			x := Pause(name, 3, rng)
			sum, squares = sum+x, squares+x*x
			left += RemainingPause(name, 3, rng)
		}
		mean := sum / n
		if math.Abs(mean-3) > 0.05 {
			t.Errorf("%q: mean %v, want 3", name, mean)
		}
		if got := squares/n/mean/mean - 1; math.Abs(got-scv) > 0.05 {
			t.Errorf("%q: squared coefficient of variation %v, want %v", name, got, scv)
		}
		// What is left of a pause is on average E[X^2]/2E[X].
		if want := 3 * (1 + scv) / 2; math.Abs(left/n-want) > 0.05 {
			t.Errorf("%q: %v is left on average, want %v", name, left/n, want)
		}
	}
}
