package persist

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/banyanhq/banyan/cache/disk"
)

// Report says what was found in a file.
type Report struct {
	// Frames and Bytes that were good.
	Frames, Bytes int64
	// Torn are the bytes behind them that were cut off.
	Torn int64
}

// DamageError says that a file is not what was written to it, in a part that was safe on the disk.
type DamageError struct {
	Path string
	// At is the first byte that is not right.
	At int64
	// Later is how many whole frames there are behind it.
	Later int64
	Why   string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d, in a part that was safe on the disk: %s", e.Path, e.At, e.Why)
}

// OpenLog reads a file, hands over what its frames hold, in order, and goes on behind them. A torn end is cut off, once accept
// has heard how long it is and agreed. Damage before that is a *DamageError, which errors of apply and accept become as well;
// the file is as it was then. The bytes that apply gets are good until it returns.
func OpenLog(dir disk.FS, name string, apply func([]byte) error, accept func(torn int64) error) (*Log, Report, error) {
	var r Report
	f, err := dir.Open(name)
	if err != nil {
		return nil, r, err
	}
	l := &Log{f: f}
	r, err = l.load(dir.Path(name), apply, accept)
	if err != nil {
		return nil, r, errors.Join(err, f.Close())
	}
	return l, r, nil
}

func (l *Log) load(path string, apply func([]byte) error, accept func(int64) error) (r Report, err error) {
	size, err := l.f.Size()
	if err != nil {
		return r, err
	}
	if err := l.readHead(size); err != nil {
		return r, &DamageError{Path: path, Why: err.Error()}
	}
	l.end = int64(headLen)
	in := bufio.NewReaderSize(io.NewSectionReader(l.f, l.end, size-l.end), 1<<20)
	var payload []byte
	for l.end < size {
		var synced int64
		payload, synced, err = l.readFrame(in, size, payload[:0])
		if errors.Is(err, errFrame) {
			break
		}
		if err != nil {
			return r, fmt.Errorf("reading %s: %w", path, err)
		}
		if err := apply(payload); err != nil {
			return r, &DamageError{Path: path, At: l.end, Why: err.Error()}
		}
		l.synced.Store(synced)
		l.end += frameHead + int64(len(payload))
		r.Frames++
	}
	r.Bytes, r.Torn = l.end, size-l.end
	if r.Torn == 0 {
		if err := accept(0); err != nil {
			return r, &DamageError{Path: path, At: l.end, Why: err.Error()}
		}
		return r, l.Sync(size) // it may have been read from memory
	}
	later, synced, err := l.lookBehind(size)
	if err != nil {
		return r, fmt.Errorf("reading %s: %w", path, err)
	}
	if synced > l.end || l.Synced() > l.end {
		return r, &DamageError{Path: path, At: l.end, Later: later, Why: fmt.Sprintf("a checksum is wrong, and %d later entries are whole", later)}
	}
	if err := accept(r.Torn); err != nil {
		return r, &DamageError{Path: path, At: l.end, Later: later, Why: err.Error()}
	}
	if err := l.f.Truncate(l.end); err != nil {
		return r, fmt.Errorf("cutting off the torn end of %s: %w", path, err)
	}
	l.synced.Store(0)
	return r, l.Sync(l.end)
}

// Cut cuts a damaged file off at a byte. What there was is left beside it, by another name.
func Cut(dir disk.FS, name, aside string, at int64) error {
	from, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := dir.Create(aside)
	if err != nil {
		return err
	}
	size, err := from.Size()
	if err == nil {
		_, err = io.Copy(io.NewOffsetWriter(to, 0), io.NewSectionReader(from, 0, size))
	}
	if err = errors.Join(err, to.Sync(), to.Close()); err != nil {
		return fmt.Errorf("copying %s to %s: %w", dir.Path(name), dir.Path(aside), err)
	}
	if err := errors.Join(dir.Sync(), from.Truncate(at), from.Sync()); err != nil {
		return fmt.Errorf("cutting %s off: %w", dir.Path(name), err)
	}
	return nil
}

