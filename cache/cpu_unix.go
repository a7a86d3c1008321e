//go:build unix

package cache

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

func (s *Server) infoCPU(b *strings.Builder) {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) == nil {
		fmt.Fprintf(b, "used_cpu_sys:%d.%06d\r\nused_cpu_user:%d.%06d\r\n", u.Stime.Sec, u.Stime.Usec, u.Utime.Sec, u.Utime.Usec)
	}
}
