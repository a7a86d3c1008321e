package replica

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/banyanhq/banyan/store/raftlog"
)

// stream is a snapshot on its way to another replica: chunks of the rows and then of the metadata of the group, as they
// were when it began. A few chunks are on the way at a time; those that are not acknowledged are kept and sent again.
type stream struct {
	id       uint64
	to       uint64
	node     uint64
	snapshot *pebble.Snapshot
	it       *pebble.Iterator
	inMeta   bool
	span     [2][]byte // of the group when it began
	index    uint64
	logTerm  uint64

	unacked []*chunk
	next    uint64 // seq of the next chunk
	read    bool   // all chunks were made
	moved   uint64 // tick of the last progress
	sent    uint64 // tick at which chunks were last sent
}

func (g *group) streamIDs() []uint64 {
	ids := make([]uint64, 0, len(g.streams))
	for to := range g.streams {
		ids = append(ids, to)
	}
	slices.Sort(ids)
	return ids
}

// startStream sends what the Raft algorithm wants sent as a snapshot.
func (c *core) startStream(g *group, m *raftpb.Message) {
	to := m.GetTo()
	node := g.node(to)
	active := 0
	for _, other := range c.spans {
		active += len(other.streams)
	}
	if g.hurt != nil {
		c.abdicate(g)
	}
	if g.hurt != nil || g.streams[to] != nil || node == 0 || active >= c.cfg.MaxSnapshots || m.Snapshot.GetMetadata().GetIndex() != g.applied {
		c.guard(g, func() { g.raft.ReportSnapshot(to, raft.SnapshotFailure) }) // it asks again
		return
	}
	s := &stream{id: c.next(), to: to, node: node, snapshot: c.db.NewSnapshot(), index: g.applied, logTerm: g.appliedTerm,
		span: [2][]byte{g.state.desc.Start, g.state.desc.End}, moved: c.tick}
	if c.planted.has(bugSnapshotTooNew) {
		s.index++
	}
	g.streams[to] = s
	c.stats.SnapshotsSent++
	s.unacked = []*chunk{{stream: s.id, term: g.term, index: s.index, logTerm: s.logTerm, state: encodeState(&g.state)}}
	s.next = 1
	if c.fill(g, s) {
		c.sendChunks(g, s)
	}
}

// fill makes chunks until enough are on the way, unless the rows can't be read: then the stream ends.
func (c *core) fill(g *group, s *stream) bool {
	for !s.read && len(s.unacked) < c.cfg.snapshotWindow {
		ch, err := c.nextChunk(g, s)
		if err != nil {
			c.cannotSend(g, s, err)
			return false
		}
		s.unacked = append(s.unacked, ch)
	}
	return true
}

// cannotSend ends a stream of rows that can't be read. The replica goes on: what it acknowledged and whom it voted for may be what keeps a
// majority together until another one has sent what this one can't.
func (c *core) cannotSend(g *group, s *stream, err error) {
	g.hurt = fmt.Errorf("group %d: read snapshot: %w", g.id, err)
	c.endStream(g, s)
	c.guard(g, func() { g.raft.ReportSnapshot(s.to, raft.SnapshotFailure) })
	c.abdicate(g)
	c.mark(g)
}

// abdicate hands the leadership over to whoever can lead.
func (c *core) abdicate(g *group) {
	for i := range g.state.desc.Replicas {
		if r := &g.state.desc.Replicas[i]; g.leads() && r.ID != g.self && c.canLead(g, r) {
			c.transfer(g, r)
			return
		}
	}
}

