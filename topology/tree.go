package topology

import (
	"slices"
	"strconv"
	"strings"
)

// kind of a node.
type kind uint8

const (
	nullKind kind = iota
	boolKind
	numberKind
	stringKind
	listKind
	mapKind
	brokenKind // what was wrong with it has been said
)

// node is a value of the file with its place. Trees are read only: aliases and overlays share them.
type node struct {
	kind    kind
	text    string  // of a scalar: as it was written, without quotes
	items   []*node // of a list
	entries []entry // of a map: no key twice
	at      position
	size    int // nodes in the tree below and including this one, each alias counted in full
}

type entry struct {
	key   string
	keyAt position
	value *node
}

// position in a source.
type position struct {
	file         int // index of the source
	line, column int // from 1
}

func (n *node) isScalar() bool { return n.kind < listKind }

// get returns the entry of a key, nil if there is none or the node is no map.
func (n *node) get(key string) *entry {
	if n == nil || n.kind != mapKind {
		return nil
	}
	for i := range n.entries {
		if n.entries[i].key == key {
			return &n.entries[i]
		}
	}
	return nil
}

// describe says what a node is, for messages.
func (n *node) describe() string {
	switch n.kind {
	case nullKind:
		return "nothing"
	case listKind:
		return "a list"
	case mapKind:
		return "a map"
	case stringKind:
		return quoteFound(n.text)
	default:
		return firstBytes(n.text, 60)
	}
}

// scalarKind says what a plain (unquoted) scalar is: YAML 1.2's core schema, with decimal numbers only. Numbers with
// units are strings here; the field that they stand in knows how to read them.
func scalarKind(text string) kind {
	switch text {
	case "", "~", "null", "Null", "NULL":
		return nullKind
	case "true", "True", "TRUE", "false", "False", "FALSE":
		return boolKind
	}
	num, rest := splitNumber(strings.TrimPrefix(strings.TrimPrefix(text, "-"), "+"), true)
	if num != "" && rest == "" && !strings.HasPrefix(text, "-+") {
		return numberKind
	}
	return stringKind
}

// path of a field: services.web.replicas, routes[0].to, demands["POST /checkout"].web.
type path struct {
	parent *path
	key    string
	index  int // of a list item, -1 for a key
}

func (p *path) child(key string) *path { return &path{p, key, -1} }
func (p *path) item(i int) *path       { return &path{p, "", i} }

func (p *path) String() string {
	var parts []string
	for ; p != nil; p = p.parent {
		switch {
		case p.index >= 0:
			parts = append(parts, "["+strconv.Itoa(p.index)+"]")
		case p.key == "" || strings.ContainsAny(p.key, " .[]\"'\\:\t\n\r") || len(p.key) > 80:
			parts = append(parts, "["+quoteFound(p.key)+"]")
		case p.parent == nil:
			parts = append(parts, p.key)
		default:
			parts = append(parts, "."+p.key)
		}
	}
	slices.Reverse(parts)
	return strings.Join(parts, "")
}

// spot is a place in the tree with its path. Where the file says nothing, it is the nearest place around it.
type spot struct {
	node *node // nil where the file says nothing
	at   position
	path *path
}

// child returns the spot of a key.
func (s spot) child(key string) spot {
	if e := s.node.get(key); e != nil && e.value.kind != nullKind {
		return spot{e.value, e.value.at, s.path.child(key)}
	}
	return spot{nil, s.at, s.path.child(key)}
}

// name returns the spot of the key itself rather than that of its value.
func (s spot) name(key string) spot {
	c := s.child(key)
	if e := s.node.get(key); e != nil {
		c.at = e.keyAt
	}
	return c
}

// item returns the spot of an item; a scalar is a list of one.
func (s spot) item(i int) spot {
	c := spot{nil, s.at, s.path.item(i)}
	switch {
	case s.node == nil:
	case s.node.kind == listKind && i < len(s.node.items):
		c.node, c.at = s.node.items[i], s.node.items[i].at
	case s.node.isScalar():
		c.node, c.path = s.node, s.path
	}
	return c
}
