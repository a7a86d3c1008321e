package monitor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/banyanhq/banyan/observe/cause"
	"github.com/banyanhq/banyan/observe/notify"
	"github.com/banyanhq/banyan/topology"
)

func load(t *testing.T, text string) *topology.System {
	t.Helper()
	path := filepath.Join(t.TempDir(), "banyan.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	sys, err := topology.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return sys
}

const shop = `
system: shop
services:
  web: {run: ./web, layer: presentation, uses: [cart], metrics: /metrics}
  cart: {run: ./cart, layer: business}
routes: [{path: /, to: web, name: home}]
slos: {home: {route: home, availability: 99.9%}}
monitoring:
  rules: [rules.yml]
  remote_write: [{url: "http://other/api/v1/write", bearer_env: TOKEN}]
  alerts:
    alertmanagers: ["http://am:9093"]
    receivers: {oncall: {webhook: "http://hook", mail: [a@example.com]}, team: {webhook: "http://team"}}
    routes: [{to: oncall, match: '{severity="page"}'}]
    smtp: {address: "mail:25", from: b@example.com, username: u, password_env: PASSWORD}
    heartbeat: http://alive
`

func TestConfigure(t *testing.T) {
	sys := load(t, shop)
	env := map[string]string{"TOKEN": "t", "PASSWORD": "p"}
	cfg, err := Configure(sys, "/state", func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Store.Dir != "/state/metrics" || cfg.Store.Retention != 35*24*time.Hour || cfg.Store.MaxBytes != 2<<30 || cfg.Interval != 10*time.Second {
		t.Errorf("store %+v", cfg.Store)
	}
	if len(cfg.Objectives) != 1 || cfg.RemoteWrite[0].Headers["Authorization"] != "Bearer t" || cfg.Notify.SMTP.Password != "p" {
		t.Errorf("config %+v", cfg)
	}
	if len(cfg.Notify.Routes) != 2 || !cfg.Notify.Routes[0].Continue || cfg.Notify.Routes[1].Receiver != "oncall" || cfg.Notify.Routes[1].Repeat != 4*time.Hour {
		t.Errorf("routes %+v", cfg.Notify.Routes)
	}
	if got := cfg.Calls()["web"]; len(got) != 1 || got[0] != "cart" {
		t.Errorf("calls %v", got)
	}
	if cfg.RuleFiles[0] != filepath.Join(sys.Dir, "rules.yml") {
		t.Errorf("rules %v", cfg.RuleFiles)
	}
	delete(env, "PASSWORD")
	if _, err := Configure(sys, "/state", func(name string) string { return env[name] }); err == nil || !strings.Contains(err.Error(), "PASSWORD") {
		t.Errorf("error %v: want one that names the variable", err)
	}
	if target, ok := ServiceTarget(sys, "web", "web-0", "127.0.0.1:1"); !ok || target.URL != "http://127.0.0.1:1/metrics" || target.Labels["replica"] != "web-0" {
		t.Errorf("target %+v, %v", target, ok)
	}
	if _, ok := ServiceTarget(sys, "cart", "cart-0", "127.0.0.1:1"); ok {
		t.Error("a service without metrics has a target")
	}
}

// write sends one sample by remote write.
func write(t *testing.T, base, name string, v float64, at time.Time, pairs ...string) {
	t.Helper()
	ts := prompb.TimeSeries{Labels: []prompb.Label{{Name: "__name__", Value: name}}, Samples: []prompb.Sample{{Value: v, Timestamp: at.UnixMilli()}}}
	for i := 0; i < len(pairs); i += 2 {
		ts.Labels = append(ts.Labels, prompb.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	data, err := (&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{ts}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(base+"/api/v1/write", "application/x-protobuf", bytes.NewReader(snappy.Encode(nil, data)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("status %s: %s", resp.Status, text)
	}
}

// From a sample to a webhook: an alert fires, is sent out with its suspect, is listed, silenced, replayed, and the board shows
// what it is about. Afterwards all is closed.
func TestMonitor(t *testing.T) {
	hooks := make(chan string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		hooks <- string(body)
	}))
	defer hook.Close()
	sys := load(t, strings.NewReplacer("remote_write: [{url: \"http://other/api/v1/write\", bearer_env: TOKEN}]", "interval: 1s",
		`alertmanagers: ["http://am:9093"]`, "", "http://hook", hook.URL, "http://alive", hook.URL+"/alive", ", mail: [a@example.com]", "", "routes: [{to: oncall, match: '{severity=\"page\"}'}]",
		"routes: [{to: oncall, match: '{severity=\"page\"}', wait: 1s}]").Replace(shop))
	if err := os.WriteFile(filepath.Join(sys.Dir, "rules.yml"), []byte("groups: [{name: g, interval: 1s, rules: [{alert: High, expr: x > 5, labels: {severity: page, service: web}}]}]"), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, err := Configure(sys, t.TempDir(), func(string) string { return "secret" })
	if err != nil {
		t.Fatal(err)
	}
	cfg.Log = slog.New(slog.DiscardHandler)
	replaced := time.Now().Add(-10 * time.Second)
	cfg.Events = func() []cause.Event {
		return []cause.Event{{At: replaced, Kind: "deploy", Service: "cart", What: "cart was replaced"}}
	}
	m, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(m.Handler())
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()

	for i := range 60 {
		write(t, server.URL, "x", 10, time.Now().Add(time.Duration(i)*time.Second))
	}
	timeout := time.After(2 * time.Minute)
	for alive, told := false, false; !alive || !told; {
		select {
		case body := <-hooks:
			if body == "" {
				alive = true
				continue
			}
			told = true
			for _, want := range []string{`"version":"4"`, `"status":"firing"`, `"alertname":"High"`, `"system":"shop"`, `"suspect":"cart was replaced"`} {
				if !strings.Contains(body, want) {
					t.Errorf("the webhook got %s: want %s", body, want)
				}
			}
		case <-timeout:
			t.Fatalf("alive %v, told %v", alive, told)
		}
	}
	c := Dial(server.URL)
	alerts, err := c.Alerts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var high *Alert
	for i := range alerts {
		if alerts[i].Name == "High" {
			high = &alerts[i]
		}
	}
	if high == nil || high.State != "firing" || len(high.Suspects) == 0 || high.Suspects[0].What != "cart was replaced" {
		t.Fatalf("alerts %+v", alerts)
	}
	id, err := c.Silence(ctx, notify.Silence{Matchers: []notify.Matcher{{Name: "alertname", Value: "High"}}, StartsAt: time.Now(), EndsAt: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	alerts, err = c.Alerts(ctx)
	if err != nil || !strings.Contains(fmt.Sprint(alerts), id) {
		t.Errorf("alerts %+v, %v: want one silenced by %s", alerts, err, id)
	}
	if err := c.Expire(ctx, id); err != nil {
		t.Error(err)
	}
	if err := c.Expire(ctx, "none"); err == nil || !strings.Contains(err.Error(), "no such silence") {
		t.Errorf("error %v", err)
	}
	replays, err := c.Replay(ctx, "High", time.Now().Add(-time.Minute), time.Now().Add(40*time.Second), 5*time.Second)
	if err != nil || len(replays) != 1 || len(replays[0].Fired) != 1 {
		t.Errorf("replays %+v, %v", replays, err)
	}
	if _, err := c.Replay(ctx, "None", time.Now().Add(-time.Minute), time.Now(), 0); err == nil || !strings.Contains(err.Error(), "no such alert") {
		t.Errorf("error %v", err)
	}
	board, err := c.Board(ctx)
	if err != nil || len(board.Standings) != 1 || board.Standings[0].Left != 1 {
		t.Errorf("board %+v, %v", board, err)
	}
	if silences, err := c.Silences(ctx); err != nil || len(silences) != 1 {
		t.Errorf("silences %+v, %v", silences, err)
	}
	if d, err := c.Destinations(ctx); err != nil || len(d) < 2 {
		t.Errorf("destinations %+v, %v", d, err)
	}
	// A web page of another site cannot write.
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/api/v1/write", strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", "http://evil.example.com")
	if resp, err := http.DefaultClient.Do(req); err != nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("a write from another site: %v, %v", resp, err)
	}
	for _, path := range []string{"/monitor/metrics", "/monitor/rules.yml", "/api/v1/rules", "/api/v1/targets"} {
		resp, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// The board survives JSON: a share that is not a number must not.
func TestBoardIsJSON(t *testing.T) {
	sys := load(t, strings.Replace(shop, "rules: [rules.yml]", "", 1))
	cfg, err := Configure(sys, t.TempDir(), func(string) string { return "secret" })
	if err != nil {
		t.Fatal(err)
	}
	cfg.Log = slog.New(slog.DiscardHandler)
	m, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b, err := m.Board(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := json.Marshal(b); err != nil {
		t.Error(err)
	}
	if err := m.Replace(nil); err != nil {
		t.Error(err)
	}
}

// A request that is under way when the monitor ends is told to end, and waited for; later ones are refused.
func TestGate(t *testing.T) {
	var g gate
	inside := make(chan struct{})
	h := g.wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(inside)
		<-r.Context().Done()
	}))
	go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	<-inside
	if !g.close(time.Minute) {
		t.Error("the request was not told to end")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d after the end", w.Code)
	}
	var stuck gate
	leave, _ := stuck.enter(func() {})
	defer leave()
	if stuck.close(time.Millisecond) {
		t.Error("one that does not end was taken to have ended")
	}
}
