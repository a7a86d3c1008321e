package cluster

import (
	"encoding/binary"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// A renewal is a read of Raft whose context says who asks: node, life, whether it is whole, its offset, and a number that makes
// it unlike all others.
const renewalLen = 8 + 8 + 1 + 8 + 8

type renewal struct {
	node, life uint64
	standing   Standing
}

func (n *Node) renewal() []byte {
	s := n.cfg.Standing()
	b := make([]byte, 0, renewalLen)
	b = binary.BigEndian.AppendUint64(b, n.cfg.Node)
	b = binary.BigEndian.AppendUint64(b, n.life)
	b = append(b, map[bool]byte{true: 1}[s.Whole])
	b = binary.BigEndian.AppendUint64(b, uint64(s.Offset))
	return binary.BigEndian.AppendUint64(b, uint64(n.now()))
}

func readRenewal(b []byte) (r renewal, ok bool) {
	if len(b) != renewalLen {
		return r, false
	}
	r.node, r.life = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	r.standing = Standing{Whole: b[16] == 1, Offset: int64(binary.BigEndian.Uint64(b[17:]))}
	return r, true
}

// heard is what a leader has last heard of a node.
type heard struct {
	at, knocked int64 // when, in ticks: the process that is let in; another one that would be
	life        uint64
	standing    Standing
}

// watch is what a leader keeps of the others.
type watch struct {
	leads  bool
	since  int64 // when it became the leader, in ticks
	nodes  map[uint64]*heard
	fenced map[uint64]bool // are being replaced
}

func newWatch() watch { return watch{nodes: map[uint64]*heard{}, fenced: map[uint64]bool{}} }

// lead notes whether this node leads. What was heard before it did does not count.
func (w *watch) lead(leads bool, now int64) {
	if leads && !w.leads {
		*w = newWatch()
		w.since = now
	}
	w.leads = leads
}

// decided notes that it is known what has become of a node's replacement.
func (w *watch) decided(node uint64) { delete(w.fenced, node) }

func (w *watch) node(id uint64) *heard {
	if w.nodes[id] == nil {
		w.nodes[id] = &heard{at: w.since, knocked: -1 << 40}
	}
	return w.nodes[id]
}

// renewalOf notes who asks for its lease, and reports whether it may: not while it is being replaced.
func (n *Node) renewalOf(m *raftpb.Message) bool {
	if len(m.Entries) != 1 {
		return false
	}
	r, ok := readRenewal(m.Entries[0].GetData())
	if !ok || r.node != m.GetFrom() {
		return false
	}
	if !n.watch.leads {
		return true // Raft drops it
	}
	h := n.watch.node(r.node)
	switch member := n.Map().Members[r.node]; {
	case n.watch.fenced[r.node]:
		return false
	case member.Life != r.life:
		h.knocked, h.life = n.ticks, r.life
	default:
		h.at, h.standing = n.ticks, r.standing
	}
	return true
}

// tick is what is done once a tick.
func (n *Node) tick() {
	n.ticks++
	n.raft.Tick()
	if n.ticks%renewTicks == 0 {
		n.renew()
	}
	m := n.Map()
	if self := m.Members[n.cfg.Node]; self.Life != n.life || self.Addr != n.cfg.Announce {
		n.proposeAtTimes(Command{Op: Join, Node: n.cfg.Node, Life: n.life, Addr: n.cfg.Announce, Kept: n.cfg.Kept, Followed: n.cfg.Followed})
	}
	if !n.watch.leads {
		return
	}
	if !m.Formed && len(m.Members) == len(n.cfg.Peers) {
		n.proposeAtTimes(Command{Op: Form, Nodes: len(n.cfg.Peers), Replicas: n.cfg.Replicas})
	}
	if n.ticks-n.watch.since > failTicks {
		n.replaceSilent(m)
		n.noteSilent(m)
	}
}

// noteSilent has the nodes agree on which of them are not heard of, and which are again, so that each tells its clients.
func (n *Node) noteSilent(m *Map) {
	for id, member := range m.Members {
		op := Heard
		if n.ticks-n.watch.node(id).at > failTicks {
			op = Fail
		}
		if member.Failed != (op == Fail) {
			n.proposeAtTimes(Command{Op: op, Node: id, Life: member.Life})
		}
	}
}

// paced is what is not proposed again at once.
type paced struct {
	op    Op
	node  uint64
	force bool
}

// proposeAtTimes proposes what may have to be proposed again, not too often.
func (n *Node) proposeAtTimes(c Command) {
	what := paced{c.Op, c.Node, c.Force}
	if last, ok := n.pace[what]; ok && n.ticks-last < electionTicks {
		return
	}
	n.pace[what] = n.ticks
	n.propose(c)
}

// renew asks for the lease.
func (n *Node) renew() {
	for ctx, at := range n.asked {
		if n.now()-at > time.Duration(leaseTicks)*n.cfg.Tick {
			delete(n.asked, ctx)
		}
	}
	ctx := n.renewal()
	n.asked[string(ctx)] = n.now()
	if n.watch.leads {
		h := n.watch.node(n.cfg.Node)
		if n.Map().Members[n.cfg.Node].Life == n.life {
			h.at, h.standing = n.ticks, n.cfg.Standing()
		} else {
			h.knocked, h.life = n.ticks, n.life
		}
	}
	n.raft.ReadIndex(ctx)
}

// renewed takes the answers to renewals. One counts from when it was asked for, once all that it may need to know is applied.
func (n *Node) renewed() {
	n.answered = slices.DeleteFunc(n.answered, func(a raft.ReadState) bool {
		if a.Index > n.applied {
			return false
		}
		at, ok := n.asked[string(a.RequestCtx)]
		delete(n.asked, string(a.RequestCtx))
		if m := n.Map(); ok && m.Members[n.cfg.Node].Life == n.life {
			n.until.Store(max(n.until.Load(), int64(at+time.Duration(leaseTicks)*n.cfg.Tick)))
		}
		return true
	})
}

// replaceSilent has the nodes agree on who takes the place of a primary that was not heard of for too long.
func (n *Node) replaceSilent(m *Map) {
	for _, id := range m.Primaries() {
		h := n.watch.node(id)
		silent := n.ticks - h.at
		if id == n.cfg.Node && m.Members[id].Life == n.life || silent <= failTicks || n.watch.fenced[id] {
			continue
		}
		var best uint64
		for _, replica := range m.Replicas(id) {
			r := n.watch.node(replica)
			if n.ticks-r.at <= failTicks && r.standing.Whole && (best == 0 || r.standing.Offset > n.watch.node(best).standing.Offset) {
				best = replica
			}
		}
		switch {
		case best != 0:
			n.watch.fenced[id] = true
			n.cfg.Log.Warn("a primary is silent and is replaced", "node", id, "by", best)
			n.propose(Command{Op: Promote, From: id, To: best, Life: m.Members[id].Life})
		case silent > 2*failTicks && n.ticks-h.knocked < electionTicks:
			n.proposeAtTimes(Command{Op: Join, Node: id, Life: h.life, Addr: m.Members[id].Addr, Force: true})
		}
	}
}
