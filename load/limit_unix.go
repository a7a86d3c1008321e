//go:build unix

package load

import (
	"fmt"
	"syscall"
)

// raiseFiles makes sure that the process may have as many files open as a run needs, as far as the system lets it, and
// says what is missing.
func raiseFiles(need uint64) string {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil || uint64(l.Cur) >= need {
		return ""
	}
	for _, want := range []syscall.Rlimit{{Cur: need, Max: max(need, l.Max)}, {Cur: l.Max, Max: l.Max}} { // only the superuser may raise Max
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want) == nil {
			l = want
			break
		}
	}
	if l.Cur >= need {
		return ""
	}
	return fmt.Sprintf("the system lets this process have %s files open at once (ulimit -n), and the run may want %s: connections beyond that fail as \"%s\"", count(int64(l.Cur)), count(int64(need)), LocalLimit)
}
