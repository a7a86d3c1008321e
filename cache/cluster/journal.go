package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/banyanhq/banyan/cache/disk"
	"github.com/banyanhq/banyan/cache/persist"
)

// journal keeps what Raft must not forget: frames with what each of its steps has to have on disk. When it has grown, it is
// written anew, and begins with a snapshot.
type journal struct {
	dir  disk.FS
	log  *persist.Log
	mem  *raft.MemoryStorage
	conf *raftpb.ConfState
	base int64
}

const (
	journalName = "agreed.banyan"
	freshName   = journalName + ".new"
	rewriteFrom = 1 << 20 // bytes
	keepEntries = 64      // for nodes that lag a little
)

// What a frame has: kind, length, message.
const (
	hardKind     = 'h'
	entryKind    = 'e'
	snapshotKind = 's'
)

// ErrNoData says that there is no data of a cluster, and that none is to be begun.
var ErrNoData = errors.New("there are no data of a cluster here: bootstrap begins one, on each of its nodes, once; a node that has lost its data can't come back")

// openJournal reads what is there, or begins.
func openJournal(cfg *Config, dir disk.FS) (*journal, error) {
	j := &journal{dir: dir, mem: raft.NewMemoryStorage(), conf: &raftpb.ConfState{Voters: slices.Sorted(maps.Keys(cfg.Peers))}}
	if err := dir.Remove(freshName); err != nil {
		return nil, err
	}
	log, _, err := persist.OpenLog(dir, journalName, j.read, func(int64) error { return nil })
	switch {
	case err == nil:
		j.log, j.base = log, log.End()
		_, conf, err := j.mem.InitialState()
		if err == nil && !slices.Equal(conf.GetVoters(), j.conf.GetVoters()) {
			err = fmt.Errorf("the cluster has the nodes %v, and the peers are %v", conf.GetVoters(), j.conf.GetVoters())
		}
		if err != nil {
			return nil, errors.Join(err, log.Abandon())
		}
		return j, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case !cfg.Bootstrap:
		return nil, ErrNoData
	}
	first := &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{ConfState: j.conf, Index: new(uint64(1)), Term: new(uint64(1))}, Data: newMap().snapshot()}
	if err := j.mem.ApplySnapshot(first); err != nil {
		return nil, err
	}
	if err := j.mem.SetHardState(&raftpb.HardState{Term: new(uint64(1)), Vote: new(uint64(0)), Commit: new(uint64(1))}); err != nil {
		return nil, err
	}
	return j, j.rewrite()
}

func appendPart(b []byte, kind byte, m proto.Message) ([]byte, error) {
	raw, err := proto.Marshal(m)
	if err != nil {
		return b, err
	}
	b = append(b, kind)
	b = binary.AppendUvarint(b, uint64(len(raw)))
	return append(b, raw...), nil
}

// read takes a frame in.
func (j *journal) read(b []byte) error {
	for len(b) > 0 {
		kind := b[0]
		size, n := binary.Uvarint(b[1:])
		if n <= 0 || size > uint64(len(b)-1-n) {
			return errors.New("a message breaks off")
		}
		raw := b[1+n : 1+n+int(size)]
		b = b[1+n+int(size):]
		if err := j.readPart(kind, raw); err != nil {
			return err
		}
	}
	return nil
}

func (j *journal) readPart(kind byte, raw []byte) error {
	switch kind {
	case hardKind:
		var m raftpb.HardState
		if err := proto.Unmarshal(raw, &m); err != nil {
			return err
		}
		return j.mem.SetHardState(&m)
	case entryKind:
		var m raftpb.Entry
		if err := proto.Unmarshal(raw, &m); err != nil {
			return err
		}
		if last, _ := j.mem.LastIndex(); m.GetIndex() > last+1 {
			return fmt.Errorf("entry %d follows entry %d", m.GetIndex(), last)
		}
		return j.mem.Append([]*raftpb.Entry{&m})
	case snapshotKind:
		var m raftpb.Snapshot
		if err := proto.Unmarshal(raw, &m); err != nil {
			return err
		}
		return j.mem.ApplySnapshot(&m)
	}
	return fmt.Errorf("a message of kind %q", kind)
}

// save puts what a step of Raft asks for on the disk.
func (j *journal) save(rd *raft.Ready) error {
	var b []byte
	var err error
	if !raft.IsEmptySnap(rd.Snapshot) {
		if b, err = appendPart(b, snapshotKind, rd.Snapshot); err == nil {
			err = j.mem.ApplySnapshot(rd.Snapshot)
		}
	}
	for _, e := range rd.Entries {
		if err == nil {
			b, err = appendPart(b, entryKind, e)
		}
	}
	if err == nil {
		err = j.mem.Append(rd.Entries)
	}
	if err == nil && !raft.IsEmptyHardState(rd.HardState) {
		if b, err = appendPart(b, hardKind, rd.HardState); err == nil {
			err = j.mem.SetHardState(rd.HardState)
		}
	}
	if err == nil && len(b) > 0 {
		if err = j.log.Append(b); err == nil && rd.MustSync {
			err = j.log.Sync(j.log.End())
		}
	}
	if err != nil {
		return fmt.Errorf("keeping what the nodes agree on: %w", err)
	}
	return nil
}

// compact writes the journal anew, where it has grown: all up to an index is in the map.
func (j *journal) compact(applied uint64, m *Map) error {
	if j.log.End() < j.base+rewriteFrom {
		return nil
	}
	if _, err := j.mem.CreateSnapshot(applied, j.conf, m.snapshot()); err != nil && !errors.Is(err, raft.ErrSnapOutOfDate) {
		return err
	}
	if first, _ := j.mem.FirstIndex(); applied > first+keepEntries {
		if err := j.mem.Compact(applied - keepEntries); err != nil {
			return err
		}
	}
	return j.rewrite()
}

// rewrite writes the journal anew.
func (j *journal) rewrite() error {
	snapshot, err := j.mem.Snapshot()
	if err != nil {
		return err
	}
	b, err := appendPart(nil, snapshotKind, snapshot)
	if err != nil {
		return err
	}
	last, _ := j.mem.LastIndex()
	if from := snapshot.GetMetadata().GetIndex() + 1; from <= last {
		entries, err := j.mem.Entries(from, last+1, 1<<40)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if b, err = appendPart(b, entryKind, e); err != nil {
				return err
			}
		}
	}
	hard, _, err := j.mem.InitialState()
	if err == nil {
		b, err = appendPart(b, hardKind, hard)
	}
	if err != nil {
		return err
	}
	log, err := persist.CreateLog(j.dir, freshName)
	if err != nil {
		return err
	}
	if err = log.Append(b); err == nil {
		err = log.Seal()
	}
	if err == nil {
		err = j.dir.Rename(freshName, journalName)
	}
	if err == nil {
		err = j.dir.Sync()
	}
	if err != nil {
		return errors.Join(err, log.Abandon())
	}
	old := j.log
	j.log, j.base = log, log.End()
	if old != nil {
		return old.Abandon()
	}
	return nil
}

func (j *journal) close() error { return j.log.Close() }
