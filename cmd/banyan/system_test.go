package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

const smallSystem = `
version: 1
system: small
listen: 127.0.0.1:0
services:
  front:
    layer: presentation
    run: [SELF]
    env: {BANYAN_TEST_SERVICE: front}
    uses: [back]
    replicas: 2
    health: {ready: /healthz}
  back:
    layer: business
    run: [SELF]
    env: {BANYAN_TEST_SERVICE: back}
    replicas: {min: 1, max: 4}
    health: {ready: /healthz}
    limits: {cpu: 1, memory: 128MiB}
routes:
  - {path: /, method: GET, to: front}
workload:
  rate: 50/s
  duration: 3s
  scenarios: {look: {steps: [{path: /}]}}
`

// TestTheLoop goes once through all that the program is for: run, load, calibrate, compare, scale, replace, stop.
func TestTheLoop(t *testing.T) {
	t.Parallel()
	p := newPlace(t, smallSystem)
	out := p.must("up", "--detach")
	if !strings.Contains(out, "small serves on http://127.0.0.1:") {
		t.Fatalf("up: %s", out)
	}
	var s statusAnswer
	p.ask(&s, "status")
	if code, body, err := get("http://" + s.Info.Address + "/"); err != nil || code != 200 || !strings.HasPrefix(body, "front-") {
		t.Fatalf("first request: %d %q %v", code, body, err)
	}
	if code, body, err := get(s.Info.Metrics); err != nil || code != 200 || !strings.Contains(body, "banyan_gateway_requests_total") {
		t.Fatalf("metrics: %d %v %.200s", code, err, body)
	}
	if _, errs, code := p.run("up", "-d"); code != 1 || !strings.Contains(errs, "already up") {
		t.Errorf("a second up: %d %s", code, errs)
	}

	var run struct{ Name string }
	p.ask(&run, "load", "--threshold", "errors < 10%")
	if _, _, code := p.run("load", "--duration", "1s", "--threshold", "p99 < 1ns"); code != 1 {
		t.Errorf("a broken threshold: exit code %d, want 1", code)
	}
	if _, errs, code := p.run("compare"); code != 1 || !strings.Contains(errs, "banyan calibrate") {
		t.Errorf("compare without costs: %d %s", code, errs)
	}
	p.must("calibrate")
	var again struct{ Name string }
	p.ask(&again, "load")
	if out := p.must("calibrate", run.Name, again.Name); !strings.Contains(out, "is the one in the middle") {
		t.Errorf("calibrate from two runs: %s", out)
	}
	if _, errs, code := p.run("calibrate", run.Name, run.Name); code != 1 || !strings.Contains(errs, "named twice") {
		t.Errorf("calibrate from one run named twice: %d %s", code, errs)
	}
	if out := p.must("compare"); !strings.Contains(out, "GET /") || !strings.Contains(out, "machine") {
		t.Errorf("compare: %s", out)
	}
	if out := p.must("plan", "--rate", "100/s"); !strings.Contains(out, "Holds") {
		t.Errorf("plan: %s", out)
	}

	var failed []string
	stop := hammer(s.Info.Address, &failed)
	p.must("scale", "back=3")
	p.must("scale", "back", "--cpu", "0.5", "--memory", "96MiB")
	p.must("restart", "back", "front")
	p.must("scale", "back=1")
	if stop(); len(failed) > 0 {
		t.Errorf("%d requests failed while scaling, the first: %s", len(failed), failed[0])
	}
	p.ask(&s, "status")
	for _, svc := range s.Replicas {
		if svc.Service == "back" && (svc.Desired != 1 || svc.Ready != 1 || svc.CPU != 0.5) {
			t.Errorf("back after scaling: %+v", svc)
		}
	}
	if out := p.must("logs", "back"); !strings.Contains(out, "listening") {
		t.Errorf("logs: %s", out)
	}
	if out := p.must("top"); !strings.Contains(out, "front") {
		t.Errorf("top in a pipe: %s", out)
	}
	if out := p.must("down"); !strings.Contains(out, "small is down") {
		t.Errorf("down: %s", out)
	}
	if left := p.processes(); len(left) > 0 {
		t.Errorf("after down there still run %v", left)
	}
	if _, errs, code := p.run("status"); code != 1 || !strings.Contains(errs, "not running") {
		t.Errorf("status after down: %d %s", code, errs)
	}
}

