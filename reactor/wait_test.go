//go:build linux && (amd64 || arm64)

package reactor

import (
	"sync/atomic"
	"testing"
	"time"
)

// A loop whose events come one upon the other waits for them in the kernel, and one that gets them now and then in the scheduler's
// poller; it is woken up in both, by events and by timers.
func TestLoopWaitsByHowEventsCome(t *testing.T) {
	var now, step atomic.Int64 // the clock goes on by a step each time it is looked at
	now.Store(int64(time.Hour))
	l, err := New(func() time.Duration { return time.Duration(now.Add(step.Load())) })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.run(t, 1); !l.shown {
		t.Error("a new loop holds on to its processor")
	}
	if l.chain(t, 200); !l.holds() {
		t.Error("a busy loop does not hold on to its processor")
	}
	l.run(t, 20)
	step.Store(int64(time.Second))
	for i := 0; l.holds(); i++ { // not each event is waited for
		if l.run(t, 20); i == 1000 {
			t.Fatal("an idle loop holds on to its processor")
		}
	}
	l.run(t, 20)
	for _, held := range []bool{false, true} {
		step.Store(0)
		if held {
			l.chain(t, 200)
		}
		rings := &stopper{l: l}
		rings.timer.Owner = rings
		l.Set(&rings.timer, 5*time.Millisecond)
		step.Store(int64(10 * time.Microsecond))
		l.stopped = false
		go func() { // the clock of the test stands still while nobody looks at it
			for !rings.rang.Load() {
				now.Add(int64(time.Millisecond))
				time.Sleep(time.Millisecond)
			}
		}()
		if err := l.Run(); err != nil || !rings.rang.Load() {
			t.Errorf("held %v: %v, rang %v", held, err, rings.rang.Load())
		}
	}
}

type stopper struct {
	l     *Loop
	timer Timer
	rang  atomic.Bool
}

func (s *stopper) Expired(*Timer) {
	s.rang.Store(true)
	s.l.Stop()
}

// run has the loop get so many events, each when the one before has been dealt with, and stop.
func (l *Loop) run(t *testing.T, events int) {
	t.Helper()
	l.stopped = false
	done := make(chan struct{})
	go func() {
		for range events {
			l.Post(func() { done <- struct{}{} })
			<-done
		}
		l.Post(l.Stop)
	}()
	if err := l.Run(); err != nil {
		t.Fatal(err)
	}
}

// chain has the loop get so many events, each while it deals with the one before, and stop.
func (l *Loop) chain(t *testing.T, events int) {
	t.Helper()
	l.stopped = false
	var next func()
	next = func() {
		if events--; events == 0 {
			l.Stop()
			return
		}
		l.Post(next)
	}
	l.Post(next)
	if err := l.Run(); err != nil {
		t.Fatal(err)
	}
}
