package keyspace

import (
	"math/bits"
	"unsafe"

	"github.com/banyanhq/banyan/cache/arena"
)

// A record is a key with its value, or an element of a value with what belongs to it, as one block:
//
//	8 bytes  length of the key (24 bits), kind (4), flags (4), length of the value (32)
//	8 bytes  when it expires, in milliseconds since 1970 (with hasExpiry)
//	4 bytes  its number in the eviction policy (with hasSlot)
//	         the key, the value
//
// The value of a key that is no string is the reference of its object.
type record struct{ word uint64 }

// Kind of value.
type Kind uint8

// The kinds, in the order in which the protocol's documents list them.
const (
	String Kind = iota
	List
	Set
	SortedSet
	Hash
	StreamKind
	element // of one of them
)

// String is the name that TYPE answers.
func (k Kind) String() string {
	return [...]string{"string", "list", "set", "zset", "hash", "stream", "element"}[k]
}

const (
	hasExpiry = 1 << iota
	hasSlot
	hasSpare // its block is rounded up to a power of two, for it is being appended to

	keyBits = 24
	// MaxKey is the length of the longest key, and of the longest field or member.
	MaxKey = 1<<keyBits - 1
	// MaxValue is the length of the longest value.
	MaxValue = 512 << 20
)

func wordOf(key, value int, kind Kind, flags uint8) uint64 {
	return uint64(key) | uint64(kind)<<keyBits | uint64(flags)<<(keyBits+4) | uint64(value)<<32
}

func (r *record) keyLen() int   { return int(r.word & MaxKey) }
func (r *record) valueLen() int { return int(r.word >> 32) }
func (r *record) kind() Kind    { return Kind(r.word >> keyBits & 15) }
func (r *record) flags() uint8  { return uint8(r.word >> (keyBits + 4) & 15) }

// headOf is what comes before the key.
func headOf(flags uint8) int { return 8 + int(flags&hasExpiry)*8 + int(flags&hasSlot)/hasSlot*4 }

func (r *record) bytes(at, n int) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(r), at)), n)
}

func (r *record) key() []byte   { return r.bytes(headOf(r.flags()), r.keyLen()) }
func (r *record) value() []byte { return r.bytes(headOf(r.flags())+r.keyLen(), r.valueLen()) }

func (r *record) expiry() *int64 { return (*int64)(unsafe.Add(unsafe.Pointer(r), 8)) }

func (r *record) slot() *uint32 {
	return (*uint32)(unsafe.Add(unsafe.Pointer(r), 8+int(r.flags()&hasExpiry)*8))
}

// blockLen is what its block was allocated with.
func (r *record) blockLen() int {
	flags := r.flags()
	return blockLen(headOf(flags)+r.keyLen()+r.valueLen(), flags)
}

func blockLen(n int, flags uint8) int {
	if flags&hasSpare != 0 {
		return 1 << bits.Len(uint(n-1))
	}
	return n
}

// heap is the arena with what is needed to find records in it.
type heap struct {
	*arena.Arena
	seed seed
}

func (h *heap) rec(r arena.Ref) *record { return (*record)(h.At(r)) }

// element returns a new record that belongs to an object.
func (h *heap) element(key, value []byte) arena.Ref {
	ref := h.Alloc(8 + len(key) + len(value))
	r := h.rec(ref)
	r.word = wordOf(len(key), len(value), element, 0)
	copy(r.key(), key)
	copy(r.value(), value)
	return ref
}

func (h *heap) free(ref arena.Ref) { h.Free(ref, h.rec(ref).blockLen()) }

// setElement gives an element another value; the element may move.
func (h *heap) setElement(ref arena.Ref, value []byte) arena.Ref {
	r := h.rec(ref)
	was, is := 8+r.keyLen()+r.valueLen(), 8+r.keyLen()+len(value)
	if arena.Size(was) == arena.Size(is) {
		r.word = wordOf(r.keyLen(), len(value), element, 0)
		copy(r.value(), value)
		return ref
	}
	moved := h.element(r.key(), value)
	h.free(ref)
	return moved
}
