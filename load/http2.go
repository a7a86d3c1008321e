package load

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

// links are the connections of an HTTP/2 target, each shared by as many callers.
type links struct {
	streams   int
	transport *http.Transport
	target    *target

	mu   sync.Mutex
	all  []*link
	lent int // callers of the last link
}

// link is one connection over which several requests are under way at once (RFC 9113, 5).
type link struct {
	of *links

	mu      sync.Mutex
	cc      *http.ClientConn // nil: none
	dialing chan struct{}    // closed when the connection that is being made is there, or has failed
	err     error            // of the last attempt
}

func newLinks(t *target, streams int) *links {
	l := &links{streams: max(streams, 1), target: t}
	protocols := &http.Protocols{}
	l.transport = &http.Transport{DisableCompression: true, Protocols: protocols, MaxResponseHeaderBytes: maxHead}
	if t.to.tls == nil {
		protocols.SetUnencryptedHTTP2(true)
		l.transport.DialContext = l.dial
	} else {
		protocols.SetHTTP2(true)
		l.transport.DialTLSContext = l.dial
	}
	return l
}

// dial makes a connection of the target's own account, so that it can be cut.
func (l *links) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return nil, errors.New("a connection without a deadline")
	}
	nc, err := l.target.to.connect(ctx, deadline)
	if err != nil {
		return nil, err
	}
	if secure, ok := nc.(*tls.Conn); ok && secure.ConnectionState().NegotiatedProtocol != "h2" {
		l.target.to.disconnect(nc)
		return nil, &handshakeError{errors.New("the server does not speak h2 (ALPN)")}
	}
	return nc, nil
}

// next returns the connection of another caller.
func (l *links) next() *link {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) == 0 || l.lent == l.streams {
		l.all, l.lent = append(l.all, &link{of: l}), 0
	}
	l.lent++
	return l.all[len(l.all)-1]
}

func (l *links) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.all {
		if k.cc != nil {
			k.cc.Close()
		}
	}
	l.transport.CloseIdleConnections()
}

// get returns a connection that takes a request; made says that it is new. Callers that need one at the same time wait for
// the same. ctx has a deadline.
func (k *link) get(ctx context.Context) (cc *http.ClientConn, made bool, err error) {
	for {
		k.mu.Lock()
		if k.cc != nil && k.cc.Err() == nil {
			defer k.mu.Unlock()
			return k.cc, false, nil
		}
		if wait := k.dialing; wait != nil {
			k.mu.Unlock()
			select {
			case <-wait:
			case <-ctx.Done():
				return nil, false, ctx.Err()
			}
			k.mu.Lock()
			cc, err := k.cc, k.err
			k.mu.Unlock()
			if err != nil {
				return nil, false, err
			}
			if cc != nil && cc.Err() == nil {
				return cc, false, nil
			}
			continue
		}
		done := make(chan struct{})
		k.dialing = done
		k.mu.Unlock()
		scheme := "http"
		if k.of.target.to.tls != nil {
			scheme = "https"
		}
		cc, err := k.of.transport.NewClientConn(ctx, scheme, k.of.target.to.addr)
		k.mu.Lock()
		k.cc, k.err, k.dialing = cc, err, nil
		k.mu.Unlock()
		close(done)
		return cc, true, err
	}
}

// http2Attempts is how many connections in a row may be closed to a request before it counts as failed.
const http2Attempts = 3

// roundTrip sends a request over the connection of the link. Servers end connections as a matter of course (nginx after
// keepalive_requests, gRPC servers after a while) and say which requests they will not look at any more (RFC 9113, 6.8): such
// a one is no error of the target, and goes over a new connection.
func (k *link) roundTrip(ctx context.Context, x *exchange, request func() (*http.Request, error)) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		cc, made, err := k.get(ctx)
		if made {
			x.connected++
			if attempt > 1 {
				x.reconnects++
			}
		}
		if err != nil {
			return nil, err
		}
		req, err := request()
		if err != nil {
			return nil, err
		}
		resp, err := cc.RoundTrip(req)
		if err == nil || attempt == http2Attempts || !unbegun(err) {
			return resp, err
		}
		k.drop(cc)
	}
}