func (c *core) nextChunk(g *group, s *stream) (*chunk, error) {
	ch := &chunk{stream: s.id, seq: s.next, term: g.term, index: s.index, logTerm: s.logTerm}
	s.next++
	var rows arena
	for size := 0; size < c.cfg.SnapshotChunk; {
		if s.it == nil {
			if err := s.open(s.span[0], s.span[1]); err != nil {
				return nil, err
			}
		}
		if !s.it.Valid() {
			err := errors.Join(s.it.Error(), s.it.Close())
			s.it = nil
			if err != nil {
				return nil, err
			}
			if s.inMeta {
				s.read, ch.last = true, true
				return ch, nil
			}
			s.inMeta = true
			start, end := raftlog.MetaSpan(g.id)
			if err := s.open(start, end); err != nil {
				return nil, err
			}
			continue
		}
		value, err := s.it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		if rows == nil {
			rows = make(arena, 0, c.cfg.SnapshotChunk+c.cfg.SnapshotChunk/16)
		}
		ch.pairs = append(ch.pairs, raftlog.KV{Key: rows.clone(s.it.Key()), Value: rows.clone(value)})
		size += len(s.it.Key()) + len(value)
		s.it.Next()
	}
	return ch, nil
}

// arena is room for many small pieces, of which the garbage collector sees one.
type arena []byte

func (a *arena) clone(b []byte) []byte {
	if cap(*a)-len(*a) < len(b) {
		return bytes.Clone(b)
	}
	at := len(*a)
	*a = append(*a, b...)
	return (*a)[at:len(*a):len(*a)]
}

func (s *stream) open(start, end []byte) (err error) {
	if s.it, err = s.snapshot.NewIter(&pebble.IterOptions{LowerBound: start, UpperBound: end}); err == nil {
		s.it.First()
	}
	return err
}

func (c *core) sendChunks(g *group, s *stream) {
	s.sent = c.tick
	for _, ch := range s.unacked {
		c.send(s.node, message{kind: kindChunk, group: g.id, from: g.self, to: s.to, chunk: ch})
	}
}

// acknowledged takes note that chunks arrived.
func (c *core) acknowledged(g *group, m *message) {
	s := g.streams[m.from]
	if s == nil || s.id != m.ack.stream {
		return
	}
	switch m.ack.end {
	case streamDone, streamRefused:
		c.endStream(g, s)
		status := raft.SnapshotFinish
		if m.ack.end == streamRefused {
			status = raft.SnapshotFailure
		}
		c.guard(g, func() { g.raft.ReportSnapshot(m.from, status) })
		c.mark(g)
		return
	}
	before := len(s.unacked)
	s.unacked = slices.DeleteFunc(s.unacked, func(ch *chunk) bool { return ch.seq < m.ack.next })
	if len(s.unacked) == before {
		return
	}
	s.moved = c.tick
	known := len(s.unacked)
	if !c.fill(g, s) || g.raft == nil {
		return
	}
	for _, ch := range s.unacked[known:] {
		s.sent = c.tick
		c.send(s.node, message{kind: kindChunk, group: g.id, from: g.self, to: s.to, chunk: ch})
	}
}

func (c *core) endStream(g *group, s *stream) {
	if s.it != nil {
		_ = s.it.Close() // its errors were seen while reading
	}
	_ = s.snapshot.Close()
	delete(g.streams, s.to)
}

func (c *core) tickStreams(g *group) {
	for _, to := range g.streamIDs() {
		s := g.streams[to]
		switch {
		case c.tick >= s.moved+uint64(c.cfg.snapshotGiveUp) || !g.leads():
			c.endStream(g, s)
			c.guard(g, func() { g.raft.ReportSnapshot(to, raft.SnapshotFailure) })
			c.mark(g)
		case c.tick >= s.sent+uint64(c.cfg.snapshotResend):
			c.sendChunks(g, s)
		}
	}
}

// incoming is a snapshot on its way to this replica.
type incoming struct {
	stream  uint64
	from    uint64 // replica
	node    uint64
	next    uint64
	state   state
	restore *raftlog.Restore
	end     []byte   // rows up to here go
	others  []uint64 // with those of these groups, which were merged into this one
	index   uint64
	staged  bool // the Raft algorithm took it
	over    bool // all chunks are here
	moved   uint64
}

