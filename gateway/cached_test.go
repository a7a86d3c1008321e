package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/banyanhq/banyan/gateway/httpcache"
	"github.com/banyanhq/banyan/topology"
)

// cachedShop is the shop with a cache on its api route.
func cachedShop(h topology.HTTPCache) *topology.System {
	s := shop()
	if h.MaxObject == 0 {
		h.MaxObject = 1 << 20
	}
	s.Routes[1].HTTPCache = &h
	return s
}

// fetch sends a GET and returns the answer's body and its Cache-Status.
func (r *rig) fetch(path string, fields ...string) (body, status string, res *http.Response) {
	r.t.Helper()
	req, err := http.NewRequest("GET", r.url+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range fields {
		k, v, _ := strings.Cut(f, ": ")
		req.Header.Add(k, v)
	}
	res, err = r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b), res.Header.Get("Cache-Status"), res
}

// counting answers with how many requests came, and a field that lets the answer be kept.
func counting(n *atomic.Int64, cc string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", cc)
		fmt.Fprintf(w, "answer %d", n.Add(1))
	}
}

func TestCachedRoute(t *testing.T) {
	r := start(t, Config{System: cachedShop(topology.HTTPCache{})})
	var n, web atomic.Int64
	r.serve("catalog", counting(&n, "max-age=60"))
	r.serve("web", counting(&web, "max-age=60"))
	if body, status, _ := r.fetch("/api/a"); body != "answer 1" || !strings.HasPrefix(status, "banyan; fwd=uri-miss; fwd-status=200; stored; ttl=") {
		t.Errorf("first: %q, %q", body, status)
	}
	body, status, res := r.fetch("/api/a", "X-Request-Id: mine")
	// The fetch of the first may still be on its way out of the list, so that the second joins it.
	if body != "answer 1" || !strings.HasPrefix(status, "banyan; hit; ttl=") && !strings.Contains(status, "; collapsed; ttl=") {
		t.Errorf("second: %q, %q", body, status)
	}
	if ids := res.Header["X-Request-Id"]; len(ids) != 1 || ids[0] != "mine" {
		t.Errorf("a kept answer has the request id %q, want the request's own", ids)
	}
	for range 2 {
		if _, status, _ := r.fetch("/"); status != "" {
			t.Errorf("a route without a cache: Cache-Status %q", status)
		}
	}
	if web.Load() != 2 {
		t.Errorf("a route without a cache: %d requests reached its service, want 2", web.Load())
	}
	await(t, "the answer is stored", func() bool { return stored(r) == 1 })
	s := r.Stats().Routes[1]
	if s.Cache == nil || s.Cache.Hits+s.Cache.Coalesced != 1 || s.Cache.Misses != 1 || s.Cache.Objects != 1 || s.Requests != 2 {
		t.Errorf("counted %+v, cache %+v", s.Requests, s.Cache)
	}
	if r.Stats().Routes[0].Cache != nil {
		t.Error("a route without a cache has statistics of one")
	}
}

func TestCachedRouteCoalesces(t *testing.T) {
	r := start(t, Config{System: cachedShop(topology.HTTPCache{})})
	var n atomic.Int64
	gate := make(chan struct{})
	r.serve("catalog", func(w http.ResponseWriter, req *http.Request) {
		n.Add(1)
		<-gate
		w.Header().Set("Cache-Control", "max-age=60")
		io.WriteString(w, strings.Repeat("x", 100_000))
	})
	const clients = 40
	var done sync.WaitGroup
	for range clients {
		done.Go(func() {
			if body, _, _ := r.fetch("/api/a"); len(body) != 100_000 {
				t.Errorf("got %d bytes", len(body))
			}
		})
	}
	until(t, "reached", func() bool { return r.Stats().Routes[1].InFlight == clients })
	close(gate)
	done.Wait()
	r.settle()
	s := r.Stats().Routes[1].Cache
	if n.Load() != 1 || s.Misses != 1 || s.Coalesced+s.Hits != clients-1 {
		t.Errorf("%d requests reached the service; %+v", n.Load(), s)
	}
}

