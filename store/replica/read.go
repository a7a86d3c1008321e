package replica

import (
	"encoding/binary"

	"slices"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
)

// View is the database at one instant. Reading through it is safe until it is closed, whatever is applied meanwhile.
type View struct {
	*pebble.Snapshot
	group  Descriptor
	shared *sharedSnapshot
}

type sharedSnapshot struct {
	snapshot *pebble.Snapshot
	users    atomic.Int64
}

// Group is the descriptor of the group that owned the key at that instant. Only its span is sure to be complete.
func (v *View) Group() Descriptor { return v.group }

// Close gives the view back. It must be called once.
func (v *View) Close() error {
	if v.shared.users.Add(-1) > 0 {
		return nil
	}
	return v.shared.snapshot.Close()
}

// readKey asks for a view of the group that owns the key: a linearizable one if consistent, otherwise that which this
// node has at once.
type readKey struct {
	event      uint64
	key        []byte
	consistent bool
}

type read struct {
	readKey
	group   *group
	expires uint64
}

// readRound is one question to a majority whether this leader still leads. The reads of a round waited before it began.
type readRound struct {
	context uint64
	reads   []*read
	term    uint64
	leads   bool
	begun   time.Duration
	at      uint64 // tick
}

// confirmedReads may be answered once index is applied.
type confirmedReads struct {
	index uint64
	reads []*read
}

func (e readKey) happen(c *core) {
	if c.reads >= c.cfg.MaxPendingReads {
		c.stats.Refused++
		c.finish(e.event, nil, ErrOverloaded)
		return
	}
	c.reads++
	c.admit(&read{readKey: e, expires: c.tick + uint64(c.cfg.TimeoutTicks)})
}

// admit puts a read where it has to wait.
func (c *core) admit(r *read) {
	g := c.route(r.key)
	switch {
	case g == nil || g.leaving || g.restore && !r.consistent:
		c.endRead(r, ErrNotHere)
		return
	case g.err != nil:
		c.endRead(r, g.err)
		return
	}
	r.group = g
	switch {
	case !r.consistent || c.planted.has(bugReadAnywhere) || c.planted.has(bugReadAtLeader) && g.leads():
		c.ready = append(c.ready, r)
	case c.leased(g) && !g.state.frozen:
		commit := g.raft.BasicStatus().HardState.GetCommit()
		c.stats.LeaseReads++
		g.confirmed = append(g.confirmed, confirmedReads{commit, []*read{r}})
		c.confirmReads(g)
	default:
		c.wake(g)
		g.wait = append(g.wait, r)
		c.mark(g)
	}
}

// leased says whether this replica knows that no other can have been elected until now. Reads that were asked for until
// now see all that was acknowledged before, even if they are carried out a little later.
func (c *core) leased(g *group) bool {
	switch {
	case !c.cfg.LeaseReads || !g.leads():
		return false
	case c.planted.has(bugLeaseForever):
		return g.lease.until > 0
	}
	return c.now < g.lease.until && (!g.lease.given || c.planted.has(bugLeaseAfterTransfer))
}

// beginRound asks the majority for all reads that wait, one round at a time: a read must not join a round that began
// before it was asked for.
func (c *core) beginRound(g *group) {
	if g.raft == nil || len(g.wait) == 0 || g.round != nil || g.leader == 0 || g.state.frozen || c.alone(g) {
		if c.planted.has(bugJoinRound) && g.round != nil {
			g.round.reads, g.wait = append(g.round.reads, g.wait...), nil
		}
		return
	}
	g.round = &readRound{context: c.next(), reads: g.wait, term: g.term, leads: g.leads(), begun: c.now, at: c.tick}
	g.wait = nil
	// The life is part of the context, so that a late answer to an earlier run of this node is not taken for one to this.
	context := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, c.life), g.round.context)
	c.stats.ReadRounds++
	c.guard(g, func() { g.raft.ReadIndex(context) })
}

