//go:build linux && (amd64 || arm64)

package reactor

import (
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// wait fetches events. Those that are there already are fetched without telling the scheduler, which costs less; only a
// wait for the next one lets it use the processor for others.
func (l *Loop) wait() (int, error) {
	n, errno := l.fetch(syscall.RawSyscall6, 0)
	if n == 0 && errno == 0 {
		ms := -1
		if d := l.wheel.until(); d >= 0 {
			// Since now the time has gone on a little, so this is a little late and never early.
			ms = int(min(d, int64(time.Hour/tick)))
		}
		n, errno = l.fetch(syscall.Syscall6, ms)
		l.last = l.now
	} else if l.now-l.last > yieldEvery {
		l.last = l.now
		runtime.Gosched()
	}
	if errno != 0 && errno != syscall.EINTR {
		return 0, errno
	}
	return max(n, 0), nil
}

func (l *Loop) fetch(call func(trap, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, err syscall.Errno), ms int) (int, syscall.Errno) {
	n, _, errno := call(syscall.SYS_EPOLL_PWAIT, uintptr(l.epoll), uintptr(unsafe.Pointer(&l.events[0])), uintptr(len(l.events)), uintptr(ms), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
