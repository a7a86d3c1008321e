package replica

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// fault makes one thing go wrong, or one change happen, and asks for the next.
func (r *run) fault() {
	if r.ended {
		return
	}
	s := r.s
	kind := r.p.Faults[s.w.Rand().IntN(len(r.p.Faults))]
	node := s.nodes[s.w.Rand().IntN(len(s.nodes))]
	if leader, _ := r.leader(); s.w.Chance(r.p.Aimed) && leader != nil {
		node = leader
	}
	r.happen(kind, node)
	s.w.After(s.w.Between(r.p.Every/2, 2*r.p.Every), r.fault)
}

// alter asks for one change of some group, and for the next.
func (r *run) alter() {
	if r.ended {
		return
	}
	s := r.s
	kind := r.p.Changes[s.w.Rand().IntN(len(r.p.Changes))]
	lasts := s.w.Between(r.p.Lasts/4, r.p.Lasts)
	s.counts["change: "+kind]++
	r.say("%v change %s", s.w.Now(), kind)
	switch kind {
	case "grow":
		r.grow(lasts)
	case "orphan":
		r.orphan(lasts)
	case "transfer-cut":
		r.transferCut(lasts)
	case "rejoin":
		r.rejoin()
	default:
		r.change(kind)
	}
	s.w.After(s.w.Between(r.p.Alters/2, 2*r.p.Alters), r.alter)
}

// spite lets a fault happen when something rare does, on the same node more often than not. What is rarest may not have to wait for the
// calm after another fault.
func (r *run) spite(n *simNode, rarest bool) {
	s := r.s
	var kinds []string
	for _, kind := range r.p.Faults {
		if slices.Contains(spiteful, kind) {
			kinds = append(kinds, kind)
		}
	}
	often := r.p.Spite
	if rarest {
		often *= 2
	}
	if r.ended || len(kinds) == 0 || s.w.Now() < r.calm && !rarest || !s.w.Chance(often) {
		return
	}
	r.calm = s.w.Now() + r.p.Every/2 // what follows from the fault is rare as well
	kind := kinds[s.w.Rand().IntN(len(kinds))]
	if s.w.Chance(0.4) {
		n = s.nodes[s.w.Rand().IntN(len(s.nodes))]
	}
	s.counts["faults out of spite"]++
	s.w.After(s.w.Between(0, []time.Duration{0, 5 * time.Millisecond, 100 * time.Millisecond}[s.w.Rand().IntN(3)]), func() {
		if !r.ended {
			r.happen(kind, n)
		}
	})
}

// happen makes something go wrong with a node.
func (r *run) happen(kind string, node *simNode) {
	s := r.s
	other := s.nodes[s.w.Rand().IntN(len(s.nodes))]
	lasts := s.w.Between(r.p.Lasts/20, r.p.Lasts)
	if s.w.Chance(0.5) {
		lasts = s.w.Between(r.p.Lasts/2, r.p.Lasts)
	}
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
	case "blink":
		links := r.halves(other)
		if s.w.Chance(0.5) {
			r.cut(links, lasts)
		}
		for _, n := range s.nodes {
			if n == other || slices.Contains(links, [2]uint64{n.id, other.id}) == s.w.Chance(0.1) {
				r.flap(n)
			}
		}
	case "isolate":
		r.cut(append(r.links(node, s.nodes), r.linksTo(node, s.nodes)...), lasts)
	case "mute":
		r.cut(r.links(node, s.nodes), lasts)
	case "deaf":
		r.cut(r.linksTo(node, s.nodes), lasts)
	case "cut":
		r.cut([][2]uint64{{node.id, other.id}, {other.id, node.id}}, lasts)
	case "halves":
		r.cut(r.halves(node), lasts)
	case "slow-link":
		r.onLinks([][2]uint64{{node.id, other.id}}, lasts, func(from, to uint64) { s.net.SlowLink(from, to, lasts/4) })
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
		r.slowDisk(node, lasts)
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
	case "usurp":
		r.usurp(lasts)
	case "bury":
		r.bury(node)
	}
}

// slowDisk makes what a node writes take long.
func (r *run) slowDisk(node *simNode, lasts time.Duration) {
	before := node.disk.Faults.Sync
	node.disk.Faults.Sync = 400 * time.Millisecond
	r.s.w.After(lasts, func() { node.disk.Faults.Sync = min(before, max(r.p.Straggler, 2*time.Millisecond)) })
}

