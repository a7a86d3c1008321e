package gateway

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// routed is the shop with other routes.
func routed(routes ...*topology.Route) *topology.System {
	s := shop()
	for _, r := range routes {
		if r.Timeout == 0 {
			r.Inbound = inbound()
		}
	}
	s.Routes = routes
	return s
}

func TestSplit(t *testing.T) {
	r := start(t, Config{System: routed(&topology.Route{Path: "/", To: "web", Split: map[string]float64{"web": 9, "catalog": 1}})})
	r.serve("web", text("web"))
	r.serve("catalog", text("catalog"))
	counts := map[string]int{}
	for range 1000 {
		counts[r.get("/").body]++
	}
	if n := counts["catalog"]; n < 40 || n > 160 || counts["web"] != 1000-n {
		t.Errorf("9 to 1 gives %v", counts)
	}
}

// A client that is bound to a replica stays with the service of that replica.
func TestSplitKeepsBoundClients(t *testing.T) {
	route := &topology.Route{Path: "/", To: "web", Split: map[string]float64{"web": 1, "catalog": 1}, Inbound: inbound()}
	route.Sticky = &topology.Sticky{}
	r := start(t, Config{System: routed(route)})
	r.serve("web", text("web"))
	r.serve("catalog", text("catalog"))
	for range 10 {
		first := r.get("/")
		cookie, _, _ := strings.Cut(first.header.Get("Set-Cookie"), ";")
		for range 10 {
			req := r.request("GET", r.url+"/", nil)
			req.Header.Set("Cookie", cookie)
			if again := r.do(req); again.body != first.body {
				t.Fatalf("bound to %s by %s, and answered by %s", first.body, cookie, again.body)
			}
		}
	}
}

func TestMatchedRoutes(t *testing.T) {
	r := start(t, Config{System: routed(
		&topology.Route{Name: "all", Path: "/", To: "web"},
		&topology.Route{Name: "beta", Path: "/", To: "catalog", Match: &topology.Match{Headers: map[string]string{"x-beta": "yes"}}},
		&topology.Route{Name: "group", Path: "/", To: "catalog", Match: &topology.Match{Cookies: map[string]string{"group": "b"}}},
		&topology.Route{Name: "debug", Path: "/", To: "catalog", Match: &topology.Match{Query: map[string]string{"debug": "*"}}},
	)})
	r.serve("web", text("web"))
	r.serve("catalog", text("catalog"))
	for _, c := range []struct{ path, key, value, want string }{
		{"/", "", "", "web"}, {"/", "X-Beta", "yes", "catalog"}, {"/", "X-Beta", "no", "web"},
		{"/", "Cookie", "group=b", "catalog"}, {"/", "Cookie", "a=1;  group=b", "catalog"}, {"/", "Cookie", "group=bb", "web"},
		{"/?debug=1", "", "", "catalog"}, {"/?a=debug", "", "", "web"},
	} {
		req := r.request("GET", r.url+c.path, nil)
		if c.key != "" {
			req.Header.Set(c.key, c.value)
		}
		if got := r.do(req).body; got != c.want {
			t.Errorf("%s with %s: %s went to %s", c.path, c.key, c.value, got)
		}
	}
}

func TestRedirect(t *testing.T) {
	r := start(t, Config{System: routed(
		&topology.Route{Path: "/old/", Redirect: &topology.Redirect{Prefix: "/new/", Status: 308}},
		&topology.Route{Path: "/root/", Redirect: &topology.Redirect{Prefix: "/", Status: 301}},
		&topology.Route{Path: "/gone", Redirect: &topology.Redirect{Host: "shop.example:8443", Scheme: "https", Path: "/a b", Status: 302}},
		&topology.Route{Path: "/tls/", Redirect: &topology.Redirect{Scheme: "https", Status: 308}},
	)})
	for _, c := range []struct {
		path, want string
		status     int
	}{
		{"/old/a%2Fb/c?x=1", "/new/a%2Fb/c?x=1", 308},
		{"/root//evil.example/", "/evil.example/", 301},
		{"/root/\\evil.example/", "/%5Cevil.example/", 301},
		{"/gone?q", "https://shop.example:8443/a%20b?q", 302},
		{"/tls/x", "https://" + strings.TrimPrefix(r.url, "http://") + "/tls/x", 308},
	} {
		a := r.raw1("GET " + c.path + " HTTP/1.1\r\nHost: " + strings.TrimPrefix(r.url, "http://") + "\r\n\r\n")
		if got := a.header.Get("Location"); got != c.want || a.status != c.status || a.header.Get("X-Request-Id") == "" {
			t.Errorf("%s: %d to %q, want %d to %q", c.path, a.status, got, c.status, c.want)
		}
	}
	r.wantFault(r.get("/nothing"), 404, "destination_not_found")
}

