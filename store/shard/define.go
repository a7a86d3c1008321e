package shard

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/banyanhq/banyan/store/attr"
)

func tableKey(group, id uint64) []byte {
	return binary.BigEndian.AppendUint64(metaKey(group, metaTable), id)
}

// nextID gives an id that no table, index or stream has had.
func (a *application) nextID() (uint64, error) {
	key := metaKey(a.group, metaNext)
	n, err := readNumber(a.b, key)
	if err != nil {
		return 0, err
	}
	n++
	return n, a.b.Set(key, binary.BigEndian.AppendUint64(nil, n), nil)
}

func (a *application) dropPrefix(prefix []byte) error {
	return a.b.DeleteRange(prefix, after(prefix), nil)
}

func (a *application) define(text []byte) (*Result, error) {
	var t Table
	if err := json.Unmarshal(text, &t); err != nil {
		return nil, fmt.Errorf("reading the description of a table: %w", err)
	}
	known := a.m.Table(t.Name)
	switch {
	case t.ID == 0 && known != nil:
		return &Result{Code: Exists}, nil
	case t.ID != 0 && (known == nil || known.ID != t.ID):
		return &Result{Code: NoTable}, nil
	case t.ID != 0 && known.Generation != t.Generation:
		return &Result{Code: Stale}, nil
	}
	t.Generation++
	ids := []*uint64{}
	if t.ID == 0 {
		ids = append(ids, &t.ID)
	}
	for i := range t.Indexes {
		ids = append(ids, &t.Indexes[i].ID)
	}
	for i := range t.Streams {
		ids = append(ids, &t.Streams[i].ID)
	}
	for _, id := range ids {
		if *id != 0 {
			continue
		}
		var err error
		if *id, err = a.nextID(); err != nil {
			return nil, err
		}
	}
	if known != nil {
		if err := a.dropGone(0, known, &t); err != nil {
			return nil, err
		}
	}
	return &Result{ID: t.ID}, a.describe(&t)
}

// dropGone drops what the table holds at a home by its old description and not by the new one.
func (a *application) dropGone(h Home, old, new *Table) error {
	kept := map[string]bool{}
	for _, p := range new.spans(h) {
		kept[string(p)] = true
	}
	for _, p := range old.spans(h) {
		if !kept[string(p)] {
			if err := a.dropPrefix(p); err != nil {
				return err
			}
		}
	}
	if old.TTL != new.TTL {
		return a.dropPrefix(spaceKey(h, spaceExpiry, new.ID))
	}
	return nil
}

// describe stores the description and makes it the one that holds.
func (a *application) describe(t *Table) error {
	text, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("encoding the description of table %s: %w", t.Name, err)
	}
	if err := a.b.Set(tableKey(a.group, t.ID), text, nil); err != nil {
		return err
	}
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	a.m.tables[t.ID], a.m.names[t.Name] = t, t
	return nil
}

func (a *application) drop(id uint64) (*Result, error) {
	t := a.m.byID(0, id)
	if t == nil {
		return &Result{Code: NoTable}, nil
	}
	for _, p := range t.spans(0) {
		if err := a.dropPrefix(p); err != nil {
			return nil, err
		}
	}
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	delete(a.m.tables, id)
	delete(a.m.names, t.Name)
	return &Result{ID: id}, a.b.Delete(tableKey(a.group, id), nil)
}

// reindex enters items that were there before an index, or before items expired. It may come over an item again.
func (a *application) reindex(r *attr.Reader) (*Result, error) {
	t := a.m.byID(a.home, r.Uint())
	from, limit := r.Bytes(), int(r.Uint())
	if t == nil {
		return &Result{Code: NoTable}, nil
	}
	span := spaceKey(a.home, spaceData, t.ID)
	lower := span
	if len(from) > 0 {
		lower = append(append([]byte(nil), from...), 0)
	}
	it, err := a.b.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: after(span)})
	if err != nil {
		return nil, err
	}
	res := &Result{}
	for ok := it.First(); ok; ok = it.Next() {
		item, err := attr.DecodeItem(append([]byte(nil), it.Value()...))
		if err == nil {
			err = a.enterAll(t, it.Key(), item)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("the item at %x: %w", it.Key(), err), it.Close())
		}
		if res.Count++; res.Count >= limit {
			res.Key = append([]byte(nil), it.Key()...)
			break
		}
	}
	return res, it.Close()
}

func (a *application) enterAll(t *Table, key []byte, item attr.Item) error {
	for i := range t.Indexes {
		if x := &t.Indexes[i]; x.Backfilling {
			if err := a.enter(t, x, nil, item); err != nil {
				return err
			}
		}
	}
	if second, ok := t.expiry(item); ok && t.TTL != "" && !t.Expiring {
		return a.b.Set(expiryKey(HomeOf(key), t.ID, second, key), nil, nil)
	}
	return nil
}

// fiveYears in seconds: what should have expired longer ago is not taken for an instant.
const fiveYears = 5 * 365 * 24 * 60 * 60

