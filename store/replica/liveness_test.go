package replica

import (
	"errors"
	"slices"
	"testing"
)

// tick lets one tick go by on some nodes, and everything between them that follows from it. It returns how many messages of the
// Raft algorithm they sent by themselves. The others might as well be dead.
func (l *lab) tick(nodes ...uint64) (raftMessages int) {
	l.t.Helper()
	for _, id := range nodes {
		l.step(id, ticked{})
	}
	raftMessages = len(slices.DeleteFunc(slices.Clone(l.mail), func(m letter) bool { return m.m.kind != kindRaft }))
	for len(l.mail)+len(l.writes) > 0 {
		l.mail = slices.DeleteFunc(l.mail, func(m letter) bool { return !slices.Contains(nodes, m.to) })
		l.deliver()
		for _, id := range nodes {
			l.disk(id)
		}
	}
	return raftMessages
}

// untilLeader ticks nodes until one of them leads a group, and returns after how many ticks.
func (l *lab) untilLeader(group uint64, nodes ...uint64) int {
	l.t.Helper()
	for n := range 200 {
		for _, id := range nodes {
			if l.cores[id].groups[group].leads() {
				return n
			}
		}
		l.tick(nodes...)
	}
	l.t.Fatalf("the leader of group %d is on a node that fell silent, and nobody else leads it", group)
	return 0
}

// asleep elects node 1 and waits until the group is asleep.
func (l *lab) asleep() {
	l.t.Helper()
	for range 20 {
		l.tick(1, 2, 3)
	}
	for id, c := range l.cores {
		if !c.groups[1].asleep {
			l.t.Fatalf("node %d is not asleep", id)
		}
	}
}

func TestIdleGroupSleepsUntilItsLeaderIsGone(t *testing.T) {
	l := newLab(t, Config{QuiesceTicks: 5})
	l.elect(1)
	l.asleep()
	for range 60 {
		if n := l.tick(1, 2, 3); n > 0 {
			t.Fatalf("a group that has nothing to do sent %d messages", n)
		}
	}
	l.step(3, put(7, "x"))
	l.settle()
	if r, ok := l.got[7]; !ok || r.err != nil {
		t.Errorf("a proposal to a group that sleeps: answered %v, error %v", ok, r.err)
	}
	l.asleep()
	l.untilLeader(1, 2, 3)
}

// mostTicks after which a group has another leader: the wait, one tick for the others to notice, one each for what was on its way
// and to begin, and as many as the first in order leaves the second.
const mostTicks = 12 + 1 + 1 + 1 + campaignTicks

func TestSilentNodeLeadsNothing(t *testing.T) {
	for _, asleep := range []bool{false, true} {
		best := 1000
		for range 5 { // now and then a timeout of the algorithm's own, drawn by lot, splits the votes
			l := newLab(t, Config{QuiesceTicks: 5})
			l.elect(1)
			if asleep {
				l.asleep()
			}
			l.tick(1, 2, 3)
			best = min(best, l.untilLeader(1, 2, 3))
		}
		if best > mostTicks {
			t.Errorf("asleep %v: another leads after %d ticks, want %d at most", asleep, best, mostTicks)
		}
	}
}

// What was asked of a leader that died is asked of the next one as soon as it is there.
func TestNewLeaderIsAskedAtOnce(t *testing.T) {
	l := newLab(t, Config{})
	l.elect(1)
	for range 5 {
		l.tick(1, 2, 3)
	}
	for _, id := range []uint64{2, 3} {
		l.step(id, propose{event: id, token: []byte{byte(id)}, key: simKey(1), body: kvCommand(opPut, simKey(1), "x")},
			readKey{event: 10 + id, key: simKey(1), consistent: true})
	}
	l.tick(2, 3) // node 1 has not got any of it
	l.untilLeader(1, 2, 3)
	for _, id := range []uint64{2, 3, 12, 13} {
		r, ok := l.got[id]
		if !ok || r.err != nil {
			t.Errorf("request %d, when the next leader is there: answered %v, error %v", id, ok, r.err)
		}
		if r.view != nil {
			_ = r.view.Close()
		}
	}
}

// A node that was started anew hears of the leader at once, also from one that is asleep.
func TestRestartedNodeFindsItsLeader(t *testing.T) {
	l := newLab(t, Config{QuiesceTicks: 5})
	l.elect(1)
	l.asleep()
	if err := errors.Join(l.cores[3].close(), l.cores[3].db.Close()); err != nil {
		t.Fatal(err)
	}
	l.start(3)
	term := l.cores[1].groups[1].term
	for n := range 20 {
		if g := l.cores[3].groups[1]; g.leader == 1 {
			if n > 2+2*campaignTicks+2 {
				t.Errorf("it knows its leader after %d ticks", n)
			}
			if l.cores[1].groups[1].term != term {
				t.Error("its start made the others elect anew")
			}
			return
		}
		l.tick(1, 2, 3)
	}
	t.Error("it does not find its leader")
}

// A leader that was started anew before anybody missed it is not waited for: it says itself that it leads no more.
func TestRestartedLeaderIsNotWaitedFor(t *testing.T) {
	l := newLab(t, Config{QuiesceTicks: 5})
	l.elect(1)
	l.asleep()
	if err := errors.Join(l.cores[1].close(), l.cores[1].db.Close()); err != nil {
		t.Fatal(err)
	}
	l.start(1)
	if n := l.untilLeader(1, 1, 2, 3); n > 2+2*campaignTicks+1 {
		t.Errorf("there is a leader after %d ticks", n)
	}
}

// A merge needs all replicas. Without one it is not begun, and what was begun is called off, because nobody is served meanwhile.
func TestMergeDoesNotWaitForADeadNode(t *testing.T) {
	l := newLab(t, Config{})
	l.elect(1)
	l.step(1, changeGroup{event: 7, group: 1, do: splitAt([]byte("dx"), 2)})
	l.settle()
	l.tick(1, 2, 3)
	l.step(1, changeGroup{event: 8, group: 1, do: mergeRight})
	right := l.cores[1].groups[2]
	for range 4 {
		l.tick(1, 2)
	}
	if !right.state.frozen {
		t.Fatal("the merge has not begun")
	}
	for n := 0; right.state.frozen; n++ {
		if n > 2*12+4 {
			t.Fatal("the group on the right is still frozen")
		}
		l.tick(1, 2)
	}
	l.tick(1, 2)
	if err := l.got[8].err; !errors.Is(err, ErrUnavailable) {
		t.Errorf("the merge that was called off: %v", err)
	}
	l.step(1, changeGroup{event: 9, group: 1, do: mergeRight})
	if err := l.got[9].err; !errors.Is(err, ErrRefused) {
		t.Errorf("a merge with a node that is dead: %v", err)
	}
}
