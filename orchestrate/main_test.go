package orchestrate

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// envMode makes the test binary a service, or a supervisor, of the named behaviour.
const envMode = "ORCHESTRATE_TEST_MODE"

func TestMain(m *testing.M) {
	if IsShim(os.Args) {
		os.Exit(ShimMain(os.Args))
	}
	if mode := os.Getenv(envMode); mode != "" {
		os.Exit(behave(mode))
	}
	// With the race detector each replica would wait a second before it ends.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE")); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// behave is what the services of these tests do.
func behave(mode string) int {
	switch mode {
	case "never": // listens nowhere
		select {}
	case "wrong-port":
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 1
		}
		fmt.Println("listening on", ln.Addr())
		return serve(ln, nil)
	case "exit":
		fmt.Println("starting")
		fmt.Fprintln(os.Stderr, "cannot open the ledger: no such file")
		return 3
	case "clash": // the first start finds its port taken
		marker := filepath.Join(os.Getenv("BANYAN_DATA"), "clashed")
		if !exists(marker) {
			_ = os.WriteFile(marker, nil, 0o600)
			fmt.Fprintln(os.Stderr, "listen tcp 127.0.0.1:1: bind: address already in use")
			return 1
		}
	case "exit-after-first": // good at the first start of the service, broken from then on
		marker := filepath.Join(os.Getenv("BANYAN_DATA"), "broken")
		if exists(marker) {
			fmt.Fprintln(os.Stderr, "the new version cannot start")
			return 4
		}
	case "sleep": // somebody's child
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
		select {}
	case "fork": // leaves its group and its session
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), envMode+"=sleep")
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := child.Start(); err != nil {
			return 1
		}
		file := filepath.Join(os.Getenv("BANYAN_DATA"), "child-of-"+os.Getenv("BANYAN_REPLICA"))
		if err := os.WriteFile(file, []byte(strconv.Itoa(child.Process.Pid)), 0o600); err != nil {
			return 1
		}
	case "lines":
		fmt.Println(strings.Repeat("x", 3*maxLine/2))
		fmt.Println("short")
		fmt.Fprint(os.Stderr, "without an end")
	case "supervisor":
		return supervise()
	}
	ln, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if mode == "stubborn" {
		signal.Ignore(syscall.SIGTERM)
		return serve(ln, nil)
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	return serve(ln, term)
}

// serve answers requests until SIGTERM, then finishes those in flight.
func serve(ln net.Listener, term <-chan os.Signal) int {
	var sick atomic.Bool
	var hold [][]byte
	mux := http.NewServeMux()
	mux.HandleFunc("/work", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(3 * time.Millisecond) // the work
		fmt.Fprint(w, os.Getenv("BANYAN_REPLICA"))
	})
	mux.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) {
		if sick.Load() {
			http.Error(w, "sick", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/sick", func(w http.ResponseWriter, r *http.Request) { sick.Store(r.FormValue("is") != "false") })
	mux.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, os.Getenv(r.FormValue("name"))) })
	mux.HandleFunc("/leak", func(w http.ResponseWriter, r *http.Request) {
		for {
			hold = append(hold, bytes.Repeat([]byte{1}, 1<<20))
		}
	})
	mux.HandleFunc("/burn", func(w http.ResponseWriter, r *http.Request) {
		d, _ := time.ParseDuration(r.FormValue("cpu"))
		var wg sync.WaitGroup
		for begin := cpuTime(); cpuTime()-begin < d; {
			for range 2 {
				wg.Go(func() {
					for i := 0; i < 1<<22; i++ {
						_ = i
					}
				})
			}
			wg.Wait()
		}
	})
	server := &http.Server{Handler: mux}
	go func() {
		<-term
		fmt.Println("asked to stop")
		_ = server.Shutdown(context.Background())
		os.Exit(0)
	}()
	_ = server.Serve(ln)
	select {}
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fakeBalancer records what it is told, and can send requests.
type fakeBalancer struct {
	mu       sync.Mutex
	calls    []string
	backends map[string]*fakeBackend
	next     int
}