// alone says whether this replica is the only voter, leads, and has not committed anything in its term yet. The Raft algorithm lets
// a leader with followers wait for that before it says how far a read must see, but not one without: after a restart that would say
// less than it had acknowledged before.
func (c *core) alone(g *group) bool {
	conf := g.state.conf
	if len(conf.GetVoters()) != 1 || len(conf.GetVotersOutgoing()) != 0 || c.planted.has(bugReadEarly) {
		return false
	}
	s := g.raft.BasicStatus()
	if s.RaftState != raft.StateLeader {
		return false
	}
	term, err := g.log.Term(s.HardState.GetCommit())
	return err != nil || term != s.HardState.GetTerm()
}

// restartRound lets the reads of a round wait for the next one.
func (c *core) restartRound(g *group) *readRound {
	if g.round != nil {
		g.wait = append(g.round.reads, g.wait...)
		c.mark(g)
	}
	return nil
}

func (c *core) readState(g *group, rs raft.ReadState) {
	if len(rs.RequestCtx) != 16 || g.round == nil || binary.BigEndian.Uint64(rs.RequestCtx) != c.life ||
		binary.BigEndian.Uint64(rs.RequestCtx[8:]) != g.round.context {
		return
	}
	round := g.round
	g.round = nil
	if round.leads && g.leads() && round.term == g.term {
		g.lease.until = max(g.lease.until, round.begun+c.cfg.lease())
	}
	g.confirmed = append(g.confirmed, confirmedReads{rs.Index, round.reads})
	c.confirmReads(g)
	c.mark(g)
}

// confirmReads lets reads go whose index is applied.
func (c *core) confirmReads(g *group) {
	g.confirmed = slices.DeleteFunc(g.confirmed, func(cr confirmedReads) bool {
		if cr.index > g.applied && !c.planted.has(bugReadUnapplied) {
			return false
		}
		c.ready = append(c.ready, cr.reads...)
		return true
	})
}

// answerReads gives those that may go one view of the database between them.
func (c *core) answerReads() {
	if len(c.ready) == 0 {
		return
	}
	ready := c.ready
	c.ready = nil
	var shared *sharedSnapshot
	for _, r := range ready {
		g := c.route(r.key)
		if g == nil || g != r.group || g.err != nil || g.state.frozen && r.consistent {
			// The key changes its group: what was confirmed for the old one says nothing of the new.
			c.admit(r)
			continue
		}
		if shared == nil {
			shared = &sharedSnapshot{snapshot: c.db.NewSnapshot()}
			shared.users.Add(1) // ours, until all have theirs
		}
		shared.users.Add(1)
		c.reads--
		c.effects.results = append(c.effects.results, result{id: r.event,
			view: &View{Snapshot: shared.snapshot, group: g.state.desc.clone(), shared: shared}})
	}
	if shared != nil && shared.users.Add(-1) == 0 {
		_ = shared.snapshot.Close() // cannot be: there was a reader
	}
}

func (c *core) endRead(r *read, err error) {
	c.reads--
	c.finish(r.event, nil, err)
}

// abandonReads gives up the reads that wait for a group.
func (c *core) abandonReads(g *group, err error) {
	for _, r := range c.takeReads(g) {
		c.endRead(r, err)
	}
}

func (c *core) takeReads(g *group) []*read {
	all := g.wait
	if g.round != nil {
		all = append(all, g.round.reads...)
	}
	for _, cr := range g.confirmed {
		all = append(all, cr.reads...)
	}
	g.wait, g.round, g.confirmed = nil, nil, nil
	return all
}

// tickReads gives up reads that are too old, and asks again if a round was lost.
func (c *core) tickReads(g *group) {
	if g.round != nil && c.tick >= g.round.at+uint64(c.cfg.maxReadRoundTicks) {
		g.round = c.restartRound(g)
	}
	expired := func(r *read) bool {
		if c.tick < r.expires {
			return false
		}
		c.endRead(r, ErrUnavailable)
		return true
	}
	g.wait = slices.DeleteFunc(g.wait, expired)
	for i := range g.confirmed {
		g.confirmed[i].reads = slices.DeleteFunc(g.confirmed[i].reads, expired)
	}
	if len(g.wait) > 0 {
		c.mark(g)
	}
}
