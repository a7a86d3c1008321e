package replica

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/banyanhq/banyan/store/filter"
	"github.com/banyanhq/banyan/store/raftlog"
)

// group is this node's replica of a group.
type group struct {
	id   uint64
	self uint64 // id of the replica
	log  *raftlog.Group
	raft *raft.RawNode
	err  error // it has failed and takes no part any more
	hurt error // rows that a snapshot needs can't be read; its log and its votes are sound

	leaving     bool // it was removed from the group, and stays until a majority of the others knows that as well
	hasData     bool // false: a replica that waits for its first snapshot, or for the split that makes it
	state       state
	applied     uint64
	appliedTerm uint64
	nodes       map[uint64]uint64 // replica -> node, as messages told; the descriptor goes before

	releases map[uint64]bool // those of the group that know, and said so, that this replica was removed
	voters   []voter         // that the group has or had, as others said

	leader   uint64 // replica, 0 if unknown
	role     raft.StateType
	hard     raftlog.State // of which the commit index may be newer than on disk
	term     uint64
	campaign uint64 // tick at which it stands for election if there is no leader; 0: when the algorithm's own wait is over

	asleep    bool
	idleTicks int
	dirty     bool
	bytes     int // of entries appended since the log was cut
	recent    recentForwards
	tokens    *filter.Filter // that are remembered, and some that were; nil: yet to be read
	proposed  []proposed     // in this round of work, for the Raft algorithm
	sent      []lastSent     // by the replica that is sent to

	wait      []*read // for a round of reads that is not begun
	round     *readRound
	confirmed []confirmedReads
	lease     lease

	streams  map[uint64]*stream // by the replica that is sent to
	incoming *incoming
	restore  bool // a snapshot is on its way to the disk
	merging  *merge
}

// load makes the replica of what the database holds.
func (c *core) load(id uint64) error {
	l := c.log.Group(id)
	s, index, term, found, err := readState(c.db, id)
	if err == nil {
		err = l.Err()
	}
	if err != nil {
		// Which rows it owns may be unknown; the descriptor on other nodes says so.
		g := &group{id: id, self: l.State().Replica, log: l, state: s, hasData: found}
		c.add(g)
		c.failGroup(g, err)
		return nil
	}
	self := l.State().Replica
	switch {
	case self < l.Tombstone():
		return c.staged.Destroy(id, l.Tombstone(), nil, nil, nil)
	case !found && self == 0:
		return nil // nothing but a tombstone
	}
	g := &group{id: id, self: self, log: l, state: s, applied: index, appliedTerm: term, hasData: found}
	g.leaving = found && s.desc.replica(self) == nil
	if c.planted.has(bugForgetApplied) && found {
		if start, t := l.Start(); start < index {
			g.applied, g.appliedTerm = start, t
		}
	}
	c.add(g)
	c.runLater(g, 2) // if there is a leader it speaks up; if all nodes start anew, none waits for a timeout
	return c.start(g)
}

// start begins to take part in the group.
func (c *core) start(g *group) error {
	g.nodes, g.streams = map[uint64]uint64{}, map[uint64]*stream{}
	if !g.hasData {
		g.state = state{conf: &raftpb.ConfState{}}
	}
	node, err := raft.NewRawNode(&raft.Config{
		ID: g.self, ElectionTick: c.cfg.ElectionTicks, HeartbeatTick: c.cfg.HeartbeatTicks,
		Storage: g, Applied: g.applied, AsyncStorageWrites: true,
		MaxSizePerMsg: 1 << 20, MaxCommittedSizePerReady: 4 << 20, MaxUncommittedEntriesSize: uint64(c.cfg.MaxUncommitted),
		MaxInflightMsgs: 64, MaxInflightBytes: 16 << 20,
		CheckQuorum: true, PreVote: true, DisableProposalForwarding: true, StepDownOnRemoval: true,
		Logger: silence{},
	})
	if err != nil {
		return err
	}
	g.raft = node
	g.hard = g.log.State()
	g.term = node.BasicStatus().HardState.GetTerm()
	return nil
}

// InitialState implements raft.Storage. An applied entry was committed, so a commit index that was lost is made up.
func (g *group) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	s := g.log.State()
	hard := &raftpb.HardState{Term: new(s.Term), Vote: new(s.Vote), Commit: new(max(s.Commit, g.applied))}
	c := g.state.clone()
	return hard, c.conf, nil
}

