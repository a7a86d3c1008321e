package gateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/gateway/proxyproto"
	"github.com/banyanhq/banyan/topology"
)

// behindProxies is a gateway whose listeners take connections from proxies in the networks, with TLS.
func behindProxies(t *testing.T, networks ...string) (*rig, *tls.Config) {
	cfg, trust := secured(t, func(c *topology.TLS) { c.AcceptProxyFrom = networks })
	cfg.System.AcceptProxyFrom = networks
	r := start(t, cfg)
	r.serve("web", func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body)
		fmt.Fprint(w, q.Header.Get("X-Forwarded-For"))
	})
	return r, trust(r)
}

// after dials, and sends a header of the PROXY protocol first.
func after(t *testing.T, to net.Addr, header []byte) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, _ = c.Write(header) // a connection that is refused may be closed by now
	return c
}

var viaProxy = proxyproto.Header{Source: netip.MustParseAddrPort("203.0.113.7:4711"), Destination: netip.MustParseAddrPort("203.0.113.1:80")}

// tracing has what happens to each request told.
type tracing struct {
	http.RoundTripper
	to *httptrace.ClientTrace
}

func (c tracing) RoundTrip(q *http.Request) (*http.Response, error) {
	return c.RoundTripper.RoundTrip(q.WithContext(httptrace.WithClientTrace(q.Context(), c.to)))
}

func TestProxyProtocolIsAccepted(t *testing.T) {
	r, trust := behindProxies(t, "127.0.0.0/8", "::1/128")
	six := proxyproto.Header{Source: netip.MustParseAddrPort("[2001:db8::7]:4711"), Destination: netip.MustParseAddrPort("[2001:db8::1]:80")}
	for _, c := range []struct {
		name, want string
		header     []byte
	}{
		{"v1", "203.0.113.7", viaProxy.AppendV1(nil)},
		{"v2", "203.0.113.7", viaProxy.AppendV2(nil)},
		{"v1 over IPv6", "2001:db8::7", six.AppendV1(nil)},
		{"v2 over IPv6", "2001:db8::7", six.AppendV2(nil)},
		{"of the proxy itself", "127.0.0.1", proxyproto.Header{}.AppendV2(nil)},
		{"unknown", "127.0.0.1", proxyproto.Header{}.AppendV1(nil)},
	} {
		for _, way := range []string{"http/1.1", "h2c", "tls http/1.1", "tls h2"} {
			transport := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: trust.Clone()}
			url, to := "http://gateway/", r.Addr()
			if strings.HasPrefix(way, "tls") {
				url, to = "https://localhost/", r.TLSAddr()
			}
			transport.Protocols.SetHTTP1(strings.HasSuffix(way, "http/1.1"))
			transport.Protocols.SetHTTP2(way == "tls h2")
			transport.Protocols.SetUnencryptedHTTP2(way == "h2c")
			transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return after(t, to, c.header), nil }
			// Until a connection has carried a second request. Where the machine is busy the client may dial for one although a connection is there:
			// it has not put that back yet, or has closed it because its own writer was late.
			reused := false
			client := &http.Client{Transport: tracing{transport, &httptrace.ClientTrace{GotConn: func(g httptrace.GotConnInfo) { reused = reused || g.Reused }}}}
			for n := 0; n < 100 && !reused; n++ {
				if _, body := over(t, client, url); body != c.want {
					t.Errorf("%s, %s: the backend was told of %q, want %q", c.name, way, body, c.want)
				}
			}
			if !reused {
				t.Errorf("%s, %s: no connection carries a second request", c.name, way)
			}
			transport.CloseIdleConnections()
		}
	}
}

// The header may come byte by byte, with what follows it at once; and the connection goes over to the full tier like others.
func TestProxyProtocolInPieces(t *testing.T) {
	r, _ := behindProxies(t, "127.0.0.0/8")
	c := after(t, r.Addr(), nil)
	for _, b := range viaProxy.AppendV2(nil) {
		_, _ = c.Write([]byte{b})
	}
	chunked := "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"+chunked)
	br := bufio.NewReader(c)
	for range 2 {
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(res.Body); string(body) != "203.0.113.7" {
			t.Errorf("the backend was told of %q", body)
		}
	}
}

func TestProxyProtocolIsStrict(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, c := range []struct{ name, network, begin string }{
		{"no header", "127.0.0.0/8", get},
		{"a wrong one", "127.0.0.0/8", "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n" + get},
		{"an unknown version", "127.0.0.0/8", "\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x00" + get},
		{"from elsewhere", "192.0.2.0/24", string(viaProxy.AppendV1(nil)) + get},
	} {
		r, trust := behindProxies(t, c.network)
		for _, to := range []net.Addr{r.Addr(), r.TLSAddr()} {
			conn := after(t, to, []byte(c.begin))
			if to == r.TLSAddr() {
				if err := tls.Client(conn, trust).Handshake(); err == nil {
					t.Errorf("%s: a handshake after it", c.name)
				}
			} else if all, _ := io.ReadAll(conn); len(all) != 0 {
				t.Errorf("%s: answered %q", c.name, all)
			}
		}
		if n := r.Stats().Routes[0].Codes[200]; n != 0 {
			t.Errorf("%s: %d requests passed", c.name, n)
		}
		r.stop()
	}
}

// Those that say nothing do not keep a gateway from stopping, nor others from being served.
func TestProxyProtocolSilence(t *testing.T) {
	r, _ := behindProxies(t, "127.0.0.0/8")
	for range 10 {
		after(t, r.Addr(), []byte("PROXY "))
		after(t, r.TLSAddr(), []byte("PROXY "))
	}
	c := after(t, r.Addr(), append(viaProxy.AppendV1(nil), "GET / HTTP/1.1\r\nHost: x\r\n\r\n"...))
	if a := readAnswer(t, c, "GET"); a.status != 200 {
		t.Errorf("%+v", a)
	}
	r.stop()
}
