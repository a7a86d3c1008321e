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
			if r.ended {
				return // all faults have, and what the profile says is one of them
			}
			s.net.Faults.Drop, s.net.Faults.Duplicate, s.net.Faults.Reorder = r.p.Drop, r.p.Duplicate, r.p.Reorder
		})
	case "bit-flip":
		r.flipBit(s.nodes[r.p.Seed%3])
	case "flap":
		r.flap(node)
	case "duel":
		r.duel(node)
	case "grow":
		r.grow()
	case "usurp":
		r.usurp(lasts)
	case "transfer-cut":
		r.transferCut(lasts)
	default:
		r.change(kind)
	}
	if s.w.Chance(0.3) {
		r.change("check")
	}
	s.w.After(s.w.Between(r.p.Every/2, 2*r.p.Every), r.fault)
}

// flipBit damages a table of a node while it is down, the same node each time.
func (r *run) flipBit(n *simNode) {
	s := r.s
	if !n.up {
		return
	}
	if err := n.db.Flush(); err != nil && !s.flipped[n.id] {
		s.fail(err)
	}
	n.crash()
	name, err := n.disk.FlipBit("db", ".sst")
	s.fail(err)
	s.flipped[n.id] = s.flipped[n.id] || name != ""
	s.counts["bits flipped"]++
	s.w.After(time.Second, func() { n.restart() })
}

// flap makes a node go and come back at once.
func (r *run) flap(n *simNode) {
	n.crash()
	r.s.w.After(r.s.w.Between(time.Millisecond, 60*time.Millisecond), func() { n.restart() })
}

// duel has two replicas of a group ask the third for its vote at the same moment, and makes that one go and come back just after it
// has given it to one of them. All three forget beforehand that they have a leader, which they would otherwise stand by.
func (r *run) duel(flapping *simNode) {
	s := r.s
	n, g := r.leader()
	if n == nil {
		return
	}
	var rivals []*simNode
	for _, rep := range g.state.desc.Replicas {
		if other := s.nodes[rep.Node-1]; !rep.Learner && other != flapping && len(rivals) < 2 {
			rivals = append(rivals, other)
		}
	}
	for _, other := range append(rivals, flapping) {
		r.flap(other)
	}
	s.w.After(200*time.Millisecond, func() {
		for _, other := range rivals {
			if g := other.replica(g.id); g != nil {
				_ = g.raft.Campaign()
				other.core.mark(g)
				other.step()
			}
		}
		r.flapOnceVoted(flapping, g.id, 400)
	})
}

// flapOnceVoted makes a node go and come back when it has voted for another, if it does within some milliseconds.
func (r *run) flapOnceVoted(n *simNode, group uint64, left int) {
	if g := n.replica(group); g != nil {
		if vote := g.raft.BasicStatus().HardState.GetVote(); vote != 0 && vote != g.self && n.pending == nil && !n.core.staged.MustSync() {
			r.s.counts["flaps after a vote"]++
			r.s.w.After(time.Millisecond, func() { r.flap(n) })
			return
		}
	}
	if left > 0 {
		r.s.w.After(time.Millisecond, func() { r.flapOnceVoted(n, group, left-1) })
	}
}

// replica returns a node's replica of a group that takes part, nil if there is none.
func (n *simNode) replica(group uint64) *group {
	if !n.up || n.paused || n.core.groups[group] == nil || n.core.groups[group].raft == nil {
		return nil
	}
	return n.core.groups[group]
}

// grow gives some group one more replica, or takes a learner from it where it is on all nodes, and splits it soon after.
func (r *run) grow() {
	s := r.s
	n, g := r.leader()
	if n == nil {
		return
	}
	change := Change{}
	for _, i := range s.w.Rand().Perm(len(s.nodes)) {
		switch on := g.state.desc.on(s.nodes[i].id); {
		case on == nil:
			change = Change{AddLearner, s.nodes[i].id}
		case on.Learner && change.Kind == 0:
			change = Change{Remove, s.nodes[i].id}
		}
	}
	if change.Kind == 0 {
		return
	}
	group := g.id
	n.ask(func(id uint64) event {
		return changeGroup{event: id, group: group, do: changeReplicas([]Change{change})}
	}, func(res result) {
		if res.err != nil || change.Kind != AddLearner {
			return
		}
		s.counts["done: grow"]++
		s.w.After(s.w.Between(time.Millisecond, 200*time.Millisecond), func() {
			key := simKey(s.w.Rand().IntN(r.p.Keys))
			next := r.nextGrp
			r.nextGrp++
			if n.up {
				n.ask(func(id uint64) event { return changeGroup{event: id, group: group, do: splitAt(key, next)} }, func(result) {})
			}
		})
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
	case "check":
		do = checkGroup
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
