package load

import (
	"runtime"
	"time"
)

// thread is what a session, or the dispatcher of an open workload, runs on, and how it waits: a goroutine of its own
// (routine), or a coroutine of an event loop (fiber).
type thread interface {
	// sleep returns true at instant at, false where the run has been stopped before.
	sleep(at time.Duration) bool
	// park waits until wake is called; a wake that came before counts. It returns false where untilStop is set and the run
	// was stopped first. It may return true without a wake: what is waited for must be looked at.
	park(untilStop bool) bool
	// wake ends a park. A fiber is woken by its own loop alone.
	wake()
	// rest lets all others go on that can, and returns.
	rest()
}

var (
	_ thread = (*routine)(nil)
	_ thread = (*metronome)(nil)
)

// routine is a goroutine.
type routine struct {
	run *run
	ch  chan struct{} // of capacity 1
}

func newRoutine(r *run) *routine { return &routine{r, make(chan struct{}, 1)} }

func (g *routine) sleep(at time.Duration) bool { return g.run.waker.sleep(g.run.stop, at, g.ch) }

func (g *routine) park(untilStop bool) bool {
	if !untilStop {
		<-g.ch
		return true
	}
	select {
	case <-g.ch:
		return true
	case <-g.run.stop:
		return false
	}
}

func (*routine) rest() { runtime.Gosched() }

func (g *routine) wake() {
	select {
	case g.ch <- struct{}{}:
	default:
	}
}
