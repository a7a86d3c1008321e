package load

import (
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// dialogue is a connection on which a protocol of questions and answers is spoken: it is made when it is needed, greeted,
// and closed after every failure, for what comes later on it might answer an earlier question.
type dialogue struct {
	nc     net.Conn // nil: none
	reader reader
	peek   func() bool
}

// open makes sure that there is a connection, and greets the target on a new one.
func (d *dialogue) open(ctx context.Context, to *endpoint, x *exchange, greet func() error) error {
	x.connected, x.reconnects, x.bytesIn, x.body = 0, 0, 0, x.body[:0]
	x.head = head{}
	deadline := deadlineOf(x)
	if d.nc != nil {
		// A connection that the target has closed while it was idle is replaced: nothing was sent on it.
		if err := d.nc.SetDeadline(deadline); err == nil && (d.reader.pos < d.reader.end || !d.peek()) {
			return nil
		}
		d.close(to)
		x.reconnects++
	}
	nc, err := to.connect(ctx, deadline)
	if err != nil {
		return err
	}
	if err := nc.SetDeadline(deadline); err != nil {
		to.disconnect(nc)
		return err
	}
	x.connected++
	d.nc, d.peek = nc, peeker(nc)
	buf := d.reader.buf
	if buf == nil {
		buf = make([]byte, 4<<10)
	}
	d.reader = reader{from: nc, buf: buf, limit: to.maxBody}
	if greet == nil {
		return nil
	}
	if err := greet(); err != nil {
		d.close(to)
		return err
	}
	return nil
}

// deadlineOf is when the time of a request is over.
func deadlineOf(x *exchange) time.Time {
	if x.began.IsZero() {
		return time.Now().Add(x.timeout)
	}
	return x.began.Add(x.timeout)
}

func (d *dialogue) close(to *endpoint) {
	if d.nc != nil {
		to.disconnect(d.nc)
		d.nc = nil
	}
	d.reader.pos, d.reader.end = 0, 0
}

// line reads up to CRLF.
func (d *dialogue) line(limit int) ([]byte, error) { return d.reader.line(limit) }

// exactly reads n bytes into x's body, as far as it is looked at.
func (d *dialogue) exactly(x *exchange, n int64) error {
	if n > d.reader.limit {
		return errTooLarge
	}
	return d.reader.take(x, n)
}

// more reads at least one byte; the end of the connection is an answer that has ended too early.
func (d *dialogue) more() error {
	err := d.reader.more()
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
