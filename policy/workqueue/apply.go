package workqueue

import (
	"slices"
	"time"
)

// Apply changes the queue as an event says. Events of a log are applied in the order in which they happened; one about a
// message that is not there (any more) changes nothing.
func (q *Queue) Apply(ev Event) {
	switch ev.Kind {
	case Put, Kept:
		q.insert(ev)
		return
	case Numbered:
		q.next = max(q.next, ev.Seq)
		return
	case Fired:
		// What is written anew may stand behind what came after it.
		if q.fired[ev.Reason] = max(q.fired[ev.Reason], ev.Due); ev.Due == 0 {
			delete(q.fired, ev.Reason)
		}
		return
	}
	e := q.entries[ev.Seq]
	if e == nil {
		return
	}
	switch ev.Kind {
	case Delivered:
		q.counts.Delivered++
		if ev.Attempt > 1 {
			q.counts.Redelivered++
		}
		e.Attempts, e.delivered, e.deadline = ev.Attempt, ev.At, ev.Due
		q.become(e, inFlight)
	case Extended:
		e.deadline = ev.Due
		q.wake(e)
	case Returned:
		q.counts.Delivered--
		e.Attempts = max(e.Attempts-1, 0)
		q.enqueue(e)
	case Failed:
		q.counts.Failed++
		e.remember(Attempt{At: e.delivered, Ended: ev.At, Reason: ev.Reason})
		e.Due = ev.Due
		q.rest(e, ev.At)
	case Died:
		q.counts.Died++
		e.remember(Attempt{At: e.delivered, Ended: ev.At, Reason: ev.Reason})
		e.Dead, e.Expires = true, 0
		q.become(e, dead)
		q.unlink(e)
	case Left:
		q.counts.Died++
		e.remember(Attempt{At: e.delivered, Ended: ev.At, Reason: ev.Reason})
		q.drop(e) // and the event goes on with it
	case Acked:
		q.counts.Acked++
		q.recycle(e)
	case Expired:
		q.counts.Expired++
		q.recycle(e)
	case Removed:
		q.recycle(e)
	}
}

// Keep returns the events that write the whole state of a message anew.
func (q *Queue) Keep(now time.Duration, seq uint64) []Event {
	e := q.entries[seq]
	if e == nil {
		return nil
	}
	m := e.Message
	m.History = slices.Clone(m.History)
	kept := Event{Kind: Kept, Seq: seq, At: now, Due: e.Due, Message: &m}
	if e.state != inFlight {
		return []Event{kept}
	}
	m.Attempts--
	return []Event{kept, {Kind: Delivered, Seq: seq, At: e.delivered, Due: e.deadline, Attempt: e.Attempts}}
}

// Number is the event that has the queue never give the number of a message that is gone to another.
func (q *Queue) Number(now time.Duration) Event { return Event{Kind: Numbered, Seq: q.next, At: now} }

// Fired are the schedules that are remembered, each with the instant that it has come to. It must not be changed.
func (q *Queue) Fired() map[string]time.Duration { return q.fired }

// NextSeq is the number that the next message gets.
func (q *Queue) NextSeq() uint64 { return q.next }

// Known returns the number of the message with the given id, if it is still remembered.
func (q *Queue) Known(id string) (seq uint64, ok bool) {
	seq, ok = q.ids[id]
	return seq, ok
}

// Each calls f with each message, in no order, until f returns false.
func (q *Queue) Each(f func(seq uint64, m *Message) bool) {
	for seq, e := range q.entries {
		if !f(seq, &e.Message) {
			return
		}
	}
}

// insert takes in a message that was put, or replaces all that is known of one.
func (q *Queue) insert(ev Event) {
	e := q.newEntry()
	*e = entry{Message: *ev.Message, seq: ev.Seq, ready: -1, timer: -1, age: -1}
	if old := q.entries[ev.Seq]; old != nil {
		q.bytes -= int64(old.Size)
		q.become(old, absent)
		if l := q.lanes[old.Key]; l != nil && l.head == old {
			l.head = e // it keeps its place
		}
	}
	q.next = max(q.next, ev.Seq+1)
	q.entries[ev.Seq] = e
	q.bytes += int64(e.Size)
	if ev.Kind == Put {
		q.counts.Put++
	}
	if e.Put+q.rules.Dedupe > ev.At {
		q.noteID(e.ID, ev.Seq, e.Put)
	}
	if e.Dead {
		q.become(e, dead)
		return
	}
	q.ages.push(byAge{e})
	q.rest(e, ev.At)
}

