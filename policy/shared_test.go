package policy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// report is what one gateway has told, on its way to another.
type report struct {
	at   time.Duration // when it arrives
	to   int
	keys []KeySpend
}

// sharers simulates gateways that share a limit: a step is a millisecond.
type sharers struct {
	rng       *rand.Rand
	limiters  []*SharedLimiter
	under     []report
	every     time.Duration
	delay     time.Duration // the longest that a report takes
	separated func(at time.Duration, a, b int) bool
}

const sharersStep = time.Millisecond

// run offers each gateway so many requests a second for a while, and returns the instants at which one was let in, by
// gateway.
func (f *sharers) run(length time.Duration, offered []float64) (admitted [][]time.Duration) {
	admitted = make([][]time.Duration, len(f.limiters))
	phase := make([]time.Duration, len(f.limiters))
	for i := range phase {
		phase[i] = time.Duration(f.rng.Int64N(int64(f.every))).Truncate(sharersStep)
	}
	for now := time.Duration(0); now < length; now += sharersStep {
		f.under = slices.DeleteFunc(f.under, func(r report) bool {
			if r.at > now {
				return false
			}
			f.limiters[r.to].Charge(now, r.keys)
			return true
		})
		for i, l := range f.limiters {
			if now%f.every == phase[i] {
				f.tell(now, i, l.Take(math.MaxInt))
			}
			for range int(offered[i]*sharersStep.Seconds() + f.rng.Float64()) {
				if _, ok := l.Allow(1, now); ok {
					admitted[i] = append(admitted[i], now)
				}
			}
		}
	}
	return admitted
}

func (f *sharers) tell(now time.Duration, from int, keys []KeySpend) {
	for to := range f.limiters {
		if to != from && !f.separated(now, from, to) {
			f.under = append(f.under, report{now + time.Duration(f.rng.Int64N(int64(f.delay)+1)), to, keys})
		}
	}
}

// excess is by how many requests the fullest interval of all exceeds what a rate and a burst allow, among instants from
// some time on.
func excess(admitted [][]time.Duration, from time.Duration, rate, burst float64) float64 {
	var all []time.Duration
	for _, of := range admitted {
		for _, at := range of {
			if at >= from {
				all = append(all, at)
			}
		}
	}
	slices.Sort(all)
	// Of the requests i to j, j-i+1 <= burst + rate (t_j - t_i): what counts is the largest j+1 - rate t_j less the
	// smallest i - rate t_i before it.
	worst, least := math.Inf(-1), math.Inf(1)
	for i, at := range all {
		least = min(least, float64(i)-rate*at.Seconds())
		worst = max(worst, float64(i+1)-rate*at.Seconds()-least)
	}
	return worst - burst
}

func newSharers(seed uint64, n int, rate float64, burst int) *sharers {
	f := &sharers{rng: rand.New(rand.NewPCG(seed, 1)), every: 100 * time.Millisecond, delay: 20 * time.Millisecond,
		separated: func(time.Duration, int, int) bool { return false }}
	for range n {
		f.limiters = append(f.limiters, NewSharedLimiter(rate, burst, n, 3*time.Second))
	}
	return f
}

// However many gateways share a limit, and however the load is spread over them, no interval has more than the bound
// that the documentation states; and what is allowed is used.
func TestSharedLimitStaysWithinItsBound(t *testing.T) {
	const length = 15 * time.Second
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 2))
		n, rate, burst := 2+rng.IntN(6), 20+rng.Float64()*480, 1+rng.IntN(100)
		f := newSharers(seed, n, rate, burst)
		offered := make([]float64, n)
		for i := range offered {
			offered[i] = rate * []float64{0.1, 1, 5, 20}[rng.IntN(4)]
		}
		offered[rng.IntN(n)] = 5 * rate
		admitted := f.run(length, offered)
		d := f.every + f.delay + 2*sharersStep
		bound := float64(n-1) * (float64(burst) + rate*d.Seconds())
		if over := excess(admitted, 0, rate, float64(burst)); over > bound+1e-6 {
			t.Errorf("seed %d: %d gateways, %.0f/s, burst %d: %.1f requests above the limit, the bound is %.1f", seed, n, rate, burst, over, bound)
		}
		total := 0
		for _, a := range admitted {
			total += len(a)
		}
		if want := rate * length.Seconds(); float64(total) < 0.9*want {
			t.Errorf("seed %d: %d gateways, %.0f/s, burst %d: %d were let in, %.0f could have been", seed, n, rate, burst, total, want)
		}
	}
}