func TestRewriteAndHeaders(t *testing.T) {
	r := start(t, Config{System: routed(
		&topology.Route{Path: "/v1/", To: "web", Rewrite: &topology.Rewrite{Prefix: "/v2/", Host: "web.internal"}},
		&topology.Route{Path: "/shop/", To: "web", Rewrite: &topology.Rewrite{From: "/shop/{category}/{item}", To: "/items/{item}"}},
		&topology.Route{Path: "/h", To: "web", Headers: &topology.HeaderEdits{
			Request:  topology.HeaderEdit{Set: map[string]string{"x-team": "cart"}, Add: map[string]string{"Accept": "text/x"}, Remove: []string{"x-debug"}},
			Response: topology.HeaderEdit{Remove: []string{"Server"}, Set: map[string]string{"X-Frame-Options": "DENY"}, Add: map[string]string{"Vary": "X-Beta"}},
		}},
	)})
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Server", "secret")
		w.Header().Set("Vary", "Accept")
		fmt.Fprintf(w, "%s %s %q %q %q", req.Host, req.RequestURI, req.Header["X-Team"], req.Header["Accept"], req.Header["X-Debug"])
	})
	host := strings.TrimPrefix(r.url, "http://")
	for path, want := range map[string]string{
		"/v1/a%2Fb?x=1":   "web.internal /v2/a%2Fb?x=1 [] [] []",
		"/shop/toys/a%20": host + " /items/a%20 [] [] []",
		"/shop/toys":      host + " /shop/toys [] [] []",
	} {
		if got := r.get(path).body; got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	req := r.request("GET", r.url+"/h", nil)
	req.Header.Set("X-Team", "mine")
	req.Header.Set("X-Debug", "1")
	req.Header.Set("Accept", "text/html")
	a := r.do(req)
	if want := host + ` /h ["cart"] ["text/html" "text/x"] []`; a.body != want {
		t.Errorf("%s, want %s", a.body, want)
	}
	if h := a.header; h.Get("Server") != "" || h.Get("X-Frame-Options") != "DENY" || fmt.Sprint(h["Vary"]) != "[Accept X-Beta]" {
		t.Errorf("answer's headers %v", h)
	}
}

func TestInjectedFaults(t *testing.T) {
	slow := &topology.Route{Path: "/slow", To: "web", Fault: &topology.Fault{Delay: topology.Duration(time.Hour), Share: 1}, Inbound: inbound()}
	slow.Timeout = topology.Duration(20 * time.Millisecond)
	r := start(t, Config{System: routed(
		&topology.Route{Path: "/abort", To: "web", Fault: &topology.Fault{Abort: 418, Share: 0.5}},
		&topology.Route{Path: "/delay", To: "web", Fault: &topology.Fault{Delay: topology.Duration(time.Millisecond), Share: 1}}, slow)})
	r.serve("web", text("fine"))
	counts := map[int]int{}
	for range 400 {
		counts[r.get("/abort").status]++
	}
	if n := counts[418]; n < 120 || n > 280 || counts[200] != 400-n {
		t.Errorf("half of the requests are aborted: %v", counts)
	}
	if a := r.get("/delay"); a.body != "fine" {
		t.Errorf("a delayed request: %+v", a)
	}
	r.wantFault(r.get("/slow"), 504, "http_response_timeout")
}

