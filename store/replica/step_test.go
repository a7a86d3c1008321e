package replica

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/banyanhq/banyan/env"
	"github.com/banyanhq/banyan/store/raftlog"
)

// lab steps cores by hand: nothing is delivered, written or ticked unless a test says so.
type lab struct {
	t      *testing.T
	cfg    Config
	cores  map[uint64]*core
	stores map[uint64]*vfs.MemFS
	writes map[uint64]*raftlog.Write
	mail   []letter
	got    map[uint64]result
	now    time.Duration
	deaf   uint64 // a node that nothing reaches
}

type letter struct {
	from, to uint64
	m        message
}

func newLab(t *testing.T, cfg Config) *lab { return newLabOf(t, 3, cfg) }

// newLabOf has so many nodes, and one group with a voter on each.
func newLabOf(t *testing.T, nodes uint64, cfg Config) *lab {
	l := &lab{t: t, cfg: cfg, cores: map[uint64]*core{}, stores: map[uint64]*vfs.MemFS{}, writes: map[uint64]*raftlog.Write{}, got: map[uint64]result{}}
	for id := uint64(1); id <= nodes; id++ {
		l.stores[id] = vfs.NewMem()
	}
	for id := uint64(1); id <= nodes; id++ {
		l.start(id)
	}
	t.Cleanup(func() {
		for _, c := range l.cores {
			_ = c.close()
			_ = c.db.Close()
		}
	})
	return l
}

func (l *lab) start(id uint64) {
	l.t.Helper()
	db, err := pebble.Open("db", &pebble.Options{FS: l.stores[id], FormatMajorVersion: pebble.FormatNewest, Logger: quiet{},
		EventListener: &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}}})
	if err != nil {
		l.t.Fatal(err)
	}
	d := Descriptor{Group: 1, Start: []byte("d"), End: []byte("e"), NextReplica: uint64(len(l.stores)) + 1}
	for _, id := range sortedKeys(l.stores) {
		d.Replicas = append(d.Replicas, Replica{ID: id, Node: id})
	}
	if err := Bootstrap(db, id, []Descriptor{d}); err != nil {
		l.t.Fatal(err)
	}
	log, err := raftlog.Open(db, raftlog.Config{FS: l.stores[id], Dir: "incoming"})
	if err != nil {
		l.t.Fatal(err)
	}
	cfg := l.cfg
	cfg.Node = id
	c, err := newCore(cfg, log, &kv{}, 100+id, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	l.cores[id] = c
}

func (l *lab) step(id uint64, events ...event) {
	l.t.Helper()
	eff := l.cores[id].step(l.now, events)
	for _, f := range eff.send {
		messages, err := decodeFrame(f.data)
		if err != nil {
			l.t.Fatal(err)
		}
		for _, m := range messages {
			l.mail = append(l.mail, letter{id, f.node, m})
		}
		if len(messages) == 0 {
			l.mail = append(l.mail, letter{from: id, to: f.node})
		}
	}
	if eff.write != nil {
		l.writes[id] = eff.write
	}
	for _, r := range eff.results {
		l.got[r.id] = r
	}
}

// disk finishes the write that a node waits for.
func (l *lab) disk(id uint64) {
	l.t.Helper()
	if w := l.writes[id]; w != nil {
		delete(l.writes, id)
		if err := l.cores[id].log.Commit(w); err != nil {
			l.t.Fatal(err)
		}
		l.step(id, written{})
	}
}

// deliver brings one round of mail.
func (l *lab) deliver() {
	l.t.Helper()
	mail := l.mail
	l.mail = nil
	for _, m := range mail {
		if m.to == l.deaf {
			continue
		}
		frame := encodeFrame(nil)
		if m.m.kind != 0 {
			frame = encodeFrame([]message{m.m})
		}
		l.step(m.to, received{m.from, frame})
	}
}

// settle lets everything happen until nothing is left to happen.
func (l *lab) settle() {
	l.t.Helper()
	for len(l.mail)+len(l.writes) > 0 {
		l.deliver()
		for _, id := range sortedKeys(l.cores) {
			l.disk(id)
		}
	}
}

