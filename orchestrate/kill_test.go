package orchestrate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/banyanhq/banyan/topology"
)

// The supervisor that these tests kill is this test binary, told by the environment what to run.
const (
	envSupervised = "ORCHESTRATE_TEST_SERVICE" // the service as JSON
	envStateDir   = "ORCHESTRATE_TEST_DIR"
	envNoCgroups  = "ORCHESTRATE_TEST_NO_CGROUPS" // if set, limits are advisory
)

// supervise runs one service until it is killed. It prints "ready" when the service is, then takes commands, each a
// number of replicas to scale to.
func supervise() int {
	_ = os.Unsetenv(envMode)
	svc := &topology.Service{}
	if err := json.Unmarshal([]byte(os.Getenv(envSupervised)), svc); err != nil {
		fmt.Println("service:", err)
		return 1
	}
	o, err := New(Config{
		System: &topology.System{Name: "test", Services: map[string]*topology.Service{"orders": svc}},
		Dir:    os.Getenv(envStateDir), Balancer: newFakeBalancer(), NoCgroups: os.Getenv(envNoCgroups) != "",
	})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	if err := o.WaitReady(ctx); err != nil {
		cancel()
		fmt.Println(errors.Join(err, <-done))
		return 1
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var n int
		_, _ = fmt.Sscan(in.Text(), &n)
		cpu := topology.CPU(0.75)
		if err := errors.Join(o.Scale(ctx, "orders", Change{Replicas: &n, CPU: &cpu}), o.WaitSettled(ctx, "orders")); err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println("scaled")
	}
	cancel()
	if err := <-done; err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// supervisor is one that can be killed.
type supervisor struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    interface{ Close() error }
	out   *bufio.Scanner
	tell  func(string)
	errs  bytes.Buffer
	hash  string
	dir   string
	alive bool
}

func startSupervisor(t *testing.T, dir string, svc *topology.Service, env ...string) *supervisor {
	t.Helper()
	data, err := json.Marshal(svc)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &supervisor{t: t, dir: dir, hash: dirHash(real), alive: true}
	s.cmd = exec.Command(os.Args[0])
	s.cmd.Env = append(os.Environ(), envMode+"=supervisor", envSupervised+"="+string(data), envStateDir+"="+dir)
	s.cmd.Env = append(s.cmd.Env, env...)
	s.cmd.Stderr = &s.errs
	in, err := s.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.in = in
	s.tell = func(line string) { fmt.Fprintln(in, line) }
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.out = bufio.NewScanner(out)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.kill()
		_ = s.in.Close()
		killAll(context.Background(), func() []int { return orphans(s.hash) })
		for _, path := range leftCgroups(s.hash) {
			removeCgroups(map[string]string{"": path})
		}
	})
	s.expect("ready")
	return s
}

func (s *supervisor) expect(line string) {
	s.t.Helper()
	if !s.out.Scan() || s.out.Text() != line {
		s.t.Fatalf("the supervisor says %q, want %q; errors: %s", s.out.Text(), line, s.errs.String())
	}
}

