package load

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// rawServer answers each connection with handle, which gets the reader after a whole head was read, over and over until
// it returns false. It counts connections.
type rawServer struct {
	addr  string
	conns atomic.Int64
}

func serveRaw(t *testing.T, handle func(c net.Conn, in *bufio.Reader, nth int64) bool) *rawServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{addr: "http://" + l.Addr().String()}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			nth := s.conns.Add(1)
			wg.Go(func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for readHead(in) && handle(c, in, nth) {
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return s
}

func readHead(in *bufio.Reader) bool {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		if line == "\r\n" {
			return true
		}
	}
}

func reset(c net.Conn) {
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// requests runs n requests of one user, one after the other, against the address.
func requests(t *testing.T, target string, n int, method string, change func(*Config)) *Result {
	t.Helper()
	w := getWorkload()
	w.Users, w.Duration, w.Timeout = 1, topology.Duration(time.Hour), topology.Duration(20*time.Second)
	w.Scenarios["s"].Steps[0].Method = method
	cfg := Config{Target: target, Workload: w, MaxBody: 1 << 20}
	if change != nil {
		change(&cfg)
	}
	r, _, err := prepare(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.origin, r.ctx, r.stop = time.Now(), t.Context(), t.Context().Done()
	if r.lanes, err = r.makeLanes(); err != nil {
		t.Fatal(err)
	}
	defer closeLanes(r.lanes)
	l := r.lanes[0]
	l.start(func(th thread) {
		s := l.newSession(0)
		s.thread, s.own = th, []caller{l.targets.all[0].newCaller()}
		defer s.own[0].close()
		sc, started := r.plan.scenarios[0], false
		s.begin(sc)
		for range n {
			if _, ok := s.perform(sc.steps[0], r.now(), &started, 0); !ok {
				t.Error("a request was not sent")
				return
			}
		}
	})
	if l.loop != nil {
		l.loop.run()
	}
	l.wg.Wait()
	return r.result(r.origin, nil)
}

// bothWays runs a test on event loops, where the system has them, and on goroutines.
func bothWays(t *testing.T, test func(t *testing.T, way func(*Config))) {
	for name, goroutines := range map[string]bool{"loop": false, "goroutines": true} {
		t.Run(name, func(t *testing.T) {
			test(t, func(c *Config) { c.goroutines = goroutines })
		})
	}
}

// Every way in which a server can be bad has its name, and none hangs the run.
func TestBadServers(t *testing.T) {
	answer := func(text string) func(net.Conn, *bufio.Reader, int64) bool {
		return func(c net.Conn, _ *bufio.Reader, _ int64) bool { io.WriteString(c, text); return false }
	}
	stay := func(text string) func(net.Conn, *bufio.Reader, int64) bool {
		return func(c net.Conn, _ *bufio.Reader, _ int64) bool { io.WriteString(c, text); return true }
	}
	endless := func(start, more string) func(net.Conn, *bufio.Reader, int64) bool {
		return func(c net.Conn, _ *bufio.Reader, _ int64) bool {
			io.WriteString(c, start)
			for more := strings.Repeat(more, 1000); ; {
				if _, err := io.WriteString(c, more); err != nil {
					return false
				}
			}
		}
	}
	silent := func(start string) func(net.Conn, *bufio.Reader, int64) bool {
		return func(c net.Conn, in *bufio.Reader, _ int64) bool {
			io.WriteString(c, start)
			in.ReadByte() // until the client gives up
			return false
		}
	}
	tests := []struct {
		name   string
		handle func(net.Conn, *bufio.Reader, int64) bool
		want   Kind
	}{
		{"closed at once", func(net.Conn, *bufio.Reader, int64) bool { return false }, ClosedEarly},
		{"closed in the head", answer("HTTP/1.1 200 OK\r\nContent-"), ClosedEarly},
		{"closed in the body", answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"), ClosedEarly},
		{"reset in the body", func(c net.Conn, _ *bufio.Reader, _ int64) bool {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
			reset(c)
			return false
		}, Reset},
		{"another protocol", answer("220 mail.example.com ESMTP\r\n"), Malformed},
		{"two lengths", answer("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"), Malformed},
		{"endless head", endless("HTTP/1.1 200 OK\r\n", "A: b\r\n"), Malformed},
		{"endless body", endless("HTTP/1.1 200 OK\r\n\r\n", "hello"), TooLarge},
		{"endless chunks", endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n"), TooLarge},
		{"endless 100", endless("", "HTTP/1.1 100 Continue\r\n\r\n"), Malformed},
		{"silent", silent(""), Timeout},
		{"slow head", silent("HTTP/1.1 200 OK\r\nA: "), Timeout},
		{"slow body", silent("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"), Timeout},
		{"teapot", stay("HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n"), BadStatus},
		{"redirect to itself", stay("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bothWays(t, func(t *testing.T, way func(*Config)) {
				s := requests(t, serveRaw(t, tt.handle).addr, 2, "POST", func(c *Config) {
					way(c)
					if tt.want == Timeout {
						c.Workload.Timeout = topology.Duration(200 * time.Millisecond)
					}
				}).Total
				if s.Requests != 2 {
					t.Fatalf("%d requests of 2", s.Requests)
				}
				if tt.want == "" && s.Failed() != 0 || tt.want != "" && s.Errors[tt.want] != s.Requests {
					t.Errorf("errors %v of %d, want %q", s.Errors, s.Requests, tt.want)
				}
			})
		})
	}
}

func TestUnreachableServers(t *testing.T) {
	nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	plain := httptest.NewServer(nothing) // answers a handshake with 400
	t.Cleanup(plain.Close)
	secure := httptest.NewUnstartedServer(nothing)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	dns := func(c *Config) {
		c.Dial = func(_ context.Context, _, addr string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: addr, IsNotFound: true}}
		}
	}
	tests := []struct {
		name, target string
		change       func(*Config)
		want         Kind
	}{
		{"no such host", "http://shop.invalid", dns, DNS},
		{"TLS to a plain server", strings.Replace(plain.URL, "http:", "https:", 1), nil, TLS},
		{"unknown authority", secure.URL, nil, TLS},
		{"known authority", secure.URL, func(c *Config) {
			c.TLS = secure.Client().Transport.(*http.Transport).TLSClientConfig
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := requests(t, tt.target, 2, "GET", tt.change).Total
			if s.Requests != 2 || tt.want == "" && s.Failed() != 0 || tt.want != "" && s.Errors[tt.want] != s.Requests {
				t.Errorf("errors %v of %d, want %q", s.Errors, s.Requests, tt.want)
			}
		})
	}
}

