package segment

import (
	"encoding/binary"
	"hash/crc32"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// block is a stored block that is read. Columns are unpacked when they are first asked for. It is used by one goroutine.
type block struct {
	rows    int
	streams []*Stream // of the segment
	columns map[string]*stored
	order   []string // names of the columns of fields
	times   []int64
	numbers []uint64
	place   []*Stream // of each row
	err     error     // a column makes no sense, although its checksum fits
}

type stored struct {
	data     []byte
	length   int
	unpacked *cells
}

// unpack decodes zstd; safe for use by many goroutines.
var unpack = func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxColumnBytes))
	if err != nil {
		panic(err) // of constant options
	}
	return d
}()

// openBlock reads the directory and the columns of numbers.
func openBlock(data []byte, streams []*Stream) (*block, error) {
	if len(data) < 8 {
		return nil, errBlock
	}
	n := binary.LittleEndian.Uint32(data)
	if uint64(n) > uint64(len(data)-8) {
		return nil, errBlock
	}
	dir, body := data[8:8+n], data[8+n:]
	if crc32.Checksum(dir, castagnoli) != binary.LittleEndian.Uint32(data[4:]) {
		return nil, errBlock
	}
	d := &batchReader{rest: string(dir)}
	b := &block{streams: streams, columns: map[string]*stored{}}
	b.rows = int(d.uint())
	for range d.length(7) {
		name, size := d.string(), d.uint()
		if size > uint64(len(body)) || len(d.rest) < 4 {
			return nil, errBlock
		}
		c := &stored{data: body[:size]}
		// All are checked at once: a row must not be given before it is known that the whole of it can be read.
		if crc32.Checksum(c.data, castagnoli) != binary.LittleEndian.Uint32([]byte(d.rest[:4])) {
			return nil, errBlock
		}
		d.rest, body = d.rest[4:], body[size:]
		c.length = int(d.uint())
		b.columns[name] = c
		if strings.HasPrefix(name, "=") {
			b.order = append(b.order, name[1:])
		}
	}
	if d.bad || b.rows > blockRows || b.rows < 0 || !b.readNumbers() {
		return nil, errBlock
	}
	return b, nil
}

// raw is a column's bytes.
func (b *block) raw(name string) (string, bool) {
	c := b.columns[name]
	if c == nil {
		return "", false
	}
	if c.length == 0 {
		return string(c.data), true
	}
	if c.length > maxColumnBytes {
		return "", false
	}
	data, err := unpack.DecodeAll(c.data, make([]byte, 0, c.length))
	if err != nil || len(data) != c.length {
		return "", false
	}
	return string(data), true
}

func (b *block) readNumbers() bool {
	times, ok1 := b.raw(columnTimes)
	numbers, ok2 := b.raw(columnNumbers)
	streams, ok3 := b.raw(columnStreams)
	if !ok1 || !ok2 || !ok3 {
		return false
	}
	b.times, b.numbers, b.place = make([]int64, b.rows), make([]uint64, b.rows), make([]*Stream, 0, b.rows)
	t, n, s := &batchReader{rest: times}, &batchReader{rest: numbers}, &batchReader{rest: streams}
	at, number := int64(0), int64(0)
	for i := range b.rows {
		at += unzigzag(t.uint())
		number += unzigzag(n.uint())
		b.times[i], b.numbers[i] = at, uint64(number)
	}
	for s.rest != "" && !s.bad {
		place, count := s.uint(), s.uint()
		if place >= uint64(len(b.streams)) || count > uint64(b.rows-len(b.place)) {
			return false
		}
		for range count {
			b.place = append(b.place, b.streams[place])
		}
	}
	return !t.bad && !n.bad && !s.bad && len(b.place) == b.rows
}

// cells are the values of a column.
type cells struct {
	always *string // every row's
	table  []string
	index  string   // of the table
	ends   []uint32 // plain: where each row's value ends
	has    []bool
	text   string
}