// links are those from a node to others.
func (r *run) links(from *simNode, to []*simNode) (links [][2]uint64) {
	for _, n := range to {
		links = append(links, [2]uint64{from.id, n.id})
	}
	return links
}

// linksTo are those to a node from others.
func (r *run) linksTo(to *simNode, from []*simNode) (links [][2]uint64) {
	for _, n := range from {
		links = append(links, [2]uint64{n.id, to.id})
	}
	return links
}

// halves are the links between a node, with some others, and the rest.
func (r *run) halves(node *simNode) (links [][2]uint64) {
	var with, rest []*simNode
	for _, n := range r.s.nodes {
		if n == node || r.s.w.Chance(0.4) {
			with = append(with, n)
		} else {
			rest = append(rest, n)
		}
	}
	for _, n := range with {
		links = append(append(links, r.links(n, rest)...), r.linksTo(n, rest)...)
	}
	return links
}

// cut stops links, and may lose what is on its way.
func (r *run) cut(links [][2]uint64, lasts time.Duration) {
	if r.s.w.Chance(0.5) {
		r.onLinks(links, lasts, r.s.net.BreakLink)
	} else {
		r.onLinks(links, lasts, r.s.net.CutLink)
	}
}

// onLinks does something to links, until no fault that lasts does anything to them.
func (r *run) onLinks(links [][2]uint64, lasts time.Duration, do func(from, to uint64)) {
	if r.ended {
		return
	}
	for _, l := range links {
		if l[0] != l[1] {
			r.cuts[l]++
			do(l[0], l[1])
		}
	}
	r.s.w.After(lasts, func() {
		for _, l := range links {
			if l[0] == l[1] {
				continue
			}
			if r.cuts[l]--; r.cuts[l] == 0 {
				r.s.net.HealLink(l[0], l[1])
			}
		}
	})
}

// bury has a node go for good, with its disk. It does nothing where that would be too much for a group: the node may be no voter that
// is needed, in the set of voters that is in force or in one that some replica believes in, which is an older one. The second would be
// too much by the nature of the algorithm; replicas that were removed and have gone count as if they were there, because that is what
// their group owes for letting them go.
func (r *run) bury(node *simNode) bool {
	s := r.s
	if r.buried != nil || r.changing > 0 {
		return false
	}
	for _, n := range s.nodes {
		if !n.up {
			return false
		}
	}
	newest := map[uint64]uint64{}
	for _, n := range s.nodes {
		for _, g := range n.core.spans {
			newest[g.id] = max(newest[g.id], g.applied)
		}
	}
	for _, n := range s.nodes {
		for _, g := range n.core.spans {
			if r.changePending(g, newest[g.id]) || !g.enoughWithout(g.state.conf.GetVoters(), node.id) || !g.enoughWithout(g.state.conf.GetVotersOutgoing(), node.id) {
				return false
			}
		}
	}
	r.say("%v node %d is buried", s.w.Now(), node.id)
	s.counts["nodes lost for good"]++
	r.buried = node
	node.lost = true
	node.crash()
	return true
}

// changePending says whether a replica's log has a change of replicas behind an entry.
func (r *run) changePending(g *group, applied uint64) bool {
	last, _ := g.LastIndex()
	for index := applied + 1; index <= last; index++ {
		entries, err := g.log.Entries(index, index+1, ^uint64(0))
		if err != nil || entries[0].GetType() != raftpb.EntryNormal {
			return true
		}
	}
	return false
}

// enoughWithout says whether a majority of voters is on other nodes.
func (g *group) enoughWithout(voters []uint64, node uint64) bool {
	left := 0
	for _, id := range voters {
		if g.node(id) != node {
			left++
		}
	}
	return len(voters) == 0 || left > len(voters)/2
}

