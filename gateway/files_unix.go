//go:build unix

package gateway

import (
	"math"
	"syscall"
)

// openFiles returns how many files the process may have open at once; 0: that is not known, or not bounded.
func openFiles() int64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil || uint64(l.Cur) > math.MaxInt32 {
		return 0
	}
	return int64(l.Cur)
}
