package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/banyanhq/banyan/store/replica"
)

// peersOf describes replicas by words: "1 2 3" are voters that are up, "-3" one that is down, "+4" a learner that has caught up,
// "~4" one that has not. A node that came back with an empty disk is "2'".
func peersOf(words string) (peers []replica.Progress) {
	for i, w := range strings.Fields(words) {
		p := replica.Progress{Replica: replica.Replica{ID: uint64(i + 1)}, Up: true, CaughtUp: true}
		switch w[0] {
		case '-':
			p.Up, p.CaughtUp, w = false, false, w[1:]
		case '+':
			p.Learner, w = true, w[1:]
		case '~':
			p.Learner, p.CaughtUp, w = true, false, w[1:]
		}
		p.Node = nodeOf(w)
		peers = append(peers, p)
	}
	return peers
}

func nodeOf(word string) uint64 {
	id := uint64(word[0] - '0')
	if strings.HasSuffix(word, "'") {
		id |= 77 << 32
	}
	return id
}

func TestNextStep(t *testing.T) {
	for _, c := range []struct{ replicas, leaving, gone, asking, want string }{
		{"1 2 3", "", "", "", "nothing"},
		{"1 2 3", "", "", "4", "add 4"},
		{"1 2 3 ~4", "", "", "4", "nothing"},
		{"1 2 3 +4", "", "", "4", "promote 4"},
		{"1 -2 3", "", "", "2'", "add 2'"},
		{"1 2 3", "", "", "2'", "nothing"}, // somebody started it twice
		{"1 -2 3 ~2'", "", "", "2'", "nothing"},
		{"1 -2 3 +2'", "", "", "2'", "promote 2', remove 2"},
		{"1 -2 3 +2'", "", "2", "2'", "promote 2', remove 2"},
		{"1 -2 3 ~2'", "", "2", "2'", "nothing"},
		{"1 2 3", "3", "", "", "remove 3"},
		{"1 2 3", "1", "", "", "transfer 2"},
		{"1 -2 3", "1", "", "", "nothing"}, // 2 would be alone with one that is down
		{"1 -2 3", "3", "", "", "nothing"},
		{"1 -2 3", "", "2", "", "remove 2"},
		{"1", "1", "", "", "nothing"},
		{"1 2", "2", "", "", "remove 2"},
		{"1 -2", "", "2", "", "nothing"}, // no majority
		{"1 2 3 ~4", "4", "", "", "remove 4"},
		{"1 -2 3 +2'", "2'", "2", "", "remove 2"},
		{"1 3 +2'", "2'", "2", "", "remove 2'"},
		{"1 2 3 4 5 6 7 8 9", "", "", "9'", "nothing"},
		{"1 2 3 4 5 6 7 8 -9", "", "", "9'", "add 9'"},
	} {
		v := view{self: 1, peers: peersOf(c.replicas), members: map[uint64]Member{}, asking: map[uint64]bool{}}
		for _, p := range v.peers {
			v.members[p.Node] = Member{ID: p.Node}
		}
		for _, w := range strings.Fields(c.asking) {
			v.members[nodeOf(w)], v.asking[nodeOf(w)] = Member{ID: nodeOf(w)}, true
		}
		for _, w := range strings.Fields(c.leaving) {
			v.members[nodeOf(w)] = Member{ID: nodeOf(w), State: Leaving}
		}
		for _, w := range strings.Fields(c.gone) {
			v.members[nodeOf(w)] = Member{ID: nodeOf(w), State: Gone}
		}
		if got := words(v.next()); got != c.want {
			t.Errorf("replicas %s, leaving %s, gone %s, asking %s: %s, want %s", c.replicas, c.leaving, c.gone, c.asking, got, c.want)
		}
	}
}

func words(s step) string {
	name := func(id uint64) string {
		if id != Number(id) {
			return fmt.Sprint(Number(id), "'")
		}
		return fmt.Sprint(id)
	}
	var all []string
	if s.transfer != 0 {
		all = append(all, "transfer "+name(s.transfer))
	}
	for _, ch := range s.changes {
		verb := map[replica.ChangeKind]string{replica.AddLearner: "add", replica.Promote: "promote", replica.Remove: "remove"}[ch.Kind]
		all = append(all, verb+" "+name(ch.Node))
	}
	if len(all) == 0 {
		return "nothing"
	}
	return strings.Join(all, ", ")
}

// nodes returns how the nodes stand, as the given one sees it: "1 up, 2 down".
func (r *rig) standing(by uint64) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nodes, err := r.nodes[by].Nodes(ctx)
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, s := range nodes {
		all = append(all, fmt.Sprintf("%d %s", s.Node, s.State))
	}
	return strings.Join(all, ", ")
}

func (r *rig) voters(by uint64) (voters []uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	g, _, err := r.nodes[by].Status(ctx)
	if err != nil {
		return nil
	}
	for _, rep := range g.Replicas {
		if !rep.Learner {
			voters = append(voters, rep.Node)
		}
	}
	slices.Sort(voters)
	return voters
}

