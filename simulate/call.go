package simulate

import (
	"fmt"
	"time"

	"github.com/banyanhq/banyan/policy"
)

// connectTimeout is how long the gateway waits for a connection to a replica.
const connectTimeout = int64(time.Second)

// callState says what a call is waiting for.
type callState uint8

const (
	callTrying     callState = iota // for the answer of a replica
	callConnecting                  // for a connection that will not come
	callWaiting                     // for a place at a replica
	callPausing                     // for its next try
)

// call is a call of a visit to another service on its way through the gateway, over all its tries. What is decided on
// the way is decided by package policy, in the same order as the gateway asks.
type call struct {
	search   policy.Request
	grant    policy.Grant
	started  int64
	tried    int64
	edge     int32
	node     int32
	parent   int32 // visit that makes it
	visit    int32 // that answers it
	attempts int32
	stamp    uint32 // of this call
	state    callState
	// place among those that wait for the service, and why there was no other
	why        policy.Refusal
	inBound    bool  // within the lane's adaptive bound
	due        int64 // when its time is over
	met        int64 // calls at the door when it was let in, itself included; 0: it is not within
	admitted   int64 // since when
	tryStamp   uint32
	second     second // copy of its first try
	op         op     // of a block
	bounded    int64  // since when
	waitStamp  uint32
	prev, next int32
}

// tooMany ends the run where it would take too much memory.
func (s *sim) tooMany() bool {
	if s.visits.live+s.calls.live < s.m.o.MaxInProgress {
		return false
	}
	if s.err == nil {
		s.err = fmt.Errorf("%w: %d after %v; the system does not keep up with its load (Options.MaxInProgress)",
			ErrTooManyInProgress, s.m.o.MaxInProgress, s.instant())
	}
	return true
}

// call makes a visit call another service, or ask something of a block.
func (s *sim) call(v int32, nc *nodeCall, what op) {
	if s.tooMany() {
		return
	}
	i := s.calls.take()
	c := s.calls.at(i)
	c.started, c.edge, c.node, c.parent, c.visit, c.attempts = s.now, nc.edge, nc.node, v, none, 0
	p := s.visits.at(v)
	p.child = i
	e := &s.edges[nc.edge]
	if e.lane == none {
		c.op = what
		s.callStraight(i, e, p)
		return
	}
	l := &s.lanes[e.lane]
	s.services[e.to].count.Calls++
	s.trace.note(s, p.trace, e.to, none, "call", "")
	if p.aside != 0 {
		s.sendAside(i)
		return
	}
	if e.aim != none && !s.withinLimit(e.aim, p) {
		s.services[e.to].count.Limited++
		s.endCall(i, 429, Limited)
		return
	}
	timeout := int64(s.m.timeouts[e.timeout])
	c.due = s.now + timeout
	if p.request != none {
		c.due -= s.requests.at(p.request).delayed
	}
	if p.due != 0 && p.due < c.due {
		c.due = p.due
	}
	if c.due <= s.now {
		s.services[e.to].count.Timeouts++
		s.endCall(i, 504, Timeout)
		return
	}
	l.retrier.Begin(s.instant())
	c.search.Reset()
	c.search.Random = s.balance.pcg.Uint64()
	c.search.Repeatable = p.idempotent && l.retrier.Enabled()
	if e.aim != none {
		s.aimAt(e.aim, p, &c.search)
	}
	if (e.priority != nil || l.feasible != nil) && !s.admit(c, e, p) {
		s.endCall(i, 503, Refused)
		return
	}
	if l.bound != nil {
		if !l.bound.Acquire() {
			s.services[e.to].count.Refused++
			s.endCall(i, 503, Refused)
			return
		}
		c.inBound, c.bounded = true, s.now
	}
	// What is cut short by the request's own end ends with that; only what began late itself has an event of its own.
	if c.due < s.now+timeout && p.due == 0 {
		s.schedule(c.due, evDue, i, c.stamp)
	} else {
		s.setDeadline(e.timeout, i, c.stamp)
	}
	if p.request != none && s.traffic[s.requests.at(p.request).route].trafficModel != nil {
		s.copyOf(s.requests.at(p.request), p)
	}
	s.try(i)
}

