package raftlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// KV is a key with its value.
type KV struct{ Key, Value []byte }

const maxTableBytes = 64 << 20

// Restore is a snapshot on its way into the database. Rows are written to tables beside it as they come; when it is
// committed, they, the metadata and the beginning of the log take the place of what was there in one atomic step, so a
// crash leaves the replica as it was before or as it is after.
type Restore struct {
	log        *Log
	group      uint64
	start, end []byte // the span of rows that it brings
	clear      []byte // rows up to here go

	tables  []string
	out     *sstable.Writer
	size    int
	last    []byte
	meta    []KV
	state   State
	least   uint64 // the group's tombstone
	index   uint64
	term    uint64
	destroy []uint64 // other groups whose rows the span covers
}

// NewRestore begins a snapshot of a group whose rows are those in [start, end).
func (l *Log) NewRestore(group uint64, start, end []byte) *Restore {
	return &Restore{log: l, group: group, start: bytes.Clone(start), end: bytes.Clone(end)}
}

// Add takes the next pairs, in ascending order of their keys: rows of the span first, then metadata of the group.
func (r *Restore) Add(pairs []KV) error {
	metaStart, metaEnd := MetaSpan(r.group)
	for _, p := range pairs {
		if r.last != nil && bytes.Compare(p.Key, r.last) <= 0 {
			return fmt.Errorf("snapshot of group %d: key %x does not follow %x", r.group, p.Key, r.last)
		}
		r.last = bytes.Clone(p.Key)
		switch {
		case bytes.Compare(p.Key, metaStart) >= 0 && bytes.Compare(p.Key, metaEnd) < 0:
			r.meta = append(r.meta, KV{r.last, bytes.Clone(p.Value)})
		case bytes.Compare(p.Key, r.start) >= 0 && bytes.Compare(p.Key, r.end) < 0 && len(r.meta) == 0:
			if err := r.addRow(p); err != nil {
				return fmt.Errorf("snapshot of group %d: %w", r.group, err)
			}
		default:
			return fmt.Errorf("snapshot of group %d: key %x is not of the group", r.group, p.Key)
		}
	}
	return nil
}

func (r *Restore) addRow(p KV) (err error) {
	if r.out != nil && r.size >= maxTableBytes {
		if err := r.closeTable(); err != nil {
			return err
		}
	}
	if r.out == nil {
		if r.out, err = r.newTable(); err != nil {
			return err
		}
	}
	r.size += len(p.Key) + len(p.Value)
	return r.out.Set(p.Key, p.Value)
}

func (r *Restore) newTable() (*sstable.Writer, error) {
	number := r.log.files.Add(1)
	fs := r.log.cfg.FS
	name := fs.PathJoin(r.log.cfg.Dir, fmt.Sprintf("%016x.sst", number))
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	r.tables, r.size = append(r.tables, name), 0
	format := r.log.db.FormatMajorVersion().MaxTableFormat()
	return sstable.NewWriter(objstorageprovider.NewFileWritable(f), sstable.WriterOptions{TableFormat: format}), nil
}

func (r *Restore) closeTable() error {
	if r.out == nil {
		return nil
	}
	err := r.out.Close()
	r.out = nil
	return err
}

// Meta returns the value of a metadata key that the snapshot brings, nil if it brings none.
func (r *Restore) Meta(key []byte) []byte {
	for _, p := range r.meta {
		if bytes.Equal(p.Key, key) {
			return p.Value
		}
	}
	return nil
}

// Finish says that everything was added. What was added is on disk when it returns.
func (r *Restore) Finish() error {
	if err := r.closeTable(); err != nil {
		return fmt.Errorf("snapshot of group %d: %w", r.group, err)
	}
	return nil
}

// Restore stages a finished snapshot: the log of the group is empty after (index, term), its state is s, and the other
// groups given are gone. Rows up to clear, which is the end of the snapshot's span or behind it, are replaced.
func (w *Write) Restore(r *Restore, s State, index, term uint64, clear []byte, others []uint64) {
	g := w.log.Group(r.group)
	r.clear = bytes.Clone(clear)
	r.state, r.least, r.index, r.term, r.destroy = s, g.tombstone, index, term, others
	g.state, g.staged = s, index
	w.steps = append(w.steps, step{restore: r})
	w.sync = true
	w.done = append(w.done, func() {
		staged := g.staged
		g.cache, g.bytes, g.last = nil, 0, 0
		g.cutOff(index, term)
		g.staged = staged
		for _, id := range others {
			w.log.groups[id] = &Group{id: id, log: w.log, tombstone: ^uint64(0)}
		}
	})
}

func (r *Restore) commit() error {
	out, err := r.newTable()
	if err != nil {
		return fmt.Errorf("snapshot of group %d: %w", r.group, err)
	}
	if err := errors.Join(r.writeMeta(out), out.Close()); err != nil {
		return fmt.Errorf("snapshot of group %d: %w", r.group, err)
	}
	span := pebble.KeyRange{Start: r.start, End: r.clear}
	if _, err := r.log.db.IngestAndExcise(context.Background(), r.tables, nil, nil, span); err != nil {
		return fmt.Errorf("snapshot of group %d: %w", r.group, err)
	}
	r.tables = nil
	return nil
}

// writeMeta writes the table that replaces metadata and log. Its range deletions do not touch its own keys, because a
// deletion only hides what is older than the table.
func (r *Restore) writeMeta(out *sstable.Writer) error {
	groups := append([]uint64{r.group}, r.destroy...)
	slices.Sort(groups)
	for _, span := range []func(uint64) ([]byte, []byte){MetaSpan, logSpan} {
		for _, id := range groups {
			start, end := span(id)
			if err := out.DeleteRange(start, end); err != nil {
				return err
			}
		}
	}
	for _, p := range r.meta {
		if err := out.Set(p.Key, p.Value); err != nil {
			return err
		}
	}
	for _, id := range groups {
		if id != r.group {
			if err := out.Set(tombstoneRecord(id, ^uint64(0))); err != nil {
				return err
			}
			continue
		}
		state, start := logKey(id, stateKind), logKey(id, startKind)
		s := r.state
		if err := out.Set(state, encodeNumbers(state, s.Replica, s.Term, s.Vote, s.Commit)); err != nil {
			return err
		}
		if err := out.Set(start, encodeNumbers(start, r.index, r.term)); err != nil {
			return err
		}
		if r.least > 0 {
			if err := out.Set(tombstoneRecord(id, r.least)); err != nil {
				return err
			}
		}
	}
	return nil
}

func tombstoneRecord(id, least uint64) (key, value []byte) {
	key = logKey(id, tombstoneKind)
	return key, encodeNumbers(key, least)
}

// Discard removes what a snapshot that will not be committed left beside the database.
func (r *Restore) Discard() {
	if r.out != nil {
		_ = r.out.Close() // it is thrown away
		r.out = nil
	}
	for _, name := range r.tables {
		_ = r.log.cfg.FS.Remove(name) // Open removes what is left
	}
	r.tables = nil
}
