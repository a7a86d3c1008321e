package reactor

import (
	"fmt"
	"os"
	"slices"
	"strconv"
)

// monitorSlack is by how much the kernel may put off each awakening of the scheduler's monitor, in nanoseconds.
const monitorSlack = 500_000

// CalmMonitor has the kernel wake the thread of Go's scheduler that watches the others less often. Wherever a thread seems to be held up
// in the kernel, as by a disk or on a busy machine by any call, the monitor gives its processor to another, and then looks every 20 us for
// one more for some milliseconds, which with a few hundred calls a second is always: thousands of awakenings a second, an eighth of
// what three nodes of tables use of two processors. Looking once in half a millisecond is soon enough for all that it does, which can wait
// for ten milliseconds as well. That needs the right to schedule others (CAP_SYS_NICE); without it all stays as it is.
func CalmMonitor() {
	tid, err := monitorThread()
	if err != nil {
		return
	}
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/timerslack_ns", tid), []byte(strconv.Itoa(monitorSlack)), 0) // it is an offer
}

// monitorThread returns the id of the monitor's thread. It is the first that the runtime starts, and ids grow.
func monitorThread() (int, error) {
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return 0, fmt.Errorf("threads of this process: %w", err)
	}
	var ids []int
	for _, e := range entries {
		if id, err := strconv.Atoi(e.Name()); err == nil && id > os.Getpid() { // below are those after the numbers began anew
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return 0, fmt.Errorf("no thread of this process has an id above %d", os.Getpid())
	}
	return slices.Min(ids), nil
}