// callStraight makes a call past all policies: to a block, of a consumer with its message, to the gateway itself.
func (s *sim) callStraight(i int32, e *edge, from *visit) {
	c := s.calls.at(i)
	c.state, c.tried = callTrying, s.now
	if e.timeout != none {
		s.setDeadline(e.timeout, i, c.stamp)
	}
	switch {
	case e.block != none:
		s.enterBlock(i, e)
	case from.group != none:
		s.visit(i, from.replica, false)
	default:
		s.visit(i, s.services[e.to].replicas[0], false)
	}
}

// leaveBound gives the place within the service's adaptive bound back, once. Only calls whose time says something of the
// service's load count: those that were answered well, or too late.
func (s *sim) leaveBound(c *call, counts bool) {
	if c.inBound {
		c.inBound = false
		s.lanes[s.edges[c.edge].lane].bound.Release(s.instant(), time.Duration(s.now-c.bounded), counts)
	}
}

// pick asks the policy for a replica, and probes a few where it goes by that: all requests to a replica pass through
// here, so that its answer is known without sending anything.
func (s *sim) pick(c *call) (policy.Grant, policy.Refusal) {
	l := &s.lanes[s.edges[c.edge].lane]
	grant, why := l.pool.Pick(&c.search, s.instant())
	if l.probes && why == policy.Picked {
		for _, m := range s.targets[:l.pool.ProbeTargets(&c.search, &s.targets)] {
			l.pool.Feed(m, m.Load(), s.instant())
		}
	}
	return grant, why
}

// try looks for a replica, and waits for one a little where that can help.
func (s *sim) try(i int32) {
	c := s.calls.at(i)
	e := &s.edges[c.edge]
	grant, why := s.pick(c)
	if why == policy.Picked {
		s.send(i, grant)
		return
	}
	c.why = why
	if patience, refused := s.admission.Decide(why, s.left(c), s.services[e.to].waiting.n); patience <= 0 {
		s.refuse(i, refused)
		return
	}
	s.wait(i) // as long as all do; where less is left, the call's own deadline comes first
}

// send gives a try to a replica.
func (s *sim) send(i int32, g policy.Grant) {
	c := s.calls.at(i)
	e := &s.edges[c.edge]
	c.grant, c.tried = g, s.now
	c.attempts++
	c.tryStamp++
	replica := g.Owner.(int32)
	if c.attempts > 1 {
		s.services[e.to].count.Retries++
		s.trace.note(s, s.visits.at(c.parent).trace, e.to, replica, "try again", "")
	}
	if e.cuts > 0 || s.replicas[replica].cuts > 0 {
		c.state = callConnecting
		s.schedule(s.now+connectTimeout, evConnect, i, c.stamp)
		return
	}
	c.state = callTrying
	if e.tryTimeout != none {
		s.setDeadline(s.tryOut+e.tryTimeout, i, c.tryStamp)
	}
	if e.hedger != nil && c.attempts == 1 && s.visits.at(c.parent).aside == 0 {
		s.hedge(i, c, e)
	}
	s.visit(i, replica, false)
}

// answered takes the answer of the replica that a call was given to.
func (s *sim) answered(i, v int32, status int, cause Outcome) {
	c := s.calls.at(i)
	e := &s.edges[c.edge]
	if e.lane == none {
		c.visit = none
		s.endCall(i, status, cause)
		return
	}
	sent := true
	switch {
	case e.hedger == nil:
		c.visit = none
	case c.second.sent && c.second.visit == v:
		if s.secondOver(c, &status, &sent, &cause) {
			return
		}
	default:
		e.hedger.Observe(s.instant(), time.Duration(s.now-c.tried))
		if s.firstOver(c, status, true, cause) {
			return
		}
	}
	if status == 0 {
		s.failed(i, sent, 502, cause)
		return
	}
	outcome := policy.OutcomeOf(status)
	if outcome != policy.Failure {
		s.release(c, outcome)
		s.bind(c)
		s.endCall(i, status, cause)
		return
	}
	pause, again := s.decide(c, policy.Try{Sent: true, Status: status})
	s.release(c, outcome)
	s.after(i, pause, again, status, cause)
}

