package shop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/banyanhq/banyan/examples/shop/tables/tablestest"
)

// uses says which services each program calls.
var uses = map[string][]string{
	"catalog": nil, "cart": nil, "payments": nil,
	"orders": {"catalog", "payments"},
	"web":    {"catalog", "cart", "orders"},
}

// build compiles the five programs, once for all tests.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "shop-test-")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", raceFlag, "-o", dir, "./web", "./catalog", "./cart", "./orders", "./payments").CombinedOutput()
	if err != nil {
		return "", errors.Join(err, errors.New(string(out)))
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := build(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// system is the shop as processes, each service behind a balancer.
type system struct {
	t         *testing.T
	data      string // the folder of what the services keep, if they have no tables
	tables    string // where the tables are
	balancers map[string]*balancer
}

// eachKind runs a test with state in journals and with state in tables.
func eachKind(t *testing.T, test func(t *testing.T, s *system)) {
	if testing.Short() {
		t.Skip("builds and starts processes")
	}
	t.Run("journals", func(t *testing.T) { test(t, &system{data: t.TempDir()}) })
	t.Run("tables", func(t *testing.T) { test(t, &system{tables: tablestest.Start(t, "tables.yaml")}) })
}

// start starts so many replicas of each service.
func (s *system) start(t *testing.T, replicas int) {
	t.Helper()
	s.t, s.balancers = t, map[string]*balancer{}
	for service := range uses {
		b := &balancer{}
		b.server = httptest.NewServer(b)
		t.Cleanup(b.server.Close)
		s.balancers[service] = b
	}
	for service := range uses {
		for range replicas {
			s.add(service)
		}
	}
}

func (s *system) url(service string) string { return s.balancers[service].server.URL }

// process is one replica.
type process struct {
	cmd     *exec.Cmd
	address string
	exited  chan struct{}
	errors  *bytes.Buffer
}

// add starts a replica and gives it requests once it is ready.
func (s *system) add(service string) *process {
	s.t.Helper()
	dir, err := build()
	if err != nil {
		s.t.Fatal(err)
	}
	p := &process{cmd: exec.Command(filepath.Join(dir, service)), exited: make(chan struct{}), errors: &bytes.Buffer{}}
	// The race detector would have each process wait for a second at its end.
	p.cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "PORT=0", "BANYAN_SERVICE="+service, "BANYAN_DATA="+filepath.Join(s.data, service))
	if s.tables != "" {
		// They need no folder, and find out if they make one all the same.
		p.cmd.Env = append(p.cmd.Env, append(tablestest.Environ(s.tables), "BANYAN_DATA=/dev/null/none")...)
	}
	for _, used := range uses[service] {
		p.cmd.Env = append(p.cmd.Env, strings.ToUpper(used)+"_URL="+s.url(used))
	}
	p.cmd.Stderr = p.errors
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // unless it has ended already
		<-p.exited
	})
	listening := make(chan string, 1)
	go func() {
		defer close(p.exited)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var line struct{ Msg, Address string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
				listening <- line.Address
			}
		}
		_ = p.cmd.Wait() // its state is looked at
	}()
	select {
	case p.address = <-listening:
	case <-p.exited:
		s.t.Fatalf("%s does not start: %s", service, p.errors)
	}
	if status, body := get(s.t, http.DefaultClient, "http://"+p.address+"/healthz"); status != http.StatusOK {
		s.t.Fatalf("%s is not ready: %d %s", service, status, body)
	}
	s.balancers[service].change(func(list []*process) []*process { return append(list, p) })
	return p
}

// kill ends a replica with SIGKILL, while it still gets requests.
func (s *system) kill(service string, p *process) {
	_ = p.cmd.Process.Kill()
	<-p.exited
	s.balancers[service].remove(p)
}

// stop takes a replica out and ends it with SIGTERM; it must end well.
func (s *system) stop(service string, p *process) {
	s.balancers[service].remove(p)
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.exited
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("%s ended with %d after SIGTERM: %s", service, code, p.errors)
	}
}

// balancer stands for what Banyan puts before a service: it takes turns, and
// tries another replica for a request that may be repeated.
type balancer struct {
	server   *httptest.Server
	mu       sync.Mutex
	replicas []*process
	turn     int
}

func (b *balancer) change(f func([]*process) []*process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.replicas = f(b.replicas)
}

func (b *balancer) remove(p *process) {
	b.change(func(list []*process) []*process {
		return slices.DeleteFunc(slices.Clone(list), func(q *process) bool { return q == p })
	})
}

func (b *balancer) list() []*process {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.replicas)
}

func (b *balancer) next() *process {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.replicas) == 0 {
		return nil
	}
	b.turn++
	return b.replicas[b.turn%len(b.replicas)]
}

func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	repeatable := r.Method == http.MethodGet || r.Method == http.MethodDelete || r.Header.Get("Idempotency-Key") != ""
	for try := 0; try < 4; try++ {
		p := b.next()
		if p == nil {
			break
		}
		out := r.Clone(r.Context())
		out.URL.Scheme, out.URL.Host, out.RequestURI = "http", p.address, ""
		out.Body = io.NopCloser(bytes.NewReader(body))
		answer, err := http.DefaultTransport.RoundTrip(out)
		if err == nil {
			var data []byte
			data, err = io.ReadAll(answer.Body)
			answer.Body.Close()
			if err == nil {
				for name, values := range answer.Header {
					w.Header()[name] = values
				}
				w.WriteHeader(answer.StatusCode)
				_, _ = w.Write(data)
				return
			}
		}
		if !repeatable && !errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
	}
	http.Error(w, "no replica answers", http.StatusServiceUnavailable)
}

func get(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	answer, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}
