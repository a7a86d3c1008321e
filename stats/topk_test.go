package stats

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// A count is never too low, and too high by what it says at most; a key that comes more often than one time in as many as
// there are places is kept.
func TestTopK(t *testing.T) {
	z, err := NewZipf(10_000, 0.99)
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		const places, n = 64, 20_000
		top := NewTopK(places)
		truth := map[string]float64{}
		for i := range n {
			key := fmt.Sprint(z.Draw(rng.Float64))
			if i == n/2 && seed%2 == 1 {
				top.Halve()
				for k := range truth {
					truth[k] /= 2
				}
			}
			truth[key]++
			top.Add([]byte(key))
		}
		total := 0.0
		for _, v := range truth {
			total += v
		}
		if top.Total() != total {
			t.Fatalf("seed %d: a total of %v, want %v", seed, top.Total(), total)
		}
		kept := map[string]bool{}
		last := total
		for _, c := range top.Top(places) {
			kept[c.Key] = true
			if own := truth[c.Key]; c.Count < own || c.Count-c.Over > own {
				t.Errorf("seed %d: key %s came %v times, and is counted %v with up to %v of others", seed, c.Key, own, c.Count, c.Over)
			}
			if c.Count > last {
				t.Errorf("seed %d: %v after %v", seed, c.Count, last)
			}
			last = c.Count
		}
		for k, v := range truth {
			if v > total/places && !kept[k] {
				t.Errorf("seed %d: key %s came %v times and is not kept", seed, k, v)
			}
		}
	}
}

func TestTopKSmall(t *testing.T) {
	top := NewTopK(2)
	if got := top.Top(5); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
	for _, k := range []string{"b", "a", "a"} {
		top.Add([]byte(k))
	}
	if got := fmt.Sprint(top.Top(1), top.Top(9)); got != "[{a 2 0}] [{a 2 0} {b 1 0}]" {
		t.Error(got)
	}
	top.Add([]byte("c")) // takes the place of b
	if got := fmt.Sprint(top.Top(9)); got != "[{a 2 0} {c 2 1}]" {
		t.Error(got)
	}
}
