package simulate

import (
	"math"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// phase says what a visit is doing.
type phase uint8

const (
	phaseNone phase = iota // it is over
	phaseCPU
	phaseDelay
	phaseCalling
)

// visit is the handling of one try by a replica: CPU time, then a delay, then calls one after the other, then the
// answer. A request's root is a visit to nowhere that only calls.
type visit struct {
	started    int64
	node       int32
	service    int32 // none: a root
	replica    int32
	call       int32 // that it answers; none: a root or an orphan
	child      int32 // the last of the calls that it waits for
	out        int32 // calls made at the same time that have not ended; 0: it makes them one after the other
	failed     Outcome
	request    int32 // of a root
	trace      int32
	next, left int32 // call of its node that comes next, and how often the one before is still to be made
	stamp      uint32
	client     uint64 // who the request comes from
	about      uint64 // what it is about: what calls behind it are mapped to replicas by
	key        uint64 // that a cache was asked for
	message    int32  // of a root: that it handles; none: it is a request's, or the message was given to another
	group      int32  // of a root that handles a message
	op         op     // of a block
	pending    uint8  // what is to be done after a cache has been asked
	phase      phase
	safe       bool // the request's method is
	classed    bool // class is that of the request from outside
	class      policy.Class
	aside      int32   // of a root: route that it is a mirror's copy of, and one; 0: it is none
	draw       float64 // of the request from outside: whether it is shed
	due        int64   // when the request from outside has no time left; 0: nothing says so yet
	idempotent bool
	orphaned   bool
}

// nobody is the subject of CPU work that no visit waits for.
const nobody int32 = -1

// visit begins the handling of a call by a replica; again where it is the second copy of a slow try.
func (s *sim) visit(i, replica int32, again bool) {
	c := s.calls.at(i)
	parent := s.visits.at(c.parent)
	v := s.visits.take()
	if again {
		c.second.visit = v
	} else {
		c.visit = v
	}
	n := &s.m.nodes[c.node]
	at := s.visits.at(v)
	*at = visit{
		started: s.now, node: c.node, service: n.service, replica: replica, call: i, child: none, request: none,
		trace: parent.trace, idempotent: parent.idempotent, stamp: at.stamp, client: parent.client, about: parent.about,
		message: none, group: none, safe: parent.safe, op: c.op, classed: parent.classed, class: parent.class, draw: parent.draw,
		due: parent.due,
	}
	if at.due == 0 && parent.request != none {
		at.due = c.due
	}
	s.account(n.service)
	svc := &s.services[n.service]
	svc.present++
	s.replicas[replica].present++
	work := 0.0
	if n.block == none {
		work = n.cpu.sample(svc.work)
		if n.wake > 0 && !s.m.services[n.service].client {
			work += n.wake * s.asleep(replica)
		}
	} else {
		work = s.blockWork(n, c.op)
	}
	if work > 0 {
		at.phase = phaseCPU
		s.startWork(replica, work, v)
		s.trace.note(s, at.trace, n.service, replica, "work", "")
		return
	}
	s.delay(v)
}

// workDone lets happen what is due on the processor.
func (s *sim) workDone() {
	replica, subject := s.cpu.fire()
	switch subject {
	case drained:
		s.throttle(replica)
	case nobody, turned:
	default:
		if s.visits.at(subject).orphaned && s.m.o.Orphans == OrphansBurn {
			s.leave(subject, true)
			return
		}
		s.delay(subject)
	}
}

// delay begins the part of a visit that takes time but no CPU.
func (s *sim) delay(v int32) {
	at := s.visits.at(v)
	n := &s.m.nodes[at.node]
	at.phase = phaseDelay
	if n.block != none {
		s.blockDelay(v)
		return
	}
	link := none
	if at.call != none {
		link = s.edges[s.calls.at(at.call).edge].link
	}
	if n.delay.mean > 0 || link != none {
		r := &s.replicas[at.replica]
		draws := s.services[at.service].delays
		d := nanoseconds(n.delay.sample(draws) * r.slow)
		if link != none {
			d += nanoseconds(s.m.links[link].sample(draws))
		}
		s.schedule(s.now+d, evDelay, v, at.stamp)
		return
	}
	if n.cpu.mean == 0 || s.replicas[at.replica].stalled > s.now {
		// By an event, so that a row of visits that cost nothing does not nest.
		s.schedule(s.now, evDelay, v, at.stamp)
		return
	}
	at.phase = phaseCalling
	s.proceed(v)
}

func (s *sim) delayDone(v int32) {
	at := s.visits.at(v)
	if at.phase != phaseDelay {
		return
	}
	if at.service == none { // a fault that its route asks for
		at.phase = phaseCalling
		s.proceed(v)
		return
	}
	if end := s.replicas[at.replica].stalled; end > s.now {
		s.schedule(end, evDelay, v, at.stamp) // it is the replica that stands still, not what it waits for
		return
	}
	at.phase = phaseCalling
	if s.m.nodes[at.node].block != none && !s.blockDone(v) {
		s.answer(v, 429, Limited)
		return
	}
	s.proceed(v)
}

// proceed makes a visit's next call, or answers.
func (s *sim) proceed(v int32) {
	at := s.visits.at(v)
	calls := s.m.nodes[at.node].calls
	for {
		if at.pending != pendingNone && s.proceedBehindCache(v, &calls[at.next-1]) {
			return
		}
		if at.left > 0 {
			at.left--
			s.call(v, &calls[at.next-1], opAuto)
			return
		}
		if int(at.next) == len(calls) {
			s.answer(v, 200, OK)
			return
		}
		if at.next == s.m.nodes[at.node].fork {
			s.fork(v, calls[at.next:])
			return
		}
		c := &calls[at.next]
		at.next++
		at.left = c.whole
		if c.rest > 0 && s.branching(at.service).uniform() < c.rest {
			at.left++
		}
	}
}

// fork makes calls at the same time, and several to one service too.
func (s *sim) fork(v int32, calls []nodeCall) {
	at := s.visits.at(v)
	at.next += int32(len(calls))
	at.out, at.failed = 1, OK // its own hand, until all have been made
	for k := range calls {
		c := &calls[k]
		n := c.whole
		if c.rest > 0 && s.branching(at.service).uniform() < c.rest {
			n++
		}
		for range n {
			s.visits.at(v).out++
			s.call(v, c, opAuto)
		}
	}
	s.joined(v, 200, OK)
}

// joined is the end of one of the calls that a visit made at the same time. It waits for all, and fails if one has.
func (s *sim) joined(v int32, status int, cause Outcome) {
	at := s.visits.at(v)
	if status >= 400 && at.failed == OK {
		at.failed = cause
		s.trace.note(s, at.trace, at.service, at.replica, "failed", cause.String())
	}
	if at.out--; at.out > 0 {
		return
	}
	if at.failed != OK {
		s.answer(v, 502, at.failed)
		return
	}
	s.proceed(v)
}

// branching is the stream that decides how many calls a visit makes.
func (s *sim) branching(service int32) *stream {
	if service == none {
		return s.users
	}
	return s.services[service].branches
}

// answer ends a visit with a status, and says what was the first cause where that is an error.
func (s *sim) answer(v int32, status int, cause Outcome) {
	at := s.visits.at(v)
	if at.service == none {
		switch {
		case at.request != none:
			if s.requests.at(at.request).aborted >= 400 {
				cause = Failed
			}
			s.endRequest(at.request, cause)
		case at.group != none:
			s.handled(v, cause)
		case at.aside != 0:
			s.traffic[at.aside-1].copies--
			s.freeVisit(v)
		default:
			s.freeVisit(v)
		}
		return
	}
	if r := &s.replicas[at.replica]; r.errors > 0 && status < 500 && s.services[at.service].branches.uniform() < r.errors {
		status, cause = 500, Failed
	}
	s.trace.note(s, at.trace, at.service, at.replica, "answer", cause.String())
	i := at.call
	s.leave(v, true)
	if i != none {
		s.answered(i, v, status, cause)
	}
}

// leave takes a visit off its replica. What it leaves behind to do keeps the CPU busy.
func (s *sim) leave(v int32, async bool) {
	at := s.visits.at(v)
	s.account(at.service)
	svc := &s.services[at.service]
	svc.present--
	svc.count.Visits++
	svc.count.sojourn += s.now - at.started
	replica := at.replica
	if n := &s.m.nodes[at.node]; async && n.async.mean+n.wake > 0 {
		work := n.async.sample(svc.work)
		if n.wake > 0 && s.m.services[at.service].client {
			work += n.wake * s.asleep(replica) // it wakes up beside what it measures
		}
		if work > 0 {
			s.startWork(replica, work, nobody)
		}
	}
	s.freeVisit(v)
	s.replicas[replica].present--
	s.checkDrained(replica)
	if s.m.services[s.replicas[replica].service].block != none {
		s.serveLine(replica)
	}
}

// asleep is how much of what waking up costs a visit to a replica costs: the more the longer ago the last one began, and nothing where
// all its threads are at work or its limit makes it stand still.
func (s *sim) asleep(replica int32) float64 {
	r := &s.replicas[replica]
	rest := float64(s.now-r.visited) / float64(topology.Cooling)
	r.visited = s.now
	if !s.cpu.wakes(replica) {
		return 0
	}
	return -math.Expm1(-rest)
}

func (s *sim) freeVisit(v int32) {
	at := s.visits.at(v)
	at.stamp++
	at.phase = phaseNone
	s.visits.giveBack(v)
}

// orphan takes its caller away from a visit.
func (s *sim) orphan(v int32) {
	at := s.visits.at(v)
	at.call, at.orphaned = none, true
	s.services[at.service].count.Orphans++
	s.trace.note(s, at.trace, at.service, at.replica, "orphaned", "")
	if s.m.o.Orphans == OrphansFinish {
		// Its own calls have no more time than the request had.
		if at.phase != phaseCalling {
			return
		}
		for child := at.child; child != none; {
			c := s.calls.at(child)
			due, next := s.edges[c.edge].lane != none && c.due <= s.now, c.sibling
			if due {
				s.timedOut(child)
			}
			child = next
		}
		return
	}
	switch at.phase {
	case phaseCPU:
		if s.m.o.Orphans == OrphansBurn {
			return
		}
		s.cpu.remove(s.now, at.replica, v)
	case phaseCalling:
		s.cancelCalls(at)
	}
	s.leave(v, s.m.o.Orphans == OrphansBurn)
}
