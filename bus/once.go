package bus

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/banyanhq/banyan/bus/inbox"
	"github.com/banyanhq/banyan/bus/journal"
	"github.com/banyanhq/banyan/bus/streamlog"
)

// consumerName is who is pushed to, as an inbox knows it.
func consumerName(kind, name, service string) string { return kind + "s." + name + "/" + service }

// openInbox opens what remembers the messages that services have taken, if any has an inbox, on one node.
func (b *Bus) openInbox() (err error) {
	if windows := b.inboxWindows(); windows != nil && b.cfg.Cluster == nil {
		b.inbox, err = inbox.Open(inbox.Config{Dir: filepath.Join(b.cfg.Dir, "inbox"), Windows: windows, Log: b.cfg.Log})
	}
	return err
}

// inboxWindows say for how long it is remembered what each of those has taken who are pushed to; nil: nothing is.
func (b *Bus) inboxWindows() map[string]time.Duration {
	windows := map[string]time.Duration{}
	add := func(kind, name string, pushes []Push) {
		for _, to := range pushes {
			if to.Inbox > 0 {
				windows[consumerName(kind, name, to.Name)] = to.Inbox
			}
		}
	}
	for name, q := range b.cfg.Queues {
		add("queue", name, q.Push)
	}
	for name, t := range b.cfg.Topics {
		add("topic", name, t.Push)
	}
	if len(windows) == 0 {
		return nil
	}
	return windows
}

// keepPushingOnce pushes to the services that have an inbox, if there are any, for as long as this node leads.
func (b *Bus) keepPushingOnce(ctx context.Context) {
	windows := b.inboxWindows()
	for windows != nil && ctx.Err() == nil {
		if err := b.pushOnce(ctx, windows); err != nil && ctx.Err() == nil {
			b.cfg.Log.Warn("services that have an inbox are not pushed to; it is tried again", "error", err)
			pause(ctx, makeEvery)
		}
	}
}

// pushOnce takes over what the node before remembered, which can't add to it any more, and pushes until ctx ends or nothing can be
// remembered.
func (b *Bus) pushOnce(ctx context.Context, windows map[string]time.Duration) error {
	if err := b.makeJournal(ctx, inboxStream, inboxSubject); err != nil {
		return fmt.Errorf("making the journal of the inboxes: %w", err)
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	var log *streamlog.Log
	in, err := inbox.Open(inbox.Config{Windows: windows, Log: b.cfg.Log, OpenLog: func(replay func(journal.Position, []byte) error) (_ inbox.Journal, err error) {
		log, err = streamlog.Open(ctx, b.js, streamlog.Options{Stream: inboxStream, Subject: inboxSubject, MaxFrame: b.cfg.MaxMessage + journalRoom}, replay)
		return log, err
	}})
	if err != nil {
		return err
	}
	defer in.Close() // what it could not write was said
	var pushing sync.WaitGroup
	for _, p := range b.pushers() {
		if p.to.Inbox > 0 {
			p.inbox = in
			pushing.Go(func() { p.run(ctx) })
		}
	}
	select {
	case <-ctx.Done():
		err = nil
	case <-log.Failed():
		err = streamlog.ErrFailed
	}
	end()
	pushing.Wait()
	return err
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
	if p.inbox == nil || !p.inbox.Keeps(consumer) {
		return post()
	}
	waiting, cancel := context.WithTimeout(ctx, p.wait)
	defer cancel()
	release := p.handling.claim(waiting, key)
	if release == nil {
		return outcome{reason: fmt.Sprintf("another message with the same id is not handled within %s", p.wait), delay: -1}
	}
	defer release()
	if p.inbox.Has(consumer, key) {
		return outcome{taken: true}
	}
	out := post()
	if !out.taken {
		return out
	}
	// The service has it, whatever ends meanwhile.
	writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := p.inbox.Remember(writing, consumer, key); err != nil {
		p.bus.cfg.Log.Error("what a service has taken can't be remembered: it may be handed to it again", "to", consumer, "error", err)
	}
	return out
}
