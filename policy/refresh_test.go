package policy

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestRefreshEarly(t *testing.T) {
	for _, c := range []struct {
		left, took   time.Duration
		beta, chance float64
		want         bool
	}{
		{time.Second, time.Second, 0, 0.999, false},
		{0, time.Second, 0, 0, true},
		{-1, 0, 1, 0, true},
		{time.Second, time.Second, 1, 0.6, false},  // -ln 0.4 = 0.92
		{time.Second, time.Second, 1, 0.65, true},  // -ln 0.35 = 1.05
		{time.Second, time.Second, 2, 0.45, true},  // twice as eager
		{time.Hour, time.Millisecond, 1, 0, false}, // -ln 1 = 0
	} {
		if got := RefreshEarly(c.left, c.took, c.beta, c.chance); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
	// The share of those who refresh falls by e with each time that fetching takes.
	rng := rand.New(rand.NewPCG(1, 2))
	for _, left := range []float64{0.5, 1, 2, 3} {
		n := 0
		for range 100_000 {
			if RefreshEarly(time.Duration(left*float64(time.Second)), time.Second, 1, rng.Float64()) {
				n++
			}
		}
		if got, want := float64(n)/100_000, math.Exp(-left); math.Abs(got-want) > 0.01 {
			t.Errorf("%v left: %.3f refresh, want %.3f", left, got, want)
		}
	}
}
