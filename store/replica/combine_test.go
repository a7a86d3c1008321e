package replica

import (
	"fmt"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// leader has node 1 lead and everything at rest.
func (l *lab) leader() {
	l.t.Helper()
	l.elect(1)
	l.settle()
}

// raftMail is what of the mail is a message of a type, by whom it goes to.
func (l *lab) raftMail(t raftpb.MessageType) map[uint64][]*raftpb.Message {
	found := map[uint64][]*raftpb.Message{}
	for _, m := range l.mail {
		if m.m.kind == kindRaft && m.m.raft.GetType() == t {
			found[m.to] = append(found[m.to], m.m.raft)
		}
	}
	return found
}

func TestOneMessageTellsOfAllProposalsOfAStep(t *testing.T) {
	l := newLab(t, Config{})
	l.leader()
	var events []event
	for i := range 3 {
		events = append(events, put(uint64(100+i), fmt.Sprint(i)))
	}
	l.step(1, events...)
	for to, all := range l.raftMail(raftpb.MsgApp) {
		if len(all) != 1 || len(all[0].Entries) != 3 {
			t.Errorf("node %d gets %d messages, the first with %d entries", to, len(all), len(all[0].Entries))
		}
	}
	l.disk(1)
	l.deliver()
	l.disk(2)
	acks := l.raftMail(raftpb.MsgAppResp)[1]
	if len(acks) != 1 {
		t.Fatalf("one follower sends %d acknowledgements", len(acks))
	}
	l.deliver() // the leader commits, and tells the followers
	l.deliver()
	for i := range 3 {
		if r, ok := l.got[uint64(100+i)]; !ok || r.err != nil {
			t.Errorf("proposal %d: %v, %v", i, r.err, ok)
		}
	}
	l.settle()
}

func TestMessagesAreOnlyCombinedWhereOneSaysItAll(t *testing.T) {
	entry := func(index uint64) *raftpb.Entry { return &raftpb.Entry{Term: new(uint64(3)), Index: new(index)} }
	app := func(term, prev, commit uint64, entries ...*raftpb.Entry) *raftpb.Message {
		return &raftpb.Message{Type: raftpb.MsgApp.Enum(), Term: new(term), LogTerm: new(uint64(3)), Index: new(prev), Commit: new(commit), Entries: entries}
	}
	ack := func(term, index uint64, reject bool) *raftpb.Message {
		return &raftpb.Message{Type: raftpb.MsgAppResp.Enum(), Term: new(term), Index: new(index), Reject: new(reject)}
	}
	for _, c := range []struct {
		name    string
		m, next *raftpb.Message
		want    bool
	}{
		{"entries that follow", app(3, 7, 5, entry(8)), app(3, 8, 6, entry(9)), true},
		{"a commit index", app(3, 7, 5, entry(8)), app(3, 8, 8), true},
		{"a gap", app(3, 7, 5, entry(8)), app(3, 9, 6, entry(10)), false},
		{"the same again", app(3, 7, 5, entry(8)), app(3, 7, 5, entry(8)), false},
		{"another term", app(3, 7, 5, entry(8)), app(4, 8, 6, entry(9)), false},
		{"another type", app(3, 7, 5), ack(3, 7, false), false},
		{"acknowledgements", ack(3, 7, false), ack(3, 9, false), true},
		{"an older one", ack(3, 9, false), ack(3, 7, false), false},
		{"a rejection", ack(3, 7, false), ack(3, 9, true), false},
		{"after a rejection", ack(3, 7, true), ack(3, 9, false), false},
	} {
		if got := combine(c.m, c.next); got != c.want {
			t.Errorf("%s: combined %v", c.name, got)
		}
	}
	big := make([]byte, maxCombined)
	m, next := app(3, 7, 5, entry(8)), app(3, 8, 5, entry(9))
	next.Entries[0].Data = big
	if combine(m, next) {
		t.Error("messages are combined beyond the bound")
	}
	log := []*raftpb.Entry{entry(8), entry(9), entry(10)}
	m = app(3, 7, 5, log[:1]...)
	if !combine(m, app(3, 8, 6, entry(99))) || log[1].GetIndex() != 9 {
		t.Error("combining writes to the log of the algorithm")
	}
	if len(m.Entries) != 2 || m.GetCommit() != 6 {
		t.Errorf("combined: %v", m)
	}
}
