//go:build unix

package load

import "syscall"

// raiseFiles lets the process have as many files open as a run needs, as far as the system permits, and returns how many
// it may have.
func raiseFiles(need uint64) uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return need
	}
	if uint64(l.Cur) >= need {
		return uint64(l.Cur)
	}
	for _, want := range []syscall.Rlimit{{Cur: need, Max: max(need, l.Max)}, {Cur: l.Max, Max: l.Max}} { // only the superuser may raise Max
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want) == nil {
			return uint64(want.Cur)
		}
	}
	return uint64(l.Cur)
}