// Entries implements raft.Storage.
func (g *group) Entries(lo, hi, size uint64) ([]*raftpb.Entry, error) {
	return g.log.Entries(lo, hi, size)
}

// Term implements raft.Storage.
func (g *group) Term(index uint64) (uint64, error) { return g.log.Term(index) }

// FirstIndex implements raft.Storage.
func (g *group) FirstIndex() (uint64, error) { return g.log.FirstIndex() }

// LastIndex implements raft.Storage.
func (g *group) LastIndex() (uint64, error) { return g.log.LastIndex() }

// Snapshot implements raft.Storage. The data are read when the snapshot is sent.
func (g *group) Snapshot() (*raftpb.Snapshot, error) {
	if !g.hasData || g.restore {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	c := g.state.clone()
	return &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		ConfState: c.conf, Index: new(g.applied), Term: new(g.appliedTerm)}}, nil
}

func (c *core) add(g *group) {
	c.groups[g.id] = g
	if at, found := slices.BinarySearch(c.ids, g.id); !found {
		c.ids = slices.Insert(c.ids, at, g.id)
	}
	c.sortSpans()
}

// drop forgets a group. What waits for it is given up.
func (c *core) drop(g *group) {
	c.abandonReads(g, ErrNotHere)
	c.dropIncoming(g)
	for _, to := range g.streamIDs() {
		c.endStream(g, g.streams[to])
	}
	delete(c.groups, g.id)
	c.ids = slices.DeleteFunc(c.ids, func(id uint64) bool { return id == g.id })
	g.raft = nil
	c.sortSpans()
}

func (c *core) sortSpans() {
	c.spans = c.spans[:0]
	for _, id := range c.ids {
		if g := c.groups[id]; g.hasData {
			c.spans = append(c.spans, g)
		}
	}
	slices.SortFunc(c.spans, func(a, b *group) int { return bytes.Compare(a.state.desc.Start, b.state.desc.Start) })
}

// route returns the group that owns the key, nil if this node has no replica of it.
func (c *core) route(key []byte) *group {
	at, found := slices.BinarySearchFunc(c.spans, key, func(g *group, key []byte) int { return bytes.Compare(g.state.desc.Start, key) })
	if !found {
		at--
	}
	if at < 0 || !c.spans[at].state.desc.Contains(key) {
		return nil
	}
	return c.spans[at]
}

// removeOverlaps ends replicas whose rows another one took over before a crash could be seen in both.
func (c *core) removeOverlaps() error {
	for i := 0; i+1 < len(c.spans); {
		a, b := c.spans[i], c.spans[i+1]
		if !a.state.desc.overlaps(b.state.desc.Start, b.state.desc.End) {
			i++
			continue
		}
		if a.state.desc.Generation < b.state.desc.Generation {
			a, b = b, a
		}
		if a.err != nil || b.err != nil {
			return fmt.Errorf("groups %d and %d both own [%x, %x): %w", a.id, b.id, b.state.desc.Start, b.state.desc.End, raftlog.ErrCorrupt)
		}
		c.drop(b)
		if err := c.staged.Destroy(b.id, ^uint64(0), nil, nil, (&forward{left: a.id, index: a.applied}).append(nil)); err != nil {
			return err
		}
	}
	return nil
}

// failGroup stops a replica that is damaged, for good. It keeps its id, and so its place among the voters, without
// voting: to take part again the node needs a replica with another id.
func (c *core) failGroup(g *group, err error) {
	if g.err != nil {
		return
	}
	g.err = fmt.Errorf("%w: group %d: %w", ErrFailed, g.id, err)
	g.raft = nil
	c.stats.FailedGroups++
	c.abandonReads(g, g.err)
	c.dropIncoming(g)
	for _, to := range g.streamIDs() {
		c.endStream(g, g.streams[to])
	}
}

// node is where a replica is, 0 if unknown.
func (g *group) node(replica uint64) uint64 {
	if r := g.state.desc.replica(replica); r != nil {
		return r.Node
	}
	return g.nodes[replica]
}

func (g *group) leads() bool { return g.raft != nil && g.role == raft.StateLeader }

func (c *core) wake(g *group) {
	g.asleep, g.idleTicks = false, 0
}

