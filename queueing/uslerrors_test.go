package queueing

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestUSLErrorsCover fits the law to noisy points of a known one again and again.
func TestUSLErrorsCover(t *testing.T) {
	truth := USL{Alpha: 0.06, Beta: 0.0008, Gamma: 50}
	rng := rand.New(rand.NewPCG(1, 8))
	var inside [3]int
	const trials = 200
	for range trials {
		var points []USLPoint
		for _, n := range []float64{1, 2, 4, 8, 12, 16, 24, 32, 48, 64} {
			points = append(points, USLPoint{n, truth.throughput(n) + 8*rng.NormFloat64()})
		}
		u, _, err := FitUSL(points, USLLeastSquares)
		if err != nil {
			t.Fatal(err)
		}
		e, err := u.Errors(points)
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range [][3]float64{{u.Alpha, truth.Alpha, e.Alpha}, {u.Beta, truth.Beta, e.Beta}, {u.Gamma, truth.Gamma, e.Gamma}} {
			if math.Abs(d[0]-d[1]) < 2.36*d[2] { // Student's t with 7 degrees of freedom
				inside[i]++
			}
		}
	}
	for i, n := range inside {
		if share := float64(n) / trials; share < 0.88 || share > 0.995 {
			t.Errorf("coefficient %d lies within its 95%% interval in %.0f%% of the cases", i, 100*share)
		}
	}
	if e, err := truth.Errors([]USLPoint{{1, 50}, {2, 90}, {3, 120}}); err != nil || !math.IsInf(e.Alpha, 1) {
		t.Errorf("three points leave %+v, %v: want no bound", e, err)
	}
}
