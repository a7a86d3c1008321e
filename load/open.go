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
	run   *run
	limit int
	wg    sync.WaitGroup

	mu    sync.Mutex
	idle  []chan arrival
	all   []chan arrival
	freed chan struct{} // of capacity 1: a session has become idle
	full  int64         // times that an arrival had to wait for one
}

// metronome lets the dispatcher sleep until an instant or until the run is stopped.
type metronome struct {
	run   *run
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

// sleep returns true at instant at, false if the run was stopped before.
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

// runArrivals starts scenarios on their schedule and returns when the last has ended.
func (r *run) runArrivals(beat alarm) {
	m := &metronome{run: r, alarm: beat}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-r.stop
		m.cancel()
	}()
	c := &crew{run: r, limit: r.cfg.MaxInFlight, freed: make(chan struct{}, 1)}
	schedule := r.schedule()
	n := int64(0)
	for ; ; n++ {
		due, ok := schedule.At(n)
		if !ok || !m.sleep(due) {
			break
		}
		if late := r.now() - due; r.cfg.MaxLate > 0 && late > r.cfg.MaxLate {
			r.rec.loseArrival(r, n, due)
			r.rec.arrived.Store(n + 1)
			continue
		} else if r.pacer != nil && late > skipLate && !m.sleep(r.pacer.turn(r.now(), due)) {
			break
		}
		if !c.give(arrival{n, due}) {
			break
		}
		r.rec.arrived.Store(n + 1)
	}
	<-stopped // the schedule may end a little before the run
	end := min(r.now(), r.end)
	left := dueBefore(schedule, n, end)
	for i := n; i < n+left; i++ {
		due, _ := schedule.At(i)
		r.rec.loseArrival(r, i, due)
	}
	r.crewFull = c.full
	for _, ch := range c.all {
		close(ch)
	}
	c.wg.Wait()
}

// give hands a to an idle session, to a new one, or waits for one; false if the run was stopped first.
func (c *crew) give(a arrival) bool {
	for {
		c.mu.Lock()
		if n := len(c.idle); n > 0 {
			ch := c.idle[n-1]
			c.idle = c.idle[:n-1]
			c.mu.Unlock()
			ch <- a
			return true
		}
		if len(c.all) < c.limit {
			ch := make(chan arrival, 1)
			s := newSession(c.run, len(c.all))
			c.all = append(c.all, ch)
			c.mu.Unlock()
			c.wg.Go(func() { c.serve(s, ch) })
			ch <- a
			return true
		}
		c.full++
		c.mu.Unlock()
		select {
		case <-c.freed:
		case <-c.run.stop:
			return false
		}
	}
}

// serve runs the scenarios that come in through ch until it is closed.
func (c *crew) serve(s *session, ch chan arrival) {
	for a := range ch {
		n := c.run.cfg.part.place(a.n)
		s.seed(c.run.cfg.Seed, n)
		s.jar.reset()
		s.values.user, s.values.iteration, s.values.seq = n+1, n+1, n+1
		s.scenario(c.run.plan.pick(s.values.rng), a.due)
		c.mu.Lock()
		c.idle = append(c.idle, ch)
		c.mu.Unlock()
		select {
		case c.freed <- struct{}{}:
		default:
		}
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

// loseArrival counts an arrival that was never started, by the step that it would have begun with.
func (rec *recorder) loseArrival(r *run, n int64, due time.Duration) {
	if !rec.measured(due) {
		return
	}
	rng := rand.New(rand.NewPCG(streamOf(r.cfg.Seed, r.cfg.part.place(n))))
	sc := r.plan.pick(rng)
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
	rec.lose(0, first.id, due, notSent)
	rec.notStarted(due)
}

// notStarted counts a scenario that was due and never begun.
func (rec *recorder) notStarted(due time.Duration) {
	if !rec.measured(due) {
		return
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.scenarios.NotStarted++
	if rec.trace != nil {
		rec.trace.at(due-rec.warm).Offered++
	}
}

// runUsers runs the users of a closed workload and returns when all have ended.
func (r *run) runUsers() {
	var wg sync.WaitGroup
	users := int(r.cfg.part.share(int64(r.cfg.Workload.Users)))
	for i := range users {
		s := newSession(r, i)
		if r.cfg.Connections >= r.cfg.Workload.Users {
			s.own = make([]caller, len(r.targets.all))
		}
		wg.Go(func() { s.user(r.cfg.part.place(int64(i))) })
	}
	wg.Wait()
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
