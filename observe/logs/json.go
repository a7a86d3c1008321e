package logs

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds on what is taken out of a line. What is beyond stays in the line, where words are found.
const (
	maxFields = 64
	maxValue  = 8 << 10 // bytes of a field's value
	maxName   = 200     // bytes of a field's name
	maxDepth  = 32      // of JSON; deeper is not read as JSON
)

// jsonReader gives the scalars of a JSON object to emit, those of objects in it with their path: user.id. inText says that the value
// stands in the text word for word. Arrays are given as their text.
type jsonReader struct {
	s     string
	i     int
	emit  func(name, value string, inText bool)
	path  []byte
	names map[string]string // paths that were met
}

const maxNames = 1000 // paths that are remembered

// read reports whether s is one valid JSON object.
func (p *jsonReader) read(s string) bool {
	p.s, p.i = s, 0
	p.space()
	if !p.object("", 0) {
		return false
	}
	p.space()
	return p.i == len(s)
}

// below is the path of a name in an object. Lines have the same paths again and again.
func (p *jsonReader) below(path, name string) string {
	p.path = append(append(append(p.path[:0], path...), '.'), name...)
	if known, ok := p.names[string(p.path)]; ok {
		return known
	}
	joined := string(p.path)
	if len(joined) <= maxName && len(p.names) < maxNames {
		if p.names == nil {
			p.names = map[string]string{}
		}
		p.names[joined] = joined
	}
	return joined
}

func (p *jsonReader) space() {
	for p.i < len(p.s) && (p.s[p.i] == ' ' || p.s[p.i] == '\t' || p.s[p.i] == '\n' || p.s[p.i] == '\r') {
		p.i++
	}
}

func (p *jsonReader) take(c byte) bool {
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

func (p *jsonReader) object(path string, depth int) bool {
	if depth > maxDepth || !p.take('{') {
		return false
	}
	p.space()
	if p.take('}') {
		return true
	}
	for {
		p.space()
		name, _, ok := p.text()
		if !ok {
			return false
		}
		p.space()
		if !p.take(':') {
			return false
		}
		p.space()
		if path != "" {
			name = p.below(path, name)
		}
		if !p.value(name, depth) {
			return false
		}
		p.space()
		if p.take('}') {
			return true
		}
		if !p.take(',') {
			return false
		}
	}
}

// value reads a value and gives it to emit, unless name is "", as in an array.
func (p *jsonReader) value(name string, depth int) bool {
	if p.i >= len(p.s) {
		return false
	}
	begin := p.i
	switch p.s[p.i] {
	case '{':
		if name == "" {
			silent := jsonReader{s: p.s, i: p.i}
			ok := silent.object("", depth+1)
			p.i = silent.i
			return ok
		}
		return p.object(name, depth+1)
	case '[':
		if !p.array(depth + 1) {
			return false
		}
		p.give(name, p.s[begin:p.i], true)
		return true
	case '"':
		text, plain, ok := p.text()
		if ok {
			p.give(name, text, plain)
		}
		return ok
	}
	for p.i < len(p.s) && !endsWord(p.s[p.i]) {
		p.i++
	}
	word := p.s[begin:p.i]
	switch word {
	case "null":
		return true
	case "true", "false":
	default:
		if !jsonNumber(word) {
			return false
		}
	}
	p.give(name, word, true)
	return true
}

func (p *jsonReader) give(name, value string, inText bool) {
	if p.emit != nil && name != "" {
		p.emit(name, value, inText)
	}
}

func (p *jsonReader) array(depth int) bool {
	if depth > maxDepth || !p.take('[') {
		return false
	}
	p.space()
	if p.take(']') {
		return true
	}
	for {
		p.space()
		if !p.value("", depth) {
			return false
		}
		p.space()
		if p.take(']') {
			return true
		}
		if !p.take(',') {
			return false
		}
	}
}

func endsWord(c byte) bool {
	return c == ',' || c == '}' || c == ']' || c == ' ' || c == '\t' || c == '\r' || c == '\n'
}

// text reads a string; plain says that it stands there as it is, without escapes.
func (p *jsonReader) text() (text string, plain, ok bool) {
	if !p.take('"') {
		return "", false, false
	}
	begin := p.i
	for p.i < len(p.s) {
		switch c := p.s[p.i]; {
		case c == '"':
			p.i++
			return p.s[begin : p.i-1], true, true
		case c == '\\':
			text, ok = p.escaped(begin)
			return text, false, ok
		case c < ' ':
			return "", false, false
		}
		p.i++
	}
	return "", false, false
}

// escaped reads on a string that began at begin, from its first backslash.
func (p *jsonReader) escaped(begin int) (string, bool) {
	end := p.i
	for end < len(p.s) && p.s[end] != '"' {
		if p.s[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(p.s) {
		return "", false
	}
	var b strings.Builder
	b.Grow(end - begin)
	b.WriteString(p.s[begin:p.i])
	for rest := p.s[p.i:end]; rest != ""; {
		n := 0
		for n < len(rest) && rest[n] != '\\' {
			if rest[n] < ' ' {
				return "", false
			}
			n++
		}
		b.WriteString(rest[:n])
		if rest = rest[n:]; rest == "" {
			break
		}
		if rest[1] != 'u' {
			c := unescaped(rest[1])
			if c == 0 {
				return "", false
			}
			b.WriteByte(c)
			rest = rest[2:]
			continue
		}
		r, size := escapedRune(rest)
		if size == 0 {
			return "", false
		}
		b.WriteRune(r)
		rest = rest[size:]
	}
	p.i = end + 1
	return b.String(), true
}

// unescaped is what a backslash and c stand for; 0: nothing.
func unescaped(c byte) byte {
	switch c {
	case '"', '\\', '/':
		return c
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return 0
}

// escapedRune reads the \uXXXX that s begins with, or two that are one character; half of such a pair is U+FFFD. size 0: it is none.
func escapedRune(s string) (r rune, size int) {
	first, ok := hex4(s)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(first) {
		return first, 6
	}
	if second, ok := hex4(s[6:]); ok {
		if r := utf16.DecodeRune(first, second); r != utf8.RuneError {
			return r, 12
		}
	}
	return utf8.RuneError, 6
}

// hex4 reads the \uXXXX that s begins with.
func hex4(s string) (r rune, ok bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(s[2:6], 16, 16)
	return rune(n), err == nil
}

// jsonNumber reports whether s is a number by JSON's grammar.
func jsonNumber(s string) bool {
	i := 0
	digits := func() bool {
		begin := i
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		return i > begin
	}
	if strings.HasPrefix(s, "-") {
		i++
	}
	if first := i; !digits() || s[first] == '0' && i > first+1 {
		return false
	}
	if i < len(s) && s[i] == '.' {
		i++
		if !digits() {
			return false
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if !digits() {
			return false
		}
	}
	return i == len(s)
}
