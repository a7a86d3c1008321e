package broker

import (
	"errors"
	"fmt"
	"time"

	"github.com/banyanhq/banyan/bus/journal"
	"github.com/banyanhq/banyan/policy/workqueue"
)

// Message to be published.
type Message struct {
	// ID by which duplicates are told within the queue's window. Empty: none.
	ID string
	// Key within which an ordered queue keeps the order. Empty: none.
	Key string
	// Priority from 0 to 9: of the messages that can be taken, a higher one goes first.
	Priority int
	// Delay until it can be taken, or At which instant; At goes before.
	Delay time.Duration
	At    time.Time
	// TTL after which it ends if nobody took it. 0: as the queue says.
	TTL     time.Duration
	Headers []Header
	Body    []byte
}

// Bounds of what callers may ask for.
const (
	maxIDBytes  = 256
	maxPriority = 9
	maxDelay    = 366 * 24 * time.Hour
	maxTTL      = 10 * 366 * 24 * time.Hour
)

func (m *Message) check(limit int) error {
	size := len(m.Body)
	for _, h := range m.Headers {
		size += len(h.Name) + len(h.Value)
	}
	switch {
	case size > limit:
		return fmt.Errorf("%w: %d bytes with its headers, the limit is %d", ErrTooLarge, size, limit)
	case len(m.ID) > maxIDBytes:
		return fmt.Errorf("%w: an id of %d bytes, the limit is %d", ErrInvalid, len(m.ID), maxIDBytes)
	case len(m.Key) > maxIDBytes:
		return fmt.Errorf("%w: a key of %d bytes, the limit is %d", ErrInvalid, len(m.Key), maxIDBytes)
	case m.Priority < 0 || m.Priority > maxPriority:
		return fmt.Errorf("%w: priority %d, expected 0 to %d", ErrInvalid, m.Priority, maxPriority)
	case m.Delay < 0 || m.Delay > maxDelay:
		return fmt.Errorf("%w: a delay of %s, expected 0 to %s", ErrInvalid, m.Delay, maxDelay)
	case m.TTL < 0 || m.TTL > maxTTL:
		return fmt.Errorf("%w: a time to live of %s, expected 0 to %s", ErrInvalid, m.TTL, maxTTL)
	}
	return nil
}

// Published says what became of a message.
type Published struct {
	Seq       uint64
	Duplicate bool
}

// Publish stores a message. Done is told once, unless an error is returned at once: after a nil error the message is
// stored as durably as the queue says. The bytes of the message are the caller's again when Publish returns.
func (b *Broker) Publish(name string, m Message, done func(Published, error)) error {
	if err := m.check(b.cfg.MaxMessage); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	q, err := b.find(name)
	if err != nil {
		return err
	}
	if !q.declared {
		return fmt.Errorf("%w: %q is not in the configuration any more; it only gives what it holds", ErrNoQueue, name)
	}
	now := b.now()
	meta := &workqueue.Message{ID: m.ID, Key: m.Key, Priority: m.Priority, Size: contentBytes(&m), Put: now}
	if at := time.Duration(m.At.UnixNano()); !m.At.IsZero() {
		if at > now+maxDelay {
			return fmt.Errorf("%w: due in more than %s", ErrInvalid, maxDelay)
		}
		meta.Due = at
	} else if m.Delay > 0 {
		meta.Due = now + m.Delay
	}
	if m.TTL > 0 {
		meta.Expires = max(now, meta.Due) + m.TTL
	}
	seq, duplicate, err := q.core.Reserve(now, meta, false)
	switch {
	case err != nil:
		return b.whyFull(q, err)
	case duplicate:
		return b.confirm(q, m.ID, seq, done)
	}
	put := []change{{queue: q.name, event: workqueue.Event{Kind: workqueue.Put, Seq: seq, At: now, Message: meta}, fresh: &m}}
	data := encodeInto(b.takeRoom(), put)
	at := put[0].at
	err = b.journal.Append(journal.Record{
		Data: data, Durable: q.cfg.Durability != Relaxed, Refusable: true,
		Done: func(record journal.Position, err error) {
			b.mu.Lock()
			b.stored(q, seq, meta, at, record, err)
			b.giveRoom(data)
			b.mu.Unlock()
			done(Published{Seq: seq}, err)
		},
	})
	if err != nil {
		q.core.Cancel(seq, meta)
	}
	return err
}

// Bounds of the room that is kept for the next records.
const (
	keptRooms = 256
	keptRoom  = 4 << 10
)

// takeRoom returns room for a record, if there is some. b.mu is held.
func (b *Broker) takeRoom() (room []byte) {
	if n := len(b.rooms) - 1; n >= 0 {
		room, b.rooms = b.rooms[n], b.rooms[:n]
	}
	return room
}

// giveRoom keeps the room of a record that the journal has written. b.mu is held.
func (b *Broker) giveRoom(room []byte) {
	if len(b.rooms) < keptRooms && cap(room) <= keptRoom {
		b.rooms = append(b.rooms, room)
	}
}

// stored puts a message into its queue that the journal has, its content so far behind the beginning of the record, or gives it up. b.mu is held.
func (b *Broker) stored(q *queue, seq uint64, m *workqueue.Message, at int, record journal.Position, err error) {
	if err != nil {
		q.core.Cancel(seq, m)
		return
	}
	q.core.Put(b.now(), seq, m)
	b.setPlace(q, seq, place{journal.Position{Segment: record.Segment, Offset: record.Offset + int64(at)}, m.Size})
	if len(q.pulls) > 0 || m.Due > 0 || m.Expires > 0 {
		b.signal() // otherwise nothing is due, and nobody waits
	}
}

// confirm answers for a duplicate once the first one is stored: the journal keeps order, so an empty record that was
// stored comes after it.
func (b *Broker) confirm(q *queue, id string, seq uint64, done func(Published, error)) error {
	return b.journal.Append(journal.Record{Durable: q.cfg.Durability != Relaxed, Refusable: true, Done: func(_ journal.Position, err error) {
		b.mu.Lock()
		known, ok := q.core.Known(id)
		b.mu.Unlock()
		if err == nil && (!ok || known != seq) {
			err = errors.New("the first message with this id could not be stored; publish it again")
		}
		done(Published{Seq: seq, Duplicate: true}, err)
	}})
}

// whyFull says which bound was met.
func (b *Broker) whyFull(q *queue, err error) error {
	r := q.core.Rules()
	s := q.core.Stats(b.now())
	return fmt.Errorf("queue %s: %w: it holds %d messages of %d bytes, %d of them dead; its bounds are %s messages and %s bytes", q.name, err,
		s.Ready+s.Delayed+s.InFlight+s.Dead, s.Bytes, s.Dead, bound(int64(r.MaxMessages)), bound(r.MaxBytes))
}

func bound(n int64) string {
	if n <= 0 {
		return "any number of"
	}
	return fmt.Sprint(n)
}
