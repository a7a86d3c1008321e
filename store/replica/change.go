package replica

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"

	"github.com/banyanhq/banyan/store/raftlog"
)

// changeGroup asks for something that only a group's leader can begin.
type changeGroup struct {
	event uint64
	group uint64
	do    func(c *core, g *group, event uint64) error // finishes the event itself unless it returns an error
}

func (e changeGroup) happen(c *core) {
	g := c.groups[e.group]
	var err error
	switch {
	case g == nil || !g.hasData:
		err = ErrNotHere
	case g.err != nil:
		err = g.err
	case !g.leads():
		err = &NotLeaderError{Group: g.id, Leader: g.node(g.leader)}
	default:
		c.wake(g)
		err = e.do(c, g, e.event)
	}
	if err != nil {
		c.finish(e.event, nil, err)
	}
}

// changeReplicas proposes changes of where the replicas are.
func changeReplicas(changes []Change) func(*core, *group, uint64) error {
	return func(c *core, g *group, event uint64) error {
		if right := c.neighbour(g); g.state.joint() || g.state.frozen || g.merging != nil || right != nil && right.state.frozen {
			return fmt.Errorf("%w: group %d is being changed", ErrRefused, g.id)
		}
		for _, ch := range changes {
			if on := g.state.desc.on(ch.Node); ch.Kind == Promote && on != nil && !g.caughtUp(on.ID) {
				return fmt.Errorf("%w: the learner on node %d has not caught up", ErrRefused, ch.Node)
			}
		}
		seq := c.next()
		id := proposalID{c.cfg.Node, c.life, seq}
		cc, err := g.state.confChange(changes, id)
		if err != nil {
			return err
		}
		err = raft.ErrProposalDropped
		c.guard(g, func() { err = g.raft.ProposeConfChange(cc) })
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		c.proposals.add(&proposal{seq: seq, event: event, cmd: command{id: id, kind: commandFreeze, key: g.state.desc.Start},
			group: g.id, sent: true, attempt: 1, expires: c.tick + uint64(c.cfg.TimeoutTicks)})
		c.mark(g)
		return nil
	}
}

// caughtUp says whether a replica has all but the newest entries.
func (g *group) caughtUp(replica uint64) bool {
	near := false
	last, err := g.LastIndex()
	g.raft.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		near = near || id == replica && pr.State == tracker.StateReplicate && pr.Match+256 >= last
	})
	return near && err == nil
}

// transferLeader hands the leadership over to a node that has a voter.
func transferLeader(node uint64) func(*core, *group, uint64) error {
	return func(c *core, g *group, event uint64) error {
		on := g.state.desc.on(node)
		if on == nil || on.Learner {
			return fmt.Errorf("%w: node %d has no voter of group %d", ErrRefused, node, g.id)
		}
		if on.ID != g.self {
			c.transfer(g, on)
		}
		c.finish(event, nil, nil)
		return nil
	}
}

// splitAt gives the keys from key on to a new group, whose id must never have been used.
func splitAt(key []byte, newGroup uint64) func(*core, *group, uint64) error {
	return func(c *core, g *group, event uint64) error {
		if d := &g.state.desc; !d.Contains(key) || string(key) == string(d.Start) || newGroup == 0 || c.groups[newGroup] != nil {
			return fmt.Errorf("%w: group %d cannot be split at %x into group %d", ErrRefused, g.id, key, newGroup)
		}
		c.submit(event, command{kind: commandSplit, key: key, group: newGroup})
		return nil
	}
}

// transfer asks a voter of a group that this node leads to take over.
func (c *core) transfer(g *group, to *Replica) {
	g.lease.given = true // the other may be elected before anybody's wait is over
	c.guard(g, func() { g.raft.TransferLeader(to.ID) })
	c.stats.Transfers++
	c.mark(g)
}

// handOver hands the leadership over to a node that was heard from lately and has all but the newest entries.
func handOver(node uint64) func(*core, *group, uint64) error {
	return func(c *core, g *group, event uint64) error {
		on := g.state.desc.on(node)
		if on == nil || !c.canLead(g, on) {
			return fmt.Errorf("%w: node %d is not fit to lead group %d now", ErrRefused, node, g.id)
		}
		return transferLeader(node)(c, g, event)
	}
}

// canLead says whether another replica of a group that this node leads can take over at once.
func (c *core) canLead(g *group, r *Replica) bool {
	return !r.Learner && !g.state.frozen && g.merging == nil && g.caughtUp(r.ID) && g.active(r.ID) && c.present(r.Node)
}

// active says whether a replica has answered this leader since it last made sure of its majority.
func (g *group) active(replica uint64) (yes bool) {
	g.raft.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		yes = yes || id == replica && pr.RecentActive
	})
	return yes
}

// splitHere is splitAt for any node: the command goes to the leader.
type splitHere struct {
	event uint64
	key   []byte
	group uint64 // the new one
}

