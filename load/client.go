package load

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// endpoint is where the requests go, and how connections to it are made. It keeps account of the open ones, so that all
// can be cut at once.
type endpoint struct {
	addr    string
	tls     *tls.Config // nil: plain
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	maxBody int64

	mu   sync.Mutex
	open map[net.Conn]struct{}
	cut  bool
}

var errCut = errors.New("the run was cut short")

// connect makes a connection before the deadline.
func (e *endpoint) connect(ctx context.Context, deadline time.Time) (net.Conn, error) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	nc, err := e.dial(ctx, "tcp", e.addr)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	if e.cut {
		e.mu.Unlock()
		nc.Close()
		return nil, errCut
	}
	e.open[nc] = struct{}{}
	e.mu.Unlock()
	if e.tls == nil {
		return nc, nil
	}
	secure := tls.Client(nc, e.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		e.disconnect(nc)
		return nil, &handshakeError{err}
	}
	return secure, nil
}

func (e *endpoint) disconnect(nc net.Conn) {
	plain := nc
	if secure, ok := nc.(*tls.Conn); ok {
		plain = secure.NetConn()
	}
	e.mu.Lock()
	delete(e.open, plain)
	e.mu.Unlock()
	plain.Close() // without a close_notify: it might block, and the target learns enough from the FIN
}

// cutAll closes every connection and lets none be opened any more.
func (e *endpoint) cutAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cut = true
	for nc := range e.open {
		nc.Close()
	}
}

// client speaks HTTP/1.1 over one connection at a time, and makes a new one where the last is gone. It belongs to one
// session at a time.
type client struct {
	to   *endpoint
	nc   net.Conn // nil: none
	used bool     // nc has carried an answer: it may have gone stale since
	peek func() bool
}

// exchange is one request and its answer. Sessions reuse theirs, so that nothing is allocated for a plain request.
type exchange struct {
	request    []byte
	method     string
	idempotent bool
	call       call // instead of an HTTP request: request is what it has built
	timeout    time.Duration
	began      time.Time                // when its time began to run; zero: when it is sent
	each       func(name, value []byte) // gets the answer's headers; may be nil
	capture    bool                     // keep the start of the body

	// The answer.
	head       head
	body       []byte // if captured: at most maxCapture bytes
	bytesIn    int64
	connected  int // new connections
	reconnects int // of which after the server had closed an idle one
}

// maxCapture is how much of a body expectations and extractions see.
const maxCapture = 4 << 20

// readBuffers are lent to clients for the time of one exchange: thousands of idle connections hold none.
var readBuffers = sync.Pool{New: func() any { b := make([]byte, 16<<10); return &b }}

// do sends x and reads its answer. A connection that the server closed while it was idle shows only when it is used:
// an idempotent request is then sent once more on a new connection, if no byte of an answer had come (RFC 9110, 9.2.2
// and RFC 9112, 9.3.1). Any other method is sent again only if writing failed before its first byte, for then the server
// cannot have seen it; that this stays rare, an idle connection is looked at before a request of that kind is sent.
func (c *client) do(ctx context.Context, x *exchange) error {
	x.connected, x.reconnects, x.bytesIn, x.body = 0, 0, 0, x.body[:0]
	deadline := deadlineOf(x)
	if c.nc != nil && !x.idempotent && c.used && c.stale(deadline) {
		c.close()
		x.reconnects++
	}
	if c.nc != nil {
		reused := c.used
		safe, err := c.attempt(x, deadline)
		if err == nil || !reused || !safe {
			return err
		}
		x.reconnects++
	}
	nc, err := c.to.connect(ctx, deadline)
	if err != nil {
		return err
	}
	c.nc, c.used = nc, false
	x.connected++
	_, err = c.attempt(x, deadline)
	return err
}

func (c *client) close() {
	if c.nc != nil {
		c.to.disconnect(c.nc)
		c.nc, c.peek = nil, nil
	}
}

