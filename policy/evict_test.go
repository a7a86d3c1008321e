package policy

import (
	"math/rand/v2"
	"testing"
)

// The budget is never exceeded, nothing is lost or doubled, and under a skewed mix the objects asked for most are those
// that stay.
func TestEvictorKeepsWhatIsAskedFor(t *testing.T) {
	const objects, room = 2000, 200
	rng := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rng, 1.2, 1, objects-1)
	e := NewEvictor(room)
	in := map[uint64]*Cached{}
	hits, asked := 0, 0
	for i := range 200_000 {
		key := zipf.Uint64()
		if i >= 50_000 {
			asked++
		}
		if c := in[key]; c != nil {
			c.Touch()
			if i >= 50_000 {
				hits++
			}
			continue
		}
		c := &Cached{Key: key, Size: 1}
		in[key] = c
		e.Add(c)
		for v := e.Evict(); v != nil; v = e.Evict() {
			delete(in, v.Key)
		}
		if e.Bytes() > room || e.Len() != len(in) {
			t.Fatalf("%d bytes, %d objects, %d known", e.Bytes(), e.Len(), len(in))
		}
	}
	if ratio := float64(hits) / float64(asked); ratio < 0.75 {
		t.Errorf("hit ratio %.3f", ratio)
	}
	for _, c := range in {
		e.Remove(c)
	}
	if e.Len() != 0 || e.Bytes() != 0 {
		t.Errorf("after removing all: %d objects, %d bytes", e.Len(), e.Bytes())
	}
}
