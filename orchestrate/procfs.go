package orchestrate

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Variables that mark what the supervisor started.
const (
	envRun      = "BANYAN_RUN"      // RUN:HASH, the run's random id and the hash of its state directory
	envInstance = "BANYAN_INSTANCE" // the replica's name and which start of it this is, and the run: orders-0.3@RUN:HASH
)

// processes returns the ids of all processes that this user can see.
func processes() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// environ returns the value of a variable in a process's environment as it was when its program began.
func environ(pid int, name string) (string, bool) {
	// A process may have an environment of up to 6 MiB; nobody but it can make us read it more than once a scan.
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return "", false
	}
	prefix := []byte(name + "=")
	for len(data) > 0 {
		var entry []byte
		entry, data, _ = bytes.Cut(data, []byte{0})
		if value, ok := bytes.CutPrefix(entry, prefix); ok {
			return string(value), true
		}
	}
	return "", false
}

// marked returns the processes whose variable has a value that match accepts, this process aside.
func marked(name string, match func(value string) bool) []int {
	var pids []int
	self := os.Getpid()
	for _, pid := range processes() {
		if pid == self {
			continue
		}
		if value, ok := environ(pid, name); ok && match(value) && !zombie(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// killAll kills what find returns until it returns nothing, because a process can fork while it is being killed. It
// returns how many different processes it killed.
func killAll(ctx context.Context, find func() []int) int {
	killed := make(map[int]bool)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return len(killed)
		case <-pause.C:
		}
		pids := find()
		if len(pids) == 0 {
			return len(killed)
		}
		forbidden := 0
		for _, pid := range pids {
			switch unix.Kill(pid, unix.SIGKILL) {
			case nil:
				killed[pid] = true
			case unix.EPERM:
				forbidden++
			}
		}
		if forbidden == len(pids) {
			return len(killed) // another user's: trying again would not help
		}
		pause.Reset(2 * time.Millisecond)
	}
}

// procStat is what /proc/PID/stat and statm tell.
type procStat struct {
	parent int
	state  byte
	cpu    time.Duration // user and system time, and that of children it has waited for
	rss    int64         // bytes
}

const clockTick = time.Second / 100 // USER_HZ, the same on every Linux that Go runs on

func readProcStat(pid int) (procStat, bool) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return procStat{}, false
	}
	// The command's name stands in parentheses and may itself contain any of them: go from the last one.
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return procStat{}, false
	}
	f := strings.Fields(string(data[end+1:]))
	if len(f) < 22 {
		return procStat{}, false
	}
	number := func(i int) int64 { n, _ := strconv.ParseInt(f[i], 10, 64); return n }
	return procStat{
		state:  f[0][0],
		parent: int(number(1)),
		cpu:    time.Duration(number(11)+number(12)+number(13)+number(14)) * clockTick,
		rss:    number(21) * int64(os.Getpagesize()),
	}, true
}

// maxThreads of a process whose waiting is read; that of more would cost more to read than it tells.
const maxThreads = 256

// Waited is for how long the threads of processes were ready to run and did not run: the second number of schedstat
// (Documentation/scheduler/sched-stats.rst), 0 where the kernel does not count it.
func Waited(pids ...int) (sum time.Duration) {
	for _, pid := range pids {
		dir := filepath.Join("/proc", strconv.Itoa(pid), "task")
		f, err := os.Open(dir)
		if err != nil {
			continue
		}
		threads, _ := f.Readdirnames(maxThreads)
		f.Close()
		for _, thread := range threads {
			data, err := os.ReadFile(filepath.Join(dir, thread, "schedstat"))
			if err != nil {
				continue
			}
			if fields := bytes.Fields(data); len(fields) >= 2 {
				n, _ := strconv.ParseInt(string(fields[1]), 10, 64)
				sum += time.Duration(n)
			}
		}
	}
	return sum
}

func zombie(pid int) bool {
	s, ok := readProcStat(pid)
	return !ok || s.state == 'Z' || s.state == 'X'
}

// processTable is one reading of all processes, shared by all who ask at the same time.
type processTable struct {
	stats    map[int]procStat
	children map[int][]int
}

func readProcessTable() processTable {
	t := processTable{make(map[int]procStat), make(map[int][]int)}
	for _, pid := range processes() {
		if s, ok := readProcStat(pid); ok {
			t.stats[pid] = s
			t.children[s.parent] = append(t.children[s.parent], pid)
		}
	}
	return t
}

// tree returns the process and its descendants.
func (t processTable) tree(root int) []int {
	if _, ok := t.stats[root]; !ok {
		return nil
	}
	tree := []int{root}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, t.children[tree[i]]...)
	}
	return tree
}

// cpu is the CPU time of some processes.
func (t processTable) cpu(pids []int) (sum time.Duration) {
	for _, pid := range pids {
		sum += t.stats[pid].cpu
	}
	return sum
}
