package replica

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// propose asks for a command to be carried out by the group that owns the key.
type propose struct {
	event uint64
	token []byte // commands with the same token are carried out once; empty: none
	key   []byte
	body  []byte
}

// proposal is a command of this node's without an outcome.
type proposal struct {
	seq     uint64
	event   uint64
	cmd     command
	group   uint64 // that has it
	sent    bool   // it may be in the log of a leader
	queued  bool   // it is to be tried again
	attempt uint64
	at      uint64 // tick of the last attempt
	leader  uint64 // replica that led the group then
	term    uint64
	expires uint64
	bytes   int
}

type proposals struct {
	bySeq map[uint64]*proposal
	order []uint64 // ascending; may name some that are gone
	bytes int
}

func newProposals() *proposals { return &proposals{bySeq: map[uint64]*proposal{}} }

func (ps *proposals) add(p *proposal) {
	ps.bySeq[p.seq] = p
	ps.order = append(ps.order, p.seq)
	ps.bytes += p.bytes
}

func (ps *proposals) remove(p *proposal) {
	delete(ps.bySeq, p.seq)
	ps.bytes -= p.bytes
}

// all calls f for each, the oldest first.
func (ps *proposals) all(f func(*proposal)) {
	ps.order = slices.DeleteFunc(ps.order, func(seq uint64) bool { return ps.bySeq[seq] == nil })
	for _, seq := range slices.Clone(ps.order) {
		if p := ps.bySeq[seq]; p != nil {
			f(p)
		}
	}
}

func (e propose) happen(c *core) {
	switch size := len(e.key) + len(e.body) + len(e.token); {
	case size > c.cfg.MaxCommandBytes || len(e.token) > maxToken:
		c.finish(e.event, nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, size, c.cfg.MaxCommandBytes))
		return
	case len(c.proposals.bySeq) >= c.cfg.MaxPending || c.proposals.bytes+size > c.cfg.MaxPendingBytes:
		c.stats.Refused++
		c.finish(e.event, nil, fmt.Errorf("%w: %d proposals wait", ErrOverloaded, len(c.proposals.bySeq)))
		return
	}
	c.submit(e.event, command{kind: commandData, token: e.token, key: e.key, body: e.body})
}

func (c *core) submit(event uint64, cmd command) {
	seq := c.next()
	cmd.id = proposalID{c.cfg.Node, c.life, seq}
	p := &proposal{seq: seq, event: event, cmd: cmd, bytes: len(cmd.key) + len(cmd.body) + len(cmd.token),
		expires: c.tick + uint64(c.cfg.TimeoutTicks)}
	c.proposals.add(p)
	c.try(p)
}

