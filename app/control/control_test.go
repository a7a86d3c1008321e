package control

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/cache"
	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/gateway/httpcache"
	"github.com/banyanhq/banyan/gateway/peerlink"
	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/orchestrate"
	"github.com/banyanhq/banyan/store"
)

// fake answers what it is told to, and remembers what it was asked.
type fake struct {
	scaled  orchestrate.Change
	service string
	stopped bool
	hand    HandOver
	fail    error
}

func (f *fake) Info() Info { return Info{System: "fake", State: Serving, PID: 7} }
func (f *fake) Replicas() []orchestrate.ServiceStatus {
	return []orchestrate.ServiceStatus{{Service: "web", Ready: 2}}
}
func (f *fake) Events() []orchestrate.Event               { return []orchestrate.Event{{What: "ready"}} }
func (f *fake) Pulses(from, to time.Time) []observe.Pulse { return []observe.Pulse{{At: to}} }
func (f *fake) Stop()                                     { f.stopped = true }
func (f *fake) Reload() ([]string, error) {
	return []string{"route home changed"}, f.fail
}
func (f *fake) Topology() ([]byte, error) { return []byte("system: fake"), f.fail }
func (f *fake) ScaledServices() []string  { return []string{"web"} }

func (f *fake) ScaleDecisions(service string) ([]autoscale.Decision, bool) {
	return []autoscale.Decision{{Service: service, To: autoscale.Size{Replicas: 2}}}, service == "web"
}

func (f *fake) Why(id string) (gateway.Decision, bool) {
	return gateway.Decision{RequestID: id, Status: 200}, id == "known"
}
func (f *fake) Canaries() []CanaryStatus { return nil }

func (f *fake) Gateways() []peerlink.Peer { return nil }

func (f *fake) Connections() []gateway.ConnectionStats {
	return []gateway.ConnectionStats{{Listener: "outside", Open: 3, Max: 5}}
}

func (f *fake) HandOver() (HandOver, func(), error) { return f.hand, f.Stop, f.fail }
func (f *fake) Status(window time.Duration) (observe.Status, error) {
	return observe.Status{System: "fake", Window: window}, f.fail
}
func (f *fake) Window(from, to time.Time) (*observe.Window, error) {
	return &observe.Window{Interval: observe.Interval{Start: from, End: to}}, f.fail
}
func (f *fake) Scale(_ context.Context, service string, c orchestrate.Change) error {
	f.service, f.scaled = service, c
	return f.fail
}
func (f *fake) Caches() []CacheStatus {
	return []CacheStatus{{Route: "home", HitRatio: 0.5, Stats: httpcache.Stats{Hits: 1, Misses: 1}}}
}

func (f *fake) CacheServers() []CacheServerStatus {
	return []CacheServerStatus{{Cache: "products", HitRatio: 0.5, Stats: cache.Stats{Hits: 1, Misses: 1}}}
}

func (f *fake) TableWindow(from, to time.Time) *TableWindow {
	return &TableWindow{Seconds: to.Sub(from).Seconds()}
}

func (f *fake) TableUsage() *store.Usage { return &store.Usage{Commands: 3} }

func (f *fake) Purge(p httpcache.Purge) (int, error) { return 7, p.Validate() }

func (f *fake) Restart(_ context.Context, service string) error {
	f.service = service
	return f.fail
}

// serve runs the server in a state directory until the test ends.
func serve(t *testing.T, dir string, sys System) *Client {
	t.Helper()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, sys, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serving: %v", err)
		}
		if _, err := os.Stat(filepath.Join(dir, socketName)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is left behind: %v", err)
		}
	})
	return Dial(dir)
}

