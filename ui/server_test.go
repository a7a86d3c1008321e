package ui

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/orchestrate"
)

const testToken = "0123456789abcdef0123456789abcdef0123456789abcdef"

func newServer(t testing.TB, f *fakeSystem, change func(*Config)) *Server {
	t.Helper()
	cfg := Config{System: f, Token: testToken, Version: "test", Control: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{}`))
	}), ControlOperations: []Operation{
		{Method: "POST", Path: "/v1/restart", Access: Guarded, Body: struct{}{}, Answer: struct{}{}},
		{Method: "POST", Path: "/v1/scale", Access: Guarded, Body: struct{}{}, Answer: struct{}{}},
		{Method: "GET", Path: "/v1/topology", Access: Guarded, Answer: struct{}{}},
		{Method: "GET", Path: "/v1/info", Answer: struct{}{}},
		{Method: "POST", Path: "/v1/stop", Access: SocketOnly},
	}}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fakeShop(t testing.TB) *fakeSystem { return newFake(t, shopSystem(t), 90*time.Second, time.Now()) }

// ask makes a request as a browser on this machine would, changed by the caller.
func ask(h http.Handler, method, path, body string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:9000"+path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:50000"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestWhoIsAnswered(t *testing.T) {
	s := newServer(t, fakeShop(t), nil)
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+testToken) }
	for name, c := range map[string]struct {
		method, path string
		change       func(*http.Request)
		want         int
	}{
		"the page":              {"GET", "/", nil, 200},
		"a read":                {"GET", "/v1/info", nil, 200},
		"by IPv6":               {"GET", "/v1/info", func(r *http.Request) { r.RemoteAddr, r.Host = "[::1]:5000", "[::1]:9000" }, 200},
		"by localhost":          {"GET", "/v1/info", func(r *http.Request) { r.Host = "LOCALHOST:9000" }, 200},
		"from another machine":  {"GET", "/", func(r *http.Request) { r.RemoteAddr = "10.0.0.5:5000" }, 403},
		"a rebound name":        {"GET", "/v1/info", func(r *http.Request) { r.Host = "evil.example:9000" }, 421},
		"a name that begins so": {"GET", "/v1/info", func(r *http.Request) { r.Host = "127.0.0.1.evil.example" }, 421},
		"no name":               {"GET", "/v1/info", func(r *http.Request) { r.Host = "" }, 421},
		"another site's script": {"GET", "/v1/info", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
		"another port's script": {"GET", "/v1/frame", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }, 403},
		"another origin":        {"GET", "/v1/info", func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:1234") }, 403},
		"an origin of none":     {"GET", "/v1/info", func(r *http.Request) { r.Header.Set("Origin", "null") }, 403},
		"a link from another site": {"GET", "/", func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			r.Header.Set("Sec-Fetch-Mode", "navigate")
		}, 200},
		"a form of another site": {"POST", "/v1/scale", func(r *http.Request) {
			bearer(r)
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			r.Header.Set("Sec-Fetch-Mode", "navigate")
		}, 403},
		"a change without the token":  {"POST", "/v1/scale", nil, 401},
		"a change with another":       {"POST", "/v1/scale", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+testToken[1:]+"0") }, 401},
		"a change with half a token":  {"POST", "/v1/scale", func(r *http.Request) { r.Header.Set("Authorization", "Bearer") }, 401},
		"a change by basic":           {"POST", "/v1/scale", func(r *http.Request) { r.SetBasicAuth("x", testToken) }, 401},
		"a change with the token":     {"POST", "/v1/scale", bearer, 200},
		"a secret without the token":  {"GET", "/v1/topology", nil, 401},
		"a secret with the token":     {"GET", "/v1/topology", bearer, 200},
		"what only the socket serves": {"POST", "/v1/stop", bearer, 404},
		"a load test, no token":       {"POST", "/v1/load", nil, 401},
		"what there is not":           {"GET", "/v1/nothing", nil, 404},
		"no such page":                {"GET", "/nothing", nil, 404},
		"a write to the page":         {"POST", "/", nil, 405},
		"a path that climbs":          {"GET", "/assets/..%2fserver.go", nil, 404},
	} {
		t.Run(name, func(t *testing.T) {
			body := ""
			if c.method == "POST" {
				body = "{}"
			}
			w := ask(s, c.method, c.path, body, c.change)
			if w.Code != c.want {
				t.Errorf("%d, want %d: %s", w.Code, c.want, w.Body)
			}
			if got := w.Header().Get("Content-Security-Policy"); got != contentPolicy {
				t.Errorf("the content policy is %q", got)
			}
		})
	}
}

// Without a token nothing can be changed, not even with an empty one.
func TestNoTokenNoChange(t *testing.T) {
	s := newServer(t, fakeShop(t), func(c *Config) { c.Token = "" })
	if w := ask(s, "POST", "/v1/scale", "{}", func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") }); w.Code != 401 {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}

func TestTheSocketNeedsNoToken(t *testing.T) {
	s := newServer(t, fakeShop(t), nil)
	for path, want := range map[string]int{"/v1/map": 200, "/v1/frame": 200, "/api/openapi.json": 200, "/v1/nothing": 404} {
		if w := ask(s.API(), "GET", path, "", func(r *http.Request) { r.RemoteAddr, r.Host = "@", "control" }); w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}

func TestPolicyIsStrict(t *testing.T) {
	for _, loose := range []string{"unsafe", "*", "data:", "blob:", "http:", "https:"} {
		if strings.Contains(contentPolicy, loose) {
			t.Errorf("the content policy has %s", loose)
		}
	}
	page := ask(newServer(t, fakeShop(t), nil), "GET", "/", "", nil).Body.String()
	if strings.Contains(page, testToken) {
		t.Error("the page gives the token away")
	}
	data := regexp.MustCompile(`<script type="application/json" id="first">([^<]*)</script>`).FindStringSubmatch(page)
	var got first
	if data == nil || json.Unmarshal([]byte(data[1]), &got) != nil || got.Hello.Frame.System != "shop" || len(got.Map.Nodes) == 0 {
		t.Fatalf("what the page comes with: %.300q", data)
	}
	page = strings.Replace(page, data[0], "", 1)
	for what, pattern := range map[string]string{"an inline script": `<script[^>]*>[^<]`, "an inline style": `<style|style=`, "a handler": `\son[a-z]+=`, "something from elsewhere": `(src|href)="(https?:)?//`} {
		if m := regexp.MustCompile(pattern).FindString(page); m != "" {
			t.Errorf("the page has %s: %s", what, m)
		}
	}
}

