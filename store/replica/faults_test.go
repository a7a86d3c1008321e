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
	default:
		r.change(kind)
	}
	s.w.After(s.w.Between(r.p.Every/2, 2*r.p.Every), r.fault)
}

// change asks the leader of some group for a change, if there is one.
func (r *run) change(kind string) {
	s := r.s
	var leaders []*simNode
	var groups []*group
	for _, n := range s.nodes {
		if !n.up {
			continue
		}
		for _, g := range n.core.spans {
			if g.leads() {
				leaders, groups = append(leaders, n), append(groups, g)
			}
		}
	}
	if len(groups) == 0 {
		return
	}
	i := s.w.Rand().IntN(len(groups))
	n, g := leaders[i], groups[i]
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