// kill is kill -9.
func (s *supervisor) kill() {
	if s.alive {
		s.alive = false
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
}

// watchdogs returns the watchdog processes of the state directory.
func watchdogs(hash string) (pids []int) {
	for _, pid := range processes() {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if bytes.Contains(line, []byte(shimWatch)) && bytes.Contains(line, []byte(hash)) && !zombie(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestKilledSupervisorLeavesNoOrphans(t *testing.T) {
	for _, env := range []string{"", envNoCgroups + "=1"} {
		t.Run("cgroups"+env, func(t *testing.T) {
			svc := testService(t, "fork")
			svc.Replicas.Min = 2
			s := startSupervisor(t, filepath.Join(t.TempDir(), "state"), svc, env)
			if n := len(orphans(s.hash)); n != 4 {
				t.Fatalf("%d processes before the kill, want 2 replicas with a child each", n)
			}
			s.kill()
			eventually(t, "all processes are gone", func() bool { return len(orphans(s.hash)) == 0 })
			eventually(t, "the watchdog is gone", func() bool { return len(watchdogs(s.hash)) == 0 })
			if groups := leftCgroups(s.hash); len(groups) > 0 {
				t.Errorf("control groups are left: %v", groups)
			}
		})
	}
}

func TestWatchdogKilledToo(t *testing.T) {
	for _, env := range []string{"", envNoCgroups + "=1"} {
		t.Run("cgroups"+env, func(t *testing.T) { killWatchdogToo(t, env) })
	}
}

func killWatchdogToo(t *testing.T, env string) {
	dir := filepath.Join(t.TempDir(), "state")
	s := startSupervisor(t, dir, testService(t, "fork"), env)
	dogs := watchdogs(s.hash)
	if len(dogs) != 1 {
		t.Fatalf("watchdogs %v", dogs)
	}
	// Stopped first, so that the supervisor does not start another before it is killed as well.
	_ = s.cmd.Process.Signal(unix.SIGSTOP)
	_ = unix.Kill(dogs[0], unix.SIGKILL)
	s.kill()
	child := grandchild(t, dir, "orders-0")
	eventually(t, "the replica died with its supervisor", func() bool {
		left := orphans(s.hash)
		return len(left) == 1 && left[0] == child
	})
	// What the replica had forked nobody could kill; the next run does.
	next := startSupervisor(t, dir, testService(t, "serve"), env)
	// One that is killed has no environment any more, by which it is found, a moment before it is dead.
	eventually(t, "the next run leaves no orphan of the last one", func() bool { return zombie(child) })
	if n := len(orphans(next.hash)); n != 1 {
		t.Errorf("%d processes, want 1", n)
	}
	_ = next.in.Close()
	eventually(t, "an orderly end", func() bool { return len(orphans(next.hash)) == 0 && len(leftCgroups(next.hash)) == 0 })
}

func TestKilledWatchdogIsReplaced(t *testing.T) {
	s := startSupervisor(t, filepath.Join(t.TempDir(), "state"), testService(t, "fork"))
	first := watchdogs(s.hash)[0]
	_ = unix.Kill(first, unix.SIGKILL)
	eventually(t, "another watchdog", func() bool { d := watchdogs(s.hash); return len(d) == 1 && d[0] != first })
	s.kill()
	eventually(t, "all processes are gone", func() bool { return len(orphans(s.hash)) == 0 })
}

func TestScaleSurvivesACrash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	svc := testService(t, "serve")
	s := startSupervisor(t, dir, svc)
	s.tell("3")
	s.expect("scaled")
	s.kill()

	run := func(min int) *world {
		svc := testService(t, "serve")
		svc.Replicas.Min = min
		w := up(t, map[string]*topology.Service{"orders": svc}, func(c *Config) { c.Dir = dir })
		w.waitReady()
		w.settle("orders")
		return w
	}
	w := run(1)
	if s := w.status("orders"); s.Ready != 3 || s.CPU != 0.75 {
		t.Errorf("after a crash: %+v, want the 3 replicas and 0.75 CPU that it was scaled to", s)
	}
	w.down()
	w = run(1)
	if s := w.status("orders"); s.Ready != 1 || s.CPU != 0 {
		t.Errorf("after an orderly end: %+v, want what the file says", s)
	}
	w.down()

	s = startSupervisor(t, dir, svc)
	s.tell("3")
	s.expect("scaled")
	s.kill()
	w = run(2)
	if s := w.status("orders"); s.Ready != 2 || s.CPU != 0 {
		t.Errorf("after a crash and a change of the file: %+v, want what the file says", s)
	}
}

func TestOneSupervisorAtATime(t *testing.T) {
	w := up(t, one(t, "serve"))
	w.waitReady()
	second, err := New(Config{System: w.o.cfg.System, Dir: w.dir, Balancer: newFakeBalancer()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var locked *LockedError
	if err := second.Run(ctx); !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Errorf("Run: %v, want a LockedError with process %d", err, os.Getpid())
	} else if !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("%q does not name the process", err)
	}
	if err := second.WaitReady(ctx); !errors.As(err, &locked) {
		t.Errorf("WaitReady: %v", err)
	}
	if s := w.status("orders"); s.Ready != 1 {
		t.Errorf("the first is disturbed: %+v", s)
	}
	if pid, alive := Supervisor(w.dir); pid != os.Getpid() || !alive {
		t.Errorf("Supervisor says %d, %v", pid, alive)
	}
	w.down()
	if pid, alive := Supervisor(w.dir); alive {
		t.Errorf("after the end Supervisor says %d", pid)
	}
}

// TestReplicasOutliveOtherThreads ends threads of the supervisor, one of which would be the replica's parent if it were
// started from any goroutine.
func TestReplicasOutliveOtherThreads(t *testing.T) {
	services := one(t, "serve")
	services["orders"].Replicas = topology.Replicas{Min: 6, Max: 6}
	w := up(t, services)
	w.waitReady()
	pids := pidsOf(w.status("orders"))
	// All at once, so that they take every thread that the runtime has idle, and then new ones.
	const n = 50
	var threads []int
	ids, end := make(chan int), make(chan struct{})
	for range n {
		go func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			ids <- unix.Gettid()
			<-end
		}()
	}
	for range n {
		threads = append(threads, <-ids)
	}
	close(end)
	eventually(t, "the threads have ended", func() bool {
		return !slices.ContainsFunc(threads, func(id int) bool {
			return id != os.Getpid() && exists(fmt.Sprintf("/proc/self/task/%d", id))
		})
	})
	for i, r := range w.status("orders").Replicas {
		if r.PID != pids[i] || zombie(pids[i]) {
			t.Errorf("%s was killed: %+v", r.ID, r)
		}
	}
}
