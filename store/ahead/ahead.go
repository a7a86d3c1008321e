// Package ahead makes syncs of pebble's write-ahead log cheaper: it writes zeros ahead of what is appended. To a file system, a file that
// grows, or that is written to for the first time somewhere, has metadata that a sync must keep on disk as well as the data; where there
// are zeros already, a sync writes the data alone. Pebble itself gets there only once it reuses files of logs, and for as far as those went.
//
// What a crash leaves behind the last record are zeros, which is what pebble finds behind it in a file that it reuses as well.
package ahead

import (
	"github.com/cockroachdb/pebble/v2/vfs"
)

// category of the files that zeros are written ahead in.
const category vfs.DiskWriteCategory = "pebble-wal"

// step is how far zeros are written ahead.
const step = 256 << 10

var zeros [step]byte

// FS returns the file system for a database.
func FS(of vfs.FS) vfs.FS { return fs{of} }

type fs struct{ vfs.FS }

// Create implements vfs.FS.
func (f fs) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	out, err := f.FS.Create(name, c)
	if err != nil || c != category {
		return out, err
	}
	return &file{File: out}, nil
}

// ReuseForWrite implements vfs.FS.
func (f fs) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	out, err := f.FS.ReuseForWrite(from, to, c)
	if err != nil || c != category {
		return out, err
	}
	reused := &file{File: out}
	if info, err := out.Stat(); err == nil {
		reused.filled = info.Size()
	}
	return reused, nil
}

// Unwrap implements vfs.FS.
func (f fs) Unwrap() vfs.FS { return f.FS }

// file is written from its beginning to its end.
type file struct {
	vfs.File
	at, filled int64
}

// Write implements vfs.File.
func (f *file) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.at += int64(n)
	if err == nil && f.at > f.filled {
		f.filled = f.at + step
		_, _ = f.WriteAt(zeros[:], f.at) // what is missing costs time alone
	}
	return n, err
}
