package arena

import (
	"fmt"
	"math/bits"
	"unsafe"
)

// Ref is a block, as its distance from the start of the arena in units of 8 bytes. 0 is no block.
type Ref uint32

const (
	unitBits  = 3
	pageBits  = 12
	pageSize  = 1 << pageBits
	slabPages = 16
	slabSize  = slabPages * pageSize

	// MaxSize is the most that one arena can hold.
	MaxSize = 1 << (32 + unitBits)

	fineLimit = 256     // sizes up to here are a multiple of 8
	slabLimit = 8 << 10 // larger blocks are runs of pages
	fine      = fineLimit >> unitBits
	classes   = fine + 8*5 // above, eight classes for each doubling
)

// Arena is a set of blocks.
type Arena struct {
	mem       []byte // all that is reserved
	base      unsafe.Pointer
	committed int64 // from the start, what the operating system has been asked for
	used      int64
	blocks    int64
	heap      pageHeap
	partial   [classes]uint32 // by class: the first of the slabs with room, 0 if there is none
}

// New returns an arena that can grow to size bytes, of which it takes none yet. It is freed by Close.
func New(size int64) (*Arena, error) {
	if size < slabSize || size > MaxSize {
		return nil, fmt.Errorf("an arena of %d bytes: want %d to %d", size, slabSize, int64(MaxSize))
	}
	mem, err := reserve(size &^ (pageSize - 1))
	if err != nil {
		return nil, fmt.Errorf("reserving %d bytes of addresses: %w", size, err)
	}
	a := &Arena{mem: mem, base: unsafe.Pointer(unsafe.SliceData(mem))}
	a.heap.pages = make([]page, 1, 1024) // page 0 is never used, so that 0 is no block
	return a, nil
}

// Close gives everything back. No reference is good afterwards.
func (a *Arena) Close() error {
	mem := a.mem
	*a = Arena{}
	return release(mem)
}

// Used is the sum of the sizes of all blocks, in bytes.
func (a *Arena) Used() int64 { return a.used }

// Blocks is the number of blocks.
func (a *Arena) Blocks() int64 { return a.blocks }

// Resident is what the pages of all blocks take, and the free ones among them: what the arena adds to the process's
// resident memory, but for pages that were never written to.
func (a *Arena) Resident() int64 {
	return (int64(len(a.heap.pages)) - a.heap.clean) << pageBits
}

// Room is what is left of what was reserved.
func (a *Arena) Room() int64 { return int64(len(a.mem)) - a.used }

// Size is what a block of n bytes takes.
func Size(n int) int {
	switch {
	case n <= fineLimit:
		return max(n+7, 8) &^ 7
	case n <= slabLimit:
		shift := bits.Len(uint(n-1)) - 4
		return (n + 1<<shift - 1) >> shift << shift
	}
	return (n + pageSize - 1) &^ (pageSize - 1)
}

func classOf(n int) int {
	if n <= fineLimit {
		return (max(n, 1)+7)>>unitBits - 1
	}
	shift := bits.Len(uint(n-1)) - 4 // 256 < n <= 512: 5
	return fine + (shift-5)*8 + (n-1)>>shift - 8
}

// At returns the block's address.
func (a *Arena) At(r Ref) unsafe.Pointer { return unsafe.Add(a.base, uintptr(r)<<unitBits) }

// Bytes returns the first n bytes of the block. They are the block's own until it is freed.
func (a *Arena) Bytes(r Ref, n int) []byte { return unsafe.Slice((*byte)(a.At(r)), n) }

// Alloc returns a block of at least n bytes, whose contents are arbitrary. It panics where the arena is full: see Room.
func (a *Arena) Alloc(n int) Ref {
	a.blocks++
	if n > slabLimit {
		pages := (n + pageSize - 1) >> pageBits
		a.used += int64(pages) << pageBits
		return Ref(a.run(pages) << (pageBits - unitBits))
	}
	class := classOf(n)
	first := a.partial[class]
	if first == 0 {
		first = a.newSlab(class, Size(n))
	}
	s := &a.heap.pages[first]
	a.used += int64(s.size)
	s.live++
	var r Ref
	if s.free != 0 {
		r = s.free
		s.free = *(*Ref)(a.At(r))
	} else {
		r = Ref(first<<(pageBits-unitBits) + uint32(s.bump)*uint32(s.size>>unitBits))
		s.bump++
	}
	if s.live == s.most {
		a.unlinkSlab(class, first)
	}
	return r
}

// AllocZero returns a block of at least n bytes, the first n of which are 0.
func (a *Arena) AllocZero(n int) Ref {
	r := a.Alloc(n)
	if n >= 1<<20 {
		// Dropping the pages is quicker than clearing them, and costs nothing for those that were never used.
		discard(a.Bytes(r, Size(n)))
	} else {
		clear(a.Bytes(r, n))
	}
	return r
}

// Free takes a block back that was allocated with n bytes.
func (a *Arena) Free(r Ref, n int) {
	a.blocks--
	first := uint32(r) >> (pageBits - unitBits)
	if n > slabLimit {
		pages := (n + pageSize - 1) >> pageBits
		a.used -= int64(pages) << pageBits
		a.freeRun(first, uint32(pages))
		return
	}
	first -= uint32(a.heap.pages[first].back)
	s := &a.heap.pages[first]
	a.used -= int64(s.size)
	*(*Ref)(a.At(r)) = s.free
	s.free = r
	if s.live == s.most {
		a.linkSlab(classOf(n), first)
	}
	s.live--
	// A slab that is the only one of its class is kept, so that one block that comes and goes does not make one each time.
	if s.live == 0 && (s.next != 0 || s.prev != 0) {
		a.unlinkSlab(classOf(n), first)
		a.freeRun(first, slabPages)
	}
}

func (a *Arena) newSlab(class, size int) uint32 {
	first := uint32(a.run(slabPages))
	for i := range uint32(slabPages) {
		a.heap.pages[first+i].back = uint8(i)
	}
	s := &a.heap.pages[first]
	s.free, s.bump, s.live, s.size, s.most = 0, 0, 0, uint16(size), uint16(slabSize/size)
	a.linkSlab(class, first)
	return first
}

func (a *Arena) linkSlab(class int, first uint32) {
	s := &a.heap.pages[first]
	s.prev, s.next = 0, a.partial[class]
	if s.next != 0 {
		a.heap.pages[s.next].prev = first
	}
	a.partial[class] = first
}

func (a *Arena) unlinkSlab(class int, first uint32) {
	s := &a.heap.pages[first]
	if s.prev == 0 {
		a.partial[class] = s.next
	} else {
		a.heap.pages[s.prev].next = s.next
	}
	if s.next != 0 {
		a.heap.pages[s.next].prev = s.prev
	}
	s.prev, s.next = 0, 0
}

// Overhead is what the arena knows of its pages, in bytes.
func (a *Arena) Overhead() int64 { return int64(cap(a.heap.pages)) * int64(unsafe.Sizeof(page{})) }
