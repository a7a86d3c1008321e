package policy

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// SharedLimiter is a RateLimiter whose rate several gateways keep together. Each decides by itself, at once; it tells the
// others what it let in, and charges its own buckets with what they did. A bucket may go into debt by that, so that what
// was let in too much is made good by what is refused later.
//
// N gateways with a rate R and a burst B let in, in any time T, at most
//
//	B + R T + (N-1) (B + R D)
//
// requests of a key together, where D is the longest time from a request's being let in to its being counted by the
// others: without an exchange the last term would be (N-1) (B + R T). Gateways that do not hear of each other for longer
// than the silence that is allowed are systems of their own, each within its limit; what they did meanwhile is not
// charged afterwards.
//
// It is safe for concurrent use.
type SharedLimiter struct {
	limiter *RateLimiter
	debt    time.Duration // the most that a bucket may be behind

	mu    sync.Mutex
	spent map[uint64]uint32 // let in and not told yet, by key
	lost  atomic.Int64

	charged atomic.Int64
}

// KeySpend is how many requests of a key were let in.
type KeySpend struct {
	Key uint64
	N   uint32
}

// maxUntold bounds the keys of which something is still to be told.
const maxUntold = 8192

// NewSharedLimiter returns a limiter of perSecond requests a second, burst of them at once, that so many gateways share.
// What others say is charged if it is no older than silence.
func NewSharedLimiter(perSecond float64, burst, gateways int, silence time.Duration) *SharedLimiter {
	l := NewRateLimiter(perSecond, burst)
	others := time.Duration(max(gateways, 1) - 1)
	each := min(l.slack, maxSlack) + min(l.interval, maxSlack) + silence
	debt := time.Duration(math.MaxInt64 / 8)
	if others == 0 || each <= debt/others {
		debt = others * each
	}
	return &SharedLimiter{limiter: l, debt: debt, spent: map[uint64]uint32{}}
}

// maxSlack keeps sums of durations from overflowing: a burst that takes longer than this to come back counts as this long.
const maxSlack = 30 * 24 * time.Hour

// Allow counts a request of a key. If it is one too many, it is not counted, and wait is the time after which one will be
// allowed if others let none in.
func (s *SharedLimiter) Allow(key uint64, now time.Duration) (wait time.Duration, ok bool) {
	if wait, ok = s.limiter.Allow(key, now); !ok {
		return wait, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.spent[key]; !known && len(s.spent) >= maxUntold {
		s.lost.Add(1)
		return 0, true
	}
	s.spent[key]++
	return 0, true
}

// Take returns what was let in since the last call, at most so many keys, for others to charge. Of the rest the next call
// tells.
func (s *SharedLimiter) Take(most int) []KeySpend {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]KeySpend, 0, min(len(s.spent), most))
	for key, n := range s.spent {
		if len(all) >= most {
			break
		}
		all = append(all, KeySpend{key, n})
		delete(s.spent, key)
	}
	return all
}

// Charge counts what another gateway let in.
func (s *SharedLimiter) Charge(now time.Duration, all []KeySpend) {
	for _, k := range all {
		s.limiter.charge(k.Key, k.N, now, s.debt)
		s.charged.Add(int64(k.N))
	}
}

// Charged returns how many requests others have let in.
func (s *SharedLimiter) Charged() int64 { return s.charged.Load() }

// Lost returns how many requests were never told of, since too many keys were in use at once.
func (s *SharedLimiter) Lost() int64 { return s.lost.Load() }
