package cluster

import (
	"errors"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/banyanhq/banyan/cache/slot"
)

// formed is a map of some nodes that have shared the slots.
func formed(t *testing.T, nodes, replicas int) *Map {
	t.Helper()
	m := newMap()
	for id := range uint64(nodes) {
		m = must(t, m, Command{Op: Join, Node: id + 1, Life: 100 + id, Addr: "a"})
	}
	return must(t, m, Command{Op: Form, Nodes: nodes, Replicas: replicas})
}

func must(t *testing.T, m *Map, c Command) *Map {
	t.Helper()
	next, err := m.Apply(c)
	if err != nil {
		t.Fatalf("%+v: %v", c, err)
	}
	return next
}

func refuses(t *testing.T, m *Map, c Command) {
	t.Helper()
	next, err := m.Apply(c)
	if !errors.Is(err, ErrRefused) || next != m {
		t.Errorf("%+v was not refused: %v", c, err)
	}
}

func TestFormAndPromote(t *testing.T) {
	m := formed(t, 6, 1)
	if got := m.Primaries(); len(got) != 3 || m.Owned(1)+m.Owned(2)+m.Owned(3) != slot.Count || len(m.Replicas(2)) != 1 {
		t.Fatalf("primaries %v, replicas of 2 %v", got, m.Replicas(2))
	}
	refuses(t, m, Command{Op: Form, Nodes: 6})
	refuses(t, m, Command{Op: Promote, From: 2, To: 4, Life: 101}) // a replica of another
	refuses(t, m, Command{Op: Promote, From: 2, To: 5, Life: 7})   // another process
	refuses(t, m, Command{Op: Join, Node: 2, Life: 7})             // its replica may have the data
	owned := m.Owned(2)
	m = must(t, m, Command{Op: Move, From: 1, To: 2, Slots: []Range{{0, 9}}})
	m = must(t, m, Command{Op: Promote, From: 2, To: 5, Life: 101})
	if m.Owned(5) != owned || m.Owned(2) != 0 || m.Members[2].Of != 5 || m.Members[5].Of != 0 || m.Moving[3] != 5 {
		t.Errorf("after a promotion: %+v", m.Members)
	}
	m = must(t, m, Command{Op: Join, Node: 2, Life: 7}) // it has nothing to lose now
	if m.Members[2].Of != 5 {
		t.Error("one that comes back is no replica")
	}
	refuses(t, m, Command{Op: Promote, From: 2, To: 5, Life: 7})
}

func TestMove(t *testing.T) {
	m := formed(t, 3, 0)
	refuses(t, m, Command{Op: Move, From: 2, To: 3, Slots: []Range{{0, 1}}})
	refuses(t, m, Command{Op: Move, From: 1, To: 9, Slots: []Range{{0, 1}}})
	refuses(t, m, Command{Op: Move, From: 1, To: 2, Slots: []Range{{5, 4}}})
	refuses(t, m, Command{Op: Move, From: 1, To: 2, Slots: []Range{{0, slot.Count}}})
	before := m.snapshot()
	next := must(t, m, Command{Op: Move, From: 1, To: 2, Slots: []Range{{0, 9}}})
	if string(m.snapshot()) != string(before) {
		t.Error("a map that was published was changed")
	}
	refuses(t, next, Command{Op: Move, From: 1, To: 3, Slots: []Range{{9, 9}}})
	refuses(t, next, Command{Op: Moved, From: 1, To: 3, Slots: []Range{{0, 9}}})
	refuses(t, next, Command{Op: Moved, From: 1, To: 2, Slots: []Range{{0, 10}}})
	next = must(t, next, Command{Op: Moved, From: 1, To: 2, Slots: []Range{{0, 9}}})
	if next.Owners[9] != 2 || next.Owners[10] != 1 || len(next.Moving) != 0 {
		t.Error("the slots have not moved")
	}
	again, err := readMap(next.snapshot())
	if err != nil || string(again.snapshot()) != string(next.snapshot()) {
		t.Error("a snapshot is not what was kept:", err)
	}
}

