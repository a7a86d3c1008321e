package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// What a backend can do wrong, and what each kind of request makes of it when there is a good one beside it.
func TestFaultyBackend(t *testing.T) {
	reset := func(c net.Conn) {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	const whole = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
	faults := map[string]func(n int, head string, c net.Conn){
		"closes at once":   func(n int, head string, c net.Conn) {},
		"resets":           func(n int, head string, c net.Conn) { reset(c) },
		"dies in the head": func(n int, head string, c net.Conn) { io.WriteString(c, whole[:20]) },
		"dies in the body": func(n int, head string, c net.Conn) { io.WriteString(c, whole[:len(whole)-2]) },
		"answers nonsense": func(n int, head string, c net.Conn) { io.WriteString(c, "SSH-2.0-OpenSSH\r\n\r\n") },
		"dies in the chunks": func(n int, head string, c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
		},
		"huge head": func(n int, head string, c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 2*maxHeader)+"\r\n\r\n")
		},
		"is unavailable": func(n int, head string, c net.Conn) {
			// It says that it closes: a gateway that has not seen the end yet would send a POST into it, and the backend count nothing.
			io.WriteString(c, "HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
		},
		"goes over unasked": func(n int, head string, c net.Conn) {
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		},
	}
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			s := eachInbound(shop(), func(in *topology.Inbound) { in.Balance, in.Retry.MinPerSecond = topology.RoundRobin, 100 })
			// An answer of unknown length is held until it breaks off, however busy the machine is.
			r := start(t, Config{System: s}, func(g *Gateway) { g.holdTime, g.holdDocument = time.Minute, time.Minute })
			_, bad := r.raw("web", f)
			var posts atomic.Int64
			r.serve("web", func(w http.ResponseWriter, req *http.Request) {
				body, _ := io.ReadAll(req.Body)
				if req.Method == "POST" {
					posts.Add(1)
				}
				io.WriteString(w, "good "+string(body))
			})
			for range 4 {
				for _, method := range []string{"GET", "PUT", "DELETE"} {
					if a := r.do(r.request(method, "/", strings.NewReader("data"))); a.status != 200 || a.body != "good data" {
						t.Errorf("%s: %d %q", method, a.status, a.body)
					}
				}
			}
			before := bad()
			if before == 0 {
				t.Fatal("the faulty backend was never tried")
			}
			// A POST may have been carried out: it reaches one backend only.
			failed := 0
			for range 4 {
				if a := r.do(r.request("POST", "/", strings.NewReader("data"))); a.status >= 500 {
					failed++
				}
			}
			if int(posts.Load())+bad()-before != 4 || failed != bad()-before {
				t.Errorf("4 POSTs: %d at the good backend, %d at the faulty one, %d failed", posts.Load(), bad()-before, failed)
			}
		})
	}
}

// A POST that provably was not sent is tried elsewhere.
func TestRefusedConnection(t *testing.T) {
	r := start(t, Config{})
	r.ready("web", refusing())
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		w.Write(body)
	})
	for _, body := range []string{"small", strings.Repeat("large", maxReplay)} {
		for range 4 {
			if a := r.do(r.request("POST", "/", strings.NewReader(body))); a.status != 200 || a.body != body {
				t.Errorf("%d, %d bytes", a.status, len(a.body))
			}
		}
	}
	s := r.Stats()
	until(t, "counted", func() bool { s = r.Stats(); return s.Routes[0].Requests == 8 })
	if s.Routes[0].Retries == 0 || s.Routes[0].Retries != s.Backends[0].Failures || len(s.Routes[0].Errors) != 0 {
		t.Errorf("%d retries, %d failures, errors %v", s.Routes[0].Retries, s.Backends[0].Failures, s.Routes[0].Errors)
	}
}

func TestAllRefuse(t *testing.T) {
	r := start(t, Config{})
	r.ready("web", refusing())
	r.wantFault(r.get("/"), 502, "connection_refused")
	r.wantFault(r.do(r.request("POST", "/", strings.NewReader("x"))), 502, "connection_refused")
}

// A body that streams cannot be sent again once some of it was.
func TestLargeBodyIsNotRepeated(t *testing.T) {
	r := start(t, Config{})
	_, requests := r.raw("web", func(n int, head string, c net.Conn) { io.ReadFull(c, make([]byte, 1000)) })
	r.wantFault(r.do(r.request("PUT", "/", strings.NewReader(strings.Repeat("x", 2*maxReplay)))), 502, "connection_terminated")
	if requests() != 1 {
		t.Errorf("sent %d times", requests())
	}
}

