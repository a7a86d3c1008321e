package keyspace

import (
	"bytes"
	"slices"
	"unsafe"

	"github.com/banyanhq/banyan/cache/arena"
)

// group is what a consumer group knows.
type group struct {
	last      StreamID // that was delivered
	read      int64    // entries that were ever delivered; -1: not known
	pending   pendingList
	consumers table     // by name: an element with the reference of a consumer
	name      arena.Ref // the element that has it
	_         uint32
}

// consumer is what is known of one.
type consumer struct {
	pending pendingList // ids alone: the rest is in the group's
	seen    int64       // when it last did something, in milliseconds since 1970
	name    arena.Ref
	_       uint32
}

const (
	groupSize    = int(unsafe.Sizeof(group{}))
	consumerSize = int(unsafe.Sizeof(consumer{}))
)

// named makes an element with a name and the reference of what it names, and puts it into a table.
func (s *Store) named(t *table, name []byte, ref arena.Ref) arena.Ref {
	var value [4]byte
	putUint32(value[:], uint32(ref))
	at := s.element(name, value[:])
	s.insert(t, at, s.hash(name))
	return at
}

// sortedNames are what a table names, by name.
func (s *Store) sortedNames(t *table) (all []arena.Ref) {
	s.each(t, func(ref arena.Ref) bool { all = append(all, ref); return true })
	slices.SortFunc(all, func(a, b arena.Ref) int { return bytes.Compare(s.rec(a).key(), s.rec(b).key()) })
	return all
}

// freeNames frees a table from which all records were removed.
func (s *Store) freeNames(t *table) {
	t.leaving()
	s.freeTable(t, 1<<30)
}

// Group is a consumer group of a stream.
type Group struct {
	st Stream
	g  *group
}

// Groups is how many groups there are.
func (st Stream) Groups() int { return int(st.t.groups.n) }

func (st Stream) group(element arena.Ref) Group {
	return Group{st, (*group)(st.s.At(st.s.rec(element).object()))}
}

// Group finds a group.
func (st Stream) Group(name []byte) (Group, bool) {
	p := st.s.find(&st.t.groups, name, st.s.hash(name))
	if p == nil {
		return Group{}, false
	}
	return st.group(*p), true
}

// EachGroup visits the groups by name. visit may change what is in them.
func (st Stream) EachGroup(visit func(Group)) {
	for _, ref := range st.s.sortedNames(&st.t.groups) {
		visit(st.group(ref))
	}
}

// MakeGroup makes a group that has been delivered all up to an id; read is how many entries those are, -1: not known. It
// reports whether there was none of that name.
func (st Stream) MakeGroup(name []byte, last StreamID, read int64) bool {
	if _, there := st.Group(name); there {
		return false
	}
	if st.s.noting() {
		st.s.notes.group(st, name, last, read)
	}
	ref := st.s.Alloc(groupSize)
	g := (*group)(st.s.At(ref))
	*g = group{last: last, read: read}
	g.name = st.s.named(&st.t.groups, name, ref)
	return true
}

// DestroyGroup removes a group with all that it knows, and reports whether it was there.
func (st Stream) DestroyGroup(name []byte) bool {
	p := st.s.find(&st.t.groups, name, st.s.hash(name))
	if p == nil {
		return false
	}
	if st.s.noting() {
		st.s.notes.head(changeUngroup, st.db, st.key)
		st.s.notes.bytes(name)
	}
	st.s.freeGroup(&st.t.groups, *p)
	return true
}

// freeGroup frees a group and returns about how many consumers and pending entries it had.
func (s *Store) freeGroup(t *table, element arena.Ref) int {
	r := s.rec(element)
	ref := r.object()
	g := (*group)(s.At(ref))
	n := int(g.pending.n)/pendingRecs + int(g.consumers.n)
	for _, c := range s.sortedNames(&g.consumers) {
		s.freeConsumer(&g.consumers, c)
	}
	s.freeNames(&g.consumers)
	s.pendingFree(&g.pending, groupRec)
	s.remove(t, r.key(), s.hash(r.key()))
	s.heap.free(element)
	s.Free(ref, groupSize)
	return n
}

