package gateway

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// stream returns n bytes that depend on the seed.
func stream(seed byte, n int64) io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{seed}), n) }

func sum(r io.Reader) string {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return fmt.Sprintf("%d bytes, %x, %v", n, h.Sum(nil), err)
}

func TestLargeBodiesBothWays(t *testing.T) {
	r := start(t, Config{})
	sums := make(chan string, 1)
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		sums <- sum(req.Body)
		if req.URL.Path == "/known" {
			w.Header().Set("Content-Length", fmt.Sprint(20<<20))
		}
		io.Copy(w, stream(2, 20<<20))
	})
	for _, path := range []string{"/known", "/unknown"} {
		req := r.request("POST", path, stream(1, 10<<20))
		if path == "/known" {
			req.ContentLength = 10 << 20
		}
		res, err := r.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := sum(res.Body), sum(stream(2, 20<<20)); got != want {
			t.Errorf("%s: the client got %s, want %s", path, got, want)
		}
		res.Body.Close()
		if got, want := <-sums, sum(stream(1, 10<<20)); got != want {
			t.Errorf("%s: the backend got %s, want %s", path, got, want)
		}
	}
}

// Sizes around the buffer, with and without a length, must all come through whole.
func TestAnswerSizes(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		var n int
		fmt.Sscan(req.URL.Query().Get("n"), &n)
		body := bytes.Repeat([]byte("x"), n)
		switch req.URL.Path {
		case "/known":
			w.Header().Set("Content-Length", fmt.Sprint(n))
		case "/flushed":
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
		}
		w.Write(body)
	})
	for _, path := range []string{"/known", "/plain", "/flushed"} {
		for _, n := range []int{0, 1, 2047, 2049, 5000, holdSize - 1, holdSize, holdSize + 1, 3 * holdSize} {
			if a := r.get(fmt.Sprintf("%s?n=%d", path, n)); a.status != 200 || len(a.body) != n || a.err != nil {
				t.Errorf("%s %d: %d, %d bytes, %v", path, n, a.status, len(a.body), a.err)
			}
		}
	}
}

func TestEventsAreFlushed(t *testing.T) {
	patiently(t, func(timeout time.Duration) error {
		return eventsOutlast(t, eachInbound(shop(), func(in *topology.Inbound) { in.Timeout = topology.Duration(timeout) }), "web", "/", timeout)
	})
}

// eventsOutlast has a service send events one by one for longer than the time-out, which counts to the head only. It returns an
// error where the head did not come in time.
func eventsOutlast(t *testing.T, sys *topology.System, service, path string, timeout time.Duration) error {
	t.Helper()
	r := start(t, Config{System: sys})
	defer r.stop()
	next := make(chan string)
	over := make(chan struct{})
	defer close(over)
	r.serve(service, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		for {
			select {
			case e, more := <-next:
				if !more {
					return
				}
				io.WriteString(w, e)
				w.(http.Flusher).Flush()
			case <-over:
				return
			}
		}
	})
	res, err := r.client.Do(r.request("GET", path, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusGatewayTimeout {
		return errors.New("the head came too late")
	}
	lines := bufio.NewReader(res.Body)
	begun := time.Now()
	for i := 0; i < 3 || time.Since(begun) < 2*timeout; i++ {
		want := fmt.Sprintf("data: %d\n", i)
		next <- want
		if got, err := lines.ReadString('\n'); got != want {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	close(next)
	if rest, err := io.ReadAll(lines); len(rest) != 0 || err != nil {
		t.Errorf("rest %q, %v", rest, err)
	}
	return nil
}

// An answer of unknown length that pauses is not held back for long, whatever its type.
func TestSlowAnswerIsPassedOn(t *testing.T) {
	r := start(t, Config{})
	next := make(chan string)
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		for e := range next {
			io.WriteString(w, e)
			w.(http.Flusher).Flush()
		}
	})
	go func() { next <- "first\n" }()
	res, err := r.client.Do(r.request("GET", "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	for i := range 5 {
		if i > 0 {
			next <- "next\n"
		}
		if got, err := lines.ReadString('\n'); err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	close(next)
	if rest, err := io.ReadAll(lines); len(rest) != 0 || err != nil {
		t.Errorf("rest %q, %v", rest, err)
	}
}

func TestHead(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Length", "12345")
		w.Header().Set("Etag", req.Method)
	})
	for range 2 { // the connection must be usable again
		if a := r.do(r.request("HEAD", "/", nil)); a.status != 200 || a.header.Get("Content-Length") != "12345" || a.header.Get("Etag") != "HEAD" || a.body != "" {
			t.Errorf("%+v", a)
		}
	}
}

func TestStatusesWithoutBody(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		var code int
		fmt.Sscan(req.URL.Path[1:], &code)
		w.WriteHeader(code)
	})
	for _, code := range []int{200, 201, 204, 205, 301, 304, 404, 418, 500, 599} {
		if a := r.get(fmt.Sprintf("/%d", code)); a.status != code || a.body != "" {
			t.Errorf("%d: %+v", code, a)
		}
	}
}

