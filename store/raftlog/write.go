package raftlog

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3/raftpb"
)

// Write is what all groups want to have on disk next: one batch, one sync, and snapshots between batches where there
// are any. What is staged in it is not seen by the reading methods of groups before Done.
type Write struct {
	log   *Log
	steps []step
	done  []func()
	sync  bool
}

type step struct {
	batch   *pebble.Batch
	restore *Restore
}

// NewWrite returns an empty Write.
func (l *Log) NewWrite() *Write { return &Write{log: l} }

// Empty says whether there is nothing to commit.
func (w *Write) Empty() bool { return len(w.steps) == 0 && !w.sync }

// MustSync says whether somebody waits for this to be durable. If not it may wait for the next Write that is.
func (w *Write) MustSync() bool { return w.sync }

// Sync makes Commit return only once everything staged, and everything written to the database before, is on disk.
func (w *Write) Sync() { w.sync = true }

func (w *Write) batch() *pebble.Batch {
	if n := len(w.steps); n > 0 && w.steps[n-1].batch != nil {
		return w.steps[n-1].batch
	}
	b := w.log.db.NewBatch()
	w.steps = append(w.steps, step{batch: b})
	return b
}

// SetState stages the state of a replica.
func (w *Write) SetState(g *Group, s State) error {
	g.state = s
	return setState(w.batch(), g.id, s)
}

func setState(b *pebble.Batch, group uint64, s State) error {
	var key [logKeySize]byte
	var body [4 * binary.MaxVarintLen64]byte
	return SetSealed(b, appendLogKey(key[:0], group, stateKind), appendNumbers(body[:0], s.Replica, s.Term, s.Vote, s.Commit))
}

// Append stages entries, which follow each other. Those that the log has from the first one's index on are dropped.
func (w *Write) Append(g *Group, entries []*raftpb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	first, last := entries[0].GetIndex(), entries[len(entries)-1].GetIndex()
	if first <= g.start || first > g.staged+1 {
		return fmt.Errorf("append to log of group %d: entry %d does not follow %d..%d", g.id, first, g.start, g.staged)
	}
	b := w.batch()
	for i, e := range entries {
		if e.GetIndex() != first+uint64(i) {
			return fmt.Errorf("append to log of group %d: entry %d where %d is due", g.id, e.GetIndex(), first+uint64(i))
		}
		if err := setEntry(b, g.id, e); err != nil {
			return err
		}
	}
	if g.staged > last {
		if err := b.DeleteRange(entryKey(g.id, last+1), entryKey(g.id, g.staged+1), nil); err != nil {
			return err
		}
	}
	g.staged = last
	w.done = append(w.done, func() { g.appended(entries) })
	return nil
}

// Cut stages that the log forgets its entries up to index, which has been applied and has the term given. Readers see
// it at once.
func (w *Write) Cut(g *Group, index, term uint64) error {
	if index <= g.start {
		return nil
	}
	b := w.batch()
	if err := b.DeleteRange(entryKey(g.id, g.start+1), entryKey(g.id, index+1), nil); err != nil {
		return err
	}
	g.cutOff(index, term)
	return setStart(b, g.id, index, term)
}

func setStart(b pebble.Writer, group, index, term uint64) error {
	key := logKey(group, startKind)
	return b.Set(key, encodeNumbers(key, index, term), nil)
}

// WriteBeginning writes to the batch, which the caller commits, a log that is empty after the entry given.
func WriteBeginning(b *pebble.Batch, group uint64, s State, index, term uint64) error {
	if err := setStart(b, group, index, term); err != nil {
		return err
	}
	return setState(b, group, s)
}

// Begin makes readers see what WriteBeginning wrote of a group that had no log.
func (l *Log) Begin(id uint64, s State, index, term uint64) {
	g := l.Group(id)
	g.state = s
	g.cutOff(index, term)
}

// Destroy stages the end of a replica: its log and metadata go, and rows in [start, end) if start is not nil. Replicas
// of the group with an id below least may not exist here any more. forward is for those who ask for them; without, they get the answer that
// an earlier one left.
func (w *Write) Destroy(id, least uint64, start, end, forward []byte) error {
	b := w.batch()
	if start != nil {
		if err := b.DeleteRange(start, end, nil); err != nil {
			return err
		}
	}
	metaStart, metaEnd := MetaSpan(id)
	if err := b.DeleteRange(metaStart, metaEnd, nil); err != nil {
		return err
	}
	logStart, logEnd := logSpan(id)
	if err := b.DeleteRange(logStart, logEnd, nil); err != nil {
		return err
	}
	known := w.log.Group(id)
	if forward == nil {
		forward = known.forward
	}
	least = max(least, known.tombstone)
	w.log.groups[id] = &Group{id: id, log: w.log, tombstone: least, forward: forward}
	return SetTombstone(b, id, least, forward)
}

// SetTombstone writes that replicas of the group with an id below least may not exist on this node, and where those who ask for them are to
// ask instead, if that is known.
func SetTombstone(b pebble.Writer, id, least uint64, forward []byte) error {
	key, value := tombstoneRecord(id, least)
	if err := b.Set(key, value, nil); err != nil || forward == nil {
		return err
	}
	key, value = forwardRecord(id, forward)
	return b.Set(key, value, nil)
}

// Commit carries the Write out. After an error nothing more may be written: what is on disk is unknown.
func (l *Log) Commit(w *Write) error {
	mode := pebble.NoSync
	if w.sync {
		mode = pebble.Sync
	}
	for i, s := range w.steps {
		if s.restore != nil {
			if err := s.restore.commit(); err != nil {
				return fmt.Errorf("raft log: %w", err)
			}
			continue
		}
		// One sync covers every batch before it, the write-ahead log being one.
		if i < len(w.steps)-1 {
			if err := l.db.Apply(s.batch, pebble.NoSync); err != nil {
				return fmt.Errorf("raft log: %w", err)
			}
			continue
		}
		if err := l.db.Apply(s.batch, mode); err != nil {
			return fmt.Errorf("raft log: %w", err)
		}
	}
	if n := len(w.steps); w.sync && (n == 0 || w.steps[n-1].batch == nil) {
		if err := l.db.LogData(nil, pebble.Sync); err != nil {
			return fmt.Errorf("raft log: %w", err)
		}
	}
	if err := l.cfg.Failure(); err != nil {
		return fmt.Errorf("raft log: %w", err)
	}
	return nil
}

// Done makes readers see what was committed.
func (l *Log) Done(w *Write) error {
	for _, f := range w.done {
		f()
	}
	return w.Close()
}

// Close gives up what the Write holds.
func (w *Write) Close() (err error) {
	for _, s := range w.steps {
		if s.batch != nil {
			err = s.batch.Close()
		}
		if s.restore != nil {
			s.restore.Discard()
		}
	}
	w.steps, w.done = nil, nil
	return err
}
