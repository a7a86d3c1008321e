package policy

import (
	"iter"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// The parameters of Gradient2 that a file does not set, as Netflix runs it.
const (
	gradientWindow    = time.Second // over which latencies are averaged before each step
	gradientSamples   = 10          // without so many a window goes on
	gradientLong      = 600         // windows over which the usual latency is averaged
	gradientWarmup    = 10          // windows of which it is first the plain mean
	gradientQueue     = 4           // requests in line that are always allowed for
	gradientSmoothing = 0.2
	gradientLeast     = 0.5 // the most that one step cuts
)

// Adaptive bounds the requests in flight to a service by what their latency says: Gradient2 (Netflix, concurrency-limits,
// Gradient2Limit, 2018). Where the latency of the last second is above Tolerance times the usual one, the bound shrinks
// in proportion; otherwise it grows by a few, but only while it is being used. So a service that is offered more than it
// can do keeps doing what it can, instead of answering everything too late.
//
// It is safe for concurrent use; a lock is held for some arithmetic when a call ends.
type Adaptive struct {
	cfg      topology.Adaptive
	inFlight atomic.Int64
	limit    atomic.Int64

	mu        sync.Mutex
	estimate  float64
	usual     float64 // nanoseconds
	nUsual    int     // windows that it is made of, up to the warm-up
	ends      time.Duration
	sum       float64 // of this window
	n         int
	mostInUse int64
}

// NewAdaptive returns a limiter that begins with cfg.Initial.
func NewAdaptive(cfg topology.Adaptive) *Adaptive {
	a := &Adaptive{cfg: sound(cfg)}
	a.estimate = float64(a.cfg.Initial)
	a.limit.Store(int64(a.estimate))
	return a
}

// sound is cfg with the least that each part must be.
func sound(cfg topology.Adaptive) topology.Adaptive {
	cfg.Min = max(cfg.Min, 1)
	cfg.Max = max(cfg.Max, cfg.Min)
	cfg.Initial = min(max(cfg.Initial, cfg.Min), cfg.Max)
	cfg.Tolerance = max(cfg.Tolerance, 1)
	return cfg
}

// SharedAdaptive returns the one of these limiters that has such settings, or a new one: how much a service can hold does not depend
// on which way it is called. Those that are nil are passed over.
func SharedAdaptive(cfg topology.Adaptive, of iter.Seq[*Adaptive]) *Adaptive {
	for a := range of {
		if a != nil && a.cfg == sound(cfg) {
			return a
		}
	}
	return NewAdaptive(cfg)
}

// Foresee returns where the bound stands after so many windows, of a second each, under a load that stays as it is. meets
// says what such a window shows while the bound is limit: the mean latency, and the most requests that are in flight at once.
func Foresee(cfg topology.Adaptive, windows int, meets func(limit int64) (latency time.Duration, inUse int64)) int64 {
	a := NewAdaptive(cfg)
	for range windows {
		latency, inUse := meets(a.Limit())
		a.step(float64(max(latency, 1)), inUse)
	}
	return a.Limit()
}

// Limit returns how many requests may be in flight now.
func (a *Adaptive) Limit() int64 { return a.limit.Load() }

// InFlight returns how many are.
func (a *Adaptive) InFlight() int64 { return a.inFlight.Load() }

// Acquire lets a request in, or not; each that is let in must come back with one Release.
func (a *Adaptive) Acquire() bool {
	if a.inFlight.Add(1) > a.limit.Load() {
		a.inFlight.Add(-1)
		return false
	}
	return true
}

// Release takes a request out that was in for the given time. Only those count whose time says something of the service's
// load: they were answered well, or too late.
func (a *Adaptive) Release(now, latency time.Duration, counts bool) {
	inUse := a.inFlight.Add(-1) + 1
	if !counts {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sum += float64(max(latency, 1))
	a.n++
	a.mostInUse = max(a.mostInUse, inUse)
	if a.ends == 0 {
		a.ends = now + gradientWindow
	}
	if now < a.ends || a.n < gradientSamples {
		return
	}
	a.step(a.sum/float64(a.n), a.mostInUse)
	a.ends, a.sum, a.n, a.mostInUse = now+gradientWindow, 0, 0, 0
}

// step moves the bound after a window of the given mean latency.
func (a *Adaptive) step(latency float64, inUse int64) {
	if a.nUsual < gradientWarmup {
		a.nUsual++
		a.usual += (latency - a.usual) / float64(a.nUsual)
	} else {
		a.usual += (latency - a.usual) * 2 / (gradientLong + 1)
	}
	if a.usual > 2*latency {
		a.usual *= 0.95 // recovering from a long overload: what was usual then is forgotten sooner
	}
	if float64(inUse) < a.estimate/2 {
		return // the bound is not what holds requests back, so that nothing can be learned of it
	}
	gradient := max(gradientLeast, min(1, a.cfg.Tolerance*a.usual/latency))
	next := a.estimate*gradient + gradientQueue
	next = a.estimate*(1-gradientSmoothing) + next*gradientSmoothing
	a.estimate = max(float64(a.cfg.Min), min(float64(a.cfg.Max), next))
	a.limit.Store(int64(math.Floor(a.estimate)))
}
