package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/banyanhq/banyan/gateway/h1guard"
)

// guardHTTP1 has a connection's requests of HTTP/1 held to the rules of package http1 before Go's server reads them.
func (g *Gateway) guardHTTP1(c net.Conn, http2 bool) net.Conn {
	return h1guard.Guard(c, h1guard.Config{HTTP2: http2, MaxHeader: maxHeader, HeadTime: g.headTime, Refused: g.malformed.count})
}

// strictListener gives connections whose requests of HTTP/1 are held to the rules of package http1.
type strictListener struct {
	net.Listener
	g *Gateway
}

// Accept implements net.Listener.
func (l strictListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if h, ok := c.(interface{ comesBack() bool }); ok && h.comesBack() {
		return c, nil // the fast tier has looked at its request, and will look at the next
	}
	return l.g.guardHTTP1(c, true), nil
}

// handshakes is a listener whose connections have TLS behind them: those that agreed upon HTTP/2 as *tls.Conn, by which
// Go's server knows them, all others with a guard before them. Go's server would shake hands itself, but after that lets
// nobody look at what it reads.
type handshakes struct {
	net.Listener
	g      *Gateway
	config *tls.Config

	ready   chan net.Conn
	pending sync.WaitGroup
	closing context.Context // ends when the listener is closed
	close   context.CancelFunc
	ended   chan struct{} // closed when err is there: no more will be accepted, and all that were are through
	err     error
}

func (g *Gateway) newHandshakes(l net.Listener, config *tls.Config) *handshakes {
	h := &handshakes{Listener: l, g: g, config: config, ready: make(chan net.Conn), ended: make(chan struct{})}
	h.closing, h.close = context.WithCancel(context.Background())
	return h
}

// Accept implements net.Listener.
func (h *handshakes) Accept() (net.Conn, error) {
	select {
	case c := <-h.ready:
		return c, nil
	case <-h.ended:
		return nil, h.err
	}
}

// Close implements net.Listener. Handshakes that go on are cut off; run returns when they are.
func (h *handshakes) Close() error {
	h.close()
	return h.Listener.Close()
}

// run accepts connections until the listener is closed. Where that is done past this one, the connections that have come
// are still served: Accept returns the error after the last of them.
func (h *handshakes) run() {
	defer close(h.ended)
	defer h.pending.Wait()
	for {
		c, err := h.Listener.Accept()
		switch {
		case err == nil:
			h.pending.Go(func() { h.shake(c) })
		case !errors.Is(err, net.ErrClosed): // it has been counted, and told
			select {
			case <-time.After(acceptPause):
			case <-h.closing.Done():
			}
		default:
			h.err = err
			return
		}
	}
}

// shake shakes hands on a connection, and hands it to the server.
func (h *handshakes) shake(c net.Conn) {
	t := tls.Server(c, h.config)
	ctx, cancel := context.WithTimeout(h.closing, h.g.headTime)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		h.failed(c, err)
		_ = c.Close()
		return
	}
	var done net.Conn
	switch t.ConnectionState().NegotiatedProtocol {
	case http2.NextProtoTLS:
		done = t
	case "", "http/1.1":
		done = h.g.guardHTTP1(t, false)
	default: // a challenge of ACME, which ends with the handshake (RFC 8737)
		_ = c.Close()
		return
	}
	select {
	case h.ready <- done:
	case <-h.closing.Done():
		_ = c.Close()
	}
}

// failed says why there was no handshake: to a client that speaks HTTP in clear, in that.
func (h *handshakes) failed(c net.Conn, err error) {
	var record tls.RecordHeaderError
	if errors.As(err, &record) && record.Conn != nil && plainHTTP(record.RecordHeader) {
		_, _ = io.WriteString(record.Conn, "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nthis address speaks TLS: ask it by https\n")
	}
	if h.g.cfg.Log.Enabled(context.Background(), slog.LevelDebug) {
		h.g.cfg.Log.Debug("no TLS", "client", c.RemoteAddr().String(), "error", err)
	}
}

// plainHTTP reports whether what came in the place of a TLS record may be the beginning of a request.
func plainHTTP(begin [5]byte) bool {
	return slices.Contains([]string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "PATCH", "DELET"}, string(begin[:]))
}