// orphan removes a voter, keeps from all others but that one that the removal is committed, and takes from them the leader that knows,
// for good if it can, as soon as that lets the removed one go.
func (r *run) orphan(lasts time.Duration) {
	s := r.s
	n, g := r.leader()
	if n == nil || r.buried != nil || g.state.joint() || len(g.state.conf.GetVoters()) < 2 {
		return
	}
	var changes []Change
	var removed *simNode
	for _, i := range s.w.Rand().Perm(len(s.nodes)) {
		switch on := g.state.desc.on(s.nodes[i].id); {
		case on == nil || on.ID == g.self:
		case !on.Learner && removed == nil:
			removed = s.nodes[i]
			changes = append(changes, Change{Remove, removed.id})
		case on.Learner && len(changes) < 2:
			changes = append(changes, Change{Promote, s.nodes[i].id})
		}
	}
	if removed == nil {
		return
	}
	r.ask(n, g.id, changes, func(res result) {
		if res.err != nil || r.ended {
			return
		}
		s.counts["done: orphan"]++
		rest := slices.DeleteFunc(slices.Clone(s.nodes), func(other *simNode) bool { return other == removed })
		r.onLinks(append(r.links(n, rest), r.linksTo(n, rest)...), lasts, s.net.BreakLink)
		life := n.life
		n.onGone = func() {
			n.onGone = nil
			s.w.After(s.w.Between(2*time.Millisecond, 10*time.Millisecond), func() {
				if n.life != life || r.ended || r.bury(n) {
					return
				}
				n.crash()
				s.w.After(lasts, func() { n.restart() })
			})
		}
	})
}

// ask has a leader change where the replicas of a group are.
func (r *run) ask(n *simNode, group uint64, changes []Change, done func(result)) {
	if r.buried != nil && slices.ContainsFunc(changes, func(c Change) bool { return c.Kind == Remove && c.Node != r.buried.id }) {
		return // it may leave too few
	}
	r.changing++
	n.ask(func(id uint64) event {
		return changeGroup{event: id, group: group, do: changeReplicas(changes)}
	}, func(res result) {
		r.changing--
		done(res)
	})
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
func (r *run) grow(lasts time.Duration) {
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
	r.ask(n, group, []Change{change}, func(res result) {
		if res.err != nil || change.Kind != AddLearner {
			return
		}
		s.counts["done: grow"]++
		if s.w.Chance(0.5) { // so that snapshots from before and after the split meet on the way to it
			r.slowDisk(s.nodes[change.Node-1], lasts)
		}
		s.w.After(s.w.Between(time.Millisecond, 200*time.Millisecond), func() {
			g := n.replica(group)
			if g == nil {
				return
			}
			next := r.nextGrp
			r.nextGrp++
			if key := r.keyIn(g); key != nil {
				n.ask(func(id uint64) event { return changeGroup{event: id, group: group, do: splitAt(key, next)} }, func(result) {})
			}
		})
	})
}

// usurp cuts a leader off from one follower until that wants to be leader, then makes the others flap and cuts them off
// as well, all at once: whatever they promised the leader they must not have forgotten.
func (r *run) usurp(lasts time.Duration) {
	s := r.s
	n, g := r.leader()
	if n == nil {
		return
	}
	cut := func(other *simNode, lasts time.Duration) {
		r.cut([][2]uint64{{n.id, other.id}, {other.id, n.id}}, lasts)
	}
	var rest []*simNode
	var rival *simNode
	for _, i := range s.w.Rand().Perm(len(g.state.desc.Replicas)) {
		switch rep := g.state.desc.Replicas[i]; {
		case rep.ID == g.self:
		case rival == nil && !rep.Learner:
			rival = s.nodes[rep.Node-1]
		default:
			rest = append(rest, s.nodes[rep.Node-1])
		}
	}
	if rival == nil {
		return
	}
	cut(rival, 3*time.Second+lasts)
	within := s.w.Between(0, time.Second)
	r.onceLeaderless(rival, g.id, 80, func() {
		s.counts["usurpers"]++
		s.w.After(s.w.Between(0, within), func() {
			for _, other := range rest {
				if !r.ended {
					cut(other, lasts)
					r.flap(other)
				}
			}
		})
	})
}

// onceLeaderless calls f when a replica has given up its leader, if it does within some tries.
func (r *run) onceLeaderless(n *simNode, group uint64, left int, f func()) {
	if g := n.replica(group); g != nil && g.leader == 0 {
		f()
		return
	}
	if left > 0 {
		r.s.w.After(50*time.Millisecond, func() { r.onceLeaderless(n, group, left-1, f) })
	}
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
		if s.w.Chance(0.5) { // it never hears that the other took over
			r.onLinks(r.linksTo(n, s.nodes), lasts, s.net.BreakLink)
			return
		}
		s.w.After(s.w.Between(0, 4*time.Millisecond), func() {
			r.onLinks(append(r.links(n, s.nodes), r.linksTo(n, s.nodes)...), lasts, s.net.CutLink)
		})
	})
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
	if replicas := g.state.desc.Replicas; kind == "transfer" {
		target = replicas[s.w.Rand().IntN(len(replicas))].Node
	}
	key := r.keyIn(g)
	done := func(res result) {
		r.say("%v %s of group %d: %v", s.w.Now(), kind, g.id, res.err)
		if res.err == nil {
			s.counts["done: "+kind]++
		}
	}
	var do func(*core, *group, uint64) error
	switch kind {
	case "transfer":
		do = transferLeader(target)
	case "split":
		if key == nil {
			return
		}
		do = splitAt(key, r.nextGrp)
		r.nextGrp++
	case "merge":
		group := g.id
		if pairs := r.pairs(); len(pairs) > 0 && s.w.Chance(0.9) {
			group = pairs[s.w.Rand().IntN(len(pairs))]
		}
		r.merge(group, 30)
		return
	case "check":
		do = checkGroup
	case "member":
		r.ask(n, g.id, r.memberChange(g, target), done)
		return
	}
	n.ask(func(id uint64) event { return changeGroup{event: id, group: g.id, do: do} }, done)
}

