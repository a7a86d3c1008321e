package gateway

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/banyanhq/banyan/topology"
)

// logged starts a gateway that logs, sends what f does, and returns the lines once it has ended.
func logged(t *testing.T, cfg topology.AccessLog, f func(r *rig)) []string {
	t.Helper()
	sys := shop()
	sys.Dir = t.TempDir()
	cfg.File = "access.log"
	sys.AccessLog = &cfg
	r := start(t, Config{System: sys})
	f(r)
	r.stop()
	return lines(t, filepath.Join(sys.Dir, "access.log"))
}

func lines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func TestAccessLogInJSON(t *testing.T) {
	got := logged(t, topology.AccessLog{Format: "json", Sample: 1, Headers: []string{"x-user", "X-None"}}, func(r *rig) {
		r.serve("catalog", text("hello"))
		req := r.request("GET", `/api/x?q="y"`, nil)
		req.Header.Set("X-User", "a\tb")
		req.Header.Set("X-Request-Id", "id-1")
		req.Header.Set("User-Agent", "test\xff")
		r.do(req)
		r.get("/nobody-is-there")
	})
	if len(got) != 2 {
		t.Fatalf("%d lines: %q", len(got), got)
	}
	var line map[string]any
	if err := json.Unmarshal([]byte(got[0]), &line); err != nil {
		t.Fatalf("%s: %v", got[0], err)
	}
	for key, want := range map[string]any{
		"method": "GET", "uri": `/api/x?q="y"`, "status": 200.0, "bytes": 5.0, "route": "api", "service": "catalog",
		"backend": "catalog-1", "attempts": 1.0, "request_id": "id-1", "client": "127.0.0.1", "protocol": "HTTP/1.1",
		"scheme": "http", "user_agent": "test\ufffd",
	} {
		if line[key] != want {
			t.Errorf("%s is %v, want %v", key, line[key], want)
		}
	}
	if h := line["headers"].(map[string]any); len(h) != 1 || h["X-User"] != "a\tb" {
		t.Errorf("headers: %v", h)
	}
	if at, err := time.Parse(time.RFC3339Nano, line["time"].(string)); err != nil || time.Since(at) > time.Minute || time.Since(at) < 0 {
		t.Errorf("time %v: %v", line["time"], err)
	}
	if !strings.Contains(got[1], `"status":503`) || !strings.Contains(got[1], `"error":"destination_unavailable"`) {
		t.Errorf("the refused one: %s", got[1])
	}
}

func TestAccessLogLikeApache(t *testing.T) {
	got := logged(t, topology.AccessLog{Format: "combined", Sample: 1}, func(r *rig) {
		r.serve("catalog", text("hello"))
		req := r.request("GET", "/api/x", nil)
		req.Header.Set("Referer", `http://a/"b`)
		req.Header.Set("User-Agent", "test")
		r.do(req)
	})
	want := regexp.MustCompile(`^127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /api/x HTTP/1\.1" 200 5 "http://a/\\"b" "test"$`)
	if len(got) != 1 || !want.MatchString(got[0]) {
		t.Errorf("got %q", got)
	}
}

func TestAccessLogSamplesButKeepsFailures(t *testing.T) {
	got := logged(t, topology.AccessLog{Format: "json", Sample: 0}, func(r *rig) {
		r.serve("catalog", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/api/bad" {
				w.WriteHeader(http.StatusInternalServerError)
			}
		})
		r.get("/api/good")
		r.get("/api/bad")
	})
	if len(got) != 1 || !strings.Contains(got[0], "/api/bad") {
		t.Errorf("got %q", got)
	}
}

func TestAccessLogIsOpenedAnewByReload(t *testing.T) {
	sys := shop()
	sys.Dir = t.TempDir()
	sys.AccessLog = &topology.AccessLog{File: "a.log", Format: "json", Sample: 1}
	r := start(t, Config{System: sys})
	r.serve("catalog", text("hello"))
	r.get("/api/1")
	if err := os.Rename(filepath.Join(sys.Dir, "a.log"), filepath.Join(sys.Dir, "a.log.1")); err != nil {
		t.Fatal(err)
	}
	r.reload(sys)
	r.get("/api/2")
	bad := *sys
	bad.AccessLog = &topology.AccessLog{File: "no/such/folder/a.log", Format: "json", Sample: 1}
	if err := r.Reload(&bad); err == nil {
		t.Error("a log that cannot be opened is accepted")
	}
	r.get("/api/3")
	r.stop()
	if old := lines(t, filepath.Join(sys.Dir, "a.log.1")); len(old) != 1 || !strings.Contains(old[0], "/api/1") {
		t.Errorf("before: %q", old)
	}
	if now := lines(t, filepath.Join(sys.Dir, "a.log")); len(now) != 2 || !strings.Contains(now[0], "/api/2") || !strings.Contains(now[1], "/api/3") {
		t.Errorf("after: %q", now)
	}
}

// blocked is a disk that does not take anything until it is told to.
type blocked struct {
	gate chan struct{}
	bytes.Buffer
}

func (b *blocked) Write(p []byte) (int, error) { <-b.gate; return b.Buffer.Write(p) }
func (b *blocked) Close() error                { return nil }

func TestAccessLogNeverHoldsUpRequests(t *testing.T) {
	disk := &blocked{gate: make(chan struct{})}
	l := &accessLog{cfg: &topology.AccessLog{Format: "json", Sample: 1}, file: disk, full: make(chan struct{}, 1)}
	a := &access{uri: strings.Repeat("x", 1<<20), parts: &call{r: new(http.Request)}}
	for range 20 { // 20 MiB for a bound of 8
		l.add(a, time.Now())
	}
	if lost := l.dropped(); lost < 10 || lost > 12 {
		t.Errorf("%d lines are lost, want 11 or so", lost)
	}
	close(disk.gate)
	if err := l.flush(); err != nil || disk.Len() < 8<<20 {
		t.Errorf("%d bytes are written: %v", disk.Len(), err)
	}
}

func FuzzAccessLogIsJSON(f *testing.F) {
	f.Add("/a", "agent", "\"\\\n\x00\x7f\xff é")
	f.Fuzz(func(t *testing.T, uri, agent, user string) {
		a := &access{uri: uri, parts: &call{r: &http.Request{Header: http.Header{"User-Agent": {agent}, "X-User": {user}}}}}
		line := appendJSON(nil, a, time.Unix(0, 0), []string{"x-user"})
		var got struct {
			URI     string
			Headers map[string]string
		}
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if bytes.IndexByte(line, '\n') >= 0 {
			t.Fatalf("%q: two lines", line)
		}
		if utf8.ValidString(uri) && got.URI != uri || utf8.ValidString(user) && got.Headers["X-User"] != user {
			t.Errorf("%q came back as %+v", line, got)
		}
	})
}

// A file that is full is moved aside, whole lines at a time, and nothing is lost but what is older than the two.
func TestAccessLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	if err := os.WriteFile(path, []byte(strings.Repeat("x", 99)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := openLogFile(path, 1000) // of which 100 are there
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("y", 49) + "\n"
	for range 57 { // 18 for the first, 20 for the second, 19 remain
		if n, err := l.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{path: strings.Repeat(line, 19), path + asideSuffix: strings.Repeat(line, 20)} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s has %d bytes, want %d (%v)", filepath.Base(name), len(got), len(want), err)
		}
	}
	if _, err := openLogFile(filepath.Join(path, "no"), 0); err == nil {
		t.Error("a file in a file was opened")
	}
}
