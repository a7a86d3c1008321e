package topology

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of one source. The parser recurses, and takes time quadratic to the anchors of a file, to the keys of a block
// map and to the documents, so these are counted on the tokens before it runs.
const (
	maxFileBytes = 1 << 20
	maxDepth     = 64
	maxAnchors   = 1000
	maxNodes     = 200_000
)

// builder turns a YAML document into a tree, and notes what is wrong with it.
type builder struct {
	file     int
	name     string
	problems *problems
	anchors  map[string]*node
	nodes    int
	full     bool // too many nodes: said once, nothing more is built
}

// parseYAML returns the tree of a source, nil where there is none.
func parseYAML(file int, src Source, ps *problems) (root *node) {
	b := &builder{file: file, name: src.Name, problems: ps, anchors: map[string]*node{}}
	defer func() {
		// The parser is not ours: what makes it stumble is a file that it cannot read, not a crash.
		if r := recover(); r != nil {
			b.say(position{file, 0, 0}, Problem{Message: fmt.Sprintf("the YAML cannot be read (%.80v)", r)})
			root = nil
		}
	}()
	if len(src.Data) > maxFileBytes {
		tooBig := tooLarge(src.Name, int64(len(src.Data)))
		b.say(position{file, 0, 0}, tooBig)
		return nil
	}
	text, ok := b.text(src.Data)
	if !ok {
		return nil
	}
	tokens := lexer.Tokenize(text)
	if !b.bounded(tokens) {
		return nil
	}
	parsed, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		b.syntax(err)
		return nil
	}
	return b.document(parsed)
}

// text returns the source as text with plain line ends, false where it holds none.
func (b *builder) text(data []byte) (string, bool) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		b.say(position{b.file, 1, 1}, Problem{Message: "the file is UTF-16", Expected: "UTF-8"})
		return "", false
	}
	line, column := 1, 1
	for rest := data; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		at := position{b.file, line, column}
		switch {
		case r == utf8.RuneError && n == 1:
			b.say(at, Problem{Found: fmt.Sprintf("the byte 0x%02X", rest[0]), Expected: "text in UTF-8"})
			return "", false
		case r == '\n':
			line, column = line+1, 0
		case r < ' ' && r != '\t' && r != '\r', r >= 0x7f && r < 0xa0 && r != 0x85:
			b.say(at, Problem{Found: fmt.Sprintf("the control character U+%04X", r), Expected: "text"})
			return "", false
		}
		column++
		rest = rest[n:]
	}
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	return string(bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))), true
}

// bounded counts what the parser does not: see the bounds above.
func (b *builder) bounded(tokens token.Tokens) bool {
	flow, nested, anchors, values, entries, line := 0, 0, 0, 0, 0, 0
	var maps []blockMap
	content := false
	for _, tk := range tokens {
		if tk.Position.Line != line {
			line, nested = tk.Position.Line, 0
		}
		problem := Problem{}
		switch tk.Type {
		case token.DocumentHeaderType:
			if content {
				problem = Problem{Message: "a second document begins", Expected: "one document for each file",
					Hint: "give several files as overlays instead"}
			}
		case token.CommentType, token.DirectiveType, token.DocumentEndType, token.CollectEntryType:
		case token.MappingValueType:
			if flow == 0 {
				if maps = countKey(maps, tk); maps[len(maps)-1].keys > maxEntries {
					problem = Problem{Found: fmt.Sprintf("more than %d entries", maxEntries), Expected: fmt.Sprintf("at most %d", maxEntries)}
				}
			}
		case token.SequenceStartType, token.MappingStartType:
			flow++
			values++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType:
			nested++ // several on one line nest, as do several tags
			entries++
		case token.MappingKeyType, token.TagType:
			nested++
		case token.AnchorType:
			nested++
			if anchors++; anchors > maxAnchors {
				problem = Problem{Message: "too many anchors", Expected: fmt.Sprintf("at most %d", maxAnchors)}
			}
		default:
			values++
		}
		content = content || values > 0
		switch {
		case flow+nested > 2*maxDepth:
			b.tooDeep(b.tokenAt(tk))
			return false
		case values > maxNodes || entries > maxNodes:
			problem = tooMuch()
		}
		if problem != (Problem{}) {
			b.say(b.tokenAt(tk), problem)
			return false
		}
	}
	return true
}

