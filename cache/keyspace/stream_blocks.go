package keyspace

import (
	"encoding/binary"
	"sort"
	"unsafe"

	"github.com/banyanhq/banyan/cache/arena"
)

// Entries of a stream lie packed in blocks. A block begins with the id of its first entry; then come the entries:
//
//	1 byte   flags: it was deleted, its fields have the names of those of the block's first entry
//	varint   length of what follows
//	varints  milliseconds since the block's id; the number, less the block's where the milliseconds are alike
//	         the number of fields, and their names and values; or the values alone
//
// A deleted entry stays until half of its block is deleted: then the block is written anew.
type streamBlock struct {
	base        StreamID
	space, used uint32
	n, dead     uint16 // entries
	_           uint32
}

const (
	streamBlockHead = int(unsafe.Sizeof(streamBlock{}))
	streamBlockMost = 4096 - streamBlockHead // bytes of a block, unless one entry is larger
	streamEntries   = 100                    // of a block, at most; as in Redis, so that MAXLEN ~ trims alike
	streamBlockMin  = 64

	entryDead = 1
	entrySame = 2
)

func (s *Store) block(ref arena.Ref) *streamBlock { return (*streamBlock)(s.At(ref)) }

func (b *streamBlock) data() []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(b), streamBlockHead)), b.space)
}

func (b *streamBlock) blockLen() int { return streamBlockHead + int(b.space) }

func (s *Store) newBlock(base StreamID, space int) arena.Ref {
	ref := s.Alloc(streamBlockHead + space)
	*s.block(ref) = streamBlock{base: base, space: uint32(space)}
	return ref
}

// resizeBlock gives a block another room, in which what it has fits.
func (s *Store) resizeBlock(ref arena.Ref, space int) arena.Ref {
	from := s.block(ref)
	moved := s.newBlock(from.base, space)
	to := s.block(moved)
	to.used, to.n, to.dead = from.used, from.n, from.dead
	copy(to.data(), from.data()[:from.used])
	s.Free(ref, from.blockLen())
	return moved
}

// StreamEntry is an entry of a stream. It is good until the stream changes.
type StreamEntry struct {
	ID     StreamID
	at     int // of its flags, in the block
	same   bool
	fields []byte // number, names and values, or the values alone
	names  []byte // number, names and values of the block's first entry
}

// Len is the number of fields.
func (e StreamEntry) Len() int {
	d := Pieces{B: e.fields}
	if e.same {
		d.B = e.names
	}
	return int(d.Number())
}

// Each visits the fields in order.
func (e StreamEntry) Each(visit func(name, value []byte)) {
	values, names := Pieces{B: e.fields}, Pieces{B: e.names}
	if !e.same {
		for n := values.Number(); n > 0; n-- {
			name := values.Bytes()
			visit(name, values.Bytes())
		}
		return
	}
	for n := names.Number(); n > 0; n-- {
		name := names.Bytes()
		names.Bytes()
		visit(name, values.Bytes())
	}
}

// entryAt reads the entry at an offset, and where the next one begins.
func (b *streamBlock) entryAt(at int) (e StreamEntry, dead bool, next int) {
	data := b.data()[:b.used]
	flags := data[at]
	size, n := binary.Uvarint(data[at+1:])
	from := at + 1 + n
	next = from + int(size)
	d := Pieces{B: data[from:next]}
	e.at, e.ID.MS, e.ID.Seq = at, b.base.MS+d.Number(), d.Number()
	if e.ID.MS == b.base.MS {
		e.ID.Seq += b.base.Seq
	}
	e.fields, e.same = d.B, flags&entrySame != 0
	if e.same {
		first, _, _ := b.entryAt(0)
		e.names = first.fields
	}
	return e, flags&entryDead != 0, next
}

// sameNames reports whether an entry's fields have the names of those of another that was written whole.
func sameNames(whole []byte, fields [][]byte) bool {
	d := Pieces{B: whole}
	if d.Number() != uint64(len(fields)/2) {
		return false
	}
	for i := 0; i < len(fields); i += 2 {
		if string(d.Bytes()) != string(fields[i]) {
			return false
		}
		d.Bytes()
	}
	return true
}

