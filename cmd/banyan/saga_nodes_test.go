package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/banyanhq/banyan/bus"
	"github.com/banyanhq/banyan/policy/saga"
)

const checkoutFile = `
system: shop
services: {shop: {run: shop}}
queues: {orders: {durability: replicated}}
sagas:
  checkout:
    on: {queue: orders}
    steps:
      - {name: reserve, call: shop, method: PUT, path: "/stock/${id}", compensate: {call: shop, method: DELETE, path: "/stock/${id}"}}
      - {name: charge, call: shop, method: PUT, path: "/money/${id}", timeout: 1m, compensate: {call: shop, method: DELETE, path: "/money/${id}"}}
      - {name: ship, call: shop, method: PUT, path: "/ship/${id}"}
`

// checkoutShop is a service that knows the keys again which it has seen. It does not ship what ends in 7, and answers charges when it
// is released.
type checkoutShop struct {
	released chan struct{}

	mu       sync.Mutex
	answered map[string]int // status by key
	has      map[string]int // by path
	again    int
}

func (s *checkoutShop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status := s.take(r.Method, r.URL.Path, r.Header.Get("Idempotency-Key"))
	if strings.HasPrefix(r.URL.Path, "/money/") {
		select {
		case <-s.released:
		case <-r.Context().Done():
			return
		}
	}
	w.WriteHeader(status)
}

func (s *checkoutShop) take(method, path, key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if status := s.answered[key]; status != 0 {
		s.again++
		return status
	}
	status := http.StatusNoContent
	switch {
	case method == http.MethodDelete:
		s.has[path]--
	case strings.HasPrefix(path, "/ship/") && strings.HasSuffix(path, "7"):
		status = http.StatusConflict
	default:
		s.has[path]++
	}
	s.answered[key] = status
	return status
}

// charged is how many charges it was asked for.
func (s *checkoutShop) charged() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path := range s.has {
		if strings.HasPrefix(path, "/money/") {
			n++
		}
	}
	return n
}

func (s *checkoutShop) holds(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.has[path]
}

// repeats is how many requests had a key that it knew.
func (s *checkoutShop) repeats() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.again
}

// busProcess is a bus in a process of its own.
type busProcess struct {
	cmd       *exec.Cmd
	url, nats string
	output    sync.WaitGroup
}

func (p *busProcess) kill() {
	p.cmd.Process.Kill()
	p.output.Wait()
	p.cmd.Wait()
}

// startBus starts a bus and returns when it listens.
func startBus(t *testing.T, cmd *exec.Cmd) *busProcess {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	p := &busProcess{cmd: cmd}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if p.url = regexp.MustCompile(`http://[0-9.:]+`).FindString(line); p.url != "" {
			p.nats = regexp.MustCompile(`nats://[0-9.:]+`).FindString(line)
			p.output.Go(func() { io.Copy(io.Discard, lines) })
			t.Cleanup(p.kill)
			return p
		}
		if err != nil {
			cmd.Process.Kill()
			t.Fatalf("the bus ended before it served: %v, %v", err, cmd.Wait())
		}
	}
}

// sagaCall asks one bus after the other until one gives an answer that is wanted, and reads it.
func sagaCall(ctx context.Context, t *testing.T, nodes []*busProcess, method, path, key string, v any, want ...int) {
	t.Helper()
	last := ""
	for i := 0; ctx.Err() == nil; i++ {
		r, err := http.NewRequestWithContext(ctx, method, nodes[i%len(nodes)].url+path, strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Idempotency-Key", key)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			last = err.Error()
			pauseFor(ctx, 20*time.Millisecond)
			continue
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		for _, status := range want {
			if answer.StatusCode == status && err == nil {
				if err := json.Unmarshal(text, v); err != nil {
					t.Fatalf("%s %s: %s: %v", method, path, text, err)
				}
				return
			}
		}
		last = fmt.Sprintf("%s %s", answer.Status, text)
		pauseFor(ctx, 20*time.Millisecond)
	}
	t.Fatalf("%s %s: %s", method, path, last)
}

func pauseFor(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// With the node killed that runs the sagas, another goes on with all of them: each is done as a whole or undone as a whole, and
// whoever is asked again is asked with the key that it knows.
func TestKilledNodeLosesNoSaga(t *testing.T) {
	t.Parallel() // most of the time is that which the others take to find out
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	shop := &checkoutShop{released: make(chan struct{}), answered: map[string]int{}, has: map[string]int{}}
	service := httptest.NewServer(shop)
	t.Cleanup(service.Close)
	dir := t.TempDir()
	file := filepath.Join(dir, "banyan.yaml")
	if err := os.WriteFile(file, []byte(checkoutFile), 0o600); err != nil {
		t.Fatal(err)
	}
	command := clusterCommand(t, dir, "-f", file, "--service", "shop="+service.URL)
	var nodes []*busProcess
	for n := range 3 {
		nodes = append(nodes, startBus(t, command(n+1, "127.0.0.1:0", "127.0.0.1:0")))
	}
	const before, after = 20, 10
	for i := range before {
		sagaCall(ctx, t, nodes, "POST", "/sagas/checkout", fmt.Sprintf("k%d", i), &bus.Run{}, http.StatusOK, http.StatusAccepted)
	}
	for shop.charged() < before && ctx.Err() == nil { // all of them wait for an answer now
		pauseFor(ctx, time.Millisecond)
	}
	leader := -1
	for leader < 0 { // on a busy machine there may be none for a moment, or one that does not know yet that it is not
		var states []bus.Node
		sagaCall(ctx, t, nodes, "GET", "/nodes", "", &states, http.StatusOK)
		for i, s := range states {
			if s.Leads && leader >= 0 {
				leader = -1
				break
			} else if s.Leads {
				leader = i
			}
		}
		pauseFor(ctx, time.Millisecond)
	}
	nodes[leader].kill()
	alive := slices.Delete(slices.Clone(nodes), leader, leader+1)
	close(shop.released)
	for i := range after {
		sagaCall(ctx, t, alive, "POST", "/sagas/checkout", fmt.Sprintf("k%d", before+i), &bus.Run{}, http.StatusOK, http.StatusAccepted, http.StatusCreated)
	}
	for i := range before + after {
		var run bus.Run
		for run.Status != saga.Completed && run.Status != saga.Compensated {
			sagaCall(ctx, t, alive, "GET", fmt.Sprintf("/runs/checkout_k%d?wait=10s", i), "", &run, http.StatusOK)
		}
		want, status := 1, saga.Completed
		if i%10 == 7 {
			want, status = 0, saga.Compensated
		}
		for _, kind := range []string{"stock", "money", "ship"} {
			if n := shop.holds("/" + kind + "/" + run.ID); n != want || run.Status != status {
				t.Errorf("%s is %s with %d of %s", run.ID, run.Status, n, kind)
			}
		}
	}
	if again := shop.repeats(); again < before {
		t.Errorf("%d attempts were under way, and %d were made again", before, again)
	}
}
