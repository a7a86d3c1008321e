package reactor

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
)

// monitorSlack is by how much the kernel may put off each awakening of the scheduler's monitor, in nanoseconds.
const monitorSlack = 1_000_000

// calmMonitor has the kernel wake the thread of Go's scheduler that watches the others less often. Where goroutines wait for a disk
// it takes their processors away, and after each time looks every 20 us for one more for some milliseconds, which with a few hundred
// syncs a second is always: thousands of awakenings a second, and an eighth of what three nodes of tables use of two
// processors. A tick of a millisecond is soon enough for all that it does, which can wait for ten as well. That needs the right to
// schedule others (CAP_SYS_NICE); without it all stays as it is.
var calmMonitor = sync.OnceFunc(func() {
	tid, err := monitorThread()
	if err != nil {
		return
	}
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/timerslack_ns", tid), []byte(strconv.Itoa(monitorSlack)), 0) // it is an offer
})

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