func TestCachedRouteDoesNotSerialiseWhatIsNotKept(t *testing.T) {
	r := start(t, Config{System: cachedShop(topology.HTTPCache{})})
	var n atomic.Int64
	const clients = 20
	all := make(chan struct{})
	r.serve("catalog", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if n.Add(1) == clients+1 {
			close(all) // all but the first are here at once
		}
		if n.Load() > 1 {
			<-all
		}
		io.WriteString(w, "mine")
	})
	r.fetch("/api/a") // leaves the mark
	var done sync.WaitGroup
	for range clients {
		done.Go(func() { r.fetch("/api/a") })
	}
	done.Wait()
}

func TestCachedRouteInvalidatedThroughAnother(t *testing.T) {
	sys := cachedShop(topology.HTTPCache{})
	sys.Routes[1].Method = "GET"
	sys.Routes = append(sys.Routes, &topology.Route{Name: "write", Method: "POST", Path: "/api/", To: "catalog", Inbound: inbound()})
	r := start(t, Config{System: sys})
	var n atomic.Int64
	r.serve("catalog", counting(&n, "max-age=60"))
	r.fetch("/api/a")
	await(t, "the answer is stored", func() bool { return stored(r) == 1 })
	res, err := r.client.Post(r.url+"/api/a", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if body, _, _ := r.fetch("/api/a"); body != "answer 3" {
		t.Errorf("after a POST: %q, want the service asked anew", body)
	}
}

func TestCachedRouteStaleIfError(t *testing.T) {
	r := start(t, Config{System: cachedShop(topology.HTTPCache{StaleIfError: topology.Duration(time.Hour)}), Wait: -1})
	var n atomic.Int64
	id := r.serve("catalog", counting(&n, "max-age=0, stale-while-revalidate=0"))
	r.fetch("/api/a")
	await(t, "the answer is stored", func() bool { return stored(r) == 1 })
	r.SetReady("catalog", id, false)
	body, status, res := r.fetch("/api/a")
	if body != "answer 1" || res.StatusCode != 200 || !strings.Contains(status, "fwd-status=503") || !strings.Contains(status, "stale-if-error") {
		t.Errorf("without a backend: %d %q, %q", res.StatusCode, body, status)
	}
	if _, _, res := r.fetch("/api/b"); res.StatusCode != 503 {
		t.Errorf("without a backend and an answer: %d", res.StatusCode)
	}
}

func TestCachedRoutePurge(t *testing.T) {
	r := start(t, Config{System: cachedShop(topology.HTTPCache{})})
	var n atomic.Int64
	r.serve("catalog", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Cache-Tag", "all, "+req.URL.Path[5:])
		counting(&n, "max-age=60")(w, req)
	})
	for _, c := range []struct {
		purge httpcache.Purge
		want  int
	}{
		{httpcache.Purge{Path: "/api/a"}, 1}, {httpcache.Purge{Path: "/api/*"}, 2}, {httpcache.Purge{Tag: "b"}, 1},
		{httpcache.Purge{Tag: "none"}, 0}, {httpcache.Purge{Tag: "all", Soft: true}, 2},
	} {
		r.fetch("/api/a")
		r.fetch("/api/b")
		await(t, "both answers are stored", func() bool { return stored(r) == 2 }) // a client has them a moment before
		if got, err := r.Purge(c.purge); got != c.want || err != nil {
			t.Errorf("%+v: %d, %v, want %d", c.purge, got, err, c.want)
		}
	}
	if _, err := r.Purge(httpcache.Purge{}); err == nil {
		t.Error("a purge of nothing: no error")
	}
	if _, err := start(t, Config{}).Purge(httpcache.Purge{Tag: "x"}); err == nil {
		t.Error("a purge without any cache: no error")
	}
}

// A stream of events passes piece by piece, and neither the time-out nor the cache ends or keeps it.
func TestCachedRoutePassesEvents(t *testing.T) {
	patiently(t, func(timeout time.Duration) error {
		sys := cachedShop(topology.HTTPCache{TTL: topology.Duration(time.Minute)})
		sys.Routes[1].Timeout = topology.Duration(timeout)
		return eventsOutlast(t, sys, "catalog", "/api/events", timeout)
	})
}

func TestCachedRoutePassesUpgrades(t *testing.T) {
	r := start(t, Config{System: cachedShop(topology.HTTPCache{})})
	r.raw("catalog", func(n int, head string, c net.Conn) {
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		io.Copy(c, c)
		c.Close()
	})
	conn, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /api/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	br := bufio.NewReader(conn)
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatalf("%v, %v", res, err)
	}
	io.WriteString(conn, "hello\n")
	if line, err := br.ReadString('\n'); line != "hello\n" {
		t.Errorf("echoed %q, %v", line, err)
	}
}