// Copies are marked, carry the body, and cost the request nothing: not even where their service hangs.
func TestMirror(t *testing.T) {
	route := &topology.Route{Name: "main", Path: "/", To: "web", Mirror: &topology.Mirror{To: "catalog", Share: 1, Concurrency: 3}}
	r := start(t, Config{System: routed(route)})
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		fmt.Fprintf(w, "%s %q", body, req.Header.Get(headerMirror))
	})
	copies := make(chan string, 100)
	hold := make(chan struct{})
	r.serve("catalog", func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		copies <- fmt.Sprintf("%s %s %s %s", req.Method, req.RequestURI, body, req.Header.Get(headerMirror))
		<-hold
		w.WriteHeader(500)
	})
	req := r.request("POST", r.url+"/a?b", strings.NewReader("hello"))
	req.Header.Set(headerMirror, "forged")
	if a := r.do(req); a.body != `hello ""` {
		t.Errorf("the request itself: %+v", a)
	}
	if got := <-copies; got != "POST /a?b hello main" {
		t.Errorf("copy %q", got)
	}
	for range 10 {
		if a := r.get("/"); a.status != 200 {
			t.Fatalf("%+v", a)
		}
	}
	<-copies
	<-copies
	stats := r.table.Load().routes[0].rules.mirror.target.mirrors
	if sent, dropped := stats.sent.Load(), stats.dropped.Load(); sent != 3 || dropped != 8 {
		t.Errorf("%d copies sent, %d not, with places for 3", sent, dropped)
	}
	close(hold)
	until(t, "the copies to end", func() bool { return len(r.table.Load().routes[0].rules.mirror.places) == 0 })
	if a := r.get("/"); a.status != 200 {
		t.Errorf("%+v", a)
	}
}

// A service under test that fails loses its share, and is heard of; the log and the caller are told.
func TestCanaryIsRolledBack(t *testing.T) {
	for name, fail := range map[string]http.HandlerFunc{
		"errors":            func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"broken-off bodies": breaksOff,
	} {
		t.Run(name, func(t *testing.T) {
			canaryThatFails(t, "http1", func(r *rig, fails func() bool) (ask func()) {
				r.serve("web", text("old"))
				r.serve("catalog", func(w http.ResponseWriter, q *http.Request) {
					if fails() {
						fail(w, q)
					}
				})
				return func() { r.get("/") }
			})
		})
	}
	// Whose answers all have the status 200 of HTTP.
	t.Run("calls of gRPC", func(t *testing.T) {
		canaryThatFails(t, topology.GRPC, func(r *rig, fails func() bool) (ask func()) {
			r.ready("web", serveGRPC(t, func() error { return nil }))
			r.ready("catalog", serveGRPC(t, func() error {
				if fails() {
					return status.Error(codes.Internal, "broken")
				}
				return nil
			}))
			conn, err := grpc.NewClient("passthrough:///"+r.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			return func() {
				var m healthpb.HealthCheckRequest
				_ = conn.Invoke(t.Context(), "/test.Any/Call", &m, &m)
			}
		})
	})
}

// serveGRPC serves every method of every service: a call is answered with what was sent, or ends with an error.
func serveGRPC(t *testing.T, ends func() error) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		var m healthpb.HealthCheckRequest
		if err := s.RecvMsg(&m); err != nil {
			return err
		}
		if err := ends(); err != nil {
			return err
		}
		return s.SendMsg(&m)
	}))
	go server.Serve(l)
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

