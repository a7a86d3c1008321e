package policy

import (
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Hedger decides whether a request that is slow is sent a second time (J. Dean, L. Barroso, The Tail at Scale, CACM 2013:
// after the expected 95th percentile, for about 5 % more load). It limits itself: only idempotent methods, only within a
// budget that is tied to the callee's health, and not at all while the callee is busy, for then a second copy makes all
// slower. It is safe for concurrent use; a lock is held for some arithmetic.
type Hedger struct {
	cfg    topology.Hedge
	budget *Budget
	meter  meter
}

// NewHedger returns the hedging policy of one route, whose latencies it learns, with a budget on the service's ledger.
func NewHedger(cfg topology.Hedge, ledger *Ledger) *Hedger {
	return &Hedger{cfg: cfg, budget: ledger.Hedges(cfg.Budget)}
}

// Budget returns what bounds the hedges.
func (h *Hedger) Budget() *Budget { return h.budget }

// UnknownUtilization stands for that of a service of which nothing says what it can hold. It is estimated then.
const UnknownUtilization = -1

// Delay counts a request, and returns after which time it is sent a second time if it has not been answered; false: it
// is not. The utilization of the service is from 0 to 1.
func (h *Hedger) Delay(now time.Duration, idempotent bool, utilization float64) (after time.Duration, ok bool) {
	h.budget.Deposit(now)
	if !idempotent || h.busy(now, utilization) {
		return 0, false
	}
	after, ok = h.meter.latency(now, float64(h.cfg.Quantile))
	return max(after, h.cfg.MinDelay.Std()), ok
}

// Send reports whether the second copy is sent, now that the delay is over, and charges the budget.
func (h *Hedger) Send(now time.Duration, utilization float64) bool {
	return !h.busy(now, utilization) && h.budget.Withdraw(now)
}

func (h *Hedger) busy(now time.Duration, utilization float64) bool {
	if utilization < 0 {
		utilization = h.meter.utilization(now)
	}
	return utilization > float64(h.cfg.MaxUtilization)
}

// Observe takes how long the first copy of a request took to be answered, or until it was given up for the second: that
// it took so long at least is all that is known then, and enough, for the quantile lies below.
func (h *Hedger) Observe(now, latency time.Duration) { h.meter.observe(now, latency) }
