package policy

import "sync/atomic"

// Evictor decides which objects a cache of bounded size keeps: S3-FIFO (Yang, Zhang, Qiu, Yue and Rashmi, FIFO Queues
// are All You Need for Cache Eviction, SOSP 2023), with sizes in bytes. New objects enter a small queue, from which those
// that nobody asked for again soon leave; those that somebody did go on to the main queue; those that left and come back
// enter it at once. A hit only counts (Touch), so that reading a cache never waits for this.
//
// Calls must be serialised by the caller, but for Touch.
type Evictor struct {
	limit, smallLimit int64
	small, main       cachedList
	ghost             ghostList
}

// Cached is an object as the Evictor sees it. The caller sets Key, Size and Owner before it is added, and changes
// neither while it is in.
type Cached struct {
	// Key by which it is known again after it has left.
	Key uint64
	// Size in bytes.
	Size int64
	// Owner is the caller's.
	Owner any

	hits       atomic.Int32
	in         *cachedList
	prev, next *Cached
}

// maxHits is what hits are counted up to (the paper's two bits).
const maxHits = 3

// NewEvictor returns an empty Evictor for limit bytes.
func NewEvictor(limit int64) *Evictor {
	return &Evictor{limit: limit, smallLimit: limit / 10, ghost: ghostList{in: map[uint64]uint64{}}}
}

// Touch counts a hit. It may be called concurrently with everything.
func (c *Cached) Touch() {
	if h := c.hits.Load(); h < maxHits {
		c.hits.CompareAndSwap(h, h+1) // a hit that is lost among others does not matter
	}
}

// Add takes an object in. Evict must be called afterwards until it returns nil.
func (e *Evictor) Add(c *Cached) {
	c.hits.Store(0)
	if e.ghost.take(c.Key) {
		e.main.pushFront(c)
		return
	}
	e.small.pushFront(c)
}

// Replace puts one object in another's place, with its hits.
func (e *Evictor) Replace(old, by *Cached) {
	list := old.in
	if list == nil {
		e.Add(by)
		return
	}
	by.hits.Store(old.hits.Load())
	list.insertBefore(by, old)
	list.remove(old)
}

// Remove takes an object out, if it is in.
func (e *Evictor) Remove(c *Cached) {
	if c.in != nil {
		c.in.remove(c)
	}
}

// Bytes is the size of what is in.
func (e *Evictor) Bytes() int64 { return e.small.bytes + e.main.bytes }

// Len is the number of objects that are in.
func (e *Evictor) Len() int { return e.small.n + e.main.n }

// Evict takes out the next object that has to go, nil if all fit.
func (e *Evictor) Evict() *Cached {
	for e.Bytes() > e.limit {
		var c *Cached
		if e.small.bytes > e.smallLimit || e.main.n == 0 {
			c = e.evictSmall()
		} else {
			c = e.evictMain()
		}
		if c != nil {
			return c
		}
	}
	return nil
}

// evictSmall moves the oldest object of the small queue on, or out.
func (e *Evictor) evictSmall() *Cached {
	c := e.small.back
	e.small.remove(c)
	if c.hits.Load() > 1 {
		c.hits.Store(0)
		e.main.pushFront(c)
		return nil
	}
	e.ghost.add(c.Key, max(64, e.main.n+e.small.n))
	return c
}

// evictMain gives the oldest object of the main queue another round for each time that it was asked for, or takes it
// out.
func (e *Evictor) evictMain() *Cached {
	c := e.main.back
	e.main.remove(c)
	if h := c.hits.Load(); h > 0 {
		c.hits.Store(h - 1)
		e.main.pushFront(c)
		return nil
	}
	return c
}

// cachedList is a queue: in at the front, out at the back.
type cachedList struct {
	front, back *Cached
	n           int
	bytes       int64
}

func (l *cachedList) pushFront(c *Cached) { l.insertBefore(c, l.front) }

// insertBefore puts c before at; nil: at the front of an empty list.
func (l *cachedList) insertBefore(c, at *Cached) {
	c.in, c.next = l, at
	if at == nil {
		c.prev = nil
		l.front, l.back = c, c
	} else {
		c.prev = at.prev
		at.prev = c
		if c.prev == nil {
			l.front = c
		} else {
			c.prev.next = c
		}
	}
	l.n++
	l.bytes += c.Size
}

func (l *cachedList) remove(c *Cached) {
	if c.prev == nil {
		l.front = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		l.back = c.prev
	} else {
		c.next.prev = c.prev
	}
	c.in, c.prev, c.next = nil, nil, nil
	l.n--
	l.bytes -= c.Size
}

// ghostList remembers the keys of objects that left the small queue, the latest ones.
type ghostList struct {
	in    map[uint64]uint64 // key to the number under which it was added last
	queue []ghost
	added uint64
}

type ghost struct{ key, number uint64 }

func (g *ghostList) add(key uint64, most int) {
	g.added++
	g.in[key] = g.added
	g.queue = append(g.queue, ghost{key, g.added})
	for len(g.queue) > most {
		if old := g.queue[0]; g.in[old.key] == old.number {
			delete(g.in, old.key)
		}
		g.queue = g.queue[1:]
	}
}

// take reports whether a key is remembered, and forgets it.
func (g *ghostList) take(key uint64) bool {
	_, ok := g.in[key]
	delete(g.in, key)
	return ok
}
