package shard

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/banyanhq/banyan/store/attr"
)

// A bucket has copies of the descriptions of tables, by which commands there go: what another group knows at the same time is no
// function of the commands. Whoever changes a description brings it to all buckets; whoever meets a bucket that lacks a table, too.

// AdoptCommand brings the description of a table to homes of one group, unless they have it or a newer one.
func AdoptCommand(homes []Home, t *Table) ([]byte, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("encoding the description of table %s: %w", t.Name, err)
	}
	return append(appendHomes([]byte{byte(kindAdopt)}, homes), text...), nil
}

// AbandonCommand drops what homes of one group have of a table, which has been dropped.
func AbandonCommand(homes []Home, table uint64) []byte {
	return binary.AppendUvarint(appendHomes([]byte{byte(kindAbandon)}, homes), table)
}

// GroupCommand, for the system group, returns in ID the number of a group that there never was.
func GroupCommand() []byte { return []byte{byte(kindGroup)} }

// firstGroup that is made while a cluster runs; those before it may be there from its beginning.
const firstGroup = 1000

func (a *application) nextGroup() (*Result, error) {
	key := metaKey(a.group, metaGroup)
	n, err := readNumber(a.b, key)
	if err != nil {
		return nil, err
	}
	n = max(n+1, firstGroup)
	return &Result{ID: n}, a.b.Set(key, binary.BigEndian.AppendUint64(nil, n), nil)
}

func appendHomes(b []byte, homes []Home) []byte {
	b = binary.AppendUvarint(b, uint64(len(homes)))
	for _, h := range homes {
		b = binary.AppendUvarint(b, uint64(h))
	}
	return b
}

func (a *application) readHomes(r *attr.Reader) ([]Home, error) {
	homes := make([]Home, r.Count())
	for i := range homes {
		if homes[i] = Home(r.Uint()); homes[i] == 0 || homes[i] > Buckets {
			return nil, fmt.Errorf("its home %d is not known", homes[i])
		}
		if !a.owns(homes[i]) {
			return nil, errScattered
		}
	}
	return homes, r.Err()
}

func (h Home) copyKey(table uint64) []byte {
	return binary.BigEndian.AppendUint64(h.meta(systemGroup, metaTable), table)
}

func (a *application) adopt(r *attr.Reader) (*Result, error) {
	homes, err := a.readHomes(r)
	if err != nil {
		return nil, err
	}
	text := append([]byte(nil), r.Rest()...)
	var t Table
	if err := json.Unmarshal(text, &t); err != nil {
		return nil, fmt.Errorf("reading the description of a table: %w", err)
	}
	for _, h := range homes {
		known := a.m.byID(h, t.ID)
		if known != nil && known.Generation >= t.Generation {
			continue
		}
		if known != nil {
			if err := a.dropGone(h, known, &t); err != nil {
				return nil, err
			}
		}
		if err := a.b.Set(h.copyKey(t.ID), text, nil); err != nil {
			return nil, err
		}
		a.m.copied(h, &t)
	}
	return &Result{ID: t.ID}, nil
}

func (m *Machine) copied(h Home, t *Table) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.copies[h] == nil {
		m.copies[h] = map[uint64]*Table{}
	}
	m.copies[h][t.ID] = t
}

func (a *application) abandon(r *attr.Reader) (*Result, error) {
	homes, err := a.readHomes(r)
	if err != nil {
		return nil, err
	}
	id := r.Uint()
	for _, h := range homes {
		t := a.m.byID(h, id)
		if t == nil {
			continue
		}
		for _, p := range t.spans(h) {
			if err := a.dropPrefix(p); err != nil {
				return nil, err
			}
		}
		if err := a.b.Delete(h.copyKey(id), nil); err != nil {
			return nil, err
		}
		a.m.mu.Lock()
		delete(a.m.copies[h], id)
		a.m.mu.Unlock()
	}
	return &Result{ID: id}, nil
}