func TestEveryCallArrives(t *testing.T) {
	// Far longer than the 108 bytes that the kernel allows for a socket's path.
	dir := filepath.Join(t.TempDir(), strings.Repeat("a folder of a long name/", 12))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	sys := &fake{}
	c := serve(t, dir, sys)
	ctx := t.Context()
	if i, err := c.Info(ctx); err != nil || i.System != "fake" || i.PID != 7 {
		t.Errorf("info: %+v %v", i, err)
	}
	if s, err := c.Status(ctx, 3*time.Second); err != nil || s.Window != 3*time.Second {
		t.Errorf("status: %+v %v", s, err)
	}
	if r, err := c.Replicas(ctx); err != nil || len(r) != 1 || r[0].Ready != 2 {
		t.Errorf("replicas: %+v %v", r, err)
	}
	if e, err := c.Events(ctx); err != nil || len(e) != 1 || e[0].What != "ready" {
		t.Errorf("events: %+v %v", e, err)
	}
	from, to := time.Unix(5, 6).UTC(), time.Unix(7, 8).UTC()
	if w, err := c.Window(ctx, from, to); err != nil || !w.Start.Equal(from) || !w.End.Equal(to) {
		t.Errorf("window: %+v %v", w, err)
	}
	if p, err := c.Pulses(ctx, from, to); err != nil || len(p) != 1 || !p[0].At.Equal(to) {
		t.Errorf("pulses: %+v %v", p, err)
	}
	n := 4
	if err := c.Scale(ctx, ScaleRequest{Service: "web", Replicas: &n}); err != nil || sys.service != "web" || *sys.scaled.Replicas != 4 || sys.scaled.CPU != nil {
		t.Errorf("scale: %+v %v", sys, err)
	}
	if all, err := c.CacheServers(ctx); err != nil || len(all) != 1 || all[0].Cache != "products" || all[0].Hits != 1 {
		t.Errorf("cache servers: %+v, %v", all, err)
	}
	if w, err := c.TableWindow(ctx, time.Unix(1, 0), time.Unix(3, 0)); err != nil || w == nil || w.Seconds != 2 {
		t.Errorf("a window of tables: %+v, %v", w, err)
	}
	if u, err := c.TableUsage(ctx); err != nil || u == nil || u.Commands != 3 {
		t.Errorf("tables: %+v, %v", u, err)
	}
	if all, err := c.Caches(ctx); err != nil || len(all) != 1 || all[0].Route != "home" || all[0].Hits != 1 {
		t.Errorf("caches: %+v, %v", all, err)
	}
	if done, err := c.Purge(ctx, httpcache.Purge{Path: "/a"}); err != nil || done.Answers != 7 {
		t.Errorf("purge: %+v, %v", done, err)
	}
	if _, err := c.Purge(ctx, httpcache.Purge{}); err == nil {
		t.Error("purge of nothing: no error")
	}
	if err := c.Restart(ctx, "cart"); err != nil || sys.service != "cart" {
		t.Errorf("restart: %+v %v", sys, err)
	}
	if changed, err := c.Reload(ctx); err != nil || len(changed) != 1 {
		t.Errorf("reload: %v %v", changed, err)
	}
	if text, err := c.Topology(ctx); err != nil || text != "system: fake" {
		t.Errorf("topology: %q %v", text, err)
	}
	if names, err := c.ScaledServices(ctx); err != nil || len(names) != 1 {
		t.Errorf("scaled services: %v, %v", names, err)
	}
	if all, err := c.ScaleDecisions(ctx, "web"); err != nil || len(all) != 1 || all[0].To.Replicas != 2 {
		t.Errorf("decisions: %v, %v", all, err)
	}
	if _, err := c.ScaleDecisions(ctx, "orders"); err == nil || !strings.Contains(err.Error(), "is not scaled") {
		t.Errorf("decisions about a service that is not scaled: %v", err)
	}
	if d, err := c.Why(ctx, "known"); err != nil || d.RequestID != "known" {
		t.Errorf("why: %+v %v", d, err)
	}
	if _, err := c.Why(ctx, "unknown"); err == nil || !strings.Contains(err.Error(), "not remembered") {
		t.Errorf("why of an unknown request: %v", err)
	}
	sys.fail = errors.New("there is no service web")
	if err := c.Scale(ctx, ScaleRequest{Service: "web", Replicas: &n}); err == nil || err.Error() != sys.fail.Error() {
		t.Errorf("an error came back as %v", err)
	}
	if err := c.Stop(ctx); err != nil || !sys.stopped {
		t.Errorf("stop: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, socketName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket's rights: %v %v", info, err)
	}
}

