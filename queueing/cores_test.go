package queueing

import (
	"math"
	"testing"
)

// stretchBySum adds the chain up term by term.
func stretchBySum(load float64, c int, apart float64) float64 {
	p, sum, first := 1.0, 1.0, 0.0
	for n := 1; n < 10_000_000; n++ {
		p *= load / CoresBusy(float64(n), float64(c), apart)
		sum += p
		first += float64(n) * p
		if n > c && p*float64(n) < 1e-16*first {
			break
		}
	}
	return first / sum / load
}

func TestCoresStretch(t *testing.T) {
	for _, c := range []int{1, 2, 3, 4, 8, 64, 200, 2000} {
		for _, use := range []float64{1e-9, 0.01, 0.3, 0.5, 0.8, 0.95, 0.999} {
			load := use * float64(c)
			last := 0.0
			for _, apart := range []float64{0, 0.1, 0.5, 1} {
				got, err := CoresStretch(load, c, apart)
				if err != nil {
					t.Fatal(err)
				}
				if want := stretchBySum(load, c, apart); math.Abs(got/want-1) > 1e-9 {
					t.Errorf("%d cores at %g, %g apart: %.12g, by the sum %.12g", c, use, apart, got, want)
				}
				if apart == 0 {
					shared, err := MMc(load, 1, c)
					if err != nil {
						t.Fatal(err)
					}
					last = shared.W
				}
				if got < last*(1-1e-9) || got > 1/(1-use)*(1+1e-9) {
					t.Errorf("%d cores at %g, %g apart: %g, with fewer %g, with all %g", c, use, apart, got, last, 1/(1-use))
				}
				last = got
			}
		}
	}
	if got, _ := CoresStretch(32, 64, 1); got > 1.02 {
		t.Errorf("one of 64 cores apart, half of them used: %g", got)
	}
	if got, err := CoresStretch(2*(1-1e-9), 2, 1); err != nil || math.Abs(got*1e-9/0.75-1) > 0.01 {
		t.Errorf("nearly full: %g, %v, want 0.75e9", got, err)
	}
	for _, bad := range []struct{ load, apart float64 }{{2, 1}, {3, 1}, {math.NaN(), 1}, {math.Inf(1), 1}, {-1, 1}, {1, -0.1}, {1, 1.1}, {1, math.NaN()}} {
		if got, err := CoresStretch(bad.load, 2, bad.apart); err == nil {
			t.Errorf("at a load of %g on 2 cores, %g apart: %g", bad.load, bad.apart, got)
		}
	}
}

func TestCoresBusy(t *testing.T) {
	for _, c := range []float64{0.5, 1, 1.5, 2, 7, 64} {
		for _, apart := range []float64{0, 0.5, 1} {
			last := 0.0
			for n := 1.0; n < 10_000; n++ {
				got := CoresBusy(n, c, apart)
				if got < last-1e-12 || got > math.Min(n, c)+1e-12 {
					t.Fatalf("%g threads on %g cores: %g after %g", n, c, got, last)
				}
				last = got
			}
			if last < 0.99*c {
				t.Errorf("10000 threads use %g of %g cores", last, c)
			}
			if got := CoresBusy(1, c, apart); got != math.Min(c, 1) {
				t.Errorf("one thread alone uses %g of %g cores", got, c)
			}
		}
	}
}
