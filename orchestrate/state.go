package orchestrate

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/banyanhq/banyan/atomicfile"
	"github.com/banyanhq/banyan/topology"
)

// Files below the state directory's run folder.
const (
	lockFile       = "lock"            // held with flock by the supervisor; its content is the supervisor's process id
	supervisorFile = "supervisor.json" // what a later run needs to clear away after this one
	desiredFile    = "desired.json"    // changes made while running, which survive a crash of the supervisor
	exeFolder      = "exe"             // the programs of the revisions that run
)

// LockedError says that another supervisor runs the same state directory.
type LockedError struct {
	Dir string
	PID int // 0 if it is not known
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("another supervisor runs the system in %s", e.Dir)
	}
	return fmt.Sprintf("another supervisor (process %d) runs the system in %s", e.PID, e.Dir)
}

// lock takes the state directory for this process. The kernel gives it back when the returned file is closed or the
// process ends, however it ends.
func lock(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, "run", lockFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the state directory: %w", err)
	}
	// A moment's patience: someone may only be looking whether a supervisor is alive.
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	for tries := 0; errors.Is(err, unix.EWOULDBLOCK) && tries < 10; tries++ {
		time.Sleep(10 * time.Millisecond)
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		defer file.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock the state directory: %w", err)
		}
		content, _ := io.ReadAll(io.LimitReader(file, 32))
		pid, _ := strconv.Atoi(strings.TrimSpace(string(content)))
		return nil, &LockedError{dir, pid}
	}
	if err := file.Truncate(0); err == nil {
		_, err = file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		if err != nil {
			_ = file.Close()
			return nil, fmt.Errorf("lock the state directory: %w", err)
		}
	}
	return file, nil
}

// Supervisor returns the process that runs the state directory, and whether there is one. The process is 0 where it is
// not known.
func Supervisor(dir string) (pid int, alive bool) {
	file, err := os.Open(filepath.Join(dir, "run", lockFile))
	if err != nil {
		return 0, false
	}
	defer file.Close()
	// Shared: two who look at the same time must not take each other for a supervisor.
	if err := unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB); err == nil {
		return 0, false
	}
	content, _ := io.ReadAll(io.LimitReader(file, 32))
	pid, _ = strconv.Atoi(strings.TrimSpace(string(content)))
	return pid, true
}

// dirHash names a state directory in markers and control groups.
func dirHash(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return hex.EncodeToString(sum[:6])
}

func newRunID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// clearLeftovers kills and removes what a run that died has left. It is called with the lock held, so no other
// supervisor of this directory is alive and every process that carries its hash is an orphan.
func clearLeftovers(dir, hash string) (killed int, crashed bool) {
	var previous watchOrder
	path := filepath.Join(dir, "run", supervisorFile)
	crashed = readJSON(path, &previous) == nil
	ctx, cancel := context.WithTimeout(context.Background(), clearanceTime)
	defer cancel()
	killed = clearAway(ctx, func(run string) bool { return strings.HasSuffix(run, ":"+hash) }, previous.Cgroups)
	_ = os.Remove(path)
	_ = os.RemoveAll(filepath.Join(dir, "run", exeFolder))
	return killed, crashed
}

const maxStateFile = 16 << 20

func readJSON(path string, into any) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return json.NewDecoder(io.LimitReader(file, maxStateFile)).Decode(into)
}

// writeJSON replaces the file as a whole: a reader, also after a crash, sees the old content or the new.
func writeJSON(path string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Replace(path, append(data, '\n'), 0o600)
}

// wanted is what of a service's desired state can be changed while it runs.
type wanted struct {
	Replicas int            `json:"replicas"`
	CPU      topology.CPU   `json:"cpu"`
	Memory   topology.Bytes `json:"memory"`
}

func wantedByFile(s *topology.Service) wanted {
	return wanted{Replicas: s.Replicas.Min, CPU: s.Limits.CPU, Memory: s.Limits.Memory}
}

// override is a change made while running, with what the topology file said at the time.
type override struct {
	File wanted `json:"file"`
	Max  int    `json:"max"`
	Now  wanted `json:"now"`
}

// desiredState keeps the overrides on disk. They outlive a crash of the supervisor, but not its orderly end, and not a
// change of the same service's replicas or limits in the topology file: the newer word wins.
type desiredState struct {
	path string

	mu        sync.Mutex
	Overrides map[string]override `json:"overrides"`
}

func openDesired(dir string) (*desiredState, error) {
	d := &desiredState{path: filepath.Join(dir, "run", desiredFile)}
	err := readJSON(d.path, d)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if d.Overrides == nil || err != nil {
		d.Overrides = make(map[string]override)
	}
	if err != nil {
		return d, fmt.Errorf("read the desired state, the topology file is used instead: %w", err)
	}
	return d, nil
}

// restore returns what is wanted of the service at the start, and whether that is an override.
func (d *desiredState) restore(name string, s *topology.Service) (wanted, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	file := wantedByFile(s)
	o, ok := d.Overrides[name]
	if !ok {
		return file, false
	}
	if o.File != file || o.Max != s.Replicas.Max || checkWanted(o.Now) != nil {
		delete(d.Overrides, name)
		return file, false
	}
	return o.Now, true
}

func (d *desiredState) record(name string, s *topology.Service, now wanted) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Overrides[name] = override{wantedByFile(s), s.Replicas.Max, now}
	if err := writeJSON(d.path, d); err != nil {
		return fmt.Errorf("record the desired state: %w", err)
	}
	return nil
}

func (d *desiredState) forget() { _ = os.Remove(d.path) }

// Bounds of what can be wanted, those of the topology file.
const (
	maxReplicas = 10000
	maxCPU      = 4096
	minMemory   = 1 << 20 // less holds no program, and would only be refused by the kernel later
)

func checkWanted(w wanted) error {
	switch {
	case w.Replicas < 0 || w.Replicas > maxReplicas:
		return fmt.Errorf("%d replicas: it must be from 0 to %d", w.Replicas, maxReplicas)
	case !(w.CPU >= 0 && w.CPU <= maxCPU):
		return fmt.Errorf("a CPU limit of %v cores: it must be from 0 (no limit) to %d", w.CPU, maxCPU)
	case w.CPU > 0 && w.CPU < 0.01:
		return fmt.Errorf("a CPU limit of %v cores: the kernel keeps none below 0.01", w.CPU)
	case w.Memory < 0 || w.Memory > 0 && w.Memory < minMemory:
		return fmt.Errorf("a memory limit of %d bytes: it must be 0 (no limit) or at least %s", w.Memory, formatBytes(minMemory))
	}
	return nil
}
