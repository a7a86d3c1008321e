package main

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// A recording becomes a file that 'banyan check' takes, and the trace beside it.
func TestLoadImport(t *testing.T) {
	p := emptyPlace(t)
	log := `203.0.113.1 - - [10/Oct/2025:13:55:36 +0200] "GET /products/17?a=b HTTP/1.1" 200 5` + "\n"
	if err := os.WriteFile(filepath.Join(p.dir, "access.log"), []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	text := p.must("load", "import", "access.log", "--system", "shop", "--trace", "arrivals.csv")
	if err := os.WriteFile(filepath.Join(p.dir, "banyan.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := p.must("check"); !strings.Contains(out, "is right") {
		t.Error(out)
	}
	if trace, err := os.ReadFile(filepath.Join(p.dir, "arrivals.csv")); err != nil || string(trace) != "time,requests\n2025-10-10T11:55:36Z,1\n" {
		t.Errorf("%v: %s", err, trace)
	}
	for _, wrong := range [][]string{{"none.log"}, {"access.log", "--format", "xml"}, {}} {
		if _, _, code := p.run(append([]string{"load", "import"}, wrong...)...); code != 2 {
			t.Errorf("import %q: exit code %d, want 2", wrong, code)
		}
	}
	if _, errs, code := p.run("load", "import", "access.log", "--trace", "arrivals.csv"); code != 1 || !strings.Contains(errs, "exists") {
		t.Errorf("a trace was overwritten: %d, %s", code, errs)
	}
}

// A worker process sends the load that another process asks for.
func TestLoadWorkers(t *testing.T) {
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer target.Close()
	p := emptyPlace(t)
	if err := os.WriteFile(filepath.Join(p.dir, "secret"), []byte("sixteen bytes or more\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	worker, address := p.worker(t)
	text := p.must("load", "--workers", address, "--secret-file", "secret", target.URL, "--rate", "50/s", "--duration", "1s")
	if !strings.Contains(text, address) {
		t.Error(text)
	}
	if _, errs, code := p.run("load", "--workers", address, target.URL); code != 2 || !strings.Contains(errs, secretVariable) {
		t.Errorf("without a secret: %d, %s", code, errs)
	}
	if err := worker.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := worker.Wait(); err != nil {
		t.Errorf("the worker: %v", err)
	}
}

// worker starts a worker as a process of its own and returns its address.
func (p *place) worker(t *testing.T) (*exec.Cmd, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "load", "--worker", ":0", "--secret-file", "secret")
	cmd.Dir, cmd.Env = p.dir, append(os.Environ(), playBanyan+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	address := strings.TrimSpace(strings.TrimPrefix(line, "waiting for work at "))
	if err != nil || !strings.HasPrefix(address, "127.0.0.1:") {
		t.Fatalf("%v: %q", err, line)
	}
	return cmd, address
}

// A worker process that is killed in the middle is reported as lost, the others end their parts, and the run is no success;
// with another secret nothing is sent.
func TestKilledLoadWorker(t *testing.T) {
	reached, killed, hits := make(chan struct{}), make(chan struct{}), atomic.Int64{}
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		switch n := hits.Add(1); {
		case n == 100:
			close(reached)
			fallthrough
		case n > 100:
			<-killed // the run is not over before
		}
	}))
	defer target.Close()
	p := emptyPlace(t)
	for name, secret := range map[string]string{"secret": "sixteen bytes or more\n", "wrong": "another secret, as long\n"} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	doomed, first := p.worker(t)
	_, second := p.worker(t)
	if _, errs, code := p.run("load", "--workers", first+","+second, "--secret-file", "wrong", target.URL); code != 1 || !strings.Contains(errs, "another secret") || hits.Load() > 0 {
		t.Errorf("a wrong secret: %d, %s, %d requests", code, errs, hits.Load())
	}
	go func() {
		<-reached
		_ = doomed.Process.Kill()
		close(killed)
	}()
	out, errs, code := p.run("load", "--workers", first+","+second, "--secret-file", "secret", target.URL, "--rate", "200/s", "--arrivals", "constant", "--duration", "2s")
	if code != 1 || !strings.Contains(out, "LOST") || !strings.Contains(out, "its share, 200 scenarios that were due, one of 2, is not in the figures") {
		t.Errorf("code %d\n%s%s", code, out, errs)
	}
}
