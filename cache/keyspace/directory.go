package keyspace

import (
	"unsafe"

	"github.com/banyanhq/banyan/cache/arena"
)

// directory is an array of references of blocks in order, with room before or after: it is searched by halves. Blocks are added at its
// end and taken from its start without moving the others.
type directory struct {
	ref             arena.Ref
	start, n, space uint32
}

const firstBlocks = 4

func (h *heap) dirAll(d *directory) []arena.Ref {
	if d.ref == 0 {
		return nil
	}
	return unsafe.Slice((*arena.Ref)(h.At(d.ref)), d.space)
}

// dirUsed are the references, which may be changed.
func (h *heap) dirUsed(d *directory) []arena.Ref { return h.dirAll(d)[d.start : d.start+d.n] }

// dirInsert puts a block before the i-th.
func (h *heap) dirInsert(d *directory, i int, block arena.Ref) {
	if d.start+d.n == d.space {
		if d.start > d.space/2 {
			copy(h.dirAll(d), h.dirUsed(d))
		} else {
			space := max(2*d.space, firstBlocks)
			ref := h.Alloc(int(space) * 4)
			copy(unsafe.Slice((*arena.Ref)(h.At(ref)), space), h.dirUsed(d))
			h.dirDrop(d)
			d.ref, d.space = ref, space
		}
		d.start = 0
	}
	d.n++
	used := h.dirUsed(d)
	copy(used[i+1:], used[i:])
	used[i] = block
}

// dirRemove takes the i-th block out.
func (h *heap) dirRemove(d *directory, i int) {
	used := h.dirUsed(d)
	if i == 0 {
		d.start++
	} else {
		copy(used[i:], used[i+1:])
	}
	if d.n--; d.n == 0 {
		h.dirDrop(d)
		*d = directory{}
	}
}

func (h *heap) dirDrop(d *directory) {
	if d.ref != 0 {
		h.Free(d.ref, int(d.space)*4)
	}
}

// dirMemory is what the directory itself takes.
func dirMemory(d *directory) int64 {
	if d.ref == 0 {
		return 0
	}
	return int64(arena.Size(int(d.space) * 4))
}