// elect makes a node the leader.
func (l *lab) elect(id uint64) {
	l.t.Helper()
	g := l.cores[id].groups[1]
	if err := g.raft.Campaign(); err != nil {
		l.t.Fatal(err)
	}
	l.cores[id].mark(g)
	l.step(id)
	l.settle()
	if !g.leads() {
		l.t.Fatalf("node %d was not elected", id)
	}
}

func (l *lab) sent(kind raftpb.MessageType) (letters []letter) {
	for _, m := range l.mail {
		if m.m.kind == kindRaft && m.m.raft.GetType() == kind {
			letters = append(letters, m)
		}
	}
	return letters
}

func put(id uint64, value string) propose {
	return propose{event: id, key: simKey(1), body: kvCommand(opPut, simKey(1), value)}
}

func TestFollowerAnswersOnlyWhatIsOnDisk(t *testing.T) {
	l := newLab(t, Config{})
	l.elect(1)
	l.step(1, put(7, "x"))
	if got := len(l.sent(raftpb.MsgApp)); got != 2 {
		t.Errorf("the leader sent %d entries while its own write is on its way, want 2", got)
	}
	l.deliver()
	if got := l.sent(raftpb.MsgAppResp); len(got) != 0 {
		t.Errorf("followers acknowledged before their disks did: %v", got)
	}
	l.disk(2)
	l.deliver()
	if _, done := l.got[7]; done {
		t.Error("one disk of three made a command an acknowledged one")
	}
	l.disk(3)
	l.deliver()
	commit := l.cores[1].groups[1].raft.BasicStatus().HardState.GetCommit()
	if want := uint64(firstIndex + 2); commit != want {
		t.Errorf("two disks of three, and entry %d is committed, want %d: the leader's own need not be among them", commit, want)
	}
	if _, done := l.got[7]; done {
		t.Error("the leader applied what is not on its own disk")
	}
	l.disk(1)
	if r, done := l.got[7]; !done || r.err != nil {
		t.Errorf("after the leader's disk: done %v, error %v", done, r.err)
	}
}

func TestVotesOnlyWhenThatIsOnDisk(t *testing.T) {
	l := newLab(t, Config{})
	g := l.cores[1].groups[1]
	if err := g.raft.Campaign(); err != nil {
		t.Fatal(err)
	}
	l.cores[1].mark(g)
	l.step(1)
	l.deliver() // requests for pre-votes
	l.deliver() // pre-votes
	l.disk(1)
	l.deliver() // requests for votes
	if got := l.sent(raftpb.MsgVoteResp); len(got) != 0 {
		t.Errorf("voted before the vote was on disk: %v", got)
	}
	l.disk(2)
	if got := l.sent(raftpb.MsgVoteResp); len(got) != 1 || got[0].m.raft.GetReject() {
		t.Errorf("the vote is on disk, and what was sent is %v", got)
	}
}

func TestDiskErrorStopsTheNode(t *testing.T) {
	l := newLab(t, Config{})
	l.elect(1)
	l.step(1, put(7, "x"))
	_ = l.writes[1].Close()
	delete(l.writes, 1)
	l.cores[1].inflight = nil
	l.step(1, written{env.ErrDiskFull})
	if err := l.got[7].err; !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, env.ErrDiskFull) {
		t.Errorf("the outcome of a command in a log whose disk failed: %v", err)
	}
	l.mail = nil
	l.step(1, put(8, "y"), readKey{event: 9, key: simKey(1)}, ticked{})
	if !errors.Is(l.got[8].err, ErrStopped) || !errors.Is(l.got[9].err, ErrStopped) || len(l.mail) > 0 {
		t.Errorf("after its disk failed a node answers %v and %v, and sends %v", l.got[8].err, l.got[9].err, l.mail)
	}
}

func TestAdmission(t *testing.T) {
	l := newLab(t, Config{MaxPending: 3, MaxPendingReads: 2, MaxCommandBytes: 100})
	l.elect(1)
	for id := range uint64(4) {
		l.step(1, put(20+id, "x"), readKey{event: 30 + id, key: simKey(1), consistent: true})
	}
	if !errors.Is(l.got[23].err, ErrOverloaded) || !errors.Is(l.got[32].err, ErrOverloaded) || len(l.got) != 3 {
		t.Errorf("of 4 proposals where 3 fit and 4 reads where 2 fit, these have an answer: %v", l.got)
	}
	l.settle()
	for _, id := range []uint64{20, 21, 22, 30, 31} {
		if r, ok := l.got[id]; !ok || r.err != nil {
			t.Errorf("request %d, which fitted: %v", id, r.err)
		} else if r.view != nil {
			_ = r.view.Close()
		}
	}
	l.step(1, propose{event: 40, key: simKey(1), body: make([]byte, 101)}, propose{event: 41, key: []byte("x")})
	if !errors.Is(l.got[40].err, ErrTooLarge) || !errors.Is(l.got[41].err, ErrNotHere) {
		t.Errorf("too large: %v, of no group: %v", l.got[40].err, l.got[41].err)
	}
}

