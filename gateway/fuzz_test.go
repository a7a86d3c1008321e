package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	h1 "github.com/banyanhq/banyan/gateway/http1"
	"github.com/banyanhq/banyan/topology"
)

// bothTiers starts a gateway with the fast tier and one without, which give up soon and try once.
func bothTiers(f *testing.F) (rigs []*rig) {
	for _, full := range []bool{false, true} {
		s := eachInbound(shop(), func(in *topology.Inbound) {
			in.Timeout, in.Retry, in.Breaker = topology.Duration(2*time.Second), nil, &topology.Breaker{Off: true}
		})
		rigs = append(rigs, startTier(f, Config{System: s, DrainTimeout: time.Second}, full))
	}
	return rigs
}

// exchangeBytes sends bytes on a connection of its own, ends its side if it is to, and returns what comes until the other ends.
func exchangeBytes(t *testing.T, r *rig, in []byte, half bool) []byte {
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	go func() { // the gateway may have had enough before
		if _, err := c.Write(in); err == nil && half {
			_ = c.(*net.TCPConn).CloseWrite()
		}
	}()
	all, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%q: the connection stays open", in)
	}
	return all
}

// strictly returns the methods of the requests that bytes hold by the rules of package http1, up to the first that is none.
func strictly(b []byte) (methods []string) {
	for {
		var r h1.Request
		n, err := r.Parse(b)
		if n == 0 || err != nil {
			return methods
		}
		if b = b[n:]; r.Chunked {
			var c h1.Chunks
			for !c.Done() {
				n, _, err := c.Next(b, nil)
				if b = b[n:]; err != nil || n == 0 && !c.Done() {
					return append(methods, string(r.Method))
				}
			}
		} else if r.Length > 0 {
			b = b[min(r.Length, int64(len(b))):]
		}
		methods = append(methods, string(r.Method))
	}
}

// Whatever a client sends: what it is answered is HTTP, there are no more answers than requests but for one refusal, no
// request reaches the backend that the strict rules do not find, and the connection ends.
func FuzzClientBytes(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\nHEAD /y HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
		"POST / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /s HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET http://y/a/../b HTTP/1.1\r\nHost: x\r\nUpgrade: z\r\nConnection: upgrade\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", "OPTIONS * HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	var reached atomic.Int64
	var allowed int64
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		_, _ = io.Copy(w, r.Body)
	}))
	f.Cleanup(backend.Close)
	rigs := bothTiers(f)
	for _, r := range rigs {
		r.ready("web", backend.Listener.Addr().String())
		r.ready("catalog", backend.Listener.Addr().String())
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 4*maxHeader || bytes.HasPrefix(in, []byte("PRI * HTTP/2.0")) {
			return // frames have a target of their own
		}
		methods := strictly(in)
		for _, r := range rigs {
			// In all, for one whose client is taken to be gone may reach the backend after that has been told.
			allowed += int64(len(methods))
			all := exchangeBytes(t, r, in, true)
			if n := reached.Load(); n > allowed {
				t.Fatalf("%q: %d requests have reached the backend, there were %d", in, n, allowed)
			}
			br := bufio.NewReader(bytes.NewReader(all))
			for i := 0; ; {
				if _, err := br.Peek(1); err != nil {
					break
				}
				method := "GET"
				if i < len(methods) {
					method = methods[i]
				}
				res, err := http.ReadResponse(br, &http.Request{Method: method})
				if err != nil {
					t.Fatalf("%q: answered %q: %v", in, all, err)
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil {
					break // broken off, which a client can see
				}
				if res.StatusCode < 200 {
					continue
				}
				if res.Close {
					break // a refusal has a body, whatever the method
				}
				if i++; i > len(methods)+1 {
					t.Fatalf("%q: %d answers to %d requests: %q", in, i, len(methods), all)
				}
			}
		}
	})
}

