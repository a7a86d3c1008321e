package orchestrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"

	"github.com/banyanhq/banyan/topology"
)

// cpuPeriod over which a CPU limit is kept, in microseconds: the kernel's and Kubernetes' default, so that a limit
// means the same here and there.
const cpuPeriod = 100_000

// minQuota is the least that the kernel accepts for one period, in microseconds.
const minQuota = 1000

// cgroupRoot makes one control group for each replica, below one parent of this state directory. The zero value of
// parent means that control groups cannot be used, for the reason given.
type cgroupRoot struct {
	mu     sync.Mutex
	config cgroups.Cgroup    // Path or Parent of the parent
	paths  map[string]string // of the parent, by controller ("" on version 2)
	reason string            // why limits are advisory, "" if they are kept
}

// openCgroups looks for a place where this process may make control groups with CPU and memory limits, by making one.
// The parent's name holds the hash of the state directory, so that a later run on it finds what is left of this one,
// and the run: the watchdog of a run that died kills all that is in that run's groups, perhaps while the next run is
// starting already.
func openCgroups(hash, run string) *cgroupRoot {
	root := &cgroupRoot{}
	if _, err := os.Stat("/sys/fs/cgroup"); err != nil {
		root.reason = "control groups are not mounted at /sys/fs/cgroup"
		return root
	}
	var firstErr error
	for _, config := range cgroupParents(cgroupPrefix(hash) + run) {
		root.config = config
		paths, err := root.probe()
		if err == nil {
			root.paths = paths
			return root
		}
		firstErr = cmp.Or(firstErr, err)
	}
	root.reason = fmt.Sprintf("control groups cannot be used: %v", firstErr)
	return root
}

func cgroupPrefix(hash string) string { return "banyan-" + hash + "-" }

// abandoned returns the parents that earlier runs on the same state directory have left beside this run's: numbered,
// since several may belong to one controller.
func (r *cgroupRoot) abandoned(hash string) map[string]string {
	found := make(map[string]string)
	for _, own := range r.paths {
		entries, err := os.ReadDir(filepath.Dir(own))
		if err != nil {
			continue
		}
		for _, e := range entries {
			if path := filepath.Join(filepath.Dir(own), e.Name()); strings.HasPrefix(e.Name(), cgroupPrefix(hash)) && path != own {
				found[strconv.Itoa(len(found))] = path
			}
		}
	}
	return found
}

// cgroupParents lists where the parent may go, best first.
//
// Version 1: below our own group, so that limits on the supervisor bound its replicas as well. Version 2 forbids
// processes beside children with limits, so our own group, which holds us, cannot be the parent: the root for who may
// write there, else the nearest ancestor that was delegated to the user.
func cgroupParents(name string) []cgroups.Cgroup {
	if !cgroups.IsCgroup2UnifiedMode() {
		return []cgroups.Cgroup{{Parent: name}}
	}
	own := "/"
	if groups, err := cgroups.ParseCgroupFile("/proc/self/cgroup"); err == nil {
		own = groups[""]
	}
	return unifiedParents(own, name, os.Geteuid() == 0)
}

func unifiedParents(own, name string, root bool) []cgroups.Cgroup {
	var parents []cgroups.Cgroup
	if root {
		parents = append(parents, cgroups.Cgroup{Path: "/" + name})
	}
	for dir := filepath.Dir(filepath.Clean("/" + own)); dir != "/"; dir = filepath.Dir(dir) {
		parents = append(parents, cgroups.Cgroup{Path: filepath.Join(dir, name)})
	}
	if len(parents) == 0 {
		parents = append(parents, cgroups.Cgroup{Path: "/" + name})
	}
	return parents
}

// probe makes a group with limits, and returns the parent's paths.
func (r *cgroupRoot) probe() (map[string]string, error) {
	g, err := r.make("probe", limits{cpu: 1, memory: 64 << 20})
	if err != nil {
		return nil, err
	}
	parents := make(map[string]string)
	for controller, path := range g.manager.GetPaths() {
		parents[controller] = filepath.Dir(path)
	}
	// On version 1 a controller that is not mounted is left out silently.
	if _, unified := parents[""]; !unified || !cgroups.IsCgroup2UnifiedMode() {
		for _, controller := range []string{"cpu", "memory"} {
			if parents[controller] == "" {
				err = fmt.Errorf("the %s controller is not mounted", controller)
			}
		}
	}
	if derr := g.destroy(); err == nil {
		err = derr
	}
	if err != nil {
		removeCgroups(parents)
	}
	return parents, err
}

// advisory returns why limits are not kept, "" if they are.
func (r *cgroupRoot) advisory() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reason
}

// giveUp stops the use of control groups, for a reason that showed only later.
func (r *cgroupRoot) giveUp(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reason == "" {
		r.reason = fmt.Sprintf("control groups cannot be used: %v", err)
	}
}

