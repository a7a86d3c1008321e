package bus

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/banyanhq/banyan/bus/inbox"
)

// consumerName is who is pushed to, as an inbox knows it.
func consumerName(kind, name, service string) string { return kind + "s." + name + "/" + service }

// openInbox opens what remembers the messages that services have taken, if any has an inbox.
func (b *Bus) openInbox() (err error) {
	windows := map[string]time.Duration{}
	for name, q := range b.cfg.Queues {
		for _, to := range q.Push {
			windows[consumerName("queue", name, to.Name)] = to.Inbox
		}
	}
	for name, t := range b.cfg.Topics {
		for _, to := range t.Push {
			windows[consumerName("topic", name, to.Name)] = to.Inbox
		}
	}
	for _, window := range windows {
		if window > 0 && b.inbox == nil {
			if b.inbox, err = inbox.Open(inbox.Config{Dir: filepath.Join(b.cfg.Dir, "inbox"), Windows: windows, Log: b.cfg.Log}); err != nil {
				return err
			}
		}
	}
	return nil
}

// handling are the keys of the messages that one service is being handed.
type handling struct {
	mu   sync.Mutex
	keys map[string]chan struct{}
}

// claim waits until nobody else hands the service a message with a key, and keeps others from it until it is released. It
// returns nil when ctx is done before.
func (h *handling) claim(ctx context.Context, key string) (release func()) {
	for {
		h.mu.Lock()
		other, taken := h.keys[key]
		if !taken {
			if h.keys == nil {
				h.keys = map[string]chan struct{}{}
			}
			mine := make(chan struct{})
			h.keys[key] = mine
			h.mu.Unlock()
			return func() {
				h.mu.Lock()
				defer h.mu.Unlock()
				delete(h.keys, key)
				close(mine)
			}
		}
		h.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil
		}
	}
}

// once posts a message unless the service's inbox has its key: then the service has taken it, and it counts as taken again. Of a
// message that is taken the key is on disk before it is acknowledged.
func (p *pusher) once(ctx context.Context, key string, post func() outcome) outcome {
	consumer := consumerName(p.kind, p.name, p.to.Name)
	if p.bus.inbox == nil || !p.bus.inbox.Keeps(consumer) {
		return post()
	}
	waiting, cancel := context.WithTimeout(ctx, p.wait)
	defer cancel()
	release := p.handling.claim(waiting, key)
	if release == nil {
		return outcome{reason: fmt.Sprintf("another message with the same id is not handled within %s", p.wait), delay: -1}
	}
	defer release()
	if p.bus.inbox.Has(consumer, key) {
		return outcome{taken: true}
	}
	out := post()
	if !out.taken {
		return out
	}
	// The service has it, whatever ends meanwhile.
	writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := p.bus.inbox.Remember(writing, consumer, key); err != nil {
		p.bus.cfg.Log.Error("what a service has taken can't be remembered: it may be handed to it again", "to", consumer, "error", err)
	}
	return out
}
