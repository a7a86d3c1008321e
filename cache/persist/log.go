package persist

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync/atomic"

	"github.com/banyanhq/banyan/cache/disk"
)

// A file begins with a head:
//
//	8 bytes   what it is, and its version
//	16 bytes  the file's random number
//	4 bytes   checksum of both
//
// and a frame with
//
//	4 bytes   the file's mark: the first bytes of its random number
//	4 bytes   checksum of all that follows, of the random number and of the frame's offset
//	8 bytes   length of what it holds
//	8 bytes   up to where the file had been synced
//
// All numbers are little-endian, checksums are CRC-32C.
const (
	magic     = "banyanC1"
	idLen     = 16
	headLen   = len(magic) + idLen + 4
	frameHead = 24
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Log is a file that frames are appended to.
type Log struct {
	f      disk.File
	id     [idLen]byte
	seed   uint32 // checksum of the random number
	end    int64
	synced atomic.Int64
	b      []byte
}

// CreateLog makes an empty file. It is not synced, and neither is its folder.
func CreateLog(dir disk.FS, name string) (*Log, error) {
	f, err := dir.Create(name)
	if err != nil {
		return nil, err
	}
	l := &Log{f: f, end: int64(headLen)}
	_, _ = rand.Read(l.id[:]) // never fails
	l.seed = crc32.Checksum(l.id[:], castagnoli)
	head := append([]byte(magic), l.id[:]...)
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
	if _, err := f.WriteAt(head, 0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// checksum is that of a frame's bytes behind the checksum itself.
func (l *Log) checksum(at int64, lengths, payload []byte) uint32 {
	var place [8]byte
	binary.LittleEndian.PutUint64(place[:], uint64(at))
	sum := crc32.Update(l.seed, castagnoli, place[:])
	sum = crc32.Update(sum, castagnoli, lengths)
	return crc32.Update(sum, castagnoli, payload)
}

// Append writes a frame. Where that fails, what was written of it is taken back if that can be done; if it can't, the error
// is ErrBroken as well, and nothing more can be appended.
func (l *Log) Append(payload []byte) error {
	l.b = append(l.b[:0], l.id[:4]...)
	l.b = append(l.b, 0, 0, 0, 0)
	l.b = binary.LittleEndian.AppendUint64(l.b, uint64(len(payload)))
	l.b = binary.LittleEndian.AppendUint64(l.b, uint64(l.synced.Load()))
	binary.LittleEndian.PutUint32(l.b[4:], l.checksum(l.end, l.b[8:], payload))
	l.b = append(l.b, payload...)
	n, err := l.f.WriteAt(l.b, l.end)
	if err == nil {
		l.end += int64(n)
	} else if n > 0 {
		if undo := l.f.Truncate(l.end); undo != nil {
			err = fmt.Errorf("%w (%w: %w)", err, ErrBroken, undo)
		}
	}
	if cap(l.b) > keepBuffer {
		l.b = nil
	}
	return err
}

// ErrBroken says that a file ends with part of a frame.
var ErrBroken = errors.New("the file ends in the middle of something")

// keepBuffer is the largest buffer that is kept for the next frame.
const keepBuffer = 1 << 20

// End is how long the file is.
func (l *Log) End() int64 { return l.end }

// Synced is up to where the file is known to be synced.
func (l *Log) Synced() int64 { return l.synced.Load() }

// Sync makes what was appended before last. It may be called while Append is, with the End of before. After an error
// nothing is known of what was not synced before, and a later success would not mean anything.
func (l *Log) Sync(end int64) error {
	if err := l.f.Sync(); err != nil {
		return err
	}
	l.synced.Store(max(end, l.synced.Load()))
	return nil
}

// Seal syncs the file, and leaves a frame that says so.
func (l *Log) Seal() error {
	if err := l.Sync(l.end); err != nil {
		return err
	}
	if err := l.Append(nil); err != nil {
		return err
	}
	return l.Sync(l.end)
}

// Close seals the file and closes it.
func (l *Log) Close() error { return errors.Join(l.Seal(), l.f.Close()) }

// Abandon closes the file as it is.
func (l *Log) Abandon() error { return l.f.Close() }