// blockMap is a map whose keys stand in a column of their own.
type blockMap struct {
	column, keys int
}

// countKey counts the key before a colon in the map of its column, which ends those further right.
func countKey(maps []blockMap, colon *token.Token) []blockMap {
	column := colon.Position.Column
	if key := colon.Prev; key != nil && key.Position.Line == colon.Position.Line {
		column = key.Position.Column
	}
	for len(maps) > 0 && maps[len(maps)-1].column > column {
		maps = maps[:len(maps)-1]
	}
	if len(maps) == 0 || maps[len(maps)-1].column < column {
		maps = append(maps, blockMap{column: column})
	}
	maps[len(maps)-1].keys++
	return maps
}

func tooMuch() Problem {
	return Problem{Message: "the file holds too much, aliases written out", Expected: fmt.Sprintf("at most %d values", maxNodes)}
}

func (b *builder) tooDeep(at position) {
	b.say(at, Problem{Message: "nested too deeply", Expected: fmt.Sprintf("at most %d levels", maxDepth)})
}

// syntax notes the parser's error.
func (b *builder) syntax(err error) {
	at, message := position{b.file, 0, 0}, ""
	var e yaml.Error
	if errors.As(err, &e) {
		message = e.GetMessage() // Error would show the lines around, in time quadratic to their length
		if tk := e.GetToken(); tk != nil {
			at = b.tokenAt(tk)
		}
	} else {
		message = err.Error()
	}
	message, _, _ = strings.Cut(message, "\n")
	p := Problem{Message: "not YAML: " + firstBytes(message, 200)}
	if strings.Contains(message, `'\t'`) || strings.Contains(message, "'\t'") {
		p.Message, p.Hint = "a tab indents the line", "indent with spaces"
	}
	b.say(at, p)
}

// document returns the tree of the one document that a file may hold.
func (b *builder) document(f *ast.File) *node {
	var body ast.Node
	for _, doc := range f.Docs {
		if doc == nil || doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if doc.Body.Type() == ast.DirectiveType {
			continue
		}
		if body != nil {
			b.say(position{b.file, 0, 0}, Problem{Message: "two documents stand in it", Expected: "one document for each file"})
			return nil
		}
		body = doc.Body
	}
	if body == nil {
		b.say(position{b.file, 1, 1}, Problem{Message: "the file is empty", Expected: "a map that begins with 'system: NAME'"})
		return nil
	}
	root := b.build(body, 0)
	if root.kind == nullKind {
		b.say(root.at, Problem{Message: "the file is empty", Expected: "a map that begins with 'system: NAME'"})
		return nil
	}
	if root.kind != mapKind {
		b.say(root.at, Problem{Found: root.describe(), Expected: "a map that begins with 'system: NAME'"})
		return nil
	}
	if b.full {
		return nil
	}
	return root
}

