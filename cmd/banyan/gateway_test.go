package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/topology"
)

// backend answers every request with its name, and returns its address.
func backend(t *testing.T, name string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(name)) }))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

const alone = `
system: alone
listen: 127.0.0.1:0
access_log: {file: access.log}
services:
  one: {backends: [ONE]}
  two: {backends: [TWO]}
routes:
  - {path: /, to: one}
  - {path: /two/, to: two}
`

func TestGatewayAlone(t *testing.T) {
	t.Parallel()
	text := strings.NewReplacer("ONE", backend(t, "one"), "TWO", backend(t, "two")).Replace(alone)
	p := newPlace(t, text)
	p.must("gateway", "-d")
	var s statusAnswer
	p.ask(&s, "status")
	if n := len(s.Status.Services); n != 2 || s.Status.Services[0].Ready != 1 {
		t.Errorf("status: %+v", s.Status.Services)
	}
	for path, want := range map[string]string{"/": "one", "/two/x": "two"} {
		if code, body, err := get("http://" + s.Info.Address + path); err != nil || code != 200 || body != want {
			t.Errorf("%s: %d %q %v, want %q", path, code, body, err, want)
		}
	}
	if _, errs, code := p.run("up", "-d"); code != 1 || !strings.Contains(errs, "already up") {
		t.Errorf("up beside it: %d %s", code, errs)
	}
	eventually(t, "the access log is written", func() bool {
		log, _ := os.ReadFile(filepath.Join(p.dir, "access.log"))
		return strings.Contains(string(log), `"uri":"/two/x"`)
	})
	resp, err := http.Get("http://" + s.Info.Address + "/two/why")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	id := resp.Header.Get("X-Request-Id")
	var d gateway.Decision
	p.ask(&d, "gateway", "why", id)
	if d.RequestID != id || d.Route != "/two/" || len(d.Tries) != 1 || d.Tries[0].Backend == "" {
		t.Errorf("why: %+v", d)
	}
	if out := p.must("gateway", "why", id); !strings.Contains(out, "route /two/ to two") || !strings.Contains(out, "BACKEND") {
		t.Errorf("why: %s", out)
	}
	if _, errs, code := p.run("gateway", "why", "nobody"); code != 1 || !strings.Contains(errs, "not remembered") {
		t.Errorf("why of an unknown request: %d %s", code, errs)
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	text := strings.NewReplacer("ONE", backend(t, "one"), "TWO", backend(t, "two")).Replace(alone)
	p := newPlace(t, text)
	p.must("gateway", "-d")
	var s statusAnswer
	p.ask(&s, "status")
	if out := p.must("reload"); out != "nothing changed\n" {
		t.Errorf("reload of the same: %s", out)
	}
	var failed []string
	stop := hammer(s.Info.Address, &failed)
	moved := strings.Replace(text, "{path: /, to: one}", "{path: /, to: two}", 1)
	p.write(moved)
	eventually(t, "the access log has the requests", func() bool {
		out, _, code := p.run("gateway", "dry-run")
		return code == 1 && strings.Contains(out, "-> route / to two")
	})
	if out := p.must("reload"); out != "route / changed\n" {
		t.Errorf("reload: %s", out)
	}
	if _, body, err := get("http://" + s.Info.Address + "/"); err != nil || body != "two" {
		t.Errorf("after the reload: %q %v", body, err)
	}
	three := backend(t, "three")
	p.write(strings.Replace(moved, "two: {backends: [", "two: {backends: ["+three+", ", 1))
	p.must("reload")
	eventually(t, "the new backend answers", func() bool {
		_, body, _ := get("http://" + s.Info.Address + "/")
		return body == "three"
	})
	if _, errs, code := p.run("gateway", "dry-run", "banyan.yaml"); code != 1 || !strings.Contains(errs, "holds no request") {
		t.Errorf("dry run of what is no recording: %d %s", code, errs)
	}
	for change, want := range map[string]string{
		strings.Replace(moved, "listen: 127.0.0.1:0", "listen: 127.0.0.1:1", 1): "listen changed: that takes a new process, which 'banyan gateway --take-over'",
		strings.Replace(moved, "to: two", "to: nobody", 1):                      "there is no such service",
		moved + "  - {path: /x, to: one, retry: {attempts: 99}}\n":              "attempts",
	} {
		p.write(change)
		if _, errs, code := p.run("reload"); code == 0 || !strings.Contains(errs, want) {
			t.Errorf("want %q: %d %s", want, code, errs)
		}
	}
	stop()
	if len(failed) > 0 {
		t.Errorf("%d requests failed, the first: %s", len(failed), failed[0])
	}
}

// Without a recording a dry run says how to make one.
func TestDryRunWithoutARecording(t *testing.T) {
	const plain = "system: alone\nservices: {web: {backends: [\"127.0.0.1:1\"]}}\nroutes: [{path: /, to: web}]\n"
	for text, want := range map[string]string{
		plain: "no recording is named",
		plain + "access_log: {file: access.log, format: common}\n": "format: common",
		plain + "access_log: {file: access.log}\n":                 "there is no recording",
	} {
		p := newPlace(t, text)
		_, errs, code := p.run("gateway", "dry-run", "--old", "banyan.yaml")
		if code != 2 || !strings.Contains(errs, want) || !strings.Contains(errs, "banyan gateway --record") {
			t.Errorf("want %q: %d %s", want, code, errs)
		}
	}
}

// TestReloadOfARunningSystem wants routes and calls to change under 'up', and what needs a restart to be named.
func TestReloadOfARunningSystem(t *testing.T) {
	t.Parallel()
	p := newPlace(t, smallSystem)
	p.must("up", "-d")
	data, err := os.ReadFile(filepath.Join(p.dir, "banyan.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	p.write(strings.Replace(text, "{path: /, method: GET, to: front}", "{path: /, method: GET, to: front, limit: {rate: 0.001/s, burst: 1}}", 1))
	if out := p.must("reload"); out != "route GET / changed\n" {
		t.Errorf("reload: %s", out)
	}
	var s statusAnswer
	p.ask(&s, "status")
	for _, want := range []int{200, 429} {
		if code, _, err := get("http://" + s.Info.Address + "/"); err != nil || code != want {
			t.Errorf("status %d %v, want %d", code, err, want)
		}
	}
	p.write(strings.Replace(text, "replicas: 2", "replicas: 3", 1))
	if _, errs, code := p.run("reload"); code != 1 || !strings.Contains(errs, "services.front.replicas changed") {
		t.Errorf("a change of replicas: %d %s", code, errs)
	}
}

func TestGatewayIsTakenOver(t *testing.T) {
	t.Parallel()
	one := backend(t, "one")
	p := newPlace(t, strings.NewReplacer("ONE", one, "TWO", one).Replace(alone))
	p.must("gateway", "-d")
	var s statusAnswer
	p.ask(&s, "status")
	var failed []string
	stop := hammer(s.Info.Address, &failed)
	var second sync.WaitGroup
	second.Go(func() {
		if out, errs, code := p.process("gateway", "--take-over"); code != 0 {
			t.Errorf("the second gateway: %d %s%s", code, out, errs)
		}
	})
	eventually(t, "another process answers", func() bool {
		var now statusAnswer
		out, _, code := p.run("status", "--json")
		return code == 0 && json.Unmarshal([]byte(out), &now) == nil && now.Info.PID != s.Info.PID && now.Info.State == "serving" && now.Info.Address == s.Info.Address
	})
	for range 50 {
		if code, _, err := get("http://" + s.Info.Address + "/"); err != nil || code != 200 {
			t.Errorf("after the hand-over: %d %v", code, err)
		}
	}
	stop()
	if len(failed) > 0 {
		t.Errorf("%d requests failed, the first: %s", len(failed), failed[0])
	}
	p.must("down")
	second.Wait()
}

func TestGatewayFlags(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "name the backends with --backend"},
		{[]string{"--backend", "nowhere"}, "want HOST:PORT"},
		{[]string{"--backend", "127.0.0.1:1@0"}, "weight"},
		{[]string{"--backend", "a=127.0.0.1:1"}, "needs no name"},
		{[]string{"--backend", "127.0.0.1:1", "--balance", "dice"}, `found "dice"`},
		{[]string{"--backend", "127.0.0.1:1", "--listen", "here"}, `found "here"`},
	} {
		_, errs, code := runHere(t, "", append([]string{"gateway"}, tt.args...)...)
		if code != 2 || !strings.Contains(errs, tt.want) || strings.Count(strings.TrimSpace(errs), "\n") > 0 {
			t.Errorf("%v: %d %s", tt.args, code, errs)
		}
	}
	if err := os.WriteFile("banyan.yaml", []byte("system: s\nservices: {web: {run: x}, far: {backends: ['127.0.0.1:1']}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := runHere(t, "", "gateway"); code != 1 || !strings.Contains(errs, "--backend web=HOST:PORT") {
		t.Errorf("a service without backends: %d %s", code, errs)
	}
}

func TestFlagsOfTLS(t *testing.T) {
	f := gatewayFlags{tls: ":8443", acme: []string{"shop.example", "www.shop.example"}, acmeEmail: "ops@shop.example", acmeDirectory: "https://ca.internal/dir", backends: []string{"127.0.0.1:1"}}
	text, err := f.overlay(true)
	if err != nil {
		t.Fatal(err)
	}
	sys, err := topology.Parse(topology.Source{Name: "flags", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	a := sys.TLS.ACME
	if sys.TLS.Listen != ":8443" || len(a.Domains) != 2 || a.Domains[1] != "www.shop.example" || a.Email != "ops@shop.example" || a.Directory != "https://ca.internal/dir" {
		t.Errorf("got %+v, %+v", *sys.TLS, *a)
	}
	if _, err := (gatewayFlags{acmeEmail: "ops@shop.example"}).overlay(true); err == nil {
		t.Error("an address without a domain is taken")
	}
	if again := strings.Join(f.again(), " "); !strings.Contains(again, "--tls :8443") || !strings.Contains(again, "--acme shop.example --acme www.shop.example") {
		t.Errorf("started again with %s", again)
	}
}

// The flags bound connections in place of the file, and what is refused is seen in the status.
func TestConnectionsOfTheGateway(t *testing.T) {
	t.Parallel()
	p := newPlace(t, strings.NewReplacer("ONE", backend(t, "one"), "TWO", backend(t, "two"), "system: alone", "system: alone\nconnections: {max: 100}").Replace(alone))
	p.must("gateway", "-d", "--max-connections", "50", "--max-connections-per-client", "1")
	var s statusAnswer
	p.ask(&s, "status")
	if l := s.Connections[0]; l.Listener != "outside" || l.Max != 50 || l.PerClient != 1 {
		t.Errorf("%+v", s.Connections)
	}
	if out := p.must("status"); strings.Contains(out, "LISTENER") {
		t.Errorf("all got in, and the status says:\n%s", out)
	}
	first, err := net.Dial("tcp", s.Info.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := io.WriteString(first, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if res, err := http.ReadResponse(bufio.NewReader(first), nil); err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	if code, _, err := get("http://" + s.Info.Address + "/"); err == nil {
		t.Errorf("a second connection is answered %d", code)
	}
	if out := p.must("status"); !strings.Contains(out, "LISTENER") || !strings.Contains(out, "outside") {
		t.Errorf("one was refused, and the status says:\n%s", out)
	}
}

func TestFlagsOfConnections(t *testing.T) {
	f := gatewayFlags{maxConns: 7, maxConnsClient: 3, backends: []string{"127.0.0.1:1"}}
	text, err := f.overlay(true)
	if err != nil {
		t.Fatal(err)
	}
	sys, err := topology.Parse(topology.Source{Name: "flags", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	if c := sys.Connections; c.Max != 7 || c.PerClient != 3 {
		t.Errorf("got %+v", c)
	}
	if again := strings.Join(f.again(), " "); !strings.Contains(again, "--max-connections 7 --max-connections-per-client 3") {
		t.Errorf("started again with %s", again)
	}
	f.maxConns = -1
	if _, err := f.overlay(true); err == nil {
		t.Error("-1 connections are taken")
	}
}