func TestReadSeesWhatWasAcknowledgedElsewhere(t *testing.T) {
	l := newLab(t, Config{})
	l.elect(1)
	l.step(1, put(7, "x"))
	l.settle()
	l.step(1, put(8, "y"))
	l.deaf = 3
	l.settle()
	l.deaf = 0
	if l.got[8].err != nil {
		t.Fatal(l.got[8].err)
	}
	l.step(3, readKey{event: 9, key: simKey(1), consistent: true}, readKey{event: 10, key: simKey(1)})
	old, err := getCopy(l.got[10].view, simKey(1))
	if err != nil || string(old) != "x" {
		t.Errorf("what node 3 has is %q, error %v", old, err)
	}
	for range 8 {
		for id := range l.cores {
			l.step(id, ticked{})
		}
		l.settle()
	}
	r, ok := l.got[9]
	if !ok || r.err != nil {
		t.Fatalf("consistent read at a follower: answered %v, error %v", ok, r.err)
	}
	now, err := getCopy(r.view, simKey(1))
	if err != nil || string(now) != "y" {
		t.Errorf("a consistent read at a follower that was behind shows %q, error %v", now, err)
	}
	_, _ = l.got[10].view.Close(), r.view.Close()
}

func TestTokenIsCarriedOutOnce(t *testing.T) {
	l := newLab(t, Config{})
	l.elect(1)
	for id := range uint64(3) {
		p := propose{event: 50 + id, token: []byte("t"), key: simKey(1), body: kvCommand(opAppend, simKey(1), "x")}
		l.step(1+id, p)
		l.settle()
	}
	value, err := getCopy(l.cores[2].db, simKey(1))
	if err != nil || string(value) != "x" {
		t.Errorf("a command that was proposed three times with one token left %q, error %v", value, err)
	}
	for id := range uint64(3) {
		if r, ok := l.got[50+id]; !ok || r.err != nil || len(r.value) != 0 {
			t.Errorf("proposal %d: answered %v, %q, %v; all should have the first one's result", id, ok, r.value, r.err)
		}
	}
}

// TestSplitKeepsPromises: a replica that waits for the split that makes it may have voted already.
func TestSplitKeepsPromises(t *testing.T) {
	l := newLab(t, Config{})
	l.elect(1)
	vote := message{kind: kindRaft, group: 2, from: 1, to: 2, raft: &raftpb.Message{Type: raftpb.MsgVote.Enum(), From: new(uint64(1)), To: new(uint64(2)),
		Term: new(uint64(8)), Index: new(uint64(firstIndex)), LogTerm: new(uint64(firstTerm))}}
	l.step(2, received{1, encodeFrame([]message{vote})})
	l.disk(2)
	if got := l.sent(raftpb.MsgVoteResp); len(got) != 1 {
		t.Fatalf("a replica without data did not vote: %v", l.mail)
	}
	l.step(1, changeGroup{event: 7, group: 1, do: splitAt([]byte("dx"), 2)})
	l.settle()
	if err := l.got[7].err; err != nil {
		t.Fatal(err)
	}
	g := l.cores[2].groups[2]
	if s := g.log.State(); !g.hasData || s.Term < 8 || s.Term == 8 && s.Vote != 1 {
		t.Errorf("after the split the replica has data %v and the state %+v; it voted for 1 in term 8", g.hasData, s)
	}
}

