package keyspace

import (
	"sort"
	"unsafe"

	"github.com/banyanhq/banyan/cache/arena"
)

// pendingList is what was delivered and not acknowledged, by id, in chunks of records of one size.
type pendingList struct {
	chunks directory
	n      uint32
	_      uint32
}

// pendingRec is a record of a group. A consumer's has the id alone.
type pendingRec struct {
	id       StreamID
	time     int64 // of the last delivery, in milliseconds since 1970
	count    uint32
	consumer arena.Ref
}

// pendingChunk is the head of a chunk; the records follow.
type pendingChunk struct{ n, space uint32 }

const (
	pendingHead     = int(unsafe.Sizeof(pendingChunk{}))
	groupRec        = int(unsafe.Sizeof(pendingRec{}))
	consumerRec     = int(unsafe.Sizeof(StreamID{}))
	pendingRecs     = 64 // of a full chunk
	pendingChunkMin = 4  // and of the first one, to begin with
)

func (s *Store) chunk(ref arena.Ref) *pendingChunk { return (*pendingChunk)(s.At(ref)) }

// rec is the i-th record of a chunk, of which a consumer's has no more than the id.
func (c *pendingChunk) rec(i, size int) *pendingRec {
	return (*pendingRec)(unsafe.Add(unsafe.Pointer(c), pendingHead+i*size))
}

func (c *pendingChunk) bytes(from, to, size int) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(c), pendingHead)), int(c.space)*size)[from*size : to*size]
}

func (s *Store) newChunk(space, size int) arena.Ref {
	ref := s.Alloc(pendingHead + space*size)
	*s.chunk(ref) = pendingChunk{space: uint32(space)}
	return ref
}

// resizeChunk gives a chunk another room, in which its records fit.
func (s *Store) resizeChunk(ref arena.Ref, space, size int) arena.Ref {
	from := s.chunk(ref)
	n := int(from.n)
	moved := s.newChunk(space, size)
	to := s.chunk(moved)
	to.n = from.n
	copy(to.bytes(0, n, size), from.bytes(0, n, size))
	s.Free(ref, pendingHead+int(from.space)*size)
	return moved
}

// pendingAt is where an id is, or would come: which chunk, and which of its records.
func (s *Store) pendingAt(l *pendingList, id StreamID, size int) (chunk, i int, there bool) {
	all := s.dirUsed(&l.chunks)
	chunk = max(0, sort.Search(len(all), func(k int) bool { return s.chunk(all[k]).rec(0, size).id.Compare(id) > 0 })-1)
	if len(all) == 0 {
		return 0, 0, false
	}
	c := s.chunk(all[chunk])
	i = sort.Search(int(c.n), func(k int) bool { return c.rec(k, size).id.Compare(id) >= 0 })
	return chunk, i, i < int(c.n) && c.rec(i, size).id == id
}

// pendingFind returns the record of an id; nil where there is none.
func (s *Store) pendingFind(l *pendingList, id StreamID, size int) *pendingRec {
	chunk, i, there := s.pendingAt(l, id, size)
	if !there {
		return nil
	}
	return s.chunk(s.dirUsed(&l.chunks)[chunk]).rec(i, size)
}

// pendingNext returns the first record from an id on; nil where there is none.
func (s *Store) pendingNext(l *pendingList, from StreamID, size int) *pendingRec {
	if l.n == 0 {
		return nil
	}
	chunk, i, _ := s.pendingAt(l, from, size)
	all := s.dirUsed(&l.chunks)
	if c := s.chunk(all[chunk]); i < int(c.n) {
		return c.rec(i, size)
	}
	if chunk+1 < len(all) {
		return s.chunk(all[chunk+1]).rec(0, size)
	}
	return nil
}

// pendingEdge is the id of the first record, or of the last; there must be one.
func (s *Store) pendingEdge(l *pendingList, last bool, size int) StreamID {
	all := s.dirUsed(&l.chunks)
	if !last {
		return s.chunk(all[0]).rec(0, size).id
	}
	c := s.chunk(all[len(all)-1])
	return c.rec(int(c.n)-1, size).id
}

// pendingPut returns the record of an id, which is made if it is not there.
func (s *Store) pendingPut(l *pendingList, id StreamID, size int) *pendingRec {
	chunk, i, there := s.pendingAt(l, id, size)
	if there {
		return s.chunk(s.dirUsed(&l.chunks)[chunk]).rec(i, size)
	}
	l.n++
	if l.chunks.n == 0 {
		s.dirInsert(&l.chunks, 0, s.newChunk(pendingChunkMin, size))
	}
	at := &s.dirUsed(&l.chunks)[chunk]
	c := s.chunk(*at)
	switch {
	case c.n < c.space:
	case c.space < pendingRecs:
		*at = s.resizeChunk(*at, min(4*int(c.space), pendingRecs), size)
		c = s.chunk(*at)
	default:
		keep := pendingRecs / 2
		if i == int(c.n) && chunk == int(l.chunks.n)-1 { // those that are delivered come behind all others
			keep = int(c.n)
		}
		fresh := s.newChunk(pendingRecs, size)
		to := s.chunk(fresh)
		to.n = c.n - uint32(keep)
		copy(to.bytes(0, int(to.n), size), c.bytes(keep, int(c.n), size))
		c.n = uint32(keep)
		s.dirInsert(&l.chunks, chunk+1, fresh)
		if i > keep || i == keep && to.n == 0 {
			c, i = to, i-keep
		}
	}
	n := int(c.n)
	c.n++
	copy(c.bytes(i+1, n+1, size), c.bytes(i, n, size))
	r := c.rec(i, size)
	r.id = id
	return r
}

// pendingRemove removes the record of an id and reports whether it was there.
func (s *Store) pendingRemove(l *pendingList, id StreamID, size int) bool {
	chunk, i, there := s.pendingAt(l, id, size)
	if !there {
		return false
	}
	at := &s.dirUsed(&l.chunks)[chunk]
	c := s.chunk(*at)
	n := int(c.n)
	copy(c.bytes(i, n-1, size), c.bytes(i+1, n, size))
	c.n--
	l.n--
	switch {
	case c.n == 0:
		s.Free(*at, pendingHead+int(c.space)*size)
		s.dirRemove(&l.chunks, chunk)
	case c.space > pendingChunkMin && c.n <= c.space/4:
		*at = s.resizeChunk(*at, int(c.space)/2, size)
	}
	return true
}

// pendingFree frees all records.
func (s *Store) pendingFree(l *pendingList, size int) {
	for _, ref := range s.dirUsed(&l.chunks) {
		s.Free(ref, pendingHead+int(s.chunk(ref).space)*size)
	}
	s.dirDrop(&l.chunks)
	*l = pendingList{}
}

// pendingMemory is about what a list takes.
func (s *Store) pendingMemory(l *pendingList, size int) int64 {
	return dirMemory(&l.chunks) + int64(l.chunks.n)*int64(arena.Size(pendingHead)) + int64(l.n)*int64(size)
}
