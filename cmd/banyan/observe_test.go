package main

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/observe/monitor"
	"github.com/banyanhq/banyan/observe/rules"
)

// value asks a monitor for the value of an expression, "" where there is none.
func value(t *testing.T, base, expr string) string {
	t.Helper()
	_, body, err := get(base + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return ""
	}
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%s: %v in %s", expr, err, body)
	}
	if len(answer.Data.Result) == 0 {
		return ""
	}
	return answer.Data.Result[0].Value[1].(string)
}

// background starts a command that goes on, and returns the address that it says it answers on.
func (p *place) background(args ...string) (address string) {
	p.t.Helper()
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Dir, cmd.Env = p.dir, append(os.Environ(), playBanyan+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			p.t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			p.t.Errorf("banyan %v: %v", args, err)
		}
	})
	var said struct{ Address string }
	if err := json.NewDecoder(out).Decode(&said); err != nil {
		p.t.Fatal(err)
	}
	return said.Address
}

// TestMonitored has a system whose requests come to be known to Prometheus's API, to 'slo', to 'alerts' and to a replay, and
// whose metrics outlive it.
func TestMonitored(t *testing.T) {
	t.Parallel()
	p := newPlace(t, smallSystem+`
slos: {home: {route: GET /, availability: 99.9%, latency: {p90: 10s}}}
monitoring: {interval: 1s}
`)
	p.must("up", "-d")
	var info struct{ Info control.Info }
	p.ask(&info, "status")
	if info.Info.Monitor == "" || !strings.Contains(p.must("status"), info.Info.Monitor) {
		t.Fatalf("status does not say where the metrics are: %+v", info.Info)
	}
	eventually(t, "requests are in the metrics", func() bool {
		if _, _, err := get("http://" + info.Info.Address + "/"); err != nil {
			t.Fatal(err)
		}
		v := value(t, info.Info.Monitor, `sum(increase(banyan_gateway_requests_total{route!=""}[1m])) > 3`)
		return v != ""
	})
	eventually(t, "two pages are read", func() bool { // its own: no service of this system has one
		return value(t, info.Info.Monitor, `count(up == 1)`) == "2"
	})
	var board monitor.Board
	p.ask(&board, "slo")
	if len(board.Standings) != 2 || board.Standings[0].Left != 1 {
		t.Errorf("board %+v", board)
	}
	if out := p.must("slo"); !strings.Contains(out, "availability") || !strings.Contains(out, "100%") {
		t.Errorf("slo: %s", out)
	}
	if out := p.must("alerts"); out != "no alert is pending or firing\n" {
		t.Errorf("alerts: %s", out)
	}
	eventually(t, "the watchdog fires", func() bool { return strings.Contains(p.must("alerts", "--all"), "Watchdog") })
	out := p.must("alerts", "silence", "slo=home", `route=~"GET .*"`, "--for", "1h", "--comment", "test")
	if !strings.Contains(p.must("alerts", "silences"), `slo=home route=~GET .*`) {
		t.Errorf("silences: %s", out)
	}
	var replays []rules.Replay
	p.ask(&replays, "alerts", "replay", "--since", "1m", "--step", "1s")
	if len(replays) < 5 {
		t.Errorf("%d alerts were replayed", len(replays))
	}
	if _, errs, code := p.run("alerts", "replay", "None"); code != 1 || !strings.Contains(errs, "no such alert") {
		t.Errorf("replay of none: %d %s", code, errs)
	}
	p.must("down")
	p.must("up", "-d")
	p.ask(&info, "status")
	if v := value(t, info.Info.Monitor, `count(max_over_time(banyan_gateway_requests_total[5m]))`); v == "" {
		t.Error("the metrics did not outlive the system")
	}
	if !strings.Contains(p.must("alerts", "silences"), "active") {
		t.Error("the silence did not outlive the system")
	}
}

// TestObserveAlone reads a page, answers, and tells what is wrong with its flags.
func TestObserveAlone(t *testing.T) {
	t.Parallel()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("things 7\n")) }))
	defer page.Close()
	p := newPlace(t, smallSystem)
	base := p.background("observe", "--json", "--listen", "127.0.0.1:0", "--data", "m", "--interval", "1s", "--target", "j="+page.URL+"/metrics")
	eventually(t, "the page is read", func() bool { return value(t, base, `things{job="j"}`) == "7" })
	if out := p.must("alerts", "--url", base); !strings.Contains(out, "no alert") {
		t.Errorf("alerts: %s", out)
	}
	if out := p.must("slo", "--url", strings.TrimPrefix(base, "http://")); !strings.Contains(out, "promises nothing") {
		t.Errorf("slo: %s", out)
	}
	for _, args := range [][]string{{"observe", "--size", "x"}, {"observe", "--target", "x"}, {"alerts", "silence"}, {"alerts", "silence", "x", "--url", base}} {
		if _, errs, code := p.run(args...); code != 2 {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
	if _, errs, code := p.run("observe", "--listen", "127.0.0.1:0", "--data", "n", "--rules", "none.yml"); code != 1 || !strings.Contains(errs, "no such file") {
		t.Errorf("rules that are not there: %d %s", code, errs)
	}
}

// single is a listener that has one connection.
type single chan net.Conn

func (l single) Accept() (net.Conn, error) {
	c, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l single) Close() error {
	close(l)
	return nil
}

func (l single) Addr() net.Addr { return &net.TCPAddr{} }

// TestObserveSlowBody sends a body that stops to the monitor that stands alone: it is given up.
func TestObserveSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := make(chan error, 1)
		srv := monitorServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			read <- err
		}))
		l := make(single, 1)
		ours, theirs := net.Pipe()
		defer ours.Close()
		l <- theirs
		ended := make(chan error, 1)
		go func() { ended <- srv.Serve(l) }()
		if _, err := io.WriteString(ours, "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc"); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-read:
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("reading it: %v", err)
			}
		case <-time.After(time.Hour): // of the clock that runs ahead
			t.Error("it is waited for still")
		}
		srv.Close()
		<-ended
	})
}

func TestExport(t *testing.T) {
	t.Parallel()
	p := newPlace(t, smallSystem+"\nslos: {home: {route: GET /, availability: 99.9%}}\n")
	out := p.must("export", "grafana", "-o", "d")
	if strings.Count(out, "\n") != 5 {
		t.Errorf("wrote %s", out)
	}
	data, err := os.ReadFile(filepath.Join(p.dir, "d", "banyan-slo.json"))
	if err != nil || !json.Valid(data) {
		t.Errorf("%v, %s", err, data)
	}
	text := p.must("export", "rules")
	source, err := rules.Parse("exported", []byte(text))
	if err != nil || len(source.Groups) != 5 {
		t.Errorf("%d groups, %v in\n%s", len(source.Groups), err, text)
	}
	for _, g := range source.Groups {
		for _, r := range g.Rules {
			if _, err := parser.NewParser(parser.Options{}).ParseExpr(r.Expr); err != nil {
				t.Error(err)
			}
		}
	}
}
