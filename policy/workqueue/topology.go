package workqueue

import (
	"time"

	"github.com/banyanhq/banyan/topology"
)

// pushBackoff is for queues that push and say nothing of a back-off: a service that fails is not called again at once.
var pushBackoff = Backoff{First: time.Second, Max: 5 * time.Minute, Factor: 2, Jitter: 0.5}

// RulesOf are those of a queue of a file.
func RulesOf(q *topology.Queue) Rules {
	r := Rules{AckWait: q.AckWait.Std(), MaxDeliver: q.MaxDeliver, MaxMessages: q.MaxMessages, MaxBytes: int64(q.MaxBytes),
		TTL: q.TTL.Std(), Dedupe: q.Dedupe.Std(), Ordered: q.Ordered, DeadElsewhere: q.DeadLetter != ""}
	if b := q.Backoff; b != nil {
		r.Backoff = Backoff{First: b.First.Std(), Max: b.Max.Std(), Factor: b.Factor, Jitter: float64(b.Jitter)}
	} else if len(q.Push) > 0 {
		r.Backoff = pushBackoff
	}
	return r
}

// LimitOf is that of a file; nil is none.
func LimitOf(l *topology.DeliveryLimit) Limit {
	if l == nil {
		return Limit{}
	}
	return Limit{PerSecond: float64(l.Rate), Burst: l.Burst}
}

// Waiting is how many messages nobody has: those that can be taken, and those whose time has not come.
func (q *Queue) Waiting() int { return q.tally[queued] + q.tally[waiting] }
