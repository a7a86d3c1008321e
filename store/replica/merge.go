package replica

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"

	"github.com/banyanhq/banyan/store/raftlog"
)

// A merge goes in three steps. The right group is frozen by a command: from then on it answers no commands and no
// consistent reads. Once every replica of it has all of its log, which only its leader knows, the left group is told by
// a command to take over its keys; on each node that carries out what the right replica had yet to apply, and ends it.
// Whoever leads the left group finds a frozen neighbour and goes on, so a crash between the steps only delays.
//
// If that takes too long, because a node is down or the replicas were moved meanwhile, the left group first makes sure
// by a command that no merge proposed so far can happen any more: each names the state of the group that it was made
// for, of which this changes the generation. Then the right one is thawed.
//
// A freeze may come to pass so late that whoever leads the left group has no replica of the right one any more, and never learns of it. A node
// that has both takes the lead then.

// merge is a merge that this leader of the left group is busy with.
type merge struct {
	right    uint64
	event    uint64
	frozen   bool   // the freeze was proposed
	proposed bool   // so was the merge
	begun    uint64 // tick
	aborting bool
	aborted  bool   // no merge can happen any more, and the right group is to be thawed
	from     uint64 // the generation that an abort changes
}

// mergeRight begins to merge the right neighbour into the group.
func mergeRight(c *core, g *group, event uint64) error {
	right := c.route(g.state.desc.End)
	switch {
	case right == nil || right.err != nil || !bytes.Equal(right.state.desc.Start, g.state.desc.End):
		return fmt.Errorf("%w: group %d has no right neighbour on this node", ErrRefused, g.id)
	case g.merging != nil || g.state.frozen:
		return fmt.Errorf("%w: group %d is being merged", ErrRefused, g.id)
	case c.missing(&right.state, c.cfg.ElectionTicks) != 0:
		return fmt.Errorf("%w: node %d is not heard of, and all replicas of group %d are needed to merge it", ErrRefused, c.missing(&right.state, c.cfg.ElectionTicks), right.id)
	case !sameNodes(&g.state, &right.state):
		return fmt.Errorf("%w: groups %d and %d do not have voters on the same nodes", ErrRefused, g.id, right.id)
	}
	if !right.leads() {
		return c.follow(g, right)
	}
	g.merging = &merge{right: right.id, event: event, begun: c.tick}
	c.tickMerge(g)
	return nil
}

// follow hands the leadership of the left group to the node that leads the right one.
func (c *core) follow(g, right *group) error {
	node := right.node(right.leader)
	if on := g.state.desc.on(node); node != 0 && on != nil && c.tick%8 == 0 {
		g.lease.given = true
		c.stats.Transfers++
		c.guard(g, func() { g.raft.TransferLeader(on.ID) })
		c.mark(g)
	}
	c.wake(right)
	return &NotLeaderError{Group: right.id, Leader: node}
}

// takeOver asks the leader of a group whose right neighbour is frozen to hand over, if it has no replica of that.
func (c *core) takeOver(g, right *group) {
	self := g.state.desc.replica(g.self)
	if node := g.node(g.leader); self == nil || self.Learner || node == 0 || right.state.desc.on(node) != nil {
		return
	}
	c.wake(g)
	c.guard(g, func() { g.raft.TransferLeader(g.self) })
	c.mark(g)
}

// sameNodes says whether two groups have voters on the same nodes, and nothing else.
func sameNodes(a, b *state) bool {
	if a.joint() || b.joint() || len(a.desc.Replicas) != len(b.desc.Replicas) {
		return false
	}
	for _, r := range a.desc.Replicas {
		if on := b.desc.on(r.Node); on == nil || r.Learner || on.Learner {
			return false
		}
	}
	return true
}

// missing is a node with a replica from which nothing came for so many ticks, 0 if there is none.
func (c *core) missing(s *state, ticks int) uint64 {
	for _, r := range s.desc.Replicas {
		if c.quiet(r.Node, ticks) {
			return r.Node
		}
	}
	return 0
}

func (c *core) tickMerge(g *group) {
	if !g.hasData || g.raft == nil {
		return
	}
	m := g.merging
	if m == nil {
		if g.state.frozen || !g.leads() && c.tick%16 != 0 { // followers are many, and seldom have to take over
			return
		}
		right := c.neighbour(g)
		if right == nil || !right.state.frozen {
			return
		}
		if !g.leads() {
			c.takeOver(g, right)
			return
		}
		m = &merge{right: right.id, frozen: true, begun: c.tick}
		g.merging = m
	}
	right := c.groups[m.right]
	switch {
	case right == nil: // done
		c.endMerge(g, nil)
		return
	case right != c.neighbour(g) || !g.leads() || right.raft == nil:
		c.endMerge(g, ErrUnknownOutcome)
		return
	}
	c.wake(g)
	c.wake(right)
	// While it is frozen the right group serves nobody, so it does not wait for a node that has died; but a busy node may be late.
	late := c.tick > m.begun+uint64(c.cfg.TimeoutTicks)/2 || c.missing(&right.state, 2*c.cfg.ElectionTicks) != 0
	switch {
	case m.aborting && !right.state.frozen:
		c.endMerge(g, fmt.Errorf("%w: not all replicas could be brought together in time", ErrUnavailable))
	case m.aborting:
		c.tickAbort(g, right)
	case late && right.state.frozen:
		m.aborting, m.from, m.begun = true, g.state.desc.Generation, c.tick
		c.tickAbort(g, right)
	case late:
		c.endMerge(g, ErrUnknownOutcome) // the freeze may still happen; then this begins again
	case !right.leads():
		_ = c.follow(g, right)
	case !right.state.frozen && !m.frozen:
		m.frozen = true
		c.submit(0, command{kind: commandFreeze, key: right.state.desc.Start})
	case right.state.frozen && sameNodes(&g.state, &right.state) && right.everywhere() && (!m.proposed || c.tick%32 == 0):
		m.proposed = true
		c.submit(0, command{kind: commandMerge, key: g.state.desc.Start, group: right.id, index: right.applied, body: encodeState(&g.state)})
	}
}