// Everything that the page names is there, and every module is part of its script.
func TestEveryFileIsThere(t *testing.T) {
	s := newServer(t, fakeShop(t), nil)
	a, err := newAssets("test", func() first { return first{} })
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`(?:src|href)="(/[^"]+)"`).FindAllStringSubmatch(a.page, -1)
	if len(named) != 3 {
		t.Fatalf("%d files are named: is the page read rightly?", len(named))
	}
	for _, m := range named {
		if w := ask(s, "GET", m[1], "", nil); w.Code != 200 || w.Header().Get("Cache-Control") == "" {
			t.Errorf("%s: %d", m[1], w.Code)
		}
	}
	modules, err := filepath.Glob("web/js/*.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range modules {
		if name := "js/" + filepath.Base(m); !strings.Contains(string(a.files["js/page.js"]), "// "+name+"\n") {
			t.Errorf("%s is no part of the script", name)
		}
	}
}

func TestBadInput(t *testing.T) {
	loads := &fakeLoads{step: make(chan struct{})}
	s := newServer(t, fakeShop(t), func(c *Config) { c.Loader = loads })
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+testToken) }
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/v1/series?node=web&range=1y", "", 400},
		{"GET", "/v1/series?range=5m", "", 400},
		{"GET", "/v1/series?node=web&route=GET+/&range=5m", "", 400},
		{"GET", "/v1/series?node=nobody&range=5m", "", 404},
		{"GET", "/v1/series?route=nobody&range=5m", "", 404},
		{"GET", "/v1/nodes/nobody", "", 404},
		{"POST", "/v1/predict", `{"rate":-1}`, 400},
		{"POST", "/v1/predict", `{"rate":1e99}`, 400},
		{"POST", "/v1/predict", `{"mix":{"nothing":1}}`, 400},
		{"POST", "/v1/predict", `{"mix":{"GET /":0}}`, 400},
		{"POST", "/v1/predict", `{"replicas":{"web":0}}`, 400},
		{"POST", "/v1/predict", `{"replicas":{"nobody":1}}`, 400},
		{"POST", "/v1/predict", `{"cpu":{"web":-1}}`, 400},
		{"POST", "/v1/predict", `{"cpu":{"web":100000}}`, 400},
		{"POST", "/v1/predict", `{"unknown":1}`, 400},
		{"POST", "/v1/predict", `{} {}`, 400},
		{"POST", "/v1/predict", `[`, 400},
		{"POST", "/v1/predict", `{"mix":{"` + strings.Repeat("x", maxBody) + `":1}}`, 413},
		{"POST", "/v1/load", `{"rate":-5}`, 400},
		{"POST", "/v1/load", `{"rate":1,"users":1}`, 400},
		{"POST", "/v1/load", `{"users":-1}`, 400},
		{"POST", "/v1/load", `{"seconds":1e9}`, 400},
		{"POST", "/v1/load", `{"find_knee":true}`, 400},
		{"POST", "/v1/load", `{"find_knee":true,"slo":"nonsense"}`, 400},
		{"POST", "/v1/load", `{"slo":"p99<1s"}`, 400},
		{"DELETE", "/v1/load", "", 409},
	} {
		if w := ask(s, c.method, c.path, c.body, bearer); w.Code != c.want {
			t.Errorf("%s %s %.60s: %d, want %d: %s", c.method, c.path, c.body, w.Code, c.want, w.Body)
		} else if p := (Problem{}); json.Unmarshal(w.Body.Bytes(), &p) != nil || p.Error == "" {
			t.Errorf("%s %s %.60s: the answer says nothing: %s", c.method, c.path, c.body, w.Body)
		}
	}
	if w := ask(s, "POST", "/v1/predict", "{}", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }); w.Code != 415 {
		t.Errorf("a form of another kind: %d, want 415", w.Code)
	}
}

