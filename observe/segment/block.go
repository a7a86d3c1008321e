package segment

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// A block holds up to blockBytes of records as columns:
//
//	directory: its length and checksum, 4 bytes each, then: rows, count of columns, and of each column
//	its name, the length and the checksum of what is stored, and the length of what that unpacks to (0: it is not packed)
//	columns, each compressed with zstd where that makes it smaller
//
// Times, numbers and streams have columns of their own, so have the body and the maxColumns most frequent fields; the fields
// beyond them, of a block whose records all have different ones, share one.
const (
	blockBytes = 1 << 20
	blockRows  = 1 << 14
	maxColumns = 128
)

// Names of the columns that are no field's. A field's begins with '='.
const (
	columnTimes   = "times"
	columnNumbers = "numbers"
	columnStreams = "streams"
	columnBody    = "body"
	columnMore    = "more"
)

// Kinds of encodings of strings.
const (
	kindConst = 0 // every row has this value
	kindTable = 1 // count of values, the values, then a byte for each row: 0 for none, else the value's place plus one
	kindPlain = 2 // for each row its length plus one, or 0 for none; then all bytes
)

var errBlock = errors.New("damaged block")

// maxColumnBytes bounds what a column may unpack to: a block's text and one record too large for it.
const maxColumnBytes = blockBytes + 2*MaxBody + 64*blockRows

// encoder makes blocks. Its memory is used again.
type blockEncoder struct {
	zstd    *zstd.Encoder
	words   wordSet
	scratch []byte
	columns []column
}

type column struct {
	name   string
	data   []byte
	length int // unpacked; 0: not packed
}

func newBlockEncoder() (*blockEncoder, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false))
	return &blockEncoder{zstd: z}, err
}

// encode returns the stored block of records, which are in order, and the hashes of their words. place says which number a stream has.
func (e *blockEncoder) encode(records []Record, place map[string]int) (block []byte, words []uint64) {
	e.columns = e.columns[:0]
	e.numbers(records, place)
	e.strings(columnBody, len(records), func(i int) (string, bool) { return records[i].Body, true })
	e.fields(records)
	for i := range records {
		r := &records[i]
		if i == 0 || r.Stream != records[i-1].Stream {
			// A filter that asks for a field cannot tell whether it is a label.
			for _, l := range r.Stream.labels {
				hashWords(l.Value, e.words.add)
			}
		}
		hashWords(r.Body, e.words.add)
		for j := range r.Fields {
			if f := &r.Fields[j]; !f.InBody {
				hashWords(f.Value, e.words.add)
			}
		}
	}
	dir := binary.AppendUvarint(nil, uint64(len(records)))
	dir = binary.AppendUvarint(dir, uint64(len(e.columns)))
	total := 0
	for _, c := range e.columns {
		dir = appendString(dir, c.name)
		dir = binary.AppendUvarint(dir, uint64(len(c.data)))
		dir = binary.LittleEndian.AppendUint32(dir, crc32.Checksum(c.data, castagnoli))
		dir = binary.AppendUvarint(dir, uint64(c.length))
		total += len(c.data)
	}
	block = make([]byte, 0, 8+len(dir)+total)
	block = binary.LittleEndian.AppendUint32(block, uint32(len(dir)))
	block = binary.LittleEndian.AppendUint32(block, crc32.Checksum(dir, castagnoli))
	block = append(block, dir...)
	for _, c := range e.columns {
		block = append(block, c.data...)
	}
	return block, e.words.take()
}

// add packs what lies in scratch.
func (e *blockEncoder) add(name string) {
	c := column{name: name}
	if len(e.scratch) > 64 {
		c.data = e.zstd.EncodeAll(e.scratch, nil)
		c.length = len(e.scratch)
	}
	if c.length == 0 || len(c.data) >= c.length {
		c.data, c.length = slices.Clone(e.scratch), 0
	}
	e.columns = append(e.columns, c)
}

func (e *blockEncoder) numbers(records []Record, place map[string]int) {
	b := e.scratch[:0]
	before := int64(0)
	for i := range records {
		b = binary.AppendUvarint(b, zigzag(records[i].Time-before))
		before = records[i].Time
	}
	e.scratch = b
	e.add(columnTimes)
	b, before = b[:0], 0
	for i := range records {
		b = binary.AppendUvarint(b, zigzag(int64(records[i].Seq)-before))
		before = int64(records[i].Seq)
	}
	e.scratch = b
	e.add(columnNumbers)
	b = b[:0]
	for i := 0; i < len(records); {
		begin := i
		for i < len(records) && records[i].Stream.Equal(records[begin].Stream) {
			i++
		}
		b = binary.AppendUvarint(b, uint64(place[records[begin].Stream.key]))
		b = binary.AppendUvarint(b, uint64(i-begin))
	}
	e.scratch = b
	e.add(columnStreams)
}

// strings encodes a column of rows values.
func (e *blockEncoder) strings(name string, rows int, at func(int) (string, bool)) {
	places := map[string]byte{}
	var table []string
	all := true
	for i := range rows {
		s, ok := at(i)
		if !ok {
			all = false
			continue
		}
		if _, known := places[s]; !known {
			if len(table) == 255 {
				table = nil
				break
			}
			table = append(table, s)
			places[s] = byte(len(table))
		}
	}
	b := e.scratch[:0]
	switch {
	case all && len(table) == 1:
		b = appendString(append(b, kindConst), table[0])
	case table != nil:
		b = binary.AppendUvarint(append(b, kindTable), uint64(len(table)))
		for _, s := range table {
			b = appendString(b, s)
		}
		for i := range rows {
			s, ok := at(i)
			if !ok {
				b = append(b, 0)
			} else {
				b = append(b, places[s])
			}
		}
	default:
		b = append(b, kindPlain)
		for i := range rows {
			n := 0
			if s, ok := at(i); ok {
				n = len(s) + 1
			}
			b = binary.AppendUvarint(b, uint64(n))
		}
		for i := range rows {
			s, _ := at(i)
			b = append(b, s...)
		}
	}
	e.scratch = b
	e.add(name)
}

// fields encodes the columns of the fields.
func (e *blockEncoder) fields(records []Record) {
	counts := map[string]int{}
	for i := range records {
		for j := range records[i].Fields {
			counts[records[i].Fields[j].Name]++
		}
	}
	names := make([]string, 0, len(counts))
	for n := range counts {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return strings.Compare(a, b)
	})
	own := names[:min(len(names), maxColumns)]
	columns := make(map[string][]*string, len(own))
	cells := make([]*string, len(own)*len(records))
	for i, n := range own {
		columns[n] = cells[i*len(records):][:len(records)]
	}
	for i := range records {
		for j := range records[i].Fields {
			f := &records[i].Fields[j]
			if c := columns[f.Name]; c != nil && c[i] == nil {
				c[i] = &f.Value
			}
		}
	}
	for _, n := range own {
		c := columns[n]
		e.strings("="+n, len(records), func(i int) (string, bool) {
			if c[i] == nil {
				return "", false
			}
			return *c[i], true
		})
	}
	if len(names) > len(own) {
		more := make([]string, len(records))
		for i := range records {
			var b []byte
			for j := range records[i].Fields {
				if f := &records[i].Fields[j]; columns[f.Name] == nil {
					b = appendString(appendString(b, f.Name), f.Value)
				}
			}
			more[i] = string(b)
		}
		e.strings(columnMore, len(records), func(i int) (string, bool) { return more[i], true })
	}
}