// tryFailed is the end of a try without an answer, by the visit that would have given one.
func (s *sim) tryFailed(i, v int32, sent bool, status int) {
	c := s.calls.at(i)
	if s.edges[c.edge].lane == none {
		c.visit = none
		s.endCall(i, status, Disconnected)
		return
	}
	cause := Disconnected
	if c.second.sent && c.second.visit == v && v != none {
		over := 0
		if s.secondOver(c, &over, &sent, &cause) {
			return
		}
	} else if s.firstOver(c, 0, sent, cause) {
		return
	}
	s.failed(i, sent, status, cause)
}

// tryTimedOut ends a try that took too long, while the call has time left.
func (s *sim) tryTimedOut(i int32) {
	c := s.calls.at(i)
	v := c.visit
	if v == none {
		return
	}
	s.services[s.edges[c.edge].to].count.Timeouts++
	c.visit = none
	s.orphan(v)
	if s.firstOver(c, 0, true, Timeout) {
		return
	}
	s.failed(i, true, 504, Timeout)
}

// failed gives the place of a try back that has no answer, and asks whether it is repeated.
func (s *sim) failed(i int32, sent bool, status int, cause Outcome) {
	c := s.calls.at(i)
	s.release(c, policy.Failure)
	pause, again := s.decide(c, policy.Try{Sent: sent})
	s.after(i, pause, again, status, cause)
}

// after pauses before the next try, or ends the call.
func (s *sim) after(i int32, pause time.Duration, again bool, status int, cause Outcome) {
	if !again {
		s.endCall(i, status, cause)
		return
	}
	c := s.calls.at(i)
	c.search.Exclude(c.grant.Member)
	c.state = callPausing
	s.schedule(s.now+int64(pause), evRetry, i, c.stamp)
}

// decide asks the policy whether a failed try is repeated.
func (s *sim) decide(c *call, t policy.Try) (time.Duration, bool) {
	if s.visits.at(c.parent).aside != 0 {
		return 0, false
	}
	l := &s.lanes[s.edges[c.edge].lane]
	t.Idempotent, t.Replayable = s.visits.at(c.parent).idempotent, true
	t.Attempts = int(c.attempts)
	t.Left = s.left(c)
	t.Random = l.draws.uniform()
	verdict, pause := l.retrier.Decide(s.instant(), t)
	if verdict == policy.OverBudget {
		s.services[s.edges[c.edge].to].count.OverBudget++
	}
	return pause, verdict == policy.Repeat
}

func (s *sim) left(c *call) time.Duration {
	return time.Duration(c.due - s.now)
}

// release tells the policy how a try ended, gives its place back, and lets the next one in.
func (s *sim) release(c *call, o policy.Outcome) {
	c.tryStamp++
	s.releaseGrant(&s.edges[c.edge], c.grant, c.tried, o)
}

// refuse ends a call that no replica takes.
func (s *sim) refuse(i int32, why policy.Refusal) {
	count := &s.services[s.edges[s.calls.at(i).edge].to].count
	cause := Unavailable
	switch why {
	case policy.AllFull:
		cause = Refused
		count.Refused++
	case policy.AllBroken:
		cause = Broken
		count.Broken++
	}
	s.endCall(i, 503, cause)
}

