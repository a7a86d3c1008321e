package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	addresses "github.com/banyanhq/banyan/internal/loopback"
	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

func TestDrainWaits(t *testing.T) {
	r := start(t, Config{})
	arrived, gate := make(chan struct{}), make(chan struct{})
	old := r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		close(arrived)
		<-gate
		io.WriteString(w, "old")
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		if a := r.get("/"); a.body != "old" {
			t.Errorf("the request in flight got %+v", a)
		}
	})
	<-arrived
	r.serve("web", text("new"))
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Drain(ended, "web", old); !errors.Is(err, context.Canceled) {
		t.Fatalf("drained with a request in flight: %v", err)
	}
	for range 10 {
		if a := r.get("/"); a.body != "new" {
			t.Fatalf("a draining backend was used: %+v", a)
		}
	}
	r.SetReady("web", old, true) // changes nothing
	done := make(chan error, 1)
	go func() { done <- r.Drain(context.Background(), "web", old) }()
	select {
	case err := <-done:
		t.Fatalf("Drain returned too early: %v", err)
	default:
	}
	close(gate)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	s := r.Stats().Backends[0]
	if !s.Draining || s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
	until(t, "connections closed", func() bool { return r.Stats().Backends[0].Connections == 0 })
	r.Remove("web", old)
	if n := len(r.Stats().Backends); n != 1 {
		t.Errorf("%d backends", n)
	}
	if r.Drain(context.Background(), "web", old) == nil || r.Drain(context.Background(), "nobody", old) == nil {
		t.Error("drained what is not there")
	}
}

// crashable is a backend that can be killed: its listener and all its connections are gone at once.
type crashable struct {
	s  *httptest.Server
	mu sync.Mutex
	cs map[net.Conn]bool
}

func newCrashable(t *testing.T, h http.HandlerFunc) *crashable {
	t.Helper()
	l, err := net.Listen("tcp", addresses.Any()) // where nobody answers in its place once it is killed
	if err != nil {
		t.Fatal(err)
	}
	c := &crashable{cs: map[net.Conn]bool{}, s: &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}}
	c.s.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if state == http.StateNew {
			c.cs[conn] = true
		} else if state == http.StateClosed {
			delete(c.cs, conn)
		}
	}
	c.s.Start()
	return c
}

func (c *crashable) kill() {
	c.s.Listener.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.cs {
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
}

// load sends requests from a few clients until stop is called, which returns how many there were.
func (r *rig) load(methods ...string) (stop func() int64) {
	var n atomic.Int64
	var over atomic.Bool
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for !over.Load() {
				method := methods[i%len(methods)]
				req := r.request(method, "/", strings.NewReader("data"))
				if method == "GET" {
					req = r.request(method, "/", nil)
				}
				res, err := r.client.Do(req)
				if err != nil {
					r.t.Errorf("%s: %v", method, err)
					return
				}
				body, err := io.ReadAll(res.Body)
				res.Body.Close()
				if res.StatusCode != 200 || err != nil || !strings.HasSuffix(string(body), "end") {
					r.t.Errorf("%s: %d %.200q %v", method, res.StatusCode, body, err)
				}
				n.Add(1)
			}
		})
	}
	return func() int64 {
		over.Store(true)
		wg.Wait()
		return n.Load()
	}
}

// page answers in several pieces, of unknown length.
func page(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	io.Copy(io.Discard, r.Body)
	w.Write(make([]byte, 3000))
	runtime.Gosched()
	w.Write(make([]byte, 3000))
	io.WriteString(w, "end")
}

func TestKilledBackendFailsNoGet(t *testing.T) {
	s := eachInbound(shop(), func(in *topology.Inbound) { in.Retry.MinPerSecond = 100 }) // many deaths in a short time
	r := start(t, Config{System: s}, func(g *Gateway) { g.holdDocument = time.Minute })
	requests := func() int64 { return r.Stats().Routes[0].Requests }
	keep := newCrashable(t, page)
	defer keep.s.Close()
	r.ready("web", keep.s.Listener.Addr().String())
	stop := r.load("GET", "PUT")
	for range 3 {
		victim := newCrashable(t, page)
		id := r.ready("web", victim.s.Listener.Addr().String())
		before := requests()
		until(t, "served by both", func() bool { return requests() > before+40 })
		victim.kill()
		before = requests()
		until(t, "served by one", func() bool { return requests() > before+40 })
		r.Remove("web", id)
		victim.s.Close()
	}
	n := stop()
	t.Logf("%d requests, %d retries", n, r.Stats().Routes[0].Retries)
}

