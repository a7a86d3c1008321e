package orchestrate

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Event is something that happened to a service or to one of its replicas.
type Event struct {
	Time    time.Time `json:"time"`
	Service string    `json:"service,omitempty"`
	Replica string    `json:"replica,omitempty"` // "" for what concerns the whole service
	What    string    `json:"what"`              // one or two words: started, ready, exited, ...
	Why     string    `json:"why,omitempty"`     // one line
}

// journal keeps the latest events and logs each.
type journal struct {
	log *slog.Logger

	mu     sync.Mutex
	ring   []Event
	next   int
	filled bool
}

func newJournal(size int, log *slog.Logger) *journal {
	return &journal{log: log, ring: make([]Event, size)}
}

func (j *journal) add(level slog.Level, service, replica, what, why string) {
	e := Event{time.Now(), service, replica, what, why}
	j.mu.Lock()
	j.ring[j.next] = e
	j.next++
	if j.next == len(j.ring) {
		j.next, j.filled = 0, true
	}
	j.mu.Unlock()

	attrs := make([]slog.Attr, 0, 3)
	if replica != "" {
		attrs = append(attrs, slog.String("replica", replica))
	} else if service != "" {
		attrs = append(attrs, slog.String("service", service))
	}
	if why != "" {
		attrs = append(attrs, slog.String("why", why))
	}
	j.log.LogAttrs(context.Background(), level, what, attrs...)
}

// list returns the events, oldest first.
func (j *journal) list() []Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.filled {
		return append([]Event(nil), j.ring[:j.next]...)
	}
	return append(append([]Event(nil), j.ring[j.next:]...), j.ring[:j.next]...)
}