// Each node in turn loses its disk and comes back under its address, with nothing but its flags: it gets everything, takes the place
// of what it was, and the cluster survives the loss of another node afterwards.
func TestNodeComesBackWithAnEmptyDisk(t *testing.T) {
	r := newRig(t, 3, nil)
	r.define(1, "before")
	until(t, "all have met", func() bool { return r.met() })
	for id := uint64(1); id <= 3; id++ {
		before := r.nodes[id].known.id
		r.stop(id)
		r.disks[id] = vfs.NewMem()
		r.define(id%3+1, fmt.Sprintf("while-%d", id))
		r.start(id, func(c *Config) { c.Bootstrap = true }) // as if nobody had changed the flags since the beginning
		until(t, "it is a voter", func() bool { return r.nodes[id].ready.Load() })
		if r.nodes[id].known.id == before {
			t.Fatalf("node %d came back as what it was, and has forgotten what it promised", id)
		}
		if r.nodes[id].Table("before") == nil || r.nodes[id].Table(fmt.Sprintf("while-%d", id)) == nil {
			t.Errorf("node %d lacks tables", id)
		}
		until(t, "what it was is no voter any more", func() bool { return len(r.voters(id)) == 3 && !slices.Contains(r.voters(id), before) })
		until(t, "all have met", func() bool { return r.met() })
	}
	until(t, "three nodes are up and no others", func() bool { return r.standing(1) == "1 up, 2 up, 3 up" })
}

// met says whether each node knows that each of the others has been there.
func (r *rig) met() bool {
	for _, n := range r.nodes {
		for _, m := range n.known.directory.members() {
			if m.Start == 0 && m.State == Active {
				return false
			}
		}
	}
	return true
}

// A fourth node joins, the third leaves, and the fourth goes on when another is lost; what would lose the majority is refused.
func TestNodesJoinAndLeave(t *testing.T) {
	r := newRig(t, 3, nil)
	r.define(1, "before")
	r.add(4)
	until(t, "it is a voter", func() bool { return r.nodes[4].ready.Load() })
	until(t, "four nodes are up", func() bool { return r.standing(2) == "1 up, 2 up, 3 up, 4 up" })
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := r.nodes[1].Remove(ctx, 3); err == nil || !strings.Contains(err.Error(), "is up") {
		t.Errorf("removing a node that is up: %v", err)
	}
	if err := r.nodes[1].Drain(ctx, 5); err == nil || !strings.Contains(err.Error(), "no node 5") {
		t.Errorf("draining a node that is not there: %v", err)
	}
	until(t, "draining is taken", func() bool { return r.nodes[1].Drain(ctx, 3) == nil })
	if err := <-r.ended[3]; err != nil {
		t.Errorf("a node that left ends with %v", err)
	}
	r.ended[3] <- nil
	until(t, "three nodes are left", func() bool { return r.standing(2) == "1 up, 2 up, 4 up" })
	r.stop(1)
	r.define(2, "without-1")
	until(t, "node 4 has the table", func() bool { return r.nodes[4].Table("without-1") != nil })
	until(t, "the leader has noticed that 1 is down", func() bool { return r.seenDown(1) })
	until(t, "draining another is refused", func() bool {
		err := r.nodes[4].Drain(ctx, 2)
		return err != nil && strings.Contains(err.Error(), "no majority")
	})
	until(t, "the dead one is removed", func() bool { return r.nodes[4].Remove(ctx, 1) == nil })
	until(t, "two nodes are left", func() bool { return r.standing(2) == "2 up, 4 up" })
	r.start(1, nil)
	if err := <-r.ended[1]; !errors.Is(err, ErrGone) {
		t.Errorf("a node that was removed comes back: %v", err)
	}
	r.ended[1] <- nil
}

// A node that has lost its disk and come back can be drained at once, though its former self is still known.
func TestNodeThatLostItsDiskIsDrained(t *testing.T) {
	r := newRig(t, 3, nil)
	r.define(1, "before")
	until(t, "all have met", func() bool { return r.met() })
	r.stop(3)
	r.disks[3] = vfs.NewMem()
	r.start(3, func(c *Config) { c.Bootstrap = true })
	until(t, "it is a voter", func() bool { return r.nodes[3].ready.Load() })
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	until(t, "draining is taken", func() bool { return r.nodes[1].Drain(ctx, 3) == nil })
	if err := <-r.ended[3]; err != nil {
		t.Errorf("a node that left ends with %v", err)
	}
	r.ended[3] <- nil
	until(t, "two nodes are left", func() bool { return r.standing(2) == "1 up, 2 up" })
}

// seenDown says whether a leader believes that a node is down.
func (r *rig) seenDown(id uint64) bool {
	for _, n := range r.nodes {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		g, _, err := n.Status(ctx)
		cancel()
		for _, p := range g.Peers {
			if err == nil && p.Node == id && !p.Up {
				return true
			}
		}
	}
	return false
}

func FuzzQuestion(f *testing.F) {
	f.Add([]byte(`{"op":"hello","from":1,"members":[{"id":1,"address":"127.0.0.1:1","start":1,"state":0}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var q question
		if decodeStrictly(body, &q) != nil {
			return
		}
		for _, m := range q.Members {
			if m.validate() == nil && (m.State < Active || m.State > Gone || Number(m.ID) == 0) {
				t.Errorf("%+v passes", m)
			}
		}
	})
}
