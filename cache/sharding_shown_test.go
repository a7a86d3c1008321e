package cache

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// shown is how the nodes of a cluster show one of them to clients: its flags and link, its health, and whether it is among
// those that own slots; and the state of the cluster. Where they don't agree, it is what they show.
func (f *fleet) shown(id uint64) string {
	all := map[string]bool{}
	for asked := range f.nodes {
		c, name := f.dial(asked), nodeName(id)
		var line []string
		for row := range strings.SplitSeq(c.doText("cluster nodes"), "\n") {
			if fields := strings.Fields(row); len(fields) > 7 && fields[0] == name {
				line = append(line, strings.TrimPrefix(fields[2], "myself,"), fields[7])
			}
		}
		_, health, _ := strings.Cut(c.doLine("cluster shards"), `"id" "`+name)
		_, health, _ = strings.Cut(health, `"health" "`)
		health, _, _ = strings.Cut(health, `"`)
		line = append(line, health, fmt.Sprint(strings.Contains(c.doLine("cluster slots"), name)))
		for row := range strings.SplitSeq(c.doText("cluster info"), "\r\n") {
			if what, n, _ := strings.Cut(row, ":"); what == "cluster_state" || what == "cluster_slots_fail" {
				line = append(line, n)
			}
		}
		all[strings.Join(line, " ")] = true
		c.Close()
	}
	return strings.Join(slices.Sorted(maps.Keys(all)), " | ")
}

// TestFailedNodesAreShown: nodes that die are shown as failed by all others, and as there when they are back.
func TestFailedNodesAreShown(t *testing.T) {
	f := newFleet(t, 4, 1) // 1 and 2 with the replicas 3 and 4
	expect := func(when string, id uint64, want string) {
		t.Helper()
		got := ""
		f.waitFor(when, func() bool { got = f.shown(id); return got == want || t.Failed() })
	}
	expect("all are there", 4, "slave connected online true ok 0")
	expect("all are there", 1, "master connected online true ok 0")
	f.stop(4)
	expect("the replica is shown as failed", 4, "slave,fail disconnected fail false ok 0")
	if got := f.dial(2).doText("info replication"); !strings.Contains(got, "connected_slaves:0") {
		t.Errorf("the primary has a dead replica: %s", got)
	}
	f.start(4)
	expect("the replica is back", 4, "slave connected online true ok 0")
	f.stop(1)
	expect("the primary is replaced", 1, "slave,fail disconnected fail false ok 0")
	expect("its replica serves", 3, "master connected online true ok 0")
	f.start(1)
	expect("the old primary is a replica", 1, "slave connected online true ok 0")
}

// TestLostSlotsAreShown: what a primary without replicas owned is not served, and the others say so.
func TestLostSlotsAreShown(t *testing.T) {
	f := newFleet(t, 3, 0)
	f.stop(3)
	f.waitFor("the primary is shown as failed", func() bool { return f.shown(3) == "master,fail disconnected fail true fail 5461" })
	f.start(3)
	f.waitFor("it is back", func() bool { return f.shown(3) == "master connected online true ok 0" })
}
