package keyspace

import "encoding/binary"

// Pieces takes apart what others wrote: changes, and frames that have some. What is too short makes it Bad, and all that follows
// nothing.
type Pieces struct {
	B   []byte // what is left
	Bad bool
}

// Byte is the next byte.
func (p *Pieces) Byte() byte {
	if len(p.B) == 0 {
		p.Bad = true
		return 0
	}
	v := p.B[0]
	p.B = p.B[1:]
	return v
}

// Number is the next number, of variable length.
func (p *Pieces) Number() uint64 {
	v, n := binary.Uvarint(p.B)
	if n <= 0 {
		p.B, p.Bad = nil, true
		return 0
	}
	p.B = p.B[n:]
	return v
}

// Take is the next n bytes, which are not copied.
func (p *Pieces) Take(n uint64) []byte {
	if n > uint64(len(p.B)) {
		p.B, p.Bad = nil, true
		return nil
	}
	v := p.B[:n:n]
	p.B = p.B[n:]
	return v
}

// Bytes are as many of the next bytes as the number before them says, which are not copied.
func (p *Pieces) Bytes() []byte { return p.Take(p.Number()) }