// canaryThatFails serves an old service and one under test, which is to fail where fails says so.
func canaryThatFails(t *testing.T, protocol string, serve func(r *rig, fails func() bool) (ask func())) {
	var clk clock
	var events []policy.CanaryEvent
	var mu sync.Mutex
	route := &topology.Route{Name: "main", Path: "/", To: "web", Canary: &topology.Canary{To: "catalog", Steps: []topology.Percent{0.3, 0.5},
		Interval: topology.Duration(time.Minute), MinRequests: 50, Errors: 0.01, Slower: 100, Confidence: 0.99}}
	route.Inbound = inbound()
	route.Retry, route.Breaker = nil, nil
	sys := func() *topology.System {
		s := routed(route)
		s.Services["web"].Protocol, s.Services["catalog"].Protocol = protocol, protocol
		return s
	}
	r := start(t, Config{System: sys(), OnCanary: func(route, service string, e policy.CanaryEvent) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, e)
	}}, func(g *Gateway) { g.now = clk.now })
	var tested atomic.Int64
	ask := serve(r, func() bool { return tested.Add(1)%4 == 0 })
	told := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(events) > 0
	}
	for i := 0; i < 1200 && !told(); i++ {
		clk.advance(100 * time.Millisecond)
		ask()
	}
	given := tested.Load()
	for range 200 { // for longer than an interval
		clk.advance(time.Second)
		ask()
	}
	if n := tested.Load() - given; n != 0 {
		t.Errorf("it was given %d requests after it was rolled back", n)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(events) != 1 || events[0].State != policy.CanaryRolledBack || events[0].Share != 0 || !strings.Contains(events[0].Reason, "fail") {
		t.Fatalf("events %+v", events)
	}
	if n := tested.Load(); n < 50 || n > 500 {
		t.Errorf("it was given %d requests before that", n)
	}
	if c := r.Canaries(); len(c) != 1 || c[0].Share != 0 || c[0].Service != "catalog" || c[0].State != policy.CanaryRolledBack {
		t.Errorf("canaries %+v", c)
	}
	r.reload(sys())
	if c := r.Canaries(); len(c) != 1 || c[0].State != policy.CanaryRolledBack {
		t.Errorf("a reload begins it anew: %+v", c)
	}
}

// The time left is passed on, shrinks from hop to hop, and bounds what a service calls on its way, by the trace alone.
func TestDeadlineIsPassedOn(t *testing.T) {
	var clk clock
	s := eachInbound(shop(), func(in *topology.Inbound) { in.Timeout = topology.Duration(30 * time.Second) })
	r := start(t, Config{System: s}, func(g *Gateway) { g.now = clk.now })
	left := func(req *http.Request) int {
		n, err := strconv.Atoi(req.Header.Get(headerTimeLeft))
		if err != nil {
			t.Errorf("time left %q", req.Header.Get(headerTimeLeft))
		}
		return n
	}
	var inner atomic.Int64
	var status atomic.Int64
	spend := time.Duration(0)
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		clk.advance(spend)
		call, _ := http.NewRequestWithContext(req.Context(), "GET", r.EdgeURL("web", "catalog"), nil)
		call.Header.Set("Traceparent", req.Header.Get("Traceparent"))
		res, err := http.DefaultTransport.RoundTrip(call)
		if err == nil {
			status.Store(int64(res.StatusCode))
			res.Body.Close()
		}
		fmt.Fprint(w, left(req), " ", req.Header.Get("Grpc-Timeout"))
	})
	r.serve("catalog", func(w http.ResponseWriter, req *http.Request) { inner.Store(int64(left(req))) })
	ask := func(header, value string) string {
		req := r.request("GET", r.url+"/", nil)
		if header != "" {
			req.Header.Set(header, value)
		}
		return r.do(req).body
	}
	if got := ask("", ""); got != "30000 " || inner.Load() != 30_000 {
		t.Errorf("the route's own: %s, inside %d", got, inner.Load())
	}
	spend = 300 * time.Millisecond
	if got := ask(headerTimeLeft, "20000"); got != "20000 " || inner.Load() != 19_700 {
		t.Errorf("what the client allows: %s, inside %d", got, inner.Load())
	}
	if got := ask(headerTimeLeft, "99999999"); got != "30000 " || inner.Load() != 29_700 {
		t.Errorf("a client cannot have more: %s, inside %d", got, inner.Load())
	}
	if got := ask(headerTimeLeft, "soon"); got != "30000 " {
		t.Errorf("what is no time counts: %s", got)
	}
	if got := ask("Grpc-Timeout", "15S"); got != "15000 15000000u" {
		t.Errorf("gRPC's header: %s", got)
	}
	spend = 31 * time.Second
	if ask("", ""); status.Load() != 504 {
		t.Errorf("a call for a request whose time is over is answered %d", status.Load())
	}
}

