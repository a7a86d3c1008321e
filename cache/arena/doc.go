// Package arena is memory that Go's garbage collector neither sees nor moves: one range of addresses, reserved at the
// start and taken from the operating system as it is needed, in which blocks are known by 32-bit references.
//
// Small blocks come from slabs of their size class, large ones are runs of pages. What has become free is given back to
// the operating system a slab at a time. Used is exact: the sum of the sizes, as they are rounded, of all blocks that
// are handed out; that, and not an estimate, is what a budget is held against.
//
// An Arena is not safe for concurrent use, and it does not know who owns a block: a reference is good until it is freed.
package arena
