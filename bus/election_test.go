package bus

import (
	"slices"
	"testing"
	"time"
)

// Votes are asked for where a leader was there and is gone, again where none came about, and never where that would only disturb.
func TestWhenVotesAreAskedFor(t *testing.T) {
	all, without2, without3 := []string{"node-2", "node-3"}, []string{"node-3"}, []string{"node-2"}
	e := newElections()
	now := time.Now()
	group := raftGroup{peers: all, quorum: 2}
	step := func(what string, after time.Duration, connected []string, leader string, votes, want bool) {
		t.Helper()
		now = now.Add(after)
		there := map[string]bool{}
		for _, node := range connected {
			there[node] = true
		}
		group.leader, group.votes = leader, votes
		due := e.look(now, there) && slices.Equal(e.due(now, map[string]raftGroup{"S-jobs": group}), []string{"S-jobs"})
		if due != want {
			t.Errorf("%s: %v, expected %v", what, due, want)
		}
	}
	step("a leader that was never connected", 0, without2, "node-2", true, false)
	step("no leader yet", leadEvery, without2, "", true, false)
	step("all are there", leadEvery, all, "node-2", true, false)
	step("another node is gone", leadEvery, without3, "node-2", true, false)
	step("nobody is there to vote", leadEvery, nil, "node-2", true, false)
	step("somebody is", leadEvery, without2, "node-2", true, true)
	step("the votes are on their way", leadEvery, without2, "node-2", true, false)
	step("and not counted", leadEvery, without2, "", true, false)
	step("they were split", askAgainAfter, without2, "", true, true)
	step("there is a leader", leadEvery, without2, "node-3", true, false)
	step("it has not been heard of for a moment", leadEvery, without2, "", true, false)
	step("all are there again", leadEvery, all, "node-2", true, false)
	step("the leader is gone, and this node may not vote", leadEvery, without2, "node-2", false, false)
	step("now it may", leadEvery, without2, "node-2", true, true)
	step("this one leads", leadEvery, without2, "", false, false)
	step("the one that is gone takes the lead back: it is cut off from this node only", hurryFor, without2, "node-2", true, false)
}
