package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	addresses "github.com/banyanhq/banyan/internal/loopback"
	"github.com/banyanhq/banyan/topology"
)

// inbound is what the loader fills in where the file says nothing, with pauses short enough for tests, and a time-out that is
// longer than a machine stands still.
func inbound() topology.Inbound {
	return topology.Inbound{
		Balance: topology.LeastRequest,
		Timeout: topology.Duration(10 * time.Minute),
		Retry: &topology.Retry{
			Attempts: 3, Budget: 0.2, MinPerSecond: 10, Backoff: topology.Duration(time.Microsecond), On: []int{502, 503, 504},
		},
		Breaker: &topology.Breaker{
			Failures: 5, Open: topology.Duration(time.Second), MaxOpen: topology.Duration(30 * time.Second), MaxEjected: 0.5,
		},
	}
}

// shop is a system of two services, one of which uses the other.
func shop() *topology.System {
	return &topology.System{
		Listen: "127.0.0.1:0",
		Services: map[string]*topology.Service{
			"web":     {Inbound: inbound(), Uses: []string{"catalog", "caches.products"}},
			"catalog": {Inbound: inbound()},
		},
		Routes: []*topology.Route{
			{Name: "home", Path: "/", To: "web", Inbound: inbound()},
			{Name: "api", Path: "/api/", To: "catalog", Inbound: inbound()},
		},
	}
}

// eachInbound applies change to all of a system's ways to call.
func eachInbound(s *topology.System, change func(*topology.Inbound)) *topology.System {
	for _, r := range s.Routes {
		change(&r.Inbound)
	}
	for _, svc := range s.Services {
		change(&svc.Inbound)
	}
	return s
}

// rig is a gateway that serves.
type rig struct {
	*Gateway
	t      testing.TB
	url    string
	client *http.Client
	stop   func() // ends Run and waits for it
	nextID int
}

func start(t testing.TB, cfg Config, prepare ...func(*Gateway)) *rig {
	t.Helper()
	if cfg.System == nil {
		cfg.System = shop()
	}
	dependsOnTier(t)
	cfg.FullTierOnly = cfg.FullTierOnly || fullTierOnly
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g.writeGrace, g.proxyTime = 20*time.Second, time.Hour // for a machine that is so busy that an answer, or a header, is late
	for _, f := range prepare {
		f(g)
	}
	if g.Addr() == nil { // unless prepare did it
		if err := g.Listen(); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	r := &rig{Gateway: g, t: t, url: "http://" + g.Addr().String()}
	r.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r.stop = sync.OnceFunc(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		r.wantNoConnections()
	})
	t.Cleanup(r.stop)
	return r
}

// letsGoSoon is for a gateway whose clients do not take their answers.
func letsGoSoon(g *Gateway) { g.writeGrace = 300 * time.Millisecond }

// wantNoConnections holds the counts of connections against what must be left of them when the gateway has stopped.
func (r *rig) wantNoConnections() {
	for _, l := range []*connLimit{r.plainConns, r.tlsConns, r.innerConns} {
		left := func() (string, bool) {
			l.mu.Lock()
			defer l.mu.Unlock()
			return fmt.Sprint(l.open.Load(), " open, by client ", l.clients, ", in the full tier ", len(l.quiet)), l.open.Load() == 0 && len(l.clients)+len(l.quiet) == 0
		}
		for deadline := time.Now().Add(time.Minute); ; <-time.After(time.Millisecond) { // those of QUIC are told of it
			text, none := left()
			if none {
				break
			}
			if time.Now().After(deadline) {
				r.t.Errorf("connections are counted that are gone: %s: %s", l.listener, text)
				break
			}
		}
	}
}

// serve adds a ready backend that h answers for.
func (r *rig) serve(service string, h http.HandlerFunc) (id string) {
	r.t.Helper()
	s := httptest.NewServer(h)
	r.t.Cleanup(s.Close)
	return r.ready(service, s.Listener.Addr().String())
}

