package h1guard

import (
	"errors"
	"net"

	"github.com/banyanhq/banyan/gateway/http1"
)

// flow follows the messages that come on a connection, and lets through what of them was found good. It belongs to whoever
// reads.
type flow struct {
	net.Conn
	side      side
	maxHeader int // bounds a head in bytes

	chunks  http1.Chunks
	state   state
	left    int64  // of a body with a length
	buf     []byte // read from the connection and not passed on; of it, good bytes may pass, and of those after them scanned hold no whole head
	good    int
	scanned int
	poison  []byte // for the reader, once what is good has passed
	failed  error  // for the reader after that
}

// side is what requests and answers differ in.
type side interface {
	// head looks at the head of a message, and returns its size; 0 where more is needed, or where it is not taken.
	head(b []byte) int
	// after is the state after a message.
	after() state
	// waits is called before more is read.
	waits()
}

// body returns the state after a head whose body is framed like this; a length below 0 means none.
func (c *flow) body(chunked bool, length int64) state {
	switch {
	case chunked:
		c.chunks = http1.Chunks{}
		return inChunks
	case length > 0:
		c.left = length
		return inBody
	}
	return c.side.after()
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

var (
	errPiled = errors.New("h1guard: too much was sent before the protocol was agreed upon")
	errAfter = errors.New("h1guard: the connection is refused")
)

// readSize is what is read at once where the reader's own buffer is too small, and what a buffer that is kept may have.
const readSize = 4 << 10

// Read implements net.Conn.
func (c *flow) Read(p []byte) (int, error) {
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
func (c *flow) receive(p []byte) (int, error) {
	direct := len(c.buf) == 0 && len(p) >= readSize
	if !direct {
		if len(c.buf) >= c.maxHeader+readSize && c.state == undecided {
			c.end(errPiled)
			return 0, nil
		}
		at := len(c.buf)
		if cap(c.buf)-at < readSize {
			c.buf = append(make([]byte, 0, max(readSize, 2*at+readSize)), c.buf...)
		}
		c.side.waits()
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
func (c *flow) drop(n int) {
	c.good -= n
	if c.buf = c.buf[n:]; len(c.buf) == 0 {
		c.buf = nil
	}
}

// look follows what is kept and not known to be good yet. It reports whether there is something for the reader now.
func (c *flow) look() bool {
	for c.good < len(c.buf) && c.state != over {
		b := c.buf[c.good:]
		n := 0
		switch c.state {
		case raw:
			n = len(b)
		case atHead:
			n = c.side.head(b)
		case inBody:
			n = int(min(int64(len(b)), c.left))
			if c.left -= int64(n); c.left == 0 {
				c.state = c.side.after()
			}
		case inChunks:
			var err *http1.Error
			if n, _, err = c.chunks.Next(b, nil); err != nil {
				// The reader finds it by itself, for a read that fails means to it that the peer is gone.
				c.good += n
				c.end(errAfter)
				c.poison, n = []byte("\x00\x00\r\n\r\n"), 0
			} else if c.chunks.Done() {
				c.state = c.side.after()
			}
		}
		c.good += n
		if n == 0 {
			break
		}
	}
	return c.good > 0 || c.state == over
}

// end lets nothing pass that has not been found good.
func (c *flow) end(err error) {
	c.state, c.failed = over, err
	c.buf = c.buf[:c.good]
}

// Beneath returns the connection that is guarded.
func (c *flow) Beneath() net.Conn { return c.Conn }

// CloseWrite ends the direction to the peer, where the connection can.
func (c *flow) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
