package broker

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/banyanhq/banyan/bus/journal"
	"github.com/banyanhq/banyan/policy/workqueue"
	"github.com/banyanhq/banyan/topology"
)

// Schedule publishes one message at each instant of a timetable. What it has come to stands in the record of the message
// itself, so no crash finds one without the other.
type Schedule struct {
	// Cron and Zone of the timetable, see topology.ParseTimetable. A schedule of which one of them changes begins anew.
	Cron, Zone string
	// Once has the latest of the instants published that were missed. Otherwise these are skipped.
	Once bool
	// Message to be published. It may not have an id, a delay or an instant.
	Message Message
}

// Headers of the messages that a schedule publishes.
const (
	headerSchedule  = "Banyan-Schedule"
	headerScheduled = "Banyan-Scheduled-At" // RFC 3339, in UTC
)

const (
	// missedAfter is how late an instant still is published by itself, rather than as one that was missed.
	missedAfter = time.Minute
	// retryFiring is how long a message that could not be stored is held back.
	retryFiring = time.Second
)

// schedule is a Schedule with what it has come to. Broker.mu guards it.
type schedule struct {
	name  string
	cfg   Schedule
	table topology.Timetable
	last  time.Time // the instant that it has come to
	next  time.Time // zero: none
	made  time.Time // the instant of the latest message since the broker was opened
	busy  bool      // a message is on its way to the disk
	retry time.Time // before which nothing is tried
	why   error     // the latest message could not be stored
}

// id by which the journal knows the schedule.
func (s *schedule) id() string { return s.name + "\n" + s.cfg.Cron + "\n" + s.cfg.Zone }

// ScheduleStatus says what a schedule will do.
type ScheduleStatus struct {
	Name string `json:"name"`
	Cron string `json:"cron"`
	Zone string `json:"zone,omitempty"`
	// Next firing; nil if there is none any more.
	Next *time.Time `json:"next,omitempty"`
	// Last firing since the program began.
	Last *time.Time `json:"last,omitempty"`
	// Problem that keeps its message back.
	Problem string `json:"problem,omitempty"`
}

func (s *schedule) status() ScheduleStatus {
	st := ScheduleStatus{Name: s.name, Cron: s.cfg.Cron, Zone: s.cfg.Zone}
	if next := s.next; !next.IsZero() {
		st.Next = &next
	}
	if made := s.made; !made.IsZero() {
		st.Last = &made
	}
	if s.why != nil {
		st.Problem = s.why.Error()
	}
	return st
}

// addSchedules checks the schedules of a queue.
func (b *Broker) addSchedules(q *queue) error {
	for name, cfg := range q.cfg.Schedules {
		table, err := topology.ParseTimetable(cfg.Cron, cfg.Zone)
		if err == nil {
			err = cfg.Message.check(b.cfg.MaxMessage)
		}
		if err == nil && (cfg.Message.ID != "" || cfg.Message.Delay != 0 || !cfg.Message.At.IsZero()) {
			err = fmt.Errorf("%w: an id, a delay or an instant of its own", ErrInvalid)
		}
		if err != nil {
			return fmt.Errorf("queue %s: schedule %s: %w", q.name, name, err)
		}
		q.schedule = append(q.schedule, &schedule{name: name, cfg: cfg, table: table})
	}
	slices.SortFunc(q.schedule, func(x, y *schedule) int { return cmp.Compare(x.name, y.name) })
	return nil
}

// beginSchedules takes up what the journal knows. New schedules begin now, and those that are gone are forgotten.
func (b *Broker) beginSchedules() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	var news []change
	for _, q := range b.queues {
		known := map[string]bool{}
		for _, s := range q.schedule {
			at, old := q.core.Fired()[s.id()]
			if !old {
				at = now - now%time.Second // so that intervals come at whole seconds
				news = append(news, fired(q, s.id(), now, at))
			}
			known[s.id()] = true
			s.come(time.Unix(0, int64(at)))
		}
		for id := range q.core.Fired() {
			if !known[id] {
				news = append(news, fired(q, id, now, 0))
			}
		}
	}
	if len(news) == 0 {
		return nil
	}
	for _, c := range news {
		b.queues[c.queue].core.Apply(c.event)
	}
	return b.write(true, nil, news...)
}