// TestReplicaThatASplitMadeTakesNoSnapshot: the leader of a new group believed that a replica needs a snapshot, for it had yet to be made
// by the split. Of three nodes one dies, so that nothing is committed without that replica.
func TestReplicaThatASplitMadeTakesNoSnapshot(t *testing.T) {
	l := newLab(t, Config{})
	l.elect(1)
	l.step(1, changeGroup{event: 7, group: 1, do: splitAt([]byte("dx"), 2)})
	for range 40 { // node 2 hears of the new group alone, node 3 of the old one
		l.mail = slices.DeleteFunc(l.mail, func(m letter) bool { return m.to == 2 && m.m.group != 2 || m.to == 3 && m.m.group != 1 })
		l.deliver()
		for _, id := range sortedKeys(l.cores) {
			l.disk(id)
		}
	}
	if l.got[7].err != nil || !l.cores[1].groups[2].leads() || l.cores[1].stats.SnapshotsSent == 0 {
		t.Fatalf("error %v; leads: %v; snapshots sent: %d", l.got[7].err, l.cores[1].groups[2].leads(), l.cores[1].stats.SnapshotsSent)
	}
	l.step(1, propose{event: 8, key: []byte("dy"), body: kvCommand(opPut, []byte("dy"), "x")})
	for range 60 {
		l.tick(1, 2)
	}
	if r, done := l.got[8]; !done || r.err != nil {
		t.Errorf("two of three are there; answered %v, error %v, snapshots sent: %d", done, r.err, l.cores[1].stats.SnapshotsSent)
	}
}

func TestLeaseMakesARestartedNodeWait(t *testing.T) {
	for _, lease := range []bool{false, true} {
		l := newLab(t, Config{LeaseReads: lease, MaxClockDrift: 0.01})
		vote := message{kind: kindRaft, group: 1, from: 1, to: 2, raft: &raftpb.Message{Type: raftpb.MsgVote.Enum(), From: new(uint64(1)), To: new(uint64(2)),
			Term: new(uint64(8)), Index: new(uint64(firstIndex)), LogTerm: new(uint64(firstTerm))}}
		l.step(2, received{1, encodeFrame([]message{vote})})
		l.disk(2)
		want := 1
		if lease {
			want = 0
		}
		if got := len(l.sent(raftpb.MsgVoteResp)); got != want {
			t.Errorf("lease reads %v: a node that just started cast %d votes, want %d", lease, got, want)
		}
	}
}

// TestLeaseMakesARestartedNodeWaitForItself: its own vote is one that it may have promised not to give.
func TestLeaseMakesARestartedNodeWaitForItself(t *testing.T) {
	for _, alone := range []bool{false, true} {
		l := newLab(t, Config{LeaseReads: true, MaxClockDrift: 0.01})
		wait := l.cores[1].cfg.ElectionTicks
		for range wait + 1 {
			for id := range l.cores {
				l.cores[id].tick++ // past the wait after a start
			}
		}
		l.elect(1)
		node, rest := uint64(2), []uint64{2, 3}
		if alone {
			node, rest = 1, []uint64{1}
			l.step(1, changeGroup{event: 7, group: 1, do: changeReplicas([]Change{{Remove, 2}, {Remove, 3}})})
			l.settle()
			if got := l.cores[1].groups[1].state.conf.GetVoters(); l.got[7].err != nil || len(got) != 1 {
				t.Fatalf("error %v, voters %v", l.got[7].err, got)
			}
		} else {
			for range wait + 1 { // node 3 hears nothing of the leader, and votes for whom it is asked to
				l.tick(1, 2)
				l.tick(3)
			}
			l.step(1, readKey{event: 8, key: simKey(1), consistent: true})
			l.deaf = 3
			l.settle() // node 2 alone makes the leader sure of its lease
			l.deaf = 0
			_ = l.got[8].view.Close()
			if !l.cores[1].leased(l.cores[1].groups[1]) {
				t.Fatal("the leader has no lease")
			}
		}
		if err := errors.Join(l.cores[node].close(), l.cores[node].db.Close()); err != nil {
			t.Fatal(err)
		}
		l.start(node)
		if n := l.untilLeader(1, rest...); n <= wait {
			t.Errorf("alone %v: %d ticks after its restart there is a leader, elected by a node that may have promised to wait for %d", alone, n, wait)
		}
	}
}