// work lets the Raft algorithm go on, until it has nothing to do without the disk or the network.
func (c *core) work(g *group) {
	c.proposeAll(g)
	c.beginRound(g)
	c.guard(g, func() {
		for g.raft != nil && g.raft.HasReady() {
			c.handle(g, g.raft.Ready())
		}
	})
	c.checkIncoming(g)
}

func (c *core) handle(g *group, rd raft.Ready) {
	if term := rd.HardState.GetTerm(); term != 0 && term != g.term { // one without a change has none
		g.term = term
		g.lease = lease{}
	}
	if rd.SoftState != nil {
		c.ledBy(g, rd.SoftState)
	}
	for _, r := range rd.ReadStates {
		c.readState(g, r)
	}
	var apply []*raftpb.Message
	for _, m := range rd.Messages {
		switch m.GetTo() {
		case raft.LocalAppendThread:
			c.persist(g, m)
		case raft.LocalApplyThread:
			apply = append(apply, m)
		default:
			c.sendRaft(g, m)
		}
	}
	for _, m := range apply {
		if g.raft != nil {
			c.apply(g, m)
		}
	}
}

// persist stages what must be on disk before the answers that come with it go out.
func (c *core) persist(g *group, m *raftpb.Message) {
	if m.GetTerm() != 0 || m.GetVote() != 0 || m.GetCommit() != 0 {
		g.hard = raftlog.State{Replica: g.self, Term: m.GetTerm(), Vote: m.GetVote(), Commit: m.GetCommit()}
		if c.planted.has(bugForgetVote) {
			g.hard.Vote = 0
		}
	}
	a := answer{g: g, messages: m.Responses}
	var err error
	if !raft.IsEmptySnap(m.Snapshot) {
		a.restored, a.index, err = c.stageRestore(g, g.hard, m.Snapshot)
	} else if c.mustKeep(g, len(m.Entries) > 0) {
		err = c.staged.SetState(g.log, g.hard)
	}
	if err == nil && len(m.Entries) > 0 {
		g.bytes += entriesSize(m.Entries)
		err = c.staged.Append(g.log, c.plantInEntries(m.Entries))
	}
	if err != nil {
		c.failDisk(err)
		return
	}
	switch {
	case len(m.Responses) == 0:
		return
	case c.staged.Empty() && c.inflight != nil:
		c.waiting = append(c.waiting, a) // it speaks of nothing newer than what is on its way
		return
	case c.staged.Empty():
		c.deliver(g, m.Responses)
		return
	}
	if !c.planted.has(bugSkipSync) || a.restored != nil {
		c.staged.Sync()
	}
	if c.planted.has(bugAnswerBeforeSync) && a.restored == nil {
		var self []*raftpb.Message
		for _, r := range m.Responses {
			if r.GetTo() == g.self {
				self = append(self, r)
			} else {
				c.sendRaft(g, r)
			}
		}
		a.messages = self
	}
	c.answers = append(c.answers, a)
}

// mustKeep says whether the state of the replica is to be on disk with what is staged. How far entries are committed is made up from
// the applied index where it is lost, so that alone need not be. But entries must not get to disk without it: one that changes the
// replicas again was proposed once the change before it was applied, and a replica that has both in its log, and does not know that
// the first one is committed, would stand for election among replicas that may be none any more.
func (c *core) mustKeep(g *group, entries bool) bool {
	known := g.log.State()
	if !entries {
		known.Commit = g.hard.Commit
	}
	return g.hard != known
}

// lease is how long this leader may answer reads alone.
type lease struct {
	until time.Duration
	given bool // it tried to hand over its leadership, and must never trust a lease of this term again
}

// silence is a logger for the Raft algorithm, which says too much. Its panics remain panics.
type silence struct{}

func (silence) Debug(...any)            {}
func (silence) Debugf(string, ...any)   {}
func (silence) Error(...any)            {}
func (silence) Errorf(string, ...any)   {}
func (silence) Info(...any)             {}
func (silence) Infof(string, ...any)    {}
func (silence) Warning(...any)          {}
func (silence) Warningf(string, ...any) {}
func (silence) Fatal(v ...any)          { panic(fmt.Sprint(v...)) }
func (silence) Fatalf(f string, v ...any) {
	panic(fmt.Errorf(f, v...))
}
func (silence) Panic(v ...any) { panic(fmt.Sprint(v...)) }
func (silence) Panicf(f string, v ...any) {
	panic(fmt.Errorf(f, v...))
}