func (c *core) giveUp(p *proposal, err error) {
	c.proposals.remove(p)
	if p.sent {
		err = fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	c.finish(p.event, nil, err)
}

// try gives the proposal to the leader of the group that owns its key, or leaves it queued if there is none.
func (c *core) try(p *proposal) {
	g := c.route(p.cmd.key)
	switch {
	case g == nil || g.leaving:
		c.giveUp(p, ErrNotHere)
		return
	case g.err != nil:
		c.giveUp(p, g.err)
		return
	}
	if p.cmd.kind != commandData && (p.group != 0 && p.group != g.id || p.attempt > 0 && p.cmd.generation != g.state.desc.Generation) {
		c.giveUp(p, fmt.Errorf("%w: the group was changed in the meantime", ErrRefused))
		return
	}
	p.queued, p.at, p.group, p.leader, p.term = true, c.tick, g.id, g.leader, g.term
	c.wake(g)
	if g.state.frozen && p.cmd.kind == commandData || g.leader == 0 {
		return
	}
	p.cmd.generation = g.state.desc.Generation
	p.attempt++
	if !g.leads() {
		if node := g.node(g.leader); node != 0 {
			p.queued, p.sent = false, true
			c.send(node, message{kind: kindForward, group: g.id, from: g.self, to: g.leader, id: p.cmd.id, attempt: p.attempt,
				data: p.cmd.encode()})
		}
		return
	}
	p.queued = false
	c.proposeTo(g, proposed{data: p.cmd.encode(), own: p, sent: p.sent})
	p.sent = true
}

// proposed is a command that is to go into the log of a group that this replica leads.
type proposed struct {
	data []byte

	own  *proposal // of this node's, and
	sent bool      // whether an earlier attempt may be in a log

	node    uint64 // of another node's, with the message that brought it
	id      proposalID
	from    uint64
	attempt uint64
}

// proposeTo has a command go into the log at the end of the step, together with others.
func (c *core) proposeTo(g *group, p proposed) {
	g.proposed = append(g.proposed, p)
	c.mark(g)
}

// proposeAll gives the Raft algorithm what was proposed, at once if it takes it all.
func (c *core) proposeAll(g *group) {
	if len(g.proposed) == 0 {
		return
	}
	all := g.proposed
	g.proposed = nil
	if len(all) > 1 && c.propose(g, all) == nil {
		return
	}
	for i := range all {
		if err := c.propose(g, all[i:i+1]); err != nil {
			c.notProposed(g, &all[i], err)
		}
	}
}

var errOverloadedGroup = errors.New("too much uncommitted")

// propose appends to the log of a group that this replica leads. After an error nothing was appended.
func (c *core) propose(g *group, all []proposed) error {
	err := raft.ErrProposalDropped
	entries := make([]*raftpb.Entry, len(all))
	for i := range all {
		entries[i] = &raftpb.Entry{Data: all[i].data}
	}
	c.guard(g, func() {
		err = g.raft.Step(&raftpb.Message{Type: raftpb.MsgProp.Enum(), From: new(g.self), Entries: entries})
	})
	if g.raft == nil {
		return cmp.Or(g.err, ErrNotHere)
	}
	if s := g.raft.BasicStatus; err != nil && errors.Is(err, raft.ErrProposalDropped) && s().RaftState == raft.StateLeader && s().LeadTransferee == 0 {
		return errOverloadedGroup
	}
	return err
}

// notProposed takes back that a command was given to the Raft algorithm.
func (c *core) notProposed(g *group, p *proposed, err error) {
	overload := errors.Is(err, errOverloadedGroup)
	if overload {
		c.stats.Refused++
	}
	switch {
	case p.own == nil:
		m := message{kind: kindRefuse, group: g.id, from: g.self, to: p.from, id: p.id, attempt: p.attempt, reason: notLeader}
		if overload {
			m.reason = overloaded
		}
		c.send(p.node, m)
	case c.proposals.bySeq[p.own.seq] != p.own: // it was given up, or an earlier attempt was carried out
	case overload:
		p.own.sent = p.sent
		c.giveUp(p.own, fmt.Errorf("%w: group %d has too much that is not committed", ErrOverloaded, g.id))
	default:
		p.own.sent, p.own.queued = p.sent, true
	}
}

// outcome tells the proposer what became of an entry, if that is on this node, in this life.
func (ps *proposals) outcome(c *core, g *group, o outcome) {
	p := ps.bySeq[o.id.seq]
	if p == nil || o.id.node != c.cfg.Node || o.id.life != c.life {
		return
	}
	if !errors.Is(o.err, errMoved) {
		ps.remove(p)
		c.finish(p.event, o.value, o.err)
		return
	}
	// This attempt was not carried out. An earlier one with the same token could still be; then it is found by that.
	if p.attempt == 1 || len(p.cmd.token) > 0 {
		p.sent = p.attempt > 1
		p.queued, p.at = true, c.tick
	}
	if len(p.cmd.token) == 0 {
		p.sent = false
	}
	if p.cmd.kind != commandData {
		ps.remove(p)
		c.finish(p.event, nil, fmt.Errorf("%w: group %d was changed in the meantime", ErrRefused, g.id))
	}
}

func (c *core) tickProposals() {
	c.proposals.all(func(p *proposal) {
		switch {
		case c.tick >= p.expires:
			c.giveUp(p, ErrUnavailable)
		case p.queued:
			c.try(p)
		case len(p.cmd.token) > 0 && c.tick >= p.at+uint64(c.cfg.RetryTicks):
			c.try(p)
		}
	})
}

// forwarded is a proposal of another node's.
func (c *core) forwarded(g *group, node uint64, m *message) {
	if g.recent.seen(m.id, m.attempt) && !c.planted.has(bugForwardTwice) {
		return // the network doubled it; not even a refused one may be taken later, for its proposer has gone on
	}
	if !g.leads() {
		c.send(node, message{kind: kindRefuse, group: g.id, from: g.self, to: m.from, id: m.id, attempt: m.attempt, reason: notLeader})
		return
	}
	if cmd, err := decodeCommand(m.data); err != nil || cmd.id != m.id || len(m.data) > c.cfg.MaxCommandBytes+1024 {
		c.stats.BadFrames++
		return
	}
	c.wake(g)
	c.proposeTo(g, proposed{data: m.data, node: node, id: m.id, from: m.from, attempt: m.attempt})
}

func (c *core) refused(m *message) {
	p := c.proposals.bySeq[m.id.seq]
	if p == nil || m.id.node != c.cfg.Node || m.id.life != c.life || p.attempt != m.attempt || p.queued {
		return
	}
	if p.attempt == 1 || len(p.cmd.token) == 0 {
		p.sent = false
	}
	if m.reason == overloaded {
		c.giveUp(p, ErrOverloaded)
		return
	}
	p.queued = true
}

// recentForwards remembers the newest proposals that were taken from other nodes.
type recentForwards struct {
	set  map[forwardKey]struct{}
	ring []forwardKey
	at   int
}

type forwardKey struct {
	id      proposalID
	attempt uint64
}

const maxRecent = 4096

func (r *recentForwards) seen(id proposalID, attempt uint64) bool {
	key := forwardKey{id, attempt}
	if _, known := r.set[key]; known {
		return true
	}
	if r.set == nil {
		r.set = map[forwardKey]struct{}{}
	}
	if len(r.ring) < maxRecent {
		r.ring = append(r.ring, key)
	} else {
		delete(r.set, r.ring[r.at])
		r.ring[r.at] = key
		r.at = (r.at + 1) % maxRecent
	}
	r.set[key] = struct{}{}
	return false
}
