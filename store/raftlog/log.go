package raftlog

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
)

// Config says where a log lies and how much of it is kept in memory.
type Config struct {
	FS  vfs.FS // of the database
	Dir string // for files on their way into the database: inside the database's own file system; emptied by Open

	CacheBytes int // of the newest entries of each group that are kept in memory; default 1 MiB

	// Failure is why the database can't be written any more, nil while it can. Pebble returns no error for a write that it could not put
	// on disk, but calls its Logger's Fatalf: whoever gave it one that does not end the process says so here. Default: it never fails so.
	Failure func() error
}

// Log is the one log of a node.
type Log struct {
	cfg    Config
	db     *pebble.DB
	groups map[uint64]*Group
	files  atomic.Uint64 // that were made in Dir
}

// Open reads what the database holds of all logs and checks every record. A group whose log is damaged is among the
// groups all the same, with an error.
func Open(db *pebble.DB, cfg Config) (*Log, error) {
	if cfg.CacheBytes <= 0 {
		cfg.CacheBytes = 1 << 20
	}
	if cfg.Failure == nil {
		cfg.Failure = func() error { return nil }
	}
	if err := cfg.FS.RemoveAll(cfg.Dir); err != nil {
		return nil, fmt.Errorf("open raft log: %w", err)
	}
	if err := cfg.FS.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("open raft log: %w", err)
	}
	l := &Log{cfg: cfg, db: db, groups: map[uint64]*Group{}}
	if err := l.load(); err != nil {
		return nil, fmt.Errorf("open raft log: %w", err)
	}
	return l, nil
}

func (l *Log) load() error {
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte{logPrefix}, UpperBound: []byte{logPrefix + 1}})
	if err != nil {
		return err
	}
	type found struct {
		entries []*raftpb.Entry
		bytes   int
	}
	logs := map[uint64]*found{}
	for it.First(); it.Valid(); it.Next() {
		id, kind, index, err := parseKey(it.Key())
		if err != nil {
			return errors.Join(err, it.Close())
		}
		g := l.Group(id)
		value, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(err, it.Close())
		}
		switch kind {
		case stateKind:
			s := &g.state
			g.fail(decodeNumbers(it.Key(), value, &s.Replica, &s.Term, &s.Vote, &s.Commit))
		case startKind:
			g.fail(decodeNumbers(it.Key(), value, &g.start, &g.startTerm))
		case tombstoneKind:
			g.fail(decodeNumbers(it.Key(), value, &g.tombstone))
		case forwardKind:
			body, err := Unseal(it.Key(), value)
			g.forward = slices.Clone(body)
			g.fail(err)
		case entryKind:
			e, err := decodeEntry(it.Key(), value, index)
			if err != nil {
				g.fail(err)
				continue
			}
			f := logs[id]
			if f == nil {
				f = &found{}
				logs[id] = f
			}
			if n := len(f.entries); n > 0 && f.entries[n-1].GetIndex()+1 != index {
				g.fail(fmt.Errorf("%w: group %d: entry %d follows entry %d", ErrCorrupt, id, index, f.entries[n-1].GetIndex()))
			}
			f.entries, f.bytes = append(f.entries, e), f.bytes+len(e.Data)
			for f.bytes > l.cfg.CacheBytes && len(f.entries) > 1 {
				f.bytes -= len(f.entries[0].Data)
				g.lowest(f.entries[0].GetIndex())
				f.entries = f.entries[1:]
			}
		}
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return err
	}
	for id, f := range logs {
		g := l.groups[id]
		g.lowest(f.entries[0].GetIndex())
		g.cache, g.bytes = slices.Clone(f.entries), f.bytes
		g.last = g.cache[len(g.cache)-1].GetIndex()
	}
	for id, g := range l.groups {
		if g.least != 0 && g.least != g.start+1 {
			g.fail(fmt.Errorf("%w: group %d: log begins after entry %d, first entry is %d", ErrCorrupt, id, g.start, g.least))
		}
		g.last = max(g.last, g.start)
		g.staged = g.last
	}
	return nil
}

// DB is the database that the log lies in.
func (l *Log) DB() *pebble.DB { return l.db }

// Groups returns the ids of all groups that the node has something of, in ascending order.
func (l *Log) Groups() []uint64 {
	ids := make([]uint64, 0, len(l.groups))
	for id := range l.groups {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Group returns the log of a group, an empty one if the node has nothing of it.
func (l *Log) Group(id uint64) *Group {
	g := l.groups[id]
	if g == nil {
		g = &Group{id: id, log: l}
		l.groups[id] = g
	}
	return g
}

// Forget drops a log from memory, after its Destroy was committed.
func (l *Log) Forget(id uint64) { delete(l.groups, id) }