func (c *cells) at(i int) (string, bool) {
	switch {
	case c.always != nil:
		return *c.always, true
	case c.ends != nil:
		begin := uint32(0)
		if i > 0 {
			begin = c.ends[i-1]
		}
		return c.text[begin:c.ends[i]], c.has[i]
	}
	if n := c.index[i]; n > 0 {
		return c.table[n-1], true
	}
	return "", false
}

// column unpacks a column of strings; nil if there is none of the name. A damaged one is an error of the block, and none.
func (b *block) column(name string) *cells {
	s := b.columns[name]
	if s == nil {
		return nil
	}
	if s.unpacked != nil {
		return s.unpacked
	}
	raw, ok := b.raw(name)
	c := parseCells(raw, b.rows)
	if !ok || c == nil {
		b.err = errBlock
		delete(b.columns, name)
		return nil
	}
	s.unpacked = c
	return c
}

func parseCells(raw string, rows int) *cells {
	if raw == "" {
		return nil
	}
	c, d := &cells{}, &batchReader{rest: raw[1:]}
	switch raw[0] {
	case kindConst:
		s := d.string()
		c.always = &s
		if d.bad || d.rest != "" {
			return nil
		}
		return c
	case kindTable:
		c.table = d.table()
		c.index = d.rest
		if d.bad || len(c.index) != rows {
			return nil
		}
		for i := range rows {
			if int(c.index[i]) > len(c.table) {
				return nil
			}
		}
		return c
	case kindPlain:
		c.ends, c.has = make([]uint32, rows), make([]bool, rows)
		end := uint64(0)
		for i := range rows {
			n := d.uint()
			if c.has[i] = n > 0; n > 0 {
				end += n - 1
			}
			if end > uint64(len(raw)) {
				return nil
			}
			c.ends[i] = uint32(end)
		}
		c.text = d.rest
		if d.bad || uint64(len(c.text)) != end {
			return nil
		}
		return c
	}
	return nil
}

// blockRow is a row of a block.
type blockRow struct {
	*block
	i int
}

func (r *blockRow) Time() int64     { return r.times[r.i] }
func (r *blockRow) Seq() uint64     { return r.numbers[r.i] }
func (r *blockRow) Stream() *Stream { return r.place[r.i] }

func (r *blockRow) Body() string {
	if c := r.column(columnBody); c != nil {
		s, _ := c.at(r.i)
		return s
	}
	return ""
}

func (r *blockRow) Field(name string) (value string, ok bool) {
	if v, ok := r.place[r.i].Get(name); ok {
		return v, true
	}
	if c := r.column("=" + name); c != nil {
		if v, ok := c.at(r.i); ok {
			return v, true
		}
	}
	if r.columns[columnMore] == nil {
		return "", false
	}
	r.Fields(func(n, v string) bool {
		if n == name {
			value, ok = v, true
		}
		return !ok
	})
	return value, ok
}

// Fields gives the fields of the row.
func (r *blockRow) Fields(yield func(name, value string) bool) {
	for _, name := range r.order {
		if c := r.column("=" + name); c != nil {
			if v, ok := c.at(r.i); ok && !yield(name, v) {
				return
			}
		}
	}
	c := r.column(columnMore)
	if c == nil {
		return
	}
	more, _ := c.at(r.i)
	for more != "" {
		name, rest, _ := cutString(more)
		value, rest, ok := cutString(rest)
		if !ok || !yield(name, value) {
			return
		}
		more = rest
	}
}

// Record returns the row in memory of its own.
func (r *blockRow) Record() Record {
	out := Record{Time: r.Time(), Seq: r.Seq(), Stream: r.Stream(), Body: strings.Clone(r.Body())}
	r.Fields(func(name, value string) bool {
		out.Fields = append(out.Fields, Field{Name: strings.Clone(name), Value: strings.Clone(value)})
		return true
	})
	return out
}
