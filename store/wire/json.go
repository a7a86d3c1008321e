// Package wire reads and writes the JSON that DynamoDB's clients speak, without reflection: a strict reader that says where a
// value has the wrong type in DynamoDB's own words, attribute values to and from their compact form, and appending writers.
//
// What is read may share memory with the text it was read from: the text stays unchanged as long as that is used.
package wire

import (
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// maxDepth of objects and arrays in a request, far above what values may have.
const maxDepth = 128

// SyntaxError says that a request is no JSON, or that a value has the wrong type; the text is DynamoDB's, and may be empty.
type SyntaxError struct{ Message string }

func (e *SyntaxError) Error() string { return e.Message }

var errSyntax = &SyntaxError{}

// Reader reads one JSON text from the beginning to the end.
type Reader struct {
	data  []byte
	pos   int
	depth int
}

// NewReader reads data.
func NewReader(data []byte) *Reader { return &Reader{data: data} }

func (r *Reader) space() {
	for r.pos < len(r.data) {
		switch r.data[r.pos] {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return
		}
	}
}

// peek is the first byte of the next value, 0 at the end.
func (r *Reader) peek() byte {
	r.space()
	if r.pos == len(r.data) {
		return 0
	}
	return r.data[r.pos]
}

// End fails if anything follows.
func (r *Reader) End() error {
	if r.peek() != 0 || r.pos != len(r.data) {
		return errSyntax
	}
	return nil
}

// Null says whether the next value is null, and if so goes on behind it.
func (r *Reader) Null() bool {
	if r.peek() == 'n' && r.literal("null") {
		return true
	}
	return false
}

func (r *Reader) literal(word string) bool {
	if len(r.data)-r.pos >= len(word) && string(r.data[r.pos:r.pos+len(word)]) == word {
		r.pos += len(word)
		return true
	}
	return false
}

// Object reads an object and calls visit for each key, which reads the value. expected is what is said of another value.
func (r *Reader) Object(expected string, visit func(key string) error) error {
	if r.peek() != '{' {
		return r.mismatch(expected)
	}
	if r.depth++; r.depth > maxDepth {
		return errSyntax
	}
	r.pos++
	if r.peek() == '}' {
		r.pos++
		r.depth--
		return nil
	}
	for {
		if r.peek() != '"' {
			return errSyntax
		}
		key, err := r.text()
		if err != nil {
			return err
		}
		if r.peek() != ':' {
			return errSyntax
		}
		r.pos++
		if err := visit(key); err != nil {
			return err
		}
		switch r.peek() {
		case ',':
			r.pos++
		case '}':
			r.pos++
			r.depth--
			return nil
		default:
			return errSyntax
		}
	}
}

// Array reads an array and calls visit for each element, which reads it.
func (r *Reader) Array(visit func(i int) error) error {
	if r.peek() != '[' {
		return r.mismatch("Unexpected field type")
	}
	if r.depth++; r.depth > maxDepth {
		return errSyntax
	}
	r.pos++
	if r.peek() == ']' {
		r.pos++
		r.depth--
		return nil
	}
	for i := 0; ; i++ {
		if err := visit(i); err != nil {
			return err
		}
		switch r.peek() {
		case ',':
			r.pos++
		case ']':
			r.pos++
			r.depth--
			return nil
		default:
			return errSyntax
		}
	}
}

// mismatch is the error for a value whose type is not the expected one.
func (r *Reader) mismatch(expected string) error {
	start := r.peek()
	if err := r.Skip(); err != nil {
		return err
	}
	switch start {
	case '{':
		return &SyntaxError{"Start of structure or map found where not expected"}
	case '[':
		return &SyntaxError{"Start of list found where not expected"}
	}
	return &SyntaxError{expected}
}

// scalarMismatch is the error for a value that is not convertible to a scalar.
func (r *Reader) scalarMismatch(to string) error {
	switch c := r.peek(); {
	case c == '"':
		return r.mismatch("STRING_VALUE cannot be converted to " + to)
	case c == 't':
		return r.mismatch("TRUE_VALUE cannot be converted to " + to)
	case c == 'f':
		return r.mismatch("FALSE_VALUE cannot be converted to " + to)
	case c == '-' || (c >= '0' && c <= '9'):
		return r.mismatch("NUMBER_VALUE cannot be converted to " + to)
	}
	return r.mismatch("")
}

// String reads a string.
func (r *Reader) String() (string, error) {
	if r.peek() != '"' {
		return "", r.scalarMismatch("String")
	}
	return r.text()
}

// Bool reads a boolean.
func (r *Reader) Bool() (bool, error) {
	switch c := r.peek(); {
	case c == 't' && r.literal("true"):
		return true, nil
	case c == 'f' && r.literal("false"):
		return false, nil
	}
	return false, r.scalarMismatch("Boolean")
}

// Int reads an integer; a fraction is cut off.
func (r *Reader) Int() (int64, error) {
	c := r.peek()
	if c != '-' && (c < '0' || c > '9') {
		return 0, r.scalarMismatch("Integer")
	}
	text, err := r.number()
	if err != nil {
		return 0, err
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.Abs(f) >= 1<<62 {
		return 0, &SyntaxError{"NUMBER_VALUE cannot be converted to Integer"}
	}
	return int64(f), nil
}

// number reads a number by JSON's grammar.
func (r *Reader) number() (string, error) {
	start := r.pos
	digits := func() bool {
		from := r.pos
		for r.pos < len(r.data) && r.data[r.pos] >= '0' && r.data[r.pos] <= '9' {
			r.pos++
		}
		return r.pos > from
	}
	at := func(chars string) bool {
		for i := range len(chars) {
			if r.pos < len(r.data) && r.data[r.pos] == chars[i] {
				r.pos++
				return true
			}
		}
		return false
	}
	at("-")
	if !at("0") && !digits() {
		return "", errSyntax
	}
	if at(".") && !digits() {
		return "", errSyntax
	}
	if at("eE") {
		at("+-")
		if !digits() {
			return "", errSyntax
		}
	}
	return alias(r.data[start:r.pos]), nil
}

// text reads a string literal.
func (r *Reader) text() (string, error) {
	r.pos++
	rest := alias(r.data[r.pos:])
	end := skipPlain(rest, 0)
	switch {
	case end < len(rest) && rest[end] == '\\':
		return r.escaped(r.pos, r.pos+end)
	case end == len(rest) || rest[end] != '"' || !utf8.ValidString(rest[:end]):
		return "", errSyntax
	}
	r.pos += end + 1
	return rest[:end], nil
}

// escaped reads on a string literal that began at start and has its first escape at i.
func (r *Reader) escaped(start, i int) (string, error) {
	out := append(make([]byte, 0, i-start+32), r.data[start:i]...)
	for i < len(r.data) {
		c := r.data[i]
		switch {
		case c == '"':
			r.pos = i + 1
			if !utf8.Valid(out) {
				return "", errSyntax
			}
			return alias(out), nil
		case c < ' ':
			return "", errSyntax
		case c != '\\':
			out = append(out, c)
			i++
			continue
		}
		if i+1 >= len(r.data) {
			return "", errSyntax
		}
		switch e := r.data[i+1]; e {
		case '"', '\\', '/':
			out = append(out, e)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			u, ok := hex4(r.data[i+2:])
			if !ok {
				return "", errSyntax
			}
			i += 4
			if utf16.IsSurrogate(u) {
				low := rune(0)
				if len(r.data) > i+4 && r.data[i+2] == '\\' && r.data[i+3] == 'u' {
					low, _ = hex4(r.data[i+4:])
				}
				if u = utf16.DecodeRune(u, low); u == utf8.RuneError {
					return "", errSyntax // half a pair is no character, and could not be stored as UTF-8
				}
				i += 6
			}
			out = utf8.AppendRune(out, u)
		default:
			return "", errSyntax
		}
		i += 2
	}
	return "", errSyntax
}

func hex4(b []byte) (u rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[:4]), 16, 16)
	return rune(n), err == nil
}

// Skip reads any value and forgets it.
func (r *Reader) Skip() error {
	switch c := r.peek(); {
	case c == '{':
		return r.Object("", func(string) error { return r.Skip() })
	case c == '[':
		return r.Array(func(int) error { return r.Skip() })
	case c == '"':
		_, err := r.text()
		return err
	case c == '-' || (c >= '0' && c <= '9'):
		_, err := r.number()
		return err
	case r.literal("true") || r.literal("false") || r.literal("null"):
		return nil
	}
	return errSyntax
}

// Raw reads any value and returns its text.
func (r *Reader) Raw() ([]byte, error) {
	r.space()
	start := r.pos
	err := r.Skip()
	return r.data[start:r.pos], err
}

func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