// hammer requests the front page without pause until the returned function is called; failures are collected.
func hammer(address string, failed *[]string) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if code, body, err := get("http://" + address + "/"); err != nil || code != http.StatusOK {
					mu.Lock()
					*failed = append(*failed, strconv.Itoa(code)+" "+body)
					mu.Unlock()
				}
			}
		})
	}
	return func() { close(done); wg.Wait() }
}

func TestKilledReplicaIsNotNoticed(t *testing.T) {
	t.Parallel()
	p := newPlace(t, smallSystem)
	p.must("up", "-d")
	p.must("scale", "back=2")
	var s statusAnswer
	p.ask(&s, "status")
	var failed []string
	stop := hammer(s.Info.Address, &failed)
	victims := 0
	for _, svc := range s.Replicas {
		if err := syscall.Kill(svc.Replicas[0].PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		victims++
	}
	eventually(t, "all replicas are back", func() bool {
		var now statusAnswer
		p.ask(&now, "status")
		back := 0
		for i, svc := range now.Replicas {
			if svc.Ready == 2 && svc.Replicas[0].PID != s.Replicas[i].Replicas[0].PID {
				back++
			}
		}
		return back == victims
	})
	if stop(); len(failed) > 0 {
		t.Errorf("%d GETs failed, the first: %s", len(failed), failed[0])
	}
}

func TestKilledSupervisorLeavesNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t, smallSystem)
	p.must("up", "-d")
	var s statusAnswer
	p.ask(&s, "status")
	if err := syscall.Kill(s.Info.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no orphan is left", func() bool { return len(p.processes()) == 0 })
	p.must("up", "-d")
	p.ask(&s, "status")
	if code, _, err := get("http://" + s.Info.Address + "/"); err != nil || code != 200 {
		t.Fatalf("after the second up: %d %v", code, err)
	}
}