type fakeBackend struct {
	id, address string
	ready       bool
	draining    bool
	inFlight    int
	idle        chan struct{} // closed when draining and nothing is in flight
}

func newFakeBalancer() *fakeBalancer { return &fakeBalancer{backends: make(map[string]*fakeBackend)} }

func (b *fakeBalancer) record(format string, args ...any) {
	b.calls = append(b.calls, fmt.Sprintf(format, args...))
}

func (b *fakeBalancer) Add(service, id, address string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.record("add %s", id)
	if b.backends[id] != nil {
		b.record("ADDED TWICE %s", id)
	}
	b.backends[id] = &fakeBackend{id: id, address: address, idle: make(chan struct{})}
}

func (b *fakeBalancer) SetReady(service, id string, ready bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.record("ready %s %v", id, ready)
	if be := b.backends[id]; be != nil {
		be.ready = ready
	} else {
		b.record("READY OF UNKNOWN %s", id)
	}
}

func (b *fakeBalancer) Drain(ctx context.Context, service, id string) error {
	b.mu.Lock()
	b.record("drain %s", id)
	be := b.backends[id]
	if be == nil {
		b.record("DRAIN OF UNKNOWN %s", id)
		b.mu.Unlock()
		return nil
	}
	be.draining = true
	if be.inFlight == 0 {
		b.mu.Unlock()
		return nil
	}
	b.mu.Unlock()
	select {
	case <-be.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *fakeBalancer) Remove(service, id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.record("remove %s", id)
	delete(b.backends, id)
}

func (b *fakeBalancer) log() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.calls...)
}

// pick takes the next ready backend; done must be called after the request.
func (b *fakeBalancer) pick() (id, address string, done func(), ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ready []*fakeBackend
	for _, name := range sortedKeys(b.backends) {
		if be := b.backends[name]; be.ready && !be.draining {
			ready = append(ready, be)
		}
	}
	if len(ready) == 0 {
		return "", "", nil, false
	}
	be := ready[b.next%len(ready)]
	b.next++
	be.inFlight++
	return be.id, be.address, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if be.inFlight--; be.inFlight == 0 && be.draining {
			close(be.idle)
		}
	}, true
}

// patience is how long anything in these tests may take on a busy machine.
const patience = 2 * time.Minute

// eventually polls until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// testService is a service of this test binary, with the defaults that loading a file gives.
func testService(t testing.TB, mode string) *topology.Service {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &topology.Service{
		Run:      topology.Command{exe},
		Env:      map[string]string{envMode: mode},
		Replicas: topology.Replicas{Min: 1, Max: 1},
		Restart: topology.Restart{
			Min: topology.Duration(20 * time.Millisecond), Max: topology.Duration(time.Second),
			Reset: topology.Duration(30 * time.Second), CrashLoop: 4,
		},
		Drain:  topology.Duration(patience),
		Deploy: topology.Deploy{Surge: 1, Deadline: topology.Duration(time.Minute)},
	}
}

func testCheck(path string) *topology.Check {
	return &topology.Check{
		Path: path, Interval: topology.Duration(10 * time.Millisecond), Timeout: topology.Duration(patience), // however long the machine stands still
		Failures: 2, Deadline: topology.Duration(patience),
	}
}

// world is a running orchestrator.
type world struct {
	t        *testing.T
	o        *Orchestrator
	dir      string
	balancer *fakeBalancer
	ctx      context.Context
	stop     context.CancelFunc
	ended    chan error
}

type option func(*Config)

