package keyspace

import (
	"unsafe"

	"github.com/banyanhq/banyan/cache/arena"
)

// stream is a log of entries, and the groups that read it.
type stream struct {
	blocks  directory
	n       uint64 // entries
	added   uint64 // ever
	last    StreamID
	deleted StreamID // the greatest that was deleted by itself
	groups  table    // by name: an element with the reference of a group
}

const streamSize = int(unsafe.Sizeof(stream{}))

func newStream(s *Store) arena.Ref {
	ref := s.Alloc(streamSize)
	*(*stream)(s.At(ref)) = stream{}
	return ref
}

// Stream is a stream.
type Stream struct {
	s   *Store
	t   *stream
	db  uint8
	key []byte
}

// Stream returns the stream of a key; there is none where there is no such key.
func (db *DB) Stream(key []byte) (st Stream, there bool, err error) {
	ref, err := db.objectOf(key, StreamKind, nil)
	if ref == 0 {
		return Stream{}, false, err
	}
	return db.stream(key, ref), true, nil
}

// MakeStream is Stream, and makes an empty one where there is none.
func (db *DB) MakeStream(key []byte) (Stream, error) {
	ref, err := db.objectOf(key, StreamKind, newStream)
	if err != nil {
		return Stream{}, err
	}
	return db.stream(key, ref), nil
}

func (db *DB) stream(key []byte, ref arena.Ref) Stream {
	return Stream{db.s, (*stream)(db.s.At(ref)), db.index, key}
}

// Stream is the value of an entry that is a stream.
func (e Entry) Stream() Stream { return e.db.stream(e.Key(), e.rec.object()) }

// Len is the number of entries.
func (st Stream) Len() int { return int(st.t.n) }

// Blocks is how many blocks the entries lie in.
func (st Stream) Blocks() int { return int(st.t.blocks.n) }

// Last is the greatest id that the stream has had, or that it was told to begin behind.
func (st Stream) Last() StreamID { return st.t.last }

// Added is how many entries were ever added.
func (st Stream) Added() uint64 { return st.t.added }

// Deleted is the greatest id of those that were deleted by themselves; 0-0: none was.
func (st Stream) Deleted() StreamID { return st.t.deleted }

// Append puts an entry with fields, names and values in turn, behind all others. The id must be greater than Last.
func (st Stream) Append(id StreamID, fields [][]byte) {
	if st.s.noting() {
		n := &st.s.notes
		n.head(changeEntry, st.db, st.key)
		n.id(id)
		n.number(int64(len(fields)))
		for _, f := range fields {
			n.bytes(f)
		}
	}
	st.append(id, fields)
}

func (st Stream) append(id StreamID, fields [][]byte) {
	st.s.pushEntry(&st.t.blocks, id, fields)
	st.t.n++
	st.t.added++
	st.t.last = id
}

// SetLast sets what the stream tells of its past.
func (st Stream) SetLast(last StreamID, added uint64, deleted StreamID) {
	if st.s.noting() {
		st.s.notes.streamPast(st, last, added, deleted)
	}
	st.t.last, st.t.added, st.t.deleted = last, added, deleted
}

// Range visits the entries between two ids, both included, in order or from the last to the first, until visit returns false. visit
// may change what groups know, and not the entries.
func (st Stream) Range(from, to StreamID, backwards bool, visit func(StreamEntry) bool) {
	if st.t.n == 0 || from.Compare(to) > 0 {
		return
	}
	d := &st.t.blocks
	if !backwards {
		for i := st.s.blockOf(d, from); i < int(d.n); i++ {
			b := st.s.block(st.s.dirUsed(d)[i])
			if b.base.Compare(to) > 0 || !b.forwards(from, to, visit) {
				return
			}
		}
		return
	}
	for i := st.s.blockOf(d, to); i >= 0; i-- {
		b := st.s.block(st.s.dirUsed(d)[i])
		if !b.backwards(from, to, visit) || b.base.Compare(from) <= 0 {
			return
		}
	}
}

func (b *streamBlock) forwards(from, to StreamID, visit func(StreamEntry) bool) bool {
	for at := 0; at < int(b.used); {
		e, dead, next := b.entryAt(at)
		at = next
		switch {
		case dead || e.ID.Compare(from) < 0:
		case e.ID.Compare(to) > 0 || !visit(e):
			return false
		}
	}
	return true
}

func (b *streamBlock) backwards(from, to StreamID, visit func(StreamEntry) bool) bool {
	var places [streamEntries]uint32
	n := 0
	for at := 0; at < int(b.used); n++ {
		places[n] = uint32(at)
		_, _, at = b.entryAt(at)
	}
	for n--; n >= 0; n-- {
		e, dead, _ := b.entryAt(int(places[n]))
		switch {
		case dead || e.ID.Compare(to) > 0:
		case e.ID.Compare(from) < 0 || !visit(e):
			return false
		}
	}
	return true
}