// TestBadSystems wants one clear line for each, and nothing left running.
func TestBadSystems(t *testing.T) {
	t.Parallel()
	p := newPlace(t, smallSystem)
	service := func(how string) string {
		return "version: 1\nsystem: bad\nlisten: 127.0.0.1:0\nservices:\n  web: {" + how + "}\nroutes: [{path: /, to: web}]\n"
	}
	for _, c := range []struct {
		name, topology string
		code           int
		want           []string
	}{
		{"exits at once", service("run: [SELF], env: {BANYAN_TEST_SERVICE: exits}, health: {ready: {deadline: 20s}}"), 1, []string{"web", "exit", "3", "no licence found"}},
		{"never ready", service("run: [SELF], env: {BANYAN_TEST_SERVICE: never}, health: {ready: {path: /healthz, deadline: 1s}}"), 1, []string{"web", "ready"}},
		{"wrong port", service("run: [SELF], env: {BANYAN_TEST_SERVICE: wrong-port}, health: {ready: {path: /healthz, deadline: 1s}}"), 1, []string{"web", "PORT"}},
		{"missing binary", service("run: ./no-such-program"), 1, []string{"web", "no-such-program"}},
		{"missing package", service("build: ./nowhere"), 1, []string{"nowhere"}},
		{"not supported", service("run: [SELF]") + "functions: {f: {run: x, on: {every: 1m}}}\n", 1, []string{"functions: not supported yet"}},
		{"cyclic uses", "version: 1\nsystem: bad\nservices:\n  a: {run: x, uses: [b]}\n  b: {run: x, uses: [a]}\n", 2, []string{"a -> b -> a"}},
		{"10 MB", "version: 1\nsystem: bad\n" + strings.Repeat("# far too long\n", 700000), 2, []string{"MiB"}},
	} {
		p.write(c.topology)
		out, errs, code := p.run("up", "--detach")
		if code != c.code {
			t.Errorf("%s: exit code %d, want %d\n%s%s", c.name, code, c.code, out, errs)
		}
		for _, w := range c.want {
			if !strings.Contains(errs, w) {
				t.Errorf("%s: want %q in: %s", c.name, w, errs)
			}
		}
		if left := p.processes(); len(left) > 0 {
			t.Errorf("%s: left running: %v", c.name, left)
		}
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	first := newPlace(t, smallSystem)
	first.must("up", "-d")
	var s statusAnswer
	first.ask(&s, "status")
	second := newPlace(t, strings.Replace(smallSystem, "listen: 127.0.0.1:0", "listen: "+s.Info.Address, 1))
	if _, errs, code := second.run("up", "-d"); code != 1 || !strings.Contains(errs, s.Info.Address) || !strings.Contains(errs, "in use") {
		t.Errorf("port taken: %d %s", code, errs)
	}
}

// TestFiveMistakes wants all five of a file at once, each with its place.
func TestFiveMistakes(t *testing.T) {
	t.Parallel()
	p := newPlace(t, `version: 1
system: wrong
services:
  web: {run: x, replicas: many}
  api: {run: x, uses: [catalgo], drian: 5s}
  catalog: {run: x, limits: {memory: 12 apples}}
routes:
  - {path: /, to: wbe}
`)
	_, errs, code := p.run("check")
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	for _, w := range []string{"banyan.yaml:4:", "banyan.yaml:5:", "banyan.yaml:6:", "banyan.yaml:8:", "catalog", "drain", "web"} {
		if !strings.Contains(errs, w) {
			t.Errorf("want %q in:\n%s", w, errs)
		}
	}
	if lines := strings.Count(strings.TrimSpace(errs), "\n") + 1; lines != 5 {
		t.Errorf("%d lines, want 5:\n%s", lines, errs)
	}
}

func TestWrongUse(t *testing.T) {
	t.Parallel()
	p := newPlace(t, smallSystem)
	for _, args := range [][]string{
		{"nonsense"}, {"plan", "--rate", "fast"}, {"plan", "--rate", "1/s", "--users", "3"}, {"scale", "back"}, {"scale", "back=-1"},
		{"scale"}, {"load", "--speed", "3"}, {"load", "--threshold", "p99 is low"}, {"logs", "nobody"}, {"explain", "servces"}, {"--no-such-flag"},
		{"-f", "missing.yaml", "check"}, {"-f", "banyan.yaml", "load", "http://127.0.0.1:9/", "--body", "x"},
	} {
		if _, errs, code := p.run(args...); code != 2 || !strings.HasPrefix(errs, "banyan: ") || strings.Count(errs, "\n") > 2 {
			t.Errorf("banyan %s: exit code %d, %q", strings.Join(args, " "), code, errs)
		}
	}
	// The exit code of the process itself.
	if _, errs, code := p.process("nonsense"); code != 2 || !strings.HasPrefix(errs, "banyan: ") {
		t.Errorf("exit code %d, %q", code, errs)
	}
	if out := p.must("completion", "bash"); !strings.Contains(out, "banyan") {
		t.Error("no completion for bash")
	}
	if out := p.must("__complete", "scale", "front", ""); !strings.HasPrefix(out, "back\n:") {
		t.Errorf("completing a service: %q", out)
	}
	if out := p.must("schema"); !strings.Contains(out, "$schema") {
		t.Error("no schema")
	}
	if out := p.must("explain", "services.scale"); !strings.Contains(out, "target") {
		t.Errorf("explain: %s", out)
	}
	if out := p.must("check", "--expand"); !strings.Contains(out, "least-request") {
		t.Errorf("check --expand: %s", out)
	}
}

func TestExpandedFileIsRightAndTheSame(t *testing.T) {
	t.Parallel()
	p := newPlace(t, smallSystem)
	once := p.must("check", "--expand")
	file := filepath.Join(p.dir, "expanded.yaml")
	if err := os.WriteFile(file, []byte(once), 0o644); err != nil {
		t.Fatal(err)
	}
	if twice := p.must("-f", file, "check", "--expand"); twice != once {
		t.Errorf("expanding twice differs:\n%s\n%s", once, twice)
	}
}