func (l *Log) readHead(size int64) error {
	head := make([]byte, headLen)
	if size < int64(headLen) {
		return errors.New("it is too short to be a cache's file")
	}
	if _, err := l.f.ReadAt(head, 0); err != nil {
		return err
	}
	if string(head[:len(magic)]) != magic {
		return errors.New("it is no cache's file, or one of another version")
	}
	if crc32.Checksum(head[:headLen-4], castagnoli) != binary.LittleEndian.Uint32(head[headLen-4:]) {
		return errors.New("the checksum of its head is wrong")
	}
	copy(l.id[:], head[len(magic):])
	l.seed = crc32.Checksum(l.id[:], castagnoli)
	return nil
}

// errFrame says that there is no whole frame.
var errFrame = errors.New("no whole frame")

// readFrame reads the frame at the log's end.
func (l *Log) readFrame(in io.Reader, size int64, into []byte) (payload []byte, synced int64, err error) {
	var head [frameHead]byte
	if size-l.end < frameHead {
		return into, 0, errFrame
	}
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return into, 0, err
	}
	n, synced, ok := l.parseHead(head[:], l.end, size)
	if !ok {
		return into, 0, errFrame
	}
	if int64(cap(into)) < n {
		into = make([]byte, 0, max(n, 64<<10))
	}
	payload = into[:n]
	if _, err := io.ReadFull(in, payload); err != nil {
		return into, 0, err
	}
	if l.checksum(l.end, head[8:], payload) != binary.LittleEndian.Uint32(head[4:]) {
		return into, 0, errFrame
	}
	return payload, synced, nil
}

// parseHead reads the head of a frame at an offset. It is right only if the checksum is, too.
func (l *Log) parseHead(head []byte, at, size int64) (n, synced int64, ok bool) {
	n = int64(binary.LittleEndian.Uint64(head[8:]))
	synced = int64(binary.LittleEndian.Uint64(head[16:]))
	return n, synced, bytes.Equal(head[:4], l.id[:4]) && n >= 0 && n <= size-at-frameHead && synced >= 0 && synced <= at
}

// lookBehind looks for whole frames behind the first that is not. It returns how many there are, and up to where the last
// of them says that the file was synced.
func (l *Log) lookBehind(size int64) (later, synced int64, err error) {
	chunk := make([]byte, 256<<10)
	for at := l.end + 1; at+frameHead <= size; {
		n := min(int64(len(chunk)), size-at)
		if _, err := l.f.ReadAt(chunk[:n], at); err != nil {
			return later, synced, err
		}
		i := int64(bytes.Index(chunk[:n], l.id[:4]))
		if i < 0 {
			at += n - 3 // a mark may begin in the last bytes
			continue
		}
		at += i
		length, s, err := l.verify(at, size)
		switch {
		case errors.Is(err, errFrame):
			at++
		case err != nil:
			return later, synced, err
		default:
			later++
			synced = max(synced, s)
			at += frameHead + length
		}
	}
	return later, synced, nil
}

// verify checks whether there is a whole frame at an offset.
func (l *Log) verify(at, size int64) (length, synced int64, err error) {
	head := make([]byte, frameHead)
	if size-at < frameHead {
		return 0, 0, errFrame
	}
	if _, err := l.f.ReadAt(head, at); err != nil {
		return 0, 0, err
	}
	length, synced, ok := l.parseHead(head, at, size)
	if !ok {
		return 0, 0, errFrame
	}
	sum := l.checksum(at, head[8:], nil)
	chunk := make([]byte, min(length, 64<<10))
	for from, end := at+frameHead, at+frameHead+length; from < end; {
		n := min(int64(len(chunk)), end-from)
		if _, err := l.f.ReadAt(chunk[:n], from); err != nil {
			return 0, 0, err
		}
		sum = crc32.Update(sum, castagnoli, chunk[:n])
		from += n
	}
	if sum != binary.LittleEndian.Uint32(head[4:]) {
		return 0, 0, errFrame
	}
	return length, synced, nil
}
