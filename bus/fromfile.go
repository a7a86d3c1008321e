package bus

import (
	"time"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/policy/workqueue"
	"github.com/banyanhq/banyan/topology"
)

// FromFile describes the embedded queues and topics of a topology. Whom they push to is for the caller to add.
func FromFile(sys *topology.System) (queues map[string]Queue, topics map[string]Topic) {
	queues, topics = map[string]Queue{}, map[string]Topic{}
	for name, q := range sys.Queues {
		if q.Engine == "embedded" {
			queues[name] = Queue{QueueConfig: broker.QueueConfig{Rules: rulesOf(q), DeadLetter: q.DeadLetter, Durability: broker.Durability(q.Durability)}}
		}
	}
	for name, t := range sys.Topics {
		if t.Engine == "embedded" {
			topics[name] = Topic{Retain: t.Retain.Std(), Durability: broker.Durability(t.Durability)}
		}
	}
	return queues, topics
}

func rulesOf(q *topology.Queue) workqueue.Rules {
	r := workqueue.Rules{AckWait: q.AckWait.Std(), MaxDeliver: q.MaxDeliver, MaxMessages: q.MaxMessages, MaxBytes: int64(q.MaxBytes),
		TTL: q.TTL.Std(), Dedupe: q.Dedupe.Std(), Ordered: q.Ordered}
	if b := q.Backoff; b != nil {
		r.Backoff = workqueue.Backoff{First: b.First.Std(), Max: b.Max.Std(), Factor: b.Factor, Jitter: float64(b.Jitter)}
	}
	if q.Backoff == nil && len(q.Push) > 0 {
		r.Backoff = pushBackoff
	}
	return r
}

// pushBackoff is for queues that push and say nothing of a back-off: a service that fails is not called again at once.
var pushBackoff = workqueue.Backoff{First: time.Second, Max: 5 * time.Minute, Factor: 2, Jitter: 0.5}