func (r *rig) ready(service, address string) (id string) {
	r.nextID++
	id = fmt.Sprintf("%s-%d", service, r.nextID)
	r.Add(service, Backend{ID: id, Address: address})
	r.SetReady(service, id, true)
	return id
}

// raw adds a ready backend that speaks bytes: f gets each connection, after the head of a request was read from it.
func (r *rig) raw(service string, f func(n int, head string, c net.Conn)) (id string, requests func() int) {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	var mu sync.Mutex
	n := 0
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				head, err := readHead(c)
				if err != nil {
					return
				}
				mu.Lock()
				n++
				i := n
				mu.Unlock()
				f(i, head, c)
			})
		}
	})
	r.t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return r.ready(service, l.Addr().String()), func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

func readHead(c net.Conn) (string, error) {
	var head strings.Builder
	one := make([]byte, 1)
	for !strings.HasSuffix(head.String(), "\r\n\r\n") {
		if _, err := c.Read(one); err != nil {
			return "", err
		}
		head.Write(one)
	}
	return head.String(), nil
}

// refusing returns an address that nobody listens on.
func refusing() string { return net.JoinHostPort(addresses.Host(), "4711") }

type answer struct {
	status  int
	header  http.Header
	body    string
	trailer http.Header
	err     error // reading the body
}

func (r *rig) do(req *http.Request) answer {
	r.t.Helper()
	res, err := r.client.Do(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(body), res.Trailer, err}
}

func (r *rig) request(method, url string, body io.Reader) *http.Request {
	r.t.Helper()
	if strings.HasPrefix(url, "/") {
		url = r.url + url
	}
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		r.t.Fatal(err)
	}
	return req
}

func (r *rig) get(path string) answer {
	r.t.Helper()
	return r.do(r.request("GET", path, nil))
}

func (r *rig) wantFault(a answer, status int, kind string) {
	r.t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		r.t.Fatalf("status %d, body %q: %v", a.status, a.body, err)
	}
	if a.status != status || p.Status != status || p.Error != kind || p.RequestID == "" || p.Detail == "" ||
		a.header.Get("Proxy-Status") != "banyan; error="+kind || a.header.Get("X-Request-Id") != p.RequestID {
		r.t.Errorf("got %d %+v, Proxy-Status %q; want %d %s", a.status, p, a.header.Get("Proxy-Status"), status, kind)
	}
	if retry := a.header.Get("Retry-After"); (retry != "") != (status == 503 || status == 429) {
		r.t.Errorf("status %d: Retry-After %q", status, retry)
	}
}

// until waits for a condition that another goroutine brings about.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	untilWithin(t, time.Minute, what, f) // the machine may be busy
}

func untilWithin(t testing.TB, patience time.Duration, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for tick := time.NewTicker(5 * time.Millisecond); !f(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// patiently tries what depends on a time-out that must be over for one thing and not for another with longer and longer ones:
// the machine may be too busy for the short.
func patiently(t *testing.T, try func(timeout time.Duration) error) {
	t.Helper()
	const shortest, longest = 50 * time.Millisecond, 20 * time.Second
	for timeout := shortest; ; timeout *= 4 {
		err := try(timeout)
		if err == nil {
			return
		}
		if timeout > longest {
			t.Fatalf("with a time-out of %v: %v", timeout, err)
		}
		t.Logf("with a time-out of %v: %v", timeout, err)
	}
}

func text(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, s) }
}

