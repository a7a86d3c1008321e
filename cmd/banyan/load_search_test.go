package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/banyanhq/banyan/load"
)

func banyan(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &err)
	return code, out.String(), err.String()
}

func TestLoadReportsAndDiff(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	defer server.Close()
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	code, out, errs := banyan(t, "load", server.URL+"/x", "--rate", "100/s", "--duration", "1s", "--json",
		"--html", file("r.html"), "--hdr", file("r.hlog"), "--prometheus", file("r.prom"))
	if code != 0 {
		t.Fatalf("code %d, %s", code, errs)
	}
	for name, want := range map[string]string{"r.html": "</html>", "r.hlog": "Tag=latency:total", "r.prom": "banyan_load_requests{"} {
		if data, err := os.ReadFile(file(name)); err != nil || !strings.Contains(string(data), want) {
			t.Errorf("%s: %v, %.200s", name, err, data)
		}
	}
	if err := os.WriteFile(file("old.json"), []byte(out), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, out, errs = banyan(t, "load", "diff", file("old.json"), file("old.json"), "--tolerance", "10%"); code != 0 || !strings.Contains(out, "p99") {
		t.Errorf("code %d, %s%s", code, out, errs)
	}
	var record struct{ Result *load.Result }
	data, err := os.ReadFile(file("old.json"))
	if err != nil || json.Unmarshal(data, &record) != nil {
		t.Fatal(err)
	}
	for _, s := range append(record.Result.Steps, record.Result.Total) {
		s.Errors = map[load.Kind]int64{load.Refused: s.Requests / 2}
	}
	if data, err = json.Marshal(record); err != nil || os.WriteFile(file("new.json"), data, 0o644) != nil {
		t.Fatal(err)
	}
	if code, out, _ = banyan(t, "load", "diff", file("old.json"), file("new.json"), "--json"); code != 1 || !strings.Contains(out, `"worse": true`) {
		t.Errorf("code %d, %s", code, out)
	}
	if code, _, errs = banyan(t, "load", "diff", file("old.json"), file("none.json")); code != 1 || errs == "" {
		t.Errorf("a missing record: code %d, %s", code, errs)
	}
	if code, _, errs = banyan(t, "load", server.URL, "--rate", "10/s", "--duration", "1s", "--html", filepath.Join(dir, "no", "x.html")); code != 2 || !strings.Contains(errs, "cannot be written") {
		t.Errorf("a report that cannot be written: code %d, %s", code, errs)
	}
}

func TestLoadSweepOfURL(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	defer server.Close()
	code, out, errs := banyan(t, "load", server.URL, "--sweep", "users=1,2,3", "--duration", "200ms", "--json")
	var s load.Sweep
	if err := json.Unmarshal([]byte(out), &s); code != 0 || err != nil || len(s.Points) != 3 {
		t.Errorf("code %d, %v, %s%s", code, err, out, errs)
	}
}

func TestLoadFindKneeOfURL(t *testing.T) {
	var down atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	// A target that holds whatever is allowed: the search ends soon, and says so.
	args := []string{"load", server.URL, "--find-knee", "--slo", "errors<1%", "--rate", "200/s", "--max-rate", "200/s", "--duration", "100ms", "--json"}
	code, out, errs := banyan(t, args...)
	var k load.Knee
	if err := json.Unmarshal([]byte(out), &k); code != 1 || err != nil || k.Found || k.Why == "" {
		t.Errorf("code %d, %v, %s%s", code, err, out, errs)
	}
	down.Store(true)
	if code, out, errs := banyan(t, args...); code != 1 || out != "" || !strings.Contains(errs, "before the search failed (unexpected status: ") {
		t.Errorf("code %d, %s%s", code, out, errs)
	}
}

func TestLoadSearchWrongUse(t *testing.T) {
	for _, args := range []string{
		"--find-knee", "--find-knee --slo p99>1s", "--slo p99<1s", "--find-knee --sweep users=1,2,3", "--sweep users=0", "--sweep users=1,2,3 --rate 5/s",
		"--find-knee --slo p99<1s --users 4", "--find-knee --slo p99<1s --html x", "--find-knee --slo p99<1s --precision x", "--find-knee --slo p99<1s --max-rate 0/s",
		"--find-knee --slo p99<1s --cool-down x",
	} {
		if code, _, errs := banyan(t, append([]string{"load", "http://127.0.0.1:1"}, strings.Fields(args)...)...); code != 2 || errs == "" {
			t.Errorf("%s: code %d, %s", args, code, errs)
		}
	}
	for _, args := range []string{"a.json", "a.json b.json --tolerance x", "a.json b.json --errors 0%"} {
		if code, _, errs := banyan(t, append([]string{"load", "diff"}, strings.Fields(args)...)...); code != 2 || errs == "" {
			t.Errorf("diff %s: code %d, %s", args, code, errs)
		}
	}
}
