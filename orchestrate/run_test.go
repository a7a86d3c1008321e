package orchestrate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/banyanhq/banyan/topology"
)

func TestUpAndDown(t *testing.T) {
	services := map[string]*topology.Service{
		"web":    testService(t, "serve"),
		"orders": testService(t, "serve"),
		"stock":  testService(t, "serve"),
	}
	services["web"].Uses = []string{"orders", "caches.pages"}
	services["orders"].Uses = []string{"stock"}
	services["orders"].Health = topology.Health{Startup: testCheck("/health"), Ready: testCheck("/health"), Live: testCheck("/health")}
	services["orders"].Replicas = topology.Replicas{Min: 2, Max: 4}
	services["orders"].Env["GREETING"] = "I am ${BANYAN_REPLICA}, see ${STOCK_URL}"
	w := up(t, services, func(c *Config) {
		c.Env = func(service, replica string) []string { return []string{"STOCK_URL=http://stock.test"} }
	})
	w.waitReady()

	s := w.status("orders")
	if s.Desired != 2 || s.Ready != 2 || len(s.Replicas) != 2 || !s.Settled {
		t.Fatalf("status %+v", s)
	}
	address := s.Replicas[1].Address
	dir, _ := filepath.EvalSymlinks(w.dir)
	for name, want := range map[string]string{
		"BANYAN_SERVICE": "orders",
		"BANYAN_REPLICA": "orders-1",
		"BANYAN_DATA":    filepath.Join(dir, "data", "orders"),
		"PORT":           address[strings.LastIndex(address, ":")+1:],
		"GREETING":       "I am orders-1, see http://stock.test",
		"GOMAXPROCS":     os.Getenv("GOMAXPROCS"),
		"HOME":           os.Getenv("HOME"),
	} {
		if got := w.get(address, "/env?name="+name); got != want {
			t.Errorf("%s=%q, want %q", name, got, want)
		}
	}
	ports := make(map[string]bool)
	for _, s := range w.o.Status() {
		for _, r := range s.Replicas {
			if ports[r.Address] {
				t.Errorf("two replicas at %s", r.Address)
			}
			ports[r.Address] = true
		}
	}

	w.down()
	var removed []string
	for _, call := range w.balancer.log() {
		if id, ok := strings.CutPrefix(call, "remove "); ok {
			removed = append(removed, id)
		}
	}
	if len(removed) != 4 || removed[0] != "web-0" || removed[3] != "stock-0" {
		t.Errorf("stopped in the order %v, want callers before callees", removed)
	}
	if log := w.balancer.log(); !inOrder(log, "add web-0", "ready web-0 true", "drain web-0", "remove web-0") {
		t.Errorf("calls %v", log)
	}
	if exists(filepath.Join(w.dir, "run", desiredFile)) || exists(filepath.Join(w.dir, "run", supervisorFile)) {
		t.Error("state files are left after an orderly end")
	}
	if err := w.o.Scale(context.Background(), "orders", Change{}); err == nil {
		t.Error("Scale after the end succeeds")
	}
}

// inOrder reports whether the words appear in the list in this order, others between them or not.
func inOrder(list []string, words ...string) bool {
	for _, item := range list {
		if len(words) > 0 && item == words[0] {
			words = words[1:]
		}
	}
	return len(words) == 0
}

// traffic sends requests through the balancer until stop is called, which returns how many were sent and what failed.
func (w *world) traffic(clients int) (stop func() (sent int64, failures []string)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var sent atomic.Int64
	var mu sync.Mutex
	var failures []string
	for range clients {
		wg.Go(func() {
			for ctx.Err() == nil {
				id, address, done, ok := w.balancer.pick()
				var err error
				if !ok {
					id, err = "nobody", errors.New("no replica is ready")
				} else {
					_, err = get(address, "/work")
					done()
				}
				sent.Add(1)
				if err != nil {
					mu.Lock()
					failures = append(failures, fmt.Sprintf("%s: %v", id, err))
					mu.Unlock()
					return
				}
			}
		})
	}
	return func() (int64, []string) {
		cancel()
		wg.Wait()
		return sent.Load(), failures
	}
}