// Lacking are the homes of a table, of those given, whose copies of its description are older than this one.
func (m *Machine) Lacking(t *Table, of []Home) (homes []Home) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, h := range of {
		if known := m.copies[h][t.ID]; h != 0 && (known == nil || known.Generation < t.Generation) {
			homes = append(homes, h)
		}
	}
	return homes
}

// Copies are the homes at which there is something of tables, by their IDs.
func (m *Machine) Copies() map[uint64][]Home {
	m.mu.RLock()
	defer m.mu.RUnlock()
	all := map[uint64][]Home{}
	for h, tables := range m.copies {
		for id := range tables {
			all[id] = append(all[id], h)
		}
	}
	return all
}

// ByID returns the description of a table, nil if there is none.
func (m *Machine) ByID(id uint64) *Table { return m.byID(0, id) }

// readCopies reads the descriptions that buckets have.
func readCopies(r pebble.Reader) (map[Home]map[uint64]*Table, error) {
	all := map[Home]map[uint64]*Table{}
	for h := Home(1); h <= Buckets; h++ {
		prefix := h.meta(systemGroup, metaTable)
		it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
		if err != nil {
			return nil, fmt.Errorf("reading the tables: %w", err)
		}
		for ok := it.First(); ok; ok = it.Next() {
			var t Table
			if err := json.Unmarshal(it.Value(), &t); err != nil {
				return nil, errors.Join(fmt.Errorf("reading the description of a table at %x: %w", it.Key(), err), it.Close())
			}
			if all[h] == nil {
				all[h] = map[uint64]*Table{}
			}
			all[h][t.ID] = &t
		}
		if err := it.Close(); err != nil {
			return nil, fmt.Errorf("reading the tables: %w", err)
		}
	}
	return all, nil
}

// trimHome forgets old changes and old transactions of a bucket.
func (a *application) trimHome(instant int64) error {
	a.m.mu.RLock()
	var streams []Stream
	for _, t := range a.m.copies[a.home] {
		streams = append(streams, t.Streams...)
	}
	a.m.mu.RUnlock()
	for _, s := range streams {
		if err := a.trimStream(s, instant-StreamAge); err != nil {
			return err
		}
	}
	return a.trimFates(instant)
}

// Due says whether an item of a table at a home has expired at the instant, in milliseconds.
func Due(r pebble.Reader, t *Table, h Home, instant int64) (bool, error) {
	if t.TTL == "" {
		return false, nil
	}
	return some(r, t.due(h, instant/1000))
}

// Trimmable says whether TrimCommand would forget something at a home.
func Trimmable(r pebble.Reader, h Home, tables []*Table, instant int64) (bool, error) {
	for _, t := range tables {
		if h == 0 && slices.ContainsFunc(t.Streams, func(s Stream) bool { return s.Ended != 0 && s.Ended < instant-StreamAge }) {
			return true, nil
		}
	}
	low := h.meta(systemGroup, metaAge)
	high := binary.BigEndian.AppendUint64(append([]byte(nil), low...), uint64(max(instant-tokenAge, 0)))
	if yes, err := some(r, &pebble.IterOptions{LowerBound: low, UpperBound: high}); yes || err != nil {
		return yes, err
	}
	for _, t := range tables {
		for _, s := range t.Streams {
			first, err := ChangesAt(r, h, s.ID, 0, 1, MaxPage)
			if err != nil || len(first) > 0 && first[0].Instant < instant-StreamAge {
				return err == nil, err
			}
		}
	}
	decided, err := Decisions(r, h, 1000)
	for _, d := range decided {
		if d.Fate == Aborted && d.Decided < instant-fateAge {
			return true, nil
		}
	}
	return false, err
}

func some(r pebble.Reader, of *pebble.IterOptions) (bool, error) {
	it, err := r.NewIter(of)
	if err != nil {
		return false, err
	}
	found := it.First()
	return found, it.Close()
}