// limits of one replica; 0 means none.
type limits struct {
	cpu    topology.CPU
	memory topology.Bytes
}

func (l limits) resources(paths map[string]string) *cgroups.Resources {
	r := &cgroups.Resources{
		SkipDevices:             true,
		CpuPeriod:               cpuPeriod,
		CpuQuota:                -1,
		Memory:                  -1,
		MemoryCheckBeforeUpdate: true, // lower than what is in use would kill the replica: refuse instead
	}
	if l.cpu > 0 {
		r.CpuQuota = max(int64(math.Round(float64(l.cpu)*cpuPeriod)), minQuota)
	}
	if l.memory > 0 {
		r.Memory = int64(l.memory)
		// No swap on top of it, where the kernel can say so.
		if memory, v1 := paths["memory"]; !v1 || exists(filepath.Join(memory, "memory.memsw.limit_in_bytes")) {
			r.MemorySwap = int64(l.memory)
		}
	}
	return r
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// cgroup is the control group of one running process and of all that it forks.
type cgroup struct {
	mu      sync.Mutex // the manager's Set is not meant to run twice at once
	manager cgroups.Manager
	paths   map[string]string
	gauges  *gauges // once they were asked for
	gone    bool
}

var errCgroupGone = errors.New("the control group was removed")

// make creates the group and sets its limits; no process is in it yet.
func (r *cgroupRoot) make(name string, l limits) (*cgroup, error) {
	config := r.config
	if config.Path != "" {
		config.Path = filepath.Join(config.Path, name)
	} else {
		config.Name = name
	}
	config.Resources = l.resources(nil)
	m, err := manager.New(&config)
	if err != nil {
		return nil, err
	}
	if !cgroups.IsCgroup2UnifiedMode() {
		// Only what we use: each further hierarchy costs a directory and a move.
		paths := make(map[string]string)
		for controller, path := range m.GetPaths() {
			switch controller {
			case "cpu", "cpuacct", "memory", "":
				paths[controller] = path
			}
		}
		if m, err = manager.NewWithPaths(&config, paths); err != nil {
			return nil, err
		}
	}
	g := &cgroup{manager: m, paths: maps.Clone(m.GetPaths())}
	if err := m.Apply(-1); err != nil {
		_ = g.destroy()
		return nil, err
	}
	if err := g.set(l); err != nil {
		_ = g.destroy()
		return nil, err
	}
	return g, nil
}

// add moves the process into the group.
func (g *cgroup) add(pid int) error { return g.manager.Apply(pid) }

// set changes the limits at once.
func (g *cgroup) set(l limits) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return errCgroupGone
	}
	return g.manager.Set(l.resources(g.paths))
}

// usage reads what the group has used.
func (g *cgroup) usage() (consumption, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.open(); err != nil {
		return consumption{}, err
	}
	return g.gauges.read()
}

// cpuTime is the CPU time of usage alone.
func (g *cgroup) cpuTime() (time.Duration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.open(); err != nil {
		return 0, err
	}
	return g.gauges.cpuTime()
}

// open opens the gauges of a group that is there, where they are not open. g.mu is held.
func (g *cgroup) open() (err error) {
	switch {
	case g.gone:
		return errCgroupGone
	case g.gauges == nil:
		g.gauges, err = openGauges(g.paths)
	}
	return err
}

// pids returns the processes in the group.
func (g *cgroup) pids() []int {
	for _, path := range g.paths {
		if pids, err := cgroups.GetAllPids(path); err == nil {
			return pids
		}
	}
	return nil
}

// kill kills every process in the group, also those that are being forked.
func (g *cgroup) kill(ctx context.Context) {
	if unified, ok := g.paths[""]; ok {
		_ = os.WriteFile(filepath.Join(unified, "cgroup.kill"), []byte("1"), 0)
	}
	killAll(ctx, func() []int {
		var alive []int
		for _, pid := range g.pids() {
			if !zombie(pid) {
				alive = append(alive, pid)
			}
		}
		return alive
	})
}

// destroy removes the group; all its processes must be dead.
func (g *cgroup) destroy() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gone = true
	var err error
	if g.gauges != nil {
		err = g.gauges.close()
		g.gauges = nil
	}
	return errors.Join(err, g.manager.Destroy())
}

// ownCgroups returns those of the paths that can be this package's, whatever a damaged state file says: everything in
// them is killed.
func ownCgroups(paths map[string]string) map[string]string {
	own := make(map[string]string)
	for controller, path := range paths {
		if strings.HasPrefix(filepath.Base(path), "banyan-") && strings.HasPrefix(filepath.Clean(path), "/sys/fs/cgroup/") {
			own[controller] = path
		}
	}
	return own
}

// removeCgroups removes the groups at the paths with all groups below them. One that still holds a process which
// cannot be killed stays; the next run tries again.
func removeCgroups(paths map[string]string) {
	for _, path := range ownCgroups(paths) {
		_ = cgroups.RemovePath(path)
	}
}
