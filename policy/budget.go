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

// Budget bounds retries to a share of the requests of the last ten seconds, so that a failing system is not burdened
// with a multiple of its load; and always allows a few a second, so that a quiet system can retry at all. It slides
// in steps of a second. It is safe for concurrent use: withdrawals first count and then look, so that racing ones may
// be refused, but never exceed the budget together.
type Budget struct {
	share     float64
	min       float64 // retries a second that are always allowed
	minWindow int64   // buckets over which min is counted: 1, more where min is below one a second

	// Each bucket is one word: 20 bits of the number of its second, 22 bits of requests, 22 bits of retries. The
	// counts saturate, which at four million a second is out of reach.
	buckets [budgetBuckets]atomic.Uint64
}

const (
	budgetCountBits = 22
	budgetCountMax  = 1<<budgetCountBits - 1
	budgetEpochMask = 1<<20 - 1
)

// NewBudget returns a budget of the given share of requests (0.2 is 20 %), with perSecond retries always allowed. Rates
// below one in ten seconds count as none.
func NewBudget(share topology.Percent, perSecond topology.Rate) *Budget {
	b := &Budget{share: max(float64(share), 0), min: max(float64(perSecond), 0), minWindow: 1}
	if b.min > 0 && b.min < 1 {
		b.minWindow = min(budgetBuckets, int64(math.Ceil(1/b.min)))
	}
	return b
}

// Deposit counts a request, once, whatever becomes of it.
func (b *Budget) Deposit(now time.Duration) { b.add(now, 1, 0) }

// Withdraw asks for a retry, and counts it if it is granted.
func (b *Budget) Withdraw(now time.Duration) bool {
	second := epoch(now)
	b.add(now, 0, 1)
	var requests, retries, recent int64
	for i := range b.buckets {
		w := b.buckets[i].Load()
		age := (second - int64(w>>(2*budgetCountBits))) & budgetEpochMask
		if age >= budgetBuckets {
			continue
		}
		r := int64(w & budgetCountMax)
		requests += int64(w >> budgetCountBits & budgetCountMax)
		retries += r
		if age < b.minWindow {
			recent += r
		}
	}
	if float64(retries) <= b.share*float64(requests)+1e-9 || float64(recent) <= b.min*float64(b.minWindow)+1e-9 {
		return true
	}
	b.add(now, 0, -1)
	return false
}

func epoch(now time.Duration) int64 { return int64(max(now, 0) / budgetBucket) }

func (b *Budget) add(now time.Duration, requests, retries int64) {
	second := epoch(now)
	bucket := &b.buckets[second%budgetBuckets]
	tag := uint64(second) & budgetEpochMask
	for {
		old := bucket.Load()
		q, r := int64(old>>budgetCountBits&budgetCountMax), int64(old&budgetCountMax)
		if old>>(2*budgetCountBits) != tag {
			// The bucket of ten seconds ago, or more; a straggler of that second starts it anew as well, which loses
			// a few counts and no more.
			q, r = 0, 0
		}
		q = min(max(q+requests, 0), budgetCountMax)
		r = min(max(r+retries, 0), budgetCountMax)
		if bucket.CompareAndSwap(old, tag<<(2*budgetCountBits)|uint64(q)<<budgetCountBits|uint64(r)) {
			return
		}
	}
}
