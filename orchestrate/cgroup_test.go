package orchestrate

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/banyanhq/banyan/topology"
)

// needCgroups skips the test, loudly, where control groups cannot be written.
func needCgroups(t *testing.T) {
	t.Helper()
	hash := dirHash(t.TempDir())
	root := openCgroups(hash, "x")
	defer removeCgroups(root.paths)
	if why := root.advisory(); why != "" {
		t.Skipf("NOT TESTED: limits by control groups: %s", why)
	}
}

func TestLimitsAreKeptAndChangedLive(t *testing.T) {
	needCgroups(t)
	services := one(t, "serve")
	services["orders"].Limits = topology.Limits{CPU: 0.25, Memory: 64 << 20}
	w := up(t, services)
	w.waitReady()
	s := w.status("orders")
	if s.LimitsAdvisory != "" || s.CPU != 0.25 || s.Memory != 64<<20 {
		t.Fatalf("status %+v", s)
	}
	r := s.Replicas[0]
	if got := w.get(r.Address, "/env?name=GOMAXPROCS"); got != os.Getenv("GOMAXPROCS") {
		t.Errorf("GOMAXPROCS=%q, want it left to the runtime, which follows the control group", got)
	}
	if got := w.get(r.Address, "/env?name=GOMEMLIMIT"); got != strconv.Itoa((64<<20)/10*9) {
		t.Errorf("GOMEMLIMIT=%q", got)
	}

	burn := func() (cpu time.Duration, took time.Duration, throttled uint64) {
		before, begin := w.o.Usage()[0], time.Now()
		w.get(r.Address, "/burn?cpu=300ms")
		after := w.o.Usage()[0]
		return after.CPU - before.CPU, time.Since(begin), after.ThrottledPeriods - before.ThrottledPeriods
	}
	eventually(t, "it is throttled", func() bool { // where the machine is busy it may have too little without that
		cpu, took, throttled := burn()
		share := float64(cpu) / float64(took)
		t.Logf("limit 0.25: used %.2f cores, throttled in %d periods", share, throttled)
		if share > 0.5 {
			t.Errorf("a limit of 0.25 is not kept: %.2f cores", share)
		}
		return throttled > 0
	})
	if w.o.Usage()[0].Waited == 0 {
		t.Error("its threads were held back, and have not waited")
	}

	zero, memory := topology.CPU(0), topology.Bytes(96<<20)
	if err := w.o.Scale(w.ctx, "orders", Change{CPU: &zero, Memory: &memory}); err != nil {
		t.Fatal(err)
	}
	if _, _, throttled := burn(); throttled > 0 {
		t.Errorf("throttled %d times without a limit", throttled)
	}
	if now := w.status("orders"); now.Replicas[0].PID != r.PID || now.CPU != 0 || now.Memory != 96<<20 {
		t.Errorf("after the change: %+v", now)
	}

	// Less memory than is in use: refused, and nothing changes.
	if u := w.o.Usage()[0]; u.Memory > 1<<20 && u.Source == "cgroup" {
		tiny := topology.Bytes(1 << 20)
		err := w.o.Scale(w.ctx, "orders", Change{Memory: &tiny})
		if err == nil || !strings.Contains(err.Error(), "orders-0") {
			t.Errorf("a limit below what is in use: %v", err)
		}
		if now := w.status("orders"); now.Memory != 96<<20 {
			t.Errorf("after the refusal: %+v", now)
		}
	} else {
		t.Errorf("usage %+v", u)
	}
}

func TestOutOfMemoryIsRecognised(t *testing.T) {
	needCgroups(t)
	services := one(t, "serve")
	services["orders"].Limits.Memory = 48 << 20
	w := up(t, services)
	w.waitReady()
	r := w.status("orders").Replicas[0]
	if body, err := get(r.Address, "/leak"); err == nil {
		t.Fatalf("leaked, and was answered %q", body)
	}
	eventually(t, "it is back", func() bool {
		now := w.status("orders").Replicas[0]
		return now.State == "ready" && now.PID != r.PID
	})
	now := w.status("orders").Replicas[0]
	if !now.OOMKilled || !strings.Contains(now.LastExit, "out of memory") || !strings.Contains(now.LastExit, "48MiB") {
		t.Errorf("status %+v", now)
	}
	if u := w.o.Usage()[0]; u.OOMKills == 0 {
		t.Errorf("usage %+v", u)
	}
	if !slices.ContainsFunc(w.o.Events(), func(e Event) bool { return strings.Contains(e.Why, "out of memory") }) {
		t.Errorf("events %v", w.o.Events())
	}
}