// endCall gives the caller its answer.
func (s *sim) endCall(i int32, status int, cause Outcome) {
	c := s.calls.at(i)
	parent := c.parent
	counts := status < 400 || cause == Timeout && status == 504
	s.leaveBound(c, counts)
	s.leaveDoor(c, counts)
	c.stamp++
	s.calls.giveBack(i)
	v := s.visits.at(parent)
	v.child = none
	if status < 400 {
		s.proceed(parent)
		return
	}
	if b := s.edges[c.edge].block; b != none && s.blocks[b].kind == blockCache {
		if c.op != opFill {
			v.pending = pendingWrite // without the cache, what it holds copies of is asked
		}
		s.proceed(parent)
		return
	}
	s.trace.note(s, v.trace, s.edges[c.edge].to, none, "failed", cause.String())
	s.answer(parent, 502, cause)
}

// timedOut ends a call whose time is over, whatever it waits for.
func (s *sim) timedOut(i int32) {
	c := s.calls.at(i)
	s.services[s.edges[c.edge].to].count.Timeouts++
	s.abandon(i, policy.Failure)
	s.endCall(i, 504, Timeout)
}

// cancel ends a call whose caller has gone.
func (s *sim) cancel(i int32) {
	s.abandon(i, policy.Neutral)
	s.leaveBound(s.calls.at(i), false)
	s.leaveDoor(s.calls.at(i), false)
	s.calls.at(i).stamp++
	s.calls.giveBack(i)
}

// abandon takes a call away from what it waits for.
func (s *sim) abandon(i int32, o policy.Outcome) {
	c := s.calls.at(i)
	switch c.state {
	case callWaiting:
		s.leaveLine(i)
	case callTrying:
		s.dropSecond(c, policy.Neutral)
		v := c.visit
		c.visit = none
		if s.edges[c.edge].lane != none {
			s.release(c, o)
		}
		if v != none {
			s.orphan(v)
		}
	case callConnecting:
		s.release(c, o)
	}
}

// line is where calls wait for a place at a service: first come, first woken.
type line struct {
	first, last int32
	n           int
}

func (s *sim) wait(i int32) {
	s.joinLine(i)
	c := s.calls.at(i)
	s.setDeadline(s.waitOut, i, c.waitStamp)
	s.trace.note(s, s.visits.at(c.parent).trace, s.edges[c.edge].to, none, "wait", "")
}

func (s *sim) joinLine(i int32) {
	c := s.calls.at(i)
	to := s.edges[c.edge].to
	s.account(to)
	q := &s.services[to].waiting
	c.state, c.prev, c.next = callWaiting, none, none
	if q.n == 0 {
		q.first = i
	} else {
		c.prev = q.last
		s.calls.at(q.last).next = i
	}
	q.last = i
	q.n++
	c.waitStamp++
}

func (s *sim) leaveLine(i int32) {
	c := s.calls.at(i)
	to := s.edges[c.edge].to
	s.account(to)
	q := &s.services[to].waiting
	if c.prev == none {
		q.first = c.next
	} else {
		s.calls.at(c.prev).next = c.next
	}
	if c.next == none {
		q.last = c.prev
	} else {
		s.calls.at(c.next).prev = c.prev
	}
	q.n--
	c.waitStamp++
}

// wakeOne lets the first call in line look again.
func (s *sim) wakeOne(service int32) {
	if q := &s.services[service].waiting; q.n > 0 {
		s.lookAgain(q.first)
	}
}

// wakeAll lets all in line look again.
func (s *sim) wakeAll(service int32) {
	q := &s.services[service].waiting
	if q.n == 0 {
		return
	}
	for i := q.first; i != none; {
		next := s.calls.at(i).next
		s.lookAgain(i)
		i = next
	}
}

func (s *sim) lookAgain(i int32) {
	c := s.calls.at(i)
	var grant policy.Grant
	if grant, c.why = s.pick(c); c.why == policy.Picked {
		s.leaveLine(i)
		s.send(i, grant)
	}
}

// waitOver is the end of the gateway's patience with a call in line.
func (s *sim) waitOver(i int32) {
	s.leaveLine(i)
	s.refuse(i, s.calls.at(i).why)
}
