package simulate

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/banyanhq/banyan/policy/workqueue"
	"github.com/banyanhq/banyan/topology"
)

// backlog is the messages of a queue, by the rules that the broker goes by as well: who may take one, what becomes of one that
// failed, what is refused.
type backlog struct {
	core    *workqueue.Queue
	limit   *workqueue.Bucket // of all consumers; nil: none
	held    window            // messages by their numbers in core
	flights []flight          // by visit: what those handle that are roots
	armed   int64             // when it is looked again; 0: not by itself
	first   int               // of its groups, that is asked next
	feeding bool
	// What is used again each time.
	message workqueue.Message
	taken   []workqueue.Taken
	events  []workqueue.Event
	trend   workqueue.Trend
}

// flight is a delivery that is being handled.
type flight struct {
	seq     uint64
	attempt int32
}

// window finds messages by numbers that are given out one after the other: those of the oldest that is left until the newest are in a
// ring.
type window struct {
	ring     []int32 // a power of two; none: that one has left
	from, to uint64  // the oldest's number, and the next's
}

// put notes the message of the next number.
func (w *window) put(seq uint64, k int32) {
	if w.from == w.to {
		w.from, w.to = seq, seq
	}
	if n := uint64(len(w.ring)); w.to-w.from == n {
		grown := make([]int32, max(64, 2*n))
		for i := w.from; i < w.to; i++ {
			grown[i&uint64(len(grown)-1)] = w.ring[i&(n-1)]
		}
		w.ring = grown
	}
	w.ring[seq&uint64(len(w.ring)-1)] = k
	w.to = seq + 1
}

// at is the message of a number; none if it has left.
func (w *window) at(seq uint64) int32 {
	if seq < w.from || seq >= w.to {
		return none
	}
	return w.ring[seq&uint64(len(w.ring)-1)]
}

// drop forgets the message of a number that at knows.
func (w *window) drop(seq uint64) {
	mask := uint64(len(w.ring) - 1)
	w.ring[seq&mask] = none
	for w.from < w.to && w.ring[w.from&mask] == none {
		w.from++
	}
}

// timetable publishes messages by the clock.
type timetable struct {
	block int32
	next  func(after int64) (int64, bool)
}

// midnight is when the clock of a run begins, for schedules: it must be the same in each.
var midnight = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC) // a Monday

// trendEvery is how often it is noted how a queue is doing.
const trendEvery = int64(time.Second)

func newLine(q *topology.Queue, draws *stream) *backlog {
	return &backlog{core: workqueue.New(workqueue.RulesOf(q), draws.uniform), limit: workqueue.NewBucket(workqueue.LimitOf(q.Limit))}
}

// schedules compiles what publishes to a queue by the clock.
func (c *compiler) schedules(block int32, q *topology.Queue) error {
	for _, name := range sortedKeys(q.Schedules) {
		v := q.Schedules[name]
		table, err := topology.ParseTimetable(v.Cron, v.Zone)
		if err != nil {
			return fmt.Errorf("schedule %s: %w", name, err)
		}
		if v.Cron == "" || v.Cron[0] != '@' {
			c.assume("%s: for its schedules a run begins on a Monday at midnight, UTC", c.m.blocks[block].name)
		}
		c.m.timetables = append(c.m.timetables, timetable{block, func(after int64) (int64, bool) {
			at, ok := table.Next(midnight.Add(time.Duration(after)))
			return int64(at.Sub(midnight)), ok
		}})
	}
	return nil
}

// scheduled makes sure that queues to which the clock publishes are there, whether or not something else leads to them.
func (c *compiler) scheduled() error {
	for _, name := range sortedKeys(c.sys.Queues) {
		if len(c.sys.Queues[name].Schedules) > 0 {
			if _, err := c.block("queues." + name); err != nil {
				return err
			}
		}
	}
	return nil
}

// arm has a timetable fire when its next time has come.
func (s *sim) arm(i int32) {
	if at, ok := s.m.timetables[i].next(s.now); ok && at < math.MaxInt64 {
		s.schedule(at, evTimetable, i, 0)
	}
}

func (s *sim) timetable(i int32) {
	s.put(s.m.timetables[i].block, 0, 0, false)
	s.arm(i)
}

// put stores a message in a queue, and reports whether there was room. Forced ones, which are dead letters, are never refused.
func (s *sim) put(i int32, client, about uint64, forced bool) bool {
	if s.tooMany() {
		return true
	}
	b := s.accountBlock(i)
	l := b.line
	if len(b.groups) == 0 && l.core.Rules().MaxMessages == 0 {
		b.count.Published++ // nobody takes it, and it is in nobody's way
		return true
	}
	l.message = workqueue.Message{}
	m := &l.message
	if l.core.Rules().Ordered {
		m.Key = strconv.FormatUint(client, 36)
	}
	seq, _, err := l.core.Reserve(s.instant(), m, forced)
	if err != nil {
		b.count.Refused++
		return false
	}
	b.count.Published++
	l.core.Put(s.instant(), seq, m)
	k := s.messages.take()
	at := s.messages.at(k)
	*at = message{published: s.now, group: none, root: none, stamp: at.stamp, client: client, about: about}
	l.held.put(seq, k)
	b.count.backlogNow = l.core.Waiting()
	s.feedLine(i)
	return true
}

