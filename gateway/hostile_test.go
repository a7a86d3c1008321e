package gateway

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/banyanhq/banyan/topology"
)

// dial opens a connection to the gateway and writes to it.
func (r *rig) dial(text string) net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, text); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// After a body that did not come to its proper end nobody knows where the next request begins: what follows must never
// be taken for one (RFC 9112, 9.3 and 11.2).
func TestNothingFollowsABrokenBody(t *testing.T) {
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	const chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
	for name, request := range map[string]string{
		"size that is no number":     chunked + "zz\r\n\r\n" + smuggled,
		"negative size":              chunked + "-1\r\n\r\n" + smuggled,
		"size beyond 64 bits":        chunked + "fffffffffffffffff\r\n\r\n" + smuggled,
		"chunk longer than its size": chunked + "2\r\n{}0\r\n\r\n" + smuggled,
		"chunk shorter":              chunked + "5\r\n{}\r\n\r\n" + smuggled,
		"answered before its end, chunked": strings.Replace(chunked, "POST /", "POST /early", 1) +
			"10000\r\n" + strings.Repeat("x", 40<<10) + "\r\n" + smuggled,
		"answered before its end": fmt.Sprintf("POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s\r\n\r\n%s",
			maxReplay+len(smuggled), strings.Repeat("x", 1000), smuggled),
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, Config{})
			var stolen atomic.Int64
			r.raw("web", func(n int, head string, c net.Conn) {
				if strings.Contains(head, "/smuggled") {
					stolen.Add(1)
				}
				if strings.Contains(head, "/early") {
					io.WriteString(c, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
				}
				io.Copy(io.Discard, c)
			})
			c := r.dial(request)
			all, err := io.ReadAll(c) // to the end of the connection, perhaps by a reset
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection stays open")
			}
			if n := strings.Count(string(all), "HTTP/1.1 "); n != 1 || stolen.Load() != 0 {
				t.Errorf("%d answers, %d requests that nobody made: %q", n, stolen.Load(), all)
			}
			if !strings.Contains(string(all), "Connection: close\r\n") {
				t.Errorf("the client was not told that the connection ends: %q", all)
			}
		})
	}
}

// A streamed body that was read to its end leaves a connection that can be used again.
func TestConnectionIsKeptAfterAStreamedBody(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		n, _ := io.Copy(io.Discard, req.Body)
		fmt.Fprint(w, n)
	})
	one := "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
	c := r.dial(one + one)
	br := bufio.NewReader(c)
	for range 2 {
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(res.Body); string(body) != "5" || res.Close {
			t.Errorf("%q, closing %v", body, res.Close)
		}
	}
}

// Statuses that are none. Passed on, they would end the process.
func TestImpossibleStatus(t *testing.T) {
	for _, status := range []string{"000", "099", "+12", "-12", "1000", "2e2", ""} {
		for name, rest := range map[string]string{
			"empty":   "Content-Length: 0\r\n\r\n",
			"short":   "Content-Length: 2\r\n\r\nhi",
			"unknown": "Content-Type: text/plain\r\n\r\nhi", // held, and passed on by a timer
		} {
			r := start(t, Config{})
			id, _ := r.raw("web", func(n int, head string, c net.Conn) {
				fmt.Fprintf(c, "HTTP/1.1 %s What\r\n%s", status, rest)
				if name == "unknown" {
					time.Sleep(3 * holdTime) // a backend that is slow with the rest
				}
			})
			r.wantFault(r.do(r.request("POST", "/", nil)), 502, "http_protocol_error")
			s := r.Stats()
			if b := s.Backends[0]; b.ID != id || b.InFlight != 0 {
				t.Errorf("%q %s: %d in flight at %s", status, name, b.InFlight, b.ID)
			}
			r.stop()
		}
	}
}

// A client that announces a body and does not send it must not hold on to the gateway where the answer does not need
// the body.
func TestRefusalDoesNotWaitForTheBody(t *testing.T) {
	s := shop()
	s.Routes = s.Routes[:1]
	s.Routes[0].Path, s.Routes[0].Host = "/only", ""
	r := start(t, Config{System: s, MaxBody: 100})
	r.serve(s.Routes[0].To, text("fine"))
	for _, request := range []string{
		"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
		"POST /only/../x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
		"POST /only HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
		"POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
	} {
		c := r.dial(request)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%q: %v", request, err)
			continue
		}
		if res.StatusCode < 400 || !res.Close {
			t.Errorf("%q: %d, closing %v", request, res.StatusCode, res.Close)
		}
	}
}

