package cluster

import (
	"fmt"

	"github.com/banyanhq/banyan/store/replica"
)

// view is what a leader knows when it decides what is to become of the replicas of one of its groups.
type view struct {
	self    uint64             // id of the leader's node
	peers   []replica.Progress // the group's replicas
	members map[uint64]Member
	asking  map[uint64]bool // nodes that were heard of just now, and that want replicas
}

// step is the next thing to be done to a group. Nothing, if all is empty.
type step struct {
	changes  []replica.Change
	transfer uint64 // the node that is to lead
	why      string
}

// next decides. Each member is to have a replica of each group, that votes once it has caught up; a node that came back with an
// empty disk takes the place of the one that it was; one that is leaving has none. What would leave the group without a majority
// that is up is not done.
func (v *view) next() step {
	for _, p := range v.peers {
		if p.Learner && v.wanted(p) && p.Up && p.CaughtUp {
			return v.promote(p)
		}
	}
	for _, p := range v.peers {
		m := v.members[p.Node]
		switch {
		case p.Learner && (m.State != Active || v.replaced(p)):
			return step{changes: []replica.Change{{Kind: replica.Remove, Node: p.Node}}, why: fmt.Sprintf("node %d does not join any more", Number(p.Node))}
		case p.Learner || m.State == Active || v.heir(p):
		case v.refuse(p.Node) != nil:
		case p.Node == v.self:
			if to := v.successor(); to != 0 {
				return step{transfer: to, why: "this node is leaving"}
			}
		default:
			return step{changes: []replica.Change{{Kind: replica.Remove, Node: p.Node}}, why: fmt.Sprintf("node %d is %s", Number(p.Node), m.State)}
		}
	}
	for _, m := range sorted(v.members) {
		if m.State == Active && v.asking[m.ID] && v.mayJoin(m.ID) == nil && v.peer(m.ID) == nil {
			return step{changes: []replica.Change{{Kind: replica.AddLearner, Node: m.ID}}, why: fmt.Sprintf("node %d joins", Number(m.ID))}
		}
	}
	return step{}
}

// wanted says whether a replica is to be there.
func (v *view) wanted(p replica.Progress) bool {
	m, known := v.members[p.Node]
	return known && m.State == Active
}

// promote has a learner vote, at once in the place of what its node was before.
func (v *view) promote(p replica.Progress) step {
	s := step{changes: []replica.Change{{Kind: replica.Promote, Node: p.Node}}, why: fmt.Sprintf("node %d has caught up", Number(p.Node))}
	for _, old := range v.peers {
		if old.Node != p.Node && Number(old.Node) == Number(p.Node) && !old.Up {
			s.changes = append(s.changes, replica.Change{Kind: replica.Remove, Node: old.Node})
			s.why += ", in the place of the one that lost its data"
		}
	}
	return s
}

// replaced says whether another node of the same number is there, and this one not any more.
func (v *view) replaced(p replica.Progress) bool {
	for id := range v.asking {
		if id != p.Node && Number(id) == Number(p.Node) && !p.Up {
			return true
		}
	}
	return false
}

// heir says whether another node of the same number is about to take a replica's place.
func (v *view) heir(p replica.Progress) bool {
	for _, other := range v.peers {
		if other.Learner && other.Up && other.Node != p.Node && Number(other.Node) == Number(p.Node) && v.wanted(other) {
			return true
		}
	}
	return false
}

func (v *view) peer(node uint64) *replica.Progress {
	for i := range v.peers {
		if v.peers[i].Node == node {
			return &v.peers[i]
		}
	}
	return nil
}

// successor is a node that can lead in this one's place, 0 if there is none.
func (v *view) successor() uint64 {
	for _, p := range v.peers {
		if p.Node != v.self && !p.Learner && p.Up && p.CaughtUp && v.members[p.Node].State == Active {
			return p.Node
		}
	}
	return 0
}

// mayJoin says why a node can't.
func (v *view) mayJoin(id uint64) error {
	numbers := map[uint64]bool{}
	for _, p := range v.peers {
		numbers[Number(p.Node)] = true
		if p.Node != id && Number(p.Node) == Number(id) && p.Up {
			return fmt.Errorf("node %d is here already, at %s", Number(id), v.members[p.Node].Address)
		}
	}
	if !numbers[Number(id)] && len(numbers) >= mostNodes {
		return fmt.Errorf("the cluster has %d nodes, which is as many as there can be", len(numbers))
	}
	return nil
}

// refuse says why a node's replica can't go: the others would not be a majority of what is left, or not one that can be reached.
func (v *view) refuse(node uint64) error {
	voters, up, left, leftUp := 0, 0, 0, 0
	for _, p := range v.peers {
		if p.Learner {
			continue
		}
		voters++
		if p.Up {
			up++
		}
		if p.Node == node {
			continue
		}
		left++
		if p.Up {
			leftUp++
		}
	}
	switch {
	case left == 0:
		return fmt.Errorf("node %d is the last one that has the data", Number(node))
	case up <= voters/2:
		return fmt.Errorf("%d of %d nodes are up, which is no majority: nothing can be changed", up, voters)
	case leftUp <= left/2:
		return fmt.Errorf("without node %d there would be %d nodes of which %d can be reached, which is no majority", Number(node), left, leftUp)
	}
	return nil
}