func TestRollingReplacementFailsNothing(t *testing.T) {
	r := start(t, Config{})
	requests := func() int64 { return r.Stats().Routes[0].Requests }
	first := newCrashable(t, page)
	id := r.ready("web", first.s.Listener.Addr().String())
	current := first
	stop := r.load("GET", "POST", "PATCH")
	for range 5 {
		next := newCrashable(t, page)
		nextID := r.ready("web", next.s.Listener.Addr().String())
		before := requests()
		until(t, "served by both", func() bool { return requests() > before+50 })
		if err := r.Drain(context.Background(), "web", id); err != nil {
			t.Error(err)
		}
		current.kill() // nothing is left that it could hurt
		current.s.Close()
		r.Remove("web", id)
		current, id = next, nextID
	}
	n := stop()
	current.s.Close()
	s := r.Stats().Routes[0]
	until(t, "counted", func() bool { s = r.Stats().Routes[0]; return s.Requests == n })
	if s.Retries != 0 || s.Codes[200] != n || len(s.Errors) != 0 {
		t.Errorf("%d requests: %d retries, codes %v, errors %v", n, s.Retries, s.Codes, s.Errors)
	}
}

// A request that has just looked at the set must not reach a backend whose draining begins before it takes its place.
func TestNoPlaceAtAClosingBackend(t *testing.T) {
	g, err := New(Config{System: shop()})
	if err != nil {
		t.Fatal(err)
	}
	g.Add("web", Backend{ID: "a", Address: "127.0.0.1:1"})
	g.SetReady("web", "a", true)
	s := g.table.Load().services["web"]
	s.mu.Lock()
	s.backends["a"].closing.Store(true)
	picked := make(chan policy.Refusal)
	go func() {
		_, why := s.lanes[0].pick(new(policy.Request), 0)
		picked <- why
	}()
	for range 1000 {
		runtime.Gosched()
	}
	s.rebuild()
	s.mu.Unlock()
	if why := <-picked; why != policy.NoBackend {
		t.Errorf("got %v", why)
	}
	if n := s.backends["a"].InFlight(); n != 0 {
		t.Errorf("%d places were not given back", n)
	}
}

// Adding, draining and removing at random while requests pass must neither race nor hang.
func TestChangesWhileServing(t *testing.T) {
	r := start(t, Config{Wait: time.Minute})
	srv := httptest.NewServer(http.HandlerFunc(page))
	defer srv.Close()
	stop := r.load("GET", "POST")
	for i := range 200 {
		id := fmt.Sprint(i % 3)
		r.Add("web", Backend{ID: id, Address: srv.Listener.Addr().String()})
		r.SetReady("web", id, true)
		switch i % 4 {
		case 0:
			r.SetReady("web", id, false)
		case 1:
			if err := r.Drain(context.Background(), "web", id); err != nil {
				t.Error(err)
			}
		case 2:
			r.Remove("web", id)
		}
		r.Stats()
	}
	r.Add("web", Backend{ID: "last", Address: srv.Listener.Addr().String()})
	r.SetReady("web", "last", true)
	stop()
	r.Add("nobody", Backend{})
	r.SetReady("nobody", "x", true)
	r.SetReady("web", "x", true)
	r.Remove("nobody", "x")
	r.Remove("web", "x")
}

