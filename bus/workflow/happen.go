package workflow

import (
	"errors"
	"fmt"
	"slices"

	"github.com/banyanhq/banyan/bus/journal"
	"github.com/banyanhq/banyan/policy/saga"
)

// happen applies events to a run, and those that follow from them by themselves, has all of them kept in one record, and
// does what then is to be done. e.mu is held.
func (e *Engine) happen(r *run, events ...saga.Event) {
	if e.closed || e.failure != nil {
		return
	}
	for _, ev := range events {
		e.apply(r, ev)
	}
	now := e.now()
	for {
		ev, ok := r.Decide(now)
		if !ok {
			break
		}
		events = append(events, ev)
		if ev.Kind == saga.Forgotten {
			e.forget(r)
			break
		}
		e.apply(r, ev)
	}
	if len(events) == 0 {
		e.arm(r)
		return
	}
	first := events[0].Kind == saga.Started
	status := r.Status // as this record leaves it: later ones may be on their way before it is on disk
	asks := r.InFlight && slices.ContainsFunc(events, func(ev saga.Event) bool { return ev.Kind == saga.Begun })
	data := encode(record{Run: r.ID, Events: events})
	r.bytes += int64(len(data))
	e.bytes += int64(len(data))
	err := e.journal.Append(journal.Record{Data: data, Durable: events[0].Kind != saga.Forgotten, Refusable: first, Done: func(at journal.Position, err error) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.kept(r, at, err, first, asks, status)
	}})
	if err != nil {
		e.kept(r, journal.Position{}, err, first, asks, status)
	}
	e.arm(r)
}

// apply changes a run. That an event does not fit would be a mistake of this program, after which nothing is certain.
func (e *Engine) apply(r *run, ev saga.Event) {
	if ev.Kind == saga.Started {
		return // New has done it
	}
	if err := r.Apply(ev); err != nil {
		panic(err)
	}
	e.count(r, ev)
}

// kept hears that a record is on disk, or why not. e.mu is held.
func (e *Engine) kept(r *run, at journal.Position, err error, first, asks bool, status saga.Status) {
	switch {
	case err != nil && first:
		r.refuse = err
		e.forget(r)
		close(r.stored)
		if !passing(err) {
			e.fail(err) // nothing can be written any more
		}
	case err != nil:
		e.fail(err)
	default:
		if first {
			r.base = at.Segment
			close(r.stored)
		}
		if asks {
			e.perform(r)
		}
		if status.Ended() || status == saga.Stuck {
			closeOnce(r.ended)
		}
	}
}

// passing reports whether what was refused may be taken later.
func passing(err error) bool {
	return errors.Is(err, journal.ErrFull) || errors.Is(err, journal.ErrBacklog) || errors.Is(err, journal.ErrFailed) && !errors.Is(err, journal.ErrLost)
}

// closeOnce closes a channel that may be closed already.
func closeOnce(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// fail ends the engine: what it holds in memory is not what is on disk.
func (e *Engine) fail(err error) {
	if e.failure == nil && !e.closed {
		e.failure = fmt.Errorf("sagas: %w", err)
		close(e.failed)
	}
}

// forget takes a run out of memory. e.mu is held.
func (e *Engine) forget(r *run) {
	if e.runs[r.ID] == r {
		delete(e.runs, r.ID)
		e.bytes -= r.bytes
		e.unwait(r)
	}
}

func (e *Engine) count(r *run, ev saga.Event) {
	c := e.countsOf(r.Def.Name)
	switch ev.Kind {
	case saga.Begun:
		c.Attempts++
		if r.Attempts > 1 {
			c.Retries++
		}
	case saga.Forgotten:
		return
	}
	switch r.Status {
	case saga.Completed:
		c.Completed++
	case saga.Compensated:
		c.Compensated++
	case saga.Stuck:
		c.Stuck++
		e.cfg.Log.Error("a step of a saga could not be undone, or not be done after the pivot: look at it, and have it tried again", "saga", r.Def.Name, "run", r.ID, "reason", r.Reason)
	}
}

func (e *Engine) countsOf(name string) *Counts {
	c := e.counts[name]
	if c == nil {
		c = &Counts{}
		e.counts[name] = c
	}
	return c
}
