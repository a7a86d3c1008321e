package wire

import (
	"encoding/base64"
	"encoding/binary"
	"unicode/utf8"
	"unsafe"

	"github.com/banyanhq/banyan/store/attr"
)

// plain says which bytes stand for themselves in a JSON string.
var plain = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return t
}()

// skipPlain is the first position from i on where s has a byte that does not stand for itself, or len(s). It looks at eight at once.
func skipPlain(s string, i int) int {
	for ; i+8 <= len(s); i += 8 {
		if special(eight(s[i:]))&highs != 0 {
			break
		}
	}
	for i < len(s) && plain[s[i]] {
		i++
	}
	return i
}

const (
	lows  = 0x0101010101010101
	highs = 0x8080808080808080
)

// eight are the first eight bytes of s, the first one lowest.
func eight(s string) uint64 {
	return binary.LittleEndian.Uint64(unsafe.Slice(unsafe.StringData(s), len(s)))
}

// special has the highest bit of any of eight bytes set where one of them is below a space, a quote or a backslash, and of none if
// there is none (S. E. Anderson, Bit Twiddling Hacks: hasless and haszero). What else it has set means nothing.
func special(x uint64) uint64 {
	quote, slash := x^lows*'"', x^lows*'\\'
	return (x-lows*' ')&^x | (quote-lows)&^quote | (slash-lows)&^slash
}

// AppendString appends a JSON string.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := skipPlain(s, 0); i < len(s); i = skipPlain(s, from) {
		dst = append(dst, s[from:i]...)
		from = i + 1
		switch c := s[i]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			const hex = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(dst, s[from:]...), '"')
}

// AppendSafe appends a JSON string of a text that may not be UTF-8.
func AppendSafe(dst []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = string([]rune(s))
	}
	return AppendString(dst, s)
}

func appendBase64(dst []byte, s string) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, []byte(s))
	return append(dst, '"')
}

// AppendItem appends an object of attribute values.
func AppendItem(dst []byte, it attr.Item) []byte {
	dst = append(dst, '{')
	for i, f := range it {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendString(dst, f.Name)
		dst = append(dst, ':')
		dst = AppendValue(dst, f.Value)
	}
	return append(dst, '}')
}

// AppendValue appends an attribute value.
func AppendValue(dst []byte, v attr.Value) []byte {
	dst = append(dst, '{', '"')
	dst = append(dst, v.Kind.String()...)
	dst = append(dst, '"', ':')
	switch v.Kind {
	case attr.Bool:
		if v.Bool {
			dst = append(dst, "true"...)
		} else {
			dst = append(dst, "false"...)
		}
	case attr.Null:
		dst = append(dst, "true"...)
	case attr.Map:
		dst = AppendItem(dst, v.Map)
	case attr.List:
		dst = append(dst, '[')
		for i, m := range v.List {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = AppendValue(dst, m)
		}
		dst = append(dst, ']')
	case attr.StringSet, attr.NumberSet, attr.BinarySet:
		dst = append(dst, '[')
		for i, m := range v.List {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendScalar(dst, m.Kind, m.Text)
		}
		dst = append(dst, ']')
	default:
		dst = appendScalar(dst, v.Kind, v.Text)
	}
	return append(dst, '}')
}

func appendScalar(dst []byte, kind attr.Kind, text string) []byte {
	switch kind {
	case attr.String:
		return AppendString(dst, text)
	case attr.Binary:
		return appendBase64(dst, text)
	}
	dst = append(dst, '"')
	dst = attr.AppendNumber(dst, text)
	return append(dst, '"')
}

// AppendEncoded appends the object of attribute values that an item in the compact form has, without taking it apart.
func AppendEncoded(dst, item []byte) ([]byte, error) {
	r := attr.NewReader(item)
	dst = appendEncodedItem(dst, r)
	if r.Err() == nil && len(r.Rest()) > 0 {
		return dst, attr.ErrCorrupt
	}
	return dst, r.Err()
}

func appendEncodedItem(dst []byte, r *attr.Reader) []byte {
	dst = append(dst, '{')
	for i := range r.Count() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendString(dst, r.Text())
		dst = append(dst, ':')
		if dst = appendEncodedValue(dst, r); r.Err() != nil {
			return dst
		}
	}
	return append(dst, '}')
}

func appendEncodedValue(dst []byte, r *attr.Reader) []byte {
	kind, yes := r.Head()
	if r.Err() != nil {
		return dst
	}
	dst = append(dst, '{', '"')
	dst = append(dst, kind.String()...)
	dst = append(dst, '"', ':')
	switch kind {
	case attr.Bool, attr.Null:
		if yes || kind == attr.Null {
			dst = append(dst, "true"...)
		} else {
			dst = append(dst, "false"...)
		}
	case attr.Map:
		dst = appendEncodedItem(dst, r)
	case attr.List:
		dst = append(dst, '[')
		for i := range r.Count() {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst = appendEncodedValue(dst, r); r.Err() != nil {
				return dst
			}
		}
		dst = append(dst, ']')
	case attr.StringSet, attr.NumberSet, attr.BinarySet:
		dst = append(dst, '[')
		for i := range r.Count() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendScalar(dst, kind.Element(), r.Text())
		}
		dst = append(dst, ']')
	default:
		dst = appendScalar(dst, kind, r.Text())
	}
	return append(dst, '}')
}
