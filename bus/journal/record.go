package journal

import (
	"context"
	"encoding/binary"
	"errors"
)

// Record to be appended.
type Record struct {
	Data []byte
	// Durable has Done wait for the disk.
	Durable bool
	// Refusable ones are refused when the disk is full. The others are kept until they can be written.
	Refusable bool
	// Done is called once, in the order of the records, from the journal's goroutine; it must not block. Nil: nobody.
	Done func(Position, error)
}

// WriteTo appends a record to a log of this or another kind, and returns when it is kept. Its Durable and Done are not used.
func WriteTo(ctx context.Context, appendTo func(Record) error, r Record) error {
	done := make(chan error, 1)
	r.Durable, r.Done = true, func(_ Position, err error) { done <- err }
	if err := appendTo(r); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lengthBytes is at most how many bytes the length of a record takes.
const lengthBytes = binary.MaxVarintLen32

// AppendRecords appends records to dst as logs of all kinds have them in their frames, each its length (uvarint) and its data, and
// notes in offsets where in dst the data of each begins.
func AppendRecords(dst []byte, batch []Record, offsets []int64) []byte {
	for i, r := range batch {
		dst = binary.AppendUvarint(dst, uint64(len(r.Data)))
		offsets[i] = int64(len(dst))
		dst = append(dst, r.Data...)
	}
	return dst
}

// EachRecord hands out the records of a frame that have data, each with the place of its data, and returns the place of an error. Empty
// ones are of interest to their writer only.
func EachRecord(payload []byte, f func(at int64, data []byte) error) (at int64, err error) {
	for int(at) < len(payload) {
		n, used := binary.Uvarint(payload[at:])
		if used <= 0 || n > uint64(len(payload)-int(at)-used) {
			return at, errors.New("it is longer than its frame")
		}
		begin := at + int64(used)
		if n > 0 {
			if err := f(begin, payload[begin:begin+int64(n)]); err != nil {
				return at, err
			}
		}
		at = begin + int64(n)
	}
	return at, nil
}

// Framed is how many of the first records fit into so many bytes of a frame, one at least.
func Framed(batch []Record, room int) (n int) {
	for _, r := range batch {
		if room -= lengthBytes + len(r.Data); room < 0 && n > 0 {
			break
		}
		n++
	}
	return n
}

// Refuse tells the writers of records that they are not kept.
func Refuse(batch []Record, err error) {
	for _, r := range batch {
		if r.Done != nil {
			r.Done(Position{}, err)
		}
	}
}