func TestGarbageIsRefused(t *testing.T) {
	dir := t.TempDir()
	c := serve(t, dir, &fake{})
	for what, body := range map[string]string{
		"not JSON":        "scale it!",
		"unknown field":   `{"service":"web","replica":3}`,
		"too long":        `{"service":"` + strings.Repeat("x", maxBody) + `"}`,
		"wrong type":      `{"service":"web","replicas":"many"}`,
		"wrong unit":      `{"service":"web","memory":"12 apples"}`,
		"a list of lists": strings.Repeat("[", 10000),
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://banyan/v1/scale", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: status %d, want 400", what, resp.StatusCode)
		}
	}
	if _, err := c.Status(t.Context(), -time.Second); err == nil {
		t.Error("a negative window is answered")
	}
}

func TestNobodyAnswers(t *testing.T) {
	dir := t.TempDir()
	if _, err := Dial(dir).Info(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no socket: %v", err)
	}
	if _, err := Dial(filepath.Join(dir, "nowhere")).Info(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no folder: %v", err)
	}
	// A socket whose supervisor was killed.
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.(*listener).Listener.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(dir).Info(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("dead socket: %v", err)
	}
	serve(t, dir, &fake{}) // takes the dead one's place
}

func TestHandOver(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file := func() *os.File {
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	stopped := make(chan struct{})
	sys := &handing{fake: fake{}, file: file, stopped: stopped}
	c := serve(t, dir, sys)
	// One that goes away without a confirmation changes nothing.
	h, err := c.HandOver(t.Context())
	if err != nil || len(h.Files) != 1 || h.Sockets[0] != (Socket{"outside", ":80"}) {
		t.Fatalf("handed over: %+v %v", h, err)
	}
	h.Close()
	if h, err = c.HandOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	select {
	case <-stopped:
		t.Fatal("it ended before the listeners had arrived")
	default:
	}
	taken, err := net.FileListener(h.Files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if taken.Addr().String() != l.Addr().String() {
		t.Errorf("the listener is of %v, want %v", taken.Addr(), l.Addr())
	}
	if err := h.Confirm(); err != nil {
		t.Fatal(err)
	}
	<-stopped
	sys.refuse = errors.New("not this one")
	if _, err := c.HandOver(t.Context()); err == nil || err.Error() != "not this one" {
		t.Errorf("a refusal came back as %v", err)
	}
	if _, err := Dial(t.TempDir()).HandOver(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("nobody is there: %v", err)
	}
}

// handing hands a listener over.
type handing struct {
	fake
	file    func() *os.File
	stopped chan struct{}
	refuse  error
}

func (h *handing) HandOver() (HandOver, func(), error) {
	if h.refuse != nil {
		return HandOver{}, nil, h.refuse
	}
	return HandOver{Sockets: []Socket{{"outside", ":80"}}, Files: []*os.File{h.file()}}, func() { close(h.stopped) }, nil
}

func TestCloseLeavesAnothersSocket(t *testing.T) {
	dir := t.TempDir()
	first, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Listen(dir) // takes the place of the first
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	first.Close()
	if _, err := os.Stat(filepath.Join(dir, socketName)); err != nil {
		t.Errorf("the second's socket is gone: %v", err)
	}
}

// Whatever a process behind the socket says instead of handing over: an error that says so, and no file.
func FuzzHandOver(f *testing.F) {
	f.Add([]byte("HTTP/1.1 409 Conflict\r\n\r\n{\"error\": \"not this one\"}"))
	f.Add([]byte(`{"sockets": [{"name": "outside", "address": ":80"}]}`))
	f.Add([]byte("{{{{"))
	dir := f.TempDir()
	l, err := Listen(dir)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close() })
	var says atomic.Pointer[[]byte]
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096))
			_, _ = c.Write(*says.Load())
			_ = c.Close()
		}
	}()
	f.Fuzz(func(t *testing.T, b []byte) {
		says.Store(&b)
		if h, err := Dial(dir).HandOver(t.Context()); err == nil || len(h.Files) > 0 {
			t.Fatalf("%q hands over %+v, %v", b, h, err)
		}
	})
}