// fired is the change that says what a schedule has come to.
func fired(q *queue, id string, now, at time.Duration) change {
	return change{queue: q.name, event: workqueue.Event{Kind: workqueue.Fired, At: now, Due: at, Reason: id}}
}

// come notes what the schedule has come to.
func (s *schedule) come(at time.Time) {
	s.last = at
	s.next, _ = s.table.Next(at)
}

// due is when the schedule is to be looked at.
func (s *schedule) due() (at time.Duration, ok bool) {
	if s.busy || s.next.IsZero() {
		return 0, false
	}
	at = time.Duration(s.next.UnixNano())
	if !s.retry.IsZero() {
		at = max(at, time.Duration(s.retry.UnixNano()))
	}
	return at, true
}

// fire publishes what the schedules of a queue are due to. Of one schedule, a message follows when the one before is stored,
// so that none is left out. b.mu is held.
func (b *Broker) fire(q *queue) {
	if b.closed {
		return
	}
	now := b.now()
	for _, s := range q.schedule {
		if at, ok := s.due(); !ok || at > now {
			continue
		}
		at := s.next
		if missed := time.Unix(0, int64(now)).Add(-missedAfter); at.Before(missed) {
			latest, _ := s.table.Latest(s.last, missed)
			if !s.cfg.Once {
				b.log.Warn("firings of a schedule were missed, and are skipped", "queue", q.name, "schedule", s.name, "from", at.UTC(), "to", latest.UTC())
				s.come(latest) // the next message has it kept
				b.signal()
				continue
			}
			at = latest
		}
		if err := b.fireOne(q, s, at, now); err != nil {
			b.heldBack(q, s, err)
		}
	}
}

// fireOne publishes the message of one instant, in one record with the instant.
func (b *Broker) fireOne(q *queue, s *schedule, at time.Time, now time.Duration) error {
	m := s.cfg.Message
	headers := append(slices.Clone(m.Headers), Header{headerSchedule, s.name}, Header{headerScheduled, at.UTC().Format(time.RFC3339)})
	content := appendContent(make([]byte, 0, len(m.Body)+128), headers, m.Body)
	meta := &workqueue.Message{Key: m.Key, Priority: m.Priority, Size: len(content), Put: now}
	if m.TTL > 0 {
		meta.Expires = now + m.TTL
	}
	seq, _, err := q.core.Reserve(now, meta, false)
	if err != nil {
		return b.whyFull(q, err)
	}
	changes := []change{{queue: q.name, event: workqueue.Event{Kind: workqueue.Put, Seq: seq, At: now, Message: meta}, content: content},
		fired(q, s.id(), now, time.Duration(at.UnixNano()))}
	s.busy = true
	err = b.journal.Append(journal.Record{Data: encode(changes), Durable: q.cfg.Durability != Relaxed, Refusable: true,
		Done: func(pos journal.Position, err error) {
			b.mu.Lock()
			b.stored(q, seq, meta, changes[0].at, pos, err)
			b.mu.Unlock()
			b.hasFired(q, s, changes[1].event, err)
		}})
	if err != nil {
		s.busy = false
		q.core.Cancel(seq, meta)
	}
	return err
}

// hasFired hears what became of a message.
func (b *Broker) hasFired(q *queue, s *schedule, ev workqueue.Event, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.busy = false
	if err != nil {
		b.heldBack(q, s, err)
		return
	}
	q.core.Apply(ev)
	s.come(time.Unix(0, int64(ev.Due)))
	s.made, s.retry, s.why = s.last, time.Time{}, nil
	b.signal()
}

// heldBack has a message tried again that could not be stored.
func (b *Broker) heldBack(q *queue, s *schedule, err error) {
	if s.why == nil {
		b.log.Error("the message of a schedule can't be stored; it is tried again each second", "queue", q.name, "schedule", s.name, "error", err)
	}
	s.why, s.retry = err, b.cfg.Now().Add(retryFiring)
	b.signal()
}
