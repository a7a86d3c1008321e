package arena

import (
	"fmt"
	"math/bits"
)

// page is what is known of one page. In a slab its first page speaks for all; in a free run the first and the last.
type page struct {
	prev, next uint32 // in the list of slabs of a class, or of free runs of a length
	run        uint32 // of a free run: its pages
	free       Ref    // of a slab: the first block that came back
	bump       uint16 // of a slab: blocks that were ever handed out
	live       uint16 // of a slab: blocks that are
	most       uint16 // of a slab: blocks that fit
	size       uint16 // of a slab: of a block
	back       uint8  // in a slab: pages to its first one
	idle       bool   // at the ends of a free run
}

// pageHeap hands out runs of pages: those that came back, joined with their neighbours, and then new ones.
type pageHeap struct {
	pages []page
	bins  [64]uint32 // first of the free runs of 1 to 63 pages; 0: of longer ones
	some  uint64     // bins that are not empty
	clean int64      // free pages that were given back to the operating system
}

// run returns the first of n pages.
func (a *Arena) run(n int) int {
	h := &a.heap
	if n < len(h.bins) {
		if longer := h.some >> n << n; longer != 0 {
			return int(a.cut(h.bins[bits.TrailingZeros64(longer)], uint32(n)))
		}
	}
	for first := h.bins[0]; first != 0; first = h.pages[first].next {
		if h.pages[first].run >= uint32(n) {
			return int(a.cut(first, uint32(n)))
		}
	}
	return a.grow(n)
}

// cut takes the first n pages of a free run.
func (a *Arena) cut(first, n uint32) uint32 {
	h := &a.heap
	have := h.pages[first].run
	h.unlink(first)
	if have > n {
		h.link(first+n, have-n)
	}
	if n >= slabPages {
		h.clean = max(0, h.clean-int64(n))
	}
	return first
}

// grow takes n pages that were never used.
func (a *Arena) grow(n int) int {
	first := len(a.heap.pages)
	end := int64(first+n) << pageBits
	if end > a.committed {
		step := min(max(1<<20, a.committed/8&^(1<<20-1)), 64<<20)
		to := min((end+step-1)/step*step, int64(len(a.mem)))
		if end > to {
			panic(fmt.Sprintf("arena: full: %d of %d bytes are used", a.used, len(a.mem)))
		}
		if err := commit(a.mem[a.committed:to]); err != nil {
			panic(fmt.Sprintf("arena: taking %d bytes from the operating system: %v", to-a.committed, err))
		}
		a.committed = to
	}
	a.heap.pages = append(a.heap.pages, make([]page, n)...)
	return first
}

// freeRun takes pages back.
func (a *Arena) freeRun(first, n uint32) {
	h := &a.heap
	if n >= slabPages {
		discard(a.mem[int64(first)<<pageBits : int64(first+n)<<pageBits])
		h.clean += int64(n)
	}
	if end := first + n; int(end) < len(h.pages) && h.pages[end].idle {
		n += h.pages[end].run
		h.unlink(end)
	}
	if before := &h.pages[first-1]; before.idle {
		first -= before.run
		n += before.run
		h.unlink(first)
	}
	h.link(first, n)
}

func (h *pageHeap) link(first, n uint32) {
	bin := n
	if bin >= uint32(len(h.bins)) {
		bin = 0
	}
	p, last := &h.pages[first], &h.pages[first+n-1]
	*last = page{run: n, idle: true}
	*p = page{run: n, idle: true, next: h.bins[bin]}
	if p.next != 0 {
		h.pages[p.next].prev = first
	}
	h.bins[bin] = first
	h.some |= 1 << bin &^ 1
}

func (h *pageHeap) unlink(first uint32) {
	p := h.pages[first]
	bin := p.run
	if bin >= uint32(len(h.bins)) {
		bin = 0
	}
	if p.prev == 0 {
		h.bins[bin] = p.next
		if p.next == 0 {
			h.some &^= 1 << bin
		}
	} else {
		h.pages[p.prev].next = p.next
	}
	if p.next != 0 {
		h.pages[p.next].prev = p.prev
	}
	h.pages[first+p.run-1] = page{}
	h.pages[first] = page{}
}