func (s *Store) freeConsumer(t *table, element arena.Ref) {
	r := s.rec(element)
	ref := r.object()
	s.pendingFree(&(*consumer)(s.At(ref)).pending, consumerRec)
	s.remove(t, r.key(), s.hash(r.key()))
	s.heap.free(element)
	s.Free(ref, consumerSize)
}

func (s *Store) groupMemory(element arena.Ref) int64 {
	r := s.rec(element)
	g := (*group)(s.At(r.object()))
	total := int64(arena.Size(r.blockLen())+arena.Size(groupSize)) + s.pendingMemory(&g.pending, groupRec)
	total += int64(g.pending.n)*int64(consumerRec) + int64(g.consumers.n)*int64(arena.Size(consumerSize)+32)
	return total
}

// Name of the group.
func (g Group) Name() []byte { return g.st.s.rec(g.g.name).key() }

// Last is the last id that was delivered.
func (g Group) Last() StreamID { return g.g.last }

// Read is how many entries were ever delivered; -1: not known.
func (g Group) Read() int64 { return g.g.read }

// SetLast sets both.
func (g Group) SetLast(last StreamID, read int64) {
	if g.st.s.noting() {
		g.st.s.notes.group(g.st, g.Name(), last, read)
	}
	g.g.last, g.g.read = last, read
}

// Pending is an entry that was delivered and not acknowledged.
type Pending struct {
	ID       StreamID
	Consumer Consumer
	Time     int64 // of the last delivery, in milliseconds since 1970
	Count    uint32
}

// Pending is how many entries are pending.
func (g Group) Pending() int { return int(g.g.pending.n) }

// PendingEdge is the first id that is pending, or the last; there must be one.
func (g Group) PendingEdge(last bool) StreamID {
	return g.st.s.pendingEdge(&g.g.pending, last, groupRec)
}

func (g Group) of(r *pendingRec) (Pending, bool) {
	if r == nil {
		return Pending{}, false
	}
	return Pending{r.id, g.consumer(r.consumer), r.time, r.count}, true
}

// FindPending finds what is pending of an id.
func (g Group) FindPending(id StreamID) (Pending, bool) {
	return g.of(g.st.s.pendingFind(&g.g.pending, id, groupRec))
}

// NextPending is the first that is pending from an id on.
func (g Group) NextPending(from StreamID) (Pending, bool) {
	return g.of(g.st.s.pendingNext(&g.g.pending, from, groupRec))
}

// EachPending visits what is pending from an id on, by id, until visit returns false. visit may deliver and acknowledge.
func (g Group) EachPending(from StreamID, visit func(Pending) bool) {
	eachPending(g.NextPending, from, visit)
}

func eachPending(next func(StreamID) (Pending, bool), from StreamID, visit func(Pending) bool) {
	for p, ok := next(from); ok && visit(p); {
		if from, ok = p.ID.Next(); ok {
			p, ok = next(from)
		}
	}
}

// Deliver notes that an entry is pending for a consumer, whoever had it before.
func (g Group) Deliver(c Consumer, id StreamID, time int64, count uint32) {
	s := g.st.s
	if s.noting() {
		s.notes.pending(g.st, g.Name(), c.Name(), Pending{ID: id, Time: time, Count: count})
	}
	if r := s.pendingFind(&g.g.pending, id, groupRec); r != nil && r.consumer != c.ref {
		s.pendingRemove(&g.consumer(r.consumer).c.pending, id, consumerRec)
	}
	s.pendingPut(&c.c.pending, id, consumerRec)
	r := s.pendingPut(&g.g.pending, id, groupRec)
	r.time, r.count, r.consumer = time, count, c.ref
}

