//go:build unix

package observe

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ProcSelf returns what this very process has used so far, under the pseudo-service Gateway. CPU comes from getrusage,
// which is exact to the microsecond; memory comes from /proc. Started stays zero: this process does not start anew while it
// looks at itself. What cannot be read stays zero and is named in the error; the rest is valid.
func ProcSelf() (ProcessCounters, error) {
	p := ProcessCounters{Service: Gateway, Replica: Gateway}
	fromProc, err := ReadProcess(os.Getpid())
	p.Memory, p.CPU = fromProc.Memory, fromProc.CPU
	var ru syscall.Rusage
	if e := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); e != nil {
		return p, errors.Join(err, fmt.Errorf("reading the CPU time of this process: %w", e))
	}
	p.CPU = time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	return p, err
}

// ReadProcess reads what the process pid has used so far from /proc: CPU to 10 ms, resident memory, and its start to
// 10 ms. Children do not count. Service and Replica are left to the caller. The start is derived from the wall clock and
// wanders when that is set: read it once for each process and keep it. The error wraps fs.ErrNotExist if there is no such
// process.
func ReadProcess(pid int) (ProcessCounters, error) { return readProcess("/proc", pid) }

func readProcess(proc string, pid int) (ProcessCounters, error) {
	var p ProcessCounters
	var started, boot time.Duration
	dir := proc + "/" + strconv.Itoa(pid)
	err := errors.Join(
		readProc(dir+"/stat", func(b []byte) (err error) { p.CPU, started, err = parsePidStat(b); return err }),
		readProc(dir+"/statm", func(b []byte) (err error) { p.Memory, err = parseStatm(b, os.Getpagesize()); return err }),
		readProc(proc+"/stat", func(b []byte) (err error) { boot, err = parseBootTime(b); return err }))
	if err != nil {
		return p, fmt.Errorf("reading what process %d uses: %w", pid, err)
	}
	p.Started = time.Unix(0, int64(boot+started))
	return p, nil
}

// parsePidStat reads utime and stime (fields 14 and 15) and the start after boot (22) of /proc/PID/stat
// (proc_pid_stat(5)). The program's name, field 2, stands in brackets and may hold brackets and spaces itself.
func parsePidStat(b []byte) (cpu, started time.Duration, err error) {
	end := bytes.LastIndexByte(b, ')')
	if end < 0 {
		return 0, 0, errors.New("no program name in brackets")
	}
	fields := strings.Fields(string(b[end+1:])) // from field 3 on
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("%d fields after the name: want at least 20", len(fields))
	}
	var figures [3]time.Duration
	for i, field := range []int{14, 15, 22} {
		if figures[i], err = parseTicks(fields[field-3]); err != nil {
			return 0, 0, fmt.Errorf("field %d: %w", field, err)
		}
	}
	return figures[0] + figures[1], figures[2], nil
}

// parseStatm reads the resident pages, the second figure of /proc/PID/statm.
func parseStatm(b []byte, pageSize int) (int64, error) {
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0, errors.New("want at least two figures")
	}
	n, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil || n > math.MaxInt64/uint64(pageSize) {
		return 0, fmt.Errorf("%q: want a number of pages", fields[1])
	}
	return int64(n) * int64(pageSize), nil
}

// parseBootTime reads the line btime of /proc/stat, seconds since 1970.
func parseBootTime(b []byte) (time.Duration, error) {
	for line := range bytes.Lines(b) {
		fields := strings.Fields(string(line))
		if len(fields) != 2 || fields[0] != "btime" {
			continue
		}
		n, err := strconv.ParseUint(fields[1], 10, 32)
		if err != nil {
			return 0, fmt.Errorf("btime %q: want seconds", fields[1])
		}
		return time.Duration(n) * time.Second, nil
	}
	return 0, errors.New("no line 'btime'")
}
