package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

// Kind of a frame.
type Kind byte

// The kinds, in the order in which they stand in a file.
const (
	// Head says what the file is a copy of: JSON.
	Head Kind = 'H'
	// Schemas of one topic: JSON.
	Schemas Kind = 'S'
	// Queues is a record of what happened to queues.
	Queues Kind = 'Q'
	// Topic begins the copy of a topic: JSON. Chunks follow.
	Topic Kind = 'T'
	// Chunk of the copy of a topic.
	Chunk Kind = 'C'
	// Sum counts what was copied: JSON.
	Sum Kind = 'Z'
	// end has the checksum of all before it.
	end Kind = 'E'
)

// maxFrame bounds the payload of a frame, in bytes. A queue's record is a message of 8 MiB with its history at most, or many
// small changes that were made at once.
const maxFrame = 64 << 20

// magic begins a file; the last digit is the version of the format.
const magic = "BANYAN BUS BACKUP 1\n"

const headBytes = 1 + 4

// ErrDamaged says that a file is not, or not any more, what was written.
var ErrDamaged = errors.New("the backup is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Writer writes a file. It is not safe for concurrent use.
type Writer struct {
	out *bufio.Writer
	sum hash.Hash
	err error
}

// NewWriter begins a file.
func NewWriter(w io.Writer) *Writer {
	out := &Writer{out: bufio.NewWriterSize(w, 256<<10), sum: sha256.New()}
	out.write([]byte(magic))
	return out
}

// Write adds a frame. After an error all further calls return it.
func (w *Writer) Write(kind Kind, payload []byte) error {
	if len(payload) > maxFrame {
		return fmt.Errorf("a frame of %d bytes, the limit is %d", len(payload), maxFrame)
	}
	var head [headBytes]byte
	head[0] = byte(kind)
	binary.BigEndian.PutUint32(head[1:], uint32(len(payload)))
	w.write(head[:])
	w.write(payload)
	w.write(binary.BigEndian.AppendUint32(nil, crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, payload)))
	return w.err
}

func (w *Writer) write(p []byte) {
	if w.err == nil {
		w.sum.Write(p) // never fails
		_, w.err = w.out.Write(p)
	}
}

// Close writes the end. Without it the file is damaged, as it should be when something else failed. It leaves the underlying
// writer open.
func (w *Writer) Close() error {
	if err := w.Write(end, w.sum.Sum(nil)); err != nil {
		return err
	}
	return w.out.Flush()
}

// Reader reads a file. It is not safe for concurrent use.
type Reader struct {
	in      *bufio.Reader
	sum     hash.Hash
	payload []byte
	err     error
}

// NewReader reads the beginning. The error is ErrDamaged, or one of r.
func NewReader(r io.Reader) (*Reader, error) {
	in := &Reader{in: bufio.NewReaderSize(r, 256<<10), sum: sha256.New()}
	var begin [len(magic)]byte
	if _, err := io.ReadFull(in.in, begin[:]); err != nil && !short(err) {
		return nil, err
	}
	if string(begin[:]) != magic {
		return nil, fmt.Errorf("%w: it does not begin as one of this version", ErrDamaged)
	}
	in.sum.Write(begin[:])
	return in, nil
}

func short(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// Next returns a frame, whose payload is the caller's until the next call; io.EOF behind the last one. Other errors are
// ErrDamaged, and those of the underlying reader.
func (r *Reader) Next() (Kind, []byte, error) {
	if r.err != nil {
		return 0, nil, r.err
	}
	kind, err := r.next()
	if err == nil && kind == end {
		err = r.ended()
	}
	if err != nil {
		r.err = err
		return 0, nil, err
	}
	return kind, r.payload, nil
}

func (r *Reader) next() (Kind, error) {
	var head [headBytes]byte
	if err := r.fill(head[:]); err != nil {
		return 0, err
	}
	var before []byte // the checksum of all before the end
	if Kind(head[0]) == end {
		before = r.sum.Sum(nil)
	}
	r.sum.Write(head[:])
	size := binary.BigEndian.Uint32(head[1:])
	if size > maxFrame {
		return 0, fmt.Errorf("%w: a frame of %d bytes", ErrDamaged, size)
	}
	// Memory grows with what is really there, not with what the head says.
	r.payload = r.payload[:0]
	for len(r.payload) < int(size) {
		from := len(r.payload)
		r.payload = append(r.payload, make([]byte, min(int(size)-from, 1<<20))...)
		if err := r.read(r.payload[from:]); err != nil {
			return 0, err
		}
	}
	var check [4]byte
	if err := r.read(check[:]); err != nil {
		return 0, err
	}
	if crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, r.payload) != binary.BigEndian.Uint32(check[:]) {
		return 0, fmt.Errorf("%w: a frame does not have its checksum", ErrDamaged)
	}
	if Kind(head[0]) == end && !bytes.Equal(r.payload, before) {
		return 0, fmt.Errorf("%w: it does not have its checksum", ErrDamaged)
	}
	return Kind(head[0]), nil
}

func (r *Reader) read(p []byte) error {
	if err := r.fill(p); err != nil {
		return err
	}
	r.sum.Write(p)
	return nil
}

func (r *Reader) fill(p []byte) error {
	_, err := io.ReadFull(r.in, p)
	if err != nil && short(err) {
		return fmt.Errorf("%w: it ends too early", ErrDamaged)
	}
	return err
}

// ended wants nothing behind the end.
func (r *Reader) ended() error {
	_, err := r.in.ReadByte()
	switch {
	case err == nil:
		return fmt.Errorf("%w: something stands behind its end", ErrDamaged)
	case errors.Is(err, io.EOF):
		return io.EOF
	}
	return err
}
