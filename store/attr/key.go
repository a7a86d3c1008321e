package attr

import (
	"bytes"
	"hash/fnv"
	"strings"
)

// AppendKey appends the encoding of a key attribute. Encodings compare as bytes as the values do, and none is the beginning of
// another, so that several may follow each other. A zero byte of a string is escaped, as 0x00 0xff; its end is 0x00 0x01.
func AppendKey(dst []byte, v Value) []byte {
	if v.Kind == Number {
		return append(dst, v.Text...)
	}
	return append(AppendKeyPrefix(dst, v.Text), 0, 1)
}

// AppendKeyPrefix appends what the encodings of all strings begin with that begin with text.
func AppendKeyPrefix(dst []byte, text string) []byte {
	for {
		i := strings.IndexByte(text, 0)
		if i < 0 {
			return append(dst, text...)
		}
		dst = append(append(dst, text[:i]...), 0, 0xff)
		text = text[i+1:]
	}
}

// CutKey takes the encoding of a key attribute of the kind from the beginning of b; ok is false if b has none.
func CutKey(b []byte, kind Kind) (v Value, rest []byte, ok bool) {
	if kind == Number {
		n := encodedNumber(b)
		if n == 0 {
			return Value{}, nil, false
		}
		return Value{Kind: Number, Text: string(b[:n])}, b[n:], true
	}
	var text []byte
	for {
		i := bytes.IndexByte(b, 0)
		if i < 0 || i+1 >= len(b) {
			return Value{}, nil, false
		}
		text = append(text, b[:i]...)
		switch b[i+1] {
		case 1:
			return Value{Kind: kind, Text: string(text)}, b[i+2:], true
		case 0xff:
			text = append(text, 0)
		default:
			return Value{}, nil, false
		}
		b = b[i+2:]
	}
}

// Hash of a partition key, by which items are spread: FNV-1a of its encoding, mixed so that the high bits, which ranges are cut
// by, depend on all of it (the finalizer of MurmurHash3).
func Hash(encodedKey []byte) uint64 {
	h := fnv.New64a()
	h.Write(encodedKey)
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