// A server that closes each connection after one answer, without saying so, is no error for a request that can be sent
// again; a request that cannot is looked after before it is sent.
func TestStaleConnections(t *testing.T) {
	for _, method := range []string{"GET", "DELETE", "POST"} {
		t.Run(method, func(t *testing.T) {
			closed := make(chan struct{}, 100)
			s := serveRaw(t, func(c net.Conn, _ *bufio.Reader, _ int64) bool {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				c.Close()
				closed <- struct{}{}
				return false
			})
			e := &endpoint{addr: strings.TrimPrefix(s.addr, "http://"), dial: (&net.Dialer{}).DialContext, maxBody: 1, open: map[net.Conn]struct{}{}}
			c := &client{to: e}
			defer c.close()
			x := &exchange{request: []byte(method + " / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"), method: method, idempotent: method != "POST", timeout: 10 * time.Second}
			for i := range 5 {
				if err := c.do(t.Context(), x); err != nil {
					t.Fatalf("request %d: %v", i, err)
				}
				if want := min(i, 1); x.reconnects != want || x.connected != 1 {
					t.Errorf("request %d: %d connections, %d of them again", i, x.connected, x.reconnects)
				}
				<-closed
				for over := time.Now().Add(time.Minute); !c.stale(over) && time.Now().Before(over); { // until the end has come
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
}

// A request that may have been carried out is not sent again: the server takes it, and closes without an answer.
func TestNeverTwice(t *testing.T) {
	var seen atomic.Int64
	s := serveRaw(t, func(c net.Conn, _ *bufio.Reader, _ int64) bool {
		if seen.Add(1)%2 == 0 {
			return false
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		return true
	})
	res := requests(t, s.addr, 4, "POST", nil)
	if res.Total.Requests != 4 || res.Total.Errors[ClosedEarly] != 2 || seen.Load() != 4 {
		t.Errorf("%d requests, errors %v, the server saw %d", res.Total.Requests, res.Total.Errors, seen.Load())
	}
	seen.Store(0)
	res = requests(t, s.addr, 4, "GET", nil) // 1 answered, 2 closed and sent again as 3, 4 closed and again as 5, and so on
	if res.Total.Failed() != 0 || res.Generator.Reconnects != 3 || seen.Load() != 7 {
		t.Errorf("errors %v, %d reconnects, the server saw %d", res.Total.Errors, res.Generator.Reconnects, seen.Load())
	}
}

// One connection carries one request after the other, whatever the size of the answers.
func TestKeptAlive(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, strings.Repeat("x", 100_000)) // chunked
	}))
	defer srv.Close()
	res := requests(t, srv.URL, 10, "GET", nil)
	if res.Total.Failed() != 0 || res.Total.Requests != 10 || res.Generator.Connections != 1 || res.Total.BytesIn < 1_000_000 {
		t.Errorf("errors %v, %d requests over %d connections, %d bytes", res.Total.Errors, res.Total.Requests, res.Generator.Connections, res.Total.BytesIn)
	}
}

// When Run returns, no goroutine of it is left, cut short or not.
func TestNoGoroutineIsLeft(t *testing.T) {
	got := make(chan struct{}, 1000)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- struct{}{}
		<-r.Context().Done()
	}))
	defer srv.Close()
	for _, users := range []int{0, 20} {
		w := getWorkload()
		w.Users, w.Duration = users, topology.Duration(time.Hour)
		if users == 0 {
			w.Rate = 1000
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for range 20 {
				<-got
			}
			cancel()
		}()
		res, err := Run(ctx, Config{Target: srv.URL, Workload: w, Connections: 20})
		if err != nil || !res.CutShort || res.Total.Unfinished == 0 || res.Total.Failed() != 0 {
			t.Fatalf("%v %+v", err, res)
		}
		buf := make([]byte, 1<<20)
		stacks := string(buf[:runtime.Stack(buf, true)])
		for _, mine := range []string{"load.(*session)", "load.(*crew)", "load.(*waker)", "load.(*run)", "load.(*metronome)", "load.(*loop)", "load.(*fiber)", "load.dialRaw"} {
			if strings.Contains(stacks, mine) {
				t.Errorf("left behind:\n%s", stacks)
			}
		}
	}
}
