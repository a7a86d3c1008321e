package policy

import (
	"math"
	"math/bits"
	"sync"
	"time"
)

// meter learns how long requests take lately: the quantiles of the last ten to twenty seconds, and the least median of
// the last minutes. It is safe for concurrent use.
type meter struct {
	mu     sync.Mutex
	counts [2][meterBuckets]uint32 // of this window and the one before
	totals [2]uint32
	ends   time.Duration
	least  float64 // the least median of a window, in nanoseconds; it forgets by meterForget a window

	asked  float64 // the quantile that was asked for last, and what it was
	fresh  time.Duration
	answer time.Duration
	known  bool
}

const (
	meterWindow  = 10 * time.Second
	meterForget  = 1.02 // a window
	meterSamples = 50   // fewer say nothing
	meterKeep    = 100 * time.Millisecond

	meterSub     = 3 // 8 buckets an octave: within 6 %
	meterBuckets = 44 << meterSub
	meterUnit    = 10 // a microsecond, nearly
)

// meterBucket returns the bucket of a latency.
func meterBucket(d time.Duration) int {
	v := uint64(max(d, 0)) >> meterUnit
	if v < 1<<meterSub {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - meterSub
	return min((shift+1)<<meterSub+int(v>>shift)-1<<meterSub, meterBuckets-1)
}

// meterBound returns the upper end of a bucket.
func meterBound(i int) time.Duration {
	if i < 1<<meterSub {
		return time.Duration(i+1) << meterUnit
	}
	shift := i>>meterSub - 1
	return time.Duration(i&(1<<meterSub-1)+1<<meterSub+1) << (shift + meterUnit)
}

func (m *meter) observe(now, latency time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn(now)
	m.counts[0][meterBucket(latency)]++
	m.totals[0]++
}

// turn begins a new window where the time has come. The caller holds the mutex.
func (m *meter) turn(now time.Duration) {
	if m.ends == 0 {
		m.ends = now + meterWindow
	}
	if now < m.ends {
		return
	}
	if d, ok := m.quantile(0.5); ok {
		if m.least *= meterForget; m.least == 0 || float64(d) < m.least {
			m.least = float64(d)
		}
	}
	m.counts[1], m.totals[1] = m.counts[0], m.totals[0]
	if now >= m.ends+meterWindow {
		m.counts[1], m.totals[1] = [meterBuckets]uint32{}, 0
	}
	m.counts[0], m.totals[0] = [meterBuckets]uint32{}, 0
	m.ends = now + meterWindow
}

// quantile of both windows. The caller holds the mutex.
func (m *meter) quantile(q float64) (time.Duration, bool) {
	total := uint64(m.totals[0]) + uint64(m.totals[1])
	if float64(total) < math.Max(meterSamples, 5/(1-q)) {
		return 0, false
	}
	rank, sum := uint64(math.Ceil(q*float64(total))), uint64(0)
	for i := range meterBuckets {
		if sum += uint64(m.counts[0][i]) + uint64(m.counts[1][i]); sum >= rank {
			return meterBound(i), true
		}
	}
	return meterBound(meterBuckets - 1), true
}

// latency returns a quantile of the recent latencies, false where too few are known. It is computed anew ten times a
// second.
func (m *meter) latency(now time.Duration, q float64) (time.Duration, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn(now)
	if q != m.asked || now-m.fresh >= meterKeep || !m.known {
		m.asked, m.fresh = q, now
		m.answer, m.known = m.quantile(q)
	}
	return m.answer, m.known
}

// utilization estimates how busy the callee is where nothing bounds the requests in flight: a queue whose requests take
// R where they took S when it was idle is busy for 1 - S/R of the time (M/M/1, and any M/G/1 under processor sharing; L.
// Kleinrock, Queueing Systems, 1976). With many servers in parallel it says too little, until all are busy.
func (m *meter) utilization(now time.Duration) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn(now)
	d, ok := m.quantile(0.5)
	if !ok || m.least == 0 || float64(d) <= m.least {
		return 0
	}
	return 1 - m.least/float64(d)
}
