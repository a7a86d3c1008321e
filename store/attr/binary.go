package attr

import (
	"encoding/binary"
	"errors"
	"unsafe"
)

// ErrCorrupt is what decoding stored bytes fails with that no item was encoded to.
var ErrCorrupt = errors.New("attr: these bytes are no item")

// trueBit of the byte that says the kind is a Bool's value.
const trueBit = 0x80

// maxNesting of what is decoded, above what requests may have.
const maxNesting = 64

// AppendItem appends an item in the compact form: the number of attributes, then of each its name and value.
func AppendItem(dst []byte, it Item) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(it)))
	for _, f := range it {
		dst = AppendText(dst, f.Name)
		dst = AppendValue(dst, f.Value)
	}
	return dst
}

// AppendText appends a length and bytes.
func AppendText(dst []byte, text string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

// AppendValue appends a value in the compact form.
func AppendValue(dst []byte, v Value) []byte {
	switch v.Kind {
	case Bool:
		if v.Bool {
			return append(dst, byte(Bool)|trueBit)
		}
		return append(dst, byte(Bool))
	case String, Number, Binary:
		return AppendText(append(dst, byte(v.Kind)), v.Text)
	case Map:
		return AppendItem(append(dst, byte(Map)), v.Map)
	case List:
		dst = binary.AppendUvarint(append(dst, byte(List)), uint64(len(v.List)))
		for _, m := range v.List {
			dst = AppendValue(dst, m)
		}
	case StringSet, NumberSet, BinarySet:
		dst = binary.AppendUvarint(append(dst, byte(v.Kind)), uint64(len(v.List)))
		for _, m := range v.List {
			dst = AppendText(dst, m.Text)
		}
	default:
		dst = append(dst, byte(v.Kind))
	}
	return dst
}

// Reader takes the compact form apart. After an error all it returns is empty.
type Reader struct {
	b   []byte
	err error
}

// NewReader reads from b. What is read shares its memory.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Err is ErrCorrupt once something could not be read.
func (r *Reader) Err() error { return r.err }

// Rest is what has not been read.
func (r *Reader) Rest() []byte { return r.b }

// Fail makes what was read an error, also for who knows more of it.
func (r *Reader) Fail() { r.b, r.err = nil, ErrCorrupt }

// Room is for how many of so many things that a Count announces memory is taken before they are read.
func Room(count int) int { return min(count, 128) }

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if len(r.b) == 0 {
		r.Fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

// Uint reads a number of variable length.
func (r *Reader) Uint() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.Fail()
		return 0
	}
	r.b = r.b[size:]
	return n
}

// Int reads a signed number of variable length.
func (r *Reader) Int() int64 {
	n, size := binary.Varint(r.b)
	if size <= 0 {
		r.Fail()
		return 0
	}
	r.b = r.b[size:]
	return n
}

// Fixed reads a number of 8 bytes.
func (r *Reader) Fixed() uint64 {
	if len(r.b) < 8 {
		r.Fail()
		return 0
	}
	n := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return n
}

// Count reads the number of things of which each takes at least one byte.
func (r *Reader) Count() int {
	n := r.Uint()
	if n > uint64(len(r.b)) {
		r.Fail()
		return 0
	}
	return int(n)
}

// Text reads a length and bytes.
func (r *Reader) Text() string {
	n := r.Count()
	if n == 0 {
		return ""
	}
	s := unsafe.String(&r.b[0], n)
	r.b = r.b[n:]
	return s
}

// Bytes reads a length and bytes.
func (r *Reader) Bytes() []byte {
	n := r.Count()
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

// Head reads the kind of a value, and of a Bool which it is.
func (r *Reader) Head() (kind Kind, yes bool) {
	c := r.Byte()
	if kind = Kind(c &^ trueBit); kind == None || kind > BinarySet {
		r.Fail()
		return None, false
	}
	return kind, c&trueBit != 0
}

// Item reads an item.
func (r *Reader) Item() Item { return r.item(0) }

// Value reads a value.
func (r *Reader) Value() Value { return r.value(0) }

func (r *Reader) item(depth int) Item {
	n := r.Count()
	it := make(Item, 0, Room(n))
	for range n {
		name := r.Text()
		it = append(it, Field{name, r.value(depth)})
		if r.err != nil {
			return nil
		}
	}
	return it
}

func (r *Reader) value(depth int) Value {
	c := r.Byte()
	v := Value{Kind: Kind(c &^ trueBit), Bool: c&trueBit != 0}
	switch v.Kind {
	case Bool, Null:
	case String, Number, Binary:
		v.Text = r.Text()
	case Map, List:
		if depth >= maxNesting {
			r.Fail()
			return Value{}
		}
		if v.Kind == Map {
			v.Map = r.item(depth + 1)
			break
		}
		n := r.Count()
		v.List = make([]Value, 0, Room(n))
		for range n {
			v.List = append(v.List, r.value(depth+1))
			if r.err != nil {
				return Value{}
			}
		}
	case StringSet, NumberSet, BinarySet:
		n := r.Count()
		v.List = make([]Value, 0, Room(n))
		for range n {
			v.List = append(v.List, Value{Kind: v.Kind.Element(), Text: r.Text()})
			if r.err != nil {
				return Value{}
			}
		}
	default:
		r.Fail()
	}
	if r.err != nil {
		return Value{}
	}
	return v
}

// DecodeItem reads an item that shares the memory of b.
func DecodeItem(b []byte) (Item, error) {
	r := Reader{b: b}
	it := r.Item()
	if r.err == nil && len(r.b) > 0 {
		r.Fail()
	}
	return it, r.err
}