// up starts the services; the test's end stops them and checks that nothing is left.
func up(t *testing.T, services map[string]*topology.Service, options ...option) *world {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	w := &world{t: t, balancer: newFakeBalancer(), ended: make(chan error, 1)}
	cfg := Config{
		System: &topology.System{Name: "test", Services: services}, Root: t.TempDir(), Dir: dir, Balancer: w.balancer,
	}
	if testing.Verbose() {
		cfg.Log = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	}
	for _, set := range options {
		set(&cfg)
	}
	w.dir = cfg.Dir
	var err error
	if w.o, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	w.ctx, w.stop = context.WithCancel(context.Background())
	go func() { w.ended <- w.o.Run(w.ctx) }()
	t.Cleanup(w.down)
	return w
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

// down stops the orchestrator, once, and checks that nothing is left.
func (w *world) down() {
	w.t.Helper()
	if w.ended == nil {
		return
	}
	w.stop()
	select {
	case err := <-w.ended:
		if err != nil {
			w.t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		w.t.Fatalf("Run does not return")
	}
	w.ended = nil
	w.checkNothingLeft()
	for _, call := range w.balancer.log() {
		if strings.ToUpper(strings.Fields(call)[0]) == strings.Fields(call)[0] {
			w.t.Errorf("the balancer was told nonsense: %s", call)
		}
	}
}

func (w *world) checkNothingLeft() {
	w.t.Helper()
	dir, err := filepath.EvalSymlinks(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	hash := dirHash(dir)
	if pids := orphans(hash); len(pids) > 0 {
		w.t.Errorf("processes are left: %v", pids)
	}
	if groups := leftCgroups(hash); len(groups) > 0 {
		w.t.Errorf("control groups are left: %v", groups)
	}
	// What has said its last word may still be returning.
	eventually(w.t, "no goroutine is left", func() bool { return len(w.goroutines()) == 0 })
}

// goroutines returns those of the package that run now, the tests' own aside.
func (w *world) goroutines() (left []string) {
	all := make([]byte, 4<<20)
	all = all[:runtime.Stack(all, true)]
	for g := range strings.SplitSeq(string(all), "\n\n") {
		for _, owner := range []string{"(*controller)", "(*instance)", "(*probes)", "(*capture)", "(*spawner)", "(*watchdog)", "orchestrate.reap", "(*Orchestrator)"} {
			if strings.Contains(g, owner) && !strings.Contains(g, "(*world).checkNothingLeft") {
				left = append(left, g)
				break
			}
		}
	}
	return left
}

func orphans(hash string) []int {
	return marked(envRun, func(run string) bool { return strings.HasSuffix(run, ":"+hash) })
}

// leftCgroups looks for control groups of a state directory, wherever they are.
func leftCgroups(hash string) []string {
	var found []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && strings.HasPrefix(e.Name(), cgroupPrefix(hash)) {
			found = append(found, path)
			return filepath.SkipDir
		}
		return nil
	})
	return found
}

func (w *world) waitReady() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	if err := w.o.WaitReady(ctx); err != nil {
		w.t.Fatalf("WaitReady: %v", err)
	}
}

func (w *world) settle(service string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	if err := w.o.WaitSettled(ctx, service); err != nil {
		w.t.Fatalf("WaitSettled: %v; status %+v; events %v", err, w.o.Status(), w.o.Events())
	}
}

func (w *world) scale(service string, replicas int) {
	w.t.Helper()
	if err := w.o.Scale(w.ctx, service, Change{Replicas: &replicas}); err != nil {
		w.t.Fatal(err)
	}
}

// status returns the service's status.
func (w *world) status(service string) ServiceStatus {
	for _, s := range w.o.Status() {
		if s.Service == service {
			return s
		}
	}
	return ServiceStatus{}
}

// get asks a replica.
func (w *world) get(address, path string) string {
	w.t.Helper()
	body, err := get(address, path)
	if err != nil {
		w.t.Fatal(err)
	}
	return body
}

func get(address, path string) (string, error) {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + address + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %d", path, resp.StatusCode)
	}
	return b.String(), nil
}

func one(t *testing.T, mode string) map[string]*topology.Service {
	return map[string]*topology.Service{"orders": testService(t, mode)}
}
