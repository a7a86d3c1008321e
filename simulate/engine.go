package simulate

import "math"

// never is an instant that does not come.
const never = math.MaxInt64

// eventKind says what happens at an event; its subject says to what.
type eventKind uint8

// event is one entry of the event list. Events at the same instant happen in the order in which they were scheduled.
type event struct {
	at      int64  // nanoseconds since the start of the run
	order   uint64 // running number, then the kind in the lowest 8 bits
	subject int32  // index of what it happens to
	stamp   uint32 // the subject's stamp when it was scheduled: an event of an older life of the subject is stale
}

func (e event) kind() eventKind { return eventKind(e.order & 0xff) }

func (e event) before(o event) bool { return e.at < o.at || (e.at == o.at && e.order < o.order) }

// eventList is the list of what is to happen: an implicit 4-ary heap of values, so that a parent's children share one
// or two cache lines and nothing is allocated once it has grown to its working size. Events are not removed when they
// become void: whoever takes them compares stamps.
//
// Taking the first event leaves a hole at the root. Most events schedule another, which then takes the hole: one sift
// instead of two.
type eventList struct {
	heap      []event
	scheduled uint64
	hole      bool // heap[0] was taken
}

func (l *eventList) schedule(at int64, kind eventKind, subject int32, stamp uint32) {
	l.scheduled++
	e := event{at: at, order: l.scheduled<<8 | uint64(kind), subject: subject, stamp: stamp}
	if l.hole {
		l.hole = false
		sink(l.heap, e)
		return
	}
	l.heap = append(l.heap, e)
	h := l.heap
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 4
		// Among equal instants the older comes first, and the new one is the youngest of all.
		if h[parent].at <= at {
			break
		}
		h[i] = h[parent]
		i = parent
	}
	h[i] = e
}

// sink puts e at the root, whose entry is void, and lets it down to its place.
func sink(h []event, e event) {
	i, n := 0, len(h)
	for {
		child := 4*i + 1
		if child >= n {
			break
		}
		best := child
		least := h[child]
		for c := child + 1; c < min(child+4, n); c++ {
			if h[c].before(least) {
				best, least = c, h[c]
			}
		}
		if !least.before(e) {
			break
		}
		h[i] = least
		i = best
	}
	h[i] = e
}

// fill closes the hole at the root.
func (l *eventList) fill() {
	n := len(l.heap) - 1
	last := l.heap[n]
	l.heap = l.heap[:n]
	l.hole = false
	if n > 0 {
		sink(l.heap, last)
	}
}

// nextAt is the instant of the first event, never if there is none.
func (l *eventList) nextAt() int64 {
	if l.hole {
		l.fill()
	}
	if len(l.heap) == 0 {
		return never
	}
	return l.heap[0].at
}

// next takes the first event off the list, which must not be empty.
func (l *eventList) next() event {
	if l.hole {
		l.fill()
	}
	l.hole = true
	return l.heap[0]
}
