package policy

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func TestIdempotent(t *testing.T) {
	for method, want := range map[string]bool{
		"GET": true, "HEAD": true, "OPTIONS": true, "TRACE": true, "PUT": true, "DELETE": true,
		"POST": false, "PATCH": false, "CONNECT": false, "get": false, "": false, "PURGE": false,
	} {
		if Idempotent(method) != want {
			t.Errorf("%q: want %v", method, want)
		}
	}
}

func TestDecide(t *testing.T) {
	cfg := topology.Retry{
		Attempts: 3, Budget: 1, MinPerSecond: 1000, Backoff: topology.Duration(10 * time.Millisecond), On: []int{502, 503},
	}
	base := Try{Idempotent: true, Sent: true, Replayable: true, Attempts: 1, Left: time.Second, Random: 0.5}
	with := func(change func(*Try)) Try {
		x := base
		change(&x)
		return x
	}
	for _, c := range []struct {
		name  string
		try   Try
		want  Verdict
		pause time.Duration
	}{
		{"connection died", base, Repeat, 5 * time.Millisecond},
		{"second time, longer", with(func(x *Try) { x.Attempts = 2 }), Repeat, 10 * time.Millisecond},
		{"third time", with(func(x *Try) { x.Attempts = 3 }), Exhausted, 0},
		{"status that is retried", with(func(x *Try) { x.Status = 503 }), Repeat, 5 * time.Millisecond},
		{"status that is not", with(func(x *Try) { x.Status = 500 }), Final, 0},
		{"POST, sent", with(func(x *Try) { x.Idempotent = false }), Unsafe, 0},
		{"POST, answered 503", with(func(x *Try) { x.Idempotent = false; x.Status = 503 }), Unsafe, 0},
		{"POST, never sent", with(func(x *Try) { x.Idempotent, x.Sent = false, false }), Repeat, 5 * time.Millisecond},
		{"body gone", with(func(x *Try) { x.Replayable = false }), BodyGone, 0},
		{"deadline", with(func(x *Try) { x.Left = 5 * time.Millisecond }), Late, 0},
		{"just before the deadline", with(func(x *Try) { x.Left = 5*time.Millisecond + 1 }), Repeat, 5 * time.Millisecond},
		{"deadline passed", with(func(x *Try) { x.Left, x.Random = -1, 0 }), Late, 0},
	} {
		r := NewRetrier(&cfg)
		if got, pause := r.Decide(0, c.try); got != c.want || pause != c.pause {
			t.Errorf("%s: %v after %v, want %v after %v", c.name, got, pause, c.want, c.pause)
		}
	}
	if v, _ := NewRetrier(nil).Decide(0, base); v != Exhausted {
		t.Errorf("without configuration: %v", v)
	}
	cfg.Budget, cfg.MinPerSecond = 0, 0
	if v, _ := NewRetrier(&cfg).Decide(0, base); v != OverBudget {
		t.Errorf("without budget: %v", v)
	}
}

// naiveBudget keeps every event.
type naiveBudget struct {
	share, min        float64
	requests, retries []time.Duration
}

func countSince(events []time.Duration, from time.Duration) int {
	n := 0
	for _, e := range events {
		if e >= from {
			n++
		}
	}
	return n
}

func (b *naiveBudget) allowed(now time.Duration) bool {
	second := now.Truncate(time.Second)
	window := second - 9*time.Second
	if float64(countSince(b.retries, window)+1) <= b.share*float64(countSince(b.requests, window)) {
		return true
	}
	span := 1.0
	if b.min > 0 && b.min < 1 {
		span = min(10, math.Ceil(1/b.min))
	}
	from := second - time.Duration(span-1)*time.Second
	return float64(countSince(b.retries, from)+1) <= b.min*span
}

func TestBudgetAgainstNaiveModel(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 7))
		share := []float64{0, 0.1, 0.2, 0.25, 1}[rng.IntN(5)]
		perSecond := []float64{0, 0.2, 0.5, 1, 3, 10}[rng.IntN(6)]
		b := NewBudget(topology.Percent(share), topology.Rate(perSecond))
		model := &naiveBudget{share: share, min: perSecond}
		now := time.Duration(rng.IntN(1e9)) * 3
		for i := range 1500 {
			switch rng.IntN(30) {
			case 0:
				now += time.Duration(rng.IntN(25)) * time.Second // a pause
			default:
				now += time.Duration(rng.IntN(40)) * time.Millisecond
			}
			if rng.IntN(2) == 0 {
				b.Deposit(now)
				model.requests = append(model.requests, now)
				continue
			}
			want := model.allowed(now)
			if got := b.Withdraw(now); got != want {
				t.Fatalf("seed %d, event %d at %v, share %v, min %v: got %v, want %v", seed, i, now, share, perSecond, got, want)
			}
			if want {
				model.retries = append(model.retries, now)
			}
		}
	}
}

// However many ask at once, what is granted stays within the budget.
func TestBudgetConcurrently(t *testing.T) {
	b := NewBudget(0.2, 10)
	var requests, granted atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				now := time.Duration(i) * 3 * time.Millisecond // three seconds in all
				b.Deposit(now)
				requests.Add(1)
				if b.Withdraw(now) {
					granted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if limit := requests.Load()/5 + 3*10; granted.Load() > limit || granted.Load() < limit/2 {
		t.Errorf("%d retries for %d requests, limit %d", granted.Load(), requests.Load(), limit)
	}
}

func BenchmarkBudget(b *testing.B) {
	budget := NewBudget(0.2, 10)
	b.ReportAllocs()
	now := time.Duration(0)
	for b.Loop() {
		now += 100 * time.Microsecond
		budget.Deposit(now)
		budget.Withdraw(now)
	}
}