func TestLeaseEnds(t *testing.T) {
	l := newLab(t, Config{LeaseReads: true, MaxClockDrift: 0.01, Tick: 50 * time.Millisecond, ElectionTicks: 12})
	for range 13 {
		for id := range l.cores {
			l.cores[id].tick++ // past the wait after a start
		}
	}
	l.elect(1)
	read := func(id uint64) (rounds int) {
		before := l.cores[1].stats.ReadRounds
		l.step(1, readKey{event: id, key: simKey(1), consistent: true})
		rounds = l.cores[1].stats.ReadRounds - before
		l.settle()
		if l.got[id].err != nil {
			t.Fatal(l.got[id].err)
		}
		_ = l.got[id].view.Close()
		return rounds
	}
	if read(60) != 1 {
		t.Error("the first read asked nobody")
	}
	if read(61) != 0 {
		t.Error("a read under a lease asked the others")
	}
	l.now += l.cores[1].cfg.lease() + 1
	if read(62) != 1 {
		t.Error("a read after the lease asked nobody")
	}
	l.step(1, changeGroup{event: 70, group: 1, do: transferLeader(2)})
	l.mail = nil // the other never hears of it
	l.step(1, readKey{event: 63, key: simKey(1), consistent: true})
	if _, done := l.got[63]; done {
		t.Error("a leader that told another to take over answered a read alone")
	}
}

// TestMachineErrorStopsTheReplica: what cannot be applied is damage.
func TestMachineErrorStopsTheReplica(t *testing.T) {
	l := newLab(t, Config{})
	l.elect(1)
	l.step(1, propose{event: 7, key: simKey(1), body: binary.AppendUvarint([]byte{opPut}, 1000)})
	l.settle()
	g := l.cores[1].groups[1]
	if !errors.Is(g.err, ErrFailed) {
		t.Fatalf("the group goes on after its machine failed: %v", g.err)
	}
	l.step(1, put(8, "x"), readKey{event: 9, key: simKey(1)})
	if !errors.Is(l.got[8].err, ErrFailed) || !errors.Is(l.got[9].err, ErrFailed) {
		t.Errorf("a failed replica answers %v and %v", l.got[8].err, l.got[9].err)
	}
}

// TestRemovalThatOnlyTheRemovedOneKnows: of a group of two the leader is removed, and the other has yet to hear that this is committed.
// The log of the one that leaves goes on behind that, so it cannot vote for the one that stays.
func TestRemovalThatOnlyTheRemovedOneKnows(t *testing.T) {
	l := newLab(t, Config{})
	l.elect(2)
	l.step(2, changeGroup{event: 7, group: 1, do: changeReplicas([]Change{{Remove, 3}})})
	l.settle()
	l.step(2, changeGroup{event: 8, group: 1, do: changeReplicas([]Change{{Remove, 2}})})
	l.deliver()
	l.disk(1)
	l.disk(2)
	l.step(2, put(9, "x"))
	l.deaf = 1
	l.settle()
	l.deaf = 0
	one, two := l.cores[1].groups[1], l.cores[2].groups[1]
	if last, _ := one.LastIndex(); !two.leaving || one.state.desc.replica(2) == nil || last > two.applied {
		t.Fatalf("node 2 leaves: %v; node 1, with entries up to %d, has %v", two.leaving, last, one.state.desc.Replicas)
	}
	for range 80 {
		for id := range uint64(3) {
			l.step(id+1, ticked{})
		}
		l.settle()
	}
	if !one.leads() || l.cores[2].groups[1] != nil {
		t.Errorf("the one that stays leads: %v; the one that was removed is still here: %v", one.leads(), l.cores[2].groups[1] != nil)
	}
}

// TestRemovedReplicaIsNeededUntilAMajorityKnows: of a group of four one is removed, what only the leader knows to be committed, and the
// leader dies for good. Of the three that are left two are there, and each still believes that it needs three votes of four.
func TestRemovedReplicaIsNeededUntilAMajorityKnows(t *testing.T) {
	l := newLabOf(t, 4, Config{})
	l.elect(1)
	l.step(1, changeGroup{event: 7, group: 1, do: changeReplicas([]Change{{Remove, 4}})})
	for l.cores[1].groups[1].state.desc.replica(4) != nil {
		l.deliver()
		for _, id := range sortedKeys(l.cores) {
			l.disk(id)
		}
	}
	l.mail = slices.DeleteFunc(l.mail, func(m letter) bool { return m.to != 4 }) // that it is committed
	for range 20 {
		l.tick(1, 4)
	}
	if g := l.cores[4].groups[1]; g == nil || !g.leaving {
		t.Fatal("the one that was removed does not know, or has gone as soon as one of three said so")
	}
	for range 60 {
		l.tick(2, 3, 4)
	}
	if l.cores[4].groups[1] != nil {
		t.Error("the one that was removed is still here, and two voters of three know")
	}
	if !l.cores[2].groups[1].leads() && !l.cores[3].groups[1].leads() {
		t.Error("nobody leads")
	}
}

