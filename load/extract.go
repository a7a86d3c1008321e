package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/banyanhq/banyan/topology"
)

// extraction takes one value from an answer into a variable's slot.
type extraction struct {
	name   string
	slot   int
	path   []string // of a JSON value
	header string
	regex  *regexp.Regexp
}

func compileExtraction(name string, e *topology.Extract) (extraction, error) {
	x := extraction{name: name}
	set := 0
	if e.JSON != "" {
		set++
		x.path = strings.Split(strings.TrimPrefix(e.JSON, "$."), ".")
	}
	if e.Header != "" {
		set++
		x.header = e.Header
	}
	if e.Regex != "" {
		set++
		re, err := regexp.Compile(e.Regex)
		if err != nil {
			return x, fmt.Errorf("extract %s: %w", name, err)
		}
		x.regex = re
	}
	if set != 1 {
		return x, fmt.Errorf("extract %s: want exactly one of json, header and regex", name)
	}
	return x, nil
}

func (x *extraction) needsBody() bool { return x.header == "" }

// fromBody sets v to the value in body; false if it is not there.
func (x *extraction) fromBody(body []byte, v *value) bool {
	if x.regex != nil {
		m := x.regex.FindSubmatchIndex(body)
		switch {
		case m == nil:
			return false
		case len(m) == 2:
			v.text = append(v.text[:0], body[m[0]:m[1]]...)
		case m[2] < 0:
			return false
		default:
			v.text = append(v.text[:0], body[m[2]:m[3]]...)
		}
		v.raw, v.set = false, true
		return true
	}
	raw, err := findJSON(body, x.path)
	if err != nil || len(raw) == 0 || raw[0] == 'n' { // null is no value
		return false
	}
	if raw[0] == '"' {
		if bytes.IndexByte(raw, '\\') < 0 {
			v.text = append(v.text[:0], raw[1:len(raw)-1]...)
		} else {
			var s string
			if json.Unmarshal(raw, &s) != nil {
				return false
			}
			v.text = append(v.text[:0], s...)
		}
		v.raw, v.set = false, true
		return true
	}
	v.text = append(v.text[:0], raw...)
	v.raw, v.set = true, true
	return true
}

var errNotJSON = errors.New("not JSON")

// errAbsent says that well-formed JSON has no value at the path.
var errAbsent = errors.New("no such value")

// findJSON returns the text of the value at path (object keys, and indexes of arrays), the first where a key is
// repeated. What lies before the value is checked, what follows it is not: a long page is read only as far as needed.
func findJSON(data []byte, path []string) ([]byte, error) {
	s := &scanner{data: data}
	s.space()
	for _, key := range path {
		if err := s.enter(key); err != nil {
			return nil, err
		}
	}
	from := s.pos
	if err := s.skip(0); err != nil {
		return nil, err
	}
	return data[from:s.pos], nil
}

// scanner walks over JSON text (RFC 8259) without building values.
type scanner struct {
	data []byte
	pos  int
}

func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// enter goes to the member key of the object, or the element of the array, at which it stands.
func (s *scanner) enter(key string) error {
	open := s.peek()
	index := -1
	switch open {
	case '{':
	case '[':
		n, err := strconv.Atoi(key)
		if err != nil || n < 0 {
			return errAbsent
		}
		index = n
	default:
		return errAbsent
	}
	s.pos++
	s.space()
	if s.peek() == open+2 { // '}' and ']' lie two after their openings in ASCII
		return errAbsent
	}
	for i := 0; ; i++ {
		found := i == index
		if open == '{' {
			from := s.pos
			if err := s.text(); err != nil {
				return err
			}
			found = sameKey(s.data[from:s.pos], key)
			s.space()
			if s.peek() != ':' {
				return errNotJSON
			}
			s.pos++
			s.space()
		}
		if found {
			return nil
		}
		if err := s.skip(0); err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case ',':
			s.pos++
			s.space()
		case open + 2:
			return errAbsent
		default:
			return errNotJSON
		}
	}
}

func sameKey(quoted []byte, key string) bool {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1:len(quoted)-1]) == key
	}
	var s string
	return json.Unmarshal(quoted, &s) == nil && s == key
}

// skip goes past one value.
func (s *scanner) skip(depth int) error {
	if depth > maxJSONDepth {
		return errNotJSON
	}
	switch c := s.peek(); {
	case c == '"':
		return s.text()
	case c == '{' || c == '[':
		return s.skipAll(c, depth)
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	default:
		return s.number()
	}
}

func (s *scanner) skipAll(open byte, depth int) error {
	s.pos++
	s.space()
	if s.peek() == open+2 {
		s.pos++
		return nil
	}
	for {
		if open == '{' {
			if err := s.text(); err != nil {
				return err
			}
			s.space()
			if s.peek() != ':' {
				return errNotJSON
			}
			s.pos++
			s.space()
		}
		if err := s.skip(depth + 1); err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case ',':
			s.pos++
			s.space()
		case open + 2:
			s.pos++
			return nil
		default:
			return errNotJSON
		}
	}
}

func (s *scanner) word(w string) error {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(w)) {
		return errNotJSON
	}
	s.pos += len(w)
	return nil
}

// text goes past a string.
func (s *scanner) text() error {
	if s.peek() != '"' {
		return errNotJSON
	}
	for i := s.pos + 1; i < len(s.data); i++ {
		switch c := s.data[i]; {
		case c == '"':
			s.pos = i + 1
			return nil
		case c < ' ':
			return errNotJSON
		case c == '\\':
			i++
			if i >= len(s.data) {
				return errNotJSON
			}
			if s.data[i] != 'u' {
				if bytes.IndexByte([]byte(`"\/bfnrt`), s.data[i]) < 0 {
					return errNotJSON
				}
				continue
			}
			if i+4 >= len(s.data) {
				return errNotJSON
			}
			for _, h := range s.data[i+1 : i+5] {
				if !isHex(h) {
					return errNotJSON
				}
			}
			i += 4
		}
	}
	return errNotJSON
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// number goes past a number, as strictly as the RFC writes it.
func (s *scanner) number() error {
	if s.peek() == '-' {
		s.pos++
	}
	switch c := s.peek(); {
	case c == '0':
		s.pos++
	case !s.digits():
		return errNotJSON
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return errNotJSON
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return errNotJSON
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	from := s.pos
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.pos++
	}
	return s.pos > from
}
