package shard

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/banyanhq/banyan/store/filter"
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
	// Wrote is told, while a command is applied, the data key of each item that changes. nil: nobody is.
	Wrote func(key []byte)

	mu     sync.RWMutex
	tables map[uint64]*Table
	names  map[string]*Table
	copies map[Home]map[uint64]*Table // that buckets have of the descriptions of their tables
	locked map[Home]*filter.Filter    // of the data keys of items that are locked, and some that were; those of a home that is not there are yet to be read
}

// Open reads the descriptions of the group's tables, as they are in r.
func Open(r pebble.Reader, group uint64) (*Machine, error) {
	m := &Machine{}
	return m, m.Reload(r, group)
}

// Reload reads them anew, where what is stored has changed by other means than Apply.
func (m *Machine) Reload(r pebble.Reader, group uint64) error {
	tables, names := map[uint64]*Table{}, map[string]*Table{}
	prefix := metaKey(group, metaTable)
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return fmt.Errorf("reading the tables: %w", err)
	}
	for it.First(); it.Valid(); it.Next() {
		var t Table
		if err := json.Unmarshal(it.Value(), &t); err != nil {
			return errors.Join(fmt.Errorf("reading the description of a table at %x: %w", it.Key(), err), it.Close())
		}
		tables[t.ID], names[t.Name] = &t, &t
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("reading the tables: %w", err)
	}
	copies, err := readCopies(r)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tables, m.names, m.copies, m.locked = tables, names, copies, map[Home]*filter.Filter{}
	return nil
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

// byID is the description by which what is at a home is changed.
func (m *Machine) byID(h Home, id uint64) *Table {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if h != 0 {
		return m.copies[h][id]
	}
	return m.tables[id]
}
