package workqueue

import (
	"slices"
	"strings"
	"time"
)

// Queue of messages.
type Queue struct {
	rules  Rules
	random func() float64

	next     uint64 // the next sequence number
	entries  map[uint64]*entry
	free     []*entry // that can be used again
	ready    binaryHeap[byTurn]
	timers   binaryHeap[byTime]
	ages     binaryHeap[byAge] // without the dead
	lanes    map[string]*lane  // by key, of an ordered queue
	ids      map[string]uint64
	idTimes  []idTime // in the order of their coming
	tally    [dead + 1]int
	bytes    int64
	reserved reservation
	counts   Counts
	fired    map[string]time.Duration // by schedule
}

// reservation is room for messages that are on their way to the disk.
type reservation struct {
	messages int
	bytes    int64
}

type idTime struct {
	id  string
	seq uint64
	at  time.Duration
}

// state of an entry.
type state uint8

const (
	absent   state = iota // not in the queue yet
	waiting               // its time has not come
	queued                // it can be taken, or stands in its lane
	inFlight              // a consumer has it
	dead
)

type entry struct {
	Message
	seq       uint64
	state     state
	deadline  time.Duration // of the consumer that has it
	delivered time.Duration
	look      time.Duration // when Tick does
	// Places in the heaps of the queue; -1: not there.
	ready, timer, age int
}

// maxFree bounds the entries that are kept to be used again.
const maxFree = 1 << 10

// Counts of what happened.
type Counts struct {
	Put         uint64 `json:"put"`
	Duplicates  uint64 `json:"duplicates"`
	Refused     uint64 `json:"refused"`
	Delivered   uint64 `json:"delivered"`
	Redelivered uint64 `json:"redelivered"`
	Acked       uint64 `json:"acked"`
	Failed      uint64 `json:"failed"`
	Died        uint64 `json:"died"`
	Expired     uint64 `json:"expired"`
}

// Stats of a queue at an instant.
type Stats struct {
	Ready    int   `json:"ready"`
	Delayed  int   `json:"delayed"`
	InFlight int   `json:"in_flight"`
	Dead     int   `json:"dead"`
	Bytes    int64 `json:"bytes"`
	// OldestAge is the age of the oldest message that is not dead.
	OldestAge time.Duration `json:"oldest_age_ns"`
	Counts
}

// New returns an empty queue. Random gives numbers of [0, 1).
func New(rules Rules, random func() float64) *Queue {
	return &Queue{rules: rules.withDefaults(), random: random, next: 1, entries: map[uint64]*entry{},
		lanes: map[string]*lane{}, ids: map[string]uint64{}, fired: map[string]time.Duration{}}
}

// Rules that it goes by.
func (q *Queue) Rules() Rules { return q.rules }

// SetRules has it go by other rules from now on. Whether order is kept can't change while there are messages.
func (q *Queue) SetRules(r Rules) { q.rules = r.withDefaults() }

// Reserve makes room for a message and gives it its number; Put follows when it is stored, or Cancel when that failed. For
// a duplicate it returns the number of the first one and true. Forced ones ignore the bounds: dead letters are never refused.
func (q *Queue) Reserve(now time.Duration, m *Message, forced bool) (seq uint64, duplicate bool, err error) {
	q.forget(now)
	if m.ID != "" && q.rules.Dedupe > 0 {
		if seq, ok := q.ids[m.ID]; ok {
			q.counts.Duplicates++
			return seq, true, nil
		}
	}
	messages, bytes := len(q.entries)+q.reserved.messages+1, q.bytes+q.reserved.bytes+int64(m.Size)
	if !forced && ((q.rules.MaxMessages > 0 && messages > q.rules.MaxMessages) || (q.rules.MaxBytes > 0 && bytes > q.rules.MaxBytes)) {
		q.counts.Refused++
		return 0, false, ErrFull
	}
	seq = q.next
	q.next++
	q.reserved.messages++
	q.reserved.bytes += int64(m.Size)
	q.noteID(m.ID, seq, now)
	if m.Put == 0 {
		m.Put = now
	}
	if m.Expires == 0 && q.rules.TTL > 0 {
		m.Expires = max(m.Due, now) + q.rules.TTL
	}
	return seq, false, nil
}

