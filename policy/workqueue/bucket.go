package workqueue

import (
	"math"
	"time"
)

// Limit of deliveries. The zero value is none.
type Limit struct {
	// PerSecond is how many are made for good.
	PerSecond float64
	// Burst is how many can be made at once. Default: those of a second, at least one.
	Burst int
}

// Bucket of tokens that keeps a Limit: a delivery takes one. It is kept as the instant at which it would be full again (the
// generic cell rate algorithm, ITU-T I.371), and begins full. A nil one has no limit.
type Bucket struct {
	interval time.Duration // in which a token comes
	slack    time.Duration // by how much one may be early
	full     time.Duration
}

// NewBucket returns a bucket; nil where there is no limit.
func NewBucket(l Limit) *Bucket {
	if l.PerSecond <= 0 {
		return nil
	}
	burst := l.Burst
	if burst <= 0 {
		burst = int(max(1, min(l.PerSecond, 1e9)))
	}
	interval := time.Duration(max(1, min(math.Round(float64(time.Second)/l.PerSecond), float64(366*24*time.Hour))))
	return &Bucket{interval: interval, slack: time.Duration(min(float64(burst-1)*float64(interval), math.MaxInt64/4))}
}

// Have is how many tokens there are, up to most.
func (b *Bucket) Have(now time.Duration, most int) int {
	if b == nil {
		return most
	}
	room := now + b.slack - max(b.full, now)
	if room < 0 {
		return 0
	}
	return int(min(int64(room/b.interval)+1, int64(most)))
}

// Take takes tokens that Have said there are.
func (b *Bucket) Take(now time.Duration, n int) {
	if b != nil {
		b.full = max(b.full, now) + time.Duration(n)*b.interval
	}
}

// Give gives tokens back that were not used.
func (b *Bucket) Give(n int) {
	if b != nil {
		b.full -= time.Duration(n) * b.interval
	}
}

// Next is when there is a token; now or earlier if there is one.
func (b *Bucket) Next() time.Duration {
	if b == nil {
		return 0
	}
	return b.full - b.slack
}
