package env

import (
	"container/heap"
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// World is a simulated stretch of time. Its events happen one after the other, in the order of their instants and, at
// the same instant, in the order in which they were asked for.
type World struct {
	now    time.Duration
	seq    uint64
	events eventHeap
	rng    *rand.Rand
	trace  trace
}

// NewWorld returns a world at instant zero whose chances all follow from the seed.
func NewWorld(seed uint64) *World {
	return &World{rng: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)), trace: trace{sum: 14695981039346656037}}
}

// Now is the time since the world began.
func (w *World) Now() time.Duration { return w.now }

// Rand is the only source of chance in this world.
func (w *World) Rand() *rand.Rand { return w.rng }

// Chance is true with probability p. It draws even where p is 0 or 1, so that a changed probability does not shift all
// later draws.
func (w *World) Chance(p float64) bool { return w.rng.Float64() < p }

// Between returns a duration between low and high, every one equally likely.
func (w *World) Between(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return low + time.Duration(w.rng.Int64N(int64(high-low)))
}

// After asks for do to be called once d has passed. The returned function calls it off.
func (w *World) After(d time.Duration, do func()) (cancel func()) {
	w.seq++
	e := &event{at: w.now + max(d, 0), seq: w.seq, do: do}
	heap.Push(&w.events, e)
	return func() { e.do = nil }
}

// Run lets events happen until none is due at or before the instant given, at which the world then stands. It returns
// how many happened.
func (w *World) Run(until time.Duration) (happened int) {
	for len(w.events) > 0 && w.events[0].at <= until {
		e := heap.Pop(&w.events).(*event)
		w.now = e.at
		if e.do == nil {
			continue
		}
		happened++
		w.Note("at", []byte(nil), uint64(e.at))
		e.do()
	}
	w.now = max(w.now, until)
	return happened
}

// Note adds what happened to the trace of this world.
func (w *World) Note(what string, data []byte, numbers ...uint64) { w.trace.add(what, data, numbers) }

// Trace is a hash of everything that was noted since the world began. Two runs with the same trace were the same run.
func (w *World) Trace() uint64 { return w.trace.sum }

type trace struct{ sum uint64 }

func (t *trace) add(what string, data []byte, numbers []uint64) {
	h := fnv.New64a()
	var buf [8]byte
	binary.BigEndian.PutUint64(buf[:], t.sum)
	h.Write(buf[:])
	h.Write([]byte(what))
	for _, n := range numbers {
		binary.BigEndian.PutUint64(buf[:], n)
		h.Write(buf[:])
	}
	h.Write(data)
	t.sum = h.Sum64()
}

type event struct {
	at  time.Duration
	seq uint64
	do  func()
}

type eventHeap []*event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].seq < h[j].seq
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(*event)) }
func (h *eventHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