// Find returns the entry of an id.
func (st Stream) Find(id StreamID) (found StreamEntry, ok bool) {
	st.Range(id, id, false, func(e StreamEntry) bool { found, ok = e, true; return false })
	return found, ok
}

// Edge is the id of the first entry, or of the last one; 0-0 where there is none.
func (st Stream) Edge(last bool) (id StreamID) {
	st.Range(StreamID{}, MaxStreamID, last, func(e StreamEntry) bool { id = e.ID; return false })
	return id
}

// Delete deletes an entry and reports whether it was there.
func (st Stream) Delete(id StreamID) bool {
	e, ok := st.Find(id)
	if !ok {
		return false
	}
	if st.s.noting() {
		st.s.notes.head(changeUnentry, st.db, st.key)
		st.s.notes.id(id)
	}
	d := &st.t.blocks
	st.s.buryEntry(d, st.s.blockOf(d, id), e.at)
	st.t.n--
	if id.Compare(st.t.deleted) > 0 {
		st.t.deleted = id
	}
	return true
}

// Trimming says which of the first entries go.
type Trimming struct {
	ByID  bool
	Most  int64    // entries that stay, unless it is by id
	From  StreamID // entries before it go
	Whole bool     // only as many as can go with their blocks
	Limit int64    // and not more than these; 0: any number
}

// Trim deletes the first entries and returns how many those were.
func (st Stream) Trim(t Trimming) (gone int64) {
	d := &st.t.blocks
	for d.n > 0 && (t.ByID || int64(st.t.n)-gone > t.Most) {
		b := st.s.block(st.s.dirUsed(d)[0])
		entries := int64(b.n)
		if t.Limit > 0 && gone+entries > t.Limit {
			break
		}
		n := b.trimmed(t, int64(st.t.n)-gone)
		if n == 0 || n < entries && t.Whole {
			break
		}
		st.s.dropFirst(d, int(n))
		if gone += n; n < entries {
			break
		}
	}
	if gone > 0 {
		st.t.n -= uint64(gone)
		if st.s.noting() {
			st.s.notes.head(changeTrim, st.db, st.key)
			st.s.notes.number(gone)
		}
	}
	return gone
}

// trimmed is how many of the first block's entries go, of so many in all.
func (b *streamBlock) trimmed(t Trimming, all int64) (n int64) {
	if !t.ByID {
		return min(int64(b.n), all-t.Most)
	}
	b.forwards(StreamID{}, MaxStreamID, func(e StreamEntry) bool {
		if e.ID.Compare(t.From) >= 0 {
			return false
		}
		n++
		return true
	})
	return n
}

// dropFirst deletes the first n entries of the first block.
func (s *Store) dropFirst(d *directory, n int) {
	b := s.block(s.dirUsed(d)[0])
	for at := 0; n > 0; {
		_, dead, next := b.entryAt(at)
		if !dead {
			b.bury(at)
			n--
		}
		at = next
	}
	s.tidyBlock(d, 0)
}

// freeStream frees up to about n entries and what groups know, and reports whether nothing is left.
func (s *Store) freeStream(ref arena.Ref, n int) bool {
	t := (*stream)(s.At(ref))
	for ; t.blocks.n > 0; n -= streamEntries / 4 {
		if n <= 0 {
			return false
		}
		block := s.dirUsed(&t.blocks)[0]
		s.Free(block, s.block(block).blockLen())
		s.dirRemove(&t.blocks, 0)
	}
	for t.groups.n > 0 {
		if n <= 0 {
			return false
		}
		s.each(&t.groups, func(ref arena.Ref) bool {
			n -= 1 + s.freeGroup(&t.groups, ref)
			return false
		})
	}
	s.freeNames(&t.groups)
	s.Free(ref, streamSize)
	return true
}

// streamMemory is about what a stream takes.
func (s *Store) streamMemory(t *stream) int64 {
	total := int64(arena.Size(streamSize)) + dirMemory(&t.blocks)
	seen, bytes := int64(0), int64(0)
	for _, ref := range s.dirUsed(&t.blocks) {
		bytes += int64(arena.Size(s.block(ref).blockLen()))
		if seen++; seen == memorySample {
			break
		}
	}
	if seen > 0 {
		total += bytes * int64(t.blocks.n) / seen
	}
	s.each(&t.groups, func(ref arena.Ref) bool { total += s.groupMemory(ref); return true })
	return total
}
