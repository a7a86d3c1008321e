package simulate

import (
	"math"
	"sort"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/stats"
)

// source draws the arrivals of an open load.
type source struct {
	load  *workload
	draws *stream
	count float64 // expected arrivals by the instant of the last one: the load's own clock
	piece int

	batch  float64 // mean number of sessions that come together; 1: each comes alone
	phases []Phase // of the rate
	phase  int
	turns  int64   // when the next phase begins
	most   float64 // factor of all phases
}

// next is the instant of the next arrival, never if none comes any more.
func (a *source) next() int64 {
	for {
		at := a.candidate()
		if len(a.phases) == 0 || at == never {
			return at
		}
		// Thinning (P. Lewis and G. Shedler, Simulation of nonhomogeneous Poisson processes by thinning, 1979).
		for at >= a.turns {
			a.phase = (a.phase + 1) % len(a.phases)
			a.turns += max(1, nanoseconds(a.phases[a.phase].Mean.Seconds()*a.draws.ExpFloat64()))
		}
		if a.draws.uniform()*a.most < a.phases[a.phase].Factor {
			return at
		}
	}
}

// candidate is the next arrival at the highest rate that the phases make it.
func (a *source) candidate() int64 {
	if a.load.constant {
		a.count += 1 / a.most
	} else {
		a.count += a.draws.ExpFloat64() * a.batch / a.most
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

// Clusters: the work that comes to the CPU of a real system varies more than independent requests make it. How much more
// is measured as its dispersion (plan.Calibrate). Here, sessions come in clusters of a geometrically distributed number
// with a mean of half the dispersion, spread over a short time: the variance of the work of a span that is long against
// that is then what was measured, and so is what it waits for a busy CPU. Users who think end their pauses together.

// clusterSpread is how long a cluster takes to arrive, in units of the CPU time of one session.
const clusterSpread = 8

// cluster sets up what comes together.
func (s *sim) cluster() {
	d := s.m.o.Dispersion
	if d == 0 {
		d = s.m.dispersion
	}
	s.arrivals.batch = 1
	if d <= 2 || s.load.constant {
		return
	}
	s.arrivals.batch = d / 2
	seconds, requests := s.m.perScenario()
	if s.load.users > 0 {
		seconds /= max(requests, 1)
	}
	s.spread = clusterSpread * seconds
}

// together returns how many sessions come at once, at least one.
func (s *sim) together() int {
	n := 1
	if b := s.arrivals.batch; b > 1 {
		// Geometric: n with probability (1/b) (1 - 1/b)^(n-1).
		n += int(min(s.arrivals.draws.ExpFloat64()/-math.Log1p(-1/b), 1e6))
	}
	return n
}

// delayed is when a member of a cluster comes.
func (s *sim) delayed() int64 { return s.now + nanoseconds(s.spread*s.arrivals.draws.ExpFloat64()) }

// ahead is the user whom those who come with it follow.
type ahead struct {
	wakes int64   // when its pause ends
	think float64 // the mean of that pause
}

// think draws the pause of a user, in nanoseconds. What is left of an exponential pause is as long as a new one: so a
// user may come with another who is thinking already, and its own pause has the right length all the same. Pauses that
// are not exponential are not moved.
func (s *sim) think(mean float64) int64 {
	clusters := s.arrivals.batch > 1 && (s.load.thinkTimes == "" || s.load.thinkTimes == "exponential")
	if l := s.ahead; clusters && l.wakes > s.now && l.think == mean && s.arrivals.draws.uniform()*s.arrivals.batch >= 1 {
		spread := min(s.spread, mean/4) * s.arrivals.draws.ExpFloat64()
		if s.arrivals.draws.uniform() < 0.5 {
			spread = -spread
		}
		return max(l.wakes-s.now+int64(spread*1e9), 1)
	}
	d := nanoseconds(stats.Pause(s.load.thinkTimes, mean, s.users))
	if clusters {
		s.ahead = ahead{wakes: s.now + d, think: mean}
	}
	return d
}

// startLoad schedules the first arrival, or lets all users begin as if each had been thinking all along.
func (s *sim) startLoad() {
	l := s.load
	s.cluster()
	s.arrivals.phases, s.arrivals.most = s.m.o.Phases, 1
	for i, p := range s.m.o.Phases {
		if i == 0 {
			s.arrivals.most = p.Factor
			s.arrivals.turns = nanoseconds(p.Mean.Seconds() * s.arrivals.draws.ExpFloat64())
		}
		s.arrivals.most = max(s.arrivals.most, p.Factor)
	}
	if !(s.arrivals.most > 0) {
		return
	}
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
		s.enter(u)
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
	s.runs++
	se := s.sessions.at(u)
	*se = session{scenario: int32(i), client: se.client, run: s.runs}
}

// enter makes a session a new client's.
func (s *sim) enter(u int32) {
	n := s.clients
	s.clients++
	if most := s.m.o.Clients; most > 0 {
		n %= uint64(most)
	}
	s.sessions.at(u).client = mix64(n + 1)
	if k := s.m.cookies; k > 0 {
		for len(s.bindings) < (int(u)+1)*k {
			s.bindings = append(s.bindings, binding{})
		}
		clear(s.bindings[int(u)*k : (int(u)+1)*k])
	}
}

// arrive starts a scenario of an open load, and schedules the next one.
func (s *sim) arrive() {
	if at := s.arrivals.next(); at != never {
		s.schedule(at, evArrival, 0, 0)
	}
	n := s.together()
	for range n {
		if s.tooMany() {
			return
		}
		u := s.sessions.take()
		s.enter(u)
		s.choose(u)
		if n == 1 {
			s.nextStep(u)
		} else {
			s.schedule(s.delayed(), evGo, u, 0)
		}
	}
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
	route := &s.m.routes[st.route]
	root := s.visits.at(v)
	*root = visit{
		started: s.now, node: route.root, service: none, replica: none, call: none, child: none,
		request: i, phase: phaseCalling, idempotent: st.idempotent, safe: st.safe, message: none, group: none, stamp: root.stamp,
	}
	r.key, r.tested, r.aborted, r.delayed = 0, false, 0, 0
	if s.ids != nil {
		root.draw = policy.Draw(s.ids.Uint64())
	}
	t := &s.traffic[st.route]
	if t.trafficModel != nil {
		t.choose(r, root)
	}
	if route.cache != none {
		s.fromCache(r, root, st)
	}
	if s.m.keyed {
		s.identify(v, u, st)
	}
	s.tally.routes[st.route].Started++
	root.trace = s.trace.begin(s, st.route)
	s.setDeadline(s.clientOut, i, r.stamp)
	if t.trafficModel != nil && s.inject(t, r, root) {
		return
	}
	s.proceed(v)
}

// endRequest is called once for each request.
func (s *sim) endRequest(i int32, outcome Outcome) {
	r := s.requests.at(i)
	r.stamp++
	s.keepAnswer(r, outcome)
	latency := s.now - r.started
	s.tally.requestDone(s, r.route, latency, outcome)
	s.judge(r, latency, outcome)
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
		at += s.think(st.think)
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