func (a *application) expire(r *attr.Reader) (*Result, error) {
	t := a.m.byID(a.home, r.Uint())
	instant, limit := r.Int(), int(r.Uint())
	if t == nil {
		return &Result{Code: NoTable}, nil
	}
	if t.TTL == "" {
		return &Result{}, nil
	}
	now := instant / 1000
	prefix := len(spaceKey(a.home, spaceExpiry, 0)) + 8
	it, err := a.b.NewIter(t.due(a.home, now))
	if err != nil {
		return nil, err
	}
	var due [][]byte
	for ok := it.First(); ok && len(due) < limit; ok = it.Next() {
		due = append(due, append([]byte(nil), it.Key()...))
	}
	if err := it.Close(); err != nil {
		return nil, err
	}
	res := &Result{}
	for _, entry := range due {
		if l, err := a.lock(entry[prefix:]); err != nil || l != nil {
			if err != nil {
				return nil, err
			}
			continue // until its transaction is over
		}
		res.Count++
		p := pending{t: t, key: entry[prefix:], known: true, write: true}
		if p.oldText, err = a.get(p.key); err != nil {
			return nil, err
		}
		if p.oldText != nil {
			if p.old, err = attr.DecodeItem(p.oldText); err != nil {
				return nil, fmt.Errorf("the item at %x: %w", p.key, err)
			}
		}
		second := binary.BigEndian.Uint64(entry[prefix-8:])
		if at, ok := t.expiry(p.old); !ok || uint64(at) != second { // of an item that is not there, or expires at another time
			if err := a.b.Delete(entry, nil); err != nil {
				return nil, err
			}
			continue
		}
		if err := a.store(&p, instant, true); err != nil {
			return nil, err
		}
	}
	return res, nil
}

// due are the entries of what has expired by now, in seconds.
func (t *Table) due(h Home, now int64) *pebble.IterOptions {
	return &pebble.IterOptions{LowerBound: expiryKey(h, t.ID, max(now-fiveYears, 0), nil), UpperBound: expiryKey(h, t.ID, now, nil)}
}

func (a *application) tokenKey(token string) []byte {
	return append(a.home.meta(a.group, metaToken), token...)
}

func (a *application) ageKey(instant int64, token string) []byte {
	return append(binary.BigEndian.AppendUint64(a.home.meta(a.group, metaAge), uint64(instant)), token...)
}

// seen returns the result for a token that a command within the last ten minutes had, nil if there was none.
func (a *application) seen(token string, digest uint64, instant int64) (*Result, error) {
	v, err := a.get(a.tokenKey(token))
	if err != nil || v == nil {
		return nil, err
	}
	if len(v) != 16 {
		return nil, fmt.Errorf("token %q: %d bytes instead of 16", token, len(v))
	}
	switch then := int64(binary.BigEndian.Uint64(v)); {
	case instant-then > tokenAge:
		return nil, a.b.Delete(a.ageKey(then, token), nil)
	case binary.BigEndian.Uint64(v[8:]) != digest:
		return &Result{Code: Mismatch}, nil
	}
	return &Result{Repeated: true}, nil
}

func (a *application) remember(token string, digest uint64, instant int64) error {
	if token == "" {
		return nil
	}
	v := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(instant)), digest)
	if err := a.b.Set(a.tokenKey(token), v, nil); err != nil {
		return err
	}
	return a.b.Set(a.ageKey(instant, token), nil, nil)
}

// trim forgets old tokens, old changes, and streams that ended long ago.
func (a *application) trim(instant int64) (*Result, error) {
	low := a.home.meta(a.group, metaAge)
	it, err := a.b.NewIter(&pebble.IterOptions{LowerBound: low, UpperBound: a.ageKey(max(instant-tokenAge, 0), "")})
	if err != nil {
		return nil, err
	}
	res := &Result{}
	for ok := it.First(); ok && res.Count < 10_000; ok = it.Next() {
		res.Count++
		token := string(it.Key()[len(low)+8:])
		if err := errors.Join(a.b.Delete(it.Key(), nil), a.b.Delete(a.tokenKey(token), nil)); err != nil {
			return nil, errors.Join(err, it.Close())
		}
	}
	if err := it.Close(); err != nil {
		return nil, err
	}
	if a.home != 0 {
		return res, a.trimHome(instant)
	}
	for _, t := range a.m.Tables() {
		if err := a.trimStreams(t, instant-StreamAge); err != nil {
			return nil, err
		}
	}
	return res, nil
}

func (a *application) trimStreams(t *Table, before int64) error {
	var kept []Stream
	for _, s := range t.Streams {
		if s.Ended != 0 && s.Ended < before {
			if err := a.dropPrefix(spaceKey(0, spaceStream, s.ID)); err != nil {
				return err
			}
			continue
		}
		kept = append(kept, s)
		if err := a.trimStream(s, before); err != nil {
			return err
		}
	}
	if len(kept) == len(t.Streams) {
		return nil
	}
	c := t.Clone()
	c.Streams = kept
	c.Generation++
	return a.describe(c)
}

// trimStream drops the changes from before an instant.
func (a *application) trimStream(s Stream, before int64) error {
	prefix := spaceKey(a.home, spaceStream, s.ID)
	it, err := a.b.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return err
	}
	var end []byte
	n := 0
	for ok := it.First(); ok && n < 100_000; ok = it.Next() {
		c, err := decodeChange(it.Key(), it.Value())
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if c.Instant >= before {
			break
		}
		n++
		end = append(append(end[:0], it.Key()...), 0)
	}
	if err := it.Close(); err != nil || end == nil {
		return err
	}
	return a.b.DeleteRange(prefix, end, nil)
}
