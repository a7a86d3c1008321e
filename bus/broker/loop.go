package broker

import (
	"context"
	"time"

	"github.com/banyanhq/banyan/bus/journal"
	"github.com/banyanhq/banyan/policy/workqueue"
)

const (
	// tidyEvery is how often the journal is looked through for what is not needed any more.
	tidyEvery = time.Second
	// takeAtOnce bounds what is taken before others get the lock.
	takeAtOnce = 64
	// fairRounds bounds how long one queue is served before the others.
	fairRounds = 16
	// longestDedupe bounds the window of duplicates: ids are remembered by the journal, which is kept for so long.
	longestDedupe = time.Hour
	// tidyAtOnce bounds the messages that are written anew at once.
	tidyAtOnce = 1000
)

// run delivers, minds the clock, and tidies up, until Close.
func (b *Broker) run() {
	defer close(b.stopped)
	tidy := time.NewTicker(tidyEvery)
	defer tidy.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-b.dirty:
		case <-timer.C:
		case <-tidy.C:
			b.noteTrends()
			b.tellFailure(b.journal.Stats().Failed)
			b.tidy()
		case <-b.stop:
			return
		}
		if next, ok := b.deliver(); ok {
			timer.Reset(next)
		}
	}
}

// noteTrends remembers how the queues are doing.
func (b *Broker) noteTrends() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	for _, q := range b.queues {
		q.trend.Note(now, q.core.Stats(now))
	}
}

