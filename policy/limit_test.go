package policy

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The limiter does what a bucket of tokens does, request for request.
func TestRateLimiterIsATokenBucket(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		interval := time.Duration(1+rng.IntN(1000)) * time.Millisecond
		burst := 1 + rng.IntN(10)
		l := NewRateLimiter(1/interval.Seconds(), burst)
		tokens, last, now := time.Duration(burst)*interval, time.Duration(0), time.Duration(0)
		for range 300 {
			now += time.Duration(rng.ExpFloat64() * float64(interval) * 0.7)
			tokens = min(tokens+now-last, time.Duration(burst)*interval)
			last = now
			wait, ok := l.Allow(7, now)
			if want := tokens >= interval; ok != want {
				t.Fatalf("every %v, burst %d, at %v: allowed %v, want %v", interval, burst, now, ok, want)
			}
			if ok {
				tokens -= interval
			} else if wait != interval-tokens {
				t.Fatalf("wait %v, want %v", wait, interval-tokens)
			}
		}
	}
}

func TestRateLimiterKeepsKeysApart(t *testing.T) {
	l := NewRateLimiter(1, 2)
	for key := range uint64(5000) {
		for i := range 3 {
			if _, ok := l.Allow(key, time.Hour); ok != (i < 2) {
				t.Fatalf("request %d of key %d: %v", i, key, ok)
			}
		}
	}
	for key := range uint64(5000) {
		if _, ok := l.Allow(key, time.Hour); ok {
			t.Fatalf("key %d was forgotten", key)
		}
		if wait, _ := l.Allow(key, time.Hour+time.Second-1); wait != 1 {
			t.Fatalf("key %d: wait %v", key, wait)
		}
	}
}

// A flood of keys cannot make it refuse those that have done nothing.
func TestRateLimiterUnderAFloodOfKeys(t *testing.T) {
	l := NewRateLimiter(0.001, 1)
	for key := range uint64(500_000) {
		if _, ok := l.Allow(key, time.Second); !ok {
			t.Fatalf("key %d is new and was refused", key)
		}
	}
}

func TestRateLimiterAtTheEdges(t *testing.T) {
	for _, c := range []struct {
		rate  float64
		burst int
	}{{0, 0}, {-1, 5}, {1e18, 1}, {1e-12, math.MaxInt}, {1000, math.MaxInt}, {math.Inf(1), 3}} {
		l := NewRateLimiter(c.rate, c.burst)
		for i := range 3 {
			if _, ok := l.Allow(1, time.Duration(i)); !ok && i == 0 {
				t.Errorf("%+v: the first request was refused", c)
			}
		}
	}
}

func TestRateLimiterConcurrently(t *testing.T) {
	l := NewRateLimiter(1, 100)
	var allowed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if _, ok := l.Allow(3, time.Second); ok {
					allowed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if allowed.Load() != 100 {
		t.Errorf("%d allowed, want the burst of 100", allowed.Load())
	}
}

func BenchmarkRateLimiter(b *testing.B) {
	l := NewRateLimiter(100, 20)
	b.ReportAllocs()
	now := time.Duration(0)
	for b.Loop() {
		now += time.Microsecond
		l.Allow(uint64(now)%10_000, now)
	}
}
