//go:build linux && (amd64 || arm64)

package reactor

import (
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A loop can wait for events in the kernel, with a processor of Go's scheduler in its hands, or in the scheduler's own poller. The
// first is the cheapest way to wait for what comes in a moment. But a processor that is held is looked after: the scheduler's monitor
// wakes up every 20 us, fifty times and then ever more rarely, takes the processor away after 10 ms, and begins anew. A loop that gets
// an event now and then would cost several times as much by that as by its work; in the poller it lets the monitor sleep.
const (
	// brief is the mean wait up to which a loop begins to hold on to its processor. It goes on up to twice that.
	brief = 800 * time.Microsecond
	// long is what a longer wait counts as in the mean, which is over some sixteen waits: one burst must not change the way.
	long   = 16 * brief
	smooth = 16
)

// wait fetches events. Those that are there already are fetched without telling the scheduler, which costs less.
func (l *Loop) wait() (int, error) {
	n, errno := l.fetch(syscall.RawSyscall6, 0)
	if n == 0 && errno == 0 {
		n, errno = l.idle()
	} else {
		l.rest -= l.rest / smooth
		if l.now-l.last > yieldEvery {
			l.last = l.now
			runtime.Gosched()
		}
	}
	if errno != 0 && errno != syscall.EINTR {
		return 0, errno
	}
	return n, nil
}

// idle waits for events where there are none.
func (l *Loop) idle() (n int, errno syscall.Errno) {
	since := l.clock()
	until := int64(0) // nothing is set
	if d := l.wheel.until(); d >= 0 {
		until = l.wheel.now + d
	}
	switch {
	case until > 0 && int64(since/tick) >= until:
	case l.holds():
		ms := int64(-1)
		if until > 0 {
			ms = min(until-int64(since/tick), int64(time.Hour/tick))
		}
		n, errno = l.fetch(syscall.Syscall6, int(ms))
	default:
		n, errno = l.park(until)
	}
	l.last = l.clock()
	l.rest += (min(l.last-since, long) - l.rest) / smooth
	return n, errno
}

// holds reports whether the loop waits in the kernel with a processor in its hands. Only where it does not does the scheduler's poller
// hear of its events, which would wake a thread for nothing.
func (l *Loop) holds() bool {
	switch shown := l.shown; {
	case shown && l.rest < brief:
		l.shown = unix.EpollCtl(l.outer, unix.EPOLL_CTL_DEL, l.epoll, nil) != nil
		// The thread that the loop is on may be the one that polled for all. A new goroutine has the scheduler start another, which ends up
		// polling; else all others would wait for events until the monitor looks, which it does every 10 ms.
		go func() {}()
	case !shown && l.rest > 2*brief:
		l.shown = unix.EpollCtl(l.outer, unix.EPOLL_CTL_ADD, l.epoll, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}) == nil
	}
	return !l.shown
}

// open makes the descriptor that the scheduler's poller has of the loop: one of epoll as well, whose only member is the loop's own.
func (l *Loop) open() error {
	var err error
	if l.outer, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	err = unix.SetNonblock(l.outer, true)
	l.file = os.NewFile(uintptr(l.outer), "epoll")
	if err == nil {
		l.poll, err = l.file.SyscallConn()
	}
	if err == nil {
		err = l.file.SetReadDeadline(time.Time{}) // fails where the poller does not take it
	}
	l.look = func(uintptr) bool {
		l.found, l.errno = l.fetch(syscall.RawSyscall6, 0)
		return l.found > 0 || l.errno != 0
	}
	return err
}

// park waits in the scheduler's poller until there are events, or until a tick.
func (l *Loop) park(until int64) (int, syscall.Errno) {
	l.found, l.errno = 0, 0
	if until != l.alarm {
		var deadline time.Time
		if until > 0 {
			deadline = time.Now().Add(time.Duration(until)*tick - l.clock())
		}
		_ = l.file.SetReadDeadline(deadline) // worked in open
		l.alarm = until
	}
	if err := l.poll.Read(l.look); err != nil {
		l.alarm = -1 // it has rung: it is over or to be set anew
	}
	return l.found, l.errno
}

func (l *Loop) fetch(call func(trap, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, err syscall.Errno), ms int) (int, syscall.Errno) {
	n, _, errno := call(syscall.SYS_EPOLL_PWAIT, uintptr(l.epoll), uintptr(unsafe.Pointer(&l.events[0])), uintptr(len(l.events)), uintptr(ms), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
