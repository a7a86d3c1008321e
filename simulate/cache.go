package simulate

import (
	"fmt"
	"math"

	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

const maxCacheKeys = 20_000_000

func (c *compiler) cache(b *blockModel, name string, v *topology.Cache) error {
	if err := b.popularity(v.Keys, v.Skew, maxCacheKeys); err != nil {
		return err
	}
	if v.TTL < 0 || v.Memory < 0 || v.Entry < 0 || !(v.HitRatio >= 0 && v.HitRatio <= 1) {
		return fmt.Errorf("ttl of %v, memory of %d, entries of %d, hit ratio of %v: want no negative numbers", v.TTL.Std(), v.Memory, v.Entry, float64(v.HitRatio))
	}
	memory, entry := int64(v.Memory), int64(v.Entry)
	setDefault(&memory, 64<<20)
	setDefault(&entry, 1<<10)
	b.capacity = int32(min(max(memory/entry, 1), max(int64(b.keys), 1)))
	b.ttl, b.hitRatio = int64(v.TTL), float64(v.HitRatio)
	b.embedded = v.Engine == "embedded"
	if v.Nodes > 1 {
		c.assume("%s: its %d nodes are counted as one, with the memory of all: that they share the work is not, nor what replication costs", b.name, v.Nodes)
	}
	switch {
	case b.keys > 0:
	case b.hitRatio > 0:
		c.assume("%s: hits %.3g %% of the time, as its hit_ratio says: give its keys, and the ratio comes out", b.name, 100*b.hitRatio)
	default:
		c.assume("%s: nothing says which keys are asked for (keys) or how often it hits (hit_ratio): counted as never", b.name)
	}
	return c.costOf(&b.read, &b.delay, v.Lookup, usualLookup, b.name)
}

// copied is what a cache holds copies of, as in 'uses'; empty where nothing says so.
func (c *compiler) copied(use string) string {
	kind, name := topology.ServiceOf(use)
	if kind != "caches" {
		return ""
	}
	if of := c.sys.Caches[name].Of; of != "" {
		return of
	}
	if c.sys.Tables[name] != nil {
		return "tables." + name
	}
	return ""
}

// behind puts calls behind the caches that stand in front of them: they are made only where the cache has nothing.
func (c *compiler) behind(n *node, uses []string) {
	for i := range n.calls {
		front := &n.calls[i]
		of := c.copied(uses[i])
		if of == "" {
			continue
		}
		for k := range n.calls {
			if uses[k] != of || k == i {
				continue
			}
			origin := n.calls[k]
			n.calls[k].mean = max(0, n.calls[k].mean-front.mean) // what there is more of them does not pass the cache
			origin.mean = 1
			front.origin = &origin
		}
	}
}

// cacheDone looks an entry up, stores one, or drops one. The caller learns what is to be done next.
func (s *sim) cacheDone(b *block, at *visit) {
	if at.call == none {
		return
	}
	c := s.calls.at(at.call)
	p := s.visits.at(c.parent)
	switch {
	case at.op == opFill:
		if b.cache != nil {
			b.cache.put(p.key, s.now)
		}
		return
	case at.op == opWrite:
		b.count.Writes++
		if b.cache != nil {
			b.cache.drop(b.key())
		}
		p.pending = pendingWrite
		return
	}
	hit := false
	if b.cache != nil {
		p.key = b.key()
		hit = b.cache.get(p.key, s.now)
	} else {
		hit = b.hitRatio > 0 && b.draws.uniform() < b.hitRatio
	}
	if hit {
		b.count.Hits++
		return
	}
	b.count.Misses++
	p.pending = pendingOrigin
}

// What a visit is to do after it has asked a cache.
const (
	pendingNone   uint8 = iota
	pendingOrigin       // ask the origin, then store its answer
	pendingWrite        // ask the origin
	pendingFill         // store the answer
)

// proceedBehindCache makes the call that follows from a cache's answer; false if there is none.
func (s *sim) proceedBehindCache(v int32, nc *nodeCall) bool {
	at := s.visits.at(v)
	pending := at.pending
	at.pending = pendingNone
	if nc.origin == nil {
		return false
	}
	switch pending {
	case pendingOrigin:
		at.pending = pendingFill
		s.call(v, nc.origin, opAuto)
		return true
	case pendingWrite:
		s.call(v, nc.origin, opAuto)
		return true
	case pendingFill:
		s.call(v, nc, opFill)
		return true
	}
	return false
}

// lru is a cache that drops what was not asked for the longest. Its keys are the ranks of a Zipf distribution, so that
// a table says where each is; nothing is allocated once it is made.
type lru struct {
	slot        []int32 // by key: its slot, none where it is not held
	key         []uint32
	prev, next  []int32
	expires     []int64
	first, last int32 // most and least recently used
	n           int32
	free        int32 // slots that were given back
	ttl         int64 // 0: entries do not expire
}

func newLRU(keys uint64, capacity int32, ttl int64) *lru {
	l := &lru{
		slot: make([]int32, keys), key: make([]uint32, capacity), prev: make([]int32, capacity), next: make([]int32, capacity),
		expires: make([]int64, capacity), first: none, last: none, free: none, ttl: ttl,
	}
	for i := range l.slot {
		l.slot[i] = none
	}
	return l
}

// fill warms the cache up, so that a run does not begin with an empty one: the most popular keys first, and then some
// requests more, for the order.
func (l *lru) fill(zipf *stats.Zipf, draws *stream) {
	capacity := len(l.key)
	for k := min(capacity, len(l.slot)) - 1; k >= 0; k-- {
		l.put(uint64(k), 0)
	}
	for range min(2*capacity, 1_000_000) {
		k := uint64(draws.uniform() * float64(len(l.slot)))
		if zipf != nil {
			k = zipf.Draw(draws.uniform)
		}
		if !l.get(k, 0) {
			l.put(k, 0)
		}
	}
	if l.ttl > 0 {
		for i := range l.expires {
			l.expires[i] = int64(draws.uniform() * float64(l.ttl))
		}
	}
}

// get reports whether the cache has a key, which is then the most recently used.
func (l *lru) get(key uint64, now int64) bool {
	i := l.slot[key]
	if i == none {
		return false
	}
	if l.ttl > 0 && l.expires[i] <= now {
		l.drop(key)
		return false
	}
	l.unlink(i)
	l.link(i)
	return true
}

// put stores a key, in the place of the least recently used one where there is no other.
func (l *lru) put(key uint64, now int64) {
	i := l.slot[key]
	switch {
	case i != none:
		l.unlink(i)
	case l.free != none:
		i = l.free
		l.free = l.next[i]
	case int(l.n) < len(l.key):
		i = l.n
		l.n++
	default:
		i = l.last
		l.unlink(i)
		l.slot[l.key[i]] = none
	}
	l.slot[key], l.key[i] = i, uint32(key)
	l.expires[i] = math.MaxInt64
	if l.ttl > 0 {
		l.expires[i] = now + l.ttl
	}
	l.link(i)
}

// drop forgets a key.
func (l *lru) drop(key uint64) {
	if i := l.slot[key]; i != none {
		l.unlink(i)
		l.slot[key] = none
		l.next[i] = l.free
		l.free = i
	}
}

// clear forgets all.
func (l *lru) clear() {
	for i := l.first; i != none; i = l.next[i] {
		l.slot[l.key[i]] = none
	}
	l.first, l.last, l.free, l.n = none, none, none, 0
}

func (l *lru) link(i int32) {
	l.prev[i], l.next[i] = none, l.first
	if l.first != none {
		l.prev[l.first] = i
	} else {
		l.last = i
	}
	l.first = i
}

func (l *lru) unlink(i int32) {
	if p := l.prev[i]; p != none {
		l.next[p] = l.next[i]
	} else {
		l.first = l.next[i]
	}
	if n := l.next[i]; n != none {
		l.prev[n] = l.prev[i]
	} else {
		l.last = l.prev[i]
	}
}
