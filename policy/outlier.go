package policy

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// outliers judges the members of a pool by each other, at intervals: one whose success rate is below the mean by more
// than a number of standard deviations is left alone for a while (Envoy's success-rate outlier detection, with its
// defaults), and so is one whose latency is a multiple of what is usual among them. A breaker sees a backend that fails
// altogether; this sees one that is merely worse than its peers. Each further ejection lasts longer by the first, and
// each interval that passes well takes one back. Few members, or few requests, are not judged.
type outliers struct {
	cfg   topology.Outliers
	sweep atomic.Int64 // when the next interval ends

	mu    sync.Mutex // held by the call that ends an interval
	peers []peer
	sorts []float64
}

// record is what a pool remembers of a member for outliers.
type record struct {
	successes, failures atomic.Int64 // in this interval
	logs                atomic.Int64 // sum of the logarithms of the successes' latencies, by logUnit
	until               atomic.Int64 // instant until which it is ejected; 0: it is not
	times               int          // ejections that were not taken back; guarded by the mutex of outliers
	ejections           atomic.Int64 // all that ever were
}

// logUnit makes a whole number of a logarithm; seven digits are kept.
const logUnit = 1 << 24

// peer is a member under judgement.
type peer struct {
	m         *Member
	success   float64
	latency   float64 // geometric mean in nanoseconds, which single slow requests do not dominate; 0: none succeeded
	requested bool    // there were enough requests
}

func newOutliers(cfg topology.Outliers) *outliers {
	cfg.MinReplicas = max(cfg.MinReplicas, 2) // fewer cannot be compared
	o := &outliers{cfg: cfg}
	o.sweep.Store(int64(cfg.Interval.Std()))
	return o
}

// count takes a call's outcome.
func (r *record) count(latency time.Duration, o Outcome) {
	switch o {
	case Success:
		r.successes.Add(1)
		r.logs.Add(int64(math.Log(float64(max(latency, 1))) * logUnit))
	case Failure:
		r.failures.Add(1)
	}
}

// ejected reports whether the member is out at an instant.
func (r *record) ejected(now time.Duration) bool { return int64(now) < r.until.Load() }

// due reports whether an interval has ended, to exactly one caller.
func (o *outliers) due(now time.Duration) bool {
	end := o.sweep.Load()
	return int64(now) >= end && o.sweep.CompareAndSwap(end, int64(now+o.cfg.Interval.Std()))
}

// judge ends an interval.
func (o *outliers) judge(members []*Member, now time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.peers = o.peers[:0]
	enough, out := 0, 0
	for _, m := range members {
		good, bad, logs := m.record.successes.Swap(0), m.record.failures.Swap(0), m.record.logs.Swap(0)
		p := peer{m: m, requested: good+bad >= int64(o.cfg.MinRequests) && good+bad > 0}
		if p.requested {
			enough++
			p.success = float64(good) / float64(good+bad)
		}
		if good > 0 {
			p.latency = math.Exp(float64(logs) / float64(good) / logUnit)
		}
		if m.record.ejected(now) {
			out++
		}
		o.peers = append(o.peers, p)
	}
	worst := math.Inf(-1) // below it nobody is ejected
	slowest := math.Inf(1)
	if enough >= o.cfg.MinReplicas {
		worst, slowest = o.bounds()
	}
	// One may always be out (as in Envoy), or a share below one member would never eject any.
	most := max(1, int(float64(o.cfg.MaxEjected)*float64(len(members))+1e-9))
	for _, p := range o.peers {
		r := &p.m.record
		switch {
		case r.ejected(now):
		case p.requested && (p.success < worst || p.latency > slowest) && out < most:
			out++
			r.times++
			r.ejections.Add(1)
			pause := min(time.Duration(r.times)*o.cfg.Eject.Std(), max(o.cfg.MaxEject.Std(), o.cfg.Eject.Std()))
			r.until.Store(int64(now + pause))
		case r.times > 0:
			r.times--
		}
	}
}

// bounds returns the success rate and the latency beyond which a member is an outlier.
func (o *outliers) bounds() (worst, slowest float64) {
	var n, mean, squares float64
	o.sorts = o.sorts[:0]
	for _, p := range o.peers {
		if !p.requested {
			continue
		}
		n++
		mean += p.success
		if p.latency > 0 {
			o.sorts = append(o.sorts, p.latency)
		}
	}
	mean /= n
	for _, p := range o.peers {
		if p.requested {
			squares += (p.success - mean) * (p.success - mean)
		}
	}
	worst = mean - o.cfg.Deviations*math.Sqrt(squares/n)
	slowest = math.Inf(1)
	if o.cfg.Slower > 0 && len(o.sorts) >= o.cfg.MinReplicas {
		slices.Sort(o.sorts)
		slowest = o.cfg.Slower * o.sorts[(len(o.sorts)-1)/2]
	}
	return worst, slowest
}

// SetOutliers makes the pool eject members that are worse than their peers. It is called before the first Set; a nil
// cfg ejects none.
func (p *Pool) SetOutliers(cfg *topology.Outliers) {
	p.outliers = nil
	if cfg != nil && cfg.Interval > 0 {
		p.outliers = newOutliers(*cfg)
	}
}

// Ejected reports whether the member is left alone at an instant because it is worse than its peers.
func (m *Member) Ejected(now time.Duration) bool { return m.record.ejected(now) }

// Ejections returns how often the member was left alone because it was worse than its peers.
func (m *Member) Ejections() int64 { return m.record.ejections.Load() }

// pardon reports whether so few members are left, breakers and ejections taken together, that ejections are ignored:
// better to use a bad one than to overload the rest.
func (o *outliers) pardon(members []*Member, now time.Duration) bool {
	usable := 0
	for _, m := range members {
		if !m.record.ejected(now) && (m.Breaker == nil || m.Breaker.State() == BreakerClosed) {
			usable++
		}
	}
	return float64(usable) < float64(o.cfg.Panic)*float64(len(members))
}
