package policy

import (
	"fmt"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Idempotent reports whether a request of the method may be repeated without asking, because doing it twice means the
// same as doing it once (RFC 9110, 9.2.2).
func Idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// Safe reports whether a request of the method asks for nothing to be changed (RFC 9110, 9.2.1).
func Safe(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE":
		return true
	}
	return false
}

// Try is a try that failed.
type Try struct {
	// Idempotent says that the request's method is (RFC 9110, 9.2.2).
	Idempotent bool
	// Sent is false only where provably no byte of the request has reached a backend.
	Sent bool
	// Replayable says that the request's body can be sent once more from its start, or that there is none.
	Replayable bool
	// Status of the answer; 0 if there was none.
	Status int
	// Attempts made so far, this one included.
	Attempts int
	// Left until the deadline of the whole call; at or below 0 it is over.
	Left time.Duration
	// Random in [0, 1), drawn afresh.
	Random float64
}

// Verdict says whether a failed try is repeated, and if not, why.
type Verdict uint8

// The verdicts.
const (
	// Repeat it after the pause.
	Repeat Verdict = iota
	// Final: the answer is not one that is retried.
	Final
	// Unsafe: it may have been carried out, and doing it twice may not be the same as once.
	Unsafe
	// BodyGone: what was sent of the body cannot be sent again.
	BodyGone
	// Exhausted: no attempt is left.
	Exhausted
	// Late: the deadline would pass first.
	Late
	// OverBudget: too many requests are being retried already.
	OverBudget
	verdicts
)

// Verdicts is how many verdicts there are, from Repeat on.
const Verdicts = int(verdicts)

// String returns the verdict in words.
func (v Verdict) String() string {
	switch v {
	case Repeat:
		return "repeat"
	case Final:
		return "final answer"
	case Unsafe:
		return "not safe to repeat"
	case BodyGone:
		return "body cannot be sent again"
	case Exhausted:
		return "no attempt left"
	case Late:
		return "deadline too close"
	case OverBudget:
		return "retry budget spent"
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// Retrier decides whether failed tries are repeated. It is safe for concurrent use.
type Retrier struct {
	cfg    topology.Retry
	budget *Budget
}

// NewRetrier returns the retry policy of cfg with a budget of its own. A nil cfg retries nothing.
func NewRetrier(cfg *topology.Retry) *Retrier { return NewSharedRetrier(cfg, new(Ledger)) }

// NewSharedRetrier returns the retry policy of cfg with a budget on a ledger that others draw on as well.
func NewSharedRetrier(cfg *topology.Retry, ledger *Ledger) *Retrier {
	if cfg == nil {
		cfg = &topology.Retry{Attempts: 1}
	}
	return &Retrier{cfg: *cfg, budget: ledger.Retries(cfg.Budget, cfg.MinPerSecond)}
}

// Budget returns what bounds the retries.
func (r *Retrier) Budget() *Budget { return r.budget }

// Begin counts a new request: the budget is a share of these. Where nothing is retried there is nothing to count.
func (r *Retrier) Begin(now time.Duration) {
	if r.Enabled() {
		r.budget.Deposit(now)
	}
}

// Enabled reports whether anything is retried at all.
func (r *Retrier) Enabled() bool { return r.cfg.Attempts > 1 }

// Decide says whether the failed try t is repeated. Only then the budget is charged, and pause is what to wait first:
// exponential back-off with full jitter (M. Brooker, Exponential Backoff and Jitter, 2015).
func (r *Retrier) Decide(now time.Duration, t Try) (v Verdict, pause time.Duration) {
	switch {
	case t.Status != 0 && !r.retries(t.Status):
		return Final, 0
	case t.Sent && !t.Idempotent:
		return Unsafe, 0
	case !t.Replayable:
		return BodyGone, 0
	case t.Attempts >= r.cfg.Attempts:
		return Exhausted, 0
	}
	pause = time.Duration(min(max(t.Random, 0), 1) * float64(doubled(r.cfg.Backoff.Std(), maxBackoff, max(t.Attempts-1, 0))))
	if pause >= t.Left {
		return Late, 0
	}
	if !r.budget.Withdraw(now) {
		return OverBudget, 0
	}
	return Repeat, pause
}

// maxBackoff bounds the pauses; with at most ten attempts it is reached only by a back-off that starts long.
const maxBackoff = time.Minute

func (r *Retrier) retries(status int) bool {
	for _, s := range r.cfg.On {
		if s == status {
			return true
		}
	}
	return false
}