func TestTrailers(t *testing.T) {
	r := start(t, Config{})
	got := make(chan http.Header, 1)
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		size := 10
		if req.URL.Path == "/large" {
			size = 3 * holdSize
		}
		w.Header().Set("Trailer", "X-Sum")
		w.Write(bytes.Repeat([]byte("x"), size))
		io.Copy(io.Discard, req.Body)
		got <- req.Trailer
		w.Header().Set("X-Sum", "42")
		if req.URL.Path == "/more" {
			w.Header().Set(http.TrailerPrefix+"X-More", "43")
		}
	})
	for _, path := range []string{"/small", "/large", "/more"} {
		req := r.request("POST", path, io.MultiReader(strings.NewReader("body")))
		req.Trailer = http.Header{"X-Check": {"7"}}
		a := r.do(req)
		if v := (<-got).Get("X-Check"); v != "7" {
			t.Errorf("%s: the backend got the trailer %q", path, v)
		}
		if a.trailer.Get("X-Sum") != "42" || (path == "/more") != (a.trailer.Get("X-More") == "43") {
			t.Errorf("%s: the client got %v", path, a.trailer)
		}
	}
}

func TestContinue(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/refuse" {
			w.WriteHeader(417)
			return
		}
		io.Copy(w, req.Body)
	})
	for path, want := range map[string]string{"/accept": "HTTP/1.1 100", "/refuse": "HTTP/1.1 417"} {
		c, err := net.Dial("tcp", r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n", path)
		head, err := readHead(c)
		if err != nil || !strings.HasPrefix(head, want) {
			t.Fatalf("%s: %q, %v", path, head, err)
		}
		if path == "/accept" {
			io.WriteString(c, "body")
			if a := readAnswer(t, c, "POST"); a.body != "body" {
				t.Errorf("%+v", a)
			}
		}
	}
}

func TestEarlyHints(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(103)
		w.Header().Del("Link")
		io.WriteString(w, "done")
	})
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if head, err := readHead(c); err != nil || !strings.HasPrefix(head, "HTTP/1.1 103") || !strings.Contains(head, "/a.css") {
		t.Fatalf("%q, %v", head, err)
	}
	if a := readAnswer(t, c, "GET"); a.body != "done" || a.header.Get("Link") != "" {
		t.Errorf("%+v", a)
	}
}

// upgraded asks for another protocol and returns the connection that speaks it.
func upgraded(t *testing.T, r *rig) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly ")
	head, err := readHead(c)
	if err != nil || !strings.HasPrefix(head, "HTTP/1.1 101") || !strings.Contains(head, "Upgrade: echo\r\n") || !strings.Contains(head, "X-Extra: 1\r\n") {
		t.Fatalf("%q, %v", head, err)
	}
	return c
}

func echo(r *rig) { r.serve("web", echoes) }

// echoes goes over to a protocol of its own, in which it says what it hears.
func echoes(w http.ResponseWriter, req *http.Request) {
	if req.Header.Get("Upgrade") != "echo" || req.Header.Get("Connection") != "Upgrade" {
		w.WriteHeader(400)
		return
	}
	conn, brw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Extra: 1\r\n\r\n")
	io.Copy(conn, brw)
}

func TestUpgrade(t *testing.T) {
	r := start(t, Config{})
	echo(r)
	c := upgraded(t, r)
	buf := make([]byte, 6)
	if _, err := io.ReadFull(c, buf); string(buf) != "early " {
		t.Fatalf("%q, %v", buf, err)
	}
	for _, word := range []string{"hello ", "there "} {
		io.WriteString(c, word)
		if _, err := io.ReadFull(c, buf); string(buf) != word {
			t.Fatalf("%q, %v", buf, err)
		}
	}
	if n := r.Stats().Backends[0].InFlight; n != 1 {
		t.Errorf("%d in flight", n)
	}
	// Our end of the stream reaches the backend, whose end then reaches us.
	io.WriteString(c, "last")
	c.(*net.TCPConn).CloseWrite()
	if rest, err := io.ReadAll(c); string(rest) != "last" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	until(t, "done", func() bool { return r.Stats().Backends[0].InFlight == 0 && r.Stats().Routes[0].Codes[101] == 1 })
}

func TestUpgradeRefused(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", func(w http.ResponseWriter, req *http.Request) { w.WriteHeader(403) })
	a := r.raw1("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if a.status != 403 {
		t.Errorf("%+v", a)
	}
}

func TestStopEndsStreams(t *testing.T) {
	r := start(t, Config{DrainTimeout: time.Hour})
	echo(r)
	c := upgraded(t, r)
	r.SetReady("web", "web-1", false)
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		<-req.Context().Done()
	})
	res, err := r.client.Do(r.request("GET", "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	r.stop()
	if _, err := io.ReadAll(c); err != nil {
		t.Logf("upgraded connection ended with %v", err)
	}
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("the stream of events ended as if it were whole")
	}
}