// TestRemovedReplicaOfAGroupThatWasMergedAway: a replica that was removed has yet to hear from a majority of the voters when its group is
// merged into another one, and nobody is left to tell it. It would keep its rows for good, and snapshots of whoever has them now away.
func TestRemovedReplicaOfAGroupThatWasMergedAway(t *testing.T) {
	l := newLab(t, Config{})
	l.elect(1)
	l.step(1, changeGroup{event: 7, group: 1, do: splitAt([]byte("dx"), 2)})
	l.settle()
	settle := func() { // node 3 hears that it was removed from group 2, but not that it may go
		for len(l.mail)+len(l.writes) > 0 {
			l.mail = slices.DeleteFunc(l.mail, func(m letter) bool { return m.m.kind == kindGone && m.m.group == 2 })
			l.deliver()
			for _, id := range sortedKeys(l.cores) {
				l.disk(id)
			}
		}
	}
	l.step(1, changeGroup{event: 8, group: 1, do: changeReplicas([]Change{{Remove, 3}})}, changeGroup{event: 9, group: 2, do: changeReplicas([]Change{{Remove, 3}})})
	settle()
	for range 20 {
		for id := range uint64(3) {
			l.step(id+1, ticked{})
		}
		settle()
	}
	three := l.cores[3]
	if g := three.groups[2]; g == nil || !g.leaving || three.groups[1] != nil {
		t.Fatalf("node 3 has a replica of group 2: %v; it has one of group 1: %v", g, three.groups[1] != nil)
	}
	l.step(1, changeGroup{event: 10, group: 1, do: mergeRight})
	for range 20 {
		l.tick(1, 2)
	}
	if r, done := l.got[10]; !done || r.err != nil || l.cores[2].groups[2] != nil {
		t.Fatalf("merged: %v, error %v; group 2 is on node 2: %v", done, r.err, l.cores[2].groups[2] != nil)
	}
	for range 20 {
		l.tick(1, 2, 3)
	}
	if three.groups[2] != nil {
		t.Error("the replica that was removed is still here, and its group is no more")
	}
}

// TestReplicaThatMissedItsRemovalAndTheMerge: a node is away while its replicas are removed from two groups, and these are merged. The one on
// the right is told of the merge, but must not go before the one on the left has gone, which might carry the merge out.
func TestReplicaThatMissedItsRemovalAndTheMerge(t *testing.T) {
	l := newLab(t, Config{})
	l.elect(1)
	l.step(1, changeGroup{event: 7, group: 1, do: splitAt([]byte("dx"), 2)})
	l.settle()
	l.step(1, changeGroup{event: 8, group: 1, do: changeReplicas([]Change{{Remove, 3}})}, changeGroup{event: 9, group: 2, do: changeReplicas([]Change{{Remove, 3}})})
	for range 5 {
		l.tick(1, 2)
	}
	l.step(1, changeGroup{event: 10, group: 1, do: mergeRight})
	for range 5 {
		l.tick(1, 2)
	}
	three := l.cores[3]
	if r, done := l.got[10]; !done || r.err != nil || three.groups[2] == nil || three.groups[2].leaving {
		t.Fatalf("merged: %v, error %v; node 3 has a replica of group 2: %v", done, r.err, three.groups[2])
	}
	merged := received{1, encodeFrame([]message{{kind: kindGone, group: 2, from: 1, to: 3}})}
	if l.step(3, merged); three.groups[2] == nil {
		t.Fatal("a replica went before the group that was to take it over on this node")
	}
	for range 60 {
		l.tick(1, 2, 3)
	}
	if three.groups[1] != nil || three.groups[2] != nil {
		t.Errorf("node 3 still has a replica of group 1: %v, of group 2: %v", three.groups[1] != nil, three.groups[2] != nil)
	}
}

