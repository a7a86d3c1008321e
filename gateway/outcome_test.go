package gateway

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// fickle is a backend that answers as the test says, over HTTP/1.1 and HTTP/2.
type fickle struct {
	asked atomic.Int64
	how   atomic.Value // of http.HandlerFunc
}

func (r *rig) fickle(service string, how http.HandlerFunc) *fickle {
	r.t.Helper()
	f := new(fickle)
	f.how.Store(how)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		f.asked.Add(1)
		f.how.Load().(http.HandlerFunc)(w, req)
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	r.t.Cleanup(s.Close)
	r.ready(service, s.Listener.Addr().String())
	return f
}

const bodyLength = 100_000

// whole sends an answer as long as it says; half, what comes of it before anything goes wrong; breaksOff no more than that, and
// hangs no more until the gateway gives it up.
func whole(w http.ResponseWriter, req *http.Request) {
	half(w)
	_, _ = w.Write(make([]byte, bodyLength/2))
}

func half(w http.ResponseWriter) {
	w.Header().Set("Content-Length", fmt.Sprint(bodyLength))
	_, _ = w.Write(make([]byte, bodyLength/2))
	w.(http.Flusher).Flush()
}

func breaksOff(w http.ResponseWriter, _ *http.Request) {
	half(w)
	panic(http.ErrAbortHandler)
}

func hangs(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("X-Hangs", "1")
	half(w)
	<-req.Context().Done()
}

// breakers has the breakers of a system open after some failures in a row, those of single replicas as well.
func breakers(s *topology.System, failures int, open time.Duration) *topology.System {
	return eachInbound(s, func(in *topology.Inbound) {
		in.Balance = topology.RoundRobin
		in.Breaker = &topology.Breaker{Failures: failures, Open: topology.Duration(open), MaxOpen: topology.Duration(30 * time.Second), MaxEjected: 1}
	})
}

// breaker is the state of the first backend's.
func (r *rig) breaker() string { return r.Stats().Backends[0].Breaker }

// pathway is how clients reach the gateway, and the gateway its backends.
type pathway struct{ client, backend string }

// onPathways runs a test with clients and backends of HTTP/1.1 and HTTP/2. The clock stands still until the test moves it.
func onPathways(t *testing.T, change func(*topology.System), test func(t *testing.T, r *rig, clk *clock, client *http.Client, url string)) {
	for _, way := range []pathway{{"http/1.1", ""}, {"http/1.1", topology.H2C}, {"h2c", ""}, {"h2c", topology.H2C}, {"tls h2", ""}} {
		t.Run(fmt.Sprintf("%s to %q", way.client, way.backend), func(t *testing.T) {
			var clk clock
			cfg, trust := secured(t, nil)
			change(cfg.System)
			cfg.System.Services["web"].Protocol = way.backend
			cfg.Wait = -1
			r := start(t, cfg, func(g *Gateway) { g.now = clk.now })
			transport, url := &http.Transport{Protocols: new(http.Protocols)}, r.url+"/"
			defer transport.CloseIdleConnections()
			switch way.client {
			case "http/1.1":
				transport.Protocols.SetHTTP1(true)
			case "h2c":
				transport.Protocols.SetUnencryptedHTTP2(true)
			default:
				transport.Protocols.SetHTTP2(true)
				transport.TLSClientConfig = trust(r)
				url = "https://" + r.TLSAddr().String() + "/"
			}
			test(t, r, &clk, &http.Client{Transport: transport}, url)
		})
	}
}

// visit returns the length of an answer, and with what its body ended. It goes away in the middle of one that hangs.
func (r *rig) visit(client *http.Client, url string) (n int64, err error) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	req := r.request("GET", url, nil)
	res, err := client.Do(req.WithContext(ctx))
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.Header.Get("X-Hangs") == "" {
		return io.Copy(io.Discard, res.Body)
	}
	if n, err = io.CopyN(io.Discard, res.Body, bodyLength/2); err != nil {
		r.t.Fatal(err)
	}
	cancel()
	until(r.t, "the gateway has seen its client leave", func() bool { return r.Stats().Backends[0].InFlight == 0 })
	return n, nil
}