// Cancel gives up what was reserved.
func (q *Queue) Cancel(seq uint64, m *Message) {
	q.release(m)
	if m.ID != "" && q.ids[m.ID] == seq {
		delete(q.ids, m.ID)
	}
}

func (q *Queue) release(m *Message) {
	q.reserved.messages--
	q.reserved.bytes -= int64(m.Size)
}

// Put takes in a message for which room was reserved.
func (q *Queue) Put(now time.Duration, seq uint64, m *Message) Event {
	q.release(m)
	e := Event{Kind: Put, Seq: seq, At: now, Message: m}
	q.Apply(e)
	return e
}

// Taken is a delivery. Its Seq and Attempt settle it.
type Taken struct {
	Seq      uint64
	Attempt  int
	Deadline time.Duration
	Message  Message
}

// Take delivers up to so many messages that can be taken now, and appends them to out, and what happened to events.
func (q *Queue) Take(now time.Duration, most int, out []Taken, events []Event) ([]Taken, []Event) {
	most += len(out)
	for len(out) < most && len(q.ready) > 0 && (q.rules.MaxInFlight == 0 || q.tally[inFlight] < q.rules.MaxInFlight) {
		e := q.ready[0].entry
		if e.Expires > 0 && e.Expires <= now {
			events = q.emit(events, q.end(now, e))
			continue
		}
		events = q.emit(events, Event{Kind: Delivered, Seq: e.seq, At: now, Due: now + q.rules.AckWait, Attempt: e.Attempts + 1})
		t := Taken{Seq: e.seq, Attempt: e.Attempts, Deadline: e.deadline, Message: e.Message}
		t.Message.History = slices.Clone(e.History)
		out = append(out, t)
	}
	return out, events
}

// Ack settles a delivery as handled. A late one, whose message was not yet given to anybody else, counts as well.
func (q *Queue) Ack(now time.Duration, seq uint64, attempt int) (Event, error) {
	e := q.entries[seq]
	if e == nil || attempt < 1 || e.Attempts != attempt || e.state == dead {
		return Event{}, ErrSettled
	}
	ev := Event{Kind: Acked, Seq: seq, At: now, Attempt: attempt}
	q.Apply(ev)
	return ev, nil
}

// Nack settles a delivery as failed. With a negative delay the queue's back-off says when the message can be taken again.
func (q *Queue) Nack(now time.Duration, seq uint64, attempt int, delay time.Duration, reason string) (Event, error) {
	e, err := q.flying(seq, attempt)
	if err != nil {
		return Event{}, err
	}
	ev := q.failure(now, e, delay, reason)
	q.Apply(ev)
	return ev, nil
}

// Terminate settles a delivery as hopeless: the message is dead whatever attempts are left.
func (q *Queue) Terminate(now time.Duration, seq uint64, attempt int, reason string) (Event, error) {
	e, err := q.flying(seq, attempt)
	if err != nil {
		return Event{}, err
	}
	ev := q.death(now, e, reason)
	q.Apply(ev)
	return ev, nil
}

// Extend gives the consumer until now plus the given time, or plus the queue's ack wait with 0.
func (q *Queue) Extend(now time.Duration, seq uint64, attempt int, by time.Duration) (Event, error) {
	if _, err := q.flying(seq, attempt); err != nil {
		return Event{}, err
	}
	if by <= 0 {
		by = q.rules.AckWait
	}
	ev := Event{Kind: Extended, Seq: seq, At: now, Due: now + by, Attempt: attempt}
	q.Apply(ev)
	return ev, nil
}

// Return takes a delivery back that did not reach its consumer.
func (q *Queue) Return(now time.Duration, seq uint64, attempt int) (Event, error) {
	if _, err := q.flying(seq, attempt); err != nil {
		return Event{}, err
	}
	ev := Event{Kind: Returned, Seq: seq, At: now, Attempt: attempt}
	q.Apply(ev)
	return ev, nil
}

// Remove takes a message out, dead or not, unless a consumer has it.
func (q *Queue) Remove(now time.Duration, seq uint64) (Event, error) {
	e := q.entries[seq]
	if e == nil || e.state == inFlight {
		return Event{}, ErrUnknown
	}
	ev := Event{Kind: Removed, Seq: seq, At: now}
	q.Apply(ev)
	return ev, nil
}