func TestPlanMovesTheFewest(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		m := formed(t, 2+rng.IntN(6), 0)
		ids := m.Primaries()
		for range rng.IntN(20) { // some disorder
			from := rng.IntN(slot.Count)
			for s := from; s < min(slot.Count, from+rng.IntN(3000)); s++ {
				m.Owners[s] = uint16(ids[rng.IntN(len(ids))])
			}
		}
		weights, total := map[uint64]int{}, 0
		for _, id := range ids {
			weights[id] = rng.IntN(4)
			total += weights[id]
		}
		plan := m.Plan(weights)
		if total == 0 {
			if plan != nil {
				t.Fatal("a plan for nobody")
			}
			continue
		}
		owned, least, moved := map[uint64]int{}, 0, 0
		for _, id := range ids {
			owned[id] = m.Owned(id)
			least += max(0, owned[id]-(slot.Count*weights[id]+total-1)/total)
		}
		was := maps.Clone(owned)
		for _, shift := range plan {
			m = must(t, m, Command{Op: Move, From: shift.From, To: shift.To, Slots: shift.Slots})
			m = must(t, m, Command{Op: Moved, From: shift.From, To: shift.To, Slots: shift.Slots})
		}
		for _, id := range ids {
			got := m.Owned(id)
			if share := slot.Count * weights[id]; got*total <= share-total || got*total >= share+total {
				t.Errorf("seed %d: node %d owns %d, its share is %.1f", seed, id, got, float64(share)/float64(total))
			}
			moved += max(0, was[id]-got)
		}
		if moved > least+len(ids) {
			t.Errorf("seed %d: %d slots moved, %d had to be", seed, moved, least)
		}
		if again := m.Plan(weights); len(again) != 0 {
			t.Errorf("seed %d: a second plan moves more: %v", seed, again)
		}
	}
}

func TestFailedNodes(t *testing.T) {
	m := formed(t, 4, 1)
	refuses(t, m, Command{Op: Heard, Node: 3, Life: 102}) // that is known
	refuses(t, m, Command{Op: Fail, Node: 3, Life: 7})    // another process
	refuses(t, m, Command{Op: Fail, Node: 9})
	m = must(t, m, Command{Op: Fail, Node: 3, Life: 102})
	refuses(t, m, Command{Op: Fail, Node: 3, Life: 102})
	m = must(t, m, Command{Op: Fail, Node: 1, Life: 100})
	m = must(t, m, Command{Op: Promote, From: 1, To: 3, Life: 100})
	if !m.Members[1].Failed || !m.Members[3].Failed || m.Members[2].Failed {
		t.Errorf("who has failed is forgotten: %+v", m.Members)
	}
	again, err := readMap(m.snapshot())
	if err != nil || !again.Members[3].Failed {
		t.Errorf("a snapshot does not keep it: %+v, %v", again, err)
	}
	m = must(t, m, Command{Op: Heard, Node: 3, Life: 102})
	m = must(t, m, Command{Op: Join, Node: 1, Life: 7, Addr: "b"}) // started anew
	if m.Members[1].Failed || m.Members[3].Failed {
		t.Errorf("those who are back have failed: %+v", m.Members)
	}
}

// TestKeptData: who has kept its data goes on with them where nobody else may have newer ones.
func TestKeptData(t *testing.T) {
	m := formed(t, 4, 1)
	refuses(t, m, Command{Op: Join, Node: 1, Life: 7})
	m = must(t, m, Command{Op: Join, Node: 1, Life: 7, Kept: true})
	if m.Members[1].Of != 0 || m.Members[1].Life != 7 {
		t.Errorf("a primary that has its data: %+v", m.Members[1])
	}
	refuses(t, m, Command{Op: Promote, From: 1, To: 3, Life: 100}) // of the process before
	m = must(t, m, Command{Op: Promote, From: 1, To: 3, Life: 7})
	m = must(t, m, Command{Op: Join, Node: 1, Life: 8, Kept: true}) // too late
	if m.Members[1].Of != 3 || m.Members[3].Of != 0 {
		t.Errorf("a primary that was replaced: %+v", m.Members)
	}

	for _, step := range []struct {
		fail           bool
		life, followed uint64
		behind         bool
	}{
		{life: 20, behind: false},
		{fail: true, life: 21, followed: 20, behind: true},
		{life: 21, followed: 20, behind: true},  // the same process, again
		{life: 22, followed: 20, behind: true},  // it has not followed in between
		{life: 23, followed: 22, behind: false}, // it has
	} {
		if step.fail {
			m = must(t, m, Command{Op: Fail, Node: 4, Life: m.Members[4].Life})
		}
		m = must(t, m, Command{Op: Join, Node: 4, Life: step.life, Followed: step.followed, Kept: true})
		if m.Members[4].Behind != step.behind {
			t.Errorf("%+v: %+v", step, m.Members[4])
		}
	}
}