// A head that is passed on because its body takes long announces the trailers that the head of the answer did, whatever the end of the
// body brings in at that moment: to be run with the race detector.
func TestTrailersBesideAHeldHead(t *testing.T) {
	r := start(t, Config{}, func(g *Gateway) { g.holdTime = 0 })
	r.raw("web", func(_ int, head string, c net.Conn) {
		announced := ""
		if strings.Contains(head, "/announced") {
			announced = "Trailer: X-Sum\r\n"
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"+announced+"Transfer-Encoding: chunked\r\n\r\n")
		_, _ = io.WriteString(c, "0\r\nX-Sum: 1\r\n\r\n")
	})
	for i := range 100 {
		path := []string{"/announced", "/not"}[i%2]
		res, err := r.client.Get(r.url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || len(body) > 0 || path == "/announced" && res.Trailer.Get("X-Sum") != "1" {
			t.Fatalf("%s: %q, %v, trailers %v", path, body, err, res.Trailer)
		}
	}
}

// Where a connection ends with a refusal, what the client has sent of the body must not have it reset: the client would lose
// the answer, and those before it.
func TestRefusalIsNotTakenBack(t *testing.T) {
	r := start(t, Config{})
	large := strings.Repeat("x", 3*holdSize)
	r.serve("web", text(large))
	body := "Content-Length: 40000\r\n\r\n" + strings.Repeat("b", 40000)
	for _, refused := range []string{
		"POST /a/../b HTTP/1.0\r\n" + body,
		"POST /a/../b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + body,
	} {
		all, err := io.ReadAll(r.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n" + refused))
		if err != nil || strings.Count(string(all), "x") < len(large) || !strings.Contains(string(all), " 400 Bad Request\r\n") {
			t.Errorf("%q: %d bytes, then %v", head(refused)[:40], len(all), err)
		}
	}
	// Where the connection goes on, so do its requests.
	c := r.dial("")
	br := bufio.NewReader(c)
	for range 3 {
		_, _ = io.WriteString(c, "POST /a/../b HTTP/1.1\r\nHost: x\r\n"+body) // fails only where the reading does
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if res.StatusCode != 400 || res.Close {
			t.Errorf("refused with %d, closing: %v", res.StatusCode, res.Close)
		}
	}
	_, _ = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
	if all, err := io.ReadAll(br); err != nil || !strings.Contains(string(all), large) {
		t.Errorf("after refusals %d bytes, then %v", len(all), err)
	}
}

// An answer that is given up must not cost the next try its time, however slowly its body comes.
func TestGivenUpAnswerIsNotWaitedFor(t *testing.T) {
	s := eachInbound(shop(), func(in *topology.Inbound) {
		in.Balance, in.Retry.MinPerSecond = topology.RoundRobin, 100
	})
	r := start(t, Config{System: s})
	stalled := make(chan struct{})
	_, bad := r.raw("web", func(n int, head string, c net.Conn) {
		io.WriteString(c, "HTTP/1.1 503 No\r\nContent-Length: 10\r\n\r\nno")
		<-stalled
	})
	t.Cleanup(func() { close(stalled) })
	r.serve("web", text("good"))
	for range 4 {
		if a := r.get("/"); a.status != 200 || a.body != "good" {
			t.Fatalf("%d %q", a.status, a.body)
		}
	}
	if bad() == 0 {
		t.Fatal("the faulty backend was never tried")
	}
}

// inform informs without end.
func inform(n int, head string, c net.Conn) {
	for {
		if _, err := io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: "+strings.Repeat("x", 10<<10)+"\r\n\r\n"); err != nil {
			return
		}
	}
}

func TestInformationWithoutEnd(t *testing.T) {
	r := start(t, Config{})
	r.raw("web", inform)
	r.wantFault(r.get("/"), 502, "http_protocol_error")
}

// The same, to a client that does not read.
func TestInformationThatNobodyReads(t *testing.T) {
	s := eachInbound(shop(), func(in *topology.Inbound) { in.Timeout = topology.Duration(500 * time.Millisecond) })
	r := start(t, Config{System: s}, letsGoSoon)
	r.raw("web", inform)
	r.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	until(t, "given up", func() bool {
		s := r.Stats()
		return s.Routes[0].Requests == 1 && s.Backends[0].InFlight == 0
	})
}

// The absolute form of a request without a path means the root (RFC 9112, 3.2.2).
func TestAbsoluteFormWithoutPath(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", func(w http.ResponseWriter, req *http.Request) { fmt.Fprint(w, req.RequestURI) })
	for target, want := range map[string]string{"http://x": "/", "http://x?a=b": "/?a=b", "http://x/y": "/y"} {
		if a := r.raw1("GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n"); a.status != 200 || a.body != want {
			t.Errorf("%s: %d %q, want %q", target, a.status, a.body, want)
		}
	}
}

// HTTP/2 in clear on an upgraded connection would carry requests past the routes, unseen: it is not offered.
func TestNoUpgradeToH2C(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		fmt.Fprint(w, req.Header.Get("Upgrade"), req.Header.Get("Http2-Settings"))
	})
	for _, value := range []string{"h2c", "H2C", "h2c, websocket", "websocket,h2c"} {
		a := r.raw1("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: " + value + "\r\nHTTP2-Settings: AAMAAABk\r\n\r\n")
		if a.status != 200 || a.body != "" {
			t.Errorf("%s: %d %q", value, a.status, a.body)
		}
	}
}

