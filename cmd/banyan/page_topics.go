package main

import (
	"context"
	"sync"
	"time"

	"github.com/banyanhq/banyan/bus"
	"github.com/banyanhq/banyan/ui"
)

// topicsEvery is how often topics are looked at: that asks the embedded server for each consumer group.
const topicsEvery = 5 * time.Second

// topicCache remembers what topics held a moment ago.
type topicCache struct {
	ask func(context.Context) ([]bus.TopicStatus, error)

	mu   sync.Mutex
	at   time.Time
	last []ui.Store
}

func (t *topicCache) stores() []ui.Store {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.at) >= topicsEvery {
		t.at = now
		if all, err := t.ask(context.Background()); err == nil { // otherwise what was known still stands
			t.last = nil
			for _, s := range all {
				t.last = append(t.last, topicStore(s))
			}
		}
	}
	return t.last
}

// topicStore counts as waiting what the group that is furthest behind has not seen.
func topicStore(s bus.TopicStatus) ui.Store {
	out := ui.Store{ID: "topics." + s.Name, Used: int64(s.Bytes), Stored: int64(s.Last)}
	if len(s.Partitions) > 0 {
		out.Stored = 0
		for _, p := range s.Partitions {
			out.Stored += int64(p.End)
		}
	}
	for _, g := range s.Groups {
		out.Waiting, out.InFlight = max(out.Waiting, int64(g.Lag)), max(out.InFlight, int64(g.InFlight))
	}
	return out
}