// stale reports whether the idle connection has something to read: its end, or bytes that nobody asked for.
func (c *client) stale(deadline time.Time) bool {
	if c.nc.SetDeadline(deadline) != nil { // that of the exchange before may have passed, and would hide the rest
		return true
	}
	if c.peek == nil {
		c.peek = peeker(c.nc)
	}
	return c.peek()
}

// attempt runs x over the connection. After an error the connection is closed; again says that x may be sent once more.
func (c *client) attempt(x *exchange, deadline time.Time) (again bool, err error) {
	if err := c.nc.SetDeadline(deadline); err != nil {
		c.close()
		return true, err
	}
	if n, err := c.nc.Write(x.request); err != nil {
		// The server may have answered and closed without reading the whole request: that answer counts.
		if n == 0 || kindOf(err) != Reset || !c.readEarly(x) {
			c.close()
			return kindOf(err) != Timeout && (n == 0 || x.idempotent), err
		}
		c.close()
		return false, nil
	}
	if w, ok := c.nc.(interface{ readable() error }); ok { // a buffer is lent once there is something to put into it
		if err := w.readable(); err != nil {
			c.close()
			return false, err
		}
	}
	buf := readBuffers.Get().(*[]byte)
	r := reader{from: c.nc, buf: *buf, limit: c.to.maxBody}
	keep, err := r.answer(x)
	x.bytesIn += r.total
	readBuffers.Put(buf)
	if err != nil {
		c.close()
		kind := kindOf(err)
		return r.total == 0 && x.idempotent && (kind == Reset || kind == ClosedEarly), err
	}
	c.used = true
	if !keep {
		c.close()
	}
	return false, nil
}

// readEarly tries to read an answer after writing broke off.
func (c *client) readEarly(x *exchange) bool {
	buf := readBuffers.Get().(*[]byte)
	defer readBuffers.Put(buf)
	r := reader{from: c.nc, buf: *buf, limit: c.to.maxBody}
	_, err := r.answer(x)
	x.bytesIn += r.total
	return err == nil
}

// reader reads one answer. Bytes buf[pos:end] are read and not yet used.
type reader struct {
	from     io.Reader
	buf      []byte
	pos, end int
	total    int64
	limit    int64 // of the body
}