func (e splitHere) happen(c *core) {
	if g := c.route(e.key); g == nil || string(e.key) == string(g.state.desc.Start) || e.group == 0 || c.groups[e.group] != nil {
		c.finish(e.event, nil, fmt.Errorf("%w: no group can be split at %x into group %d", ErrRefused, e.key, e.group))
		return
	}
	c.submit(e.event, command{kind: commandSplit, key: e.key, group: e.group})
}

// split carries the command out. Rows stay where they are: the new group is a new owner of some of them, and a log
// that begins now.
func (a *application) split(cmd *command) (refused, err error) {
	left := &a.next.desc
	if !left.Contains(cmd.key) || string(cmd.key) == string(left.Start) || cmd.group == 0 || a.next.joint() {
		return fmt.Errorf("%w: group %d cannot be split at %x now", ErrRefused, left.Group, cmd.key), nil
	}
	right := a.next.clone()
	right.desc.Group, right.desc.Start = cmd.group, append([]byte(nil), cmd.key...)
	right.desc.Generation++
	left.End = right.desc.Start
	left.Generation++
	a.changed = true
	a.c.stats.Splits++
	if right.desc.replica(a.g.self) == nil {
		return nil, nil // this replica is about to be removed
	}
	log := a.c.log.Group(cmd.group)
	waiting := a.c.groups[cmd.group]
	if a.g.self < log.Tombstone() || waiting != nil && waiting.self != a.g.self {
		// Its replica here was removed before this one came to know of it.
		return nil, a.batch.DeleteRange(right.desc.Start, right.desc.End, nil)
	}
	if waiting != nil && waiting.hasData {
		return nil, fmt.Errorf("split of group %d: group %d is here already: %w", left.Group, cmd.group, raftlog.ErrCorrupt)
	}
	st := raftlog.State{Replica: a.g.self, Term: firstTerm, Commit: firstIndex}
	if known := log.State(); known.Term >= st.Term && !a.c.planted.has(bugSplitForgetsVote) { // what the replica promised while it waited still holds
		st.Term, st.Vote = known.Term, known.Vote
	}
	if err := errors.Join(writeState(a.batch, &right), writeApplied(a.batch, cmd.group, firstIndex, firstTerm),
		raftlog.WriteBeginning(a.batch, cmd.group, st, firstIndex, firstTerm)); err != nil {
		return nil, err
	}
	if !a.c.planted.has(bugSplitLosesTokens) {
		if err := a.copyTokens(a.g.id, cmd.group, firstIndex); err != nil {
			return nil, err
		}
	}
	leader := a.g.leads()
	a.after = append(a.after, func() { a.c.born(right, st, leader) })
	return nil, nil
}

// born makes the new group of a split, after it was written.
func (c *core) born(s state, st raftlog.State, leader bool) {
	id := s.desc.Group
	if waiting := c.groups[id]; waiting != nil {
		c.drop(waiting)
	}
	c.log.Begin(id, st, firstIndex, firstTerm)
	g := &group{id: id, self: st.Replica, log: c.log.Group(id), state: s, applied: firstIndex, appliedTerm: firstTerm, hasData: true}
	c.add(g)
	if err := c.start(g); err != nil {
		c.failGroup(g, err)
		return
	}
	c.staged.Sync() // what it answers may need nothing new on disk, but for the split that made it
	if leader {
		c.guard(g, func() { _ = g.raft.Campaign() }) // the others know no leader yet, so it need not wait
	} else {
		c.runLater(g, 2*campaignTicks) // if that one has died meanwhile
	}
	c.mark(g)
}

// copyTokens gives a group what another one remembers, for commands that are tried again there. To the window of the
// group that gets them they are as old as the entry given.
func (a *application) copyTokens(from, to, index uint64) error {
	for _, kind := range []byte{tokenKind, tokenAtKind} {
		lower, upper := metaKey(from, kind), metaKey(from, kind+1)
		it, err := a.batch.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
		if err != nil {
			return err
		}
		var pairs []raftlog.KV
		for it.First(); it.Valid(); it.Next() {
			value, err := it.ValueAndErr()
			if err != nil {
				return errors.Join(err, it.Close())
			}
			key := metaKey(to, kind, it.Key()[len(lower):]...)
			if kind == tokenAtKind {
				binary.BigEndian.PutUint64(key[len(lower):], index)
			} else { // the checksum covers the key
				body, err := raftlog.Unseal(it.Key(), value)
				if err != nil {
					return errors.Join(err, it.Close())
				}
				value = raftlog.Seal(key, body)
			}
			pairs = append(pairs, raftlog.KV{Key: key, Value: append([]byte(nil), value...)})
		}
		if err := errors.Join(it.Error(), it.Close()); err != nil {
			return err
		}
		for _, p := range pairs {
			if err := a.batch.Set(p.Key, p.Value, nil); err != nil {
				return err
			}
		}
	}
	return nil
}
