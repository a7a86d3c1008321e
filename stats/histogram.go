package stats

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// MaxValue is the largest value that is told apart, a little over an hour in nanoseconds (2^42-1). Larger values are
// counted as this one; Max still reports them exactly.
const MaxValue = 1<<42 - 1

// ErrPrecision is returned where two histograms of different precision meet.
var ErrPrecision = errors.New("histograms have different precision")

// layout is the arithmetic of HdrHistogram (G. Tene, 2012) for a smallest value of 1: sub-buckets of width 1 up to
// 2^bits, then halves of as many sub-buckets whose width doubles with each bucket.
type layout struct{ bits uint8 }

func layoutOf(digits int) (layout, error) {
	if digits < 1 || digits > 4 {
		return layout{}, fmt.Errorf("histogram precision of %d digits: want 1 to 4", digits)
	}
	// Values up to 2*10^digits must be told apart one by one.
	return layout{bits: uint8(bits.Len(uint(2*math.Pow10(digits)) - 1))}, nil
}

func (l layout) index(v int64) int {
	bucket := bits.Len64(uint64(v)|(1<<l.bits-1)) - int(l.bits)
	sub := int(v >> bucket)
	return bucket<<(l.bits-1) + sub
}

// bounds returns the smallest and the largest value that share index i.
func (l layout) bounds(i int) (low, high int64) {
	half := 1 << (l.bits - 1)
	bucket := i/half - 1
	sub := i%half + half
	if bucket < 0 {
		return int64(i), int64(i)
	}
	low = int64(sub) << bucket
	return low, low + 1<<bucket - 1
}

func (l layout) size() int { return l.index(MaxValue) + 1 }

// Histogram counts non-negative values, usually nanoseconds. Its zero value is not ready: use NewHistogram. It is not
// safe for concurrent use; Recorder is.
type Histogram struct {
	layout   layout
	counts   []int64 // grown to the largest index seen
	count    int64
	sum      float64
	sumSq    float64
	min, max int64
}

// NewHistogram returns an empty histogram that keeps values to the given number of significant decimal digits, 1 to 4.
// It panics outside of that range, which is a mistake of the program and never of its input. 2 digits need at most
// 37 KB, 3 digits 260 KB; an empty histogram needs next to nothing.
func NewHistogram(digits int) *Histogram {
	l, err := layoutOf(digits)
	if err != nil {
		panic("stats: " + err.Error())
	}
	return &Histogram{layout: l, min: math.MaxInt64}
}

// Record counts v once. A negative v counts as 0.
func (h *Histogram) Record(v int64) { h.RecordN(v, 1) }

// RecordDuration counts d in nanoseconds.
func (h *Histogram) RecordDuration(d time.Duration) { h.RecordN(int64(d), 1) }

// RecordN counts v n times; n <= 0 does nothing.
func (h *Histogram) RecordN(v, n int64) {
	if n <= 0 {
		return
	}
	v = max(v, 0)
	i := h.layout.index(min(v, MaxValue))
	h.grow(i + 1)
	h.counts[i] += n
	h.count += n
	h.sum += float64(v) * float64(n)
	h.sumSq += float64(v) * float64(v) * float64(n)
	h.min = min(h.min, v)
	h.max = max(h.max, v)
}

func (h *Histogram) grow(n int) {
	if n <= len(h.counts) {
		return
	}
	// Whole halves at a time, so that a rising maximum does not copy at every record.
	half := 1 << (h.layout.bits - 1)
	grown := make([]int64, min((n+half-1)/half*half, h.layout.size()))
	copy(grown, h.counts)
	h.counts = grown
}

// Count returns how many values were recorded.
func (h *Histogram) Count() int64 { return h.count }

// Sum returns the sum of the values.
func (h *Histogram) Sum() float64 { return h.sum }

// Mean returns the mean, 0 for an empty histogram.
func (h *Histogram) Mean() float64 {
	if h.count == 0 {
		return 0
	}
	return h.sum / float64(h.count)
}

