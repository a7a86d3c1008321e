package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const headerLen = 8 // length (4), CRC-32C of the frame (4)

// ErrFrame is wrapped by what a stream is ended for.
var ErrFrame = errors.New("bad frame")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func header(frame []byte) []byte { return appendHeader(make([]byte, 0, headerLen), frame) }

func appendHeader(b, frame []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(frame)))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(frame, castagnoli))
}

// readFrame returns the next frame, which has at most limit bytes.
func readFrame(r io.Reader, limit int) ([]byte, error) {
	var h [headerLen]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(h[:])
	if uint64(size) > uint64(limit) {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrFrame, size, limit)
	}
	frame := make([]byte, size)
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, fmt.Errorf("%w: stream ends in it: %w", ErrFrame, err)
	}
	if crc32.Checksum(frame, castagnoli) != binary.BigEndian.Uint32(h[4:]) {
		return nil, fmt.Errorf("%w: checksum", ErrFrame)
	}
	return frame, nil
}
