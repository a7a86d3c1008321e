package load

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/banyanhq/banyan/stats"
)

// arrival is one scenario of an open workload.
type arrival struct {
	n   int64
	due time.Duration
}

// crew are the sessions that serve arrivals. The one that was busy last is taken first.
type crew struct {
	lane  *lane
	limit int

	mu      sync.Mutex
	idle    []*hand
	made    int
	waiting thread // the dispatcher, while it waits for a session; nil: it does not
	over    bool
}

// hand is one session of a crew.
type hand struct {
	*session
	next arrival
	busy bool // next is to be served, or is being served
}

// metronome is the dispatcher's own thread where sessions are goroutines: it has an alarm for itself.
type metronome struct {
	*routine
	alarm alarm
	mu    sync.Mutex
	over  bool
}

func (m *metronome) cancel() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.over = true
	m.alarm.set(0)
}

// sleep implements thread.
func (m *metronome) sleep(at time.Duration) bool {
	for {
		m.mu.Lock()
		left := at - m.run.now()
		if m.over || left <= 0 {
			defer m.mu.Unlock()
			return !m.over
		}
		m.alarm.set(left)
		m.mu.Unlock()
		m.alarm.wait()
	}
}

// dispatch starts the lane's scenarios on their schedule until the run is stopped, and ends its crew.
func (l *lane) dispatch(t thread) {
	r := l.run
	c := &crew{lane: l, limit: (r.cfg.MaxInFlight + len(r.lanes) - 1) / len(r.lanes)}
	schedule := l.part.schedule(r.arrivals())
	n := int64(0)
	for ; ; n++ {
		due, ok := schedule.At(n)
		if !ok || !t.sleep(due) {
			break
		}
		if late := r.now() - due; r.cfg.MaxLate > 0 && late > r.cfg.MaxLate {
			gone := dueBefore(schedule, n, r.now()-r.cfg.MaxLate)
			l.loseArrivals(schedule, n, n+gone, drawnAtOnce)
			r.rec.arrived.Add(gone)
			n += gone - 1
			t.rest() // or a schedule that nobody can keep would leave no time for anything else
			continue
		} else if r.pacer != nil && late > skipLate && !t.sleep(r.pacer.turn(r.now(), due)) {
			break
		}
		if !c.give(t, arrival{n, due}) {
			break
		}
		r.rec.arrived.Add(1)
	}
	for t.park(true) { // the schedule may end a little before the run
	}
	end := min(r.now(), r.end)
	left := dueBefore(schedule, n, end)
	l.loseArrivals(schedule, n, n+left, drawnAtEnd)
	c.end()
}

// give hands a to an idle session, to a new one, or waits for one; false if the run was stopped first.
func (c *crew) give(t thread, a arrival) bool {
	for {
		c.mu.Lock()
		if n := len(c.idle); n > 0 {
			s := c.idle[n-1]
			c.idle = c.idle[:n-1]
			s.next, s.busy = a, true
			c.mu.Unlock()
			s.thread.wake()
			return true
		}
		if c.made < c.limit {
			s := &hand{session: c.lane.newSession(c.made), next: a, busy: true}
			c.made++
			c.mu.Unlock()
			c.lane.start(func(t thread) { c.serve(s, t) })
			return true
		}
		c.lane.full++
		c.waiting = t
		c.mu.Unlock()
		if !t.park(true) || c.lane.run.ended() {
			return false
		}
	}
}

// serve runs the scenarios that s is given until the crew is ended.
func (c *crew) serve(s *hand, t thread) {
	s.thread = t
	for {
		n := c.lane.part.place(s.next.n)
		s.seed(c.lane.run.cfg.Seed, n)
		s.jar.reset()
		s.values.user, s.values.iteration, s.values.seq = n+1, n+1, n+1
		s.scenario(c.lane.run.plan.pick(s.values.rng), s.next.due)
		if !c.await(s) {
			return
		}
	}
}

// await waits until s has another arrival to serve; false where none will come.
func (c *crew) await(s *hand) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.busy = false
	c.idle = append(c.idle, s)
	if c.waiting != nil {
		c.waiting.wake()
		c.waiting = nil
	}
	for !s.busy && !c.over {
		c.mu.Unlock()
		s.thread.park(false)
		c.mu.Lock()
	}
	return s.busy
}

// end lets the sessions go that have nothing to do, and the others when they have done it.
func (c *crew) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	for _, s := range c.idle {
		s.thread.wake()
	}
}