// feedLine gives waiting messages to consumers that have room and are within their limits.
func (s *sim) feedLine(i int32) {
	b := &s.blocks[i]
	l := b.line
	if l.feeding {
		return // by a call of feedLine further up, which goes on
	}
	l.feeding = true
	for l.core.Ready() > 0 && l.limit.Have(s.instant(), 1) > 0 && !s.ended && s.err == nil {
		g, replica := s.taker(b)
		if g == none {
			break
		}
		l.taken, l.events = l.core.Take(s.instant(), 1, l.taken[:0], l.events[:0])
		s.happened(i, l.events)
		if len(l.taken) == 1 {
			s.hand(i, g, replica, l.taken[0])
		}
	}
	l.feeding = false
	s.armLine(i)
}

// taker is the group whose turn it is among those that have room, with the replica of it; none if all are full.
func (s *sim) taker(b *block) (g, replica int32) {
	for k := range b.groups {
		g := b.groups[(b.line.first+k)%len(b.groups)]
		q := &s.groups[g]
		if q.limit.Have(s.instant(), 1) == 0 {
			continue
		}
		if replica, ok := s.room(q); ok {
			b.line.first = (b.line.first + k + 1) % len(b.groups)
			return g, replica
		}
	}
	return none, none
}

// hand has a message of a queue handled.
func (s *sim) hand(i, g, replica int32, t workqueue.Taken) {
	b := s.accountBlock(i)
	l := b.line
	b.count.backlogNow = l.core.Waiting()
	l.limit.Take(s.instant(), 1)
	s.groups[g].limit.Take(s.instant(), 1)
	k := l.held.at(t.Seq)
	s.messages.at(k).deliveries = int32(t.Attempt - 1)
	v := s.handle(g, k, replica)
	for int(v) >= len(l.flights) {
		l.flights = append(l.flights, flight{})
	}
	l.flights[v] = flight{t.Seq, int32(t.Attempt)}
	s.proceed(v)
}

// settle is the end of a handling. One that comes after its ack wait counts as long as nobody else has the message, as it does
// with the broker.
func (s *sim) settle(i, v int32, outcome Outcome) {
	b := s.accountBlock(i)
	l := b.line
	f := l.flights[v]
	if outcome == OK {
		if _, err := l.core.Ack(s.instant(), f.seq, int(f.attempt)); err == nil {
			k := l.held.at(f.seq)
			b.count.Done++
			b.count.sojourn += s.now - s.messages.at(k).published
			s.dropMessage(l, f.seq)
		}
	} else if ev, err := l.core.Nack(s.instant(), f.seq, int(f.attempt), -1, ""); err == nil {
		s.happened(i, append(l.events[:0], ev))
	}
	b.count.backlogNow = l.core.Waiting()
}

// dropMessage lets go of a message that has left its queue.
func (s *sim) dropMessage(l *backlog, seq uint64) {
	s.messages.giveBack(l.held.at(seq))
	l.held.drop(seq)
}

// happened carries out what a queue has decided.
func (s *sim) happened(i int32, events []workqueue.Event) {
	b := &s.blocks[i]
	for _, ev := range events {
		k := b.line.held.at(ev.Seq)
		if k == none {
			continue
		}
		switch ev.Kind {
		case workqueue.Expired:
			b.count.Expired++
			s.dropMessage(b.line, ev.Seq)
		case workqueue.Died, workqueue.Left:
			b.count.Dead++
			m := s.messages.at(k)
			client, about := m.client, m.about
			s.dropMessage(b.line, ev.Seq)
			if b.dead != none {
				s.put(b.dead, client, about, true)
			}
		}
	}
}

// armLine has a queue looked at again when something is due: the end of an ack wait, of a back-off, of a life, or of a wait for
// a limit.
func (s *sim) armLine(i int32) {
	b := &s.blocks[i]
	l := b.line
	at, due := l.core.Next()
	if l.core.Ready() > 0 {
		for _, g := range b.groups {
			if q := &s.groups[g]; q.limit != nil || l.limit != nil {
				if free := max(l.limit.Next(), q.limit.Next()); free > s.instant() && (!due || free < at) {
					at, due = free, true
				}
			}
		}
	}
	if when := max(int64(at), s.now+1); due && (l.armed == 0 || when < l.armed) {
		l.armed = when
		s.schedule(when, evLine, i, 0)
	}
}

// lineDue lets happen in a queue what is due.
func (s *sim) lineDue(i int32) {
	b := s.accountBlock(i)
	l := b.line
	if s.now >= l.armed {
		l.armed = 0
	}
	l.events = l.core.Tick(s.instant(), l.events[:0])
	l.feeding = true // a dead message may come back to this queue
	s.happened(i, l.events)
	l.feeding = false
	b.count.backlogNow = l.core.Waiting()
	s.feedLine(i)
}

// noteTrends notes how the queues are doing, for their outlook.
func (s *sim) noteTrends() {
	for i := range s.blocks {
		if l := s.blocks[i].line; l != nil {
			l.trend.Note(s.instant(), l.core.Stats(s.instant()))
		}
	}
	s.schedule(s.now+trendEvery, evTrend, 0, 0)
}
