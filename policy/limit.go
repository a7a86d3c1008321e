package policy

import (
	"math"
	"sync"
	"time"
)

// RateLimiter gives each key so many requests a second, and a burst at once: a token bucket, kept as the single instant
// at which it would be full again (the generic cell rate algorithm, ITU-T I.371, annex A). It remembers 65,536 keys in a
// mebibyte. A bucket that is full needs no memory; where more are in use at once, the one that is nearest to full is
// forgotten, which can only allow more. It is safe for concurrent use; a lock is held for eight entries.
type RateLimiter struct {
	interval time.Duration // between two requests at the rate
	slack    time.Duration // by how much they may come early
	shards   []limitShard
}

const (
	limitShards = 64
	limitSets   = 128
	limitWays   = 8
)

type limitShard struct {
	mu   sync.Mutex
	sets [limitSets][limitWays]bucket
}

// bucket of one key; it is free where full is not after now.
type bucket struct {
	key  uint64
	full time.Duration // when it will be full again
}

// NewRateLimiter returns a limiter of perSecond requests a second, burst of them at once. A rate of 0 or less allows
// nothing beyond the burst for some 290 years; bursts below 1 count as 1.
func NewRateLimiter(perSecond float64, burst int) *RateLimiter {
	interval := time.Duration(math.MaxInt64 / 4)
	if perSecond > 0 {
		interval = time.Duration(max(1, min(math.Round(float64(time.Second)/perSecond), float64(interval))))
	}
	slack := interval
	if n := time.Duration(max(burst, 1) - 1); n == 0 || interval <= math.MaxInt64/4/n {
		slack = n * interval
	}
	return &RateLimiter{interval: interval, slack: slack, shards: make([]limitShard, limitShards)}
}

// Allow counts a request of a key, which is a hash of what is limited. If it is one too many, it is not counted, and wait
// is the time after which one will be allowed.
func (l *RateLimiter) Allow(key uint64, now time.Duration) (wait time.Duration, ok bool) {
	s, b := l.bucket(key, now)
	defer s.mu.Unlock()
	if early := b.full - now; early > l.slack {
		return early - l.slack, false
	}
	b.full += l.interval
	return 0, true
}

// charge counts requests of a key that were let in elsewhere, however many it had left, down to a debt.
func (l *RateLimiter) charge(key uint64, n uint32, now, debt time.Duration) {
	s, b := l.bucket(key, now)
	defer s.mu.Unlock()
	most := now + l.slack + l.interval + debt
	if l.slack >= math.MaxInt64/4 || l.interval >= (most-b.full)/time.Duration(max(n, 1)) {
		b.full = max(b.full, most)
		return
	}
	b.full += time.Duration(n) * l.interval
}

// bucket returns a key's bucket, and its shard, which is locked.
func (l *RateLimiter) bucket(key uint64, now time.Duration) (*limitShard, *bucket) {
	h := mix(key)
	s := &l.shards[h%limitShards]
	s.mu.Lock()
	set := &s.sets[h/limitShards%limitSets]
	b := &set[0]
	for i := range set {
		if set[i].full > now && set[i].key == key {
			b = &set[i]
			break
		}
		if set[i].full < b.full {
			b = &set[i]
		}
	}
	if b.full <= now || b.key != key {
		*b = bucket{key: key, full: now}
	}
	return s, b
}
