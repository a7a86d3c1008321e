package policy

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// The window over which a budget looks back, and the buckets that it slides by.
const (
	budgetBuckets = 10
	budgetBucket  = time.Second
)

// Budget bounds extra tries (retries, or hedges) to a share of the requests of the last ten seconds, so that a failing
// system is not burdened with a multiple of its load; and always allows a few a second, so that a quiet system can retry
// at all. Where more than half of the tries at the callee fail, the share shrinks in proportion, down to nothing where
// all do: there is nobody then who could make good. It slides in steps of a second. It is safe for concurrent use:
// withdrawals first count and then look, so that racing ones may be refused, but never exceed the budget together.
//
// What was spent stands in a Ledger, which budgets of different shares may have in common.
type Budget struct {
	share     float64
	min       float64 // extra tries a second that are always allowed
	minWindow int64   // buckets over which min is counted: 1, more where min is below one a second

	spent *window       // requests, and extra tries
	tries *window       // tries at the callee, and failures among them; nil: its health does not matter
	own   *atomic.Int64 // extra tries granted here
	asked *atomic.Int64 // requests counted here
}

// NewBudget returns a budget of the given share of requests (0.2 is 20 %), with perSecond retries always allowed, and
// with a ledger of its own. Rates below one in ten seconds count as none.
func NewBudget(share topology.Percent, perSecond topology.Rate) *Budget {
	return new(Ledger).Retries(share, perSecond)
}

func newBudget(share topology.Percent, perSecond topology.Rate) *Budget {
	b := &Budget{share: max(float64(share), 0), min: max(float64(perSecond), 0), minWindow: 1}
	if b.min > 0 && b.min < 1 {
		b.minWindow = min(budgetBuckets, int64(math.Ceil(1/b.min)))
	}
	return b
}

// Deposit counts a request, once, whatever becomes of it.
func (b *Budget) Deposit(now time.Duration) {
	b.spent.add(now, 1, 0)
	b.asked.Add(1)
}

// Withdraw asks for an extra try, and counts it if it is granted.
func (b *Budget) Withdraw(now time.Duration) bool {
	b.spent.add(now, 0, 1)
	requests, extra, recent := b.spent.sums(now, b.minWindow)
	allowed := b.share * float64(requests) * b.health(now)
	if float64(extra) <= allowed+1e-9 || float64(recent) <= b.min*float64(b.minWindow)+1e-9 {
		b.own.Add(1)
		return true
	}
	b.spent.add(now, 0, -1)
	return false
}

// Allowed returns how many extra tries of the last ten seconds the share allows now, and how many there were.
func (b *Budget) Allowed(now time.Duration) (allowed float64, spent int64) {
	requests, extra, _ := b.spent.sums(now, b.minWindow)
	return b.share * float64(requests) * b.health(now), extra
}

// health returns the part of the share that the callee's failures leave: all of it while at least half of the tries
// succeed.
func (b *Budget) health(now time.Duration) float64 {
	if b.tries == nil {
		return 1
	}
	tries, failures, _ := b.tries.sums(now, 1)
	if tries == 0 || failures == 0 {
		return 1
	}
	return min(1, 2*max(0, 1-float64(failures)/float64(tries)))
}

// Ledger is what was spent on extra tries at one service, by all who call it. Budgets drawn on the same ledger see each
// other's spending, whatever share each allows. It is safe for concurrent use.
//
// Gateways of one system share their budgets by telling each other what they spent: Spent of one is fed to Peer of the
// others.
type Ledger struct {
	retries window // requests, and retries
	hedges  window // requests, and hedges
	tries   window // tries, and failures among them
	own     struct{ requests, retries, hedged, hedges, tries, failures atomic.Int64 }
}

// Spend is what one gateway has done since it began.
type Spend struct {
	Requests, Retries int64 // requests that may be retried, and retries
	Hedged, Hedges    int64 // requests that may be hedged, and hedges
	Tries, Failures   int64 // tries whose outcome is known, and those that failed
}

// Retries returns a budget for retries on the ledger.
func (l *Ledger) Retries(share topology.Percent, perSecond topology.Rate) *Budget {
	b := newBudget(share, perSecond)
	b.spent, b.tries, b.own, b.asked = &l.retries, &l.tries, &l.own.retries, &l.own.requests
	return b
}

// Hedges returns a budget for hedges on the ledger.
func (l *Ledger) Hedges(share topology.Percent) *Budget {
	b := newBudget(share, 0)
	b.spent, b.tries, b.own, b.asked = &l.hedges, &l.tries, &l.own.hedges, &l.own.hedged
	return b
}

// Outcome counts a try at the callee.
func (l *Ledger) Outcome(now time.Duration, o Outcome) {
	switch o {
	case Success:
		l.tries.add(now, 1, 0)
	case Failure:
		l.tries.add(now, 1, 1)
		l.own.failures.Add(1)
	default:
		return
	}
	l.own.tries.Add(1)
}

// Spent returns what was spent here: what came from peers is not in it.
func (l *Ledger) Spent() Spend {
	return Spend{
		Requests: l.own.requests.Load(), Retries: l.own.retries.Load(), Hedged: l.own.hedged.Load(), Hedges: l.own.hedges.Load(),
		Tries: l.own.tries.Load(), Failures: l.own.failures.Load(),
	}
}

// Peer counts what another gateway has spent between two of its Spends.
func (l *Ledger) Peer(now time.Duration, before, after Spend) {
	l.retries.add(now, max(0, after.Requests-before.Requests), max(0, after.Retries-before.Retries))
	l.hedges.add(now, max(0, after.Hedged-before.Hedged), max(0, after.Hedges-before.Hedges))
	l.tries.add(now, max(0, after.Tries-before.Tries), max(0, after.Failures-before.Failures))
}

// window counts two things over the last ten seconds.
type window struct {
	// Each bucket is one word: 20 bits of the number of its second, 22 bits of each count. The counts saturate, which at
	// four million a second is out of reach.
	buckets [budgetBuckets]atomic.Uint64
}

const (
	budgetCountBits = 22
	budgetCountMax  = 1<<budgetCountBits - 1
	budgetEpochMask = 1<<20 - 1
)

// sums returns both counts, and the second one of the last few buckets.
func (w *window) sums(now time.Duration, few int64) (a, b, recent int64) {
	second := epoch(now)
	for i := range w.buckets {
		word := w.buckets[i].Load()
		age := (second - int64(word>>(2*budgetCountBits))) & budgetEpochMask
		if age >= budgetBuckets {
			continue
		}
		n := int64(word & budgetCountMax)
		a += int64(word >> budgetCountBits & budgetCountMax)
		b += n
		if age < few {
			recent += n
		}
	}
	return a, b, recent
}

func epoch(now time.Duration) int64 { return int64(max(now, 0) / budgetBucket) }

func (w *window) add(now time.Duration, a, b int64) {
	second := epoch(now)
	bucket := &w.buckets[second%budgetBuckets]
	tag := uint64(second) & budgetEpochMask
	for {
		old := bucket.Load()
		q, r := int64(old>>budgetCountBits&budgetCountMax), int64(old&budgetCountMax)
		if old>>(2*budgetCountBits) != tag {
			// The bucket of ten seconds ago, or more; a straggler of that second starts it anew as well, which loses
			// a few counts and no more.
			q, r = 0, 0
		}
		q = min(max(q+a, 0), budgetCountMax)
		r = min(max(r+b, 0), budgetCountMax)
		if bucket.CompareAndSwap(old, tag<<(2*budgetCountBits)|uint64(q)<<budgetCountBits|uint64(r)) {
			return
		}
	}
}
