package bus

import (
	"context"
	"sync"
	"time"

	"github.com/banyanhq/banyan/policy/workqueue"
)

// groupName is a consumer group of a topic.
type groupName struct{ topic, group string }

// groupLimit bounds the deliveries to a consumer group. A nil one does not.
type groupLimit struct {
	mu     sync.Mutex
	bucket *workqueue.Bucket
}

func groupLimits(topics map[string]Topic) map[groupName]*groupLimit {
	all := map[groupName]*groupLimit{}
	for topic, t := range topics {
		for group, l := range t.Limits {
			all[groupName{topic, group}] = &groupLimit{bucket: workqueue.NewBucket(l)}
		}
	}
	return all
}

// limitOf is the limit of a group; nil if it has none.
func (b *Bus) limitOf(topic, group string) *groupLimit { return b.limits[groupName{topic, group}] }

// await waits until the limit has room for deliveries, and takes it: for as many as asked for at most. It returns 0 when ctx is
// done before; room that is there already is given in any case.
func (l *groupLimit) await(ctx context.Context, most int) int {
	if l == nil {
		return most
	}
	for {
		n, wait := l.take(most)
		if n > 0 {
			return n
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return 0
		}
	}
}

func (l *groupLimit) take(most int) (n int, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Duration(time.Now().UnixNano())
	if n = l.bucket.Have(now, most); n == 0 {
		return 0, l.bucket.Next() - now
	}
	l.bucket.Take(now, n)
	return n, 0
}

// give gives back room that was not used.
func (l *groupLimit) give(n int) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bucket.Give(n)
}
