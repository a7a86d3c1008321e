package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A frame is: magic (4 bytes), length of the record (4, little endian), CRC-32C
// of length and record (4), record. The magic makes it cheap to look for a good
// frame behind a bad one; it is not valid UTF-8, so no JSON record contains it.
var magic = []byte{0xf9, 'J', 'R', 0xfa}

const headerSize = 12

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errTorn = errors.New("incomplete or damaged record")

// appendFrame appends the frame of record to buf.
func appendFrame(buf, record []byte) []byte {
	buf = append(buf, magic...)
	size := len(buf)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(record)))
	buf = binary.LittleEndian.AppendUint32(buf, checksum(buf[size:size+4], record))
	return append(buf, record...)
}

func checksum(length, record []byte) uint32 {
	return crc32.Update(crc32.Checksum(length, castagnoli), castagnoli, record)
}

// parseFrame returns the record at the start of data and the bytes its frame
// takes. need is more than len(data) if the frame, as far as it is there, looks
// good and goes on for so many bytes; errTorn means it can never be good.
func parseFrame(data []byte) (record []byte, need int, err error) {
	if len(data) < headerSize {
		if !bytes.HasPrefix(magic, data[:min(len(data), len(magic))]) {
			return nil, 0, errTorn
		}
		return nil, headerSize, nil
	}
	length := binary.LittleEndian.Uint32(data[4:8])
	if !bytes.Equal(data[:4], magic) || length > MaxRecord {
		return nil, 0, errTorn
	}
	need = headerSize + int(length)
	if len(data) < need {
		return nil, need, nil
	}
	record = data[headerSize:need:need]
	if binary.LittleEndian.Uint32(data[8:12]) != checksum(data[4:8], record) {
		return nil, 0, errTorn
	}
	return record, need, nil
}

// readFrame reads the one frame at an offset, which must end by limit.
func readFrame(r io.ReaderAt, at, limit int64) (record []byte, size int, err error) {
	var header [headerSize]byte
	if at < 0 || at+headerSize > limit {
		return nil, 0, errTorn
	}
	if _, err := r.ReadAt(header[:], at); err != nil {
		return nil, 0, err
	}
	_, need, err := parseFrame(header[:])
	if err != nil {
		return nil, 0, err
	}
	if at+int64(need) > limit {
		return nil, 0, errTorn
	}
	data := make([]byte, need)
	if _, err := r.ReadAt(data, at); err != nil {
		return nil, 0, err
	}
	record, _, err = parseFrame(data)
	return record, need, err
}

// checkTorn decides what the bytes from at to size are, given that no good
// frame begins at at. A crash leaves an end that nothing good follows: nil. If
// a good frame does follow then the file was damaged, and cutting it would
// throw acknowledged records away: an error.
func checkTorn(r io.ReaderAt, at, size int64) error {
	const step = 1 << 20
	buf := make([]byte, step+len(magic)-1)
	for from := at + 1; from < size; from += step {
		n, err := r.ReadAt(buf[:min(int64(len(buf)), size-from)], from)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		for i := 0; i < min(n, step); i++ {
			k := bytes.Index(buf[i:n], magic)
			if k < 0 {
				break
			}
			i += k
			if _, _, err := readFrame(r, from+int64(i), size); err == nil {
				return fmt.Errorf("the record at byte %d is damaged, but a good one follows at byte %d: "+
					"this is not a torn end, restore the file from a backup", at, from+int64(i))
			}
		}
	}
	return nil
}
