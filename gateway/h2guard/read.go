package h2guard

import (
	"errors"
	"io"
	"time"
)

// bufferSize is what a guard keeps for reading. It grows for a frame that must be looked at whole, and only for that.
const bufferSize = 4 << 10

var errEnded = errors.New("h2guard: the connection is being ended")

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if c.read < c.seen {
			n := copy(p, c.buf[c.read:c.seen])
			c.read += n
			return n, nil
		}
		switch {
		case (c.raw || c.pass > 0) && c.seen < c.end:
			n := c.end - c.seen
			if !c.raw {
				n = min(n, c.pass)
				c.pass -= n
			}
			c.seen += n
		case c.failed != nil:
			return 0, c.failed
		case c.raw:
			return c.Conn.Read(p)
		case c.pass > 0:
			n, err := c.Conn.Read(p[:min(len(p), c.pass)])
			c.pass -= n
			return n, err
		default:
			if err := c.next(); err != nil {
				return 0, err
			}
		}
	}
}

// next looks at the next frame, and makes the server see of it what it may.
func (c *Conn) next() error {
	b, err := c.need(frameHead)
	if err != nil {
		return err
	}
	f := parseFrame(b)
	if f.length > maxFrame || c.block.open != (f.kind == kindContinuation) {
		return c.giveUp() // an error of the connection, which the server finds by itself
	}
	if c.blamed.Load() > 0 && c.countReset(0) {
		c.endFor(Resets)
		return nil
	}
	whole := frameHead + f.length
	switch f.kind {
	case kindData:
		return c.data(f)
	case kindHeaders, kindContinuation:
		if b, err = c.need(whole); err != nil {
			return err
		}
		return c.headers(f, b)
	case kindSettings:
		if b, err = c.need(whole); err != nil {
			return err
		}
		return c.settings(f, b)
	case kindReset:
		if c.countReset(1) {
			c.endFor(Resets)
			return nil
		}
	default:
		if !(f.kind == kindPing && f.has(flagAck)) && c.countControl(1) {
			c.endFor(Control)
			return nil
		}
	}
	if f.length <= smallFrame {
		if _, err = c.need(whole); err != nil {
			return err
		}
		c.accept(whole)
		return nil
	}
	c.accept(frameHead)
	c.pass = f.length
	return nil
}

// smallFrame is the largest payload of PRIORITY, RST_STREAM, PING and WINDOW_UPDATE. Longer ones are wrong, of kinds that
// nobody knows, or GOAWAY, and go by as they come.
const smallFrame = 8

// data looks at a DATA frame: whether there is something in it.
func (c *Conn) data(f frame) error {
	size := f.length
	if f.has(flagPadded) && f.length > 0 {
		b, err := c.need(frameHead + 1)
		if err != nil {
			return err
		}
		size -= 1 + int(b[frameHead])
	}
	if size > 0 || f.has(flagEndStream) {
		c.worked.Add(1)
	} else if c.countControl(1) {
		c.endFor(Control)
		return nil
	}
	c.accept(frameHead)
	c.pass = f.length
	return nil
}

// accept gives the server the next bytes, which are those of one frame.
func (c *Conn) accept(n int) {
	c.seen += n
	if c.timed && !c.block.open {
		c.timed = false
		_ = c.Conn.SetReadDeadline(time.Time{}) // fails only on a closed connection, as the next read does
	}
}

// setDeadline bounds how long the client may take, until the next frame has been accepted.
func (c *Conn) setDeadline() {
	c.timed = true
	_ = c.Conn.SetReadDeadline(time.Now().Add(c.cfg.Limits.FrameTime)) // fails only on a closed connection, as the next read does
}

// giveUp lets all pass that comes.
func (c *Conn) giveUp() error {
	c.raw = true
	return nil
}

// need returns the next n bytes that were not looked at. All before them has been read by the server.
func (c *Conn) need(n int) ([]byte, error) {
	for c.end-c.seen < n {
		if c.failed != nil {
			return nil, c.failed
		}
		c.makeRoom(n)
		if !c.timed && (c.end > c.seen || c.block.open) {
			c.setDeadline()
		}
		got, err := c.Conn.Read(c.buf[c.end:])
		c.end += got
		if err != nil {
			if c.failed = err; errors.Is(err, io.EOF) && c.end > c.seen {
				c.failed = io.ErrUnexpectedEOF
			}
		}
	}
	return c.buf[c.seen : c.seen+n], nil
}

// makeRoom has the buffer begin with what was not looked at, and be as large as n bytes need.
func (c *Conn) makeRoom(n int) {
	if c.seen == 0 && len(c.buf) == max(n, bufferSize) {
		return
	}
	rest := c.buf[c.seen:c.end]
	switch size := max(n, bufferSize); {
	case len(c.buf) < size, len(c.buf) > bufferSize && n <= bufferSize && len(rest) <= bufferSize:
		c.buf = append(make([]byte, 0, size), rest...)[:size]
	default:
		copy(c.buf, rest)
	}
	c.read, c.seen, c.end = 0, 0, len(rest)
}

// replace puts other bytes in the place of the next n, and gives them to the server.
func (c *Conn) replace(n int, by []byte) {
	rest := c.buf[c.seen+n : c.end]
	buf := make([]byte, 0, max(bufferSize, len(by)+len(rest)))
	buf = append(append(buf, by...), rest...)
	c.read, c.seen, c.end = 0, 0, len(buf)
	c.buf = buf[:cap(buf)]
	c.accept(len(by))
}