// Whoever begins with a line that is neither HTTP/1's nor the preface of HTTP/2 is not answered in a language that he did
// not speak (RFC 9113, 3.4); all others are. The full tier, which cannot tell so early, answers both.
func TestLinesThatAreNotHTTP(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", text("web"))
	for line, answered := range map[string]bool{
		"INVALID CONNECTION PREFACE\r\n\r\n":                                  fullTierOnly,
		"GET / http/1.1\r\nHost: x\r\n\r\n":                                   true,
		"GET / HTTP/3.7\r\nHost: x\r\n\r\n":                                   true,
		"GET /\r\n\r\n":                                                       true,
		"GET / HTTP/1.1\r\nHost: x\r\n\r\nINVALID CONNECTION PREFACE\r\n\r\n": true,
	} {
		c := r.dial(line)
		all, err := io.ReadAll(c)
		if errors.Is(err, os.ErrDeadlineExceeded) || (len(all) > 0) != answered {
			t.Errorf("%q: answered %q, %v", line, all, err)
		}
		if strings.HasPrefix(line, "GET / HTTP/1.1") && strings.Count(string(all), "HTTP/1.1 ") != 2 {
			t.Errorf("%q: answered %q", line, all)
		}
	}
}

// The authority of a target in absolute form is the request's, whatever Host says (RFC 9112, 3.2.2).
func TestAbsoluteFormWinsOverHost(t *testing.T) {
	s := shop()
	s.Routes[1].Host, s.Routes[1].Path = "inner.example", "/"
	r := start(t, Config{System: s})
	say := func(service string) http.HandlerFunc {
		return func(w http.ResponseWriter, q *http.Request) {
			fmt.Fprint(w, service, " ", q.Host, " ", q.Header.Get("X-Forwarded-Host"))
		}
	}
	r.serve("web", say("web"))
	r.serve("catalog", say("catalog"))
	for request, want := range map[string]string{
		"GET http://outer.example/ HTTP/1.1\r\nHost: inner.example\r\n\r\n": "web outer.example outer.example",
		"GET http://inner.example/ HTTP/1.1\r\nHost: outer.example\r\n\r\n": "catalog inner.example inner.example",
	} {
		if a := r.raw1(request); a.body != want {
			t.Errorf("%q: %d %q, want %q", request, a.status, a.body, want)
		}
	}
}

// A target with a fragment would mean one thing to the routes and another to a replica.
func TestFragmentsAreRefused(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", text("web"))
	if a := r.raw1("GET /private#.png HTTP/1.1\r\nHost: x\r\n\r\n"); a.status != 400 {
		t.Errorf("HTTP/1.1: %d", a.status)
	}
	c := r.dial("")
	h := newRawH2(t, c)
	h.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	h.head.Reset()
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":path", "/private?x#.png"}, {":authority", "x"}} {
		_ = h.pack.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: h.head.Bytes(), EndStream: true, EndHeaders: true})
	for {
		f, err := h.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if head, ok := f.(*http2.MetaHeadersFrame); ok {
			if status := head.PseudoValue("status"); status != "400" {
				t.Errorf("HTTP/2: %s", status)
			}
			break
		}
	}
	if n := r.Stats().Backends[0].Requests; n != 0 {
		t.Errorf("%d requests reached the backend", n)
	}
}

// To a client of HTTP/1.0 an answer of unknown length ends with the connection: one that breaks off ends with a reset, or it
// would be taken for whole.
func TestBrokenAnswersToHTTP10AreReset(t *testing.T) {
	r := start(t, Config{})
	r.raw("web", func(n int, head string, c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		if strings.Contains(head, "/whole") {
			fmt.Fprintf(c, "%x\r\n%s\r\n0\r\n\r\n", 2*holdSize, strings.Repeat("x", 2*holdSize))
		} else {
			fmt.Fprintf(c, "%x\r\n%s", 3*holdSize, strings.Repeat("x", 2*holdSize))
		}
	})
	for _, path := range []string{"/whole", "/broken"} {
		c := r.dial("GET " + path + " HTTP/1.0\r\n\r\n")
		all, err := io.ReadAll(c)
		if (err == nil) != (path == "/whole") || !strings.HasPrefix(string(all), "HTTP/1.0 200 OK\r\n") {
			t.Errorf("%s: %d bytes, %v", path, len(all), err)
		}
	}
}
