package replica

import (
	"bytes"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// receive takes a message from another node.
func (c *core) receive(node uint64, m *message) {
	g := c.groups[m.group]
	if g == nil && m.kind == kindProbe {
		c.sendOn(node, m)
		return
	}
	if g == nil {
		if g = c.uninitialised(m); g == nil {
			return
		}
	}
	if m.to > g.self && g.self != 0 && m.kind != kindGone {
		// This node has another replica now, so the one here was removed, or it could not have got one.
		c.remove(g, m.to, nil)
		if g = c.uninitialised(m); g == nil {
			return
		}
	}
	if m.kind == kindProbe && m.to < g.self {
		m.to = g.self // who asks knows of one that was here before
	}
	if g.raft == nil || m.to != g.self {
		return
	}
	switch m.kind {
	case kindGone:
		c.released(g, m)
		return
	case kindRefuse:
		c.refused(m)
		return
	}
	if g.hasData && g.state.desc.replica(m.from) == nil && m.from < g.state.desc.NextReplica {
		c.letGo(g, node, m.from)
		return
	}
	g.nodes[m.from] = node
	switch m.kind {
	case kindRaft:
		c.receiveRaft(g, m.raft)
	case kindForward:
		c.forwarded(g, node, m)
	case kindProbe:
		c.probed(g, node, m)
	case kindQuiesce:
		c.quiesced(g, m)
	case kindChunk:
		c.gotChunk(g, node, m)
	case kindAck:
		c.acknowledged(g, m)
	}
}

// maxUninitialised bounds the replicas that other nodes' messages can make.
const maxUninitialised = 1024

// uninitialised makes a replica without data for a group that this node is told it has: it answers that it knows
// nothing, and is sent a snapshot or made by a split.
func (c *core) uninitialised(m *message) *group {
	if m.kind != kindRaft && m.kind != kindChunk || m.group == 0 || m.to == 0 || len(c.ids)-len(c.spans) >= maxUninitialised {
		return nil
	}
	l := c.log.Group(m.group)
	if m.to < l.Tombstone() && !c.planted.has(bugResurrect) || l.Err() != nil {
		return nil
	}
	g := &group{id: m.group, self: m.to, log: l}
	if err := c.start(g); err != nil {
		return nil
	}
	c.add(g)
	return g
}

// tooEarly says whether the message would have this node vote too soon after its start. It does not know any more whom it promised to
// wait for. Where leaders rely on that promise it waits for as long as it may have promised. That holds for its own vote as well, so
// it wins no pre-votes meanwhile, not even as the only voter. It may ask for them: then its leader speaks up, also from its sleep.
func (c *core) tooEarly(m *raftpb.Message) bool {
	if !c.cfg.LeaseReads || c.tick > uint64(c.cfg.ElectionTicks) || c.planted.has(bugVoteAfterRestart) {
		return false
	}
	t := m.GetType()
	return t == raftpb.MsgVote || t == raftpb.MsgPreVote || t == raftpb.MsgPreVoteResp && !m.GetReject()
}

func (c *core) receiveRaft(g *group, m *raftpb.Message) {
	if c.tooEarly(m) {
		return
	}
	switch m.GetType() {
	case raftpb.MsgVote, raftpb.MsgPreVote:
		if m.GetFrom() == g.leader && m.GetTerm() > g.term { // who stands for election leads no more
			c.guard(g, func() { _ = g.raft.ForgetLeader() })
		}
	case raftpb.MsgReadIndex:
		if c.alone(g) {
			return // it will be asked again
		}
	case raftpb.MsgTransferLeader:
		g.lease.given = true // as if it had been asked for here
	case raftpb.MsgTimeoutNow:
		if m.GetFrom() != g.leader {
			return
		}
	}
	g.asleep = false
	if t := m.GetType(); t != raftpb.MsgHeartbeat && t != raftpb.MsgHeartbeatResp && t != raftpb.MsgAppResp {
		c.wake(g) // this is work
	}
	c.guard(g, func() { _ = g.raft.Step(m) }) // it says why it dropped one, which is no concern of the sender's
	c.mark(g)
}

func (c *core) tickGroup(g *group) {
	if g.raft == nil {
		return
	}
	c.tickReads(g)
	c.tickStreams(g)
	c.tickIncoming(g)
	c.tickMerge(g)
	c.cut(g)
	if c.tick%8 == 0 && (g.hasData && (g.leaving || g.leader == 0) || len(g.releases) > 0) {
		// The others may still need the vote of one that leaves to learn that it has none any more, so it goes only when they say so.
		for _, r := range g.state.desc.Replicas {
			c.probe(g, r.Node, r.ID)
		}
		for _, v := range g.voters {
			if g.state.desc.replica(v.ID) == nil {
				c.probe(g, v.Node, v.ID)
			}
		}
	}
	c.tickElection(g)
	if g.asleep || g.raft == nil {
		return
	}
	c.guard(g, func() { g.raft.Tick() })
	c.mark(g)
	c.quiesce(g)
}

// letGo tells a replica that was removed that it may go, as far as this voter is concerned. Its id will never be used again, so that is
// for good, and voters that do not know of the removal lack its vote from then on. So a learner, which could not lead without them, does
// not say it, nor one that was removed itself, nor a voter that might have forgotten the removal after a crash.
func (c *core) letGo(g *group, node, replica uint64) {
	if self := g.state.desc.replica(g.self); self == nil || self.Learner {
		return
	}
	c.staged.Sync()
	c.answers = append(c.answers, answer{g: g, goes: replica, on: node})
}

// sendOn tells who asks for a replica that was destroyed what became of the group, as far as that was known then. Those it names may be gone
// as well by now, and know more.
func (c *core) sendOn(node uint64, m *message) {
	l := c.log.Group(m.group)
	r := reader{rest: l.Forward()}
	f := r.forward()
	switch {
	case c.mergedAway(m.group): // where it went may be unknown
		c.send(node, message{kind: kindGone, group: m.group, from: m.to, to: m.from, forward: forward{left: f.left, index: f.index}})
	case m.to < l.Tombstone() && len(f.voters) > 0:
		c.send(node, message{kind: kindGone, group: m.group, to: m.from, forward: f})
	}
}

// mergedAway says whether this node knows that the group is part of another one now. That is committed there, so nobody has to write it down
// before it is told: no replica of the group needs a vote any more, those that are left learn of the merge from their neighbour.
func (c *core) mergedAway(group uint64) bool { return c.log.Group(group).Tombstone() == ^uint64(0) }

// awaitsMerge says whether a neighbour here may have yet to carry out the merge that takes this group over, for which it needs the replica.
// One that was removed itself, and missed the merge, never will; neither will the neighbour of a replica that missed its removal, nor one that
// got a snapshot from after the merge: that may be of fewer rows again, if what was taken over has been split off since.
func (c *core) awaitsMerge(g *group, into forward) bool {
	switch left := c.groups[into.left]; {
	case into.left == 0:
	case left != nil && left.hasData:
		return left.applied < into.index
	case left == nil && c.mergedAway(into.left):
		return false
	}
	for _, id := range c.ids {
		left := c.groups[id]
		if left.hasData && bytes.Equal(left.state.desc.End, g.state.desc.Start) || left.incoming != nil && bytes.Equal(left.incoming.state.desc.End, g.state.desc.Start) {
			return true
		}
	}
	return false
}

// released has a replica that was removed go once a majority of those that vote now knows. If fewer knew they could die, and the rest would
// go on counting the votes of those that are gone, though a majority of the voters is there.
func (c *core) released(g *group, m *message) {
	voters := m.forward.voters
	if len(voters) == 0 { // the group was merged away
		if g.leaving || !c.awaitsMerge(g, m.forward) {
			c.remove(g, ^uint64(0), m.forward.append(nil))
		}
		return
	}
	for _, v := range voters {
		if !slices.ContainsFunc(g.voters, func(known voter) bool { return known.ID == v.ID }) {
			g.voters = append(g.voters, v)
		}
	}
	if m.from == 0 { // from the node of one that is gone
		return
	}
	if g.releases == nil {
		g.releases = map[uint64]bool{}
	}
	g.releases[m.from] = true
	var votes, know [2]int // of the voters, and of those before them in a joint configuration
	for _, v := range voters {
		for i, counts := range []bool{v.incoming, v.outgoing} {
			if counts {
				votes[i]++
			}
			if counts && g.releases[v.ID] {
				know[i]++
			}
		}
	}
	if know[0] <= votes[0]/2 || votes[1] > 0 && know[1] <= votes[1]/2 {
		return
	}
	c.remove(g, g.self+1, m.forward.append(nil))
}

// votersNow are those of the group, with the nodes that they are on.
func (g *group) votersNow() (all []voter) {
	for _, r := range g.state.desc.Replicas {
		v := voter{Replica: r, incoming: slices.Contains(g.state.conf.GetVoters(), r.ID), outgoing: slices.Contains(g.state.conf.GetVotersOutgoing(), r.ID)}
		if v.incoming || v.outgoing {
			all = append(all, v)
		}
	}
	return all
}

// probe tells another replica that this one leaves, or knows no leader, and how far it applied.
func (c *core) probe(g *group, node, replica uint64) {
	c.send(node, message{kind: kindProbe, group: g.id, from: g.self, to: replica, term: g.appliedTerm, index: g.applied})
}

// probed makes replicas without a leader agree on what is committed. A leader that was removed may have been the only one to know that
// it was; the others still need its vote and may never get it, for its log may go on behind its removal. What was applied is committed
// wherever the log has the same entry, and they need nobody's vote to learn that.
func (c *core) probed(g *group, node uint64, m *message) {
	s := g.raft.BasicStatus()
	switch {
	case g.leads():
		c.wake(g)
	case !g.hasData || g.restore:
	case m.index < g.applied:
		c.probe(g, node, m.from)
	case m.index > s.HardState.GetCommit() && s.Lead == raft.None:
		// The Raft algorithm looks whether it has that entry. Who asked does not lead for it.
		c.guard(g, func() {
			_ = g.raft.Step(&raftpb.Message{Type: raftpb.MsgApp.Enum(), From: new(m.from), To: new(g.self), Term: new(s.HardState.GetTerm()),
				Index: new(m.index), LogTerm: new(m.term), Commit: new(m.index)})
			_ = g.raft.ForgetLeader()
		})
		c.mark(g)
	}
}

// quiesce puts a group to sleep that has nothing to do: its leader sends no heartbeats and its followers do not wait
// for them, but for any sign of life of the leader's node.
func (c *core) quiesce(g *group) {
	if c.cfg.QuiesceTicks < 0 || !g.leads() || !g.hasData || g.state.joint() {
		return
	}
	if g.idleTicks++; g.idleTicks < c.cfg.QuiesceTicks {
		return
	}
	last, err := g.LastIndex()
	status := g.raft.BasicStatus()
	if err != nil || g.applied != last || status.LeadTransferee != 0 || len(g.wait) > 0 || g.round != nil || len(g.streams) > 0 || len(g.proposed) > 0 ||
		g.raft.HasReady() || status.HardState.GetCommit() != last || g.state.frozen || g.merging != nil {
		return
	}
	ready := true
	g.raft.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		if id != g.self && (pr.Match != last || c.silent(g.node(id))) {
			ready = false
		}
	})
	if !ready {
		return
	}
	g.asleep = true
	c.stats.Quiesced++
	for _, r := range g.state.desc.Replicas {
		if r.ID != g.self {
			c.send(r.Node, message{kind: kindQuiesce, group: g.id, from: g.self, to: r.ID, term: g.term, index: last})
		}
	}
}