// TestWhoLetsARemovedReplicaGo: whoever does so must be able to go on without it, after a crash as well.
func TestWhoLetsARemovedReplicaGo(t *testing.T) {
	l := newLab(t, Config{})
	l.elect(1)
	l.step(1, changeGroup{event: 7, group: 1, do: changeReplicas([]Change{{Remove, 3}})})
	l.settle()
	asked := func(id uint64) (before, after int) {
		l.mail = nil
		l.step(id, received{3, encodeFrame([]message{{kind: kindProbe, group: 1, from: 3, to: id}})})
		before = len(l.mail)
		l.disk(id)
		return before, len(l.mail)
	}
	if before, after := asked(1); before != 0 || after != 1 || l.mail[0].m.kind != kindGone {
		t.Errorf("a voter said %d things before its disk was asked, and %d then: %v", before, after, l.mail)
	}
	l.cores[2].groups[1].state.desc.replica(2).Learner = true
	if _, after := asked(2); after != 0 {
		t.Errorf("a learner said %v", l.mail)
	}
}

// TestRemovedReplicaWhoseVotersWereAllReplaced: a node is away while its replica is removed, and after it all voters that the replica knows.
// It asks them, and they are gone; but their nodes know who came after them.
func TestRemovedReplicaWhoseVotersWereAllReplaced(t *testing.T) {
	l := newLabOf(t, 6, Config{})
	l.elect(1)
	event := uint64(100)
	change := func(lead uint64, there []uint64, changes ...Change) {
		t.Helper()
		for range 60 {
			event++
			l.step(lead, changeGroup{event: event, group: 1, do: changeReplicas(changes)})
			for range 10 {
				l.tick(there...)
			}
			if r, done := l.got[event]; done && r.err == nil {
				return
			}
		}
		t.Fatalf("%v: %v", changes, l.got[event].err)
	}
	all, rest := []uint64{1, 2, 3, 4, 5, 6}, []uint64{1, 2, 4, 5, 6}
	change(1, all, Change{Remove, 4}, Change{Remove, 5}, Change{Remove, 6})
	for range 60 {
		l.tick(all...)
	}
	for _, node := range []uint64{4, 5, 6} {
		change(1, rest, Change{AddLearner, node})
		change(1, rest, Change{Promote, node})
	}
	l.step(1, changeGroup{event: 50, group: 1, do: transferLeader(4)})
	for range 5 {
		l.tick(rest...)
	}
	change(4, rest, Change{Remove, 1}, Change{Remove, 2}, Change{Remove, 3})
	for range 60 {
		l.tick(rest...)
	}
	change(4, rest, Change{AddLearner, 2}) // a replica that is not the one that is asked for can answer as well
	if three := l.cores[3].groups[1]; l.cores[1].groups[1] != nil || three == nil || three.leaving {
		t.Fatalf("node 1 has a replica: %v; node 3 has one: %v", l.cores[1].groups[1] != nil, three)
	}
	for range 100 {
		l.tick(all...)
	}
	if l.cores[3].groups[1] != nil {
		t.Error("the replica that was removed is still here, and knows only voters that are gone")
	}
}

// TestReplicaThatMissedAMergeAndASplit: a node misses that its two groups are merged, and split again. It gets the left one as it is now, whose
// rows end where those of the replica begin that was merged away, which is not to wait for it to take that over any more, or within them.
func TestReplicaThatMissedAMergeAndASplit(t *testing.T) {
	for _, at := range []string{"dk", "dx", "dz"} {
		t.Run(at, func(t *testing.T) { missesAMergeAndASplit(t, []byte(at)) })
	}
}