func TestLargeAnswerBreaksOff(t *testing.T) {
	r := start(t, Config{})
	r.raw("web", func(n int, head string, c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 50000))
	})
	if a := r.get("/"); a.status != 200 || a.err == nil {
		t.Errorf("%d, %v: the client was not told that the answer is not whole", a.status, a.err)
	}
	until(t, "counted", func() bool { return r.Stats().Routes[0].Errors["http_response_incomplete"] == 1 })
}

func TestTimeout(t *testing.T) {
	s := eachInbound(shop(), func(in *topology.Inbound) { in.Timeout = topology.Duration(20 * time.Millisecond) })
	r := start(t, Config{System: s})
	var arrived, cancelled atomic.Int64
	asked := int64(0)
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		arrived.Add(1)
		io.Copy(io.Discard, req.Body) // or the server does not look for the connection's end
		<-req.Context().Done()
		cancelled.Add(1)
	})
	for _, method := range []string{"GET", "POST"} {
		before := arrived.Load()
		until(t, "the backend has a "+method+" before its time is over", func() bool {
			var body io.Reader
			if method == "POST" {
				body = strings.NewReader("x")
			}
			r.wantFault(r.do(r.request(method, "/", body)), 504, "http_response_timeout")
			asked++
			return arrived.Load() > before
		})
	}
	until(t, "what the backend has is cancelled", func() bool { return cancelled.Load() == arrived.Load() })
	until(t, "counted", func() bool { s := r.Stats(); return s.Backends[0].Failures == asked && s.Routes[0].Retries == 0 })

	// The head came in time, the body does not.
	r.Remove("web", "web-1")
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "half ")
		w.(http.Flusher).Flush()
		<-req.Context().Done()
	})
	r.wantFault(r.get("/"), 504, "http_response_timeout")

	// The client's body does not.
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf ")
	r.wantFault(readAnswer(t, c, "POST"), 408, "http_request_timeout")
}

// A client that does not read must not hold on to a backend.
func TestClientThatDoesNotRead(t *testing.T) {
	s := eachInbound(shop(), func(in *topology.Inbound) { in.Timeout = topology.Duration(200 * time.Millisecond) })
	r := start(t, Config{System: s}, letsGoSoon)
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/events" {
			w.Header().Set("Content-Type", "text/event-stream")
		}
		io.Copy(w, stream(1, 64<<20))
	})
	for _, path := range []string{"/", "/events"} {
		c, err := net.Dial("tcp", r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	until(t, "let go", func() bool {
		s := r.Stats()
		return s.Routes[0].Requests == 2 && s.Backends[0].InFlight == 0 && s.Backends[0].Connections == 0
	})
}

func TestNoBackend(t *testing.T) {
	r := start(t, Config{Wait: -1})
	r.wantFault(r.get("/"), 503, "destination_unavailable")
	id := r.serve("web", text("up"))
	r.SetReady("web", id, false)
	r.wantFault(r.get("/"), 503, "destination_unavailable")
	r.SetReady("web", id, true)
	if a := r.get("/"); a.body != "up" {
		t.Error(a)
	}
	r.Remove("web", id)
	r.wantFault(r.get("/"), 503, "destination_unavailable")
}

func TestWaitsForABackend(t *testing.T) {
	r := start(t, Config{Wait: time.Minute, MaxWaiting: 3})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if a := r.get("/"); a.body != "up" {
				t.Errorf("after waiting: %+v", a)
			}
		})
	}
	list := &r.table.Load().services["web"].waiting
	until(t, "three wait", func() bool { return list.waiting.Load() == 3 })
	r.wantFault(r.get("/"), 503, "connection_limit_reached")
	r.serve("web", text("up"))
	wg.Wait()
	if list.waiting.Load() != 0 || len(list.queue) != 0 {
		t.Error("somebody still waits")
	}
}

func TestWaitEnds(t *testing.T) {
	r := start(t, Config{Wait: time.Millisecond})
	r.wantFault(r.get("/"), 503, "destination_unavailable")
	s := eachInbound(shop(), func(in *topology.Inbound) { in.Timeout = topology.Duration(time.Millisecond) })
	r = start(t, Config{System: s, Wait: time.Hour})
	a := r.get("/")
	if a.status != 503 && a.status != 504 {
		t.Errorf("the wait outlasts the time-out: %d", a.status)
	}
}