// Acknowledge removes an entry from those that are pending, and reports whether it was one.
func (g Group) Acknowledge(id StreamID) bool {
	s := g.st.s
	r := s.pendingFind(&g.g.pending, id, groupRec)
	if r == nil {
		return false
	}
	if s.noting() {
		s.notes.head(changeAck, g.st.db, g.st.key)
		s.notes.bytes(g.Name())
		s.notes.id(id)
	}
	s.pendingRemove(&g.consumer(r.consumer).c.pending, id, consumerRec)
	s.pendingRemove(&g.g.pending, id, groupRec)
	return true
}

// Consumer of a group.
type Consumer struct {
	g   Group
	c   *consumer
	ref arena.Ref
}

func (g Group) consumer(ref arena.Ref) Consumer {
	return Consumer{g, (*consumer)(g.st.s.At(ref)), ref}
}

// Consumers is how many consumers there are.
func (g Group) Consumers() int { return int(g.g.consumers.n) }

// Consumer finds a consumer.
func (g Group) Consumer(name []byte) (Consumer, bool) {
	p := g.st.s.find(&g.g.consumers, name, g.st.s.hash(name))
	if p == nil {
		return Consumer{}, false
	}
	return g.consumer(g.st.s.rec(*p).object()), true
}

// EachConsumer visits the consumers by name.
func (g Group) EachConsumer(visit func(Consumer)) {
	for _, ref := range g.st.s.sortedNames(&g.g.consumers) {
		visit(g.consumer(g.st.s.rec(ref).object()))
	}
}

// MakeConsumer finds a consumer or makes one that was seen at some time, in milliseconds since 1970.
func (g Group) MakeConsumer(name []byte, seen int64) (c Consumer, made bool) {
	if c, there := g.Consumer(name); there {
		return c, false
	}
	s := g.st.s
	if s.noting() {
		s.notes.consumer(g.st, g.Name(), name, seen)
	}
	ref := s.Alloc(consumerSize)
	c = g.consumer(ref)
	*c.c = consumer{seen: seen}
	c.c.name = s.named(&g.g.consumers, name, ref)
	return c, true
}

// DeleteConsumer removes a consumer with what is pending for it, and returns how much that was.
func (g Group) DeleteConsumer(name []byte) int {
	c, there := g.Consumer(name)
	if !there {
		return 0
	}
	s := g.st.s
	if s.noting() {
		s.notes.head(changeUnconsumer, g.st.db, g.st.key)
		s.notes.bytes(g.Name())
		s.notes.bytes(name)
	}
	n := int(c.c.pending.n)
	for c.c.pending.n > 0 {
		id := s.pendingEdge(&c.c.pending, true, consumerRec)
		s.pendingRemove(&g.g.pending, id, groupRec)
		s.pendingRemove(&c.c.pending, id, consumerRec)
	}
	s.freeConsumer(&g.g.consumers, c.c.name)
	return n
}

// Name of the consumer.
func (c Consumer) Name() []byte { return c.g.st.s.rec(c.c.name).key() }

// Seen is when the consumer last did something, in milliseconds since 1970.
func (c Consumer) Seen() int64 { return c.c.seen }

// SetSeen notes that the consumer did something. It is not written down.
func (c Consumer) SetSeen(ms int64) { c.c.seen = ms }

// Is reports whether both are the same consumer.
func (c Consumer) Is(o Consumer) bool { return c.c == o.c }

// Pending is how many entries are pending for the consumer.
func (c Consumer) Pending() int { return int(c.c.pending.n) }

// NextPending is the first that is pending for the consumer from an id on.
func (c Consumer) NextPending(from StreamID) (Pending, bool) {
	s := c.g.st.s
	r := s.pendingNext(&c.c.pending, from, consumerRec)
	if r == nil {
		return Pending{}, false
	}
	return c.g.FindPending(r.id)
}

// EachPending visits what is pending for the consumer as that of the group does.
func (c Consumer) EachPending(from StreamID, visit func(Pending) bool) {
	eachPending(c.NextPending, from, visit)
}
