package simulate

import (
	"fmt"
	"math"
	"slices"

	"github.com/banyanhq/banyan/topology"
)

const (
	maxCacheKeys  = 20_000_000
	maxCacheNodes = 64
)

// hashSlots of a cluster, of which each primary has as many as the others, in a row (Redis Cluster's specification).
const hashSlots = 16384

func (c *compiler) cache(b *blockModel, name string, v *topology.Cache) error {
	if err := b.popularity(v.Keys, v.Skew, maxCacheKeys); err != nil {
		return err
	}
	if v.TTL < 0 || v.Memory < 0 || v.Entry < 0 || !(v.HitRatio >= 0 && v.HitRatio <= 1) {
		return fmt.Errorf("ttl of %v, memory of %d, entries of %d, hit ratio of %v: want no negative numbers", v.TTL.Std(), v.Memory, v.Entry, float64(v.HitRatio))
	}
	if v.Nodes < 0 || v.Nodes > maxCacheNodes || v.Replicas < 0 {
		return fmt.Errorf("%d nodes, %d replicas of each: at most %d nodes are simulated", v.Nodes, v.Replicas, maxCacheNodes)
	}
	b.nodes = v.Primaries()
	memory, entry := int64(v.Memory), int64(v.Entry)
	setDefault(&memory, 64<<20)
	setDefault(&entry, 1<<10)
	b.capacity = int32(min(max(memory/int64(b.nodes)/entry, 1), max(int64(b.keys), 1)))
	b.ttl, b.hitRatio = int64(v.TTL), float64(v.HitRatio)
	b.embedded = v.Engine == "embedded"
	if replicas := v.Nodes - b.nodes; v.Nodes > 1 && replicas > 0 {
		c.assume("%s: of its %d nodes the %d primaries are simulated: neither what replication costs nor that a replica takes over", b.name, v.Nodes, b.nodes)
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

// cacheNode says what is asked of a cache by a call, which key it is about, and which node has that; where keys are not known, any.
func (s *sim) cacheNode(b *block, c *call) (node int) {
	p := s.visits.at(c.parent)
	if c.op == opAuto {
		if c.op = opRead; !p.safe {
			c.op = opWrite
		}
	}
	switch {
	case b.caches != nil:
		if c.op != opFill { // of what was looked for just before
			p.key = b.key()
		}
		node = b.nodeOf(p.key)
	case b.nodes > 1:
		node = int(b.draws.uniform() * float64(b.nodes))
	}
	if b.nodes > 1 {
		b.count.byNode[node]++
	}
	return node
}

// nodeOf is the node of a cache that a key is at.
func (b *block) nodeOf(key uint64) int { return shardOf(key, hashSlots) * b.nodes / hashSlots }

func (b *block) cacheOf(key uint64) keyCache { return b.caches[b.nodeOf(key)] }

// cacheDone looks an entry up, stores one, or drops one. The caller learns what is to be done next.
func (s *sim) cacheDone(b *block, at *visit) {
	if at.call == none {
		return
	}
	c := s.calls.at(at.call)
	p := s.visits.at(c.parent)
	switch {
	case at.op == opFill:
		if b.caches != nil {
			b.cacheOf(p.key).put(p.key, s.now)
		}
		return
	case at.op == opWrite:
		b.count.Writes++
		if b.caches != nil {
			b.cacheOf(p.key).drop(p.key)
		}
		p.pending = pendingWrite
		return
	}
	hit := false
	if b.caches != nil {
		hit = b.cacheOf(p.key).get(p.key, s.now)
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

// newCaches makes those of the nodes of a cache. A key is at one of them, so that they have one table of all keys in common.
func (b *blockModel) newCaches() []keyCache {
	all := make([]keyCache, b.nodes)
	if b.embedded {
		number := noNumbers(b.keys)
		for i := range all {
			all[i] = newTinyCache(number, b.capacity, b.ttl)
		}
		return all
	}
	slot := noSlots(b.keys)
	for i := range all {
		all[i] = newLRU(slot, b.capacity, b.ttl)
	}
	return all
}

// warm fills the caches of all nodes up, so that a run does not begin with empty ones: the most popular keys first, and then some
// requests more, for the order; the policy of an embedded one has to learn how often keys are asked for.
func (b *block) warm() {
	capacity := int(b.capacity) * b.nodes
	for k := min(capacity, int(b.keys)) - 1; k >= 0; k-- {
		b.cacheOf(uint64(k)).put(uint64(k), 0)
	}
	more := min(2*capacity, 1_000_000)
	if b.embedded {
		more = min(20*capacity, 2_000_000)
	}
	for range more {
		k := b.key()
		if c := b.cacheOf(k); !c.get(k, 0) {
			c.put(k, 0)
		}
	}
	for _, c := range b.caches {
		c.age(b.draws)
	}
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

// newLRU returns an empty one with room for so many keys. slot, by key, says of each that it is not held; caches of which no two
// are ever asked for the same key may have it in common.
func newLRU(slot []int32, capacity int32, ttl int64) *lru {
	return &lru{
		slot: slot, key: make([]uint32, capacity), prev: make([]int32, capacity), next: make([]int32, capacity),
		expires: make([]int64, capacity), first: none, last: none, free: none, ttl: ttl,
	}
}

// noSlots says of so many keys that they are not held.
func noSlots(keys uint64) []int32 { return slices.Repeat([]int32{none}, int(keys)) }

// age has what is there expire at any time of its life.
func (l *lru) age(draws *stream) { ageAll(l.expires, l.ttl, draws) }

func ageAll(expires []int64, ttl int64, draws *stream) {
	if ttl <= 0 {
		return
	}
	for i := range expires {
		expires[i] = int64(draws.uniform() * float64(ttl))
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