func missesAMergeAndASplit(t *testing.T, at []byte) {
	l := newLab(t, Config{LogEntries: 4})
	l.elect(1)
	l.step(1, changeGroup{event: 7, group: 1, do: splitAt([]byte("dx"), 2)})
	l.settle()
	apart := func(rounds int) { // node 3 hears of group 2 alone
		for range rounds {
			for _, id := range sortedKeys(l.cores) {
				l.step(id, ticked{})
			}
			for len(l.mail)+len(l.writes) > 0 {
				l.mail = slices.DeleteFunc(l.mail, func(m letter) bool { return m.to == 3 && m.m.group != 2 && m.m.kind != 0 })
				l.deliver()
				for _, id := range sortedKeys(l.cores) {
					l.disk(id)
				}
			}
		}
	}
	l.step(1, changeGroup{event: 8, group: 1, do: mergeRight})
	apart(6)
	l.step(1, changeGroup{event: 9, group: 1, do: splitAt(at, 3)})
	apart(2)
	for event := range uint64(20) {
		l.step(1, propose{event: 20 + event, key: []byte("dc"), body: kvCommand(opPut, []byte("dc"), "x")})
		apart(1)
	}
	apart(20)
	three := l.cores[3]
	if l.got[8].err != nil || l.got[9].err != nil || l.cores[1].groups[2] != nil || three.groups[2] == nil {
		t.Fatalf("merge: %v, split: %v, group 2 on node 1: %v, on node 3: %v", l.got[8].err, l.got[9].err, l.cores[1].groups[2] != nil, three.groups[2] != nil)
	}
	for range 60 {
		l.tick(1, 2, 3)
	}
	if three.groups[2] != nil || three.groups[3] == nil || !three.groups[3].hasData {
		t.Errorf("on node 3 group 2 is there: %v, group 3: %+v", three.groups[2] != nil, three.groups[3])
	}
}

// TestSplitIsOnDiskBeforeItsReplicaAnswers: a replica that had voted before the split made it has nothing new to write when a leader asks where
// its log ends, and could forget the split.
func TestSplitIsOnDiskBeforeItsReplicaAnswers(t *testing.T) {
	l := newLab(t, Config{})
	l.elect(1)
	fromOne := func(kind raftpb.MessageType) received {
		return received{1, encodeFrame([]message{{kind: kindRaft, group: 2, from: 1, to: 2, raft: &raftpb.Message{Type: kind.Enum(),
			From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(8)), Index: new(uint64(firstIndex)), LogTerm: new(uint64(firstTerm))}}})}
	}
	l.step(2, fromOne(raftpb.MsgVote))
	l.disk(2)
	l.step(1, changeGroup{event: 7, group: 1, do: splitAt([]byte("dx"), 2)})
	for range 40 {
		if l.deliver(); l.cores[2].groups[2].hasData {
			break
		}
		for _, id := range sortedKeys(l.cores) {
			l.disk(id)
		}
	}
	l.mail = nil
	l.step(2, fromOne(raftpb.MsgApp))
	if got := l.sent(raftpb.MsgAppResp); len(got) != 0 || !l.cores[2].groups[2].hasData {
		t.Fatalf("has data: %v; answered before the split was on disk: %v", l.cores[2].groups[2].hasData, got)
	}
	l.disk(2)
	l.disk(2)
	if got := l.sent(raftpb.MsgAppResp); len(got) != 1 || got[0].m.raft.GetIndex() != firstIndex {
		t.Errorf("answered %v", got)
	}
}

// TestFreezeThatComesTooLate: replicas are moved before a freeze is carried out, and who leads the left group has none of the right one, which
// must not stay frozen for that.
func TestFreezeThatComesTooLate(t *testing.T) {
	l := newLab(t, Config{})
	l.elect(1)
	l.step(1, changeGroup{event: 7, group: 1, do: splitAt([]byte("dx"), 2)})
	l.settle()
	l.step(1, changeGroup{event: 8, group: 1, do: changeReplicas([]Change{{Remove, 3}})}, changeGroup{event: 9, group: 2, do: changeReplicas([]Change{{Remove, 2}})})
	for range 60 {
		l.tick(1, 2, 3)
	}
	l.step(1, changeGroup{event: 10, group: 1, do: transferLeader(2)})
	l.settle()
	one, two := l.cores[1], l.cores[2]
	if two.groups[2] != nil || !two.groups[1].leads() || !one.groups[2].leads() {
		t.Fatalf("group 2 on node 2: %v, which leads group 1: %v; node 1 leads group 2: %v", two.groups[2] != nil, two.groups[1].leads(), one.groups[2].leads())
	}
	one.submit(0, command{kind: commandFreeze, key: []byte("dx")})
	l.step(1)
	l.settle()
	if !one.groups[2].state.frozen {
		t.Fatal("group 2 is not frozen")
	}
	for range 200 {
		l.tick(1, 2, 3)
	}
	if one.groups[2].state.frozen {
		t.Error("group 2 is frozen still")
	}
}
