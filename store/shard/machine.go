package shard

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/expr"
)

// How long tokens and changes in streams are kept, in milliseconds.
const (
	tokenAge  = 10 * 60 * 1000
	StreamAge = 24 * 60 * 60 * 1000
)

// Machine applies commands. Its methods may be called from several goroutines, Apply from one at a time.
type Machine struct {
	// Touched is told, while a command is applied, the hash of each partition key of which an item changes. nil: nobody is.
	Touched func(hash uint64)

	mu     sync.RWMutex
	tables map[uint64]*Table
	names  map[string]*Table
}

// Open reads the descriptions of the group's tables, as they are in r.
func Open(r pebble.Reader, group uint64) (*Machine, error) {
	m := &Machine{tables: map[uint64]*Table{}, names: map[string]*Table{}}
	prefix := metaKey(group, metaTable)
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return nil, fmt.Errorf("reading the tables: %w", err)
	}
	for it.First(); it.Valid(); it.Next() {
		var t Table
		if err := json.Unmarshal(it.Value(), &t); err != nil {
			return nil, errors.Join(fmt.Errorf("reading the description of a table at %x: %w", it.Key(), err), it.Close())
		}
		m.tables[t.ID], m.names[t.Name] = &t, &t
	}
	if err := it.Close(); err != nil {
		return nil, fmt.Errorf("reading the tables: %w", err)
	}
	return m, nil
}

// Applied is the index of the last command that was applied to r; 0: none.
func Applied(r pebble.Reader, group uint64) (uint64, error) {
	return readNumber(r, metaKey(group, metaApplied))
}

// SetApplied notes in the batch that the command with the index has been applied.
func SetApplied(b *pebble.Batch, group, index uint64) error {
	return b.Set(metaKey(group, metaApplied), binary.BigEndian.AppendUint64(nil, index), nil)
}

func readNumber(r pebble.Reader, key []byte) (uint64, error) {
	v, closer, err := r.Get(key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("reading %x: %w", key, err)
	}
	defer closer.Close()
	if len(v) != 8 {
		return 0, fmt.Errorf("reading %x: %d bytes instead of 8", key, len(v))
	}
	return binary.BigEndian.Uint64(v), nil
}

// Table returns the description of a table, nil if there is none of that name. It is not to be changed.
func (m *Machine) Table(name string) *Table {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.names[name]
}

// Tables returns the descriptions of all tables, in no order.
func (m *Machine) Tables() []*Table {
	m.mu.RLock()
	defer m.mu.RUnlock()
	all := make([]*Table, 0, len(m.names))
	for _, t := range m.names {
		all = append(all, t)
	}
	return all
}

func (m *Machine) byID(id uint64) *Table {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.tables[id]
}

// Apply adds to the batch what the command changes, and returns the encoded result. An error means that what is stored is damaged,
// or that the command was none: whoever applies must stop.
func (m *Machine) Apply(b *pebble.Batch, group, index uint64, command []byte) ([]byte, error) {
	if len(command) == 0 {
		return nil, fmt.Errorf("applying command %d: it is empty", index)
	}
	r := attr.NewReader(command[1:])
	a := &application{m: m, b: b, group: group, index: index}
	var res *Result
	var err error
	switch kind := commandKind(command[0]); kind {
	case kindWrite:
		res, err = a.write(r)
	case kindDefine:
		res, err = a.define(r.Rest())
	case kindDrop:
		res, err = a.drop(r.Uint())
	case kindReindex:
		res, err = a.reindex(r)
	case kindExpire:
		res, err = a.expire(r)
	case kindTrim:
		res, err = a.trim(r.Int())
	default:
		err = fmt.Errorf("its kind %d is not known", kind)
	}
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("applying command %d: %w", index, err)
	}
	return res.encode(), nil
}

// application is one command that is being applied.
type application struct {
	m            *Machine
	b            *pebble.Batch
	group, index uint64
	changes      uint64 // in streams, so far
}

// get reads an item; nil: there is none. What it returns stays.
func (a *application) get(key []byte) ([]byte, error) {
	v, closer, err := a.b.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := append([]byte(nil), v...)
	return out, closer.Close()
}

// pending is a write whose condition held.
type pending struct {
	t               *Table
	key             []byte
	old, new        attr.Item // nil: not there, or not known for a plain write
	oldText, newRaw []byte
	known           bool // whether old was read
	write           bool
}