// deliver gives every queue's messages to those who wait, and returns after which time something is due.
func (b *Broker) deliver() (next time.Duration, ok bool) {
	b.mu.Lock()
	queues := make([]*queue, 0, len(b.queues))
	for _, q := range b.queues {
		queues = append(queues, q)
		b.fire(q)
	}
	b.mu.Unlock()
	for _, q := range queues {
		rounds := 0
		for ; rounds < fairRounds && b.serve(q); rounds++ {
		}
		if rounds == fairRounds {
			b.signal() // the other queues' turn, then this one's again
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	note := func(at time.Duration, due bool) {
		if due && (!ok || at-now < next) {
			next, ok = max(at-now, 0), true
		}
	}
	for _, q := range queues {
		note(q.core.Next())
		note(q.freed())
		for _, s := range q.schedule {
			note(s.due())
		}
	}
	return next, ok
}

// serve takes messages for the first who waits, and reports whether there may be more to do.
func (b *Broker) serve(q *queue) bool {
	b.mu.Lock()
	now := b.now()
	events := q.core.Tick(now, nil)
	p, room := b.firstServed(q, now)
	var taken []workqueue.Taken
	if p != nil {
		taken, events = q.core.Take(now, min(p.Batch, takeAtOnce, room), nil, events)
		q.bucket.Take(now, len(taken))
		q.buckets[p.Consumer].Take(now, len(taken))
		if p.Batch -= len(taken); p.Batch == 0 {
			b.unpull(p)
		}
		p.delivering.Add(1)
	} else {
		q.tellEmpty()
	}
	places := make([]place, len(taken))
	for i, t := range taken {
		places[i] = q.places[t.Seq]
	}
	last, pending := p != nil && p.Batch == 0, q.core.Ready()
	hand := func() {
		gone := b.cfg.Replicated && p.Alive != nil && !p.Alive() // the log may have taken longer than it waits
		for i, t := range taken {
			d := Delivery{Queue: q.name, Seq: t.Seq, Attempt: t.Attempt, Deadline: time.Unix(0, int64(t.Deadline)), Meta: t.Message, Pending: pending}
			switch {
			case gone:
				b.Return(d)
			case b.fill(&d, places[i]):
				p.Deliver(d, last && i == len(taken)-1)
			}
		}
		p.delivering.Done()
	}
	if b.cfg.Replicated && p != nil {
		b.handLater(q, p, hand, events)
		b.mu.Unlock()
		return len(taken) > 0
	}
	if len(events) > 0 {
		b.happened(q, nil, events...)
	}
	b.mu.Unlock()
	if p != nil {
		hand()
	}
	return len(taken) > 0
}

// handLater hands out what was taken once the other nodes know that it was: a node that does not lead any more, and has not
// found out, gives nobody a message that its successor gives to somebody else. b.mu is held.
func (b *Broker) handLater(q *queue, p *Pull, hand func(), events []workqueue.Event) {
	if len(events) == 0 {
		p.delivering.Done()
		return
	}
	err := b.happened(q, func(err error) {
		if err != nil {
			p.delivering.Done()
			return
		}
		hand()
	}, events...)
	if err != nil {
		p.delivering.Done()
	}
}

// tellEmpty tells those who want to know that there is nothing for them. b.mu is held.
func (q *queue) tellEmpty() {
	for _, p := range q.pulls {
		if p.Empty != nil && !p.told {
			p.told = true
			p.Empty()
		}
	}
}

// firstServed is the first who waits and may be given something, and how much. b.mu is held.
func (b *Broker) firstServed(q *queue, now time.Duration) (*Pull, int) {
	room := q.bucket.Have(now, takeAtOnce)
	for i := 0; i < len(q.pulls) && room > 0 && q.core.Ready() > 0; {
		p := q.pulls[i]
		if p.Alive != nil && !p.Alive() {
			b.unpull(p)
			continue
		}
		if n := q.buckets[p.Consumer].Have(now, room); n > 0 {
			return p, n
		}
		i++
	}
	return nil, 0
}

// freed is when somebody who waits for a limit alone can be served; ok is false if nobody does. b.mu is held.
func (q *queue) freed() (at time.Duration, ok bool) {
	if q.core.Ready() == 0 {
		return 0, false
	}
	for _, p := range q.pulls {
		if each := max(q.bucket.Next(), q.buckets[p.Consumer].Next()); !ok || each < at {
			at, ok = each, true
		}
	}
	return at, ok
}

// fill reads a delivery's content. One that can't be read is left to its ack wait: the disk may recover.
func (b *Broker) fill(d *Delivery, p place) bool {
	content := make([]byte, p.size)
	err := b.journal.Read(p.at, content)
	if err == nil {
		d.Headers, d.Body, err = readContent(content)
	}
	if err != nil {
		b.log.Error("a message can't be read", "queue", d.Queue, "message", d.Seq, "error", err)
	}
	return err == nil
}

// tidy drops the oldest segment of the journal when nothing of it is needed. When most of the journal is not needed, it
// writes anew what the oldest segment still holds.
func (b *Broker) tidy() {
	if st := b.journal.Stats(); st.Full || st.Failed != nil {
		return // what replaces a segment could not be written
	}
	for range 16 {
		id, newest, _, ok := b.journal.Oldest()
		if !ok || b.cfg.Now().Sub(newest) < b.longestWindow() {
			return
		}
		b.mu.Lock()
		live, needed, tidying := b.live[id], b.liveSize, b.tidying
		b.mu.Unlock()
		switch {
		case tidying:
			return
		case live == 0:
			if err := b.dropSegment(id); err != nil {
				b.log.Error("tidying up the journal", "error", err)
				return
			}
		case b.journal.Stats().Bytes > 3*needed+4*b.cfg.SegmentBytes:
			b.rewrite(id)
		default:
			return
		}
	}
}

// tellFailure logs that the disk failed, and that it works again. Only the broker's goroutine calls it.
func (b *Broker) tellFailure(now error) {
	switch before := b.failure; {
	case now != nil && before == nil:
		b.log.Error("the queues take nothing: their journal can't be written", "dir", b.cfg.Dir, "error", now)
	case now == nil && before != nil:
		b.log.Info("the journal of the queues can be written again", "dir", b.cfg.Dir)
	}
	b.failure = now
}

// longestWindow is for how long ids must be found in the journal.
func (b *Broker) longestWindow() (w time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, q := range b.queues {
		w = max(w, min(q.core.Rules().Dedupe, longestDedupe))
	}
	return w
}

// dropSegment removes the oldest segment, once it is on disk which numbers were given.
func (b *Broker) dropSegment(id uint64) error {
	b.mu.Lock()
	now := b.now()
	var numbers []change
	for _, q := range b.queues {
		numbers = append(numbers, change{queue: q.name, event: q.core.Number(now)})
		for id, at := range q.core.Fired() {
			numbers = append(numbers, fired(q, id, now, at))
		}
	}
	err := b.write(false, nil, numbers...)
	b.mu.Unlock()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := b.journal.Flush(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	delete(b.live, id)
	b.mu.Unlock()
	return b.journal.Drop(id)
}

// rewrite writes messages of a segment anew.
func (b *Broker) rewrite(id uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	n := 0
	for _, q := range b.queues {
		for seq, p := range q.places {
			if p.at.Segment != id || n >= tidyAtOnce {
				continue
			}
			content, err := b.read(q, seq)
			if err != nil {
				b.log.Error("a message can't be read", "queue", q.name, "message", seq, "error", err)
				return
			}
			n++
			b.keep(q, seq, now, content)
		}
	}
}

// keep writes one message anew.
func (b *Broker) keep(q *queue, seq uint64, now time.Duration, content []byte) {
	var changes []change
	for _, ev := range q.core.Keep(now, seq) {
		c := change{queue: q.name, event: ev}
		if ev.Message != nil {
			c.content = content
		}
		changes = append(changes, c)
	}
	if len(changes) == 0 {
		return
	}
	b.tidying = true
	err := b.journal.Append(journal.Record{Data: encode(changes), Done: func(at journal.Position, err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.tidying = false
		if _, there := q.places[seq]; there && err == nil {
			b.setPlace(q, seq, place{journal.Position{Segment: at.Segment, Offset: at.Offset + int64(changes[0].at)}, len(content)})
		}
	}})
	if err != nil {
		b.tidying = false
	}
}
