package shard

import (
	"github.com/banyanhq/banyan/store/attr"
)

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
	if a.m.Wrote != nil {
		a.m.Wrote(p.key)
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
			if err := a.b.Delete(expiryKey(HomeOf(p.key), t.ID, before, p.key), nil); err != nil {
				return err
			}
		}
		if has && (!had || before != now) {
			if err := a.b.Set(expiryKey(HomeOf(p.key), t.ID, now, p.key), nil, nil); err != nil {
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
