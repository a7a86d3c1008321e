package observe

import (
	"fmt"
	"time"
)

// What is kept, as long as memory allows: one interval for each sample of the last ten minutes, and intervals of ten
// seconds for the last six hours.
const (
	fineFor      = 10 * time.Minute
	coarseFor    = 6 * time.Hour
	coarseLength = 10 * time.Second
	coarseDigits = 1
)

// stored is one interval in its stored form. Its instants keep their monotonic clock reading.
type stored struct {
	start, end time.Time
	blob       []byte
}

func (s stored) middle() time.Time { return s.start.Add(s.end.Sub(s.start) / 2) }

func (s stored) decode() (*Interval, error) {
	iv, err := decode(s.blob)
	if err != nil {
		return nil, fmt.Errorf("reading the interval of %s: %w", s.start.Format(time.RFC3339), err)
	}
	iv.Start, iv.End = s.start, s.end
	return iv, nil
}

// storedSize is the memory of one interval beside its blob.
const storedSize = 80

// ring holds intervals in the order of time, within a span and within a number of bytes.
type ring struct {
	span  time.Duration
	limit int // bytes
	items []stored
	first int // index of the oldest in items
	bytes int
}

func (r *ring) push(s stored) {
	r.items = append(r.items, s)
	r.bytes += len(s.blob) + storedSize
	for r.first < len(r.items)-1 && (r.bytes > r.limit || s.end.Sub(r.items[r.first].start) > r.span) {
		r.bytes -= len(r.items[r.first].blob) + storedSize
		r.items[r.first] = stored{}
		r.first++
	}
	// Move down once half is free, so that the cost of moving is spread and the slice does not grow for ever.
	if r.first > 16 && r.first >= len(r.items)/2 {
		n := copy(r.items, r.items[r.first:])
		clear(r.items[n:])
		r.items, r.first = r.items[:n], 0
	}
}

// reach returns how far the ring goes back from its last interval.
func (r *ring) reach() time.Duration {
	if len(r.items) == r.first {
		return 0
	}
	return r.items[len(r.items)-1].end.Sub(r.items[r.first].start)
}

func (r *ring) all() []stored { return r.items[r.first:] }

// history is the two rings, and the ten seconds that are being added up.
type history struct {
	fine, coarse ring
	pending      *sums     // nil: none
	slot         time.Time // that pending belongs to
}

func newHistory(memory int) history {
	return history{fine: ring{span: fineFor, limit: memory / 3}, coarse: ring{span: coarseFor, limit: memory - memory/3}}
}

// push adds the interval in both resolutions. blob is its stored form.
func (h *history) push(iv *Interval, blob []byte) error {
	s := stored{iv.Start, iv.End, blob}
	h.fine.push(s)
	slot := s.middle().Truncate(coarseLength)
	if h.pending != nil && (!h.slot.Equal(slot) || !h.pending.end.Equal(iv.Start)) {
		h.flush()
	}
	if h.pending == nil {
		h.pending, h.slot = newSums(coarseDigits), slot
	}
	return h.pending.add(iv)
}

func (h *history) flush() {
	c := h.pending.interval()
	for i := range c.Backends {
		c.Backends[i].Latency = nil
	}
	h.coarse.push(stored{c.Start, c.End, encode(c)})
	h.pending = nil
}

// between returns the intervals whose middle lies in [from, to), each instant covered once: fine ones as far back as
// they reach, coarse ones before.
func (h *history) between(from, to time.Time) []stored {
	fine := h.fine.all()
	var found []stored
	if len(fine) > 0 {
		edge := fine[0].start
		for _, s := range h.coarse.all() {
			if !s.start.Before(edge) || !from.Before(edge) {
				break
			}
			if m := s.middle(); m.Before(from) || !m.Before(to) {
				continue
			}
			found = append(found, s)
			for len(fine) > 0 && fine[0].start.Before(s.end) {
				fine = fine[1:] // the coarse one reaches into the fine ones
			}
		}
	}
	for _, s := range fine {
		if m := s.middle(); !m.Before(from) && m.Before(to) {
			found = append(found, s)
		}
	}
	return found
}

func (h *history) bytes() int { return h.fine.bytes + h.coarse.bytes }
