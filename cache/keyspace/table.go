package keyspace

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"unsafe"

	"github.com/banyanhq/banyan/cache/arena"
)

type seed = maphash.Seed

// table is a hash table of records: the keys of a database, the fields of a hash, the members of a set. It lies in the
// arena or in Go's heap, and has no pointers.
//
// Buckets are cache lines of twelve places, each with a byte of the hash, so that a look-up reads one line of the table
// and one record. The table grows and shrinks a bucket at a time: while it does, a record is in the old buckets if the
// one it belongs to has not been moved yet, and otherwise in the new ones; so there is one place to look.
type table struct {
	buckets [2]arena.Ref // now, and those that it is moving to
	bits    [2]uint8     // log2 of their numbers
	moving  bool
	moved   uint32 // of the old buckets
	n       uint32 // records
}

const (
	places     = 12
	growAbove  = 9 // records for each bucket
	bucketSize = 64
)

type bucket struct {
	tags [places]uint8 // 0: free
	refs [places]arena.Ref
	next arena.Ref // a further one, where all places are taken
}

func tagOf(hash uint64) uint8 { return uint8(hash>>56) | uint8(1-min(hash>>56, 1)) }

func (h *heap) hash(key []byte) uint64 { return maphash.Bytes(h.seed, key) }

func (h *heap) bucket(first arena.Ref, i uint64) *bucket {
	return (*bucket)(unsafe.Add(h.At(first), i*bucketSize))
}

// home is the bucket that a hash belongs to.
func (h *heap) home(t *table, hash uint64) *bucket {
	i := hash & (1<<t.bits[0] - 1)
	if t.moving && i < uint64(t.moved) {
		return h.bucket(t.buckets[1], hash&(1<<t.bits[1]-1))
	}
	return h.bucket(t.buckets[0], i)
}

const (
	lows  = 0x0101010101010101
	highs = 0x8080808080808080
)

// match marks the bytes of v that are tag, and perhaps some that are not.
func match(v uint64, tag uint8) uint64 {
	x := v ^ uint64(tag)*lows
	return (x - lows) &^ x & highs
}

// find returns the place of the record with this key; nil where there is none.
func (h *heap) find(t *table, key []byte, hash uint64) *arena.Ref {
	if t.n == 0 {
		return nil
	}
	tag := tagOf(hash)
	for b := h.home(t, hash); ; b = h.bucket(b.next, 0) {
		for m := match(binary.LittleEndian.Uint64(b.tags[:8]), tag); m != 0; m &= m - 1 {
			if p := &b.refs[bits.TrailingZeros64(m)/8]; h.is(*p, key) {
				return p
			}
		}
		for m := match(uint64(binary.LittleEndian.Uint32(b.tags[8:])), tag) & 0x80808080; m != 0; m &= m - 1 {
			if p := &b.refs[8+bits.TrailingZeros64(m)/8]; h.is(*p, key) {
				return p
			}
		}
		if b.next == 0 {
			return nil
		}
	}
}

func (h *heap) is(ref arena.Ref, key []byte) bool {
	if ref == 0 {
		return false
	}
	r := h.rec(ref)
	return r.keyLen() == len(key) && string(r.key()) == string(key)
}

// insert adds a record whose key the table does not have.
func (h *heap) insert(t *table, ref arena.Ref, hash uint64) {
	if t.buckets[0] == 0 {
		t.buckets[0], t.bits[0] = h.AllocZero(bucketSize), 0
	}
	t.n++
	h.put(h.home(t, hash), ref, hash)
	h.step(t, 2)
	if !t.moving && uint64(t.n) > growAbove<<t.bits[0] && (t.bits[0] > 0 || t.n > places) {
		h.resize(t, t.bits[0]+1)
	}
}

func (h *heap) put(b *bucket, ref arena.Ref, hash uint64) {
	for ; ; b = h.bucket(b.next, 0) {
		for i, tag := range b.tags {
			if tag == 0 {
				b.tags[i], b.refs[i] = tagOf(hash), ref
				return
			}
		}
		if b.next == 0 {
			b.next = h.AllocZero(bucketSize)
		}
	}
}

// remove takes the record with this key out and returns it, 0 if there is none.
func (h *heap) remove(t *table, key []byte, hash uint64) arena.Ref {
	p := h.find(t, key, hash)
	if p == nil {
		return 0
	}
	ref := *p
	h.clearPlace(t, p, hash)
	return ref
}

// clearPlace frees a place that find returned.
func (h *heap) clearPlace(t *table, p *arena.Ref, hash uint64) {
	first := h.home(t, hash)
	for b := first; ; b = h.bucket(b.next, 0) {
		if i := (uintptr(unsafe.Pointer(p)) - uintptr(unsafe.Pointer(&b.refs[0]))) / unsafe.Sizeof(*p); i < places {
			b.tags[i], b.refs[i] = 0, 0
			break
		}
	}
	h.dropEmpty(first)
	t.n--
	h.step(t, 2)
	if !t.moving && t.bits[0] > 0 && t.n < 1<<t.bits[0] {
		h.resize(t, t.bits[0]-min(t.bits[0], 2))
	}
}

