package segment

import (
	"cmp"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// A block holds up to blockBytes of records' text as columns:
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
	packed  []byte          // data of the columns
	codes   []byte          // of a column's rows in its table
	codeOf  map[string]byte // of a column's values
	places  []int32         // of the name of each field
	cells   []*string       // values of fields, by column and row
}

type column struct {
	name   string
	stored int    // bytes in packed
	sum    uint32 // of these
	length int    // unpacked; 0: not packed
}

func newBlockEncoder() (*blockEncoder, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false))
	return &blockEncoder{zstd: z, codeOf: map[string]byte{}}, err
}

// encode appends the stored block of records, which are in order, to block, and returns the hashes of their words. place says which number
// a stream has.
func (e *blockEncoder) encode(block []byte, records []Record, place map[string]int) (_ []byte, words []uint64) {
	e.columns, e.packed = e.columns[:0], e.packed[:0]
	e.numbers(records, place)
	e.strings(columnBody, len(records), func(i int) (string, bool) { return records[i].Body, true })
	e.fields(records)
	for i := range records {
		r := &records[i]
		if i == 0 || r.Stream != records[i-1].Stream {
			// A filter that asks for a field cannot tell whether it is a label.
			for _, l := range r.Stream.labels {
				e.words.addText(l.Value)
			}
		}
		e.words.addText(r.Body)
		for j := range r.Fields {
			if f := &r.Fields[j]; !f.InBody {
				e.words.addText(f.Value)
			}
		}
	}
	dir := binary.AppendUvarint(nil, uint64(len(records)))
	dir = binary.AppendUvarint(dir, uint64(len(e.columns)))
	for _, c := range e.columns {
		dir = appendString(dir, c.name)
		dir = binary.AppendUvarint(dir, uint64(c.stored))
		dir = binary.LittleEndian.AppendUint32(dir, c.sum)
		dir = binary.AppendUvarint(dir, uint64(c.length))
	}
	block = slices.Grow(block, 8+len(dir)+len(e.packed))
	block = binary.LittleEndian.AppendUint32(block, uint32(len(dir)))
	block = binary.LittleEndian.AppendUint32(block, crc32.Checksum(dir, castagnoli))
	block = append(block, dir...)
	return append(block, e.packed...), e.words.take()
}

// add packs what lies in scratch.
func (e *blockEncoder) add(name string) {
	c := column{name: name}
	begin := len(e.packed)
	if len(e.scratch) > 64 {
		e.packed = e.zstd.EncodeAll(e.scratch, e.packed)
		c.length = len(e.scratch)
	}
	if c.length == 0 || len(e.packed)-begin >= c.length {
		e.packed, c.length = append(e.packed[:begin], e.scratch...), 0
	}
	c.stored = len(e.packed) - begin
	c.sum = crc32.Checksum(e.packed[begin:], castagnoli)
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
	table, all := e.tabulate(rows, at)
	b := e.scratch[:0]
	switch {
	case all && len(table) == 1:
		b = appendString(append(b, kindConst), table[0])
	case table != nil:
		b = binary.AppendUvarint(append(b, kindTable), uint64(len(table)))
		for _, s := range table {
			b = appendString(b, s)
		}
		b = append(b, e.codes...)
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

// tabulate returns the different values of a column and leaves which of them each row has in codes. table is nil if they are too many, or
// none; all says that every row has a value.
func (e *blockEncoder) tabulate(rows int, at func(int) (string, bool)) (table []string, all bool) {
	clear(e.codeOf)
	e.codes = e.codes[:0]
	all = true
	code := byte(0)
	for i := range rows {
		s, ok := at(i)
		if !ok {
			all = false
			e.codes = append(e.codes, 0)
			continue
		}
		if code == 0 || table[code-1] != s {
			known := false
			if code, known = e.codeOf[s]; !known {
				if len(table) == 255 {
					return nil, false
				}
				table = append(table, s)
				code = byte(len(table))
				e.codeOf[s] = code
			}
		}
		e.codes = append(e.codes, code)
	}
	return table, all
}

// fields encodes the columns of the fields.
func (e *blockEncoder) fields(records []Record) {
	names, order := e.names(records)
	own := order[:min(len(order), maxColumns)]
	columns := make([]int, len(order)) // of each name; -1: none of its own
	for i := range columns {
		columns[i] = -1
	}
	for i, name := range own {
		columns[name] = i
	}
	e.cells = slices.Grow(e.cells[:0], len(own)*len(records))[:len(own)*len(records)]
	clear(e.cells)
	places := e.places
	for i := range records {
		for j := range records[i].Fields {
			if c := columns[places[j]]; c >= 0 {
				if cell := &e.cells[c*len(records)+i]; *cell == nil {
					*cell = &records[i].Fields[j].Value
				}
			}
		}
		places = places[len(records[i].Fields):]
	}
	for i, name := range own {
		cells := e.cells[i*len(records):][:len(records)]
		e.strings("="+names[name], len(records), func(i int) (string, bool) {
			if cells[i] == nil {
				return "", false
			}
			return *cells[i], true
		})
	}
	if len(order) > len(own) {
		e.more(records, columns)
	}
	clear(e.cells) // so that it does not keep the records
}

// names returns the names of the records' fields, and their places in order of how often they are there. The place of the name of each
// field is left in places.
func (e *blockEncoder) names(records []Record) (names []string, order []int) {
	var t table
	var counts []int
	e.places = e.places[:0]
	for i := range records {
		t.last = -1
		for j := range records[i].Fields {
			at := t.place(records[i].Fields[j].Name)
			if at == len(counts) {
				counts = append(counts, 0)
			}
			counts[at]++
			e.places = append(e.places, int32(at))
		}
	}
	order = make([]int, len(t.all))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(counts[b]-counts[a], strings.Compare(t.all[a], t.all[b]))
	})
	return t.all, order
}

// more encodes the fields that have no column of their own.
func (e *blockEncoder) more(records []Record, columns []int) {
	more := make([]string, len(records))
	places := e.places
	for i := range records {
		var b []byte
		for j := range records[i].Fields {
			if f := &records[i].Fields[j]; columns[places[j]] < 0 {
				b = appendString(appendString(b, f.Name), f.Value)
			}
		}
		more[i] = string(b)
		places = places[len(records[i].Fields):]
	}
	e.strings(columnMore, len(records), func(i int) (string, bool) { return more[i], true })
}