// A backend whose answers begin well and break off is taken out like one that does not answer at all, and its probes are judged
// by the whole of their answers.
func TestBodiesThatBreakOffOpenTheBreaker(t *testing.T) {
	onPathways(t, func(s *topology.System) { breakers(s, 5, time.Second) }, func(t *testing.T, r *rig, clk *clock, client *http.Client, url string) {
		bad := r.fickle("web", breaksOff)
		r.fickle("web", whole)
		some := func(n int) (broken int) {
			t.Helper()
			for range n {
				if n, err := r.visit(client, url); err != nil && n <= bodyLength/2 {
					broken++
				} else if n != bodyLength {
					t.Errorf("%d bytes, %v", n, err)
				}
			}
			return broken
		}
		if broken := some(20); broken != 5 || bad.asked.Load() != 5 || r.breaker() != "open" {
			t.Fatalf("%d of 20 answers broke off, %d requests to the bad backend, breaker %s", broken, bad.asked.Load(), r.breaker())
		}
		if n := r.Stats().Backends[0].Failures; n != 5 {
			t.Errorf("%d failures", n)
		}
		clk.advance(time.Second)
		if some(6); bad.asked.Load() != 6 || r.breaker() != "open" {
			t.Fatalf("after a failed probe: %d requests, breaker %s", bad.asked.Load(), r.breaker())
		}
		bad.how.Store(http.HandlerFunc(whole))
		clk.advance(time.Second)
		if some(6); bad.asked.Load() != 6 {
			t.Fatal("the pause did not double: the head of a failed probe has counted as a success")
		}
		clk.advance(time.Second)
		some(6)
		until(t, "a good probe closes it", func() bool { return r.breaker() == "closed" })
	})
}

// A client that goes away in the middle of an answer says nothing about the backend: neither that it failed nor that it did well.
func TestClientsThatLeaveTellNothing(t *testing.T) {
	onPathways(t, func(s *topology.System) { breakers(s, 5, time.Second) }, func(t *testing.T, r *rig, clk *clock, client *http.Client, url string) {
		f := r.fickle("web", hangs)
		for range 6 {
			_, _ = r.visit(client, url)
		}
		if s := r.Stats().Backends[0]; s.Breaker != "closed" || s.Failures != 0 {
			t.Fatalf("six clients left: %d failures, breaker %s", s.Failures, s.Breaker)
		}
		f.how.Store(http.HandlerFunc(breaksOff))
		for range 4 {
			_, _ = r.visit(client, url)
		}
		f.how.Store(http.HandlerFunc(hangs))
		_, _ = r.visit(client, url)
		if r.breaker() != "closed" {
			t.Fatal("one that left is the fifth failure")
		}
		f.how.Store(http.HandlerFunc(breaksOff))
		if _, _ = r.visit(client, url); r.breaker() != "open" {
			t.Fatal("one that left has made up for four failures")
		}
		clk.advance(time.Second)
		f.how.Store(http.HandlerFunc(hangs))
		_, _ = r.visit(client, url) // a probe
		if r.breaker() != "open" {
			t.Fatalf("breaker %s after a probe whose client has left", r.breaker())
		}
		f.how.Store(http.HandlerFunc(whole))
		if n, err := r.visit(client, url); n != bodyLength || err != nil {
			t.Fatalf("the next probe: %d bytes, %v", n, err)
		}
		until(t, "it closes the breaker", func() bool { return r.breaker() == "closed" })
	})
}

// A probe that takes long does not keep others out for as long: it is judged by what has come when its time is over.
func TestLongProbe(t *testing.T) {
	onPathways(t, func(s *topology.System) { breakers(s, 2, time.Second) }, func(t *testing.T, r *rig, clk *clock, client *http.Client, url string) {
		const piece = 100
		next := make(chan struct{})
		f := r.fickle("web", breaksOff)
		end := sync.OnceFunc(func() { close(next) })
		defer end()
		for range 2 {
			_, _ = r.visit(client, url)
		}
		clk.advance(time.Second)
		f.how.Store(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			half(w)
			for range next {
				_, _ = w.Write(make([]byte, piece))
				w.(http.Flusher).Flush()
			}
			panic(http.ErrAbortHandler)
		}))
		res, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		more := func() {
			t.Helper()
			next <- struct{}{}
			if _, err := io.ReadFull(res.Body, make([]byte, piece)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.ReadFull(res.Body, make([]byte, bodyLength/2)); err != nil {
			t.Fatal(err)
		}
		clk.advance(time.Second - 1)
		if more(); r.breaker() != "half-open" {
			t.Fatalf("breaker %s before the probe's time is over", r.breaker())
		}
		clk.advance(1)
		more()
		until(t, "the breaker closes after the probe's time", func() bool { return r.breaker() == "closed" })
		end()
		_, _ = io.Copy(io.Discard, res.Body)
		until(t, "the answer has broken off", func() bool { return r.Stats().Backends[0].Failures == 3 })
		if r.breaker() != "closed" {
			t.Errorf("breaker %s: its outcome is told twice", r.breaker())
		}
	})
}

