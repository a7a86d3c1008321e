package load

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
)

// lane is a share of a run that is sent by itself: every n-th arrival, or user, over connections of its own. Where the
// targets allow it (see looped), a lane is an event loop, and its sessions are coroutines on it; there are as many lanes
// as the load needs cores. Otherwise there is one, and its sessions are goroutines.
type lane struct {
	run     *run
	shard   int // of the recorder, which the lane mostly has for itself; -1: its sessions are spread over all
	part    part
	targets *targets
	loop    *loop // nil: goroutines
	wg      sync.WaitGroup
	full    int64 // times that an arrival waited because as many scenarios were under way as may be
}

// What one loop is trusted with before there is another.
const (
	loopRate  = 25_000 // arrivals per second
	loopUsers = 64     // users who do not think
)

// makeLanes divides the run.
func (r *run) makeLanes() ([]*lane, error) {
	if !r.looped() {
		return []*lane{{run: r, shard: -1, part: r.cfg.part, targets: &r.targets}}, nil
	}
	n := r.loops()
	var all []*lane
	for i := range n {
		loop, err := newLoop(r)
		if err != nil {
			closeLanes(all)
			return nil, fmt.Errorf("making an event loop: %w", err)
		}
		cfg := r.cfg
		cfg.Dial, cfg.Connections = loop.dial, (r.cfg.Connections+n-1-i)/n
		l := &lane{run: r, shard: i % len(r.rec.shards), part: r.cfg.part.divide(int64(i), int64(n)), targets: &targets{cfg: &cfg}, loop: loop}
		all = append(all, l)
		for _, t := range r.targets.all {
			if _, err := l.targets.find(t.address); err != nil {
				closeLanes(all)
				return nil, err
			}
		}
	}
	return all, nil
}

// closeLanes ends what the lanes' callers and loops hold. Their sessions have ended.
func closeLanes(all []*lane) {
	for _, l := range all {
		l.targets.close()
		if l.loop != nil {
			l.loop.close()
		}
	}
}

// looped reports whether event loops can carry the run: plain TCP by the usual dialler, and protocols whose callers have
// no goroutines.
func (r *run) looped() bool {
	return loopSupported() && !r.cfg.ownDial && !r.cfg.goroutines &&
		!slices.ContainsFunc(r.targets.all, func(t *target) bool { return t.to.tls != nil || t.links != nil || t.rest != nil })
}

// loops is how many of them share the work.
func (r *run) loops() int {
	if r.cfg.loops > 0 {
		return r.cfg.loops
	}
	n := 0.0
	w := r.cfg.Workload
	switch {
	case !r.closed:
		n = r.peak / loopRate
	case w.Think > 0:
		n = float64(w.Users) / w.Think.Std().Seconds() / loopRate
	default:
		n = float64(w.Users) / loopUsers
	}
	n = min(max(math.Ceil(n), 1), math.Ceil(float64(runtime.GOMAXPROCS(0))/2)) // the rest is for the target, and the kernel
	return min(int(n), max(r.cfg.Connections, 1), max(r.cfg.MaxInFlight, 1))
}

// start runs f as a thread of the lane.
func (l *lane) start(f func(thread)) {
	if l.loop != nil {
		l.loop.start(f)
		return
	}
	l.wg.Go(func() { f(newRoutine(l.run)) })
}

// newSession returns the lane's i-th session.
func (l *lane) newSession(i int) *session {
	s := newSession(l.run, i)
	s.targets = l.targets
	if l.shard >= 0 {
		s.shard = l.shard
	}
	return s
}

// send sends the lane's share and returns when all of it has ended.
func (l *lane) send(beat alarm) {
	switch {
	case l.run.closed:
		l.startUsers()
	case l.loop != nil:
		l.start(l.dispatch)
	default:
		m := &metronome{routine: newRoutine(l.run), alarm: beat}
		l.wg.Go(func() {
			<-l.run.stop
			m.cancel()
		})
		l.dispatch(m)
	}
	if l.loop != nil {
		l.loop.run()
	}
	l.wg.Wait()
}

// cut ends all that is under way.
func (l *lane) cut() {
	if l.loop != nil {
		l.loop.post(l.targets.cut)
		return
	}
	l.targets.cut()
}

// queue is how many sessions wait for a connection.
func (r *run) queue() (n int64) {
	for _, l := range r.lanes {
		n += l.targets.queue()
	}
	return n
}

// connections that are open.
func (r *run) connections() (n int64) {
	for _, l := range r.lanes {
		n += l.targets.connections()
	}
	return n
}

// busiest is the largest share of the time in which an event loop did not wait; 0 where there are none. All have ended.
func (r *run) busiest() float64 {
	most := 0.0
	for _, l := range r.lanes {
		if l.loop != nil {
			most = max(most, l.loop.busy(r.lasted))
		}
	}
	return most
}