func TestAdmissionRefusesWhatCannotFinish(t *testing.T) {
	var clk clock
	s := eachInbound(shop(), func(in *topology.Inbound) { in.Admission = &topology.Admission{Margin: 1} })
	r := start(t, Config{System: s}, func(g *Gateway) { g.now = clk.now })
	r.serve("web", func(http.ResponseWriter, *http.Request) { clk.advance(2 * time.Second) })
	ask := func(left string) answer {
		req := r.request("GET", r.url+"/", nil)
		req.Header.Set(headerTimeLeft, left)
		return r.do(req)
	}
	for range 5 {
		ask("10000") // it learns that an answer takes two seconds
	}
	ask("500") // one in a tenth of a second may try its luck
	r.settle() // the clock goes back under nobody
	clk.at.Store(int64(r.now() - 2*time.Second))
	a := ask("500")
	r.wantFault(a, http.StatusServiceUnavailable, "deadline_infeasible")
	if a.header.Get("Retry-After") != "2" {
		t.Errorf("Retry-After %q for 1.5 s too little", a.header.Get("Retry-After"))
	}
	if a := ask("5000"); a.status != 200 {
		t.Errorf("there is time enough, and it is answered %d", a.status)
	}
	lane := r.table.Load().routes[0].lane
	until(t, "all to leave", func() bool { return lane.inFlight.Load() == 0 })
}

// With the service nearly full, bulk goes first; a client cannot raise itself; services are told the class.
func TestPriorities(t *testing.T) {
	s := shop()
	s.Services["web"].Concurrency = 10
	for _, r := range s.Routes {
		r.Priority = &topology.Priority{Class: "degraded"}
	}
	r := start(t, Config{System: s})
	arrived, leave := make(chan string, 20), make(chan struct{})
	r.serve("web", func(_ http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/hold" {
			arrived <- req.Header.Get(headerPriority)
			<-leave
		}
	})
	ask := func(path, class string) answer {
		req := r.request("GET", r.url+path, nil)
		req.Header.Set(headerPriority, class)
		return r.do(req)
	}
	var holding sync.WaitGroup
	hold := func(n int) {
		for range n {
			holding.Go(func() { ask("/hold", "critical") })
		}
		for range n {
			if class := <-arrived; class != "degraded" {
				t.Errorf("a client says that it is critical, and the service hears %q", class)
			}
		}
	}
	hold(7) // with the next one, 80 % are in use
	r.wantFault(ask("/", "bulk"), http.StatusServiceUnavailable, "request_shed")
	for range 20 {
		if a := ask("/", "critical"); a.status != 200 {
			t.Errorf("at 80 %%, %d", a.status)
		}
	}
	close(leave)
	holding.Wait()
	if a := ask("/", "bulk"); a.status != 200 {
		t.Errorf("bulk is refused though nobody is there: %d", a.status)
	}
}

func TestTryTimeout(t *testing.T) { patiently(t, triedElsewhere(t)) }

// triedElsewhere sends requests of which every other one meets a stalled replica.
func triedElsewhere(t *testing.T) func(time.Duration) error {
	return func(timeout time.Duration) error {
		s := eachInbound(shop(), func(in *topology.Inbound) {
			in.TryTimeout = topology.Duration(timeout)
			in.Balance = topology.RoundRobin
		})
		r := start(t, Config{System: s})
		defer r.stop()
		stalled := make(chan struct{}, 10)
		r.serve("web", func(_ http.ResponseWriter, req *http.Request) {
			_, _ = io.Copy(io.Discard, req.Body)
			<-req.Context().Done()
			stalled <- struct{}{}
		})
		r.serve("web", text("good"))
		for range 2 {
			if a := r.get("/"); a.body != "good" {
				return fmt.Errorf("a GET: %+v", a)
			}
		}
		select {
		case <-stalled: // the try was cancelled
		case <-time.After(timeout):
			return errors.New("the stalled replica has not seen its try cancelled")
		}
		a := r.do(r.request("POST", r.url+"/", strings.NewReader("x")))
		b := r.do(r.request("POST", r.url+"/", strings.NewReader("x")))
		if b.status != 200 {
			a, b = b, a
		}
		if a.status != 504 || b.status != 200 {
			return fmt.Errorf("two POSTs, of which one met the stalled replica and cannot be repeated: %d and %d", a.status, b.status)
		}
		return nil
	}
}