func TestRoutesAndEdges(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", text("web"))
	r.serve("catalog", text("catalog"))
	for path, want := range map[string]string{"/": "web", "/x?y=1": "web", "/api/z": "catalog", "/api": "web"} {
		if a := r.get(path); a.status != 200 || a.body != want {
			t.Errorf("%s: %d %q, want %q", path, a.status, a.body, want)
		}
	}
	edge := r.EdgeURL("web", "catalog")
	if a := r.do(r.request("GET", edge+"/anything", nil)); a.body != "catalog" {
		t.Errorf("edge: %d %q", a.status, a.body)
	}
	for _, pair := range [][2]string{{"catalog", "web"}, {"web", "web"}, {"web", "caches.products"}, {"", ""}} {
		if url := r.EdgeURL(pair[0], pair[1]); url != "" {
			t.Errorf("%v: there is no such edge, got %s", pair, url)
		}
	}
}

func TestNoRoute(t *testing.T) {
	s := shop()
	s.Routes = s.Routes[1:]
	r := start(t, Config{System: s})
	r.serve("catalog", text("catalog"))
	r.wantFault(r.get("/"), 404, "destination_not_found")
	if n := r.Stats().Unmatched.Requests; n != 1 {
		t.Errorf("%d unmatched requests counted", n)
	}
}

func TestRefusedRequests(t *testing.T) {
	r := start(t, Config{MaxBody: 10})
	r.serve("web", text("web"))
	for _, path := range []string{"/public/../admin", "/public/%2e%2e/admin", "/a/./b", "/..", "/a/."} {
		r.wantFault(r.raw1("GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"), 400, "http_request_error")
	}
	for _, path := range []string{"/a..b", "/.well-known/x", "/...", "/a/..."} {
		if a := r.raw1("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"); a.status != 200 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	r.wantFault(r.raw1("CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\n\r\n"), 404, "destination_not_found")
	r.wantFault(r.do(r.request("POST", "/", strings.NewReader("12345678901"))), 413, "http_request_too_large")
	// Of a length that is not known before.
	r.wantFault(r.do(r.request("POST", "/", io.MultiReader(strings.NewReader("123456"), strings.NewReader("78901")))), 413, "http_request_too_large")
	big := r.request("GET", "/", nil)
	big.Header.Set("X-Big", strings.Repeat("x", 2*maxHeader))
	if a := r.do(big); a.status != 431 {
		t.Errorf("too large a head: %d", a.status)
	}
	for _, bad := range []string{
		"GET / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
		"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
		"nonsense\r\n\r\n",
	} {
		if a := r.raw1(bad); a.status < 400 || a.status > 599 {
			t.Errorf("%q: %d", bad, a.status)
		}
	}
	if n := r.Stats().Backends[0].Failures; n != 0 {
		t.Errorf("bad requests counted as %d failures of the backend", n)
	}
}

// raw1 sends bytes on a connection of their own, and returns the answer.
func (r *rig) raw1(request string) answer {
	r.t.Helper()
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, request)
	return readAnswer(r.t, c, "GET")
}

func TestConfig(t *testing.T) {
	bad := func(change func(*topology.System)) Config {
		s := shop()
		change(s)
		return Config{System: s}
	}
	for name, cfg := range map[string]Config{
		"no system":       {},
		"negative":        {System: shop(), MaxBody: -1},
		"unknown service": bad(func(s *topology.System) { s.Routes[0].To = "nobody" }),
		"unknown balance": bad(func(s *topology.System) { s.Routes[0].Balance = "fastest" }),
		"no time-out":     bad(func(s *topology.System) { s.Services["catalog"].Inbound.Timeout = 0 }),
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestWaysOfCallingAreShared(t *testing.T) {
	s := shop()
	s.Routes[1].Timeout = topology.Duration(time.Second)
	g, err := New(Config{System: s})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(g.table.Load().services["catalog"].lanes); n != 1 {
		t.Errorf("equal policies make %d lanes", n)
	}
	s.Routes[1].Breaker = &topology.Breaker{Off: true}
	if g, err = New(Config{System: s}); err != nil {
		t.Fatal(err)
	}
	if n := len(g.table.Load().services["catalog"].lanes); n != 2 {
		t.Errorf("unequal policies make %d lanes", n)
	}
}