// seed makes the session draw what belongs to the n-th arrival, or user, of the run, whoever serves it.
func (s *session) seed(seed uint64, n int64) { s.pcg.Seed(streamOf(seed, n)) }

// streamOf returns the two words that seed the random numbers of place n: mixed, so that those of neighbours have
// nothing in common (the finalizer of SplitMix64: G. Steele, D. Lea and C. Flood, 2014).
func streamOf(seed uint64, n int64) (uint64, uint64) {
	mix := func(z uint64) uint64 {
		z += 0x9e3779b97f4a7c15
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return z ^ z>>31
	}
	a := mix(seed ^ mix(uint64(n)))
	return a, mix(a)
}

// How many of the arrivals that are lost together are drawn one by one, while requests wait to be sent and after: a rate
// that no machine can send loses billions.
const (
	drawnAtOnce = 1 << 6
	drawnAtEnd  = 1 << 17
)

// loseArrivals counts the arrivals from one to before another, which were never started. Of more than can be drawn every
// k-th is, and counts for k: the sum is exact, what falls to a step or a second is within what chance would do.
func (l *lane) loseArrivals(s Schedule, from, to, drawn int64) {
	stride := max((to-from+drawn-1)/drawn, 1)
	if stride > 1 { // none is to count for others that are not measured
		rec := l.run.rec
		from, to = from+dueBefore(s, from, rec.warm), min(to, from+dueBefore(s, from, rec.end))
	}
	for n := from; n < to; n += stride {
		due, _ := s.At(n)
		l.run.rec.loseArrival(l, n, due, min(stride, to-n))
	}
}

// loseArrival counts as many arrivals that were never started as if each were the n-th, by the step that it would have
// begun with.
func (rec *recorder) loseArrival(l *lane, n int64, due time.Duration, times int64) {
	if !rec.measured(due) {
		return
	}
	rng := rand.New(rand.NewPCG(streamOf(l.run.cfg.Seed, l.part.place(n))))
	sc := l.run.plan.pick(rng)
	for _, f := range sc.feeders {
		if f.order == "random" || f.order == "zipf" { // as the session would have drawn
			f.draw(rng)
		}
	}
	first := sc.steps[0]
	for _, st := range sc.steps {
		if st.taken(rng) {
			first = st
			break
		}
	}
	rec.lose(max(l.shard, 0), first.id, due, notSent, times)
	rec.notStarted(due, times)
}

// notStarted counts scenarios that were due and never begun.
func (rec *recorder) notStarted(due time.Duration, times int64) {
	if !rec.measured(due) {
		return
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.scenarios.NotStarted += times
	if rec.trace != nil {
		rec.trace.at(due - rec.warm).Offered += times
	}
}

// startUsers starts the users of a closed workload, who end when the run is stopped.
func (l *lane) startUsers() {
	r := l.run
	users := int(l.part.share(int64(r.cfg.Workload.Users)))
	for i := range users {
		s := l.newSession(i)
		if r.cfg.Connections >= r.cfg.Workload.Users {
			s.own = make([]caller, len(l.targets.all))
		}
		l.start(func(t thread) {
			s.thread = t
			s.user(l.part.place(int64(i)))
		})
	}
}

// user runs scenarios until the run is stopped.
func (s *session) user(i int64) {
	defer func() {
		for _, c := range s.own {
			if c != nil {
				c.close()
			}
		}
	}()
	s.seed(s.run.cfg.Seed, i)
	s.values.user = i + 1
	users := int64(s.run.cfg.Workload.Users)
	due := s.firstStart(i)
	for !s.run.stopped() {
		s.values.iteration++
		s.values.seq = (s.values.iteration-1)*users + s.values.user
		next, end := s.scenario(s.run.plan.pick(s.values.rng), due)
		if end == scenarioStopped {
			return
		}
		if end == scenarioUnfed { // another scenario of the mix may still have what it needs
			next = max(due, s.run.now()) + connectPause
		}
		if next == due { // no step was taken, or none could be made: time must pass all the same
			next = max(due, s.run.now()) + time.Millisecond
		}
		due = next
	}
}

// firstStart spreads the users, so that they do not march in step: a user who thinks starts as if he had been thinking
// all along; users who do not think come a millisecond apart, or all within a second.
func (s *session) firstStart(i int64) time.Duration {
	if think := s.run.cfg.Workload.Think.Std(); think > 0 {
		return time.Duration(stats.RemainingPause(s.run.cfg.Workload.ThinkTimes, float64(think), s.values.rng))
	}
	return time.Duration(i) * min(time.Millisecond, time.Second/time.Duration(s.run.cfg.Workload.Users))
}