// reader reads server-sent events.
type reader struct {
	t *testing.T
	r *bufio.Reader
}

func (r reader) next() (name, id, data string) {
	r.t.Helper()
	for {
		line, err := r.r.ReadString('\n')
		if err != nil {
			r.t.Fatalf("reading the stream: %v", err)
		}
		line = strings.TrimSuffix(line, "\n")
		key, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "" && name != "":
			return name, id, data
		case key == "event":
			name = value
		case key == "id":
			id = value
		case key == "data":
			data = value
		}
	}
}

func TestStream(t *testing.T) {
	f := fakeShop(t)
	ticks := make(chan time.Time)
	s := newServer(t, f, func(c *Config) { c.Ticks = ticks })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	server := httptest.NewServer(s)
	defer server.Close()
	open := func(last string) reader {
		req, err := http.NewRequest("GET", server.URL+"/v1/stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		if last != "" {
			req.Header.Set("Last-Event-ID", last)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
			t.Fatalf("%s %s", resp.Status, resp.Header)
		}
		return reader{t, bufio.NewReader(resp.Body)}
	}
	at := time.Now()
	tick := func() { at = at.Add(time.Second); f.tick(); ticks <- at }

	first := open("")
	name, id, data := first.next()
	var hello Hello
	if err := json.Unmarshal([]byte(data), &hello); err != nil || name != "hello" {
		t.Fatalf("%s: %v", name, err)
	}
	if hello.Frame.System != "shop" || len(hello.Timeline) == 0 || hello.Frame.Nodes["web"].Rate == 0 || !hello.Writable {
		t.Errorf("the hello lacks something: %.400s", data)
	}
	f.happen(orchestrate.Event{Time: at, Service: "cart", Replica: "cart-0", What: "exited", Why: "exit status 1"})
	tick()
	name, second, data := first.next()
	var frame Frame
	if err := json.Unmarshal([]byte(data), &frame); err != nil || name != "frame" || second <= id {
		t.Fatalf("%s %s after %s: %v", name, second, id, err)
	}
	if len(frame.Events) != 1 || frame.Events[0].Kind != KindFault || !frame.Events[0].Bad {
		t.Errorf("the frame's events are %+v", frame.Events)
	}
	tick()
	_, third, _ := first.next()

	// A page that comes back gets what it has missed, and nothing twice.
	again := open(id)
	for _, want := range []string{second, third} {
		if name, got, _ := again.next(); name != "frame" || got != want {
			t.Errorf("resumed with %s %s, want frame %s", name, got, want)
		}
	}
	if name, _, _ := open("12345").next(); name != "hello" {
		t.Errorf("a page that was away for too long was greeted with %s", name)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := first.r.ReadString(0); err == nil {
		t.Error("the stream goes on after Run has returned")
	}
}

func TestNobodyLooksNobodyWorks(t *testing.T) {
	f := fakeShop(t)
	ticks := make(chan time.Time)
	s := newServer(t, f, func(c *Config) { c.Ticks = ticks })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for range 3 {
		ticks <- time.Now()
	}
	cancel()
	<-done
	if len(s.feed.frames) != 0 {
		t.Errorf("%d frames were made for nobody", len(s.feed.frames))
	}
}

func TestTooManyPages(t *testing.T) {
	s := newServer(t, fakeShop(t), nil)
	for range maxPages {
		if _, ok := s.feed.join(); !ok {
			t.Fatal("refused too early")
		}
	}
	if w := ask(s, "GET", "/v1/stream", "", nil); w.Code != 503 {
		t.Errorf("%d, want 503", w.Code)
	}
}

func TestToken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if _, err := ReadToken(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a token: %v", err)
	}
	token, err := Token(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Token(dir); err != nil || again != token {
		t.Errorf("the second time it is %q (%v), not %q", again, err, token)
	}
	path := filepath.Join(dir, tokenFile)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Token(dir); err == nil || !strings.Contains(err.Error(), "chmod") {
		t.Errorf("a token that others can read: %v", err)
	}
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte("abc\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := Token(dir); err == nil {
		t.Error("three characters were taken for a token")
	}
}
