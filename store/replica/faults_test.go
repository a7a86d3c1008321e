package replica

import (
	"time"
)

// fault makes one thing go wrong, or one change happen, and asks for the next.
func (r *run) fault() {
	if r.ended {
		return
	}
	s := r.s
	kind := r.p.Faults[s.w.Rand().IntN(len(r.p.Faults))]
	node := s.nodes[s.w.Rand().IntN(len(s.nodes))]
	other := s.nodes[s.w.Rand().IntN(len(s.nodes))]
	lasts := s.w.Between(200*time.Millisecond, 4*time.Second)
	s.counts["fault: "+kind]++
	r.say("%v fault %s node %d other %d for %v", s.w.Now(), kind, node.id, other.id, lasts)
	switch kind {
	case "crash":
		node.crash()
		s.w.After(lasts, func() { node.restart() })
	case "crash-all":
		for _, n := range s.nodes {
			n.crash()
			s.w.After(lasts+s.w.Between(0, time.Second), func() { n.restart() })
		}
	case "isolate":
		for _, n := range s.nodes {
			if n != node {
				s.net.CutLink(n.id, node.id)
				s.net.CutLink(node.id, n.id)
			}
		}
		s.w.After(lasts, s.net.Heal)
	case "one-way":
		for _, n := range s.nodes {
			if n != node {
				s.net.CutLink(node.id, n.id)
			}
		}
		s.w.After(lasts, s.net.Heal)
	case "cut":
		if node != other {
			s.net.CutLink(node.id, other.id)
			s.net.CutLink(other.id, node.id)
		}
		s.w.After(lasts, s.net.Heal)
	case "pause":
		if node.up && !node.paused {
			life := node.life
			node.paused = true
			s.w.After(lasts, func() {
				if node.up && node.life == life {
					node.resume()
				}
			})
		}
	case "slow-disk":
		before := node.disk.Faults.Sync
		node.disk.Faults.Sync = 400 * time.Millisecond
		s.w.After(lasts, func() { node.disk.Faults.Sync = min(before, 2*time.Millisecond) })
	case "disk-full":
		node.disk.Full = true
		s.w.After(lasts, func() { node.disk.Full = false })
	case "lossy":
		s.net.Faults.Drop, s.net.Faults.Duplicate, s.net.Faults.Reorder = 0.3, 0.2, 0.3
		s.w.After(lasts, func() {
			s.net.Faults.Drop, s.net.Faults.Duplicate, s.net.Faults.Reorder = r.p.Drop, r.p.Duplicate, r.p.Reorder
		})
	case "flap":
		r.flap(node)
	case "duel":
		r.duel(node)
	case "usurp":
		r.usurp(lasts)
	case "transfer-cut":
		r.transferCut(lasts)
	default:
		r.change(kind)
	}
	s.w.After(s.w.Between(r.p.Every/2, 2*r.p.Every), r.fault)
}

// flap makes a node go and come back at once.
func (r *run) flap(n *simNode) {
	n.crash()
	r.s.w.After(r.s.w.Between(time.Millisecond, 60*time.Millisecond), func() { n.restart() })
}

// duel crashes a leader, and later lets all others ask for votes at the same moment while one of them flaps.
func (r *run) duel(flapping *simNode) {
	s := r.s
	n, g := r.leader()
	if n == nil {
		return
	}
	n.crash()
	s.w.After(4*time.Second, func() { n.restart() })
	s.w.After(s.w.Between(time.Second, 2*time.Second), func() {
		for _, other := range s.nodes {
			if other == flapping || !other.up || other.paused || other.core.groups[g.id] == nil || other.core.groups[g.id].raft == nil {
				continue
			}
			c, g := other.core, other.core.groups[g.id]
			_ = g.raft.Campaign()
			c.mark(g)
			other.step()
		}
		for range 4 {
			s.w.After(s.w.Between(0, 200*time.Millisecond), func() { r.flap(flapping) })
		}
	})
}

