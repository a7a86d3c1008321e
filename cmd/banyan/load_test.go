package main

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A recording becomes a file that 'banyan check' takes, and the trace beside it.
func TestLoadImport(t *testing.T) {
	p := &place{t, t.TempDir()}
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
	p := &place{t, t.TempDir()}
	if err := os.WriteFile(filepath.Join(p.dir, "secret"), []byte("sixteen bytes or more\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, self, "load", "--worker", ":0", "--secret-file", "secret")
	cmd.Dir, cmd.Env = p.dir, append(os.Environ(), playBanyan+"=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	address := strings.TrimSpace(strings.TrimPrefix(line, "waiting for work at "))
	if err != nil || !strings.HasPrefix(address, "127.0.0.1:") {
		t.Fatalf("%v: %q", err, line)
	}
	text := p.must("load", "--workers", address, "--secret-file", "secret", target.URL, "--rate", "50/s", "--duration", "1s")
	if !strings.Contains(text, address) {
		t.Error(text)
	}
	if _, errs, code := p.run("load", "--workers", address, target.URL); code != 2 || !strings.Contains(errs, secretVariable) {
		t.Errorf("without a secret: %d, %s", code, errs)
	}
	cancel()
	if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("the worker: %v", err)
	}
}
