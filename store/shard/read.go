package shard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/cockroachdb/pebble/v2"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/expr"
)

// Get calls use with the encoded item at a data key, nil if there is none. It is valid until use returns.
func Get(r pebble.Reader, key []byte, use func(item []byte) error) error {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return use(nil)
	}
	if err != nil {
		return fmt.Errorf("reading the item at %x: %w", key, err)
	}
	err = use(v)
	return errors.Join(err, closer.Close())
}

// Range of data keys to be read in order.
type Range struct {
	Table *Table
	Index *Index // nil: the table itself
	Lower []byte
	Upper []byte
	// Backward reads from the end.
	Backward bool
	// Limit of items read, matching or not; 0: none.
	Limit int
	// Filter is the condition that items must fulfil to be passed on; nil: all are.
	Filter *expr.Node
	// Whole has the items of the table be passed on whose entries in Index were found.
	Whole bool
}

// MaxPage is how many bytes of items are read for one answer.
const MaxPage = 1 << 20

// Page is what was read of a range.
type Page struct {
	Scanned, Count int
	// Bytes of the items or entries that were read, and of the whole items that were fetched besides, each rounded as they are
	// charged for.
	Bytes   int
	Fetched []int
	// Last has the key attributes of the last item read, where there may be more behind it.
	Last attr.Item
}

// Partition is the range of all items with a partition key.
func Partition(t *Table, x *Index, hash attr.Value) *Range {
	id := t.ID
	if x != nil {
		id = x.ID
	}
	lower := partitionKey(id, hash)
	return &Range{Table: t, Index: x, Lower: lower, Upper: after(lower)}
}

// Restrict leaves of a partition what fulfils a test of the sort key.
func (g *Range) Restrict(test expr.KeyTest) {
	at := func(v attr.Value) []byte { return attr.AppendKey(bytes.Clone(g.Lower), v) }
	v := test.Values[0]
	switch test.Op {
	case expr.OpEqual:
		g.Lower = at(v)
		g.Upper = after(g.Lower)
	case expr.OpLess:
		g.Upper = at(v)
	case expr.OpLessEqual:
		g.Upper = after(at(v))
	case expr.OpGreater:
		g.Lower = after(at(v))
	case expr.OpGreaterEqual:
		g.Lower = at(v)
	case expr.OpBetween:
		g.Lower, g.Upper = at(v), after(at(test.Values[1]))
	case expr.OpBeginsWith:
		g.Lower = attr.AppendKeyPrefix(g.Lower, v.Text)
		g.Upper = after(g.Lower)
	}
}

// Segment is one of total parts of a table or index, cut by hash.
func Segment(t *Table, x *Index, segment, total int) *Range {
	id := t.ID
	if x != nil {
		id = x.ID
	}
	cut := func(i int) []byte {
		if i == total {
			return after(spaceKey(spaceData, id))
		}
		hash, _ := bits.Div64(uint64(i), 0, uint64(total))
		return binary.BigEndian.AppendUint64(spaceKey(spaceData, id), hash)
	}
	return &Range{Table: t, Index: x, Lower: cut(segment), Upper: cut(segment + 1)}
}

// StartKey is the data key of an item or an index's entry, of which key has all key attributes and no others; ok is false if it has
// not.
func StartKey(t *Table, x *Index, key attr.Item) (data []byte, ok bool) {
	want := map[string]attr.Kind{t.Key.Hash.Name: t.Key.Hash.Kind}
	add := func(a Attribute) {
		if a.Kind != attr.None {
			want[a.Name] = a.Kind
		}
	}
	add(t.Key.Range)
	if x != nil {
		add(x.Key.Hash)
		add(x.Key.Range)
	}
	if len(key) != len(want) {
		return nil, false
	}
	for _, f := range key {
		if want[f.Name] != f.Value.Kind || f.Value.Kind == attr.None {
			return nil, false
		}
	}
	if x == nil {
		return t.DataKey(key), true
	}
	return t.indexKey(x, key), true
}

// Start has the range begin behind a data key; ok is false if that does not lie in it.
func (g *Range) Start(key []byte) (ok bool) {
	if bytes.Compare(key, g.Lower) < 0 || bytes.Compare(key, g.Upper) >= 0 {
		return false
	}
	if g.Backward {
		g.Upper = key
	} else {
		g.Lower = append(bytes.Clone(key), 0)
	}
	return true
}

// Read calls emit with each encoded item of the range that fulfils the filter, until the limit or MaxPage is reached.
func (g *Range) Read(r pebble.Reader, emit func(item []byte) error) (p Page, err error) {
	if bytes.Compare(g.Lower, g.Upper) >= 0 {
		return p, nil
	}
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: g.Lower, UpperBound: g.Upper})
	if err != nil {
		return p, fmt.Errorf("reading table %s: %w", g.Table.Name, err)
	}
	first, next := it.First, it.Next
	if g.Backward {
		first, next = it.Last, it.Prev
	}
	for ok := first(); ok; ok = next() {
		value := it.Value()
		size, err := attr.EncodedSize(value)
		if err == nil {
			p.Scanned++
			p.Bytes += size
			err = g.pass(r, it.Key(), value, &p, emit)
		}
		if err != nil {
			return p, errors.Join(fmt.Errorf("reading table %s at %x: %w", g.Table.Name, it.Key(), err), it.Close())
		}
		if p.Scanned == g.Limit || p.Bytes >= MaxPage {
			if p.Last, ok = g.Table.keyItem(g.Index, it.Key()); !ok {
				return p, errors.Join(fmt.Errorf("reading table %s: key %x: %w", g.Table.Name, it.Key(), attr.ErrCorrupt), it.Close())
			}
			break
		}
	}
	if err := it.Close(); err != nil {
		return p, fmt.Errorf("reading table %s: %w", g.Table.Name, err)
	}
	return p, nil
}

// pass hands an item on if it fulfils the filter.
func (g *Range) pass(r pebble.Reader, key, value []byte, p *Page, emit func([]byte) error) error {
	if g.Whole {
		item, ok := g.Table.keyItem(g.Index, key)
		if !ok {
			return attr.ErrCorrupt
		}
		return Get(r, g.Table.DataKey(item), func(whole []byte) error {
			if whole == nil { // deleted since the iterator was made
				return nil
			}
			size, err := attr.EncodedSize(whole)
			if err != nil {
				return err
			}
			p.Fetched = append(p.Fetched, size)
			return g.emit(whole, p, emit)
		})
	}
	return g.emit(value, p, emit)
}

func (g *Range) emit(value []byte, p *Page, emit func([]byte) error) error {
	if g.Filter != nil {
		item, err := attr.DecodeItem(value)
		if err != nil {
			return err
		}
		if !g.Filter.True(item) {
			return nil
		}
	}
	p.Count++
	return emit(value)
}

// Collection is the range of keys of all items of the table with an item's partition key.
func (t *Table) Collection(it attr.Item) (lower, upper []byte) {
	lower = partitionKey(t.ID, it.Get(t.Key.Hash.Name))
	return lower, after(lower)
}

// Span is the range of keys of all items of the table, or with x of an index.
func (t *Table) Span(x *Index) (lower, upper []byte) {
	id := t.ID
	if x != nil {
		id = x.ID
	}
	lower = spaceKey(spaceData, id)
	return lower, after(lower)
}