// usurp cuts a leader off from one follower until that wants to be leader, then makes the others flap and cuts them off
// as well: whatever they promised the leader they must not have forgotten.
func (r *run) usurp(lasts time.Duration) {
	s := r.s
	n, g := r.leader()
	if n == nil {
		return
	}
	cut := func(other *simNode) {
		s.net.CutLink(n.id, other.id)
		s.net.CutLink(other.id, n.id)
	}
	first := true
	for _, rep := range g.state.desc.Replicas {
		other := s.nodes[rep.Node-1]
		if other == n {
			continue
		}
		if first {
			first = false
			cut(other)
			continue
		}
		s.w.After(s.w.Between(1500*time.Millisecond, 3*time.Second), func() {
			cut(other)
			r.flap(other)
		})
	}
	s.w.After(3*time.Second+lasts, s.net.Heal)
}

// transferCut cuts a leader off just after it has told another to take over.
func (r *run) transferCut(lasts time.Duration) {
	s := r.s
	n, g := r.leader()
	if n == nil {
		return
	}
	target := s.nodes[g.state.desc.Replicas[s.w.Rand().IntN(len(g.state.desc.Replicas))].Node-1]
	n.ask(func(id uint64) event { return changeGroup{event: id, group: g.id, do: transferLeader(target.id)} }, func(result) {
		s.w.After(s.w.Between(0, 4*time.Millisecond), func() {
			for _, other := range s.nodes {
				if other != n {
					s.net.CutLink(n.id, other.id)
					s.net.CutLink(other.id, n.id)
				}
			}
		})
	})
	s.w.After(lasts, s.net.Heal)
}

// leader returns some group with the node that leads it, nil if there is none.
func (r *run) leader() (*simNode, *group) {
	var leaders []*simNode
	var groups []*group
	for _, n := range r.s.nodes {
		if !n.up || n.paused {
			continue
		}
		for _, g := range n.core.spans {
			if g.leads() {
				leaders, groups = append(leaders, n), append(groups, g)
			}
		}
	}
	i := r.s.w.Rand().IntN(max(len(groups), 1))
	if len(groups) == 0 {
		return nil, nil
	}
	return leaders[i], groups[i]
}

// change asks the leader of some group for a change, if there is one.
func (r *run) change(kind string) {
	s := r.s
	n, g := r.leader()
	if n == nil {
		return
	}
	target := s.nodes[s.w.Rand().IntN(len(s.nodes))].id
	key := simKey(s.w.Rand().IntN(r.p.Keys))
	var do func(*core, *group, uint64) error
	switch kind {
	case "transfer":
		do = transferLeader(target)
	case "split":
		do = splitAt(key, r.nextGrp)
		r.nextGrp++
	case "merge":
		do = mergeRight
	case "member":
		do = changeReplicas(r.memberChange(g, target))
	}
	n.ask(func(id uint64) event { return changeGroup{event: id, group: g.id, do: do} }, func(res result) {
		r.say("%v %s of group %d: %v", s.w.Now(), kind, g.id, res.err)
		if res.err == nil {
			s.counts["done: "+kind]++
		}
	})
}

// memberChange moves the group about, and keeps three voters or more of it where it can.
func (r *run) memberChange(g *group, target uint64) []Change {
	on := g.state.desc.on(target)
	voters := len(g.state.conf.GetVoters())
	switch {
	case on == nil:
		return []Change{{AddLearner, target}}
	case on.Learner:
		changes := []Change{{Promote, target}}
		if victim := g.state.desc.Replicas[r.s.w.Rand().IntN(len(g.state.desc.Replicas))]; voters >= 3 && victim.Node != target && !victim.Learner {
			changes = append(changes, Change{Remove, victim.Node}) // both at once: a joint change
		}
		return changes
	}
	return []Change{{Remove, target}}
}
