package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/observe"
)

// sample is one run of wrk.
type sample struct {
	rate     float64 // requests per second
	perCPU   float64 // requests per second of the proxy's processor time
	p50, p99 time.Duration
	failed   int
}

var (
	wrkRequests = regexp.MustCompile(`(\d+) requests in ([\d.]+)(us|ms|s|m)`)
	wrkFailed   = regexp.MustCompile(`(?:Non-2xx or 3xx responses: (\d+))|(?:Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+))`)
	wrkQuantile = regexp.MustCompile(`(?m)^\s+(50|99)%\s+([\d.]+)(us|ms|s|m)`)
)

func wrkTime(number, unit string) time.Duration {
	d, err := time.ParseDuration(number + strings.Replace(unit, "us", "µs", 1))
	if err != nil {
		return 0
	}
	return d
}

// drive runs wrk against an address for some seconds. pid 0: there is no proxy.
func (l *lab) drive(ctx context.Context, address string, pid, kb, conns int, script string) (s sample, err error) {
	args := []string{"-t", "2", "-c", strconv.Itoa(conns), "-d", strconv.Itoa(l.seconds) + "s", "--latency"}
	if script != "" {
		args = append(args, "-s", script)
	}
	args = append(args, "http://"+address+l.path(kb))
	before, err := cpuTime(pid)
	if err != nil {
		return s, err
	}
	out, err := exec.CommandContext(ctx, "wrk", args...).CombinedOutput()
	if err != nil {
		return s, fmt.Errorf("wrk: %w: %s", err, out)
	}
	after, err := cpuTime(pid)
	if err != nil {
		return s, err
	}
	m := wrkRequests.FindStringSubmatch(string(out))
	if m == nil {
		return s, fmt.Errorf("wrk said: %s", out)
	}
	n, _ := strconv.ParseFloat(m[1], 64)
	if d := wrkTime(m[2], m[3]); d > 0 {
		s.rate = n / d.Seconds()
	}
	if used := after - before; used > 0 {
		s.perCPU = n / used.Seconds()
	}
	for _, m := range wrkFailed.FindAllStringSubmatch(string(out), -1) {
		for _, v := range m[1:] {
			k, _ := strconv.Atoi(v)
			s.failed += k
		}
	}
	for _, q := range wrkQuantile.FindAllStringSubmatch(string(out), -1) {
		if q[1] == "50" {
			s.p50 = wrkTime(q[2], q[3])
		} else {
			s.p99 = wrkTime(q[2], q[3])
		}
	}
	return s, nil
}

// family returns a process and its children, whose children are not looked for.
func family(pid int) ([]int, error) {
	pids := []int{pid}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	for _, file := range tasks {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, s := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(s); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids, nil
}

// cpuTime is the user and system time of a process and its children so far.
func cpuTime(pid int) (time.Duration, error) {
	if pid == 0 {
		return 0, nil
	}
	pids, err := family(pid)
	if err != nil {
		return 0, err
	}
	var total time.Duration
	for _, p := range pids {
		c, err := observe.ReadProcess(p)
		if err != nil {
			return 0, err
		}
		total += c.CPU
	}
	return total, nil
}

// memory is the resident memory of a process and its children in bytes, what they share counted once.
func memory(pid int) (int64, error) {
	pids, err := family(pid)
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, p := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p))
		if err != nil {
			return 0, err
		}
		n, err := kilobytes(string(text), "Pss:")
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// kernelMemory is what the kernel has in slabs, sockets and their pages.
func kernelMemory() (int64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	slab, err := kilobytes(string(text), "Slab:")
	if err != nil {
		return 0, err
	}
	text, err = os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	for i := range fields {
		if fields[i] == "TCP:" {
			for ; i+1 < len(fields); i++ {
				if fields[i] == "mem" {
					pages, err := strconv.ParseInt(fields[i+1], 10, 64)
					return slab + pages*int64(os.Getpagesize()), err
				}
			}
		}
	}
	return slab, nil
}

func kilobytes(text, key string) (int64, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return n << 10, err
		}
	}
	return 0, errors.New("no " + key)
}

func median[T int64 | float64 | time.Duration](values []T) T {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}

func of[T any](samples []sample, f func(sample) T) (values []T) {
	for _, s := range samples {
		values = append(values, f(s))
	}
	return values
}

// ask sends one request and reads the whole answer.
func ask(c net.Conn, path string, size int) error {
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", path); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	for got := 0; got < size; {
		n, err := c.Read(buf)
		if err != nil {
			return err
		}
		got += n
	}
	return nil
}
