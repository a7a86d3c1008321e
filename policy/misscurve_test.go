package policy

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/banyanhq/banyan/stats"
)

// zipfKeys is a trace of keys by Zipf's law.
func zipfKeys(t testing.TB, keys uint64, skew float64, seed uint64) trace {
	t.Helper()
	z, err := stats.NewZipf(keys, skew)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	return func(int) uint64 { return z.Draw(rng.Float64) }
}

// The curve that is told from a share of the keys is that of real caches of these sizes.
func TestMissCurve(t *testing.T) {
	const capacity, warm, n = 20_000, 300_000, 300_000
	for _, skew := range []float64{0.7, 0.99} {
		c, cache := NewMissCurve(), newTinyModel(capacity)
		next := zipfKeys(t, 400_000, skew, 1)
		for i := range warm + n {
			key := next(i)
			there := cache.get(key)
			c.Asked(mixKey(key), 0, capacity, there, 0)
			if !there {
				c.Stored(mixKey(key), 0, 0, capacity)
			}
		}
		points := c.Points()
		if points == nil {
			t.Fatal("no curve")
		}
		for _, p := range points {
			if p.Size != 0.25 && p.Size != 1 && p.Size != 4 {
				continue // these tell enough, and each takes half a second
			}
			real, _ := hitRatios(t, int(p.Size*capacity), warm, n, zipfKeys(t, 400_000, skew, 1))
			if d := p.HitRatio - real; math.Abs(d) > 0.05 {
				t.Errorf("skew %v, %v times the size: %.3f by the curve, %.3f in truth", skew, p.Size, p.HitRatio, real)
			}
		}
		if points[0].HitRatio >= points[len(points)-1].HitRatio-0.1 {
			t.Errorf("skew %v: the curve is flat: %v", skew, points)
		}
	}
}

// What expired or was deleted is not there at any size, and what nobody stores never comes to be.
func TestMissCurveForgets(t *testing.T) {
	c := NewMissCurve()
	hit := func() float64 { return c.minis[len(CurveSizes)-1].hits }
	var key uint64
	for key = 1; mixed(mixKey(key)) > c.bound; key++ {
	}
	h := mixKey(key)
	c.Asked(h, 0, 1000, false, 0)
	if hit() != 0 {
		t.Error("a hit of what was never stored")
	}
	c.Stored(h, 0, 100, 1000)
	c.Asked(h, 99, 1000, true, 100)
	if hit() != 1 {
		t.Error("no hit of what was stored")
	}
	c.Asked(h, 100, 1000, false, 0)
	if hit() != 1 {
		t.Error("a hit of what has expired")
	}
	c.Stored(h, 100, 0, 1000)
	c.Dropped(h)
	c.Asked(h, 100, 1000, false, 0)
	if hit() != 1 {
		t.Error("a hit of what was deleted")
	}
}

// It takes no more the more the cache holds.
func TestMissCurveIsBounded(t *testing.T) {
	c := NewMissCurve()
	for i := range uint64(2_000_000) {
		h := mixKey(i)
		c.Asked(h, 0, int(i), false, 0)
		c.Stored(h, 0, 0, int(i))
	}
	most := 0.0
	for _, size := range CurveSizes {
		most += size * mostSampled
	}
	if float64(c.entries) > most || c.Bytes() > 4<<20 {
		t.Errorf("%d entries, %d bytes", c.entries, c.Bytes())
	}
	if c.rate > 1.0/512 {
		t.Errorf("%v of the keys are sampled", c.rate)
	}
	for hash := range c.minis[0].entries {
		if mixed(hash) > c.bound {
			t.Fatal("a key that is not sampled any more is still there")
		}
	}
}

func BenchmarkMissCurve(b *testing.B) {
	c := NewMissCurve()
	next := zipfKeys(b, 1_000_000, 0.99, 1)
	keys := make([]uint64, 1<<16)
	for i := range keys {
		keys[i] = mixKey(next(i))
	}
	b.ReportAllocs()
	for i := range b.N {
		c.Asked(keys[i&(1<<16-1)], 0, 100_000, true, 0)
	}
}
