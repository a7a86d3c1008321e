package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pinned names the cores that a process runs on already.
const pinned = "RESILIENCE_PINNED"

// pin has the whole process run on the cores from first to before last: by starting it anew, for only what is set before a
// program starts holds for all of its threads.
func pin(first, last int) error {
	where := fmt.Sprintf("%d-%d", first, last)
	if os.Getenv(pinned) == where {
		return nil
	}
	var set unix.CPUSet
	for i := first; i < last; i++ {
		set.Set(i)
	}
	runtime.LockOSThread()
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("running on cores %d to %d: %w", first, last-1, err)
	}
	return syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), pinned+"="+where))
}

// hashing returns work for the processor that takes about a given time on a core of its own.
func hashing() func(time.Duration) {
	var block [1024]byte
	const tries = 20_000
	began := time.Now()
	for range tries {
		block[0] = sha256.Sum256(block[:])[0]
	}
	each := max(time.Since(began)/tries, 1)
	return func(d time.Duration) {
		mine := block
		for range int(d / each) {
			mine[0] = sha256.Sum256(mine[:])[0]
		}
	}
}
