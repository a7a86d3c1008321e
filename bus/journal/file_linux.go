package journal

import (
	"os"

	"golang.org/x/sys/unix"
)

type file struct {
	*os.File
	room, filled int64 // set aside, and of that written to, with zeros at least
}

// OpenFile opens a segment as it is.
func OpenFile(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	return &file{File: f}, err
}

// aheadBytes is how far zeros are written ahead.
const aheadBytes = 256 << 10

var zeros [aheadBytes]byte

// WriteAt writes zeros behind what it writes, now and then, as far as room was set aside; so it is for writing at the end alone. To the file
// system that room is not written to yet, and a sync after the first write to a part of it has to keep that on disk as well as the data.
func (f *file) WriteAt(p []byte, at int64) (int, error) {
	n, err := f.File.WriteAt(p, at)
	if end := at + int64(n); err == nil && end > f.filled && end < f.room {
		ahead, _ := f.File.WriteAt(zeros[:min(aheadBytes, f.room-end)], end) // what is missing costs time alone
		f.filled = end + int64(ahead)
	}
	return n, err
}

// Sync leaves out the file's times, which nobody needs, and so most writes of its metadata.
func (f *file) Sync() error { return unix.Fdatasync(int(f.Fd())) }

func (f *file) Allocate(size int64) {
	if unix.Fallocate(int(f.Fd()), 0, 0, size) == nil {
		f.room = size
	}
}
