// Package h1guard stands between a client's connection and a server of HTTP/1 that is less strict than package http1. It
// follows the requests on the connection, heads and bodies, and lets through only what package http1 takes, so that a
// request means the same to whoever carries it. Go's server takes folded lines, lines that end with LF alone,
// Content-Length twice or beside Transfer-Encoding, and passes Transfer-Encoding over in HTTP/1.0, after which it reads the
// body as the next request (RFC 9112, 6.1 and 11.2).
//
// It never answers by itself. In the place of a head that is not taken the server gets one that it has to refuse, with the
// same status, and nothing after it; so answers to earlier requests are never mixed up with it. A body that is not taken
// fails to be read. It starts no goroutine.
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

// Conn is a guarded connection. Read is called by one goroutine at a time; Answered by the server between two reads.
type Conn struct {
	net.Conn
	cfg Config

	request http1.Request
	chunks  http1.Chunks
	state   state
	first   bool   // no head has come yet
	idle    bool   // the server waits for the next request
	left    int64  // of a body with a length
	buf     []byte // read from the connection and not by the server; of it, good bytes may pass, and of those after them scanned hold no whole head
	good    int
	scanned int
	poison  []byte // for the server, once what is good has passed
	failed  error  // for the server after that

	mu       sync.Mutex
	deadline time.Time // that the server has set
	headBy   time.Time // when the head that has begun must be whole; zero: none has
}

type state uint8

const (
	atHead    state = iota
	inBody          // of a known length
	inChunks        //
	undecided       // a request asked for another protocol: what follows may be of that
	raw             // all passes
	over            // nothing more does
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// readSize is what is read at once where the server's own buffer is too small, and what a buffer that is kept may have.
const readSize = 4 << 10

var (
	errPiled = errors.New("h1guard: too much was sent before the protocol was agreed upon")
	errAfter = errors.New("h1guard: the connection is refused")
)

// Guard returns the connection with a guard before it. Where it is one over TLS, what is returned tells its state.
func Guard(c net.Conn, cfg Config) net.Conn {
	g := &Conn{Conn: c, cfg: cfg, first: true}
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

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		switch {
		case c.good > 0:
			n := copy(p, c.buf[:c.good])
			c.drop(n)
			return n, nil
		case len(c.poison) > 0:
			n := copy(p, c.poison)
			c.poison = c.poison[n:]
			return n, nil
		case c.state == over:
			return 0, c.failed
		case c.state == raw && len(c.buf) == 0:
			return c.Conn.Read(p)
		}
		if len(c.buf) > 0 && c.look() {
			continue
		}
		if n, err := c.receive(p); n > 0 || err != nil {
			return n, err
		}
	}
}

// receive reads more, into p where nothing is kept; then it returns what of it may pass at once.
func (c *Conn) receive(p []byte) (int, error) {
	direct := len(c.buf) == 0 && len(p) >= readSize
	if !direct {
		if len(c.buf) >= c.cfg.MaxHeader+readSize && c.state == undecided {
			c.end(errPiled)
			return 0, nil
		}
		at := len(c.buf)
		if cap(c.buf)-at < readSize {
			c.buf = append(make([]byte, 0, max(readSize, 2*at+readSize)), c.buf...)
		}
		c.timeHead()
		n, err := c.Conn.Read(c.buf[at:][:readSize])
		c.buf = c.buf[:at+n]
		if n > 0 {
			return 0, nil // an error comes again
		}
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if n == 0 {
		return 0, err
	}
	c.buf = p[:n:n]
	c.look()
	pass := c.good
	rest := c.buf[pass:]
	c.buf, c.good = nil, 0
	if len(rest) > 0 {
		c.buf = append(make([]byte, 0, readSize), rest...)
	}
	return pass, nil
}

// drop takes the first n bytes, which are good, out of the buffer.
func (c *Conn) drop(n int) {
	c.good -= n
	if c.buf = c.buf[n:]; len(c.buf) == 0 {
		c.buf = nil
	}
}

// look follows what is kept and not known to be good yet. It reports whether there is something for the server now.
func (c *Conn) look() bool {
	for c.good < len(c.buf) && c.state != over {
		b := c.buf[c.good:]
		n := 0
		switch c.state {
		case raw:
			n = len(b)
		case atHead:
			n = c.head(b)
		case inBody:
			n = int(min(int64(len(b)), c.left))
			if c.left -= int64(n); c.left == 0 {
				c.state = c.after()
			}
		case inChunks:
			var err *http1.Error
			if n, _, err = c.chunks.Next(b, nil); err != nil {
				// The server finds it by itself, for a read that fails means to it that the client is gone.
				c.good += n
				c.end(errAfter)
				c.poison, n = []byte("\x00\x00\r\n\r\n"), 0
			} else if c.chunks.Done() {
				c.state = c.after()
			}
		}
		c.good += n
		if n == 0 {
			break
		}
	}
	return c.good > 0 || c.state == over
}

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
	if b[0] == '\r' { // the empty line that may stand before a request (RFC 9112, 2.2), which the server would not take
		c.buf = append(c.buf[:c.good], b[2:]...)
		n -= 2
	}
	c.first, c.idle, c.scanned = false, false, 0
	c.whole()
	switch {
	case c.request.Chunked:
		c.chunks, c.state = http1.Chunks{}, inChunks
	case c.request.Length > 0:
		c.left, c.state = c.request.Length, inBody
	default:
		c.state = c.after()
	}
	return n
}

// after is the state after a request.
func (c *Conn) after() state {
	if c.request.HasField(http1.Upgrade) {
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

// end lets nothing pass that has not been found good.
func (c *Conn) end(err error) {
	c.state, c.failed = over, err
	c.buf = c.buf[:c.good]
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

// CloseWrite ends the direction to the client, where the connection can.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
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

// timeHead bounds how long a head that has begun may take. While a request is being answered it does not: the server takes
// the end of a read for the client's.
func (c *Conn) timeHead() {
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