// Tick does what is due: ack waits that are over, messages whose time has come or whose life is over. It appends what
// happened to events.
func (q *Queue) Tick(now time.Duration, events []Event) []Event {
	q.forget(now)
	for len(q.timers) > 0 && q.timers[0].look <= now {
		switch e := q.timers[0].entry; {
		case e.state == inFlight:
			events = q.emit(events, q.failure(now, e, -1, "no acknowledgement within the ack wait"))
		case e.Expires > 0 && e.Expires <= now:
			events = q.emit(events, q.end(now, e))
		default:
			q.enqueue(e)
		}
	}
	return events
}

// Next is when Tick has something to do; ok is false if nothing is to come.
func (q *Queue) Next() (at time.Duration, ok bool) {
	if len(q.timers) == 0 {
		return 0, false
	}
	return q.timers[0].look, true
}

// Ready is how many messages can be taken now.
func (q *Queue) Ready() int {
	if q.rules.MaxInFlight > 0 && q.tally[inFlight] >= q.rules.MaxInFlight {
		return 0
	}
	return len(q.ready)
}

// Get returns what is known of a message.
func (q *Queue) Get(seq uint64) (Message, bool) {
	e := q.entries[seq]
	if e == nil {
		return Message{}, false
	}
	return e.Message, true
}

// Stats at an instant.
func (q *Queue) Stats(now time.Duration) Stats {
	s := Stats{Ready: q.tally[queued], Delayed: q.tally[waiting], InFlight: q.tally[inFlight], Dead: q.tally[dead], Bytes: q.bytes,
		Counts: q.counts}
	if len(q.ages) > 0 {
		s.OldestAge = max(now-q.ages[0].Put, 0)
	}
	return s
}

func (q *Queue) emit(events []Event, e Event) []Event {
	q.Apply(e)
	return append(events, e)
}

func (q *Queue) flying(seq uint64, attempt int) (*entry, error) {
	e := q.entries[seq]
	if e == nil || e.state != inFlight || e.Attempts != attempt {
		return nil, ErrSettled
	}
	return e, nil
}

// end is what becomes of a message whose time to live is over: one that nobody was ever given is gone, one that was tried
// in vain is dead, so that somebody hears of it.
func (q *Queue) end(now time.Duration, e *entry) Event {
	if e.Attempts == 0 {
		return Event{Kind: Expired, Seq: e.seq, At: now}
	}
	return q.death(now, e, "its time to live is over")
}

func (q *Queue) death(now time.Duration, e *entry, reason string) Event {
	ev := Event{Kind: Died, Seq: e.seq, At: now, Attempt: e.Attempts, Reason: clip(reason)}
	if q.rules.DeadElsewhere {
		ev.Kind, ev.Message = Left, &e.Message
	}
	return ev
}

// failure decides between another attempt and death.
func (q *Queue) failure(now time.Duration, e *entry, delay time.Duration, reason string) Event {
	if e.Attempts >= q.rules.MaxDeliver {
		return q.death(now, e, reason)
	}
	if delay < 0 {
		delay = q.rules.Backoff.After(e.Attempts, q.random())
	}
	return Event{Kind: Failed, Seq: e.seq, At: now, Due: now + delay, Attempt: e.Attempts, Reason: clip(reason)}
}

// forget drops the ids whose window is over.
func (q *Queue) forget(now time.Duration) {
	n := 0
	for n < len(q.idTimes) && q.idTimes[n].at+q.rules.Dedupe <= now {
		if t := q.idTimes[n]; q.ids[t.id] == t.seq {
			delete(q.ids, t.id)
		}
		n++
	}
	if n > 0 {
		q.idTimes = q.idTimes[n:]
	}
}

func (q *Queue) noteID(id string, seq uint64, at time.Duration) {
	if id == "" || q.rules.Dedupe <= 0 || q.ids[id] == seq {
		return
	}
	q.ids[id] = seq
	q.idTimes = append(q.idTimes, idTime{id, seq, at})
}

// clip bounds a reason, without leaving half a character.
func clip(reason string) string {
	return strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
}

// InFlight reports whether a delivery is not settled yet.
func (q *Queue) InFlight(seq uint64, attempt int) bool {
	_, err := q.flying(seq, attempt)
	return err == nil
}
