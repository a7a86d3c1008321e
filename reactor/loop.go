//go:build linux && (amd64 || arm64)

package reactor

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Loop is one event loop.
type Loop struct {
	epoll, wake int
	clock       func() time.Duration
	now         time.Duration
	entries     []entry
	free        []uint32
	events      [256]unix.EpollEvent
	wheel       wheel
	stopped     bool
	iov         [3]syscall.Iovec // of Writev
	msg         syscall.Msghdr
	last        time.Duration // when the scheduler was last given a chance
	rest        time.Duration // what it waited for events of late, in the mean

	// How the scheduler's poller knows of the loop, which see in wait.go.
	outer int
	shown bool // its events are told of
	file  *os.File
	poll  syscall.RawConn
	look  func(uintptr) bool // fetches events, and reports whether there are any
	alarm int64              // the tick at which the file's deadline is; 0: it has none
	found int
	errno syscall.Errno

	awake  atomic.Bool // a wake-up is under way
	mu     sync.Mutex
	posted []func() // guarded by mu
	closed bool     // guarded by mu
	spare  []func()
}

// entry is a place for a connection; gen tells late events for a former one apart.
type entry struct {
	conn *Conn
	gen  uint32
}

// Handler is told that a connection may be read from or written to. It is called on the loop's goroutine.
type Handler interface{ Ready(c *Conn) }

// New returns a loop that runs on the given clock, which must not go backwards. It is closed by Close.
func New(clock func() time.Duration) (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making an event loop: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: -1})
	}
	if err != nil {
		_ = unix.Close(epoll)
		if wake > 0 {
			_ = unix.Close(wake)
		}
		return nil, fmt.Errorf("making an event loop: %w", err)
	}
	l := &Loop{epoll: epoll, wake: wake, clock: clock, now: clock(), rest: long}
	l.wheel.now = int64(l.now / tick)
	if err := l.open(); err != nil {
		l.Close()
		return nil, fmt.Errorf("making an event loop: %w", err)
	}
	return l, nil
}

// Now returns the instant at which the current events were fetched.
func (l *Loop) Now() time.Duration { return l.now }

// Post has f called on the loop's goroutine, soon. It reports whether it will be: not once the loop is closed. It may be
// called by anyone.
func (l *Loop) Post(f func()) bool {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return false
	}
	l.posted = append(l.posted, f)
	wake := !l.awake.Swap(true)
	if wake {
		// With the mutex held, so that Close does not close the descriptor meanwhile.
		one := [8]byte{0: 1}
		_, _ = unix.Write(l.wake, one[:]) // fails only where a wake-up is pending already
	}
	l.mu.Unlock()
	return true
}

// Stop makes Run return after the current round.
func (l *Loop) Stop() { l.stopped = true }

// Set makes the timer expire after d, instead of when it would have before.
func (l *Loop) Set(t *Timer, d time.Duration) { l.wheel.set(t, int64((l.now+d+tick-1)/tick)) }

// Unset makes the timer not expire.
func (l *Loop) Unset(t *Timer) { l.wheel.stop(t) }

// yieldEvery is how long a busy loop goes on before it lets other goroutines of the process run.
const yieldEvery = time.Millisecond

// Run carries events to their handlers until Stop.
func (l *Loop) Run() error {
	for !l.stopped {
		n, err := l.wait()
		if err != nil {
			return fmt.Errorf("waiting for events: %w", err)
		}
		l.now = l.clock()
		for i := range n {
			ev := &l.events[i]
			if ev.Fd < 0 {
				continue // the wake-up; what was posted is looked at below
			}
			e := &l.entries[ev.Fd]
			if e.conn == nil || e.gen != uint32(ev.Pad) {
				continue
			}
			e.conn.dispatch(ev.Events)
		}
		l.wheel.advance(int64(l.now / tick))
		if l.awake.Load() {
			l.runPosted()
		}
	}
	return nil
}

func (l *Loop) runPosted() {
	var drop [8]byte
	_, _ = unix.Read(l.wake, drop[:]) // whether or not it was counted up already
	l.mu.Lock()
	l.awake.Store(false)
	work := l.posted
	l.posted = l.spare[:0]
	l.mu.Unlock()
	for i, f := range work {
		f()
		work[i] = nil
	}
	l.spare = work
}

// Close frees the loop's descriptors once Run has returned, and calls what was posted and not yet called.
func (l *Loop) Close() {
	l.mu.Lock()
	l.closed = true
	work := l.posted
	l.posted = nil
	_ = unix.Close(l.wake)
	_ = unix.Close(l.epoll)
	_ = l.file.Close()
	l.mu.Unlock()
	for _, f := range work {
		f()
	}
}
