//go:build linux

package load

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// fdAlarm is a timer of the kernel that the runtime's poller waits for like for a socket: it is some tens of
// microseconds late where the runtime's own timers, in a process that idles, are up to a millisecond.
type fdAlarm struct {
	fd   int
	file *os.File
	buf  [8]byte
}

func newAlarm() (alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating a timer: %w", err)
	}
	return &fdAlarm{fd: fd, file: os.NewFile(uintptr(fd), "timer")}, nil
}

func (a *fdAlarm) set(d time.Duration) {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(d.Nanoseconds(), 1))} // 0 would disarm it
	_ = unix.TimerfdSettime(a.fd, 0, &spec, nil)                                 // fails only for arguments that these are not
}

func (a *fdAlarm) wait() { _, _ = a.file.Read(a.buf[:]) }

func (a *fdAlarm) close() { a.file.Close() }
