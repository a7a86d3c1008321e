package simulate

import (
	"time"

	"github.com/banyanhq/banyan/policy"
)

// second is a copy of a call's first try that was sent because that was slow.
type second struct {
	grant policy.Grant
	tried int64
	visit int32 // that answers it; none: it is not on its way
	sent  bool
	// of the first try, where it came back without a good answer while the second was on its way
	firstOver bool
	firstSent bool
	status    int
	cause     Outcome
}

// hedge arranges for a second copy of a call's first try, if the policy wants one.
func (s *sim) hedge(i int32, c *call, e *edge) {
	after, ok := e.hedger.Delay(s.instant(), s.visits.at(c.parent).idempotent, s.utilization(e))
	if ok {
		s.schedule(s.now+int64(after), evHedge, i, c.stamp)
	}
}

// sendSecond sends the second copy, if the first has not come back and the policy allows it.
func (s *sim) sendSecond(i int32) {
	c := s.calls.at(i)
	if c.attempts != 1 || c.state != callTrying || c.second.sent {
		return
	}
	e := &s.edges[c.edge]
	now := s.instant()
	if !e.hedger.Send(now, s.utilization(e)) {
		return
	}
	first := c.grant.Member
	search := c.search
	search.Exclude(first)
	pool := s.lanes[e.lane].pool
	grant, why := pool.Pick(&search, now)
	if why != policy.Picked {
		return
	}
	replica := grant.Owner.(int32)
	if grant.Member == first || e.cuts > 0 || s.replicas[replica].cuts > 0 {
		// There is no other, or it cannot be reached: the first is waited for.
		s.releaseGrant(e, grant, s.now, policy.Neutral)
		return
	}
	c.second = second{grant: grant, tried: s.now, visit: none, sent: true}
	s.services[e.to].count.Hedges++
	s.trace.note(s, s.visits.at(c.parent).trace, e.to, replica, "hedge", "")
	s.visit(i, replica, true)
}

// releaseGrant gives a place back that is not the one of the call's own try.
func (s *sim) releaseGrant(e *edge, g policy.Grant, tried int64, o policy.Outcome) {
	pool := s.lanes[e.lane].pool
	pool.Report(g, s.instant(), o)
	pool.Release(g, time.Duration(s.now-tried), o)
	if l := s.lanes[e.lane].ledger; l != nil {
		l.Outcome(s.instant(), o)
	}
	if g.Limit > 0 {
		s.wakeOne(e.to)
	}
	s.checkDrained(g.Owner.(int32))
}

// dropSecond gives the second copy up.
func (s *sim) dropSecond(c *call, o policy.Outcome) {
	if !c.second.sent {
		return
	}
	v := c.second.visit
	grant, tried := c.second.grant, c.second.tried
	c.second = second{}
	if v != none {
		s.releaseGrant(&s.edges[c.edge], grant, tried, o)
		s.orphan(v)
	}
}

// secondOver takes the end of the second copy, and reports whether the call goes on waiting for the first. Where it does
// not, the second has become the call's try, or the first's end counts.
func (s *sim) secondOver(c *call, status *int, sent *bool, cause *Outcome) (waits bool) {
	e := &s.edges[c.edge]
	was := c.second
	c.second = second{}
	if policy.OutcomeOf(*status) != policy.Failure {
		if was.firstOver {
			s.releaseGrant(e, c.grant, c.tried, policy.Failure)
		} else {
			e.hedger.Observe(s.instant(), time.Duration(s.now-c.tried))
			v := c.visit
			c.visit = none
			s.releaseGrant(e, c.grant, c.tried, policy.Neutral) // it was only slow
			s.orphan(v)
		}
		c.grant, c.tried = was.grant, was.tried
		return false
	}
	s.releaseGrant(e, was.grant, was.tried, policy.Failure)
	if !was.firstOver {
		return true
	}
	*status, *sent, *cause = was.status, was.firstSent, was.cause
	return false
}

// firstOver takes the end of the first copy while the second may be on its way, and reports whether the call waits for that.
func (s *sim) firstOver(c *call, status int, sent bool, cause Outcome) (waits bool) {
	c.visit = none
	if !c.second.sent {
		return false
	}
	if policy.OutcomeOf(status) != policy.Failure {
		s.dropSecond(c, policy.Neutral)
		return false
	}
	c.second.firstOver, c.second.firstSent, c.second.status, c.second.cause = true, sent, status, cause
	return true
}
