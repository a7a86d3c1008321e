//go:build linux && (amd64 || arm64)

package load

import (
	"container/heap"
	"fmt"
	"iter"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loop runs many fibers on the goroutine that calls run, and waits in one system call (epoll_pwait2) for their connections
// and for the next instant that one of them sleeps until. A request so costs a write, a read and its share of the waits;
// Go's scheduler, its poller and its timers, which would wake threads several times for each, have no part in it.
//
// Fibers, connections and timers belong to that goroutine: others only post. A fiber runs until it waits, and while it
// runs, nothing else of the loop does: what it calls must not block. Connections are therefore made by goroutines.
type loop struct {
	of       *run
	epoll    int
	bell     int // eventfd, rung by post
	events   []unix.EpollEvent
	conns    map[int32]*loopConn
	ready    []*fiber
	timers   fiberHeap
	fibers   map[*fiber]struct{}
	running  *fiber
	stopped  bool          // the run sends nothing more
	quiet    bool          // the last look found no event
	clock    time.Duration // when it was looked at last
	lastWait time.Duration
	rested   time.Duration // in waits, all together

	posters sync.WaitGroup // goroutines that post: the bell stays until the last has rung it

	mu     sync.Mutex
	posted []func()
}

// sysEpollPwait2 is the number of epoll_pwait2, which takes nanoseconds (Linux 5.11; the same on all its architectures).
const sysEpollPwait2 = 441

// loopSupported reports whether the kernel has what a loop needs.
var loopSupported = sync.OnceValue(func() bool {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var e unix.EpollEvent
	var zero unix.Timespec
	_, _, errno := syscall.Syscall6(sysEpollPwait2, uintptr(fd), uintptr(unsafe.Pointer(&e)), 1, uintptr(unsafe.Pointer(&zero)), 0, 0)
	return errno == 0
})

func newLoop(r *run) (*loop, error) {
	l := &loop{of: r, epoll: -1, bell: -1, events: make([]unix.EpollEvent, 256), conns: map[int32]*loopConn{}, fibers: map[*fiber]struct{}{}}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err == nil {
		if l.bell, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err == nil {
			err = l.control(unix.EPOLL_CTL_ADD, l.bell, unix.EPOLLIN)
		}
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// close frees what the loop holds. run has returned, or was never called.
func (l *loop) close() {
	for _, fd := range []int{l.epoll, l.bell} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	l.epoll, l.bell = -1, -1
}

func (l *loop) control(op, fd int, events uint32) error {
	return unix.EpollCtl(l.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

// post has the loop call f. It may be called by any goroutine until run has returned.
func (l *loop) post(f func()) {
	l.mu.Lock()
	first := len(l.posted) == 0
	l.posted = append(l.posted, f)
	l.mu.Unlock()
	if first {
		one := [8]byte{1}
		_, _ = unix.Write(l.bell, one[:]) // fails only where it has been rung 2^64 times
	}
}

// run runs the fibers that were started, and those that they start, until all have ended.
func (l *loop) run() {
	ended := make(chan struct{})
	l.posters.Go(func() {
		select {
		case <-l.of.stop:
			l.post(l.stop)
		case <-ended:
		}
	})
	for len(l.fibers) > 0 {
		l.step()
		if len(l.fibers) > 0 {
			l.wait()
		}
	}
	close(ended)
	l.posters.Wait()
}

// step runs what is due or ready.
func (l *loop) step() {
	for i := 0; ; i++ {
		if i%16 == 0 || i == len(l.ready) {
			l.fire()
		}
		if i == len(l.ready) {
			break
		}
		f := l.ready[i]
		l.running = f
		if _, more := f.next(); !more {
			delete(l.fibers, f)
		}
		l.running = nil
	}
	clear(l.ready)
	l.ready = l.ready[:0]
}

// fire makes those ready whose time has come.
func (l *loop) fire() {
	now := l.of.now()
	l.clock = now
	for len(l.timers) > 0 && l.timers[0].at <= now {
		t := heap.Pop(&l.timers).(fiberTimer)
		f := t.fiber
		switch {
		case !t.limit:
			if f.state == sleeping && f.until == t.at {
				l.resume(f)
			}
		case f.state != onConn:
			f.armed = false
		case f.conn.deadline > now:
			l.push(fiberTimer{f.conn.deadline, f, true})
		default:
			f.armed, f.late = false, true
			l.resume(f)
		}
	}
}

func (l *loop) push(t fiberTimer) { heap.Push(&l.timers, t) }

func (l *loop) resume(f *fiber) {
	f.state = runnable
	l.ready = append(l.ready, f)
}

// busy is the share of the time until now in which the loop did not wait.
func (l *loop) busy(now time.Duration) float64 { return 1 - float64(l.rested)/float64(max(now, 1)) }

// stop ends the waits that do not outlive the sending.
func (l *loop) stop() {
	l.stopped = true
	for f := range l.fibers {
		if f.state == sleeping || f.state == parkedTillStop {
			l.resume(f)
		}
	}
}

// wait fetches events and makes those ready whom they concern.
func (l *loop) wait() {
	n, errno := 0, syscall.Errno(0)
	if !l.quiet { // there may be some: looking is cheaper without telling the scheduler
		n, errno = l.fetch(syscall.RawSyscall6, 0)
	}
	if n == 0 && errno == 0 {
		left, began := time.Duration(-1), l.of.now()
		if len(l.timers) > 0 {
			left = max(l.timers[0].at-began, 0)
		}
		call := syscall.Syscall6
		if left >= 0 && left <= shortWait {
			call = syscall.RawSyscall6
		}
		n, errno = l.fetch(call, left)
		l.lastWait = l.of.now()
		l.rested += l.lastWait - began
	} else if l.clock-l.lastWait > yieldEvery {
		l.lastWait = l.clock
		runtime.Gosched()
	}
	if errno != 0 && errno != syscall.EINTR {
		panic(fmt.Sprintf("load: waiting for events: %v", errno)) // none that a right call returns
	}
	l.quiet = n < 2
	for _, e := range l.events[:max(n, 0)] {
		if e.Fd == int32(l.bell) {
			l.answerBell()
		} else if c := l.conns[e.Fd]; c != nil {
			c.happened()
		}
	}
	if n == len(l.events) && n < 4096 {
		l.events = make([]unix.EpollEvent, 2*n)
	}
}

// shortWait is how long the loop may keep the processor while it waits. Giving it to the scheduler and back wakes the
// runtime's monitor, which costs more than so short a rest is worth to others.
const shortWait = 500 * time.Microsecond

// yieldEvery is how often a loop that never waits lets other goroutines run.
const yieldEvery = 5 * time.Millisecond

// fetch calls epoll_pwait2; a negative limit is none.
func (l *loop) fetch(call func(trap, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, err syscall.Errno), limit time.Duration) (int, syscall.Errno) {
	var spec *unix.Timespec
	if limit >= 0 {
		t := unix.NsecToTimespec(int64(limit))
		spec = &t
	}
	n, _, errno := call(sysEpollPwait2, uintptr(l.epoll), uintptr(unsafe.Pointer(&l.events[0])), uintptr(len(l.events)), uintptr(unsafe.Pointer(spec)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func (l *loop) answerBell() {
	var count [8]byte
	_, _ = unix.Read(l.bell, count[:])
	l.mu.Lock()
	posted := l.posted
	l.posted = nil
	l.mu.Unlock()
	for _, f := range posted {
		f()
	}
}

// fiber is a coroutine of a loop.
type fiber struct {
	loop  *loop
	next  func() (struct{}, bool)
	yield func(struct{}) bool
	state fiberState
	woken bool          // wake was called
	until time.Duration // it sleeps
	conn  *loopConn     // that it waits for
	armed bool          // a timer for the deadline of its connections is set, perhaps for an earlier one
	late  bool          // the deadline has passed
}

type fiberState int

const (
	runnable fiberState = iota
	sleeping
	parked
	parkedTillStop
	onConn
)

var _ thread = (*fiber)(nil)

// start makes a fiber that runs f. It is called before run, or by a fiber.
func (l *loop) start(f func(thread)) {
	fb := &fiber{loop: l}
	fb.next, _ = iter.Pull(func(yield func(struct{}) bool) {
		fb.yield = yield
		f(fb)
	})
	l.fibers[fb] = struct{}{}
	l.ready = append(l.ready, fb)
}

func (f *fiber) wait(s fiberState) {
	f.state = s
	f.yield(struct{}{})
}

// sleep implements thread.
func (f *fiber) sleep(at time.Duration) bool {
	l := f.loop
	if l.stopped || at <= l.clock {
		return !l.stopped
	}
	if l.clock = l.of.now(); at <= l.clock {
		return true
	}
	f.until = at
	l.push(fiberTimer{at, f, false})
	f.wait(sleeping)
	return !l.stopped
}

// park implements thread.
func (f *fiber) park(untilStop bool) bool {
	if !f.woken {
		if untilStop && f.loop.stopped {
			return false
		}
		s := parked
		if untilStop {
			s = parkedTillStop
		}
		f.wait(s)
	}
	woken := f.woken
	f.woken = false
	return woken || !untilStop
}

// wake implements thread.
func (f *fiber) wake() {
	f.woken = true
	if f.state == parked || f.state == parkedTillStop {
		f.loop.resume(f)
	}
}

// rest implements thread. The loop looks for events before the fiber goes on.
func (f *fiber) rest() {
	rested := false
	f.loop.post(func() { rested = true; f.wake() })
	for !rested {
		f.park(false)
	}
}

// fiberTimer wakes a fiber: from its sleep, or where limit is set from its wait for a connection. A fiber that waits often
// leaves the timer of its first wait where it is, and looks at the clock again when it comes.
type fiberTimer struct {
	at    time.Duration
	fiber *fiber
	limit bool
}

type fiberHeap []fiberTimer

func (h fiberHeap) Len() int           { return len(h) }
func (h fiberHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h fiberHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *fiberHeap) Push(x any)        { *h = append(*h, x.(fiberTimer)) }
func (h *fiberHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = fiberTimer{}
	*h = (*h)[:last]
	return x
}
