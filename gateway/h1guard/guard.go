// Package h1guard stands between a connection and a side of HTTP/1 that is less strict than package http1: Go's server, and
// Go's client. It follows the messages that come, heads and bodies, and lets through only what package http1 takes, so that a
// request, or an answer, means the same to whoever carries it.
//
// Go's server takes folded lines, lines that end with LF alone, Content-Length twice or beside Transfer-Encoding, and passes
// Transfer-Encoding over in HTTP/1.0, after which it reads the body as the next request (RFC 9112, 6.1 and 11.2). Its client
// takes the same of answers, hides the names in a Connection that says 'close' as well, and may read what a backend sends
// beyond the end of one answer as the answer to the next request.
//
// It never speaks by itself. In the place of a head that is not taken the server gets one that it has to refuse, with the
// same status, and nothing after it; so answers to earlier requests are never mixed up with it. The client gets one that is no
// answer. A body that is not taken fails to be read. It starts no goroutine.
package h1guard

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/banyanhq/banyan/gateway/http1"
)

// Config of a guard.
type Config struct {
	// HTTP2 says that the server takes HTTP/2 by prior knowledge: after its preface all passes.
	HTTP2 bool
	// MaxHeader bounds a request's head in bytes.
	MaxHeader int
	// HeadTime is how long the head of a request after the first may take to come whole. That of the first is the server's
	// own to time, which knows only from whole heads that another one has begun.
	HeadTime time.Duration
	// Refused is told why a request was refused. It must not block. Nil: nobody is.
	Refused func(*http1.Error)
}

// Conn is a guarded connection to a client. Read is called by one goroutine at a time; Answered by the server between two reads.
type Conn struct {
	flow
	cfg Config

	request http1.Request
	first   bool // no head has come yet
	idle    bool // the server waits for the next request
	upgrade bool // the request that came last asks for another protocol

	mu       sync.Mutex
	deadline time.Time // that the server has set
	headBy   time.Time // when the head that has begun must be whole; zero: none has
}

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Guard returns the connection to a client with a guard before it. Where it is one over TLS, what is returned tells its state.
func Guard(c net.Conn, cfg Config) net.Conn {
	g := &Conn{flow: flow{Conn: c, maxHeader: cfg.MaxHeader}, cfg: cfg, first: true}
	g.side = g
	if s, ok := c.(stater); ok {
		return &secure{g, s}
	}
	return g
}

type stater interface{ ConnectionState() tls.ConnectionState }

// secure is a guarded connection over TLS. Servers tell by the method which connections are.
type secure struct {
	*Conn
	state stater
}

func (s *secure) ConnectionState() tls.ConnectionState { return s.state.ConnectionState() }

// head looks at a head, and returns its size; 0 where more is needed, or where it is not taken.
func (c *Conn) head(b []byte) int {
	if c.first && c.cfg.HTTP2 && bytes.HasPrefix([]byte(preface), b[:min(len(b), len(preface))]) {
		if len(b) < len(preface) {
			return 0
		}
		c.state = raw
		return len(b)
	}
	if seen := c.scanned; len(b) <= c.cfg.MaxHeader && bytes.IndexByte(b[seen:], '\n') < 0 {
		c.scanned = len(b)
		return 0 // what there was to be seen in lines that have come whole was seen before
	}
	n, err := c.request.Parse(b[:min(len(b), c.cfg.MaxHeader)])
	if n == 0 {
		if c.scanned = len(b); err == nil && len(b) > c.cfg.MaxHeader {
			err = http1.ErrTooLarge
		}
		if err != nil {
			c.refuse(err)
		}
		return 0
	}
	c.upgrade = c.request.HasField(http1.Upgrade) && c.request.Nominated([]byte("upgrade"))
	if b[0] == '\r' { // the empty line that may stand before a request (RFC 9112, 2.2), which the server would not take
		c.buf = append(c.buf[:c.good], b[2:]...)
		n -= 2
	}
	c.first, c.idle, c.scanned = false, false, 0
	c.whole()
	c.state = c.body(c.request.Chunked, c.request.Length)
	return n
}

// after is the state after a request.
func (c *Conn) after() state {
	if c.upgrade {
		return undecided
	}
	return atHead
}

// refuse has the server answer a head that is not taken, and see nothing after it.
func (c *Conn) refuse(why *http1.Error) {
	c.end(errAfter)
	if c.cfg.Refused != nil {
		c.cfg.Refused(why)
	}
	switch why.Status {
	case 431:
		c.poison = bytes.Repeat([]byte("x"), c.cfg.MaxHeader+2*readSize) // more than the server takes
	case 501:
		c.poison = []byte("GET / HTTP/1.1\r\nHost: refused\r\nTransfer-Encoding: refused\r\n\r\n")
	case 505:
		c.poison = []byte("GET / HTTP/9.9\r\nHost: refused\r\n\r\n")
	default:
		c.poison = []byte("refused refused refused\r\n\r\n") // no version; as long as a preface, which servers look for
	}
}

// Answered is called when the server has answered a request and wants the next one; or when a handler has taken the
// connection over, to speak another protocol on it.
func (c *Conn) Answered(hijacked bool) {
	switch {
	case hijacked:
		c.state = raw
	case c.state == undecided:
		c.state = atHead
	}
	c.idle = true
	if a, ok := c.Conn.(interface{ Answered(hijacked bool) }); ok {
		a.Answered(hijacked)
	}
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn. That of a head that has begun holds beside it.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return c.Conn.SetReadDeadline(c.earliest())
}

func (c *Conn) earliest() time.Time {
	if c.headBy.IsZero() || !c.deadline.IsZero() && c.deadline.Before(c.headBy) {
		return c.deadline
	}
	return c.headBy
}

// waits bounds how long a head that has begun may take. While a request is being answered it does not: the server takes
// the end of a read for the client's.
func (c *Conn) waits() {
	if !c.idle || len(c.buf) == c.good || c.cfg.HeadTime <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.headBy.IsZero() {
		c.headBy = time.Now().Add(c.cfg.HeadTime)
		_ = c.Conn.SetReadDeadline(c.earliest()) // fails only where reading does
	}
}

// whole ends the time of a head.
func (c *Conn) whole() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.headBy.IsZero() {
		c.headBy = time.Time{}
		_ = c.Conn.SetReadDeadline(c.deadline) // as above
	}
}