func (c *core) gotChunk(g *group, node uint64, m *message) {
	ch := m.chunk
	in := g.incoming
	ack := func(next uint64, end chunkEnd) {
		c.send(node, message{kind: kindAck, group: g.id, from: g.self, to: m.from, ack: chunkAck{ch.stream, next, end}})
	}
	if ch.seq == 0 && g.hasData && !g.restore && ch.index <= g.applied {
		// A split made it meanwhile. If its leader went on sending what is not wanted it would never learn that, and could not commit anything
		// without this replica's vote, which would make the snapshot newer. The Raft algorithm tells it what is here.
		ack(0, streamDone)
		c.guard(g, func() {
			_ = g.raft.Step(&raftpb.Message{Type: raftpb.MsgSnap.Enum(), From: new(m.from), To: new(g.self), Term: new(ch.term),
				Snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{ConfState: g.state.clone().conf, Index: new(ch.index), Term: new(ch.logTerm)}}})
		})
		c.mark(g)
		return
	}
	if ch.seq == 0 && (in == nil || in.stream != ch.stream && !in.over) {
		c.dropIncoming(g)
		var err error
		if in, err = c.beginIncoming(g, node, m); err != nil {
			ack(0, streamRefused)
			return
		}
		g.incoming = in
	}
	if in == nil || in.stream != ch.stream || in.over {
		return
	}
	if ch.seq != in.next {
		ack(in.next, streamGoesOn)
		return
	}
	in.next++
	in.moved = c.tick
	if c.planted.has(bugSnapshotLosesRow) && ch.last && len(ch.pairs) > 0 {
		ch.pairs = slices.DeleteFunc(ch.pairs, func(p raftlog.KV) bool { return raftlog.IsData(p.Key) })
	}
	if c.planted.has(bugSnapshotLosesTokens) {
		lost := metaKey(g.id, tokenKind)
		ch.pairs = slices.DeleteFunc(ch.pairs, func(p raftlog.KV) bool { return bytes.HasPrefix(p.Key, lost) })
	}
	err := in.restore.Add(ch.pairs)
	if err != nil {
		c.stats.SnapshotsRefused++
		c.dropIncoming(g)
		ack(0, streamRefused)
		return
	}
	if !ch.last {
		ack(in.next, streamGoesOn)
		return
	}
	c.work(g) // what it can still apply of its log may change its span
	if g.incoming != in {
		return
	}
	if in.end, in.others, err = c.replaces(g, &in.state); err != nil {
		c.dropIncoming(g)
		ack(0, streamRefused)
		return
	}
	in.over = true
	ack(in.next, streamDone)
	conf := in.state.clone().conf
	c.guard(g, func() {
		_ = g.raft.Step(&raftpb.Message{Type: raftpb.MsgSnap.Enum(), From: new(m.from), To: new(g.self), Term: new(ch.term),
			Snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{ConfState: conf, Index: new(ch.index), Term: new(ch.logTerm)}}})
	})
	c.work(g)
}

func (c *core) beginIncoming(g *group, node uint64, m *message) (*incoming, error) {
	active := 0
	for _, id := range c.ids {
		if c.groups[id].incoming != nil {
			active++
		}
	}
	if active >= c.cfg.MaxSnapshotsIn || g.restore {
		return nil, ErrOverloaded
	}
	s, err := decodeState(m.chunk.state)
	if err != nil {
		return nil, err
	}
	if s.desc.Group != g.id || s.desc.replica(g.self) == nil || m.chunk.index <= g.applied {
		return nil, fmt.Errorf("%w: snapshot of group %d at %d is not for replica %d at %d", ErrRefused, s.desc.Group, m.chunk.index, g.self, g.applied)
	}
	if _, _, err := c.replaces(g, &s); err != nil {
		return nil, err
	}
	return &incoming{stream: m.chunk.stream, from: m.from, node: node, state: s, index: m.chunk.index, moved: c.tick,
		restore: c.log.NewRestore(g.id, s.desc.Start, s.desc.End)}, nil
}

