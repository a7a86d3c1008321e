package shard

import (
	"fmt"

	"github.com/banyanhq/banyan/store/attr"
)

// pending is a write whose condition held.
type pending struct {
	t               *Table
	key             []byte
	old, new        attr.Item // nil: not there, or not known for a plain write
	oldText, newRaw []byte
	known           bool // whether old was read
	write           bool
}

func (a *application) write(r *attr.Reader, spread bool) (*Result, error) {
	instant, token, digest := r.Int(), r.Text(), r.Fixed()
	if spread {
		a.home = Home(r.Uint())
	}
	if token != "" {
		if !a.owns(a.home) {
			return nil, errScattered
		}
		if res, err := a.seen(token, digest, instant); res != nil || err != nil {
			return res, err
		}
	}
	writes, err := readWrites(r, spread)
	if err != nil {
		return nil, err
	}
	all, res, err := a.evaluateAll(writes, "")
	if err != nil || res.Code != OK {
		return res, err
	}
	for i := range all {
		if err := a.store(&all[i], instant, false); err != nil {
			return nil, err
		}
	}
	return res, a.remember(token, digest, instant)
}

// evaluateAll says what writes do, without doing it. Items that a transaction holds, other than the given one, are conflicts.
func (a *application) evaluateAll(writes []Write, transaction string) ([]pending, *Result, error) {
	res := &Result{Outcomes: make([]Outcome, len(writes))}
	all := make([]pending, len(writes))
	for i := range writes {
		if !a.owns(writes[i].Home) {
			return nil, nil, errScattered
		}
		p, out, err := a.evaluate(&writes[i], transaction)
		if err != nil {
			return nil, nil, err
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
	}
	return all, res, nil
}

// evaluate says what a write does, without doing it.
func (a *application) evaluate(w *Write, transaction string) (p pending, out Outcome, err error) {
	t := a.m.byID(w.Home, w.Table)
	if t == nil {
		return p, Outcome{Code: NoTable}, nil
	}
	p.t, p.key, p.write = t, t.DataKey(w.Item), w.Action != Check
	if HomeOf(p.key) != w.Home {
		return p, out, fmt.Errorf("a write to table %s: its item is at %d, not at %d", t.Name, HomeOf(p.key), w.Home)
	}
	l, err := a.lock(p.key)
	if err != nil {
		return p, out, err
	}
	if l != nil && l.Transaction != transaction {
		return p, Outcome{Code: Conflict, Message: "Transaction is ongoing for the item", New: l.append(nil)}, nil
	}
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
		if w.Wants&WantOld != 0 {
			out.Old = p.oldText
		}
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
		if msg := t.checkUpdated(p.new); msg != "" && !a.decided {
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
