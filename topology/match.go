package topology

import (
	"net/textproto"
	"net/url"
	"strings"
)

// Parts gives the router what only some routes look at, so that it is not taken apart for the others. Each returns the
// first value of the name, and whether there is one; names of headers are in canonical form, and Host is one of them.
type Parts interface {
	Header(name string) (value string, ok bool)
	Cookie(name string) (value string, ok bool)
	Query(name string) (value string, ok bool)
}

// condition is one part of a Match, ready to be compared.
type condition struct {
	from   byte // 'h'eader, 'c'ookie or 'q'uery
	name   string
	value  string
	prefix bool
}

func (c *condition) holds(p Parts) bool {
	var got string
	var ok bool
	switch c.from {
	case 'h':
		got, ok = p.Header(c.name)
	case 'c':
		got, ok = p.Cookie(c.name)
	default:
		got, ok = p.Query(c.name)
	}
	return ok && (got == c.value || c.prefix && strings.HasPrefix(got, c.value))
}

// conditions of a Match, headers first, each kind by name.
func (m *Match) conditions() []condition {
	if m == nil {
		return nil
	}
	var out []condition
	add := func(from byte, values map[string]string) {
		for _, name := range sortedKeys(values) {
			value, prefix := strings.CutSuffix(values[name], "*")
			if from == 'h' {
				name = textproto.CanonicalMIMEHeaderKey(name)
			}
			out = append(out, condition{from, name, value, prefix})
		}
	}
	add('h', m.Headers)
	add('c', m.Cookies)
	add('q', m.Query)
	return out
}

// key tells matches apart.
func (m *Match) key() string {
	var b strings.Builder
	for _, c := range m.conditions() {
		b.WriteString("\x00" + string(c.from) + c.name + "\x01" + c.value)
		if c.prefix {
			b.WriteString("*")
		}
	}
	return b.String()
}

// Parts returns what routes may look at in the request of a step. Variables stand for themselves.
func (s *Step) Parts() Parts { return stepParts{s} }

type stepParts struct{ step *Step }

func (p stepParts) Header(name string) (string, bool) {
	for _, key := range sortedKeys(p.step.Headers) {
		if strings.EqualFold(key, name) {
			return p.step.Headers[key], true
		}
	}
	return "", false
}

func (p stepParts) Cookie(name string) (string, bool) {
	line, _ := p.Header("Cookie")
	return CookieValue(line, name)
}

func (p stepParts) Query(name string) (string, bool) {
	_, query, _ := strings.Cut(p.step.Path, "?")
	query, _, _ = strings.Cut(query, "#")
	return QueryValue(query, name)
}

// CookieValue returns the first cookie of the name in a Cookie header.
func CookieValue(line, name string) (value string, ok bool) {
	for line != "" {
		var pair string
		pair, line, _ = strings.Cut(line, ";")
		if key, value, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && key == name {
			return strings.Trim(value, `"`), true
		}
	}
	return "", false
}

// QueryValue returns the first parameter of the name in a query, decoded; what is not validly encoded stays as it is.
func QueryValue(query, name string) (value string, ok bool) {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(pair, "=")
		if decodedPart(key) == name {
			return decodedPart(value), true
		}
	}
	return "", false
}

func decodedPart(part string) string {
	if !strings.ContainsAny(part, "%+") {
		return part
	}
	if text, err := url.QueryUnescape(part); err == nil {
		return text
	}
	return part
}
