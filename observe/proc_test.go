//go:build unix

package observe

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want MachineCounters
		ok   bool
	}{
		"today": {"cpu  100 20 30 5000 70 8 9 11 50 2\ncpu0 50 10 15 2500 35 4 5 6 0 0\ncpu1 50 10 15 2500 35 4 4 5 0 0\nintr 5 1\nctxt 1\nbtime 1\n",
			MachineCounters{Cores: 2, Busy: 1670 * time.Millisecond, Stolen: 110 * time.Millisecond}, true},
		"old kernel": {"cpu 1 2 3 4\ncpu0 1 2 3 4\n", MachineCounters{Cores: 1, Busy: 60 * time.Millisecond}, true},
		"no cores":   {"cpu 1 2 3 4\n", MachineCounters{Cores: runtime.NumCPU(), Busy: 60 * time.Millisecond}, true},
		"empty":      {"", MachineCounters{}, false},
		"short":      {"cpu 1 2\n", MachineCounters{}, false},
		"negative":   {"cpu 1 -2 3 4\n", MachineCounters{}, false},
		"huge":       {"cpu 18446744073709551615 0 0 0\n", MachineCounters{}, false},
		"words":      {"cpu a b c d\n", MachineCounters{}, false},
	} {
		var m MachineCounters
		if err := parseStat([]byte(c.text), &m); (err == nil) != c.ok || m != c.want {
			t.Errorf("%s: %+v, %v; want %+v", name, m, err, c.want)
		}
	}
}

func TestParseMeminfo(t *testing.T) {
	for name, c := range map[string]struct {
		text        string
		total, used int64
		ok          bool
	}{
		"today":      {"MemTotal:  1000 kB\nMemFree: 100 kB\nMemAvailable: 400 kB\n", 1000 << 10, 600 << 10, true},
		"old kernel": {"MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 50 kB\nCached: 150 kB\n", 1000 << 10, 700 << 10, true},
		"no total":   {"MemFree: 1 kB\n", 0, 0, false},
		"no figure":  {"MemTotal:\n", 0, 0, false},
		"huge":       {"MemTotal: 99999999999999999 kB\n", 0, 0, false},
		"odd":        {"MemTotal: 10 kB\nMemAvailable: 20 kB\n", 10 << 10, 0, true},
	} {
		var m MachineCounters
		if err := parseMeminfo([]byte(c.text), &m); (err == nil) != c.ok || m.MemoryTotal != c.total || m.MemoryUsed != c.used {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

func TestParseLoadavg(t *testing.T) {
	for text, ok := range map[string]bool{"0.16 0.17 0.12 1/92 11586\n": true, "1 2": false, "a b c": false, "NaN 1 1": false, "-1 0 0": false, "1e999 0 0": false} {
		var m MachineCounters
		if err := parseLoadavg([]byte(text), &m); (err == nil) != ok {
			t.Errorf("%q: %+v, %v", text, m, err)
		}
	}
}

func TestParsePidStat(t *testing.T) {
	const tail = " S 1 2 3 0 -1 4194304 103 0 0 0 150 50 0 0 20 0 1 0 128041 3133440 396 0\n"
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"plain":         {"17 (cat)" + tail, true},
		"odd name":      {"17 (a) R (b c))" + tail, true},
		"no name":       {"17 cat" + tail, false},
		"short":         {"17 (cat) S 1 2", false},
		"not a number":  {"17 (cat) S 1 2 3 0 -1 4194304 103 0 0 0 x 50 0 0 20 0 1 0 128041 3133440 396", false},
		"nothing after": {"17 (cat)", false},
	} {
		cpu, started, err := parsePidStat([]byte(c.text))
		if (err == nil) != c.ok || c.ok && (cpu != 2*time.Second || started != 1280410*time.Millisecond) {
			t.Errorf("%s: %v, %v, %v", name, cpu, started, err)
		}
	}
}

func TestParseStatm(t *testing.T) {
	if n, err := parseStatm([]byte("765 424 396 5 0 123 0\n"), 4096); n != 424*4096 || err != nil {
		t.Error(n, err)
	}
	for _, text := range []string{"", "1", "1 -2", "1 9999999999999999999"} {
		if _, err := parseStatm([]byte(text), 4096); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestThisMachineAndProcess(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("no /proc")
	}
	m, err := ReadMachine()
	if err != nil || m.Cores < 1 || m.Busy <= 0 || m.MemoryTotal <= 0 || m.MemoryUsed <= 0 || m.MemoryUsed > m.MemoryTotal {
		t.Errorf("machine: %+v, %v", m, err)
	}
	p, err := ProcSelf()
	if err != nil || p.CPU <= 0 || p.Memory < 1<<20 || p.Service != Gateway {
		t.Errorf("this process: %+v, %v", p, err)
	}
	q, err := ReadProcess(os.Getpid())
	if err != nil || q.Started.IsZero() || q.Started.After(time.Now().Add(time.Minute)) {
		t.Errorf("this process by its id: %+v, %v", q, err)
	}
	if _, err := ReadProcess(1 << 30); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such process: %v", err)
	}
	if m, err := readMachine(t.TempDir()); err == nil || m != (MachineCounters{}) {
		t.Errorf("no /proc: %+v, %v", m, err)
	}
}

func FuzzProcParsers(f *testing.F) {
	f.Add([]byte("cpu  100 20 30 5000 70 8 9 11 50 2\ncpu0 1 2 3 4\nbtime 17\n"))
	f.Add([]byte("MemTotal: 1000 kB\nMemAvailable: 400 kB\n"))
	f.Add([]byte("0.16 0.17 0.12 1/92 11586\n"))
	f.Add([]byte("17 (a) R (b c)) S 1 2 3 0 -1 4194304 103 0 0 0 150 50 0 0 20 0 1 0 128041 3133440 396 0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m MachineCounters
		_ = parseStat(b, &m)
		_ = parseMeminfo(b, &m)
		_ = parseLoadavg(b, &m)
		cpu, started, _ := parsePidStat(b)
		rss, _ := parseStatm(b, 4096)
		boot, _ := parseBootTime(b)
		if m.Busy < 0 || m.Stolen < 0 || m.MemoryUsed < 0 || m.MemoryTotal < 0 || !(m.Load1 >= 0) || cpu < 0 || started < 0 || rss < 0 || boot < 0 {
			t.Errorf("negative: %+v %v %v %v %v", m, cpu, started, rss, boot)
		}
	})
}
