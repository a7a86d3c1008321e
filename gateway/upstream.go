package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/banyanhq/banyan/gateway/h1guard"
)

const (
	dialTimeout = time.Second
	// handshakeTimeout bounds the handshake of TLS with a backend.
	handshakeTimeout = 10 * time.Second
	// idleTimeout is shorter than the five seconds after which common servers close idle connections, so that a
	// request that cannot be repeated does not meet a connection that is just being closed.
	idleTimeout = 4 * time.Second
	// idleConns is how many idle connections are kept to one backend.
	idleConns = 512
	// maxHeader bounds the heads of requests and answers.
	maxHeader = 64 << 10
)

// newTransport returns the connections to one backend.
func newTransport(b *backend) *http.Transport {
	l := b.service.link
	t := &http.Transport{
		DialContext:            b.dial,
		Protocols:              l.way().Protocols(),
		TLSClientConfig:        l.config,
		HTTP2:                  http2Config(),
		DisableCompression:     true,
		MaxIdleConnsPerHost:    idleConns,
		IdleConnTimeout:        idleTimeout,
		ExpectContinueTimeout:  time.Second,
		TLSHandshakeTimeout:    handshakeTimeout,
		MaxResponseHeaderBytes: maxHeader,
	}
	switch {
	case l.http2():
	case l.config == nil:
		t.DialContext = b.dialGuarded
	default:
		t.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			return b.dialSecure(ctx, network, address, l.config)
		}
	}
	return t
}

// dial connects to the backend.
func (b *backend) dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, &dialError{err}
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return conn, nil
	}
	b.conns.Add(1)
	return &upstreamConn{TCPConn: tcp, backend: b}, nil
}

// dialGuarded connects to the backend for HTTP/1, whose answers are held to the rules of package http1.
func (b *backend) dialGuarded(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := b.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return h1guard.Answering(conn, maxHeader), nil
}

// dialSecure is dialGuarded over TLS.
func (b *backend) dialSecure(ctx context.Context, network, address string, cfg *tls.Config) (net.Conn, error) {
	conn, err := b.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	cfg = cfg.Clone()
	cfg.NextProtos = []string{"http/1.1"}
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(address) // the dialler has taken it apart
	}
	secure := tls.Client(conn, cfg)
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		if errors.Is(err, context.DeadlineExceeded) {
			err = &dialError{err}
		}
		return nil, err
	}
	return h1guard.Answering(secure, maxHeader), nil
}

// asking returns the hook that tells the guard of a connection what its backend is asked next.
func asking(method string) func(httptrace.GotConnInfo) {
	if method == http.MethodHead {
		return askingHead
	}
	return askingAny
}

func askingHead(got httptrace.GotConnInfo) { tellGuard(got.Conn, http.MethodHead) }
func askingAny(got httptrace.GotConnInfo)  { tellGuard(got.Conn, http.MethodGet) }

func tellGuard(c net.Conn, method string) {
	if a, ok := c.(*h1guard.Answers); ok {
		a.Ask(method)
	}
}

// upstreamConn counts the open connections of its backend.
type upstreamConn struct {
	*net.TCPConn
	backend *backend
	once    sync.Once
}

func (c *upstreamConn) Close() error {
	c.once.Do(func() { c.backend.conns.Add(-1) })
	return c.TCPConn.Close()
}

// dialError marks an error from before there was a connection: provably nothing was sent.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// Causes with which a call's context ends.
var (
	errTimeout    = errors.New("time-out of the call")
	errClientSlow = fmt.Errorf("%w, while the client took its answer", errTimeout)
	errFinished   = errors.New("call is over")
	errStopping   = errors.New("gateway is stopping")
)

// stopping is what becomes of a stream when the gateway stops.
var stopping = fault{kind: responseIncomplete, own: true, detail: "the gateway is stopping"}

// errNoStatus is an answer whose status is no three-digit number.
var errNoStatus = errors.New("the answer's status is not one of HTTP")

