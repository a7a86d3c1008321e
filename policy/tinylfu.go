package policy

import "math"

// TinyLFU decides which entries a cache of bounded size keeps: W-TinyLFU (Einziger, Friedman and Manes, TinyLFU: A Highly
// Efficient Cache Admission Policy, ACM TOS 2017), with second chances in place of moves to the front, so that a hit costs
// two writes and no list is touched. An entry comes in by a window; when it leaves that, it stays only if it was asked
// for more often than the one that would have to go. How often is told by a sketch that also remembers entries that are
// gone. How large the window is follows the hit ratio (Einziger, Eytan, Friedman and Manes, Adaptive Software Cache
// Management, Middleware 2018).
//
// Entries are known by numbers, small ones first. Who holds the entries says when one has to go, so that they may differ
// in size. Calls must be serialised by the caller.
type TinyLFU struct {
	nodes  chunked[tinyNode]
	marks  chunked[uint8] // hits since the last look, up to maxMarks, and where the entry is
	free   uint32         // first node of those that are free
	n      int
	window tinyQueue
	main   tinyQueue
	sketch FrequencySketch
	climb  climber
	dice   uint64
}

type tinyNode struct {
	prev, next uint32
	hash       uint32
}

// tinyQueue is a list: in at the front, out at the back.
type tinyQueue struct {
	front, back uint32
	n           int
}

// NoEntry is the number of no entry.
const NoEntry = math.MaxUint32

const (
	maxMarks  = 3 // the two low bits of a mark
	inWindow  = 4
	candidate = 8  // has left the window and not been compared yet
	inUse     = 16 // is no free node

	maxChances = 32 // second chances given for one eviction
)

// NewTinyLFU returns an empty one.
func NewTinyLFU() *TinyLFU {
	t := &TinyLFU{free: NoEntry, window: emptyQueue, main: emptyQueue, dice: 0x9e3779b97f4a7c15, climb: newClimber()}
	t.sketch.Grow(1)
	return t
}

var emptyQueue = tinyQueue{front: NoEntry, back: NoEntry}

// Len is the number of entries.
func (t *TinyLFU) Len() int { return t.n }

// Bytes is about what the policy itself takes.
func (t *TinyLFU) Bytes() int64 {
	return int64(t.nodes.room())*12 + int64(t.marks.room()) + t.sketch.Bytes()
}

// Window is the share of the entries that the window is meant to hold.
func (t *TinyLFU) Window() float64 { return t.climb.window }

// Add takes a new entry in and returns its number. hash is that of its key.
func (t *TinyLFU) Add(hash uint64) uint32 {
	t.n++
	t.sketch.Grow(t.n)
	t.sketch.Add(uint32(hash))
	i := t.free
	if i == NoEntry {
		i = t.nodes.add()
		t.marks.add()
	} else {
		t.free = t.nodes.at(i).next
	}
	t.nodes.at(i).hash = uint32(hash)
	*t.marks.at(i) = inUse | inWindow
	t.push(&t.window, i)
	// One more leaves the window than came in where it is to become smaller, and none where it is to become larger.
	target := max(1, int(t.climb.window*float64(t.n)))
	for k := 0; k < 2 && t.window.n > target; k++ {
		t.leaveWindow()
	}
	return i
}

// leaveWindow moves the oldest of the window on, but for those that were asked for meanwhile, which have another round.
func (t *TinyLFU) leaveWindow() {
	for range 4 {
		i := t.window.back
		m := t.marks.at(i)
		if *m&maxMarks == 0 {
			break
		}
		*m &^= maxMarks
		t.unlink(&t.window, i)
		t.push(&t.window, i)
	}
	i := t.window.back
	t.unlink(&t.window, i)
	*t.marks.at(i) = inUse | candidate
	t.push(&t.main, i)
}

// Hit counts that an entry was asked for.
func (t *TinyLFU) Hit(i uint32) {
	if m := t.marks.at(i); *m&maxMarks < maxMarks {
		*m++
	}
	t.sketch.Add(t.nodes.at(i).hash)
	t.climb.count(true, t.n)
}

// Miss counts that something was asked for that is not there.
func (t *TinyLFU) Miss() { t.climb.count(false, t.n) }

// Remove takes an entry out; its number may be given to another.
func (t *TinyLFU) Remove(i uint32) {
	m := t.marks.at(i)
	if *m&inWindow != 0 {
		t.unlink(&t.window, i)
	} else {
		t.unlink(&t.main, i)
	}
	*m = 0
	t.nodes.at(i).next = t.free
	t.free = i
	t.n--
}

// Victim is the entry that should go next, NoEntry if there is none. It stays in until Remove.
func (t *TinyLFU) Victim() uint32 {
	if t.main.n == 0 {
		return t.window.back
	}
	victim := t.mainVictim()
	c := t.main.front
	if m := t.marks.at(c); *m&candidate == 0 || c == victim {
		return victim
	} else {
		*m &^= candidate
	}
	asked, has := t.sketch.Estimate(t.nodes.at(c).hash), t.sketch.Estimate(t.nodes.at(victim).hash)
	if asked > has || asked >= 6 && t.roll()&127 == 0 { // the dice are against keys that were made to collide
		return victim
	}
	return c
}

// mainVictim is the entry that has been in the main queue for the longest. Those that were asked for since they were last
// looked at are given another round first.
func (t *TinyLFU) mainVictim() uint32 {
	for range maxChances {
		m := t.marks.at(t.main.back)
		if *m&maxMarks == 0 {
			break
		}
		*m = (*m - 1) &^ candidate
		i := t.main.back
		t.unlink(&t.main, i)
		t.push(&t.main, i)
	}
	return t.main.back
}

// roll returns pseudo-random bits (xorshift), the same ones in each run.
func (t *TinyLFU) roll() uint64 {
	t.dice ^= t.dice << 13
	t.dice ^= t.dice >> 7
	t.dice ^= t.dice << 17
	return t.dice
}

func (t *TinyLFU) push(q *tinyQueue, i uint32) {
	node := t.nodes.at(i)
	node.prev, node.next = NoEntry, q.front
	if q.front == NoEntry {
		q.back = i
	} else {
		t.nodes.at(q.front).prev = i
	}
	q.front = i
	q.n++
}

func (t *TinyLFU) unlink(q *tinyQueue, i uint32) {
	node := t.nodes.at(i)
	if node.prev == NoEntry {
		q.front = node.next
	} else {
		t.nodes.at(node.prev).next = node.next
	}
	if node.next == NoEntry {
		q.back = node.prev
	} else {
		t.nodes.at(node.next).prev = node.prev
	}
	q.n--
}

// chunked is a slice that grows without being copied.
type chunked[T any] struct {
	chunks [][]T
	n      uint32
}

const (
	chunkBits = 12
	chunkLen  = 1 << chunkBits
)

func (c *chunked[T]) at(i uint32) *T { return &c.chunks[i>>chunkBits][i&(chunkLen-1)] }

func (c *chunked[T]) add() uint32 {
	if int(c.n)>>chunkBits == len(c.chunks) {
		c.chunks = append(c.chunks, make([]T, chunkLen))
	}
	c.n++
	return c.n - 1
}

func (c *chunked[T]) room() int { return len(c.chunks) * chunkLen }

// Frequency is about how often a key with this hash was asked for lately, up to 15.
func (t *TinyLFU) Frequency(hash uint64) int { return t.sketch.Estimate(uint32(hash)) }
