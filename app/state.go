package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/banyanhq/banyan/atomicfile"
	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/plan"
)

// StateDir is the folder beside the topology file that holds all that a run writes.
const StateDir = ".banyan"

// runsDir holds the records of load tests, in the state directory.
const runsDir = "runs"

// keepRuns is how many records are kept.
const keepRuns = 50

// Run is the record of one load test: what the client saw, and what was observed of the system meanwhile.
type Run struct {
	Name        string            `json:"name"`
	Result      *load.Result      `json:"result"`
	Measurement *plan.Measurement `json:"measurement"`
}

// SaveRun writes a record and removes the oldest beyond what is kept. It returns the record's file.
func SaveRun(stateDir string, run *Run) (string, error) {
	dir := filepath.Join(stateDir, runsDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("saving the run: %w", err)
	}
	data, err := json.Marshal(run)
	if err != nil {
		return "", fmt.Errorf("saving the run: %w", err)
	}
	path := filepath.Join(dir, run.Name+".json")
	if err := atomicfile.Replace(path, data, 0o644); err != nil {
		return "", fmt.Errorf("saving the run: %w", err)
	}
	names, err := runNames(stateDir)
	if err != nil {
		return "", err
	}
	for _, name := range names[:max(0, len(names)-keepRuns)] {
		if err := os.Remove(filepath.Join(dir, name+".json")); err != nil {
			return "", fmt.Errorf("removing an old run: %w", err)
		}
	}
	return path, nil
}

// OpenRun reads the record of a name, of a file, or, with an empty name, the newest.
func OpenRun(stateDir, name string) (*Run, error) {
	path := name
	if name == "" {
		names, err := runNames(stateDir)
		if err != nil {
			return nil, err
		}
		if len(names) == 0 {
			return nil, errors.New("there is no load test to look at: run 'banyan load' while the system is up")
		}
		name = names[len(names)-1]
	}
	if !strings.ContainsRune(name, '/') && !strings.HasSuffix(name, ".json") {
		path = filepath.Join(stateDir, runsDir, name+".json")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the run: %w", err)
	}
	run := new(Run)
	if err := json.Unmarshal(data, run); err != nil {
		return nil, fmt.Errorf("reading the run %s: %w", path, err)
	}
	return run, nil
}

// runNames lists the records, oldest first: their names are times.
func runNames(stateDir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(stateDir, runsDir, "*.json"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".json"))
	}
	slices.Sort(names)
	return names, nil
}

// WaitGone waits until a process has ended.
func WaitGone(ctx context.Context, pid int) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) || ended(pid) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// ended reports whether a process is over but for its parent's asking how it went. Where nobody ever asks, as in a
// container whose first process is no init, it stays in the table of processes.
func ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	// The state follows the name, which stands in parentheses and may have any in it (proc_pid_stat(5)).
	_, state, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	return len(state) > 0 && (state[0] == 'Z' || state[0] == 'X')
}