// The answer that a client waited for and left is still there for the next.
func TestCachedRouteOutlivesItsClient(t *testing.T) {
	r := start(t, Config{System: cachedShop(topology.HTTPCache{})})
	var n atomic.Int64
	gate := make(chan struct{})
	r.serve("catalog", func(w http.ResponseWriter, req *http.Request) {
		n.Add(1)
		<-gate
		w.Header().Set("Cache-Control", "max-age=60")
		io.WriteString(w, "whole")
	})
	ctx, leave := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(ctx, "GET", r.url+"/api/a", nil)
	gone := make(chan error, 1)
	go func() {
		_, err := r.client.Do(req)
		gone <- err
	}()
	until(t, "reached", func() bool { return n.Load() == 1 })
	leave()
	<-gone
	until(t, "reached", func() bool { return r.Stats().Routes[1].InFlight == 0 })
	close(gate)
	if body, _, _ := r.fetch("/api/a"); body != "whole" || n.Load() != 1 {
		t.Errorf("got %q after %d requests to the service", body, n.Load())
	}
}

// An answer that is larger than what is kept, of which that was not known before, reaches all who had begun to read it.
func TestCachedRouteLargerThanKept(t *testing.T) {
	r := start(t, Config{System: cachedShop(topology.HTTPCache{MaxObject: 64 << 10})})
	var n atomic.Int64
	gate := make(chan struct{})
	r.serve("catalog", func(w http.ResponseWriter, req *http.Request) {
		n.Add(1)
		w.Header().Set("Cache-Control", "max-age=60")
		io.WriteString(w, "begin")
		http.NewResponseController(w).Flush()
		<-gate
		for range 100 {
			io.WriteString(w, strings.Repeat("y", 10_000))
		}
	})
	var done sync.WaitGroup
	for range 4 {
		done.Go(func() {
			if body, _, _ := r.fetch("/api/a"); len(body) != 1_000_005 {
				t.Errorf("got %d bytes", len(body))
			}
		})
	}
	until(t, "reached", func() bool { return r.Stats().Routes[1].InFlight == 4 && n.Load() > 0 })
	close(gate)
	done.Wait()
	if s := r.Stats().Routes[1].Cache; s.Objects != 0 {
		t.Errorf("%d objects are kept", s.Objects)
	}
}

// An answer that breaks off breaks off for the client too, and is not kept.
func TestCachedRouteIncomplete(t *testing.T) {
	r := start(t, Config{System: cachedShop(topology.HTTPCache{})})
	r.raw("catalog", func(n int, head string, c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("z", 50_000))
		c.Close()
	})
	for range 2 {
		res, err := r.client.Get(r.url + "/api/a")
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("got %d bytes as if they were all", len(b))
		}
		res.Body.Close()
	}
	until(t, "both are counted", func() bool { return r.Stats().Routes[1].InFlight == 0 }) // the client knows a moment before
	if s := r.Stats().Routes[1]; s.Cache.Objects != 0 || s.Errors["http_response_incomplete"] != 2 {
		t.Errorf("%+v, %v", s.Cache, s.Errors)
	}
}

func TestCachedRouteSurvivesReload(t *testing.T) {
	r := start(t, Config{System: cachedShop(topology.HTTPCache{})})
	var n atomic.Int64
	r.serve("catalog", counting(&n, "max-age=60"))
	r.fetch("/api/a")
	await(t, "the answer is stored", func() bool { return stored(r) == 1 })
	next := cachedShop(topology.HTTPCache{TTL: topology.Duration(time.Minute)})
	next.Listen = r.table.Load().system.Listen
	if err := r.Reload(next); err != nil {
		t.Fatal(err)
	}
	if body, status, _ := r.fetch("/api/a"); body != "answer 1" || !strings.HasPrefix(status, "banyan; hit") {
		t.Errorf("after a reload: %q, %q", body, status)
	}
	if s := r.Stats().Routes[1].Cache; s.Hits != 1 || s.Misses != 1 {
		t.Errorf("counted %+v", s)
	}
	other := cachedShop(topology.HTTPCache{})
	other.HTTPCache = &topology.HTTPCacheStore{Memory: 1 << 20}
	if err := r.Reload(other); err == nil {
		t.Error("a store of another size: no error")
	}
}