func TestRunLeavesNothingBehind(t *testing.T) {
	settle := func() int {
		n := runtime.NumGoroutine()
		return n
	}
	before := settle()
	func() {
		s := shop()
		s.Listen = addresses.Any() // at which nobody else listens once it has ended
		g, err := New(Config{System: s})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Listen(); err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(http.HandlerFunc(page))
		defer srv.Close()
		g.Add("web", Backend{ID: "a", Address: srv.Listener.Addr().String()})
		g.SetReady("web", "a", true)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()
		client := &http.Client{Transport: &http.Transport{}}
		for range 20 {
			res, err := client.Get("http://" + g.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		// A connection on which nothing is asked must not hold the end up.
		idle, err := net.Dial("tcp", g.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer idle.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		client.CloseIdleConnections()
		if _, err := net.Dial("tcp", g.Addr().String()); err == nil {
			t.Error("still listening")
		}
	}()
	until(t, "goroutines gone", func() bool { return settle() <= before })
}

func TestStopFinishesRequests(t *testing.T) {
	s := shop()
	s.Listen = addresses.Any() // at which nobody else listens once it has stopped
	r := start(t, Config{System: s, DrainTimeout: time.Minute})
	edge := r.EdgeURL("web", "catalog")
	r.serve("catalog", text("item"))
	arrived, gate := make(chan struct{}), make(chan struct{})
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		close(arrived)
		<-gate
		inner, err := http.Get(edge) // after the stop has begun
		if err != nil {
			w.WriteHeader(500)
			return
		}
		defer inner.Body.Close()
		io.Copy(w, inner.Body)
	})
	got := make(chan answer, 1)
	go func() { got <- r.get("/") }()
	<-arrived
	stopped := make(chan struct{})
	go func() {
		r.stop()
		close(stopped)
	}()
	until(t, "no new connections", func() bool {
		c, err := net.Dial("tcp", r.Addr().String())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	close(gate)
	if a := <-got; a.status != 200 || a.body != "item" {
		t.Errorf("the request in flight got %+v", a)
	}
	<-stopped
}

func TestStopCutsOffWhatDoesNotFinish(t *testing.T) {
	r := start(t, Config{DrainTimeout: time.Millisecond})
	arrived := make(chan struct{})
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		close(arrived)
		<-req.Context().Done()
	})
	failed := make(chan error, 1)
	go func() {
		_, err := r.client.Do(r.request("GET", "/", nil))
		failed <- err
	}()
	<-arrived
	r.stop()
	if <-failed == nil {
		t.Error("answered by a gateway that has stopped")
	}
}

func TestListenFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := shop()
	s.Listen = taken.Addr().String()
	g, err := New(Config{System: s})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Listen(); err == nil || !strings.Contains(err.Error(), s.Listen) {
		t.Errorf("got %v", err)
	}
	if err := g.Run(context.Background()); err == nil {
		t.Error("runs without listening")
	}
}

func TestCollector(t *testing.T) {
	s := shop()
	s.Routes = append(s.Routes, &topology.Route{Name: "home", Path: "/same-name", To: "web", Inbound: inbound()})
	r := start(t, Config{System: s, Wait: -1})
	r.serve("web", func(w http.ResponseWriter, req *http.Request) { w.WriteHeader(404) })
	r.get("/")
	r.do(r.request("GET", r.EdgeURL("web", "catalog"), nil).WithContext(t.Context()))
	until(t, "counted", func() bool { return r.Stats().Routes[0].Requests == 1 && r.Stats().Edges[0].Requests == 1 })
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(r.Collector())
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, f := range families {
		for _, m := range f.Metric {
			line := f.GetName() + "{"
			for _, l := range m.Label {
				line += l.GetName() + "=" + l.GetValue() + ","
			}
			line += "}"
			switch {
			case m.Counter != nil:
				line += fmt.Sprint(" ", m.Counter.GetValue())
			case m.Gauge != nil:
				line += fmt.Sprint(" ", m.Gauge.GetValue())
			case m.Histogram != nil:
				line += fmt.Sprint(" ", m.Histogram.GetSampleCount())
				last := m.Histogram.Bucket[len(m.Histogram.Bucket)-1]
				if last.GetCumulativeCount() != m.Histogram.GetSampleCount() || m.Histogram.GetSampleSum() < 0 {
					t.Errorf("%s: %v", line, m.Histogram)
				}
			}
			found[line] = true
		}
	}
	for _, want := range []string{
		"banyan_gateway_requests_total{code=404,route=home,service=web,} 1",
		"banyan_gateway_request_duration_seconds{route=home,service=web,} 1",
		"banyan_gateway_edge_requests_total{code=503,from=web,to=catalog,} 1",
		"banyan_gateway_edge_errors_total{error=destination_unavailable,from=web,to=catalog,} 1",
		"banyan_gateway_backend_up{backend=web-1,service=web,} 1",
		"banyan_gateway_backend_breaker_state{backend=web-1,service=web,} 0",
		"banyan_gateway_backend_requests_total{backend=web-1,service=web,} 1",
		"banyan_gateway_requests_in_flight{route=api,service=catalog,} 0",
	} {
		if !found[want] {
			t.Errorf("missing %s", want)
		}
	}
	if t.Failed() {
		for line := range found {
			t.Log(line)
		}
	}
}