func (a *application) write(r *attr.Reader) (*Result, error) {
	instant, token, digest := r.Int(), r.Text(), r.Fixed()
	if token != "" {
		if res, err := a.seen(token, digest, instant); res != nil || err != nil {
			return res, err
		}
	}
	n := r.Count()
	res := &Result{Outcomes: make([]Outcome, n)}
	all := make([]pending, n)
	for i := range n {
		w := Write{Action: Action(r.Byte()), Wants: Wants(r.Byte()), Table: r.Uint(), Item: r.Item(), Condition: expr.ReadNode(r)}
		if w.Action == Update {
			w.Update = expr.ReadUpdate(r)
		}
		if r.Err() != nil {
			return nil, r.Err()
		}
		p, out, err := a.evaluate(&w)
		if err != nil {
			return nil, err
		}
		all[i], res.Outcomes[i] = p, out
		if out.Code != OK && res.Code == OK {
			res.Code, res.Message = out.Code, out.Message
		}
	}
	if res.Code != OK {
		for i := range res.Outcomes {
			if res.Outcomes[i].Code == OK {
				res.Outcomes[i] = Outcome{}
			}
		}
		return res, nil
	}
	for i := range all {
		if err := a.store(&all[i], instant, false); err != nil {
			return nil, err
		}
	}
	return res, a.remember(token, digest, instant)
}

// evaluate says what a write does, without doing it.
func (a *application) evaluate(w *Write) (p pending, out Outcome, err error) {
	t := a.m.byID(w.Table)
	if t == nil {
		return p, Outcome{Code: NoTable}, nil
	}
	p.t, p.key, p.write = t, t.DataKey(w.Item), w.Action != Check
	if !t.plain() || w.Condition != nil || w.Action == Update || w.Wants != 0 {
		p.known = true
		if p.oldText, err = a.get(p.key); err != nil {
			return p, out, err
		}
		if p.oldText != nil {
			if p.old, err = attr.DecodeItem(p.oldText); err != nil {
				return p, out, fmt.Errorf("reading the item at %x: %w", p.key, err)
			}
		}
	}
	if !w.Condition.True(p.old) {
		out.Code, out.Message = ConditionFailed, "The conditional request failed"
		if w.Wants&WantOldOnFailure != 0 {
			out.Old = p.oldText
		}
		return p, out, nil
	}
	switch w.Action {
	case Check:
		return p, out, nil
	case Put:
		p.new = w.Item
	case Update:
		before := p.old
		if before == nil {
			if w.Update.OnlyRemoves() {
				return p, out, nil
			}
			before = w.Item
		}
		if p.new, err = w.Update.Apply(before); err != nil {
			return p, Outcome{Code: Invalid, Message: err.Error()}, nil
		}
		if msg := t.checkUpdated(p.new); msg != "" {
			return p, Outcome{Code: Invalid, Message: msg}, nil
		}
	}
	if p.new != nil {
		p.newRaw = attr.AppendItem(make([]byte, 0, 256), p.new)
	}
	if w.Wants&WantOld != 0 {
		out.Old = p.oldText
	}
	if w.Wants&WantNew != 0 {
		out.New = p.newRaw
	}
	if w.Wants&WantCapacity != 0 {
		out.Sizes = t.sizes(p.old, p.new)
	}
	return p, out, nil
}

// checkUpdated checks an item after an update, and returns what is wrong with it.
func (t *Table) checkUpdated(it attr.Item) string {
	if it.Size() > attr.MaxItemSize {
		return "Item size to update has exceeded the maximum allowed size"
	}
	for _, f := range it {
		if f.Value.Depth() > 32 {
			return "Nesting Levels have exceeded supported limits: Attributes with nested levels (lists or maps) exceed 32"
		}
	}
	return t.CheckIndexKeys(it)
}

