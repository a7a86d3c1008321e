package observe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// userTick is the unit of CPU time in /proc: 1/USER_HZ, which is 100 on every architecture that Go supports.
const userTick = 10 * time.Millisecond

// maxProcFile bounds what is read of a file of /proc. /proc/stat of a machine with 4096 cores has about 1 MiB.
const maxProcFile = 8 << 20

// ReadMachine reads the counters of the host from /proc/stat, /proc/meminfo and /proc/loadavg. What cannot be read
// stays zero and is named in the error; the rest is valid.
func ReadMachine() (MachineCounters, error) { return readMachine("/proc") }

func readMachine(proc string) (MachineCounters, error) {
	var m MachineCounters
	err := errors.Join(
		readProc(proc+"/stat", func(b []byte) error { return parseStat(b, &m) }),
		readProc(proc+"/meminfo", func(b []byte) error { return parseMeminfo(b, &m) }),
		readProc(proc+"/loadavg", func(b []byte) error { return parseLoadavg(b, &m) }))
	if err != nil {
		return m, fmt.Errorf("reading the machine's counters: %w", err)
	}
	return m, nil
}

func readProc(path string, parse func([]byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxProcFile))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := parse(b); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// parseStat reads the cpu lines of /proc/stat (proc_stat(5)): user nice system idle iowait irq softirq steal guest
// guest_nice, in ticks. Guest time is part of user already. Old kernels have fewer columns.
func parseStat(b []byte, m *MachineCounters) error {
	cores, found := 0, false
	for line := range bytes.Lines(b) {
		fields := strings.Fields(string(line))
		if len(fields) == 0 || !strings.HasPrefix(fields[0], "cpu") {
			continue
		}
		if fields[0] != "cpu" {
			if _, err := strconv.ParseUint(fields[0][3:], 10, 31); err == nil {
				cores++
			}
			continue
		}
		if len(fields) < 5 {
			return fmt.Errorf("line %q: want at least 4 figures", strings.TrimSpace(string(line)))
		}
		var ticks [8]time.Duration
		for i := range min(len(ticks), len(fields)-1) {
			t, err := parseTicks(fields[i+1])
			if err != nil {
				return err
			}
			ticks[i] = t
		}
		m.Busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]
		m.Stolen = ticks[7]
		found = true
	}
	if !found {
		return errors.New("no line 'cpu'")
	}
	if cores == 0 {
		cores = runtime.NumCPU()
	}
	m.Cores = cores
	return nil
}

// parseTicks reads a number of ticks. The bound leaves room to add eight of them up.
func parseTicks(s string) (time.Duration, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q: want a number of ticks", s)
	}
	if n > math.MaxInt64/8/uint64(userTick) {
		return 0, fmt.Errorf("%q: too many ticks", s)
	}
	return time.Duration(n) * userTick, nil
}

// parseMeminfo reads MemTotal and MemAvailable of /proc/meminfo. Kernels before 3.14 have no MemAvailable: free memory,
// buffers and caches stand in for it.
func parseMeminfo(b []byte, m *MachineCounters) error {
	values := map[string]int64{}
	for line := range bytes.Lines(b) {
		name, rest, ok := strings.Cut(string(line), ":")
		if !ok {
			continue
		}
		switch name {
		case "MemTotal", "MemAvailable", "MemFree", "Buffers", "Cached":
			v, err := parseKB(rest)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			values[name] = v
		}
	}
	total, ok := values["MemTotal"]
	if !ok {
		return errors.New("no line 'MemTotal'")
	}
	available, ok := values["MemAvailable"]
	if !ok {
		available = values["MemFree"] + values["Buffers"] + values["Cached"]
	}
	m.MemoryTotal, m.MemoryUsed = total, max(total-available, 0)
	return nil
}

func parseKB(s string) (int64, error) {
	fields := strings.Fields(s)
	if len(fields) == 0 {
		return 0, errors.New("no figure")
	}
	n, err := strconv.ParseUint(fields[0], 10, 64)
	if err != nil || n > math.MaxInt64/1024/4 {
		return 0, fmt.Errorf("%q: want a number of kB", fields[0])
	}
	return int64(n) * 1024, nil
}

// parseLoadavg reads the first three figures of /proc/loadavg.
func parseLoadavg(b []byte, m *MachineCounters) error {
	fields := strings.Fields(string(b))
	if len(fields) < 3 {
		return errors.New("want three load averages")
	}
	var load [3]float64
	for i := range load {
		v, err := strconv.ParseFloat(fields[i], 64)
		if err != nil || !(v >= 0) || math.IsInf(v, 0) {
			return fmt.Errorf("%q: want a load average", fields[i])
		}
		load[i] = v
	}
	m.Load1, m.Load5, m.Load15 = load[0], load[1], load[2]
	return nil
}