func (q *Queue) newEntry() *entry {
	if n := len(q.free); n > 0 {
		e := q.free[n-1]
		q.free = q.free[:n-1]
		return e
	}
	return new(entry)
}

// rest has a message wait until its time has come, or makes it ready.
func (q *Queue) rest(e *entry, now time.Duration) {
	if e.Due <= now {
		q.enqueue(e)
		return
	}
	q.become(e, waiting)
	if e.Attempts > 0 {
		q.claim(e) // those that came after it wait until it was tried again
	}
}

// drop removes a message.
func (q *Queue) drop(e *entry) {
	q.become(e, absent)
	delete(q.entries, e.seq)
	q.bytes -= int64(e.Size)
	q.unlink(e)
}

// recycle removes a message of which nobody else has a part.
func (q *Queue) recycle(e *entry) {
	q.drop(e)
	if len(q.free) < maxFree {
		*e = entry{}
		q.free = append(q.free, e)
	}
}

// become changes the state, and takes the message out of the heaps that it is not in any more.
func (q *Queue) become(e *entry, s state) {
	if e.ready >= 0 {
		q.ready.remove(e.ready)
	}
	if e.age >= 0 && (s == absent || s == dead) {
		q.ages.remove(e.age)
	}
	q.tally[e.state]--
	e.state = s
	q.tally[s]++
	q.wake(e)
}

// wake has Tick look at the message when something may be due for it.
func (q *Queue) wake(e *entry) {
	switch e.look = e.lookAt(); {
	case e.look == 0 && e.timer >= 0:
		q.timers.remove(e.timer)
	case e.look == 0:
	case e.timer >= 0:
		q.timers.fix(e.timer)
	default:
		q.timers.push(byTime{e})
	}
}

// enqueue makes a message ready, or has it stand in its lane.
func (q *Queue) enqueue(e *entry) {
	q.become(e, queued)
	if !q.keeps(e) || q.claim(e) {
		q.ready.push(byTurn{e})
	}
}

// keeps reports whether the message has a place in an order.
func (q *Queue) keeps(e *entry) bool { return q.rules.Ordered && e.Key != "" }

// lane is the order within one key. Its head is the message that may be delivered, is in flight, or waits for its next
// attempt; the others stand in line. The line may hold numbers of some that are gone.
type lane struct {
	head *entry
	line binaryHeap[bySeq]
}

// claim makes a message the head of its lane and returns true, or has it stand in line. A head that was never delivered
// gives way to an older message.
func (q *Queue) claim(e *entry) bool {
	if !q.keeps(e) {
		return false
	}
	l := q.lanes[e.Key]
	if l == nil {
		l = &lane{}
		q.lanes[e.Key] = l
	}
	switch {
	case l.head == e || l.head == nil:
	case l.head.state == queued && l.head.Attempts == 0 && e.seq < l.head.seq:
		behind := l.head
		q.become(behind, queued) // no longer among the ready ones
		l.line.push(bySeq(behind.seq))
	default:
		l.line.push(bySeq(e.seq))
		return false
	}
	l.head = e
	return true
}

// unlink gives the place of a message that is settled to the next one of its lane.
func (q *Queue) unlink(e *entry) {
	l := q.lanes[e.Key]
	if l == nil || l.head != e {
		return
	}
	l.head = nil
	for l.head == nil && len(l.line) > 0 {
		next := q.entries[uint64(l.line.remove(0))]
		if next != nil && next.state == queued {
			l.head = next
			q.ready.push(byTurn{next})
		}
	}
	if l.head == nil {
		delete(q.lanes, e.Key)
	}
}
