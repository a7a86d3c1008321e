package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
)

// seat is a connection of the full tier's among those of its listener.
type seat struct {
	limit  *connLimit
	conn   io.Closer
	client netip.Addr   // not valid: not known yet; guarded by the limit's mutex
	gone   bool         // the place was given back; guarded by the same
	since  atomic.Int64 // when it became quiet, on the limit's clock, from 1; 0: a request is under way
	listed atomic.Bool  // among the limit's quiet ones
}

// rest says that no request is under way on the connection.
func (s *seat) rest() {
	s.since.Store(max(int64(s.limit.now()), 1))
	if s.listed.Swap(true) {
		return
	}
	s.limit.mu.Lock()
	if !s.gone {
		s.limit.quiet[s] = struct{}{}
	}
	s.limit.mu.Unlock()
}

// leave gives the place back. It is called once.
func (s *seat) leave() {
	s.limit.mu.Lock()
	delete(s.limit.quiet, s)
	s.gone = true
	client := s.client
	s.limit.mu.Unlock()
	s.limit.leave(client)
}

// seatOf finds the seat of a connection as the server knows it, below what was laid around it; nil: it has none that is worth
// knowing.
func seatOf(c net.Conn) *seat {
	for {
		switch v := c.(type) {
		case interface{ seated() *seat }:
			return v.seated()
		case interface{ Beneath() net.Conn }:
			c = v.Beneath()
		case *tls.Conn:
			c = v.NetConn()
		default:
			return nil
		}
	}
}

// seatedConn is a connection that the full tier has accepted.
type seatedConn struct {
	net.Conn
	seat seat
	left atomic.Bool
}

func (c *seatedConn) seated() *seat { return &c.seat }

// Close closes the connection.
func (c *seatedConn) Close() error {
	if !c.left.Swap(true) {
		c.seat.leave()
	}
	return c.Conn.Close()
}

// CloseWrite ends the direction to the client.
func (c *seatedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SetLinger implements what net.TCPConn does.
func (c *seatedConn) SetLinger(sec int) error {
	if t, ok := c.Conn.(lingerer); ok {
		return t.SetLinger(sec)
	}
	return errors.ErrUnsupported
}

var errTooMany = errors.New("the client has as many connections as one may have")

// identified is told whose the connection is, where that was not known when it came.
func (c *seatedConn) identified(client netip.Addr) error {
	l := c.seat.limit
	if !l.nameClient(client) {
		return errTooMany
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.seat.gone {
		l.forget(client)
		return net.ErrClosed
	}
	c.seat.client = client
	return nil
}

// limitedListener gives connections that have a place, and refuses others.
type limitedListener struct {
	net.Listener
	limit *connLimit
}

// Accept implements net.Listener.
func (l limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			l.limit.acceptFailed(err, nil)
			return nil, err
		}
		if s := l.limit.take(c); s != nil {
			return s, nil
		}
		reset(c)
	}
}

// take gives a connection of the full tier's a place; nil: there is none.
func (l *connLimit) take(c net.Conn) net.Conn {
	s := &seatedConn{Conn: c}
	s.seat.limit, s.seat.conn = l, s
	var client netip.Addr
	if proxied, ok := c.(*proxiedConn); ok {
		proxied.identified = s.identified
	} else {
		client = addrPortOf(c.RemoteAddr()).Addr()
	}
	if !l.enter(client) {
		return nil
	}
	s.seat.client = client
	if l.crowded() && !l.closeQuiet(0) {
		l.refuse(client)
		return nil
	}
	s.seat.rest()
	return s
}

type lingerer interface{ SetLinger(sec int) error }

// reset closes a connection so that its client knows that nothing was done.
func reset(c net.Conn) {
	if t, ok := c.(lingerer); ok {
		_ = t.SetLinger(0) // or it is closed in the usual way
	}
	_ = c.Close()
}

// connKey is under what a request's context has its connection.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// resetAtEnd has the connection of a request be reset when it is closed.
func resetAtEnd(ctx context.Context) {
	for c, _ := ctx.Value(connKey{}).(net.Conn); c != nil; {
		switch v := c.(type) {
		case lingerer:
			_ = v.SetLinger(0) // or it is closed in the usual way
			return
		case interface{ Beneath() net.Conn }:
			c = v.Beneath()
		default:
			return // one over TLS says by itself whether it has come to its end
		}
	}
}