// Streams of events count as they go, for they have no end: one that breaks off soon is a failure, and one that goes on for longer
// than a call may take is a success.
func TestStreamsCountBeforeTheirEnd(t *testing.T) {
	patiently(t, func(timeout time.Duration) error {
		s := breakers(shop(), 2, time.Minute)
		eachInbound(s, func(in *topology.Inbound) { in.Timeout = topology.Duration(timeout) })
		r := start(t, Config{System: s, Wait: -1})
		defer r.stop()
		over := make(chan struct{})
		endOf := sync.OnceFunc(func() { close(over) })
		defer endOf()
		goesOn := func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for tick := time.NewTicker(timeout / 10); ; {
				_, _ = io.WriteString(w, "data: x\n\n")
				w.(http.Flusher).Flush()
				select {
				case <-tick.C:
				case <-over:
					panic(http.ErrAbortHandler)
				}
			}
		}
		breaks := func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: x\n\n")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		f := r.fickle("web", breaks)
		_, _ = r.visit(r.client, r.url)
		f.how.Store(http.HandlerFunc(goesOn))
		res, err := r.client.Get(r.url)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		lines := bufio.NewReader(res.Body)
		for begun := time.Now(); time.Since(begun) < 2*timeout; {
			if _, err := lines.ReadString('\n'); err != nil {
				return fmt.Errorf("status %d, %w", res.StatusCode, err)
			}
		}
		f.how.Store(http.HandlerFunc(breaks))
		_, _ = r.visit(r.client, r.url)
		if s := r.breaker(); s != "closed" {
			return fmt.Errorf("breaker %s: the stream that goes on has not counted", s)
		}
		endOf()
		_, _ = io.Copy(io.Discard, lines)
		until(t, "it has broken off", func() bool { return r.Stats().Backends[0].Failures == 3 })
		if s := r.breaker(); s != "closed" {
			return fmt.Errorf("breaker %s: what became of the stream is told twice", s)
		}
		_, _ = r.visit(r.client, r.url)
		if s := r.breaker(); s != "open" {
			return fmt.Errorf("breaker %s after two streams that broke off", s)
		}
		return nil
	})
}

// A stream that is a probe closes the breaker while it goes on, though nothing comes of it.
func TestStreamsAsProbes(t *testing.T) {
	s := breakers(shop(), 2, 50*time.Millisecond)
	r := start(t, Config{System: s, Wait: -1})
	over := make(chan struct{})
	defer close(over)
	f := r.fickle("web", breaksOff)
	for range 2 {
		_, _ = r.visit(r.client, r.url)
	}
	f.how.Store(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		<-over
	}))
	until(t, "a probe passes", func() bool {
		res, err := r.client.Get(r.url)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != 200 {
			return false
		}
		until(t, "it closes the breaker", func() bool { return r.breaker() == "closed" })
		return true
	})
}

func TestGRPCStreamsAsProbes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	server.RegisterService(&echoService, struct{}{})
	go server.Serve(l)
	t.Cleanup(server.Stop)
	s := breakers(shop(), 2, 50*time.Millisecond)
	s.Services["web"].Protocol = topology.GRPC
	r := start(t, Config{System: s, Wait: -1})
	r.ready("web", l.Addr().String())
	conn, err := grpc.NewClient("passthrough:///"+r.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	say := func(text string) error {
		stream, err := conn.NewStream(ctx, &echoService.Streams[0], "/test.Echo/Echo")
		if err != nil {
			return err
		}
		m := healthpb.HealthCheckRequest{Service: text}
		if err := stream.SendMsg(&m); err != nil {
			return err
		}
		return stream.RecvMsg(&m)
	}
	until(t, "open", func() bool { _ = say("fail"); return r.breaker() == "open" })
	until(t, "a stream passes as a probe", func() bool { return say("well") == nil })
	until(t, "it closes the breaker", func() bool { return r.breaker() == "closed" })
	until(t, "it is the only one under way", func() bool { return r.Stats().Backends[0].InFlight == 1 })
}

// That a backend has gone over to another protocol is its answer, whole: the rest is not HTTP's, however it ends.
func TestUpgradesCountAtOnce(t *testing.T) {
	r := start(t, Config{System: breakers(shop(), 2, time.Minute), Wait: -1})
	f := r.fickle("web", breaksOff)
	_, _ = r.visit(r.client, r.url)
	f.how.Store(http.HandlerFunc(echoes))
	c := upgraded(t, r)
	f.how.Store(http.HandlerFunc(breaksOff))
	if _, _ = r.visit(r.client, r.url); r.breaker() != "closed" {
		t.Fatalf("breaker %s: the upgrade between has not counted", r.breaker())
	}
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
	until(t, "it has ended", func() bool { return r.Stats().Backends[0].InFlight == 0 })
	if r.breaker() != "closed" {
		t.Fatalf("breaker %s: the end of the upgrade has counted", r.breaker())
	}
	if _, _ = r.visit(r.client, r.url); r.breaker() != "open" {
		t.Errorf("breaker %s after the second failure", r.breaker())
	}
}

