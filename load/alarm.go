package load

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// alarm wakes one goroutine at a set time. set may be called by any goroutine, also while another waits; a setting
// replaces the one before. wait may return early, never forget.
type alarm interface {
	set(d time.Duration) // from now; not positive: at once
	wait()
	close()
}

// timerAlarm is the alarm of the Go runtime. While the process idles it may be a millisecond late, for that is the grain
// with which the runtime waits; it is used where the system has nothing finer, and on a simulated clock.
type timerAlarm struct{ timer *time.Timer }

func newTimerAlarm() alarm { return timerAlarm{time.NewTimer(time.Hour)} }

func (a timerAlarm) set(d time.Duration) { a.timer.Reset(max(d, 0)) }
func (a timerAlarm) wait()               { <-a.timer.C }
func (a timerAlarm) close()              { a.timer.Stop() }

// waker wakes many sessions, each at its own time, with one alarm: think times would otherwise each be rounded to the
// runtime's grain, and the roundings would be taken for latency.
type waker struct {
	now   func() time.Duration
	alarm alarm

	mu      sync.Mutex
	waiting wakeHeap
	done    bool
}

type wake struct {
	at time.Duration
	ch chan struct{} // of capacity 1
}

type wakeHeap []wake

func (h wakeHeap) Len() int           { return len(h) }
func (h wakeHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h wakeHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *wakeHeap) Push(x any)        { *h = append(*h, x.(wake)) }
func (h *wakeHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}

// sleep returns true at instant at, false if stop was closed before. ch is the caller's own channel of capacity 1.
func (w *waker) sleep(stop <-chan struct{}, at time.Duration, ch chan struct{}) bool {
	if at <= w.now() {
		select {
		case <-stop:
			return false
		default:
			return true
		}
	}
	select { // a wake-up that nobody took
	case <-ch:
	default:
	}
	w.mu.Lock()
	heap.Push(&w.waiting, wake{at, ch})
	if w.waiting[0].at == at {
		w.alarm.set(at - w.now())
	}
	w.mu.Unlock()
	select {
	case <-ch:
		return true
	case <-stop:
		return false // the run is over: what stays in the heap is never looked at again
	}
}

// run wakes sleepers until ctx is done.
func (w *waker) run(ctx context.Context) {
	cancelled := context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.done = true
		w.alarm.set(0)
	})
	defer cancelled()
	for {
		w.mu.Lock()
		if w.done {
			w.mu.Unlock()
			return
		}
		now := w.now()
		for len(w.waiting) > 0 && w.waiting[0].at <= now {
			select {
			case heap.Pop(&w.waiting).(wake).ch <- struct{}{}:
			default:
			}
		}
		if len(w.waiting) > 0 {
			w.alarm.set(w.waiting[0].at - now)
		}
		w.mu.Unlock()
		w.alarm.wait()
	}
}