// packEntry writes an entry for a block, in the store's scratch memory. b nil: for a new block.
func (s *Store) packEntry(b *streamBlock, id StreamID, fields [][]byte) []byte {
	base, same := id, false
	if b != nil {
		base = b.base
		first, _, _ := b.entryAt(0)
		same = sameNames(first.fields, fields)
	}
	body := binary.AppendUvarint(s.packing[:0], id.MS-base.MS)
	seq := id.Seq
	if id.MS == base.MS {
		seq -= base.Seq
	}
	body = binary.AppendUvarint(body, seq)
	if !same {
		body = binary.AppendUvarint(body, uint64(len(fields)/2))
	}
	for i, f := range fields {
		if same && i%2 == 0 {
			continue
		}
		body = binary.AppendUvarint(body, uint64(len(f)))
		body = append(body, f...)
	}
	from := len(body)
	flags := map[bool]byte{true: entrySame}[same]
	body = append(body, flags)
	body = binary.AppendUvarint(body, uint64(from))
	body = append(body, body[:from]...)
	if s.packing = body; cap(body) > keepPacking {
		s.packing = nil
	}
	return body[from:]
}

// keepPacking bounds the scratch memory that is kept between two entries.
const keepPacking = 64 << 10

// pushEntry puts an entry behind all others.
func (s *Store) pushEntry(d *directory, id StreamID, fields [][]byte) {
	if n := int(d.n); n > 0 {
		at := &s.dirUsed(d)[n-1]
		b := s.block(*at)
		packed := s.packEntry(b, id, fields)
		need := int(b.used) + len(packed)
		switch {
		case int(b.n+b.dead) >= streamEntries || need > streamBlockMost:
			if int(b.space) > int(b.used)+int(b.used)/8 { // nothing comes to it any more
				*at = s.resizeBlock(*at, int(b.used))
			}
		default:
			if need > int(b.space) {
				*at = s.resizeBlock(*at, min(max(need, 2*int(b.space)), streamBlockMost))
				b = s.block(*at)
			}
			copy(b.data()[b.used:], packed)
			b.used, b.n = uint32(need), b.n+1
			return
		}
	}
	packed := s.packEntry(nil, id, fields)
	ref := s.newBlock(id, max(len(packed), streamBlockMin))
	b := s.block(ref)
	copy(b.data(), packed)
	b.used, b.n = uint32(len(packed)), 1
	s.dirInsert(d, int(d.n), ref)
}

// blockOf is which block an id belongs to: the last one that begins with it or before it; 0 where all begin behind it.
func (s *Store) blockOf(d *directory, id StreamID) int {
	all := s.dirUsed(d)
	return max(0, sort.Search(len(all), func(i int) bool { return s.block(all[i]).base.Compare(id) > 0 })-1)
}

// buryEntry deletes the entry at an offset of the i-th block, which is freed with its last one and written anew when half of it is dead.
func (s *Store) buryEntry(d *directory, i, at int) {
	s.block(s.dirUsed(d)[i]).bury(at)
	s.tidyBlock(d, i)
}

// bury marks the entry at an offset as deleted.
func (b *streamBlock) bury(at int) {
	b.data()[at] |= entryDead
	b.n--
	b.dead++
}

// tidyBlock frees the i-th block if nothing is left of it, or writes it anew if too little is.
func (s *Store) tidyBlock(d *directory, i int) {
	p := &s.dirUsed(d)[i]
	b := s.block(*p)
	switch {
	case b.n == 0:
		s.Free(*p, b.blockLen())
		s.dirRemove(d, i)
	case b.dead > b.n && b.dead > 8:
		var fresh directory
		for at := 0; at < int(b.used); {
			e, dead, next := b.entryAt(at)
			at = next
			if dead {
				continue
			}
			fields := s.fields[:0]
			e.Each(func(name, value []byte) { fields = append(fields, name, value) })
			s.pushEntry(&fresh, e.ID, fields)
			clear(fields)
			s.fields = fields[:0]
		}
		refs := s.dirUsed(&fresh)
		s.Free(*p, b.blockLen())
		*p = refs[0]
		for k, ref := range refs[1:] { // field names that were shared may not be any more
			s.dirInsert(d, i+1+k, ref)
		}
		s.dirDrop(&fresh)
	}
}
