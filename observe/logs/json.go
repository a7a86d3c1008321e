package logs

import (
	"encoding/json"
	"strings"
)

// Bounds on what is taken out of a line. What is beyond stays in the line, where words are found.
const (
	maxFields = 64
	maxValue  = 8 << 10 // bytes of a field's value
	maxName   = 200     // bytes of a field's name
	maxDepth  = 32      // of JSON; deeper is not read as JSON
)

// jsonFields gives the scalars of a JSON object to emit, those of objects in it with their path: user.id. inText says that the value
// stands in the text word for word. Arrays are given as their text. It reports whether s is one valid JSON object.
func jsonFields(s string, emit func(name, value string, inText bool)) bool {
	p := jsonReader{s: s, emit: emit}
	p.space()
	if !p.object("", 0) {
		return false
	}
	p.space()
	return p.i == len(s)
}

type jsonReader struct {
	s    string
	i    int
	emit func(name, value string, inText bool)
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
			name = path + "." + name
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
	for p.i < len(p.s) && !strings.ContainsRune(" \t\r\n,]}", rune(p.s[p.i])) {
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

// text reads a string; plain says that it stands there as it is, without escapes.
func (p *jsonReader) text() (text string, plain, ok bool) {
	if !p.take('"') {
		return "", false, false
	}
	begin := p.i
	plain = true
	for p.i < len(p.s) {
		switch c := p.s[p.i]; {
		case c == '"':
			p.i++
			if plain {
				return p.s[begin : p.i-1], true, true
			}
			err := json.Unmarshal([]byte(p.s[begin-1:p.i]), &text)
			return text, false, err == nil
		case c == '\\':
			plain = false
			p.i += 2
		case c < ' ':
			return "", false, false
		default:
			p.i++
		}
	}
	return "", false, false
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