// StdDev returns the standard deviation, 0 for an empty histogram.
func (h *Histogram) StdDev() float64 {
	if h.count == 0 {
		return 0
	}
	m := h.Mean()
	return math.Sqrt(max(0, h.sumSq/float64(h.count)-m*m))
}

// Min returns the smallest value, 0 for an empty histogram.
func (h *Histogram) Min() int64 {
	if h.count == 0 {
		return 0
	}
	return h.min
}

// Max returns the largest value, 0 for an empty histogram.
func (h *Histogram) Max() int64 { return h.max }

// Quantile returns the value at or below which a share q of the values lies, 0 <= q <= 1: the upper end of its
// bucket, as HdrHistogram does, but never above Max. It is 0 for an empty histogram.
func (h *Histogram) Quantile(q float64) int64 {
	if h.count == 0 {
		return 0
	}
	want := int64(math.Ceil(min(max(q, 0), 1) * float64(h.count)))
	want = max(want, 1)
	var seen int64
	for i, n := range h.counts {
		if seen += n; seen >= want {
			if i == h.layout.size()-1 {
				return h.max
			}
			_, high := h.layout.bounds(i)
			return min(high, h.max)
		}
	}
	return h.max
}

// QuantileDuration is Quantile for a histogram of nanoseconds.
func (h *Histogram) QuantileDuration(q float64) time.Duration { return time.Duration(h.Quantile(q)) }

// CountAbove returns how many values lie in buckets wholly above v.
func (h *Histogram) CountAbove(v int64) int64 {
	if v < 0 {
		return h.count
	}
	var n int64
	for i := h.layout.index(min(v, MaxValue)) + 1; i < len(h.counts); i++ {
		n += h.counts[i]
	}
	return n
}

// Merge adds what o has counted. Both must have the same precision.
func (h *Histogram) Merge(o *Histogram) error {
	if h.layout != o.layout {
		return fmt.Errorf("merging histograms: %w", ErrPrecision)
	}
	if o.count == 0 {
		return nil
	}
	h.grow(len(o.counts))
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.count += o.count
	h.sum += o.sum
	h.sumSq += o.sumSq
	h.min = min(h.min, o.min)
	h.max = max(h.max, o.max)
	return nil
}

// Since returns what h has counted since its earlier state was taken. The minimum and maximum of the result are those
// of its buckets, for the exact ones are not known.
func (h *Histogram) Since(earlier *Histogram) (*Histogram, error) {
	if h.layout != earlier.layout {
		return nil, fmt.Errorf("subtracting histograms: %w", ErrPrecision)
	}
	d := &Histogram{layout: h.layout, min: math.MaxInt64}
	d.counts = make([]int64, len(h.counts))
	copy(d.counts, h.counts)
	for i, n := range earlier.counts {
		if n == 0 {
			continue
		}
		if i >= len(d.counts) || d.counts[i] < n {
			return nil, errors.New("subtracting histograms: the earlier one has counted more")
		}
		d.counts[i] -= n
	}
	for i, n := range d.counts {
		if n > 0 {
			low, high := h.layout.bounds(i)
			d.count += n
			d.min = min(d.min, low)
			d.max = min(high, h.max)
		}
	}
	d.sum = max(0, h.sum-earlier.sum)
	d.sumSq = max(0, h.sumSq-earlier.sumSq)
	return d, nil
}

// Clone returns a copy that shares nothing with h.
func (h *Histogram) Clone() *Histogram {
	c := *h
	c.counts = append([]int64(nil), h.counts...)
	return &c
}

// Reset empties h and keeps its memory.
func (h *Histogram) Reset() {
	clear(h.counts)
	*h = Histogram{layout: h.layout, counts: h.counts, min: math.MaxInt64}
}

// Bucket is a run of values that are counted as one.
type Bucket struct {
	Low, High int64 // both included
	Count     int64
}

// Buckets returns the buckets that are not empty, in ascending order.
func (h *Histogram) Buckets() []Bucket {
	var b []Bucket
	for i, n := range h.counts {
		if n > 0 {
			low, high := h.layout.bounds(i)
			b = append(b, Bucket{low, high, n})
		}
	}
	return b
}
