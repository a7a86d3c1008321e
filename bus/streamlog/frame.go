package streamlog

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/banyanhq/banyan/bus/journal"
)

// A frame is: version, the sequence of the frame behind which it stands (8 bytes), a checksum of what follows (4 bytes), and
// records, each behind its length.
const (
	frameVersion = 1
	frameHead    = 1 + 8 + 4
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errFrame   = errors.New("a message that is no frame of the queues")
)

// encodeFrame writes records as a frame, and returns where the data of each begins.
func encodeFrame(after uint64, batch []journal.Record) (frame []byte, offsets []int64) {
	size := frameHead
	for _, r := range batch {
		size += binary.MaxVarintLen32 + len(r.Data)
	}
	frame = make([]byte, frameHead, size)
	frame[0] = frameVersion
	binary.LittleEndian.PutUint64(frame[1:], after)
	offsets = make([]int64, len(batch))
	frame = journal.AppendRecords(frame, batch, offsets)
	binary.LittleEndian.PutUint32(frame[9:], crc32.Checksum(frame[frameHead:], castagnoli))
	return frame, offsets
}

// standsBehind returns behind which frame a frame stands.
func standsBehind(frame []byte) (uint64, error) {
	if len(frame) < frameHead || frame[0] != frameVersion ||
		crc32.Checksum(frame[frameHead:], castagnoli) != binary.LittleEndian.Uint32(frame[9:]) {
		return 0, errFrame
	}
	return binary.LittleEndian.Uint64(frame[1:]), nil
}

// eachRecord hands out the records of a frame that standsBehind knows, with the place of each one's data in it.
func eachRecord(frame []byte, each func(offset int64, data []byte) error) error {
	_, err := journal.EachRecord(frame[frameHead:], func(at int64, data []byte) error { return each(frameHead+at, data) })
	return err
}

// segmentFrames is how many frames make a segment: what is dropped at once.
const segmentFrames = 256

// position of data within the frame of a sequence.
func position(seq uint64, offset int64) journal.Position {
	return journal.Position{Segment: seq / segmentFrames, Offset: int64(seq%segmentFrames)<<32 | offset}
}

// sequence and offset within its frame of a position.
func place(p journal.Position) (seq uint64, offset int64) {
	return p.Segment*segmentFrames + uint64(p.Offset>>32), p.Offset & (1<<32 - 1)
}