// build returns the tree of a YAML node.
func (b *builder) build(n ast.Node, depth int) *node {
	if n == nil {
		return &node{size: 1, at: position{b.file, 0, 0}}
	}
	at := position{b.file, 0, 0}
	if tk := n.GetToken(); tk != nil {
		at = b.tokenAt(tk)
	}
	out := &node{at: at, size: 1}
	if depth > maxDepth {
		if !b.full {
			b.tooDeep(at)
		}
		b.full = true
		return out
	}
	if !b.count(1, at) {
		return out
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		if text, ok := plainPairIn(n); ok {
			out.kind, out.text = stringKind, text
			return out
		}
		if n.Start != nil && n.IsFlowStyle {
			out.at = b.tokenAt(n.Start)
		} else if len(n.Values) > 0 {
			out.at = b.tokenAt(n.Values[0].Key.GetToken())
		}
		b.mapping(out, n.Values, depth)
	case *ast.MappingValueNode:
		out.at = b.tokenAt(n.Key.GetToken())
		b.mapping(out, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		out.kind = listKind
		if n.Start != nil {
			out.at = b.tokenAt(n.Start)
		}
		for _, v := range n.Values {
			item := b.build(v, depth+1)
			out.items = append(out.items, item)
			out.size += item.size
		}
	case *ast.AnchorNode:
		value := b.build(n.Value, depth)
		b.anchors[n.Name.GetToken().Value] = value
		return value
	case *ast.AliasNode:
		return b.alias(n, at)
	case *ast.TagNode:
		return b.tagged(n, at, depth)
	case *ast.LiteralNode:
		out.kind, out.text = stringKind, n.Value.Value
	case *ast.NullNode:
		out.kind = nullKind
	case *ast.StringNode:
		b.scalar(out, n.Token, n.Value)
	default:
		b.scalar(out, n.GetToken(), "")
	}
	return out
}

// plainPairIn returns the text of a plain scalar with a colon in it, such as 127.0.0.1:80, which the parser takes for a map
// where it stands in a list within braces. A colon after a plain key must be followed by a space (YAML 1.2.2, 7.3.3).
func plainPairIn(n ast.Node) (text string, ok bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		if n.IsFlowStyle || len(n.Values) != 1 {
			return "", false
		}
		return plainPair(n.Values[0])
	case *ast.MappingValueNode:
		return plainPair(n)
	}
	return "", false
}

func plainPair(n *ast.MappingValueNode) (text string, ok bool) {
	key, colon := n.Key.GetToken(), n.Start
	if key == nil || colon == nil || n.Value == nil || n.Value.GetToken() == nil || !plain(key) || !follows(key, colon) {
		return "", false
	}
	if rest, ok := plainPairIn(n.Value); ok {
		return key.Value + ":" + rest, true // a colon more; what follows it is not held to stand close
	}
	value := n.Value.GetToken()
	if _, scalar := n.Value.(ast.ScalarNode); !scalar || !plain(value) || !follows(colon, value) {
		return "", false
	}
	return key.Value + ":" + value.Value, true
}

// plain reports whether a scalar stands without quotes.
func plain(tk *token.Token) bool {
	switch tk.Type {
	case token.StringType, token.IntegerType, token.FloatType, token.BoolType, token.OctetIntegerType, token.HexIntegerType:
		return true
	}
	return false
}

// follows reports whether b stands right behind a.
func follows(a, b *token.Token) bool {
	return a.Position.Line == b.Position.Line && a.Position.Column+utf8.RuneCountInString(a.Value) == b.Position.Column
}

// scalar fills in a scalar. value is the text of a string, without quotes and with its escapes read.
func (b *builder) scalar(out *node, tk *token.Token, value string) {
	switch {
	case tk == nil:
		return
	case tk.Type == token.SingleQuoteType || tk.Type == token.DoubleQuoteType:
		out.kind, out.text = stringKind, value
		return
	}
	if out.text = value; value == "" {
		out.text = tk.Value
	}
	out.text = strings.TrimSpace(out.text)
	out.kind = scalarKind(out.text)
}

