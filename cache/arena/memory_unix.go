//go:build unix

package arena

import (
	"errors"

	"golang.org/x/sys/unix"
)

// reserve takes addresses and no memory.
func reserve(size int64) ([]byte, error) {
	return unix.Mmap(-1, 0, int(size), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
}

// commit makes reserved addresses memory, which is 0.
func commit(b []byte) error { return unix.Mprotect(b, unix.PROT_READ|unix.PROT_WRITE) }

// discard gives memory back; its addresses are 0 when they are used again.
func discard(b []byte) {
	if err := unix.Madvise(b, unix.MADV_DONTNEED); err != nil {
		clear(b)
	}
}

func release(b []byte) error {
	if err := unix.Munmap(b); !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil // was released before
}