// Gateways that cannot hear of each other keep the limit on each side, and keep it together again once they can.
func TestSharedLimitUnderAPartition(t *testing.T) {
	const length, cut, healed = 40 * time.Second, 10 * time.Second, 20 * time.Second
	for seed := range uint64(6) {
		const n, rate, burst = 4, 100.0, 20
		f := newSharers(seed, n, rate, burst)
		f.separated = func(at time.Duration, a, b int) bool { return at >= cut && at < healed && a/2 != b/2 }
		admitted := f.run(length, []float64{300, 300, 300, 300})
		d := (f.every + f.delay + 2*sharersStep).Seconds()
		for side := range 2 {
			bound := 1 * (burst + rate*d)
			if over := excess(admitted[2*side:2*side+2], 0, rate, burst); over > bound+1e-6 {
				t.Errorf("seed %d: side %d let in %.1f above its limit, the bound is %.1f", seed, side, over, bound)
			}
		}
		bound := (n - 1) * (burst + rate*d)
		if over := excess(admitted, healed+time.Duration(d*1e9), rate, burst); over > bound+1e-6 {
			t.Errorf("seed %d: %.1f above the limit once all hear of each other, the bound is %.1f", seed, over, bound)
		}
		after := 0
		for _, of := range admitted {
			for _, at := range of {
				if at >= healed {
					after++
				}
			}
		}
		if want := rate * (length - healed).Seconds(); float64(after) < 0.9*want {
			t.Errorf("seed %d: after the partition %d were let in, %.0f could have been: nobody pays for it", seed, after, want)
		}
	}
}

// Without anybody else it is the limiter that it is made of.
func TestSharedLimitAlone(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	a, b := NewRateLimiter(10, 5), NewSharedLimiter(10, 5, 1, time.Second)
	var now time.Duration
	for range 10_000 {
		now += time.Duration(rng.ExpFloat64() * 5e7)
		key := rng.Uint64N(20)
		w1, ok1 := a.Allow(key, now)
		w2, ok2 := b.Allow(key, now)
		if w1 != w2 || ok1 != ok2 {
			t.Fatalf("at %v: %v %v, want %v %v", now, w2, ok2, w1, ok1)
		}
	}
}

func TestSharedLimitTellsEachRequestOnce(t *testing.T) {
	l := NewSharedLimiter(1e6, 1e6, 2, time.Second)
	for key := range uint64(maxUntold + 100) {
		for range 3 {
			l.Allow(key, time.Second)
		}
	}
	told := map[uint64]uint32{}
	for {
		part := l.Take(1000)
		if len(part) == 0 {
			break
		}
		if len(part) > 1000 {
			t.Fatalf("%d keys at once", len(part))
		}
		for _, k := range part {
			told[k.Key] += k.N
		}
	}
	if len(told) != maxUntold || l.Lost() != 300 {
		t.Errorf("told of %d keys, lost %d requests", len(told), l.Lost())
	}
	for key, n := range told {
		if n != 3 {
			t.Errorf("key %d: %d", key, n)
		}
	}
}

// No report makes a bucket overflow or pay for longer than it must.
func TestSharedLimitBoundsDebt(t *testing.T) {
	for _, rate := range []float64{0, 1e-9, 1, 1e9, 1e12} {
		for _, burst := range []int{0, 1, 1e9} {
			l := NewSharedLimiter(rate, burst, 1000, 3*time.Second)
			for range 1000 {
				l.Charge(time.Hour, []KeySpend{{1, math.MaxUint32}})
			}
			wait, ok := l.Allow(1, time.Hour)
			if ok || wait < 0 {
				t.Errorf("rate %g, burst %d: %v %v after a flood of reports", rate, burst, wait, ok)
			}
			if rate >= 1 && burst <= 1 && wait > 1000*5*time.Second {
				t.Errorf("rate %g, burst %d: it pays for %v", rate, burst, wait)
			}
		}
	}
}

// Gateways that tell each other what they spent keep a retry budget together: what is granted within one exchange is all
// that can be too much.
func TestBudgetsAreShared(t *testing.T) {
	const every = 100 * time.Millisecond
	for _, n := range []int{2, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			ledgers := make([]*Ledger, n)
			budgets := make([]*Budget, n)
			told := make([][]Spend, n) // by listener, then teller
			for i := range n {
				ledgers[i] = new(Ledger)
				budgets[i] = ledgers[i].Retries(topology.Percent(0.2), 0)
				told[i] = make([]Spend, n)
			}
			requests, retries, worst := 0, 0, 0.0
			for now := time.Duration(0); now < 9*time.Second; now += sharersStep {
				for i, b := range budgets {
					b.Deposit(now)
					requests++
					if b.Withdraw(now) {
						retries++
					}
					ledgers[i].Outcome(now, Success)
				}
				worst = max(worst, float64(retries)-0.2*float64(requests))
				if now%every != 0 {
					continue
				}
				for i := range n {
					for j := range n {
						if s := ledgers[j].Spent(); i != j {
							ledgers[i].Peer(now, told[i][j], s)
							told[i][j] = s
						}
					}
				}
			}
			// Within an exchange a gateway may grant its share of all requests that it knows of, but for what it knows was
			// spent: at most what its own requests meanwhile allow, and the same of the others.
			if bound := 0.2*float64(n)*every.Seconds()*1000*float64(n-1) + 1; worst > bound {
				t.Errorf("%.1f retries above the budget, the bound is %.1f", worst, bound)
			}
			if share := float64(retries) / float64(requests); share < 0.18 {
				t.Errorf("%.3f of the requests were retried, 0.2 could have been", share)
			}
		})
	}
}
