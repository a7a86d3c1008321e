package elastic

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	maxAction = 4 << 10 // bytes of a line that says what is to be done
	maxID     = 512     // bytes of an _id, as Elasticsearch has it
)

// item of a _bulk.
type item struct {
	Index  string `json:"_index"`
	ID     string `json:"_id"`
	op     string
	err    *apiError
	record int // in the records; -1: none
}

// parseAction reads {"create": {"_index": "x", "_id": "y"}}. An item that is understood but not possible has an err. Most lines are the
// same as the one before.
func (b *bulkReader) parseAction(line string) error {
	if line == b.action {
		return nil
	}
	b.action = ""
	if len(line) > maxAction {
		return fmt.Errorf("a line of %d bytes where an action is expected", len(line))
	}
	it, ok := plainAction(line)
	if !ok {
		var action map[string]item
		if err := json.Unmarshal([]byte(line), &action); err != nil {
			return fmt.Errorf("malformed action: %w", err)
		}
		if len(action) != 1 {
			return fmt.Errorf("malformed action: one of create and index is expected")
		}
		for op, target := range action {
			it = target
			it.op = op
		}
	}
	if it.Index == "" {
		it.Index = b.index
	}
	it.record = -1
	if err := it.check(b.known); err != nil {
		return err
	}
	if it.err == nil {
		b.known = it.Index
	}
	b.item, b.action = it, line
	return nil
}

// check decides whether an item is possible. known is the name of an index that was found to be one, or "".
func (it *item) check(known string) error {
	switch {
	case it.op == "delete" || it.op == "update":
		it.err = unsupported(it.op)
	case it.op != "create" && it.op != "index":
		return fmt.Errorf("malformed action: %q is none; create and index are", it.op)
	case it.Index == "":
		return fmt.Errorf("no index is named")
	case it.Index != known && !indexName.MatchString(it.Index):
		it.err = badRequest("invalid_index_name_exception", "%q is no name of an index", it.Index)
	case len(it.ID) > maxID:
		it.err = badRequest("action_request_validation_exception", "an _id of more than %d bytes", maxID)
	}
	return nil
}

// plainAction reads an action as nearly all clients write it: one name, and strings without escapes or null in it. Of others, ok is false.
func plainAction(line string) (it item, ok bool) {
	p := actionReader{rest: line}
	p.skip('{')
	it.op = p.text()
	p.skip(':')
	p.skip('{')
	for first := true; !p.bad && !p.next('}'); first = false {
		if !first {
			p.skip(',')
		}
		name := p.text()
		p.skip(':')
		var ignored string
		into := &ignored
		switch name {
		case "_index":
			into = &it.Index
		case "_id":
			into = &it.ID
		case "_type", "routing", "pipeline":
		default:
			return it, false
		}
		if !p.null() {
			*into = p.text()
		}
	}
	p.skip('}')
	p.space()
	return it, !p.bad && p.rest == ""
}

type actionReader struct {
	rest string
	bad  bool
}

func (p *actionReader) space() { p.rest = strings.TrimLeft(p.rest, " \t") }

// next takes c if it comes next.
func (p *actionReader) next(c byte) bool {
	p.space()
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *actionReader) skip(c byte) { p.bad = !p.next(c) || p.bad }

func (p *actionReader) null() (ok bool) {
	p.space()
	p.rest, ok = strings.CutPrefix(p.rest, "null")
	return ok
}

func (p *actionReader) text() string {
	p.skip('"')
	text, rest, ok := strings.Cut(p.rest, `"`)
	for i := range len(text) {
		ok = ok && text[i] >= ' ' && text[i] < utf8.RuneSelf && text[i] != '\\'
	}
	p.rest, p.bad = rest, p.bad || !ok
	return text
}