// A request that meets a slow replica is answered by the other, and the slow one's call is cancelled.
func TestRequestSizesOfARoute(t *testing.T) {
	r := start(t, Config{System: routed(
		&topology.Route{Path: "/", To: "web"},
		&topology.Route{Path: "/small", To: "web", MaxBody: 10, MaxHeader: 400},
	)})
	r.serve("web", func(w http.ResponseWriter, req *http.Request) { _, _ = io.Copy(w, req.Body) })
	long := strings.Repeat("x", 400)
	for _, c := range []struct {
		path, header string
		body         io.Reader
		want         int
	}{
		{"/", long, strings.NewReader(long), 200},
		{"/small", "x", strings.NewReader("0123456789"), 200},
		{"/small", "x", strings.NewReader("0123456789a"), 413},
		{"/small", "x", io.MultiReader(strings.NewReader("0123456789a")), 413},
		{"/small", long, nil, 431},
	} {
		req := r.request("POST", r.url+c.path, c.body)
		req.Header.Set("X-Long", c.header)
		if a := r.do(req); a.status != c.want {
			t.Errorf("%s: %d, want %d", c.path, a.status, c.want)
		}
	}
}

// Two gateways that tell each other what they spent allow no more retries together than one budget does.
func TestGatewaysShareTheirBudgets(t *testing.T) {
	var clk clock
	rigs := [2]*rig{}
	var tries atomic.Int64
	for i := range rigs {
		s := eachInbound(shop(), func(in *topology.Inbound) { in.Retry.MinPerSecond, in.Breaker = 0, nil })
		rigs[i] = start(t, Config{System: s, Gateway: i, Gateways: 2}, func(g *Gateway) { g.now = clk.now })
		for range 2 {
			rigs[i].serve("web", func(w http.ResponseWriter, req *http.Request) {
				if n := tries.Add(1); req.URL.Path == "/fail" && n%2 == 1 {
					w.WriteHeader(503)
				}
			})
		}
	}
	for i, r := range rigs {
		if err := r.PeerSpent("other", rigs[1-i].Spent()); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		rigs[0].get("/")
	}
	for range 20 {
		tries.Store(0)
		rigs[0].get("/fail") // and is retried
	}
	if err := rigs[1].PeerSpent("other", rigs[0].Spent()); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for range 10 {
		tries.Store(0)
		if rigs[1].get("/fail").status == 503 {
			refused++
		}
	}
	// Of 130 requests 26 may be retried: 20 are spent.
	if refused < 3 || refused > 6 {
		t.Errorf("%d of 10 not retried, with six left of the common budget", refused)
	}
	rigs[1].ForgetPeer("other")
}

func TestZonesAndSubsets(t *testing.T) {
	s := eachInbound(shop(), func(in *topology.Inbound) { in.Locality = &topology.Locality{Overprovision: 1.4} })
	r := start(t, Config{System: s, Zone: "a"})
	for i := range 4 {
		zone := string("ab"[i%2])
		id := r.serve("web", text(zone))
		r.Add("web", Backend{ID: id, Address: r.table.Load().services["web"].backends[id].address, Zone: zone})
		r.SetReady("web", id, true)
	}
	for range 20 {
		if a := r.get("/"); a.body != "a" {
			t.Fatalf("it leaves its zone: %+v", a)
		}
	}
	r.SetReady("web", "web-1", false)
	r.SetReady("web", "web-3", false)
	if a := r.get("/"); a.body != "b" {
		t.Errorf("nobody is left in the zone: %+v", a)
	}

	used := map[string]int{}
	for i := range 5 {
		s := eachInbound(shop(), func(in *topology.Inbound) { in.Subset = 4 })
		r := start(t, Config{System: s, Gateway: i, Gateways: 5})
		for range 20 {
			r.serve("web", text(""))
		}
		for _, m := range r.table.Load().routes[0].lane.pool.Members() {
			used[m.Owner.(*backend).id]++
		}
	}
	if len(used) != 20 {
		t.Errorf("five gateways with four of twenty replicas each use %d: %v", len(used), used)
	}
}
