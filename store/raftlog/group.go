package raftlog

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// State is what a replica must not forget.
type State struct {
	Replica uint64 // its own id
	Term    uint64
	Vote    uint64
	Commit  uint64
}

// Group is the log of this node's replica of one group. Its reading methods are those of raft.Storage.
type Group struct {
	id  uint64
	log *Log
	err error

	state            State
	start, startTerm uint64 // the last entry that was cut off; entries begin after it
	last             uint64 // the last entry that is on disk, start if there is none
	staged           uint64 // the last entry that will be on disk once all Writes are committed
	tombstone        uint64
	forward          []byte
	least            uint64 // the first entry that was found while loading

	cache []*raftpb.Entry // the newest entries; the last one is entry last, unless empty
	bytes int             // of data in cache
}

// Err says why the log cannot be used: it is damaged.
func (g *Group) Err() error { return g.err }

// State returns what was last staged of the state.
func (g *Group) State() State { return g.state }

// Start returns index and term of the last entry that was cut off, zeros if the log begins with entry 1.
func (g *Group) Start() (index, term uint64) { return g.start, g.startTerm }

// Tombstone is the least replica id that may exist on this node: those below were destroyed.
func (g *Group) Tombstone() uint64 { return g.tombstone }

// Forward is what was left with the tombstone for those who ask for a replica that was destroyed, nil if nothing was.
func (g *Group) Forward() []byte { return g.forward }

func (g *Group) fail(err error) {
	if err != nil && g.err == nil {
		g.err = err
	}
}

func (g *Group) lowest(index uint64) {
	if g.least == 0 {
		g.least = index
	}
}

// FirstIndex implements raft.Storage.
func (g *Group) FirstIndex() (uint64, error) { return g.start + 1, g.err }

// LastIndex implements raft.Storage.
func (g *Group) LastIndex() (uint64, error) { return g.last, g.err }

// Term implements raft.Storage.
func (g *Group) Term(index uint64) (uint64, error) {
	switch {
	case g.err != nil:
		return 0, g.err
	case index < g.start:
		return 0, raft.ErrCompacted
	case index == g.start:
		return g.startTerm, nil
	case index > g.last:
		return 0, raft.ErrUnavailable
	}
	if e := g.cached(index); e != nil {
		return e.GetTerm(), nil
	}
	e, err := g.read(index)
	if err != nil {
		return 0, err
	}
	return e.GetTerm(), nil
}

// Entries implements raft.Storage.
func (g *Group) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	switch {
	case g.err != nil:
		return nil, g.err
	case lo <= g.start:
		return nil, raft.ErrCompacted
	case hi > g.last+1:
		return nil, raft.ErrUnavailable
	}
	var out []*raftpb.Entry
	var size uint64
	for index := lo; index < hi; index++ {
		e := g.cached(index)
		if e == nil {
			var err error
			if e, err = g.read(index); err != nil {
				return nil, err
			}
		}
		if size += uint64(EntrySize(e)); size > maxSize && len(out) > 0 {
			break
		}
		out = append(out, e)
	}
	return out, nil
}

// EntrySize is about how many bytes an entry takes on disk and on the wire.
func EntrySize(e *raftpb.Entry) int { return len(e.Data) + 12 }

func (g *Group) cached(index uint64) *raftpb.Entry {
	if n := uint64(len(g.cache)); n > 0 && index <= g.last && g.last-index < n {
		return g.cache[n-1-(g.last-index)]
	}
	return nil
}

func (g *Group) read(index uint64) (*raftpb.Entry, error) {
	key := entryKey(g.id, index)
	value, closer, err := g.log.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		err = fmt.Errorf("%w: group %d: no entry %d between %d and %d", ErrCorrupt, g.id, index, g.start, g.last)
	}
	if err != nil {
		g.fail(err)
		return nil, err
	}
	e, err := decodeEntry(key, value, index)
	g.fail(err)
	return e, errors.Join(err, closer.Close())
}

// appended takes over entries that are on disk now.
func (g *Group) appended(entries []*raftpb.Entry) {
	first := entries[0].GetIndex()
	switch keep := int64(first) - int64(g.last) - 1 + int64(len(g.cache)); {
	case keep <= 0:
		g.cache, g.bytes = nil, 0
	default:
		for _, e := range g.cache[keep:] {
			g.bytes -= len(e.Data)
		}
		g.cache = g.cache[:keep] // nobody else has it, so what is appended need not be a copy of all of it
	}
	for _, e := range entries {
		g.bytes += len(e.Data)
	}
	g.cache = append(g.cache, entries...)
	g.last = g.cache[len(g.cache)-1].GetIndex()
	if g.bytes <= g.log.cfg.CacheBytes*5/4 {
		return
	}
	drop := 0
	for g.bytes > g.log.cfg.CacheBytes && drop < len(g.cache)-1 {
		g.bytes -= len(g.cache[drop].Data)
		drop++
	}
	g.cache = append([]*raftpb.Entry(nil), g.cache[drop:]...)
}

// cutOff drops what the log held up to index.
func (g *Group) cutOff(index, term uint64) {
	keep := uint64(0)
	if g.last > index {
		keep = min(g.last-index, uint64(len(g.cache)))
	}
	for _, e := range g.cache[:uint64(len(g.cache))-keep] {
		g.bytes -= len(e.Data)
	}
	g.cache = append([]*raftpb.Entry(nil), g.cache[uint64(len(g.cache))-keep:]...)
	g.start, g.startTerm = index, term
	g.last, g.staged = max(g.last, index), max(g.staged, index)
}