// upstreamFault says what went wrong between the gateway and the backend, and whether anything may have been sent.
func upstreamFault(err error) (f fault, sent bool) {
	var dial *dialError
	var network net.Error
	var certificate *tls.CertificateVerificationError
	var op *net.OpError
	if errors.As(err, &dial) {
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			return fault{kind: connectionRefused, detail: "the backend refused the connection"}, false
		case scarce(err):
			return fault{kind: destinationUnavailable, own: true, detail: "the gateway cannot open one more connection, try again shortly"}, false
		case errors.As(err, &network) && network.Timeout():
			return fault{kind: connectionTimeout, detail: "connecting to the backend took too long"}, false
		}
		return fault{kind: destinationUnavailable, detail: "the backend cannot be connected to"}, false
	}
	switch {
	case errors.As(err, &certificate):
		return fault{kind: tlsCertificateError, detail: "the backend's certificate is not accepted"}, false
	case errors.As(err, &op) && op.Op == "remote error", strings.Contains(err.Error(), "remote error: tls"):
		// So does crypto/tls name an alert, and transports do not always wrap it; in TLS 1.3 it may come after the request.
		return fault{kind: tlsAlertReceived, detail: "the backend does not accept the gateway's side of TLS"}, true
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed), strings.Contains(err.Error(), "server closed idle"),
		strings.Contains(err.Error(), "http2: client conn could not be established"): // such as an alert that came before the first frame
		return fault{kind: connectionTerminated, detail: "the backend closed the connection before its answer was complete"}, true
	case errors.As(err, &network):
		return fault{kind: connectionTerminated, detail: "the connection to the backend broke"}, true
	}
	return fault{kind: protocolError, detail: "the backend's answer is not valid HTTP"}, true
}

// scarce reports whether an error is that this machine, or the process, has no more of what a connection takes: file
// descriptors, ports, memory. That is no fault of whoever was to be connected to.
func scarce(err error) bool {
	for _, e := range [...]error{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// clientBody is the body of a request on its way to a backend. It remembers whether any of it was read, for then it
// cannot be sent again, and the error with which reading from the client failed, for that is no fault of the backend.
// The transport may still read from it when the call is over.
type clientBody struct {
	body   io.ReadCloser
	length int64 // -1: not known
	max    int64 // 0: no limit

	reading sync.Mutex // held while one reads
	over    bool       // guarded by reading: the call has ended

	mu   sync.Mutex
	read bool
	n    int64
	err  error // io.EOF: it was read to its end
}

var errBodyTooLarge = errors.New("request body is larger than the limit")

func (b *clientBody) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	if b.over {
		return 0, errFinished
	}
	b.mu.Lock()
	b.read = true
	b.mu.Unlock()
	n, err := b.body.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n += int64(n); b.max > 0 && b.n > b.max {
		n, err = 0, errBodyTooLarge
	}
	if err != nil && b.err == nil {
		b.err = err
	}
	return n, err
}

// Close does nothing: the server closes the client's body, and a retry may still need it.
func (b *clientBody) Close() error { return nil }

// maxAbandoned is how much of a body is still taken from a client once nobody wants it.
const maxAbandoned = 256 << 10

// abandon lets nobody read any more, and drops what still comes until the connection's deadline.
func (b *clientBody) abandon() {
	b.reading.Lock() // whoever reads now is stopped by the deadline
	defer b.reading.Unlock()
	b.over = true
	_, _ = io.CopyN(io.Discard, b.body, maxAbandoned) // it ends with an error, which nobody waits for
}

// drop lets nobody read any more, of a body whose stream is about to end.
func (b *clientBody) drop() {
	_ = b.body.Close() // whoever reads now is stopped by it
	b.reading.Lock()
	defer b.reading.Unlock()
	b.over = true
}

// untouched reports whether none of the body was read.
func (b *clientBody) untouched() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.read
}

// failure returns the error with which reading from the client failed, nil if it did not.
func (b *clientBody) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == io.EOF {
		return nil
	}
	return b.err
}

// complete reports whether the body was read to its end.
func (b *clientBody) complete() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err == io.EOF || b.n == b.length
}

// clientFault says what went wrong with the client's body. The server ends the request's context with any such error.
func (c *call) clientFault(err error) fault {
	switch {
	case errors.Is(err, errBodyTooLarge):
		return fault{kind: requestTooLarge, detail: "the request's body is too large"}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fault{kind: requestTimeout, detail: "the request's body did not arrive in time"}
	case c.r.Context().Err() != nil:
		return c.ended()
	}
	return fault{kind: requestError, detail: fmt.Sprintf("the request's body cannot be read: %v", err)}
}
