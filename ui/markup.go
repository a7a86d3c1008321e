package ui

import (
	"html"
	"strconv"
)

// markup writes elements. Everything that is put into it is escaped, for names come from the file and messages from services.
type markup struct{ out []byte }

// open begins an element with attributes, each a name and a value.
func (m *markup) open(tag string, attributes ...string) {
	m.out = append(append(m.out, '<'), tag...)
	for i := 0; i+1 < len(attributes); i += 2 {
		m.out = append(append(append(m.out, ' '), attributes[i]...), '=', '"')
		m.out = append(append(m.out, html.EscapeString(attributes[i+1])...), '"')
	}
	m.out = append(m.out, '>')
}

func (m *markup) text(s string) { m.out = append(m.out, html.EscapeString(s)...) }

func (m *markup) close(tags ...string) {
	for _, tag := range tags {
		m.out = append(append(append(m.out, '<', '/'), tag...), '>')
	}
}

// leaf is an element with nothing but text in it.
func (m *markup) leaf(tag, text string, attributes ...string) {
	m.open(tag, attributes...)
	m.text(text)
	m.close(tag)
}

// px writes a length as scripts do.
func px(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
