package kafka

import (
	"errors"
	"sort"
	"time"
)

// ErrSettled says that an event is settled already, was given to somebody else meanwhile, or is of a partition that another member
// of the group has now.
var ErrSettled = errors.New("the event is settled, or was given out again")

// window has the events of one partition that a group has read and not settled, in their order. It reads no clock.
type window struct {
	entries []*entry
	bytes   int
	next    int64 // the offset behind the last one that was read; 0: none was
	done    int64 // the offset that is committed; -1: not known
}

// entry is an event that is not settled.
type entry struct {
	Event
	attempt  int
	inFlight bool
	due      time.Time // from when it may be given out, again if it was
}

func newWindow() *window { return &window{done: -1} }

// add takes in an event that was read. One that comes before what was read already says that the log was cut, or is read anew:
// then all that is not settled comes again.
func (w *window) add(e Event) {
	if e.Offset < w.next {
		w.entries, w.bytes = nil, 0
	}
	w.entries = append(w.entries, &entry{Event: e})
	w.bytes += e.size()
	w.next = e.Offset + 1
}

func (e Event) size() int {
	n := len(e.Key) + len(e.Body) + 64
	for _, h := range e.Headers {
		n += len(h.Name) + len(h.Value)
	}
	return n
}

// take gives out up to most events, each for a while; and says when there may be more, the zero time if only a change can tell. Behind
// an event that is not settled, others with its key wait.
func (w *window) take(now time.Time, most int, while time.Duration) (out []*entry, more time.Time) {
	held := map[string]bool{}
	for _, e := range w.entries {
		if len(out) == most {
			return out, now
		}
		if e.Key != nil {
			if held[string(e.Key)] {
				continue
			}
			held[string(e.Key)] = true
		}
		if now.Before(e.due) {
			if more.IsZero() || e.due.Before(more) {
				more = e.due
			}
			continue
		}
		e.attempt++
		e.inFlight, e.due = true, now.Add(while)
		out = append(out, e)
	}
	return out, more
}

// find is the index of an event that was given out for an attempt, and not settled since.
func (w *window) find(offset int64, attempt int) (int, error) {
	i := sort.Search(len(w.entries), func(i int) bool { return w.entries[i].Offset >= offset })
	if i == len(w.entries) || w.entries[i].Offset != offset || w.entries[i].attempt != attempt || !w.entries[i].inFlight {
		return 0, ErrSettled
	}
	return i, nil
}

// ack settles an event, and says whether the group's offset moves by that.
func (w *window) ack(offset int64, attempt int) (moved bool, err error) {
	i, err := w.find(offset, attempt)
	if err != nil {
		return false, err
	}
	w.bytes -= w.entries[i].size()
	w.entries = append(w.entries[:i], w.entries[i+1:]...)
	return i == 0, nil
}

// again has an event given out again, from an instant on.
func (w *window) again(offset int64, attempt int, at time.Time) error {
	i, err := w.find(offset, attempt)
	if err == nil {
		w.entries[i].inFlight, w.entries[i].due = false, at
	}
	return err
}

// extend leaves an event to whom it was given, up to an instant.
func (w *window) extend(offset int64, attempt int, until time.Time) error {
	i, err := w.find(offset, attempt)
	if err == nil {
		w.entries[i].due = until
	}
	return err
}

// offset of the group: all events before it are settled. false: nothing was read yet.
func (w *window) offset() (int64, bool) {
	if len(w.entries) > 0 {
		return w.entries[0].Offset, true
	}
	return w.next, w.next > 0
}

// full reports whether no more should be read: too much is not settled, or one event holds the offset back for too long.
func (w *window) full() bool {
	return len(w.entries) >= maxUnsettled || w.bytes >= maxUnsettledBytes || len(w.entries) > 0 && w.next-w.entries[0].Offset > maxAhead
}

// roomy reports whether reading can go on that was paused.
func (w *window) roomy() bool {
	return len(w.entries) <= maxUnsettled/2 && w.bytes <= maxUnsettledBytes/2 && (len(w.entries) == 0 || w.next-w.entries[0].Offset <= maxAhead)
}

// Bounds of what is read of a partition and not settled.
const (
	maxUnsettled      = 1000
	maxUnsettledBytes = 16 << 20
	// maxAhead bounds how many events may be settled behind one that is not; so many come again if the process dies.
	maxAhead = 10000
)

// inFlight is how many are given out.
func (w *window) inFlight(now time.Time) (n int) {
	for _, e := range w.entries {
		if e.inFlight && now.Before(e.due) {
			n++
		}
	}
	return n
}