// more reads at least one byte after buf[end].
func (r *reader) more() error {
	if r.pos == r.end {
		r.pos, r.end = 0, 0
	} else if r.end == len(r.buf) {
		if r.pos > 0 {
			copy(r.buf, r.buf[r.pos:r.end])
			r.pos, r.end = 0, r.end-r.pos
		} else {
			r.buf = append(r.buf, make([]byte, len(r.buf))...)
		}
	}
	for range 100 {
		n, err := r.from.Read(r.buf[r.end:])
		r.end += n
		r.total += int64(n)
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// answer reads the final answer to x, with its body, and reports whether the connection can carry another request.
func (r *reader) answer(x *exchange) (keep bool, err error) {
	for skipped := 0; ; skipped++ {
		n, err := r.head()
		if err != nil {
			return false, err
		}
		raw := r.buf[r.pos : r.pos+n]
		if string(raw[9:10]) != "1" {
			if err := parseHead(raw, &x.head, x.each); err != nil {
				return false, err
			}
			r.pos += n
			break
		}
		// Interim answers, such as 100 and 103, are passed over. 101 would change the protocol, which was never asked.
		if err := parseHead(raw, &x.head, nil); err != nil {
			return false, err
		}
		if x.head.status == 101 || skipped == maxInformation {
			return false, malformed("status %d", x.head.status)
		}
		r.pos += n
	}
	if err := r.body(x); err != nil {
		return false, err
	}
	closeDelimited := !x.head.chunked && x.head.length < 0 && !bodyless(x.method, x.head.status)
	return x.head.keepAlive && !closeDelimited && r.pos == r.end, nil
}

// head reads until a whole head stands at buf[pos:] and returns its length.
func (r *reader) head() (int, error) {
	searched := 0
	for {
		if n := headEnd(r.buf[r.pos:r.end], searched); n > 0 {
			if n < len("HTTP/1.1 200\r\n\r\n") {
				return 0, malformed("status line %.60q", r.buf[r.pos:r.pos+n])
			}
			return n, nil
		}
		searched = r.end - r.pos
		if searched > 0 && !bytes.HasPrefix([]byte("HTTP/1."), r.buf[r.pos:r.pos+min(searched, 7)]) {
			return 0, malformed("it starts with %.20q", r.buf[r.pos:r.end])
		}
		if searched > maxHead {
			return 0, malformed("head longer than %d KiB", maxHead>>10)
		}
		if err := r.more(); err != nil {
			return 0, r.short(err)
		}
	}
}

// short is the error for an answer that ends too early.
func (r *reader) short(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *reader) body(x *exchange) error {
	switch {
	case bodyless(x.method, x.head.status):
		return nil
	case x.head.chunked:
		return r.chunks(x)
	case x.head.length >= 0:
		if x.head.length > r.limit {
			return errTooLarge
		}
		return r.take(x, x.head.length)
	}
	// The end of the connection is the end of the body.
	for taken := int64(0); ; {
		taken += int64(r.end - r.pos)
		if taken > r.limit {
			return errTooLarge
		}
		r.keep(x, r.end-r.pos)
		if err := r.more(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// keep uses n bytes of the buffer.
func (r *reader) keep(x *exchange, n int) {
	if x.capture && len(x.body) < maxCapture {
		x.body = append(x.body, r.buf[r.pos:r.pos+min(n, maxCapture-len(x.body))]...)
	}
	r.pos += n
}

// take reads n bytes of the body.
func (r *reader) take(x *exchange, n int64) error {
	for {
		have := min(n, int64(r.end-r.pos))
		r.keep(x, int(have))
		if n -= have; n == 0 {
			return nil
		}
		if err := r.more(); err != nil {
			return r.short(err)
		}
	}
}

// line reads up to CRLF and returns what is before it, valid until the next read.
func (r *reader) line(limit int) ([]byte, error) {
	searched := 0
	for {
		if i := bytes.Index(r.buf[r.pos+searched:r.end], []byte("\r\n")); i >= 0 {
			line := r.buf[r.pos : r.pos+searched+i]
			r.pos += searched + i + 2
			return line, nil
		}
		if r.end-r.pos > limit {
			return nil, malformed("line longer than %d bytes", limit)
		}
		searched = max(r.end-r.pos-1, 0)
		if err := r.more(); err != nil {
			return nil, r.short(err)
		}
	}
}

// chunks reads a chunked body and its trailers (RFC 9112, 7.1).
func (r *reader) chunks(x *exchange) error {
	taken := int64(0)
	for {
		line, err := r.line(maxChunkLine)
		if err != nil {
			return err
		}
		size, err := parseChunkSize(line)
		if err != nil {
			return err
		}
		if size == 0 {
			return r.trailers()
		}
		if taken += size; taken > r.limit || taken < 0 {
			return errTooLarge
		}
		if err := r.take(x, size); err != nil {
			return err
		}
		if line, err = r.line(2); err != nil {
			return err
		}
		if len(line) != 0 {
			return malformed("chunk longer than its size")
		}
	}
}

func (r *reader) trailers() error {
	for left := maxTrailers; ; {
		line, err := r.line(left)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return nil
		}
		if left -= len(line) + 2; left < 0 {
			return malformed("trailers longer than %d KiB", maxTrailers>>10)
		}
		if colon := bytes.IndexByte(line, ':'); colon <= 0 || !isToken(line[:colon]) || !isFieldValue(line) {
			return malformed("trailer %.60q", line)
		}
	}
}
