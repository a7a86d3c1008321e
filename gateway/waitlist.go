package gateway

import (
	"slices"
	"sync"
	"sync/atomic"
)

// waitlist is where requests wait for a backend, first come first woken. Who may wait is policy's to say.
type waitlist struct {
	waiting atomic.Int32 // so that nobody locks while nobody waits

	mu    sync.Mutex
	queue []*waiter
}

type waiter struct {
	wake   chan struct{}
	notify func() // called when it is woken; nil: whoever waits looks at wake. Guarded by the list's mutex
}

// notify has f called, which must not block, each time the waiter is woken.
func (l *waitlist) notify(w *waiter, f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w.notify = f
	if len(w.wake) > 0 {
		f()
	}
}

// awaken reports whether the waiter was not awake yet. The caller holds the mutex.
func (w *waiter) awaken() bool {
	select {
	case w.wake <- struct{}{}:
	default:
		return false
	}
	if w.notify != nil {
		w.notify()
	}
	return true
}

// len returns how many wait.
func (l *waitlist) len() int { return int(l.waiting.Load()) }

// join returns nil if admit, which is told how many wait already, says no. Whoever joins must look once more for what
// it waits for, and must leave.
func (l *waitlist) join(admit func(waiting int) bool) *waiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !admit(len(l.queue)) {
		return nil
	}
	w := &waiter{wake: make(chan struct{}, 1)}
	l.queue = append(l.queue, w)
	l.waiting.Store(int32(len(l.queue)))
	return w
}

// leave hands a wake-up that came too late to the next in line.
func (l *waitlist) leave(w *waiter) {
	l.mu.Lock()
	if i := slices.Index(l.queue, w); i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
	}
	l.waiting.Store(int32(len(l.queue)))
	l.mu.Unlock()
	select {
	case <-w.wake:
		l.wakeOne()
	default:
	}
}

// wakeOne wakes the first that is not awake yet.
func (l *waitlist) wakeOne() {
	if l.waiting.Load() == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.queue {
		if w.awaken() {
			return
		}
	}
}

func (l *waitlist) wakeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.queue {
		w.awaken()
	}
}
