package gateway

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/banyanhq/banyan/topology"
)

// Heads that do not come whole in time, and handshakes, end their connection: of the first request, of a later one, over
// TLS, and of HTTP/2, where other streams of the connection are nothing to go by.
func TestSlowHeadsAreCutOff(t *testing.T) {
	cfg, trust := secured(t, nil)
	r := start(t, cfg, func(g *Gateway) { g.headTime = time.Second })
	r.serve("web", text("web"))
	const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	overTLS := func(protocol string) net.Conn {
		config := trust(r)
		config.NextProtos = []string{protocol}
		var c *tls.Conn
		until(t, "a handshake in its time", func() bool { // which the machine may be too busy for
			var err error
			c, err = tls.Dial("tcp", r.TLSAddr().String(), config)
			return err == nil
		})
		return c
	}
	plain := func(to net.Addr) net.Conn {
		c, err := net.Dial("tcp", to.String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	half := func(c net.Conn) net.Conn {
		h := newRawH2(t, c)
		_ = h.ask(1)
		_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: h.fields(), EndStream: true})
		return c
	}
	all := map[string]net.Conn{}
	for name, begin := range map[string]func() net.Conn{
		"nothing at all":       func() net.Conn { return plain(r.Addr()) },
		"a part of a head":     func() net.Conn { return r.dial("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: s") },
		"of a second request":  func() net.Conn { return r.dial(get + "GET / HT") },
		"no handshake":         func() net.Conn { return plain(r.TLSAddr()) },
		"a part over TLS":      func() net.Conn { c := overTLS("http/1.1"); _, _ = io.WriteString(c, "GET / HT"); return c },
		"a part over HTTP/2":   func() net.Conn { return half(plain(r.Addr())) },
		"over HTTP/2 with TLS": func() net.Conn { return half(overTLS("h2")) },
		"no preface over TLS":  func() net.Conn { return overTLS("h2") },
	} {
		all[name] = begin()
	}
	for name, c := range all {
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection stays open", name)
		}
		c.Close()
	}
}

// Bodies that do not come in the request's time are given up with 408, whether they are kept or passed on as they come.
func TestSlowBodiesAreGivenUp(t *testing.T) {
	r := start(t, Config{System: eachInbound(shop(), func(in *topology.Inbound) { in.Timeout = topology.Duration(200 * time.Millisecond) })})
	r.serve("web", func(w http.ResponseWriter, q *http.Request) {
		if _, err := io.Copy(io.Discard, q.Body); err == nil {
			t.Error("a body that never came whole was taken for whole")
		}
	})
	for name, request := range map[string]string{
		"short":   "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
		"long":    fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", 4*maxReplay, strings.Repeat("x", 1000)),
		"chunked": "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
	} {
		c := r.dial(request)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if want := http.StatusRequestTimeout; res.StatusCode != want && res.StatusCode != http.StatusGatewayTimeout || !res.Close {
			t.Errorf("%s: %d, closing %v, want %d", name, res.StatusCode, res.Close, want)
		}
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection stays open", name)
		}
	}
	until(t, "nothing is in flight", func() bool { return r.Stats().Routes[0].InFlight == 0 })
}

// Bodies of a client that cost more than they bring, and heads of many fields, are refused, and the connection ends.
func TestBombsOfClients(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", func(w http.ResponseWriter, q *http.Request) {
		n, err := io.Copy(io.Discard, q.Body)
		if err == nil {
			fmt.Fprint(w, n)
		}
	})
	const chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
	for name, bomb := range map[string]string{
		"extensions":        chunked + strings.Repeat("1;"+strings.Repeat("x", 200)+"\r\na\r\n", 5000) + "0\r\n\r\n",
		"a chunk's line":    chunked + strings.Repeat("0", 1<<20),
		"trailers":          chunked + "1\r\na\r\n0\r\n" + strings.Repeat("X-T: "+strings.Repeat("t", 1000)+"\r\n", 1000) + "\r\n",
		"fields":            "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", 20_000) + "\r\n",
		"one line":          "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n",
		"a request line":    "GET /" + strings.Repeat("x", 1<<20) + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"lines before it":   strings.Repeat("\r\n", 1<<19) + "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"a name of a field": "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("x", 1<<20) + ": x\r\n\r\n",
	} {
		c, err := net.Dial("tcp", r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		go func() { _, _ = io.WriteString(c, bomb) }() // the gateway may have had enough before
		all, err := io.ReadAll(io.LimitReader(c, 1<<20))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection stays open, answered %q", name, all)
		}
		if strings.HasPrefix(string(all), "HTTP/1.1 2") {
			t.Errorf("%s: answered %q", name, all)
		}
		c.Close()
	}
	if a := r.get("/"); a.status != 200 {
		t.Errorf("after it: %d", a.status)
	}
	until(t, "nothing is in flight", func() bool { return r.Stats().Routes[0].InFlight == 0 })
}
