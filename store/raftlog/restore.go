package raftlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// KV is a key with its value.
type KV struct{ Key, Value []byte }

const maxTableBytes = 64 << 20

// Restore is a snapshot on its way into the database. Rows are written to tables beside it as they come; when it is
// committed, they, the metadata and the beginning of the log take the place of what was there in one atomic step, so a
// crash leaves the replica as it was before or as it is after. What was there is hidden by range deletions in these same
// tables and not by an excise, which would take it away from snapshots of the database that readers have open.
type Restore struct {
	log        *Log
	group      uint64
	start, end []byte // the span of rows that it brings
	clear      []byte // rows up to here go

	tables  []string
	out     *sstable.Writer // the table that is being written, which hides older rows from its first key on
	first   []byte
	size    int
	last    []byte
	meta    []KV
	state   State
	least   uint64 // the group's tombstone
	forward []byte // for those who ask for groups that are destroyed
	index   uint64
	term    uint64
	destroy []uint64 // other groups whose rows the span covers
}

// NewRestore begins a snapshot of a group whose rows are those in [start, end).
func (l *Log) NewRestore(group uint64, start, end []byte) *Restore {
	r := &Restore{log: l, group: group, start: bytes.Clone(start), end: bytes.Clone(end)}
	r.first = r.start
	return r
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
		if err := r.closeTable(r.last); err != nil {
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

// closeTable finishes the table of rows, which replaces what was there up to end.
func (r *Restore) closeTable(end []byte) error {
	err := errors.Join(r.out.DeleteRange(r.first, end), r.out.Close())
	r.out, r.first = nil, end
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

// Restore stages a snapshot to which everything was added: the log of the group is empty after (index, term), its state is s, and the other
// groups given are gone, with forward for those who ask for them. Rows up to clear, which is the end of the snapshot's span or behind it, are
// replaced.
func (w *Write) Restore(r *Restore, s State, index, term uint64, clear []byte, others []uint64, forward []byte) {
	g := w.log.Group(r.group)
	r.clear = bytes.Clone(clear)
	r.state, r.least, r.index, r.term, r.destroy = s, g.tombstone, index, term, others
	r.forward = forward
	g.state, g.staged = s, index
	w.steps = append(w.steps, step{restore: r})
	w.sync = true
	w.done = append(w.done, func() {
		staged := g.staged
		g.cache, g.bytes, g.last = nil, 0, 0
		g.cutOff(index, term)
		g.staged = staged
		for _, id := range others {
			w.log.groups[id] = &Group{id: id, log: w.log, tombstone: ^uint64(0), forward: forward}
		}
	})
}

func (r *Restore) commit() (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("snapshot of group %d: %w", r.group, err)
		}
	}()
	if r.out == nil { // no rows: there is something to hide all the same
		if r.out, err = r.newTable(); err != nil {
			return err
		}
	}
	if err := r.closeTable(r.clear); err != nil {
		return err
	}
	meta, err := r.newTable()
	if err != nil {
		return err
	}
	if err := errors.Join(r.writeMeta(meta), meta.Close()); err != nil {
		return err
	}
	if err := r.log.db.Ingest(context.Background(), r.tables); err != nil {
		return err
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
			if r.forward != nil {
				if err := out.Set(forwardRecord(id, r.forward)); err != nil {
					return err
				}
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

func forwardRecord(id uint64, forward []byte) (key, value []byte) {
	key = logKey(id, forwardKind)
	return key, Seal(key, forward)
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