// drop has the next request make a new connection.
func (k *link) drop(cc *http.ClientConn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cc == cc {
		k.cc = nil // it ends with the last of its requests
	}
}

// unbegun reports whether net/http says that the server has surely not begun the request.
func unbegun(err error) bool {
	text := err.Error()
	return strings.Contains(text, "client conn not usable") || strings.Contains(text, "graceful shutdown GOAWAY")
}

// Kinds of failure that only HTTP/2 has.
const (
	// StreamReset: the server ended the request alone, by RST_STREAM.
	StreamReset Kind = "stream reset"
	// GoAway: the server ended the connection before it dealt with the request.
	GoAway Kind = "goaway"
)

// http2Error names what the client says of a failed request.
func http2Error(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	switch text := err.Error(); {
	case strings.Contains(text, "stream error") || strings.Contains(text, "stream ID"):
		return &failed{StreamReset, text}
	case strings.Contains(text, "GOAWAY"):
		return &failed{GoAway, text}
	case strings.Contains(text, "connection error") || strings.Contains(text, "malformed") || strings.Contains(text, "frame"):
		return malformed("%s", text)
	case strings.Contains(text, "client connection lost"), strings.Contains(text, "client conn"), strings.Contains(text, "connection closed"):
		return io.ErrUnexpectedEOF
	}
	return err
}

// http2Caller sends the requests of HTTP/1.1 steps over HTTP/2.
type http2Caller struct {
	target *target
	link   *link
}

var _ caller = (*http2Caller)(nil)

func (c *http2Caller) close() {} // the connection is not its own

// do translates the request that was built and reads the answer.
func (c *http2Caller) do(ctx context.Context, x *exchange) error {
	x.connected, x.reconnects, x.bytesIn, x.body, x.head = 0, 0, 0, x.body[:0], head{}
	ctx, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	resp, err := c.link.roundTrip(ctx, x, func() (*http.Request, error) { return c.request(ctx, x) })
	if err != nil {
		return http2Error(ctx, err)
	}
	defer resp.Body.Close()
	x.head.status = resp.StatusCode
	if x.each != nil {
		for name, values := range resp.Header {
			for _, v := range values {
				x.each([]byte(name), []byte(v))
			}
		}
	}
	return http2Error(ctx, readBody(x, resp.Body, c.target.to.maxBody))
}

// readBody reads a body to its end.
func readBody(x *exchange, from io.Reader, limit int64) error {
	buf := readBuffers.Get().(*[]byte)
	defer readBuffers.Put(buf)
	for {
		n, err := from.Read(*buf)
		if x.bytesIn += int64(n); x.bytesIn > limit {
			return errTooLarge
		}
		if x.capture && len(x.body) < maxCapture {
			x.body = append(x.body, (*buf)[:min(n, maxCapture-len(x.body))]...)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// request reads the HTTP/1.1 request that the step has built.
func (c *http2Caller) request(ctx context.Context, x *exchange) (*http.Request, error) {
	raw, body, _ := bytes.Cut(x.request, []byte("\r\n\r\n"))
	line, raw, _ := bytes.Cut(raw, []byte("\r\n"))
	_, rest, _ := bytes.Cut(line, []byte(" "))
	path, _, _ := bytes.Cut(rest, []byte(" "))
	scheme := "http"
	if c.target.to.tls != nil {
		scheme = "https"
	}
	req := &http.Request{Method: x.method, Header: http.Header{}, Host: c.target.host, Proto: "HTTP/2.0", ProtoMajor: 2}
	u, err := url.ParseRequestURI(string(path))
	if err != nil {
		return nil, &failed{OtherError, err.Error()}
	}
	u.Scheme, u.Host = scheme, c.target.host
	req.URL = u
	for len(raw) > 0 {
		line, raw, _ = bytes.Cut(raw, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch string(name) {
		case "Host":
			req.Host = string(value)
		case "Content-Length":
			n, _ := strconv.ParseInt(string(value), 10, 64)
			req.ContentLength = n
		case "Connection", "Keep-Alive", "Proxy-Connection":
		default:
			req.Header[string(name)] = append(req.Header[string(name)], string(value))
		}
	}
	if req.ContentLength > 0 {
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	return req.WithContext(ctx), nil
}
