package shard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"

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

// PartitionOf is the table and the partition key that a data key is of; ok is false if it is not of a table's item.
func (m *Machine) PartitionOf(key []byte) (t *Table, value attr.Value, ok bool) {
	n := head(key)
	if len(key) < n+8 {
		return nil, value, false
	}
	if t = m.ByID(binary.BigEndian.Uint64(key[n-8:])); t == nil {
		return nil, value, false
	}
	value, _, ok = attr.CutKey(key[n+8:], t.Key.Hash.Kind)
	return t, value, ok
}

// Check reads what checks ask for, from what shows all as of one instant.
func (m *Machine) Check(r pebble.Reader, checks []Write) (*Result, error) {
	res := &Result{Outcomes: make([]Outcome, len(checks))}
	for i, w := range checks {
		t := m.ByID(w.Table)
		if t == nil {
			res.Code, res.Outcomes[i].Code = NoTable, NoTable
			continue
		}
		err := Get(r, t.DataKey(w.Item), func(item []byte) error {
			res.Outcomes[i].Old = bytes.Clone(item)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return res, nil
}

// Span of keys, from Lower up to Upper, in one home.
type Span struct{ Lower, Upper []byte }

// Range of data keys to be read in order.
type Range struct {
	Table *Table
	Index *Index // nil: the table itself
	// spans in ascending order; with merged they lie in several homes and are read together, in the order of the keys there.
	spans     []Span
	merged    bool
	partition bool // it is all in one partition key's items
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

// Partition is the range of all items with a partition key. In a global index of a table that is spread they are in all buckets.
func Partition(t *Table, x *Index, hash attr.Value) *Range {
	g := &Range{Table: t, Index: x}
	id, homes := t.ID, t.Homes()
	if x != nil {
		id = x.ID
	}
	if t.Buckets > 0 && (x == nil || x.Local) {
		homes = []Home{HomeOfHash(attr.Hash(attr.AppendKey(nil, hash)))}
	}
	for _, h := range homes {
		lower := partitionKey(h, id, hash)
		g.spans = append(g.spans, Span{lower, after(lower)})
	}
	g.merged, g.partition = len(homes) > 1, x == nil || x.Local
	return g
}

// Restrict leaves of a partition what fulfils a test of the sort key.
func (g *Range) Restrict(test expr.KeyTest) {
	for i := range g.spans {
		g.spans[i].restrict(test)
	}
}

func (s *Span) restrict(test expr.KeyTest) {
	at := func(v attr.Value) []byte { return attr.AppendKey(bytes.Clone(s.Lower), v) }
	v := test.Values[0]
	switch test.Op {
	case expr.OpEqual:
		s.Lower = at(v)
		s.Upper = after(s.Lower)
	case expr.OpLess:
		s.Upper = at(v)
	case expr.OpLessEqual:
		s.Upper = after(at(v))
	case expr.OpGreater:
		s.Lower = after(at(v))
	case expr.OpGreaterEqual:
		s.Lower = at(v)
	case expr.OpBetween:
		s.Lower, s.Upper = at(v), after(at(test.Values[1]))
	case expr.OpBeginsWith:
		s.Lower = attr.AppendKeyPrefix(s.Lower, v.Text)
		s.Upper = after(s.Lower)
	}
}

// Segment is one of total parts of a table or index, cut by hash; what is spread is cut by bucket first.
func Segment(t *Table, x *Index, segment, total int) *Range {
	g := &Range{Table: t, Index: x}
	id := t.ID
	if x != nil {
		id = x.ID
	}
	cut := func(i int) (at uint64, end bool) {
		if i == total {
			return 0, true
		}
		at, _ = bits.Div64(uint64(i), 0, uint64(total))
		return at, false
	}
	from, _ := cut(segment)
	to, toEnd := cut(segment + 1)
	if t.Buckets == 0 {
		g.spans = []Span{cutSpan(0, id, from, to, toEnd)}
		return g
	}
	for h := HomeOfHash(from); h <= Buckets && (toEnd || h <= HomeOfHash(to)); h++ {
		first, last, all := uint64(h-1)<<(64-5), to, toEnd || h < HomeOfHash(to)
		if h == HomeOfHash(from) {
			first = from
		}
		if x != nil { // the hash of the entry's own key says nothing of its bucket
			first, last = first<<5, last<<5
		}
		if s := cutSpan(h, id, first, last, all); bytes.Compare(s.Lower, s.Upper) < 0 {
			g.spans = append(g.spans, s)
		}
	}
	return g
}

func cutSpan(h Home, id, from, to uint64, toEnd bool) Span {
	s := Span{Lower: binary.BigEndian.AppendUint64(spaceKey(h, spaceData, id), from)}
	if s.Upper = after(spaceKey(h, spaceData, id)); !toEnd {
		s.Upper = binary.BigEndian.AppendUint64(spaceKey(h, spaceData, id), to)
	}
	return s
}

// Partition is a key in the one partition that the range lies in, nil if it does not lie in one of the table or of a local index.
func (g *Range) Partition() []byte {
	if !g.partition {
		return nil
	}
	return g.spans[0].Lower
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
	var left []Span
	for _, s := range g.spans {
		at := key
		if g.merged {
			at = append(HomeOf(s.Lower).prefix(), key[head(key)-8:]...)
		}
		inside := bytes.Compare(at, s.Lower) >= 0 && bytes.Compare(at, s.Upper) < 0
		switch {
		case inside && g.Backward:
			s.Upper = at
		case inside:
			s.Lower = append(bytes.Clone(at), 0)
		case !g.merged && (bytes.Compare(at, s.Lower) < 0) == g.Backward:
			continue // it has been read
		}
		ok = ok || inside
		left = append(left, s)
	}
	if ok {
		g.spans = left
	}
	return ok
}

// Read calls emit with each encoded item of the range that fulfils the filter, until the limit or MaxPage is reached. at is asked for
// what to read a span of keys from.
func (g *Range) Read(at func(Span) (pebble.Reader, error), emit func(item []byte) error) (p Page, err error) {
	all := make([]*spanReader, len(g.spans))
	for i, s := range g.spans {
		all[i] = &spanReader{span: s, backward: g.Backward}
	}
	if g.Backward && !g.merged {
		slices.Reverse(all)
	}
	defer func() {
		for _, s := range all {
			err = errors.Join(err, s.close())
		}
	}()
	for {
		s, err := g.next(&all, at)
		if err != nil {
			return p, fmt.Errorf("reading table %s: %w", g.Table.Name, err)
		}
		if s == nil {
			return p, nil
		}
		size, err := attr.EncodedSize(s.it.Value())
		if err == nil {
			p.Scanned++
			p.Bytes += size
			err = g.pass(s.from, s.it.Key(), s.it.Value(), &p, emit)
		}
		if err != nil {
			return p, fmt.Errorf("reading table %s at %x: %w", g.Table.Name, s.it.Key(), err)
		}
		if p.Scanned == g.Limit || p.Bytes >= MaxPage {
			var ok bool
			if p.Last, ok = g.Table.keyItem(g.Index, s.it.Key()); !ok {
				return p, fmt.Errorf("reading table %s: key %x: %w", g.Table.Name, s.it.Key(), attr.ErrCorrupt)
			}
			return p, nil
		}
	}
}

// next moves on and returns the reader that stands at the next item, nil if there is none. Those that are through are taken off.
func (g *Range) next(all *[]*spanReader, at func(Span) (pebble.Reader, error)) (*spanReader, error) {
	for i := 0; i < len(*all); {
		s := (*all)[i]
		more := true
		if !s.ready {
			var err error
			if more, err = s.move(at); err != nil {
				return nil, err
			}
		}
		if !more {
			*all = slices.Delete(*all, i, i+1)
			if err := s.close(); err != nil {
				return nil, err
			}
			continue
		}
		if i++; !g.merged {
			break
		}
	}
	if len(*all) == 0 {
		return nil, nil
	}
	best := (*all)[0]
	if g.merged {
		for _, s := range (*all)[1:] {
			if c := bytes.Compare(s.local(), best.local()); c < 0 != g.Backward {
				best = s
			}
		}
	}
	best.ready = false
	return best, nil
}

// spanReader stands at an item of a span, if it is ready.
type spanReader struct {
	span     Span
	backward bool
	from     pebble.Reader
	it       *pebble.Iterator
	ready    bool
}

func (s *spanReader) move(at func(Span) (pebble.Reader, error)) (more bool, err error) {
	switch {
	case s.it == nil && bytes.Compare(s.span.Lower, s.span.Upper) >= 0:
		return false, nil
	case s.it == nil:
		if s.from, err = at(s.span); err != nil {
			return false, err
		}
		if s.it, err = s.from.NewIter(&pebble.IterOptions{LowerBound: s.span.Lower, UpperBound: s.span.Upper}); err != nil {
			return false, err
		}
		if s.backward {
			s.ready = s.it.Last()
		} else {
			s.ready = s.it.First()
		}
	case s.backward:
		s.ready = s.it.Prev()
	default:
		s.ready = s.it.Next()
	}
	return s.ready, nil
}

// local is the key without where it is.
func (s *spanReader) local() []byte { k := s.it.Key(); return k[head(k)-8:] }

func (s *spanReader) close() error {
	if s.it == nil {
		return nil
	}
	err := s.it.Close()
	s.it = nil
	return err
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
	lower = partitionKey(t.Home(it), t.ID, it.Get(t.Key.Hash.Name))
	return lower, after(lower)
}

// Spans are the ranges of keys of all items of the table, or with x of an index.
func (t *Table) Spans(x *Index) (all []Span) {
	id := t.ID
	if x != nil {
		id = x.ID
	}
	for _, h := range t.Homes() {
		lower := spaceKey(h, spaceData, id)
		all = append(all, Span{lower, after(lower)})
	}
	return all
}
