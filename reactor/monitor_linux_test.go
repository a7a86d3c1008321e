package reactor

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// The thread that is found is the one that sleeps by nanosleep, as no other thread of Go's does for long, and it has the slack then.
func TestMonitorIsCalm(t *testing.T) {
	CalmMonitor()
	tid, err := monitorThread()
	if err != nil {
		t.Skip(err)
	}
	slack, err := os.ReadFile(fmt.Sprintf("/proc/%d/timerslack_ns", tid))
	if err != nil {
		t.Skip(err)
	}
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/timerslack_ns", tid), slack, 0); err != nil {
		t.Skip("not allowed here:", err)
	}
	if got := strings.TrimSpace(string(slack)); got != fmt.Sprint(monitorSlack) {
		t.Errorf("slack of %s ns, want %d", got, monitorSlack)
	}
	for range 100_000 {
		call, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/syscall", tid))
		if err != nil {
			t.Skip("not allowed here:", err)
		}
		if name, _, _ := strings.Cut(string(call), " "); name == nanosleep {
			return
		}
	}
	t.Errorf("thread %d was never seen asleep: it is another one", tid)
}

var nanosleep = strconv.Itoa(syscall.SYS_NANOSLEEP)