// CheckIndexKeys says what is wrong with the attributes of an item that are keys of indexes, in DynamoDB's words.
func (t *Table) CheckIndexKeys(it attr.Item) string {
	for i := range t.Indexes {
		x := &t.Indexes[i]
		for _, a := range []Attribute{x.Key.Hash, x.Key.Range} {
			v := it.Get(a.Name)
			switch {
			case a.Kind == attr.None || v.Kind == attr.None:
			case v.Kind != a.Kind:
				return fmt.Sprintf("One or more parameter values were invalid: Type mismatch for Index Key %s Expected: %s Actual: %s IndexName: %s",
					a.Name, a.Kind, v.Kind, x.Name)
			case v.Kind != attr.Number && v.Text == "":
				word := "string"
				if v.Kind == attr.Binary {
					word = "binary"
				}
				return fmt.Sprintf("One or more parameter values are not valid. A value specified for a secondary index key is not supported. "+
					"The AttributeValue for a key attribute cannot contain an empty %s value. IndexName: %s, IndexKey: %s", word, x.Name, a.Name)
			case len(v.Text) > 2048 && a == x.Key.Hash, len(v.Text) > 1024 && a == x.Key.Range:
				return fmt.Sprintf("One or more parameter values were invalid: Size of the value of index key %s has exceeded the maximum size limit. IndexName: %s", a.Name, x.Name)
			}
		}
	}
	return ""
}

// sizes are those of Outcome.Sizes.
func (t *Table) sizes(old, new attr.Item) []int {
	out := []int{max(old.Size(), new.Size(), 1)}
	for i := range t.Indexes {
		x := &t.Indexes[i]
		before, now := t.entry(x, old), t.entry(x, new)
		size := 0
		switch {
		case before.key == nil && now.key == nil:
		case before.key != nil && now.key != nil && string(before.key) == string(now.key):
			if !attr.EqualItems(before.item, now.item) {
				size = max(before.item.Size(), now.item.Size())
			}
		default: // the old entry is deleted and the new one is put, each of them a write
			size = before.item.Size() + now.item.Size()
		}
		out = append(out, size)
	}
	return out
}

type indexEntry struct {
	key  []byte
	item attr.Item
}

func (t *Table) entry(x *Index, it attr.Item) indexEntry {
	if it == nil {
		return indexEntry{}
	}
	key := t.indexKey(x, it)
	if key == nil {
		return indexEntry{}
	}
	return indexEntry{key, t.Projected(x, it)}
}

// store writes the item, and what follows from it.
func (a *application) store(p *pending, instant int64, expired bool) error {
	if !p.write {
		return nil
	}
	if a.m.Touched != nil {
		a.m.Touched(PartitionHash(p.key))
	}
	var err error
	switch {
	case p.new != nil:
		err = a.b.Set(p.key, p.newRaw, nil)
	case !p.known || p.old != nil:
		err = a.b.Delete(p.key, nil)
	}
	if err != nil || !p.known || (p.old == nil && p.new == nil) {
		return err
	}
	t := p.t
	for i := range t.Indexes {
		if err := a.enter(t, &t.Indexes[i], p.old, p.new); err != nil {
			return err
		}
	}
	if t.TTL != "" {
		before, had := t.expiry(p.old)
		now, has := t.expiry(p.new)
		if had && (!has || before != now) {
			if err := a.b.Delete(expiryKey(t.ID, before, p.key), nil); err != nil {
				return err
			}
		}
		if has && (!had || before != now) {
			if err := a.b.Set(expiryKey(t.ID, now, p.key), nil, nil); err != nil {
				return err
			}
		}
	}
	if s := t.Stream(); s != nil && !attr.EqualItems(p.old, p.new) {
		return a.record(t, s, p, instant, expired)
	}
	return nil
}

// enter brings an index up to date with an item.
func (a *application) enter(t *Table, x *Index, old, new attr.Item) error {
	before, now := t.entry(x, old), t.entry(x, new)
	if before.key != nil && string(before.key) != string(now.key) {
		if err := a.b.Delete(before.key, nil); err != nil {
			return err
		}
	}
	if now.key == nil || (string(before.key) == string(now.key) && attr.EqualItems(before.item, now.item) && !x.Backfilling) {
		return nil
	}
	return a.b.Set(now.key, attr.AppendItem(nil, now.item), nil)
}

// expiry is the second at which an item expires; ok is false if it does not. An instant more than five years ago is taken for a
// mistake, as DynamoDB does; that is decided when it is due, see expire.
func (t *Table) expiry(it attr.Item) (second int64, ok bool) {
	v := it.Get(t.TTL)
	if v.Kind != attr.Number {
		return 0, false
	}
	second, ok = attr.Int(v.Text)
	return second, ok && second > 0
}
