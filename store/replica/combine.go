package replica

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/banyanhq/banyan/store/raftlog"
)

// lastSent is the last message of the Raft algorithm that went to a replica.
type lastSent struct {
	to   uint64
	step uint64 // in which it was queued
	at   int    // among the messages to its node
}

func (g *group) lastTo(to uint64) *lastSent {
	for i := range g.sent {
		if g.sent[i].to == to {
			return &g.sent[i]
		}
	}
	g.sent = append(g.sent, lastSent{to: to})
	return &g.sent[len(g.sent)-1]
}

// maxCombined bounds the entries of messages that are made one.
const maxCombined = 1 << 20

// sendRaft sends what the Raft algorithm wants sent. It speaks for each proposal, each acknowledgement and each step of the commit
// index by itself; of what goes to the same replica in one step, one message can say it all.
func (c *core) sendRaft(g *group, m *raftpb.Message) {
	if m.GetType() == raftpb.MsgSnap {
		c.startStream(g, m)
		return
	}
	node := g.node(m.GetTo())
	if node == 0 || node == c.cfg.Node {
		return
	}
	last := g.lastTo(m.GetTo())
	queue := c.out[node]
	if last.step == c.steps && last.at < len(queue) {
		if q := &queue[last.at]; q.kind == kindRaft && q.group == g.id && q.to == m.GetTo() && combine(q.raft, m) {
			return
		}
	}
	last.step, last.at = c.steps, len(queue)
	c.send(node, message{kind: kindRaft, group: g.id, from: g.self, to: m.GetTo(), raft: m})
}

// accepts says whether a message acknowledges entries.
func accepts(m *raftpb.Message) bool { return m.GetType() == raftpb.MsgAppResp && !m.GetReject() }

// combine makes a message say what the next one to the same replica says as well, if one message can.
func combine(m, next *raftpb.Message) bool {
	if m.GetType() != next.GetType() || m.GetTerm() != next.GetTerm() {
		return false
	}
	switch m.GetType() {
	case raftpb.MsgAppResp:
		if !accepts(m) || !accepts(next) || next.GetIndex() < m.GetIndex() {
			return false
		}
		m.Index = next.Index
		return true
	case raftpb.MsgApp:
		if next.GetIndex() != m.GetIndex()+uint64(len(m.Entries)) || entriesSize(m.Entries)+entriesSize(next.Entries) > maxCombined {
			return false
		}
		m.Entries = append(m.Entries[:len(m.Entries):len(m.Entries)], next.Entries...) // the algorithm's own log must not be written to
		m.Commit = next.Commit
		return true
	}
	return false
}

func entriesSize(entries []*raftpb.Entry) (n int) {
	for _, e := range entries {
		n += raftlog.EntrySize(e)
	}
	return n
}