func TestConcurrencyLimit(t *testing.T) {
	s := shop()
	s.Services["web"].Concurrency = 2
	r := start(t, Config{System: s, Wait: time.Minute})
	var now, most atomic.Int64
	gate := make(chan struct{})
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-gate
		now.Add(-1)
	})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if a := r.get("/"); a.status != 200 {
				t.Errorf("%d", a.status)
			}
		})
	}
	until(t, "eighteen wait", func() bool { return r.table.Load().services["web"].waiting.waiting.Load() == 18 && now.Load() == 2 })
	close(gate)
	wg.Wait()
	if most.Load() != 2 {
		t.Errorf("%d at once", most.Load())
	}
}

// clock is a clock that stands still until it is moved.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Duration      { return time.Duration(c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

func TestBreaker(t *testing.T) {
	var clk clock
	s := eachInbound(shop(), func(in *topology.Inbound) { in.Balance = topology.RoundRobin })
	r := start(t, Config{System: s}, func(g *Gateway) { g.now = clk.now })
	var broken atomic.Bool
	broken.Store(true)
	var atBad atomic.Int64
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		atBad.Add(1)
		if broken.Load() {
			w.WriteHeader(500)
		}
	})
	r.serve("web", text("good"))
	for range 100 {
		r.get("/")
	}
	state := func() string { return r.Stats().Backends[0].Breaker }
	if atBad.Load() != 5 || state() != "open" {
		t.Fatalf("%d requests to the bad backend, breaker %s", atBad.Load(), state())
	}
	clk.advance(time.Second)
	for range 10 {
		r.get("/")
	}
	if atBad.Load() != 6 || state() != "open" {
		t.Fatalf("after a failed probe: %d requests, breaker %s", atBad.Load(), state())
	}
	broken.Store(false)
	clk.advance(time.Second)
	for range 10 {
		r.get("/")
	}
	if atBad.Load() != 6 {
		t.Fatal("the pause did not double")
	}
	clk.advance(time.Second)
	for range 10 {
		r.get("/")
	}
	if atBad.Load() < 8 || state() != "closed" {
		t.Errorf("after a good probe: %d requests, breaker %s", atBad.Load(), state())
	}
}

// A backend that becomes ready anew may be another process: its past is forgotten.
func TestReadyAgainClosesTheBreaker(t *testing.T) {
	r := start(t, Config{})
	var broken atomic.Bool
	broken.Store(true)
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		if broken.Load() {
			w.WriteHeader(500)
		}
	})
	r.serve("web", text("good"))
	until(t, "open", func() bool { r.get("/"); return r.Stats().Backends[0].Breaker == "open" })
	broken.Store(false)
	r.SetReady("web", "web-1", false)
	r.SetReady("web", "web-1", true)
	if s := r.Stats().Backends[0].Breaker; s != "closed" {
		t.Errorf("breaker %s", s)
	}
}

func TestRetryStormIsBounded(t *testing.T) {
	var clk clock
	s := eachInbound(shop(), func(in *topology.Inbound) { in.Retry.Attempts, in.Breaker.Off = 10, true })
	r := start(t, Config{System: s}, func(g *Gateway) { g.now = clk.now })
	var tries atomic.Int64
	for range 4 {
		r.serve("web", func(w http.ResponseWriter, req *http.Request) {
			tries.Add(1)
			w.WriteHeader(503)
		})
	}
	const requests, seconds = 400, 2
	for i := range requests {
		if i == requests/2 {
			clk.advance(time.Second)
		}
		if a := r.get("/"); a.status != 503 || a.header.Get("Proxy-Status") != "" {
			t.Fatalf("the backend's own answer was not passed on: %+v", a)
		}
	}
	// Nobody could make good for anybody, so that of the budget only its floor is left.
	limit := int64(requests + 10*seconds + 5)
	if n := tries.Load(); n > limit || n < requests+10*seconds {
		t.Errorf("%d tries for %d requests, limit %d", n, requests, limit)
	}
}

func TestClientCancelIsPassedOn(t *testing.T) {
	r := start(t, Config{})
	arrived, cancelled := make(chan struct{}), make(chan struct{})
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		close(arrived)
		<-req.Context().Done()
		close(cancelled)
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-arrived
		cancel()
	}()
	if _, err := r.client.Do(r.request("GET", "/", nil).WithContext(ctx)); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	<-cancelled
	until(t, "counted", func() bool {
		s := r.Stats()
		return s.Routes[0].Codes[499] == 1 && s.Routes[0].Errors["client_closed"] == 1 && s.Backends[0].Failures == 0 &&
			s.Backends[0].InFlight == 0
	})
}

