package stats

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestLayoutIsContiguousAndPrecise(t *testing.T) {
	for digits := 1; digits <= 4; digits++ {
		l, err := layoutOf(digits)
		if err != nil {
			t.Fatal(err)
		}
		next := int64(0)
		for i := range l.size() {
			low, high := l.bounds(i)
			if low != next {
				t.Fatalf("%d digits: index %d starts at %d, want %d", digits, i, low, next)
			}
			if l.index(low) != i || l.index(high) != i {
				t.Fatalf("%d digits: [%d,%d] maps to %d and %d, want %d", digits, low, high, l.index(low), l.index(high), i)
			}
			if err := float64(high-low) / float64(max(low, 1)); err > math.Pow10(-digits) {
				t.Fatalf("%d digits: bucket [%d,%d] is %.4f wide", digits, low, high, err)
			}
			next = high + 1
		}
		if next != MaxValue+1 {
			t.Fatalf("%d digits: layout ends at %d", digits, next)
		}
	}
}

func TestQuantilesAgainstSortedValues(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	h := NewHistogram(3)
	var values []int64
	for range 20000 {
		v := int64(math.Exp(rng.NormFloat64()*2 + 14))
		values = append(values, v)
		h.Record(v)
	}
	slices.Sort(values)
	for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		want := values[max(0, int(math.Ceil(q*float64(len(values))))-1)]
		got := h.Quantile(q)
		if got < want || float64(got-want) > 0.001*float64(want)+1 {
			t.Errorf("q%.3f = %d, want %d within a thousandth", q, got, want)
		}
	}
	if h.Min() != values[0] || h.Max() != values[len(values)-1] {
		t.Errorf("min, max = %d, %d, want %d, %d", h.Min(), h.Max(), values[0], values[len(values)-1])
	}
}

func TestMergeSinceAndJSONLoseNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	a, b, all := NewHistogram(2), NewHistogram(2), NewHistogram(2)
	for range 5000 {
		v := rng.Int64N(1 << uint(1+rng.IntN(45)))
		all.Record(v)
		if rng.IntN(2) == 0 {
			a.Record(v)
		} else {
			b.Record(v)
		}
	}
	before := a.Clone()
	if err := a.Merge(b); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(a.Buckets(), all.Buckets()) || a.Count() != all.Count() || a.Max() != all.Max() {
		t.Fatal("merged parts differ from the whole")
	}
	d, err := a.Since(before)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(d.Buckets(), b.Buckets()) || d.Count() != b.Count() {
		t.Fatal("whole minus one part differs from the other")
	}
	if _, err := before.Since(a); err == nil {
		t.Fatal("subtracting a later state must fail")
	}
	data, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	var back Histogram
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(back.Buckets(), all.Buckets()) || back.Mean() != all.Mean() || back.StdDev() != all.StdDev() || back.Min() != all.Min() {
		t.Fatal("JSON lost something")
	}
	if err := all.Merge(NewHistogram(3)); err == nil {
		t.Fatal("merging different precisions must fail")
	}
}

func TestRecorderCountsLikeHistogram(t *testing.T) {
	r, h := NewRecorder(2), NewHistogram(2)
	var wg sync.WaitGroup
	for g := range 4 {
		for i := range 1000 {
			h.Record(int64(i * (g + 1) * 1000))
		}
		wg.Go(func() {
			for i := range 1000 {
				r.Record(time.Duration(i * (g + 1) * 1000))
			}
		})
	}
	wg.Wait()
	s := r.Snapshot()
	if !slices.Equal(s.Buckets(), h.Buckets()) || s.Sum() != h.Sum() || s.Max() != h.Max() || s.Min() != h.Min() {
		t.Fatal("recorder and histogram differ")
	}
	if math.Abs(s.StdDev()-h.StdDev()) > 1e-6*h.StdDev() {
		t.Fatalf("standard deviation %g, want %g", s.StdDev(), h.StdDev())
	}
}

func TestRecordingDoesNotAllocate(t *testing.T) {
	r, h := NewRecorder(2), NewHistogram(2)
	h.Record(MaxValue)
	if n := testing.AllocsPerRun(100, func() { r.Record(time.Second); h.Record(12345678) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func FuzzHistogramJSON(f *testing.F) {
	f.Add([]byte(`{"digits":2,"count":2,"sum":3,"sum_sq":5,"min":1,"max":2,"counts":[1,1,1,1]}`))
	f.Add([]byte(`{"digits":2,"counts":[9223372036854775807,1]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var h Histogram
		if json.Unmarshal(data, &h) != nil {
			return
		}
		h.Quantile(0.99)
		out, err := json.Marshal(&h)
		if err != nil {
			t.Fatal(err)
		}
		var again Histogram
		if err := json.Unmarshal(out, &again); err != nil {
			t.Fatalf("reading back %s: %v", out, err)
		}
	})
}