// keyIn returns a key at which a group can be split, nil if there is none.
func (r *run) keyIn(g *group) []byte {
	for _, i := range r.s.w.Rand().Perm(r.p.Keys) {
		if key := simKey(i); i > 0 && g.state.desc.Contains(key) && !bytes.Equal(key, g.state.desc.Start) {
			return key
		}
	}
	return nil
}

// pairs are the groups that could take over their right neighbours: both have replicas on the same nodes.
func (r *run) pairs() (lefts []uint64) {
	for _, n := range r.s.nodes {
		if !n.up || n.paused {
			continue
		}
		for _, left := range n.core.spans {
			if right := n.core.neighbour(left); left.leads() && right != nil && !right.state.frozen && sameNodes(&left.state, &right.state) {
				lefts = append(lefts, left.id)
			}
		}
	}
	return lefts
}

// rejoin splits a group and has it take over again what it gave away, soon after.
func (r *run) rejoin() {
	s := r.s
	if pairs := r.pairs(); len(pairs) > 0 && s.w.Chance(0.5) {
		r.merge(pairs[s.w.Rand().IntN(len(pairs))], 30)
		return
	}
	n, g := r.leader()
	if n == nil {
		return
	}
	key := r.keyIn(g)
	if key == nil {
		return
	}
	left, next := g.id, r.nextGrp
	r.nextGrp++
	n.ask(func(id uint64) event { return changeGroup{event: id, group: left, do: splitAt(key, next)} }, func(res result) {
		if res.err == nil && !r.ended {
			s.counts["done: split"]++
			s.w.After(s.w.Between(0, time.Second), func() { r.merge(left, 30) })
		}
	})
}

// merge has a group take over its right neighbour, and asks again where the leaders of both have yet to come together.
func (r *run) merge(group uint64, attempts int) {
	s := r.s
	for _, n := range s.nodes {
		if g := n.replica(group); g != nil && g.leads() {
			n.ask(func(id uint64) event { return changeGroup{event: id, group: group, do: mergeRight} }, func(res result) {
				r.say("%v merge of group %d: %v", s.w.Now(), group, res.err)
				if notLeader := (*NotLeaderError)(nil); errors.As(res.err, &notLeader) && attempts > 1 && !r.ended {
					s.w.After(s.w.Between(20*time.Millisecond, 200*time.Millisecond), func() { r.merge(group, attempts-1) })
				}
				if res.err == nil {
					s.counts["done: merge"]++
				}
			})
			return
		}
	}
}

// leading returns the node that leads the group of a key, nil if there is none.
func (r *run) leading(key int) *simNode {
	for _, n := range r.s.nodes {
		if n.up && !n.paused {
			if g := n.core.route(simKey(key)); g != nil && g.leads() {
				return n
			}
		}
	}
	return nil
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