// dropEmpty frees the further buckets in which nothing is left.
func (h *heap) dropEmpty(b *bucket) {
	for b.next != 0 {
		next := h.bucket(b.next, 0)
		if next.tags != [places]uint8{} {
			b = next
			continue
		}
		empty := b.next
		b.next = next.next
		h.Free(empty, bucketSize)
	}
}

func (h *heap) resize(t *table, log2 uint8) {
	t.buckets[1], t.bits[1] = h.AllocZero(bucketSize<<log2), log2
	t.moving, t.moved = true, 0
	h.step(t, 1)
}

// step moves up to n buckets on, where the table is growing or shrinking.
func (h *heap) step(t *table, n int) {
	for ; t.moving && n > 0; n-- {
		b := h.bucket(t.buckets[0], uint64(t.moved))
		t.moved++ // from here on home says where the records go
		for further := false; ; further = true {
			for i, tag := range b.tags {
				if tag != 0 {
					hash := h.hash(h.rec(b.refs[i]).key())
					h.put(h.bucket(t.buckets[1], hash&(1<<t.bits[1]-1)), b.refs[i], hash)
				}
			}
			done, next := b, b.next
			if next == 0 {
				*done = bucket{}
				if further {
					h.Free(h.refOf(done), bucketSize)
				}
				break
			}
			b = h.bucket(next, 0)
			*done = bucket{}
			if further {
				h.Free(h.refOf(done), bucketSize)
			}
		}
		if t.moved == 1<<t.bits[0] {
			h.Free(t.buckets[0], bucketSize<<t.bits[0])
			t.buckets[0], t.bits[0] = t.buckets[1], t.bits[1]
			t.buckets[1], t.moving, t.moved = 0, false, 0
		}
	}
}

func (h *heap) refOf(b *bucket) arena.Ref {
	return arena.Ref((uintptr(unsafe.Pointer(b)) - uintptr(h.At(0))) >> 3)
}

// scan calls visit for the records of at least one bucket, and returns the cursor for the next call: 0 when all have
// been visited. Records that are there all the while are visited at least once, however the table grows and shrinks: the
// cursor counts with its bits reversed (P. Noordhuis's way, as in Redis). visit must not change the table.
func (h *heap) scan(t *table, cursor uint64, visit func(arena.Ref)) uint64 {
	if t.buckets[0] == 0 {
		return 0
	}
	small, large := 0, 0
	if t.moving {
		small, large = 0, 1
		if t.bits[0] > t.bits[1] {
			small, large = 1, 0
		}
	}
	smallMask, largeMask := uint64(1)<<t.bits[small]-1, uint64(1)<<t.bits[large]-1
	h.visit(h.bucket(t.buckets[small], cursor&smallMask), visit)
	for {
		if small != large {
			h.visit(h.bucket(t.buckets[large], cursor&largeMask), visit)
		}
		cursor |= ^largeMask
		cursor = bits.Reverse64(bits.Reverse64(cursor) + 1)
		if small == large || cursor&(smallMask^largeMask) == 0 {
			return cursor
		}
	}
}

func (h *heap) visit(b *bucket, visit func(arena.Ref)) {
	for ; ; b = h.bucket(b.next, 0) {
		for i, tag := range b.tags {
			if tag != 0 {
				visit(b.refs[i])
			}
		}
		if b.next == 0 {
			return
		}
	}
}

// each calls visit for all records, until it returns false. visit must not change the table.
func (h *heap) each(t *table, visit func(arena.Ref) bool) {
	for side := range t.buckets {
		if t.buckets[side] == 0 {
			continue
		}
		for i := range uint64(1) << t.bits[side] {
			for b := h.bucket(t.buckets[side], i); ; b = h.bucket(b.next, 0) {
				for k, tag := range b.tags {
					if tag != 0 && !visit(b.refs[k]) {
						return
					}
				}
				if b.next == 0 {
					break
				}
			}
		}
	}
}

// random returns some record of a table that has one. draw returns a random number below its argument.
func (h *heap) random(t *table, draw func(n uint64) uint64) arena.Ref {
	for {
		side := 0
		if t.moving {
			side = int(draw(2))
		}
		b := h.bucket(t.buckets[side], draw(1<<t.bits[side]))
		var found arena.Ref
		seen := uint64(0)
		h.visit(b, func(ref arena.Ref) {
			if seen++; draw(seen) == 0 {
				found = ref
			}
		})
		if found != 0 {
			return found
		}
	}
}

// freeTable frees the records in up to n buckets, and the buckets; it reports whether nothing is left. The table must be
// leaving, or empty.
func (h *heap) freeTable(t *table, n int) bool {
	for side := range t.buckets {
		for t.buckets[side] != 0 {
			if n--; n < 0 {
				return false
			}
			b := h.bucket(t.buckets[side], uint64(t.moved))
			h.visit(b, func(ref arena.Ref) { h.free(ref) })
			for next := b.next; next != 0; {
				after := h.bucket(next, 0).next
				h.Free(next, bucketSize)
				next = after
			}
			if t.moved++; t.moved == 1<<t.bits[side] {
				h.Free(t.buckets[side], bucketSize<<t.bits[side])
				t.buckets[side], t.moved = 0, 0
			}
		}
	}
	return true
}

// leaving makes a table one that is being freed: moved then counts the buckets that are gone.
func (t *table) leaving() {
	if t.n > 0 || t.moving {
		t.n, t.moved, t.moving = 0, 0, false
	}
}