// Where the time-out is over while the client takes its answer slowly, it is not the backend that was late.
func TestSlowClientsTellNothing(t *testing.T) {
	patiently(t, func(timeout time.Duration) error {
		s := breakers(shop(), 1, time.Minute)
		eachInbound(s, func(in *topology.Inbound) { in.Timeout = topology.Duration(timeout) })
		r := start(t, Config{System: s, Wait: -1}, func(g *Gateway) { g.writeGrace = 4 * timeout })
		defer r.stop()
		r.fickle("web", func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(64<<20))
			_, _ = io.Copy(w, stream(1, 32<<20)) // more than goes into buffers on the way
			<-req.Context().Done()
		})
		c := r.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		defer c.Close()
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 200 {
			return fmt.Errorf("status %d", res.StatusCode)
		}
		<-time.After(2 * timeout) // the client does not read meanwhile, and then all that there is
		if _, err = io.Copy(io.Discard, res.Body); err == nil {
			t.Error("half of an answer came as if it were whole")
		}
		until(t, "it is over", func() bool { return r.Stats().Backends[0].InFlight == 0 })
		if s := r.Stats().Backends[0]; s.Failures != 0 || s.Breaker != "closed" {
			return fmt.Errorf("%d failures, breaker %s", s.Failures, s.Breaker)
		}
		return nil
	})
}

// Replicas are compared by whole answers, too: one whose bodies break off is left alone, and one whose clients leave is not.
func TestBodiesThatBreakOffAreOutliers(t *testing.T) {
	for _, c := range []struct {
		name string
		how  http.HandlerFunc
		out  bool
	}{{"breaks off", breaksOff, true}, {"clients leave", hangs, false}, {"whole", whole, false}} {
		t.Run(c.name, func(t *testing.T) {
			var clk clock
			s := eachInbound(shop(), func(in *topology.Inbound) {
				in.Balance, in.Retry, in.Breaker = topology.RoundRobin, nil, nil
				in.Outliers = &topology.Outliers{
					Interval: topology.Duration(10 * time.Second), Eject: topology.Duration(30 * time.Second), MaxEject: topology.Duration(5 * time.Minute),
					MaxEjected: 0.1, MinReplicas: 5, MinRequests: 10, Deviations: 1.9, Panic: 0.5,
				}
			})
			r := start(t, Config{System: s}, func(g *Gateway) { g.now = clk.now })
			first := r.fickle("web", c.how)
			for range 5 {
				r.fickle("web", whole)
			}
			for range 6 * 12 {
				_, _ = r.visit(r.client, r.url)
			}
			if n := first.asked.Load(); n != 12 {
				t.Fatalf("%d requests of 72 to the first of six", n)
			}
			r.settle()
			clk.advance(10 * time.Second)
			first.how.Store(http.HandlerFunc(whole))
			_, _ = r.visit(r.client, r.url) // ends the interval
			r.settle()
			if out := r.Stats().Backends[0].Ejected; out != c.out {
				t.Errorf("ejected %v, want %v", out, c.out)
			}
		})
	}
}

// So are those that copies of requests are sent to.
func TestMirroredBodiesThatBreakOff(t *testing.T) {
	route := &topology.Route{Name: "main", Path: "/", To: "web", Mirror: &topology.Mirror{To: "catalog", Share: 1, Concurrency: 3}}
	r := start(t, Config{System: breakers(routed(route), 3, time.Minute)})
	r.fickle("catalog", breaksOff)
	r.fickle("web", whole)
	until(t, "the breaker opens", func() bool {
		_, _ = r.visit(r.client, r.url)
		for _, b := range r.Stats().Backends {
			if b.Service == "catalog" {
				return b.Breaker == "open"
			}
		}
		return false
	})
}

// An answer that is given up says that its backend did well only if it was seen whole.
func TestGivenUpAnswers(t *testing.T) {
	for _, c := range []struct {
		status int
		body   io.Reader
		want   policy.Outcome
	}{
		{200, bytes.NewReader(nil), policy.Success},
		{200, bytes.NewReader(make([]byte, discardSize-1)), policy.Success},
		{200, bytes.NewReader(make([]byte, discardSize+1)), policy.Neutral},
		{200, io.MultiReader(bytes.NewReader(make([]byte, 10)), broken{}), policy.Neutral},
		{503, bytes.NewReader(nil), policy.Failure},
		{503, broken{}, policy.Failure},
	} {
		if got := discard(&http.Response{StatusCode: c.status, Body: io.NopCloser(c.body)}); got != c.want {
			t.Errorf("status %d: %v, want %v", c.status, got, c.want)
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
