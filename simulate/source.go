package simulate

import (
	"sort"

	"github.com/banyanhq/banyan/stats"
)

// source draws the arrivals of an open load.
type source struct {
	load  *workload
	draws *stream
	count float64 // expected arrivals by the instant of the last one: the load's own clock
	piece int
}

// next is the instant of the next arrival, never if none comes any more.
func (a *source) next() int64 {
	if a.load.constant {
		a.count++
	} else {
		a.count += a.draws.ExpFloat64()
	}
	pieces := a.load.pieces
	for a.piece < len(pieces) && a.count >= pieces[a.piece].before+pieces[a.piece].area() {
		a.piece++
	}
	if a.piece == len(pieces) {
		return never
	}
	return nanoseconds(pieces[a.piece].when(a.count))
}

// startLoad schedules the first arrival, or lets all users begin as if each had been thinking all along.
func (s *sim) startLoad() {
	l := s.load
	if l.users == 0 {
		if l.constant {
			s.arrivals.count = -1
		}
		if at := s.arrivals.next(); at != never {
			s.schedule(at, evArrival, 0, 0)
		}
		return
	}
	for i := range l.users {
		u := s.sessions.take()
		s.choose(u)
		at := int64(i) % 1_000_000_000 // those who do not think come a nanosecond apart
		if think := l.scenarios[s.sessions.at(u).scenario].steps[0].think; think > 0 {
			at = nanoseconds(stats.RemainingPause(l.thinkTimes, think, s.users))
		}
		s.schedule(at, evStep, u, 0)
	}
}

// choose draws the scenario that a session runs from its first step on.
func (s *sim) choose(u int32) {
	l, i := s.load, 0
	if len(l.scenarios) > 1 {
		x := s.users.uniform()
		i = min(sort.Search(len(l.scenarios), func(i int) bool { return l.scenarios[i].share > x }), len(l.scenarios)-1)
	}
	*s.sessions.at(u) = session{scenario: int32(i)}
}

// arrive starts a scenario of an open load, and schedules the next one.
func (s *sim) arrive() {
	if at := s.arrivals.next(); at != never {
		s.schedule(at, evArrival, 0, 0)
	}
	u := s.sessions.take()
	s.choose(u)
	s.nextStep(u)
}

// nextStep sends the next request that a session makes now.
func (s *sim) nextStep(u int32) {
	se := s.sessions.at(u)
	steps := s.load.scenarios[se.scenario].steps
	for int(se.step) < len(steps) {
		st := &steps[se.step]
		se.step++
		if st.weight >= 1 || s.users.uniform() < st.weight {
			s.startRequest(u, st)
			return
		}
	}
	if s.load.users == 0 {
		s.sessions.giveBack(u)
		return
	}
	// The next scenario begins by an event: a scenario that happens to make no request must not make this a loop
	// without end.
	s.choose(u)
	s.schedule(s.now, evStep, u, 0)
}

// startRequest sends a request of a session.
func (s *sim) startRequest(u int32, st *step) {
	if s.tooMany() {
		return
	}
	i := s.requests.take()
	r := s.requests.at(i)
	r.started, r.route, r.session = s.now, st.route, u
	v := s.visits.take()
	r.root = v
	*s.visits.at(v) = visit{
		started: s.now, node: s.m.routes[st.route].root, service: none, replica: none, call: none, child: none,
		request: i, phase: phaseCalling, idempotent: st.idempotent, stamp: s.visits.at(v).stamp,
	}
	s.tally.routes[st.route].Started++
	s.visits.at(v).trace = s.trace.begin(s, st.route)
	s.setDeadline(s.clientOut, i, r.stamp)
	s.proceed(v)
}

// endRequest is called once for each request.
func (s *sim) endRequest(i int32, outcome Outcome) {
	r := s.requests.at(i)
	r.stamp++
	latency := s.now - r.started
	s.tally.requestDone(s, r.route, latency, outcome)
	if s.probe != nil {
		s.probe.add(s.now, float64(latency))
	}
	v := s.visits.at(r.root)
	s.trace.note(s, v.trace, none, none, "end", outcome.String())
	u := r.session
	s.freeVisit(r.root)
	s.requests.giveBack(i)
	se := s.sessions.at(u)
	steps := s.load.scenarios[se.scenario].steps
	if int(se.step) == len(steps) && s.load.users == 0 {
		s.sessions.giveBack(u)
		return
	}
	st := &steps[se.step-1]
	at := s.now
	if st.think > 0 {
		at += nanoseconds(stats.Pause(s.load.thinkTimes, st.think, s.users))
	}
	s.schedule(at, evStep, u, 0)
}

// clientGone is the end of a client's patience.
func (s *sim) clientGone(i int32) {
	v := s.visits.at(s.requests.at(i).root)
	if child := v.child; child != none {
		v.child = none
		s.cancel(child)
	}
	s.endRequest(i, ClientTimeout)
}
