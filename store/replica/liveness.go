package replica

import (
	"go.etcd.io/raft/v3"
)

// All groups of a node share one failure detector: a node from which nothing came for as long as a follower waits for its
// leader is silent, for whichever group. Its followers, asleep or not, forget it as their leader in the same tick and elect
// another in an order that they agree on, so that groups neither wait each for a timeout of its own, nor split their votes,
// nor begin to wait only when somebody asks for them.
//
// What leases rest on stays as it is: nobody votes for another before the time is over for which it promised to wait.

// campaignTicks is how long the next one in order leaves the one before it to be elected.
const campaignTicks = 4

// quiet says whether nothing has come from a node for more than so many ticks.
func (c *core) quiet(node uint64, ticks int) bool {
	return node != c.cfg.Node && c.tick > c.heard[node]+uint64(ticks)
}

// silent says whether nothing has come from a node for as long as a follower waits for its leader.
func (c *core) silent(node uint64) bool { return c.quiet(node, c.cfg.ElectionTicks) }

// present says whether something came from a node so lately that no sign of life of it is overdue.
func (c *core) present(node uint64) bool {
	return !c.quiet(node, c.cfg.ElectionTicks/2+c.cfg.HeartbeatTicks)
}

// tickElection has the group elect another leader if the one it had is on a node that is silent.
func (c *core) tickElection(g *group) {
	if g.leader != 0 && !g.leads() && c.silent(g.node(g.leader)) {
		c.wake(g)
		// Without a leader it grants votes to others, too.
		c.guard(g, func() { _ = g.raft.ForgetLeader() })
		c.runLater(g, 1) // when the others have noticed it as well
	}
	if g.campaign == 0 || c.tick < g.campaign || g.raft == nil {
		return
	}
	g.campaign = c.tick + campaignTicks*uint64(len(g.state.desc.Replicas))
	if g.leader == 0 && g.role != raft.StateCandidate { // whose votes may be on their way
		c.guard(g, func() { _ = g.raft.Campaign() })
		c.mark(g)
	}
}

// runLater has this replica stand for election after some ticks, and those that come before it in the group's order, if no
// leader is known by then.
func (c *core) runLater(g *group, after uint64) {
	self := g.state.desc.replica(g.self)
	if self == nil || self.Learner {
		return
	}
	g.campaign = c.tick + after
	all := g.state.desc.Replicas
	for i := range all {
		r := all[(g.id+uint64(i))%uint64(len(all))] // so that not one node leads all that another led
		if r.ID == g.self {
			return
		}
		if !r.Learner && !c.silent(r.Node) {
			g.campaign += campaignTicks
		}
	}
}

// ledBy notes who leads the group. What was asked of the leader before may be lost with it, so the one that follows is asked
// at once.
func (c *core) ledBy(g *group, s *raft.SoftState) {
	g.leader, g.role = s.Lead, s.RaftState
	if g.role == raft.StateLeader {
		c.stats.Elections++
	}
	c.wake(g)
	if g.leader == 0 {
		return
	}
	g.campaign = 0
	g.round = c.restartRound(g)
	c.proposals.all(func(p *proposal) {
		if p.group == g.id && (p.queued || p.sent && len(p.cmd.token) > 0 && (p.leader != g.leader || p.term != g.term)) {
			c.try(p)
		}
	})
}

// returned has a node that was silent hear from the leaders here, which may be asleep.
func (c *core) returned(node uint64) {
	for _, g := range c.spans {
		if g.leads() && g.state.desc.on(node) != nil {
			c.wake(g)
		}
	}
}
