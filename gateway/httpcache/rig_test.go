package httpcache

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// epoch is when the clock of tests starts.
var epoch = time.Date(2031, 5, 6, 12, 0, 0, 0, time.UTC)

// rig is a cache with a scripted origin and a clock of its own.
type rig struct {
	t     *testing.T
	cache *Cache
	zone  *Zone

	mu     sync.Mutex
	clock  time.Time
	origin func(w http.ResponseWriter, r *http.Request)
	asked  []*http.Request
}

func newRig(t *testing.T, rules Rules) *rig { return newRigWith(t, Config{}, rules) }

func newRigWith(t *testing.T, cfg Config, rules Rules) *rig {
	t.Helper()
	g := &rig{t: t, clock: epoch}
	cfg.Now = g.now
	if cfg.Random == nil {
		cfg.Random = func() float64 { return 1 }
	}
	var err error
	if g.cache, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.cache.Close)
	g.zone = g.cache.Zone("test", rules)
	return g
}

func (g *rig) now() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.clock
}

func (g *rig) advance(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.clock = g.clock.Add(d)
}

func (g *rig) date(d time.Duration) string { return g.now().Add(d).Format(http.TimeFormat) }

// fetch is the origin as the cache sees it.
func (g *rig) fetch(w http.ResponseWriter, r *http.Request) error {
	g.mu.Lock()
	g.asked = append(g.asked, r)
	origin := g.origin
	g.mu.Unlock()
	origin(w, r)
	return r.Context().Err()
}

func (g *rig) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.asked)
}

func (g *rig) last() *http.Request {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked[len(g.asked)-1]
}

// do sends a request: 'METHOD TARGET' and lines of fields.
func (g *rig) do(head string, fields ...string) *http.Response {
	r := newRequest(head, fields...)
	w := httptest.NewRecorder()
	res := g.zone.Serve(w, r, g.fetch)
	if res.Status == 0 {
		g.t.Fatalf("%s: nothing was answered: %v", head, res.Err)
	}
	g.settle() // a client has its answer a moment before it is stored
	return w.Result()
}

func newRequest(head string, fields ...string) *http.Request {
	method, target, _ := strings.Cut(head, " ")
	r := httptest.NewRequest(method, target, nil)
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ":")
		r.Header.Add(name, strings.TrimSpace(value))
	}
	return r
}

// settle waits until no fetch is under way.
func (g *rig) settle() { g.cache.flying.Wait() }

// answer writes 'STATUS' and lines of fields, with a body that says which request of the origin it answers. $+5s and $-5s
// in a field are dates relative to now.
func (g *rig) answer(script string) func(w http.ResponseWriter, r *http.Request) {
	lines := strings.Split(script, "|")
	status, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil {
		g.t.Fatalf("answer %q: %v", script, err)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		body := fmt.Sprintf("answer %d", g.count())
		for _, l := range lines[1:] {
			name, value, _ := strings.Cut(strings.TrimSpace(l), ":")
			value = strings.TrimSpace(value)
			if i := strings.Index(value, "$"); i >= 0 {
				d, err := time.ParseDuration(value[i+1:])
				if err != nil {
					g.t.Fatalf("answer %q: %v", script, err)
				}
				value = value[:i] + g.date(d)
			}
			if name == "body" {
				body = value
				continue
			}
			w.Header().Add(name, value)
		}
		if status == 304 || status == 204 {
			w.WriteHeader(status)
			return
		}
		if w.Header().Get("Content-Length") == "" && w.Header().Get("chunked") == "" {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			fmt.Fprint(w, body)
		}
	}
}

// step of a case: a request, what the origin would answer, and what is wanted.
type step struct {
	wait   time.Duration // the clock goes on first
	ask    string        // method, target and fields, by |
	origin string        // what the origin answers; empty: as in the step before
	want   string        // origin: it is asked; cache: it is not; valid: it confirms what is stored; or a status
	body   string        // that the client gets; empty: any
	fields string        // of the answer, by |; 'Name:' wants none
}

type testCase struct {
	name  string
	rules Rules
	steps []step
}

// play runs cases.
func play(t *testing.T, cases []testCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := newRig(t, c.rules)
			for i, s := range c.steps {
				g.playStep(i, s)
			}
		})
	}
}

func (g *rig) playStep(i int, s step) {
	t := g.t
	t.Helper()
	g.advance(s.wait)
	if s.origin != "" {
		g.origin = g.answer(s.origin)
	}
	if s.ask == "" {
		s.ask = "GET /"
	}
	parts := strings.Split(s.ask, "|")
	for j := range parts {
		parts[j] = strings.TrimSpace(parts[j])
	}
	before := g.count()
	res := g.do(parts[0], parts[1:]...)
	body := readBody(t, res)
	asked := g.count() - before
	switch s.want {
	case "origin":
		if asked == 0 {
			t.Errorf("step %d, %s: the origin was not asked; got %d %q %v", i, s.ask, res.StatusCode, body, res.Header)
		}
	case "cache":
		if asked != 0 {
			t.Errorf("step %d, %s: the origin was asked; got %d %q %v", i, s.ask, res.StatusCode, body, res.Header)
		}
	case "valid":
		if asked == 0 || g.last().Header.Get("If-None-Match")+g.last().Header.Get("If-Modified-Since") == "" || res.StatusCode == 304 {
			t.Errorf("step %d, %s: not validated (asked %d times); got %d %q %v", i, s.ask, asked, res.StatusCode, body, res.Header)
		}
	default:
		if want, err := strconv.Atoi(s.want); err != nil || res.StatusCode != want {
			t.Errorf("step %d, %s: status %d, want %s", i, s.ask, res.StatusCode, s.want)
		}
	}
	if s.body != "" && body != s.body {
		t.Errorf("step %d, %s: body %q, want %q", i, s.ask, body, s.body)
	}
	if s.fields == "" {
		return
	}
	for _, f := range strings.Split(s.fields, "|") {
		name, want, _ := strings.Cut(strings.TrimSpace(f), ":")
		if got := strings.Join(res.Header.Values(name), ", "); got != strings.TrimSpace(want) {
			t.Errorf("step %d, %s: %s %q, want %q", i, s.ask, name, got, strings.TrimSpace(want))
		}
	}
}

func readBody(t *testing.T, res *http.Response) string {
	t.Helper()
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := res.Body.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}

// reuse is two requests, of which the second is to be answered by the cache or not.
func reuse(name, origin, want string) testCase {
	return testCase{name: name, steps: []step{{origin: origin, want: "origin"}, {wait: time.Second, want: want}}}
}
