package cpuclock

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is the CPU time that the present thread has used.
func threadTime() (time.Duration, bool) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0, false
	}
	return time.Duration(ts.Nano()), true
}
