package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The log is a row of files, each named for the number of the first record that may be in it. A file is frames, one after the
// other: length and checksum of what follows (4 bytes each), number of the first record (8 bytes), and a batch. A file is
// written to by one run only and ends, for a reader, where a frame is not whole: nothing that was acknowledged is behind that, for
// after a failed write another file is begun.
const (
	walPrefix  = "wal-"
	frameHead  = 16
	maxFrame   = 64 << 20
	diskWrites = vfs.WriteCategoryUnspecified
)

func walName(first uint64) string { return fmt.Sprintf("%s%016x", walPrefix, first) }

// walFile is the file of the log that is written.
type walFile struct {
	file  vfs.File
	first uint64
	size  int64
}

func createWAL(fs vfs.FS, dir string, first uint64) (*walFile, error) {
	f, err := fs.Create(fs.PathJoin(dir, walName(first)), diskWrites)
	if err != nil {
		return nil, fmt.Errorf("beginning a file of the log: %w", err)
	}
	if err := syncDir(fs, dir); err != nil {
		_ = f.Close()
		return nil, err
	}
	return &walFile{file: f, first: first}, nil
}

func (w *walFile) write(frames []byte) error {
	n, err := w.file.Write(frames)
	w.size += int64(n)
	if err == nil && n < len(frames) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("writing to the log: %w", err)
	}
	return nil
}

func (w *walFile) sync() error {
	if err := w.file.SyncData(); err != nil {
		return fmt.Errorf("syncing the log: %w", err)
	}
	return nil
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("opening %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return nil
}

// sealFrame fills in the head of a frame whose batch lies behind room for it.
func sealFrame(frame []byte, seq uint64) {
	binary.LittleEndian.PutUint64(frame[8:], seq)
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-8))
	binary.LittleEndian.PutUint32(frame[4:], crc32.Checksum(frame[8:], castagnoli))
}

// readWAL gives each whole frame of a file to each, and returns how many bytes at the end are none.
func readWAL(fs vfs.FS, path string, each func(seq uint64, batch string) error) (rest int64, err error) {
	f, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	left := info.Size()
	head := make([]byte, 8)
	for left >= frameHead {
		if _, err := io.ReadFull(f, head); err != nil {
			return left, fmt.Errorf("reading %s: %w", path, err)
		}
		n := int64(binary.LittleEndian.Uint32(head))
		if n < frameHead-8 || n > maxFrame || n > left-8 {
			return left, nil
		}
		frame := make([]byte, n)
		if _, err := io.ReadFull(f, frame); err != nil {
			return left, fmt.Errorf("reading %s: %w", path, err)
		}
		if crc32.Checksum(frame, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
			return left, nil
		}
		if err := each(binary.LittleEndian.Uint64(frame), string(frame[8:])); err != nil {
			return left, nil // a frame that is whole but makes no sense is damage, too
		}
		left -= 8 + n
	}
	return left, nil
}

// walFiles returns the first numbers of the log's files, in order.
func walFiles(fs vfs.FS, dir string) (firsts []uint64, err error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", dir, err)
	}
	for _, n := range names {
		if text, ok := strings.CutPrefix(n, walPrefix); ok {
			if first, err := strconv.ParseUint(text, 16, 64); err == nil {
				firsts = append(firsts, first)
			}
		}
	}
	slices.Sort(firsts)
	return firsts, nil
}
