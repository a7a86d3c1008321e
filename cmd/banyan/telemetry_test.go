package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/banyanhq/banyan/observe/logs"
	"github.com/banyanhq/banyan/observe/traces"
)

// TestLogsAndTracesOfARun searches what replicas wrote and what the gateway saw, while the system runs and after it has ended.
func TestLogsAndTracesOfARun(t *testing.T) {
	t.Parallel()
	p := newPlace(t, smallSystem+"logs: {redact_patterns: {port: 'listening on (\\S+)'}}\ntraces: {wait: 200ms}\n")
	p.must("up", "--detach")
	var s statusAnswer
	p.ask(&s, "status")
	for range 5 {
		if code, _, err := get("http://" + s.Info.Address + "/"); err != nil || code != 200 {
			t.Fatalf("%d, %v", code, err)
		}
	}
	base := strings.TrimSuffix(s.Info.Metrics, "/metrics")
	resp, err := http.Post(base+"/loki/api/v1/push", "application/json", strings.NewReader(`{"streams":[{"stream":{"job":"cron"},"values":[["1","too old"]]}]}`))
	if err != nil || resp.StatusCode != http.StatusNoContent {
		t.Fatalf("a push: %v, %v", resp, err)
	}
	resp.Body.Close()
	if code, body, err := get(base + "/loki/api/v1/query?query=vector(1)%2Bvector(1)"); err != nil || code != 200 || !strings.Contains(body, `"2"`) {
		t.Errorf("Loki's health: %d %s %v", code, body, err)
	}
	if code, body, err := get(base + "/elastic/"); err != nil || code != 200 || !strings.Contains(body, "You Know, for Search") {
		t.Errorf("Elasticsearch's health: %d %s %v", code, body, err)
	}
	search := func() {
		t.Helper()
		eventually(t, "what back wrote is found", func() bool {
			var answer logs.Answer
			p.ask(&answer, "logs", "back", "stream=out listening", "--since", "10m")
			return len(answer.Entries) > 0 && answer.Entries[0].Labels["replica"] == "back-0"
		})
		if out := p.must("logs", "--since", "10m", "--histogram", "--by", "service"); !strings.Contains(out, "front") {
			t.Errorf("histogram: %s", out)
		}
	}
	search()
	var found []traces.Summary
	for len(found) < 5 { // each is decided a moment after its first span
		p.ask(&found, "traces")
	}
	if found[0].Service != traces.Gateway {
		t.Errorf("traces: %+v", found[0])
	}
	if out := p.must("traces", "show", found[0].TraceID); !strings.Contains(out, "*") {
		t.Errorf("a trace: %s", out)
	}
	if out := p.must("traces", "path", traces.Gateway); !strings.Contains(out, "critical path") {
		t.Errorf("paths: %s", out)
	}
	if code, body, err := get(base + "/jaeger/api/traces/" + found[0].TraceID); err != nil || code != 200 || !json.Valid([]byte(body)) {
		t.Errorf("Jaeger: %d %s %v", code, body, err)
	}
	for _, args := range [][]string{{"logs", "nosuch"}, {"logs", "level=("}, {"logs", "--since", "soon"}, {"traces", "--limit", "0"}} {
		if _, errs, code := p.run(args...); code != 2 {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
	p.must("down")
	search()
	if out := p.must("traces", "show", found[0].TraceID); !strings.Contains(out, traces.Gateway) {
		t.Errorf("a trace after the end: %s", out)
	}
}

// TestWithoutLogsAndTraces runs a system that keeps neither.
func TestWithoutLogsAndTraces(t *testing.T) {
	t.Parallel()
	p := newPlace(t, smallSystem+"logs: {off: true}\ntraces: {off: true}\nmonitoring: {off: true}\n")
	p.must("up", "--detach")
	var s statusAnswer
	p.ask(&s, "status")
	base := strings.TrimSuffix(s.Info.Metrics, "/metrics")
	for _, path := range []string{"/elastic/", "/jaeger/api/services", "/loki/api/v1/labels", "/logs/search", "/traces/search", "/v1/logs", "/api/v1/query?query=1"} {
		if code, body, err := get(base + path); err != nil || code != http.StatusNotFound {
			t.Errorf("%s: %d %s %v", path, code, body, err)
		}
	}
	for _, args := range [][]string{{"logs", "level=error"}, {"traces"}} {
		if _, errs, code := p.run(args...); code == 0 || !strings.Contains(errs, "keeps no "+args[0]) {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
	// The last lines of each replica are there all the same.
	if out := p.must("logs", "back"); !strings.Contains(out, "listening") {
		t.Errorf("what back wrote last: %s", out)
	}
}
