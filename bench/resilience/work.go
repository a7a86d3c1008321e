//go:build linux

package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// pin has all threads of this process run on the cores from first to before last. Threads that are begun later take it over
// from those that begin them.
func pin(first, last int) error {
	var set unix.CPUSet
	for i := first; i < last; i++ {
		set.Set(i)
	}
	done := map[string]bool{}
	for more := true; more; { // until no thread was begun meanwhile
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("looking for this process's threads: %w", err)
		}
		more = false
		for _, t := range threads {
			id, err := strconv.Atoi(t.Name())
			if err != nil || done[t.Name()] {
				continue
			}
			done[t.Name()], more = true, true
			if err := unix.SchedSetaffinity(id, &set); err != nil && err != unix.ESRCH {
				return fmt.Errorf("running on cores %d to %d: %w", first, last-1, err)
			}
		}
	}
	return nil
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