func (b *builder) mapping(out *node, values []*ast.MappingValueNode, depth int) {
	out.kind = mapKind
	first := map[string]position{}
	var merged []*node
	for _, v := range values {
		if v.Key == nil || v.Key.GetToken() == nil {
			continue
		}
		keyAt := b.tokenAt(v.Key.GetToken())
		if _, ok := v.Key.(*ast.MergeKeyNode); ok {
			merged = append(merged, b.mergeSources(b.build(v.Value, depth+1))...)
			continue
		}
		key, ok := b.key(v.Key, keyAt)
		if !ok {
			continue
		}
		if before, twice := first[key]; twice {
			b.say(keyAt, Problem{Message: fmt.Sprintf("the key %s stands twice", quoteFound(key)),
				Hint: fmt.Sprintf("it stands at %d:%d already", before.line, before.column)})
			continue
		}
		first[key] = keyAt
		value := b.build(v.Value, depth+1)
		if value.at.line == 0 {
			value.at = keyAt
		}
		out.entries = append(out.entries, entry{key, keyAt, value})
		out.size += value.size + 1
	}
	for _, m := range merged {
		for _, e := range m.entries {
			if _, have := first[e.key]; have || !b.count(e.value.size+1, out.at) {
				continue
			}
			first[e.key] = e.keyAt
			out.entries = append(out.entries, e)
			out.size += e.value.size + 1
		}
	}
}

// mergeSources returns the maps that a merge key (<<) names.
func (b *builder) mergeSources(n *node) []*node {
	list := []*node{n}
	if n.kind == listKind {
		list = n.items
	}
	var out []*node
	for _, m := range list {
		if m.kind == mapKind {
			out = append(out, m)
		} else if !b.full {
			b.say(m.at, Problem{Found: m.describe(), Expected: "a map (or an alias of one) to merge"})
		}
	}
	return out
}

// key returns the text of a map's key.
func (b *builder) key(k ast.MapKeyNode, at position) (string, bool) {
	var n *node
	if explicit, ok := k.(*ast.MappingKeyNode); ok {
		n = b.build(explicit.Value, 1)
	} else {
		n = b.build(k, 1)
	}
	if n.kind == brokenKind {
		return "", false
	}
	if n.kind == listKind || n.kind == mapKind || (n.kind == nullKind && n.text == "") {
		if !b.full {
			b.say(at, Problem{Found: n.describe(), Expected: "a name as the key of a map"})
		}
		return "", false
	}
	return n.text, true
}

func (b *builder) alias(n *ast.AliasNode, at position) *node {
	name := ""
	if n.Value != nil && n.Value.GetToken() != nil {
		name = n.Value.GetToken().Value
	}
	target := b.anchors[name]
	if target == nil {
		b.say(at, Problem{Message: fmt.Sprintf("no anchor %s stands before this alias", quoteFound("&"+name)),
			Hint: b.problems.didYouMean(name, func() []string { return sortedKeys(b.anchors) })})
		return &node{kind: brokenKind, at: at, size: 1}
	}
	if !b.count(target.size, at) {
		return &node{at: at, size: 1}
	}
	return target
}

// tagged reads the core schema's own tags; others are errors.
func (b *builder) tagged(n *ast.TagNode, at position, depth int) *node {
	value := b.build(n.Value, depth)
	tag := ""
	if n.Start != nil {
		tag = n.Start.Value
	}
	switch tag {
	case "!!str":
		if value.isScalar() {
			value = &node{kind: stringKind, text: value.text, at: value.at, size: 1}
		}
	case "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq":
	default:
		b.say(at, Problem{Found: "the tag " + quoteFound(tag), Expected: "a value without a tag"})
	}
	return value
}

// count adds nodes to the sum, false where they are too many.
func (b *builder) count(n int, at position) bool {
	if b.full {
		return false
	}
	if b.nodes += n; b.nodes > maxNodes {
		b.full = true
		b.say(at, tooMuch())
		return false
	}
	return true
}

func (b *builder) tokenAt(tk *token.Token) position {
	return position{b.file, tk.Position.Line, tk.Position.Column}
}

func (b *builder) say(at position, p Problem) {
	p.File, p.order, p.Line, p.Column = b.name, at.file, at.line, at.column
	b.problems.add(p)
}