// tickAbort goes on with calling a merge off, one command after the other.
func (c *core) tickAbort(g, right *group) {
	m := g.merging
	aborted := g.state.desc.Generation != m.from
	if aborted != m.aborted {
		m.aborted, m.begun = aborted, c.tick
	}
	switch {
	case (c.tick-m.begun)%16 != 0:
	case aborted:
		c.submit(0, command{kind: commandThaw, key: right.state.desc.Start})
	default:
		c.submit(0, command{kind: commandAbort, key: g.state.desc.Start})
	}
}

func (c *core) endMerge(g *group, err error) {
	if g.merging != nil {
		c.finish(g.merging.event, nil, err)
	}
	g.merging = nil
}

// neighbour is the group on the right, nil if it is not here.
func (c *core) neighbour(g *group) *group {
	right := c.route(g.state.desc.End)
	if right == nil || !bytes.Equal(right.state.desc.Start, g.state.desc.End) {
		return nil
	}
	return right
}

// everywhere says whether all replicas have all that this leader has applied on their disks.
func (g *group) everywhere() bool {
	all := true
	g.raft.WithProgress(func(_ uint64, _ raft.ProgressType, pr tracker.Progress) {
		all = all && pr.Match >= g.applied
	})
	return all
}

func (a *application) freeze() (refused error) {
	if a.next.joint() {
		return fmt.Errorf("%w: replicas of group %d are being changed", ErrRefused, a.g.id)
	}
	a.next.frozen, a.changed = true, true
	if !a.c.planted.has(bugForgetFreeze) {
		a.next.desc.Generation++
	}
	return nil
}

// merge takes over the keys of the right neighbour. What it checks to refuse is the same on all replicas; anything else
// that does not fit is damage.
func (a *application) merge(index uint64, cmd *command) (refused, err error) {
	if !bytes.Equal(cmd.body, encodeState(&a.next)) {
		return fmt.Errorf("%w: group %d was changed in the meantime", ErrRefused, a.g.id), nil
	}
	c, right := a.c, a.c.groups[cmd.group]
	if right == nil || right.err != nil || !right.hasData || right.restore || !bytes.Equal(right.state.desc.Start, a.next.desc.End) {
		return nil, fmt.Errorf("group %d is to be merged and is not here: %w", cmd.group, raftlog.ErrCorrupt)
	}
	rest := &application{c: c, g: right, batch: a.batch, next: right.state.clone(), within: true}
	if right.applied < cmd.index && c.planted.has(bugMergeLosesTail) {
		right.applied, rest.next.frozen = cmd.index, true
	}
	if right.applied < cmd.index {
		entries, err := right.log.Entries(right.applied+1, cmd.index+1, ^uint64(0))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			o, err := rest.entry(e)
			if err != nil {
				return nil, err
			}
			right.applied, right.appliedTerm = e.GetIndex(), e.GetTerm()
			rest.outcomes = append(rest.outcomes, o)
		}
	}
	if right.applied < cmd.index || !rest.next.frozen {
		return nil, fmt.Errorf("group %d is to be merged at %d and stands at %d: %w", right.id, cmd.index, right.applied, raftlog.ErrCorrupt)
	}
	if err := a.copyTokens(right.id, a.g.id, index); err != nil {
		return nil, err
	}
	c.newTokens(a.g)
	start, end := raftlog.MetaSpan(right.id)
	on := (&forward{left: a.g.id, index: index}).append(nil)
	if err := errors.Join(a.batch.DeleteRange(start, end, nil), raftlog.SetTombstone(a.batch, right.id, ^uint64(0), on)); err != nil {
		return nil, err
	}
	a.next.desc.End = bytes.Clone(rest.next.desc.End)
	a.next.desc.Generation = max(a.next.desc.Generation, rest.next.desc.Generation) + 1
	a.changed = true
	c.stats.Merges++
	a.after = append(a.after, func() {
		for _, o := range rest.outcomes {
			c.proposals.outcome(c, right, o)
		}
		for _, f := range rest.after {
			f()
		}
		reads := slices.Clone(c.takeReads(right))
		c.drop(right)
		if err := c.staged.Destroy(right.id, ^uint64(0), nil, nil, on); err != nil {
			c.failDisk(err)
			return
		}
		for _, r := range reads {
			c.admit(r)
		}
		if m := a.g.merging; m != nil && m.right == right.id {
			c.endMerge(a.g, nil)
		}
	})
	return nil, nil
}
