package journal

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A frame is: magic, length of the payload, CRC-32C of the rest, how far the segment was synced when the frame was written,
// the offset at which it stands, payload. The payload is records, each its length (uvarint) and its bytes.
const (
	magic     = 0x42414e4a // "BANJ"
	headBytes = 4 + 4 + 4 + 8 + 8
	// maxFrame bounds the payload.
	maxFrame = 256 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrDamaged says that acknowledged records can't be read any more.
var ErrDamaged = errors.New("damaged where it had been synced: what was acknowledged is lost there; restore the folder from a backup, or move this segment away to go on without it")

// File is what the journal needs of a file.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns when all that was written is on disk.
	Sync() error
	// Allocate has the disk set so much aside, if it can.
	Allocate(size int64)
	Truncate(size int64) error
	Close() error
}

type segment struct {
	id     uint64
	path   string
	file   File
	size   int64
	synced int64
	newest time.Time
}

func compare(a, b uint64) int { return cmp.Compare(a, b) }

func segmentName(id uint64) string { return fmt.Sprintf("%012d.journal", id) }

// segmentIDs lists the segments of a folder in order.
func segmentIDs(dir string) ([]uint64, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the journal's folder: %w", err)
	}
	var ids []uint64
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), ".journal")
		if id, err := strconv.ParseUint(name, 10, 64); ok && err == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// frameBytes is at most how long a frame of the records is.
func frameBytes(batch []Record) int64 {
	n := int64(headBytes)
	for _, r := range batch {
		n += int64(len(r.Data) + lengthBytes)
	}
	return n
}

// appendFrame writes a frame that will stand at an offset, and notes where each record's bytes will be.
func appendFrame(dst []byte, synced, at int64, batch []Record, offsets []int64) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, headBytes)...)
	dst = AppendRecords(dst, batch, offsets)
	for i := range offsets {
		offsets[i] += at - int64(start)
	}
	head := dst[start:]
	binary.LittleEndian.PutUint32(head[0:], magic)
	binary.LittleEndian.PutUint32(head[4:], uint32(len(head)-headBytes))
	binary.LittleEndian.PutUint64(head[12:], uint64(synced))
	binary.LittleEndian.PutUint64(head[20:], uint64(at))
	binary.LittleEndian.PutUint32(head[8:], crc32.Checksum(head[12:], castagnoli))
	return dst
}

// errNoFrame says that no whole frame stands at an offset.
var errNoFrame = errors.New("no frame")

// readFrame returns the frame at an offset.
func readFrame(f io.ReaderAt, at int64) (synced int64, payload []byte, err error) {
	var head [headBytes]byte
	if n, err := f.ReadAt(head[:], at); n < headBytes {
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, nil, err
		}
		return 0, nil, errNoFrame
	}
	size := binary.LittleEndian.Uint32(head[4:])
	if binary.LittleEndian.Uint32(head[:]) != magic || size > maxFrame || binary.LittleEndian.Uint64(head[20:]) != uint64(at) {
		return 0, nil, errNoFrame
	}
	frame := make([]byte, headBytes-12+int(size))
	if n, err := f.ReadAt(frame, at+12); n < len(frame) {
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, nil, err
		}
		return 0, nil, errNoFrame
	}
	if crc32.Checksum(frame, castagnoli) != binary.LittleEndian.Uint32(head[8:]) {
		return 0, nil, errNoFrame
	}
	return int64(binary.LittleEndian.Uint64(head[12:])), frame[headBytes-12:], nil
}

// replay hands all records to f and finds the end. Behind the end of the last segment there may be what nobody was told of.
func (s *segment) replay(last bool, f func(Position, []byte) error) error {
	if info, err := os.Stat(s.path); err == nil {
		s.newest = info.ModTime()
	}
	for {
		_, payload, err := readFrame(s.file, s.size)
		if errors.Is(err, errNoFrame) {
			break
		}
		if err != nil {
			return err
		}
		begin := s.size + headBytes
		if at, err := EachRecord(payload, func(at int64, data []byte) error { return f(Position{s.id, begin + at}, data) }); err != nil {
			return fmt.Errorf("the record at byte %d: %w", begin+at, err)
		}
		s.size += headBytes + int64(len(payload))
	}
	s.synced = s.size
	damaged, err := s.damaged(last)
	if err != nil {
		return err
	}
	if damaged {
		return fmt.Errorf("at byte %d: %w", s.size, ErrDamaged)
	}
	return nil
}

// seal ends a segment: from now on whatever stands behind its last frame is damage.
func (s *segment) seal() error {
	if err := s.file.Truncate(s.size); err != nil {
		return fmt.Errorf("ending a segment of the journal: %w", err)
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("ending a segment of the journal: %w", err)
	}
	return nil
}

// damaged reports whether there is, behind the last whole frame, anything that had been synced: in a segment that was
// sealed whatever is there, in the last one a whole frame that says that the segment had been synced beyond that place.
func (s *segment) damaged(last bool) (bool, error) {
	if !last {
		var one [1]byte
		n, err := s.file.ReadAt(one[:], s.size)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		return n > 0, nil
	}
	mark := binary.LittleEndian.AppendUint32(nil, magic)
	window := make([]byte, 1<<20)
	for at := s.size + 1; ; at += int64(len(window) - len(mark) + 1) {
		n, err := s.file.ReadAt(window, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		for found := 0; ; found++ {
			i := bytes.Index(window[found:n], mark)
			if i < 0 {
				break
			}
			found += i
			if synced, _, err := readFrame(s.file, at+int64(found)); err == nil && synced > s.size {
				return true, nil
			}
		}
		if n < len(window) {
			return false, nil
		}
	}
}