// Whoever is refused for want of a backend is told when more are expected, for as long as that lies ahead; whoever gets
// another error is not.
func TestRefusedUntilMoreServe(t *testing.T) {
	for _, full := range []bool{false, true} {
		var clk clock
		r := start(t, Config{Wait: -1, FullTierOnly: full}, func(g *Gateway) { g.now = clk.now })
		retry := func(path string, status int) string {
			t.Helper()
			a := r.get(path)
			if a.status != status {
				t.Fatalf("full tier %v: %s answers %d, want %d", full, path, a.status, status)
			}
			return a.header.Get("Retry-After")
		}
		if got := retry("/", 503); got != "1" {
			t.Errorf("full tier %v: Retry-After %q before anything is expected", full, got)
		}
		r.Expect("web", time.Now().Add(90*time.Second))
		r.Expect("absent", time.Now().Add(time.Hour))
		if got := retry("/", 503); got != "90" {
			t.Errorf("full tier %v: Retry-After %q, want 90", full, got)
		}
		clk.advance(2 * time.Minute)
		if got := retry("/", 503); got != "1" {
			t.Errorf("full tier %v: Retry-After %q after what was expected did not come", full, got)
		}
		r.Expect("web", time.Now().Add(time.Hour))
		if got := retry("/", 503); got != "600" {
			t.Errorf("full tier %v: Retry-After %q, want ten minutes at most", full, got)
		}
	}
}

// What a backend sends behind the end of an answer is no answer to anybody: its connection is not used again.
func TestMoreThanTheAnswer(t *testing.T) {
	for name, answer := range map[string]string{
		"length": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"middle": "HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("hello", 4000), // more than is read at first
		"large":  "HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n" + strings.Repeat("hello", 8000),
		"none":   "HTTP/1.1 204 No Content\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, Config{})
			var again atomic.Int64
			r.raw("web", func(n int, head string, c net.Conn) {
				io.WriteString(c, answer+"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
				if _, err := readHead(c); err == nil {
					again.Add(1)
					io.WriteString(c, answer)
				}
			})
			for range 3 {
				if a := r.get("/"); a.status >= 300 || a.body != "" && !strings.HasPrefix(a.body, "hello") || a.err != nil {
					t.Errorf("%d %.20q %v", a.status, a.body, a.err)
				}
			}
			if again.Load() > 0 {
				t.Errorf("a connection with something left over was used again %d times", again.Load())
			}
		})
	}
}

// Fields that are for one connection only are not passed on where they stand behind the body either (RFC 9110, 6.5.1 and 7.6.1).
func TestTrailersOfOneConnection(t *testing.T) {
	r := start(t, Config{})
	r.raw("web", func(n int, head string, c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\n"+
			"Keep-Alive: timeout=5\r\nX-Sum: 1\r\nProxy-Connection: x\r\n\r\n")
	})
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	_, behind, _ := strings.Cut(string(answer), "\r\n0\r\n")
	if behind != "X-Sum: 1\r\n\r\n" {
		t.Errorf("behind the body of %q: %q", answer, behind)
	}
}

// A connection that its backend says it will close is not used again, though it is still open.
func TestConnectionThatIsToClose(t *testing.T) {
	for name, answer := range map[string]string{
		"HTTP/1.1":               "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.0":               "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.0, in two minds": "HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1, after chunks": "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, Config{})
			var again atomic.Int64
			r.raw("web", func(n int, head string, c net.Conn) {
				io.WriteString(c, answer)
				if _, err := readHead(c); err == nil {
					again.Add(1)
					io.WriteString(c, answer)
				}
			})
			for range 3 {
				if a := r.get("/"); a.status != 200 || a.body != "hello" {
					t.Errorf("%d %q", a.status, a.body)
				}
			}
			if again.Load() > 0 {
				t.Errorf("it was used again %d times", again.Load())
			}
		})
	}
}

// To a client of HTTP/1.0 only the end of the connection says where an answer ends, so that one which broke off must end otherwise.
func TestBrokenAnswerToHTTP10(t *testing.T) {
	r := start(t, Config{}, func(g *Gateway) { g.holdTime = 0 })
	r.raw("web", func(n int, head string, c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n18000\r\n"+strings.Repeat("x", 0x10000))
	})
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.0\r\nHost: x\r\n\r\n")
	if got, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%d bytes, and then %v: it passes for whole", len(got), err)
	}
}
