package stats

import (
	"math"
	"sync/atomic"
	"time"
)

// Recorder is a histogram for many writers at once. Its memory is allocated whole at the start (37 KB at 2 digits), so
// that recording neither allocates nor locks.
type Recorder struct {
	layout   layout
	counts   []atomic.Int64
	sum      atomic.Int64
	sumSq    atomic.Uint64 // bits of a float64
	min, max atomic.Int64
}

// NewRecorder returns an empty recorder; digits as for NewHistogram.
func NewRecorder(digits int) *Recorder {
	l := NewHistogram(digits).layout
	r := &Recorder{layout: l, counts: make([]atomic.Int64, l.size())}
	r.min.Store(math.MaxInt64)
	return r
}

// Record counts d. A negative d counts as 0.
func (r *Recorder) Record(d time.Duration) {
	v := max(int64(d), 0)
	r.counts[r.layout.index(min(v, MaxValue))].Add(1)
	r.sum.Add(v)
	for {
		old := r.sumSq.Load()
		if r.sumSq.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+float64(v)*float64(v))) {
			break
		}
	}
	for old := r.max.Load(); v > old && !r.max.CompareAndSwap(old, v); old = r.max.Load() {
	}
	for old := r.min.Load(); v < old && !r.min.CompareAndSwap(old, v); old = r.min.Load() {
	}
}

// Snapshot returns what was counted so far. A value recorded during the call may be in the buckets and not yet in the
// sum, or the other way round; nothing is ever lost.
func (r *Recorder) Snapshot() *Histogram {
	h := &Histogram{layout: r.layout, min: r.min.Load(), max: r.max.Load()}
	last := -1
	for i := range r.counts {
		if r.counts[i].Load() > 0 {
			last = i
		}
	}
	h.counts = make([]int64, last+1)
	for i := range h.counts {
		h.counts[i] = r.counts[i].Load()
		h.count += h.counts[i]
	}
	h.sum = float64(r.sum.Load())
	h.sumSq = math.Float64frombits(r.sumSq.Load())
	return h
}