func TestScaleAndRestartUnderLoad(t *testing.T) {
	services := one(t, "serve")
	services["orders"].Health.Ready = testCheck("/health")
	w := up(t, services)
	w.waitReady()
	stop := w.traffic(4)
	for _, n := range []int{4, 2} {
		w.scale("orders", n)
		w.settle("orders")
		if s := w.status("orders"); s.Ready != n || len(s.Replicas) != n {
			t.Errorf("scaled to %d: %+v", n, s)
		}
	}
	before := pidsOf(w.status("orders"))
	if err := w.o.Restart(w.ctx, "orders"); err != nil {
		t.Errorf("Restart: %v", err)
	}
	w.settle("orders")
	after := pidsOf(w.status("orders"))
	for _, pid := range after {
		if slices.Contains(before, pid) || len(after) != 2 {
			t.Errorf("processes before %v, after %v", before, after)
		}
	}
	// A scaling during a replacement, and a replacement overtaken by another.
	results := make(chan error, 2)
	go func() { results <- w.o.Restart(w.ctx, "orders") }()
	go func() { results <- w.o.Restart(w.ctx, "orders") }()
	w.scale("orders", 3)
	for range 2 {
		if err := <-results; err != nil {
			t.Errorf("Restart: %v", err)
		}
	}
	w.settle("orders")
	s := w.status("orders")
	if s.Ready != 3 || s.Replacing || s.ReplaceError != "" {
		t.Errorf("at the end: %+v", s)
	}
	sent, failures := stop()
	t.Logf("%d requests", sent)
	if len(failures) > 0 || sent < 50 {
		t.Errorf("%d requests, failed: %v", sent, failures)
	}
}

func pidsOf(s ServiceStatus) (pids []int) {
	for _, r := range s.Replicas {
		pids = append(pids, r.PID)
	}
	return pids
}