// replaces says which rows go when the group gets the state s: those of its span as it is and as it will be, so up to
// end, and those of other groups which it took over and which are here still. It did if it has their first key now, which they never give
// away, and had it not; it may have given away the last ones again. Any other overlap with what is here, or on its way here, is an error:
// that group has yet to learn that it was split.
func (c *core) replaces(g *group, s *state) (end []byte, others []uint64, err error) {
	start, end := s.desc.Start, s.desc.End
	if g.hasData && bytes.Compare(g.state.desc.End, end) > 0 {
		end = g.state.desc.End
	}
	for _, id := range c.ids {
		other := c.groups[id]
		if other == g {
			continue
		}
		d := &other.state.desc
		if !other.hasData || !d.overlaps(start, end) {
			continue
		}
		if !g.hasData || bytes.Compare(d.Start, g.state.desc.End) < 0 || bytes.Compare(d.Start, s.desc.End) >= 0 || d.Generation >= s.desc.Generation {
			return nil, nil, fmt.Errorf("%w: snapshot of group %d overlaps group %d", ErrRefused, g.id, other.id)
		}
		others = append(others, other.id)
		if bytes.Compare(d.End, end) > 0 {
			end = d.End
		}
	}
	for _, id := range c.ids {
		other := c.groups[id]
		if in := other.incoming; other != g && in != nil && !c.planted.has(bugSnapshotsOverlap) && in.state.desc.overlaps(start, end) {
			return nil, nil, fmt.Errorf("%w: snapshot of group %d overlaps that of group %d", ErrRefused, g.id, other.id)
		}
	}
	return end, others, nil
}

// checkIncoming drops a snapshot that the Raft algorithm did not want.
func (c *core) checkIncoming(g *group) {
	if in := g.incoming; in != nil && in.over && !in.staged {
		c.dropIncoming(g)
	}
}

func (c *core) dropIncoming(g *group) {
	if g.incoming != nil && !g.incoming.staged {
		g.incoming.restore.Discard()
	}
	g.incoming = nil
}

// stageRestore puts the snapshot that arrived into the next Write.
func (c *core) stageRestore(g *group, s raftlog.State, snap *raftpb.Snapshot) (*raftlog.Restore, uint64, error) {
	in, index := g.incoming, snap.GetMetadata().GetIndex()
	if in == nil || !in.over || in.index != index {
		return nil, 0, fmt.Errorf("group %d: no snapshot at entry %d has arrived", g.id, index)
	}
	in.staged, g.restore = true, true
	s.Replica = g.self
	for _, id := range in.others {
		if other := c.groups[id]; other != nil {
			c.drop(other)
		}
	}
	c.staged.Restore(in.restore, s, index, snap.GetMetadata().GetTerm(), in.end, in.others, (&forward{left: g.id, index: index}).append(nil))
	return in.restore, index, nil
}

// restored takes over what a snapshot brought, now that it is in the database.
func (c *core) restored(g *group, _ *raftlog.Restore, index uint64) {
	g.incoming, g.restore = nil, false
	g.hurt = nil
	c.newTokens(g)
	s, applied, term, found, err := readState(c.db, g.id)
	if err != nil || !found || applied != index && !c.planted.has(bugSnapshotTooNew) {
		c.failGroup(g, fmt.Errorf("snapshot at %d brought state at %d: %w", index, applied, errors.Join(err, raftlog.ErrCorrupt)))
		return
	}
	if r, ok := c.machine.(Restorer); ok {
		if err := r.Restored(g.id); err != nil {
			c.failGroup(g, fmt.Errorf("snapshot at %d: %w", index, err))
			return
		}
	}
	g.state, g.applied, g.appliedTerm, g.hasData = s, index, term, true
	c.stats.SnapshotsApplied++
	c.sortSpans()
	c.confirmReads(g)
}

func (c *core) tickIncoming(g *group) {
	if in := g.incoming; in != nil && !in.over && c.tick >= in.moved+uint64(c.cfg.snapshotGiveUp) {
		c.dropIncoming(g)
	}
}