func TestAdvisoryLimits(t *testing.T) {
	services := one(t, "serve")
	services["orders"].Limits = topology.Limits{CPU: 1.5, Memory: 256 << 20}
	w := up(t, services, func(c *Config) { c.NoCgroups = true })
	w.waitReady()
	s := w.status("orders")
	if s.LimitsAdvisory == "" {
		t.Errorf("status does not say that limits are advisory: %+v", s)
	}
	r := s.Replicas[0]
	if got := w.get(r.Address, "/env?name=GOMAXPROCS"); got != "2" {
		t.Errorf("GOMAXPROCS=%q, want the limit rounded up", got)
	}
	w.get(r.Address, "/burn?cpu=100ms")
	u := w.o.Usage()[0]
	if u.Source != "proc" || u.CPU < 50*time.Millisecond || u.Memory < 1<<20 {
		t.Errorf("usage %+v", u)
	}
	if err := unix.Kill(r.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is back", func() bool { s := w.status("orders"); return s.Ready == 1 && s.Replicas[0].PID != r.PID })
	if after := w.o.Usage()[0]; after.CPU < u.CPU {
		t.Errorf("CPU time falls from %v to %v at a restart", u.CPU, after.CPU)
	}
}

func TestUsageOfCgroupSurvivesRestarts(t *testing.T) {
	needCgroups(t)
	w := up(t, one(t, "serve"))
	w.waitReady()
	r := w.status("orders").Replicas[0]
	w.get(r.Address, "/burn?cpu=100ms")
	before := w.o.Usage()[0]
	if before.Source != "cgroup" || before.CPU < 50*time.Millisecond || before.Memory < 1<<20 {
		t.Errorf("usage %+v", before)
	}
	if err := unix.Kill(r.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is back", func() bool { s := w.status("orders"); return s.Ready == 1 && s.Replicas[0].PID != r.PID })
	if after := w.o.Usage()[0]; after.CPU < before.CPU {
		t.Errorf("CPU time falls from %v to %v at a restart", before.CPU, after.CPU)
	}
}

func TestUnifiedParents(t *testing.T) {
	tests := []struct {
		own  string
		root bool
		want string
	}{
		{"/", true, "/b"},
		{"/user.slice/user-0.slice/session-1.scope", true, "/b /user.slice/user-0.slice/b /user.slice/b"},
		{"/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope", false,
			"/user.slice/user-1000.slice/user@1000.service/app.slice/b /user.slice/user-1000.slice/user@1000.service/b /user.slice/user-1000.slice/b /user.slice/b"},
		{"/", false, "/b"},
	}
	for _, tt := range tests {
		var got []string
		for _, c := range unifiedParents(tt.own, "b", tt.root) {
			got = append(got, c.Path)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("unifiedParents(%q, root %v) = %v, want %v", tt.own, tt.root, got, tt.want)
		}
	}
}

func TestOwnCgroups(t *testing.T) {
	got := ownCgroups(map[string]string{
		"a": "/sys/fs/cgroup/memory/x/banyan-1", "b": "/sys/fs/cgroup", "c": "/sys/fs/cgroup/memory", "d": "/home/banyan-1",
		"e": "/sys/fs/cgroup/../../../banyan-1",
	})
	if len(got) != 1 || got["a"] == "" {
		t.Errorf("%v are taken for ours", got)
	}
}

func TestLeftoverCgroupsAreRemoved(t *testing.T) {
	needCgroups(t)
	dir, _ := filepath.EvalSymlinks(t.TempDir())
	root := openCgroups(dirHash(dir), "x")
	if _, err := root.make("orders-0.1.1", limits{}); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "run"), 0o755); err != nil {
		t.Fatal(err)
	}
	order := watchOrder{Run: "x:" + dirHash(dir), Cgroups: root.paths}
	if err := writeJSON(filepath.Join(dir, "run", supervisorFile), order); err != nil {
		t.Fatal(err)
	}
	if _, crashed := clearLeftovers(dir, dirHash(dir)); !crashed {
		t.Error("the crash goes unnoticed")
	}
	if left := leftCgroups(dirHash(dir)); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