// quiesced goes to sleep if this replica is where its leader says that all are.
func (c *core) quiesced(g *group, m *message) {
	last, err := g.LastIndex()
	status := g.raft.BasicStatus()
	if err == nil && g.leader == m.from && g.term == m.term && last == m.index && g.applied == m.index &&
		status.HardState.GetCommit() == m.index && len(g.wait) == 0 && g.round == nil {
		g.asleep = true
	}
}

// cut lets the log forget entries that are applied, but for those that a follower which is not far behind still needs.
func (c *core) cut(g *group) {
	if !g.hasData || g.restore || (c.tick+g.id)%8 != 0 {
		return
	}
	start, _ := g.log.Start()
	entries := uint64(c.cfg.LogEntries)
	if g.applied-start <= entries && g.bytes <= c.cfg.LogBytes {
		return
	}
	keep := entries / 2
	if g.bytes > c.cfg.LogBytes {
		keep = min(keep, (g.applied-start)/2)
	}
	target := g.applied - min(keep, g.applied)
	tooLong := g.applied-start > 4*entries || g.bytes > 4*c.cfg.LogBytes
	if g.leads() && !tooLong {
		g.raft.WithProgress(func(_ uint64, _ raft.ProgressType, pr tracker.Progress) {
			if pr.RecentActive && pr.Match > 0 {
				target = min(target, pr.Match)
			}
		})
	}
	for _, s := range g.streams {
		target = min(target, s.index)
	}
	if g.merging != nil || g.state.frozen {
		return
	}
	if c.planted.has(bugCutUnapplied) {
		target, _ = g.LastIndex()
	}
	if target <= start {
		return
	}
	term, err := g.log.Term(target)
	if err == nil {
		err = c.staged.Cut(g.log, target, term)
	}
	if err != nil {
		c.failGroup(g, err)
		return
	}
	g.bytes = int(float64(g.bytes) * float64(g.applied-target) / float64(g.applied-start))
}
