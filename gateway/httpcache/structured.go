package httpcache

import (
	"encoding/base64"
	"errors"
	"strings"
)

// targeted are the response fields that speak to this cache rather than to all (RFC 9213), the first that is there and
// right decides.
var targeted = [...]string{"Banyan-Cache-Control", "Cdn-Cache-Control"}

// parseTargeted reads a targeted field: a Dictionary of RFC 8941. A field that is empty or malformed counts as not being
// there (RFC 9213, 2.1); ok is false then. A directive whose value is of another type than it should be restricts, and
// permits nothing.
func parseTargeted(lines []string) (d directives, ok bool) {
	members, err := parseDictionary(strings.Join(lines, ", "))
	if err != nil || len(members) == 0 {
		return noDirectives(), false
	}
	d = noDirectives()
	for _, m := range members {
		switch m.kind {
		case sfTrue:
			d.add(m.key, "", false, true)
		case sfFalse: // said not to hold
		case sfInteger:
			d.add(m.key, m.text, true, !strings.HasPrefix(m.text, "-"))
		case sfString, sfToken:
			_, isDelta := parseDelta(m.text)
			d.add(m.key, m.text, true, !isDelta)
		default:
			d.add(m.key, "", true, false)
		}
	}
	return d, true
}

type sfKind uint8

const (
	sfTrue sfKind = iota
	sfFalse
	sfInteger
	sfString
	sfToken
	sfOther // decimals, byte sequences, inner lists
)

// sfMember is one member of a dictionary.
type sfMember struct {
	key  string
	kind sfKind
	text string
}

var errStructured = errors.New("not a structured field")

// parseDictionary reads a Dictionary (RFC 8941, 4.2.2). Of members of one key the last counts. Parameters are read, and
// dropped.
func parseDictionary(s string) ([]sfMember, error) {
	p := &sfParser{s: strings.Trim(s, " ")}
	var out []sfMember
	for p.s != "" {
		m := sfMember{}
		var err error
		if m.key, err = p.key(); err != nil {
			return nil, err
		}
		if p.take('=') {
			if m.kind, m.text, err = p.value(); err != nil {
				return nil, err
			}
		}
		if err := p.parameters(); err != nil {
			return nil, err
		}
		replaced := false
		for i := range out {
			if out[i].key == m.key {
				out[i], replaced = m, true
			}
		}
		if !replaced {
			if len(out) == 64 {
				return nil, errStructured
			}
			out = append(out, m)
		}
		p.s = trimLeftOWS(p.s)
		if p.s == "" {
			return out, nil
		}
		if !p.take(',') {
			return nil, errStructured
		}
		if p.s = trimLeftOWS(p.s); p.s == "" {
			return nil, errStructured // a comma at the end
		}
	}
	return out, nil
}

func trimLeftOWS(s string) string { return strings.TrimLeft(s, " \t") }

// sfParser holds what is still to be read.
type sfParser struct{ s string }

func (p *sfParser) take(b byte) bool {
	if p.s != "" && p.s[0] == b {
		p.s = p.s[1:]
		return true
	}
	return false
}

// span takes the longest prefix of bytes that are in.
func (p *sfParser) span(in func(b byte) bool) string {
	i := 0
	for i < len(p.s) && in(p.s[i]) {
		i++
	}
	out := p.s[:i]
	p.s = p.s[i:]
	return out
}

func lower(b byte) bool { return 'a' <= b && b <= 'z' }
func digit(b byte) bool { return '0' <= b && b <= '9' }
func alpha(b byte) bool { return lower(b | 0x20) }

func (p *sfParser) key() (string, error) {
	if p.s == "" || !lower(p.s[0]) && p.s[0] != '*' {
		return "", errStructured
	}
	return p.span(func(b byte) bool { return lower(b) || digit(b) || strings.IndexByte("_-.*", b) >= 0 }), nil
}

// value reads an item without its parameters, or an inner list.
func (p *sfParser) value() (sfKind, string, error) {
	if !p.take('(') {
		return p.bare()
	}
	for {
		p.s = strings.TrimLeft(p.s, " ")
		if p.take(')') {
			return sfOther, "", nil
		}
		if _, _, err := p.bare(); err != nil {
			return 0, "", err
		}
		if err := p.parameters(); err != nil {
			return 0, "", err
		}
		if p.s == "" || p.s[0] != ' ' && p.s[0] != ')' {
			return 0, "", errStructured
		}
	}
}

func (p *sfParser) parameters() error {
	for p.take(';') {
		p.s = strings.TrimLeft(p.s, " ")
		if _, err := p.key(); err != nil {
			return err
		}
		if p.take('=') {
			if _, _, err := p.bare(); err != nil {
				return err
			}
		}
	}
	return nil
}

// bare reads a bare item (RFC 8941, 4.2.3.1).
func (p *sfParser) bare() (sfKind, string, error) {
	if p.s == "" {
		return 0, "", errStructured
	}
	switch b := p.s[0]; {
	case b == '-' || digit(b):
		return p.number()
	case b == '"':
		return p.text()
	case b == '*' || alpha(b):
		return sfToken, p.span(func(b byte) bool { return tokenByte(b) || b == ':' || b == '/' }), nil
	case b == '?':
		p.s = p.s[1:]
		if p.take('1') {
			return sfTrue, "", nil
		}
		if p.take('0') {
			return sfFalse, "", nil
		}
	case b == ':':
		end := strings.IndexByte(p.s[1:], ':')
		if end < 0 {
			break
		}
		if _, err := base64.StdEncoding.DecodeString(p.s[1 : 1+end]); err != nil {
			break
		}
		p.s = p.s[end+2:]
		return sfOther, "", nil
	}
	return 0, "", errStructured
}

func (p *sfParser) number() (sfKind, string, error) {
	sign := ""
	if p.take('-') {
		sign = "-"
	}
	whole := p.span(digit)
	if whole == "" || len(whole) > 15 {
		return 0, "", errStructured
	}
	if !p.take('.') {
		return sfInteger, sign + whole, nil
	}
	if part := p.span(digit); part == "" || len(part) > 3 || len(whole) > 12 {
		return 0, "", errStructured
	}
	return sfOther, "", nil
}

func (p *sfParser) text() (sfKind, string, error) {
	var b strings.Builder
	for i := 1; i < len(p.s); i++ {
		switch c := p.s[i]; {
		case c == '"':
			p.s = p.s[i+1:]
			return sfString, b.String(), nil
		case c == '\\':
			if i++; i == len(p.s) || p.s[i] != '"' && p.s[i] != '\\' {
				return 0, "", errStructured
			}
			b.WriteByte(p.s[i])
		case c < 0x20 || c >= 0x7f:
			return 0, "", errStructured
		default:
			b.WriteByte(c)
		}
	}
	return 0, "", errStructured
}