// Whatever a backend answers: the client gets the gateway's own error, an answer that it can see is broken off, or what
// Go's client would have made of it.
func FuzzBackendBytes(f *testing.F) {
	for _, name := range sortedKeys(answers) {
		if text := answers[name]; len(text) < 2000 {
			f.Add([]byte(text))
		}
	}
	var says atomic.Pointer[[]byte]
	backend := listening(f, func(c *net.TCPConn) {
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		if _, err := readHead(c); err == nil {
			_, _ = c.Write(*says.Load())
		}
	})
	rigs := bothTiers(f)
	for _, r := range rigs {
		r.ready("web", backend)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 4*maxHeader {
			return
		}
		says.Store(&in)
		status, body := understood(in)
		for _, r := range rigs {
			all := exchangeBytes(t, r, []byte("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), false)
			got, gotBody, own := final(t, all)
			if own || got == 0 {
				continue
			}
			if got != status || gotBody != body {
				t.Fatalf("%q: the client got %d %q, Go's has %d %q", in, got, gotBody, status, body)
			}
		}
	})
}

// understood is the answer as Go's client understands it; 0 where it is none, or not whole.
func understood(b []byte) (status int, body string) {
	br := bufio.NewReader(bytes.NewReader(b))
	for {
		res, err := http.ReadResponse(br, &http.Request{Method: "GET"})
		if err != nil {
			return 0, ""
		}
		if res.StatusCode >= 100 && res.StatusCode < 200 && res.StatusCode != 101 {
			continue
		}
		text, err := io.ReadAll(res.Body)
		if err != nil {
			return 0, ""
		}
		return res.StatusCode, string(text)
	}
}

// final returns the final answer that a client got; own: it is the gateway's error; status 0: it was broken off.
func final(t *testing.T, all []byte) (status int, body string, own bool) {
	br := bufio.NewReader(bytes.NewReader(all))
	for {
		res, err := http.ReadResponse(br, &http.Request{Method: "GET"})
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, "", false
		}
		if err != nil {
			t.Fatalf("the client got %q: %v", all, err)
		}
		text, err := io.ReadAll(res.Body)
		if err != nil {
			return 0, "", false
		}
		if res.StatusCode >= 200 {
			return res.StatusCode, string(text), strings.HasPrefix(res.Header.Get("Proxy-Status"), "banyan; ")
		}
	}
}

// What is read from single fields of requests never fails, and agrees with who else reads them.
func FuzzFields(f *testing.F) {
	f.Add("gzip;q=0.5, *;q=0", "/a/../b", "10.0.0.1, [::1]:80,x", "a=b; user=\"1\"", "user=1&b=%zz+")
	f.Add("br;q=1.0, identity", "/.", "unknown", "a=;=b", "=&&a")
	f.Fuzz(func(t *testing.T, accept, path, chain, cookie, query string) {
		if e := negotiate([]string{accept}, []string{"zstd", "br", "gzip"}); e != "" && !strings.Contains(strings.ToLower(accept), e) && !strings.Contains(accept, "*") {
			t.Errorf("%q likes %s", accept, e)
		}
		dots := false
		for i, segment := range strings.Split(path, "/") {
			dots = dots || i > 0 && (segment == "." || segment == "..")
		}
		if dotSegments(path) != dots {
			t.Errorf("%q has dot segments: %v", path, dots)
		}
		h := http.Header{"Connection": {accept, cookie}, "A": {"b"}, "Upgrade": {chain}}
		removeNominated(h, h["Connection"])
		if hasToken([]string{accept}, "a") && len(h["A"]) > 0 {
			t.Errorf("%q: the header A is still there", accept)
		}
		upgradeOf(h)
		if ip := clientIP(chain); len(ip) > len(chain) {
			t.Errorf("%q has the address %q", chain, ip)
		}
		validRequestID(chain)
		w := walk{g: &Gateway{}, target: &target{}}
		if got := w.client(chain); !strings.Contains(chain, got) {
			t.Errorf("%q is the client %q", chain, got)
		}
		if c, err := http.ParseCookie(cookie); err == nil && len(c) > 0 && !strings.ContainsAny(cookie, " \t\"") {
			if v, ok := cookieValue([]string{cookie}, c[0].Name); !ok || v != c[0].Value {
				t.Errorf("%q: %s is %q, %v, Go has %q", cookie, c[0].Name, v, ok, c[0].Value)
			}
		}
		topology.QueryValue(query, "user")
	})
}