func TestFailedReplacementIsUndone(t *testing.T) {
	services := one(t, "exit-after-first")
	services["orders"].Replicas = topology.Replicas{Min: 2, Max: 2}
	w := up(t, services)
	w.waitReady()
	before := pidsOf(w.status("orders"))
	if err := os.WriteFile(filepath.Join(w.dir, "data", "orders", "broken"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stop := w.traffic(2)
	err := w.o.Restart(w.ctx, "orders")
	if err == nil || !strings.Contains(err.Error(), "exited with code 4") || !strings.Contains(err.Error(), "the new version cannot start") {
		t.Errorf("Restart: %v", err)
	}
	w.settle("orders")
	s := w.status("orders")
	if got := pidsOf(s); !slices.Equal(got, before) {
		t.Errorf("processes before %v, after %v", before, got)
	}
	if !strings.Contains(s.ReplaceError, "code 4") || s.Replacing {
		t.Errorf("status %+v", s)
	}
	if _, failures := stop(); len(failures) > 0 {
		t.Errorf("failed requests: %v", failures)
	}
}

func TestReplacementStopsAtItsDeadline(t *testing.T) {
	services := one(t, "serve")
	services["orders"].Health.Ready = testCheck("/health")
	services["orders"].Deploy.Deadline = topology.Duration(300 * time.Millisecond)
	services["orders"].Env["PORT"] = "${PORT}"
	w := up(t, services)
	w.waitReady()
	services["orders"].Health.Ready.Path = "/missing" // the next ones never pass
	err := w.o.Restart(w.ctx, "orders")
	if err == nil || !strings.Contains(err.Error(), "not ready within 300ms") {
		t.Errorf("Restart: %v", err)
	}
	w.settle("orders")
}

// All threads of a replica have the timer slack that its service says, those too that its program has started since.
func TestTimerSlack(t *testing.T) {
	services := one(t, "serve")
	services["orders"].TimerSlack = topology.Duration(700 * time.Microsecond)
	w := up(t, services)
	w.waitReady()
	pid := w.status("orders").Replicas[0].PID
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil || len(threads) < 2 {
		t.Fatalf("%d threads, %v", len(threads), err)
	}
	for _, thread := range threads {
		slack, err := os.ReadFile(fmt.Sprintf("/proc/%s/timerslack_ns", thread.Name()))
		switch {
		case errors.Is(err, os.ErrPermission):
			t.Skip("another process's is not shown here")
		case errors.Is(err, os.ErrNotExist): // it has ended
		case err != nil:
			t.Fatal(err)
		case strings.TrimSpace(string(slack)) != "700000":
			t.Errorf("thread %s has %s", thread.Name(), slack)
		}
	}
}

func TestKilledReplicaComesBack(t *testing.T) {
	services := one(t, "serve")
	services["orders"].Replicas = topology.Replicas{Min: 2, Max: 2}
	w := up(t, services)
	w.waitReady()
	old := w.status("orders").Replicas[0]
	began := time.Now()
	if err := unix.Kill(old.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the killed replica is ready again", func() bool {
		r := w.status("orders").Replicas[0]
		return r.State == "ready" && r.PID != old.PID
	})
	took := time.Since(began)
	t.Logf("ready again after %v", took)
	r := w.status("orders").Replicas[0]
	if r.Restarts != 1 || !strings.Contains(r.LastExit, "signal 9") || r.OOMKilled {
		t.Errorf("status %+v", r)
	}
	if log := w.balancer.log(); !inOrder(log, "ready orders-0 true", "remove orders-0", "add orders-0", "ready orders-0 true") {
		t.Errorf("calls %v", log)
	}
	for _, call := range w.balancer.log() {
		if call == "drain orders-0" {
			t.Error("a dead replica was drained")
		}
	}
}

func TestStubbornReplicaIsKilledAtItsDeadline(t *testing.T) {
	services := one(t, "stubborn")
	services["orders"].Drain = topology.Duration(300 * time.Millisecond)
	w := up(t, services)
	w.waitReady()
	w.scale("orders", 0)
	w.settle("orders")
	if !slices.ContainsFunc(w.o.Events(), func(e Event) bool { return e.What == "killed" && e.Replica == "orders-0" }) {
		t.Errorf("events %v", w.o.Events())
	}
}

func TestDrainWaitsForRequestsInFlight(t *testing.T) {
	w := up(t, one(t, "serve"))
	w.waitReady()
	_, address, done, _ := w.balancer.pick() // a request that has not ended yet
	w.scale("orders", 0)
	eventually(t, "draining", func() bool { return slices.Contains(w.balancer.log(), "drain orders-0") })
	if got := w.get(address, "/work"); got != "orders-0" {
		t.Errorf("a draining replica answers %q", got)
	}
	if s := w.status("orders"); s.Replicas[0].State != "stopping" {
		t.Errorf("state %q", s.Replicas[0].State)
	}
	done()
	w.settle("orders")
}

func TestLivenessFailureRestarts(t *testing.T) {
	services := one(t, "serve")
	services["orders"].Health.Live = testCheck("/health")
	w := up(t, services)
	w.waitReady()
	old := w.status("orders").Replicas[0]
	w.get(old.Address, "/sick")
	eventually(t, "a new process is ready", func() bool {
		r := w.status("orders").Replicas[0]
		return r.State == "ready" && r.PID != old.PID
	})
	if !slices.ContainsFunc(w.o.Events(), func(e Event) bool {
		return e.What == "not alive" && strings.Contains(e.Why, "answered 503: sick")
	}) {
		t.Errorf("events %v", w.o.Events())
	}
}

func TestUnreadyReplicaGetsNoRequests(t *testing.T) {
	services := one(t, "serve")
	services["orders"].Health.Ready = testCheck("/health")
	w := up(t, services)
	w.waitReady()
	r := w.status("orders").Replicas[0]
	w.get(r.Address, "/sick")
	eventually(t, "not ready", func() bool { return w.status("orders").Replicas[0].State == "unready" })
	w.get(r.Address, "/sick?is=false")
	eventually(t, "ready", func() bool { return w.status("orders").Replicas[0].State == "ready" })
	if log := w.balancer.log(); !inOrder(log, "ready orders-0 true", "ready orders-0 false", "ready orders-0 true") {
		t.Errorf("calls %v", log)
	}
	if now := w.status("orders").Replicas[0]; now.PID != r.PID {
		t.Error("it was restarted")
	}
}

func TestWaitReadySaysWhyNot(t *testing.T) {
	quick := func(s *topology.Service) { s.Health.Ready = testCheck("") } // with a deadline of the test's
	tests := []struct {
		name, mode string
		change     func(*topology.Service)
		want       []string
	}{
		{"exits at once", "exit", nil, []string{"services.orders", "orders-0", "exited with code 3", "| cannot open the ledger"}},
		{"never listens", "never", quick, []string{"not ready within ", "connection refused", "it listens on no port"}},
		{"wrong port", "wrong-port", quick, []string{"it listens on port ", "not on the PORT=", "| listening on 127.0.0.1"}},
		{"answers badly", "serve", func(s *topology.Service) { quick(s); s.Health.Ready.Path = "/missing" },
			[]string{"GET /missing answered 404"}},
		{"no such program", "serve", func(s *topology.Service) { s.Run = topology.Command{"no-such-program"} },
			[]string{`no program "no-such-program" in PATH`}},
		{"no such file", "serve", func(s *topology.Service) { s.Run = topology.Command{"./missing"} },
			[]string{"missing: no such file"}},
		{"not a program", "serve", func(s *topology.Service) { s.Run = topology.Command{"./text"} },
			[]string{"text", "exec format error"}},
		{"not executable", "serve", func(s *topology.Service) { s.Run = topology.Command{"./plain"} },
			[]string{"plain is not executable"}},
		{"no such folder", "serve", func(s *topology.Service) { s.Dir = "missing" }, []string{"working folder", "missing: no such file"}},
		{"not built", "serve", func(s *topology.Service) { s.Build, s.Run = "./x", nil }, []string{"was not built"}},
		{"unknown variable", "serve", func(s *topology.Service) { s.Env["X"] = "${NOWHERE}" }, []string{"${NOWHERE} is not in"}},
		{"nothing to run", "serve", func(s *topology.Service) { s.Run = nil }, []string{"neither 'build' nor 'run'"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			try := func(deadline time.Duration) error {
				services := one(t, tt.mode)
				if tt.change != nil {
					tt.change(services["orders"])
				}
				if check := services["orders"].Health.Ready; check != nil {
					check.Deadline = topology.Duration(deadline)
				}
				return whyNotReady(t, services)
			}
			// A replica on a busy machine may take longer than the deadline to do what it does wrong.
			for deadline := 400 * time.Millisecond; ; deadline *= 4 {
				err := try(deadline)
				said := func(want string) bool { return strings.Contains(err.Error(), want) }
				if t.Log(err); slices.ContainsFunc(tt.want, func(want string) bool { return !said(want) }) {
					if deadline < patience/4 {
						continue
					}
					t.Errorf("%q does not say all of %q", err, tt.want)
				}
				return
			}
		})
	}
}

// whyNotReady starts services that do not become ready, and returns what is said of that.
func whyNotReady(t *testing.T, services map[string]*topology.Service) error {
	t.Helper()
	w := up(t, services, func(c *Config) {
		for name, mode := range map[string]os.FileMode{"text": 0o755, "plain": 0o644} {
			if err := os.WriteFile(filepath.Join(c.Root, name), []byte("no program"), mode); err != nil {
				t.Fatal(err)
			}
		}
	})
	defer w.down()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	err := w.o.WaitReady(ctx)
	if err == nil {
		t.Fatal("ready")
	}
	return err
}

func TestCrashLoopIsSeen(t *testing.T) {
	w := up(t, one(t, "exit"))
	eventually(t, "crash-looping", func() bool {
		s := w.status("orders")
		return len(s.Replicas) == 1 && s.Replicas[0].CrashLooping && s.Replicas[0].State == "waiting"
	})
	r := w.status("orders").Replicas[0]
	if r.Restarts < 3 || !strings.Contains(r.LastExit, "cannot open the ledger") {
		t.Errorf("status %+v", r)
	}
}

func TestTakenPortIsReplaced(t *testing.T) {
	w := up(t, one(t, "clash"))
	w.waitReady()
	if !slices.ContainsFunc(w.o.Events(), func(e Event) bool { return e.What == "port taken" }) {
		t.Errorf("events %v", w.o.Events())
	}
	if r := w.status("orders").Replicas[0]; r.CrashLooping || r.Restarts != 1 {
		t.Errorf("status %+v", r)
	}
}

func TestGrandchildrenAreKilled(t *testing.T) {
	for _, kept := range []bool{true, false} {
		t.Run(fmt.Sprintf("cgroups=%v", kept), func(t *testing.T) {
			w := up(t, one(t, "fork"), func(c *Config) { c.NoCgroups = !kept })
			w.waitReady()
			child := grandchild(t, w.dir, "orders-0")
			first := w.status("orders").Replicas[0].PID
			if err := unix.Kill(first, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the grandchild is dead", func() bool { return zombie(child) })
			eventually(t, "back", func() bool { s := w.status("orders"); return s.Ready == 1 && s.Replicas[0].PID != first })
			child = grandchild(t, w.dir, "orders-0")
			w.scale("orders", 0)
			w.settle("orders")
			// One that is killed has no environment any more, by which it is found, a moment before it is dead.
			eventually(t, "the stopped replica's grandchild is dead", func() bool { return zombie(child) })
		})
	}
}

func grandchild(t *testing.T, dir, replica string) (pid int) {
	t.Helper()
	eventually(t, "the grandchild's process id", func() bool {
		data, err := os.ReadFile(filepath.Join(dir, "data", "orders", "child-of-"+replica))
		if err != nil {
			return false
		}
		_, err = fmt.Sscan(string(data), &pid)
		return err == nil && !zombie(pid)
	})
	return pid
}

func TestScaleRefusesNonsense(t *testing.T) {
	w := up(t, one(t, "serve"))
	w.waitReady()
	minus, tiny, cpu := -1, topology.Bytes(5), topology.CPU(0.001)
	for _, ch := range []Change{{Replicas: &minus}, {Memory: &tiny}, {CPU: &cpu}} {
		if err := w.o.Scale(w.ctx, "orders", ch); err == nil {
			t.Errorf("accepted %+v", ch)
		}
	}
	if err := w.o.Scale(w.ctx, "nobody", Change{}); err == nil || !strings.Contains(err.Error(), `"nobody"`) {
		t.Errorf("Scale of an unknown service: %v", err)
	}
}

func TestNewChecks(t *testing.T) {
	for _, cfg := range []Config{{}, {System: &topology.System{}}, {Balancer: newFakeBalancer()},
		{System: &topology.System{Services: map[string]*topology.Service{"a": nil}}, Balancer: newFakeBalancer()}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("accepted %+v", cfg)
		}
	}
}
