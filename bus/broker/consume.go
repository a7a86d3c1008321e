package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/banyanhq/banyan/policy/workqueue"
)

// Delivery of a message. Queue, Seq and Attempt settle it.
type Delivery struct {
	Queue    string
	Seq      uint64
	Attempt  int
	Deadline time.Time
	Meta     workqueue.Message
	Headers  []Header
	Body     []byte
	// Pending is how many messages could be taken besides.
	Pending int
}

// Pull is somebody who waits for messages.
type Pull struct {
	// Batch is how many it takes.
	Batch int
	// Consumer names whose limit holds for it. Empty: none of its own.
	Consumer string
	// Alive says, before each delivery, whether it is still there. Nil: it is.
	Alive func() bool
	// Deliver is handed what there is, and whether that was the last of the batch. It must not block.
	Deliver func(d Delivery, last bool)
	// Empty is called once, when what there is at that moment has been given to it or is on its way, and the batch is not full;
	// Cancel then returns when it was delivered. It must not block. Nil: nobody asks.
	Empty func()

	told       bool // Empty was called
	queue      *queue
	delivering sync.WaitGroup
}

// Pull has somebody wait for messages of a queue, behind those who wait already.
func (b *Broker) Pull(name string, p *Pull) error {
	if p.Batch < 1 {
		return fmt.Errorf("a batch of %d messages", p.Batch)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	q, err := b.find(name)
	if err != nil {
		return err
	}
	p.queue = q
	q.pulls = append(q.pulls, p)
	b.signal()
	return nil
}

// Cancel ends a pull. When it returns, nothing more is delivered to it. Deliver must not call it.
func (b *Broker) Cancel(p *Pull) {
	b.mu.Lock()
	b.unpull(p)
	b.mu.Unlock()
	p.delivering.Wait()
}

func (b *Broker) unpull(p *Pull) {
	if i := slices.Index(p.queue.pulls, p); i >= 0 {
		p.queue.pulls = slices.Delete(p.queue.pulls, i, i+1)
	}
}

// Receive waits until there is a message for a consumer (see Pull), or ctx is done, and returns up to most of them; none when
// ctx is done.
func (b *Broker) Receive(ctx context.Context, name, consumer string, most int) ([]Delivery, error) {
	return b.receive(ctx, name, most, &Pull{Consumer: consumer}, nil)
}

// ReceiveNow returns up to most messages for a consumer of those that there are, and waits for no others.
func (b *Broker) ReceiveNow(ctx context.Context, name, consumer string, most int) ([]Delivery, error) {
	none := make(chan struct{})
	return b.receive(ctx, name, most, &Pull{Consumer: consumer, Empty: func() { close(none) }}, none)
}

// receive has somebody wait until there is something; where none is not nil, until it is known that there is no more.
func (b *Broker) receive(ctx context.Context, name string, most int, p *Pull, none <-chan struct{}) ([]Delivery, error) {
	arrived := make(chan Delivery, most)
	p.Batch, p.Deliver = most, func(d Delivery, _ bool) { arrived <- d }
	if err := b.Pull(name, p); err != nil {
		return nil, err
	}
	var got []Delivery
	for waiting := true; waiting; {
		waiting = false
		select {
		case d := <-arrived:
			got = append(got, d)
			waiting = none != nil && len(got) < most
		case <-none:
		case <-ctx.Done():
		case <-b.stop:
		}
	}
	b.Cancel(p)
	for len(got) < most {
		select {
		case d := <-arrived:
			got = append(got, d)
			continue
		default:
		}
		break
	}
	if ctx.Err() != nil {
		for _, d := range got { // whoever asked is gone
			b.Return(d)
		}
		return nil, nil
	}
	return got, nil
}

// settle runs a decision about a delivery, and has its event kept. Done, if not nil, hears when that is on disk; otherwise
// nobody waits.
func (b *Broker) settle(name string, done func(error), decide func(*workqueue.Queue, time.Duration) (workqueue.Event, error)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	q, err := b.find(name)
	if err != nil {
		return err
	}
	ev, err := decide(q.core, b.now())
	if err != nil {
		return err
	}
	err = b.happened(q, done, ev)
	b.signal()
	return err
}

// Ack settles a delivery as handled.
func (b *Broker) Ack(queue string, seq uint64, attempt int, done func(error)) error {
	return b.settle(queue, done, func(q *workqueue.Queue, now time.Duration) (workqueue.Event, error) { return q.Ack(now, seq, attempt) })
}

// Nack settles a delivery as failed. A negative delay leaves it to the queue's back-off.
func (b *Broker) Nack(queue string, seq uint64, attempt int, delay time.Duration, reason string, done func(error)) error {
	return b.settle(queue, done, func(q *workqueue.Queue, now time.Duration) (workqueue.Event, error) {
		return q.Nack(now, seq, attempt, min(delay, maxDelay), reason)
	})
}

// Terminate settles a delivery as hopeless: the message is dead.
func (b *Broker) Terminate(queue string, seq uint64, attempt int, reason string, done func(error)) error {
	return b.settle(queue, done, func(q *workqueue.Queue, now time.Duration) (workqueue.Event, error) {
		return q.Terminate(now, seq, attempt, reason)
	})
}

// Extend gives the consumer more time: the given, or with 0 the queue's ack wait, counted from now.
func (b *Broker) Extend(queue string, seq uint64, attempt int, by time.Duration, done func(error)) error {
	return b.settle(queue, done, func(q *workqueue.Queue, now time.Duration) (workqueue.Event, error) {
		return q.Extend(now, seq, attempt, min(by, 24*time.Hour))
	})
}

// Return takes a delivery back that reached nobody; it doesn't count as an attempt.
func (b *Broker) Return(d Delivery) {
	err := b.settle(d.Queue, nil, func(q *workqueue.Queue, now time.Duration) (workqueue.Event, error) {
		return q.Return(now, d.Seq, d.Attempt)
	})
	if err != nil && !errors.Is(err, workqueue.ErrSettled) && !errors.Is(err, ErrClosed) {
		b.log.Warn("taking a delivery back", "queue", d.Queue, "error", err)
	}
}

// happened keeps events of one queue and does what follows from them. b.mu is held.
func (b *Broker) happened(q *queue, done func(error), events ...workqueue.Event) error {
	plain := make([]change, 0, len(events))
	for _, ev := range events {
		if ev.Kind == workqueue.Left {
			b.moveDead(q, ev)
		} else {
			plain = append(plain, change{queue: q.name, event: ev})
			b.prune(q, ev)
		}
		b.observe(q, ev)
	}
	if len(plain) == 0 {
		if done == nil {
			return nil
		}
		return b.write(true, done) // what follows is kept after what was moved
	}
	return b.write(done != nil, done, plain...)
}

// Holds reports whether a delivery is still in flight.
func (b *Broker) Holds(d Delivery) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queues[d.Queue]
	return q != nil && q.core.InFlight(d.Seq, d.Attempt)
}
