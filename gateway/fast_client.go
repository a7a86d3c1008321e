//go:build linux && (amd64 || arm64)

package gateway

import (
	"bytes"
	"cmp"
	"net/http"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	h1 "github.com/banyanhq/banyan/gateway/http1"
	"github.com/banyanhq/banyan/reactor"
)

// client is one connection of a client. It carries one request at a time; what comes meanwhile waits.
type client struct {
	conn       reactor.Conn
	w          *worker
	door       *door
	next, prev *client // in the door's ring
	from       netip.AddrPort
	ip         string // of it
	timer      reactor.Timer
	in         []byte    // received and not used yet; nil mostly
	seen       int       // of in, what holds no whole head
	out        []byte    // what the client has not taken yet; nil mostly
	stored     []byte    // what follows it, of an answer of the cache's; nil where out is
	x          *exchange // the request on its way; nil: none
	trusted    bool      // what it says of where requests came from is believed
	fresh      bool      // not a byte has come
	asked      bool      // a request has come
	last       bool      // the connection closes when out is empty
	unread     bool      // something of a request was not read, and will not be
	lingering  bool      // it only waits for the client to close
	dropped    int       // bytes thrown away meanwhile
	running    bool
	credit     int8 // for being handed over and coming back
}

// Each request that the fast tier carries gives a connection credit up to a bound, each that it hands over costs some; one
// that has none left stays with the full tier, since it mostly asks for what is not for the fast tier.
const (
	firstCredit = 4
	maxCredit   = 32
)

// Ready implements reactor.Handler.
func (c *client) Ready(*reactor.Conn) {
	if c.conn.Failed {
		c.gone(syscall.ECONNRESET)
		return
	}
	if c.lingering {
		c.drop()
		return
	}
	if len(c.out) > 0 && c.conn.Writable && !c.flush() {
		return
	}
	if x := c.x; x != nil {
		x.clientReady()
		return
	}
	c.run()
}

// run takes requests from the connection until one is on its way, or nothing more has come.
func (c *client) run() {
	if c.running {
		return
	}
	c.running = true
	for c.conn.Open() && !c.lingering && c.x == nil && len(c.out) == 0 {
		if c.last {
			c.leave()
			break
		}
		b := c.in
		if len(b) == 0 || !h1.Whole(b, c.seen) {
			c.seen = len(b)
			if b = c.receive(); b == nil {
				if c.last {
					continue // what came was rejected
				}
				break
			}
		}
		c.take(b)
	}
	c.running = false
}

// receive reads, and returns what is there to be used in all: in the worker's buffer, until something else is read. It
// returns nil where there is nothing new.
func (c *client) receive() []byte {
	if len(c.in) >= maxHeader {
		c.reject(h1.ErrTooLarge)
		return nil
	}
	if !c.conn.Readable {
		return nil
	}
	buf := c.w.fromClient
	kept := copy(buf, c.in)
	n, end, err := c.conn.Read(buf[kept:][:readSize])
	if end || err != 0 {
		c.close() // in the middle of a head as well there is nobody to answer
		return nil
	}
	if n == 0 {
		return nil
	}
	if kept == 0 && !c.fresh {
		c.w.loop.Set(&c.timer, c.w.g.headTime)
	}
	c.fresh = false
	return buf[:kept+n]
}

// take begins the request at the start of b, and keeps what follows it. b is what has not been used of the connection's
// bytes: c.in, or the worker's buffer.
func (c *client) take(b []byte) {
	w := c.w
	n, err := w.request.Parse(b)
	switch {
	case err == h1.ErrVersion && bytes.HasPrefix(b, []byte("PRI * HTTP/2.0\r\n")):
		c.handOver(b, -1)
	case err != nil && !c.asked && !namesHTTP(b):
		c.close() // whoever that is does not understand an answer of HTTP/1.1 (RFC 9113, 3.4)
	case err != nil:
		c.reject(err)
	case n > maxHeader:
		c.reject(h1.ErrTooLarge)
	case n == 0:
		c.keep(b)
		c.seen = len(b)
	default:
		c.begin(b, n)
	}
}

// namesHTTP reports whether the first line may be meant for HTTP/1: it has a version of it, or less than three words.
func namesHTTP(b []byte) bool {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return bytes.Contains(bytes.ToUpper(line), []byte("HTTP/")) || bytes.Count(line, []byte(" ")) < 2
}

// begin starts the walk of the request whose head is the first n bytes of b.
func (c *client) begin(b []byte, n int) {
	c.asked = true
	req := &c.w.request
	if !fastRequest(req) || c.door.edge == nil && c.w.g.takesPlain(str(req.Target)) {
		c.handOver(b, sizeOf(req, n))
		return
	}
	x := c.w.get()
	x.c = c
	if !x.readTarget(req.Target) {
		c.w.put(x)
		c.reject(h1.ErrRequestLine)
		return
	}
	x.target = c.findTarget(req, x)
	if x.target.zone != nil && x.hit(req, b[:n]) {
		c.w.put(x)
		c.keep(b[n:])
		c.done()
		return
	}
	if limit := cmp.Or(x.target.maxBody, c.w.g.cfg.MaxBody); x.target.fullFor(str(req.Method)) || limit > 0 && req.Length > limit {
		c.w.put(x)
		c.handOver(b, sizeOf(req, n))
		return
	}
	c.x = x
	x.walk.g = c.w.g
	x.begin(req)
	if c.door.edge == nil && c.w.g.access.on() {
		x.original = append(x.original[:0], b[:n]...)
	}
	body := b[n:]
	used := min(int64(len(body)), x.missing())
	x.req = append(x.req, body[:used]...)
	c.keep(body[used:])
	x.run()
}

// findTarget finds where the request goes.
func (c *client) findTarget(req *h1.Request, x *exchange) *target {
	if c.door.edge != nil {
		return c.door.edge.target.Load()
	}
	t := c.w.g.table.Load()
	if route := t.router.Match(str(req.Method), str(req.Host), x.path, x); route != nil {
		return t.targets[route]
	}
	return t.unmatched
}

// keep stores what has come and is not used yet; b may be a part of what is stored.
func (c *client) keep(b []byte) {
	c.seen = 0
	if len(b) == 0 {
		c.in = nil
		return
	}
	if cap(c.in) == 0 || len(b) > cap(c.in) {
		// Doubled, so that a head that trickles in is not copied for each of its bytes.
		c.in = append(make([]byte, 0, max(512, 2*len(b))), b...)
		return
	}
	c.in = append(c.in[:0], b...)
}

// sizeOf returns the size of a request whose head has n bytes, -1 where it is not known.
func sizeOf(req *h1.Request, n int) int64 {
	if req.HasField(h1.TransferEncoding) {
		return -1
	}
	return int64(n) + max(req.Length, 0)
}

// handOver gives the connection to the full tier, with b, which was read from it. b begins with a request of that size; -1:
// it is not known, and the connection does not come back.
func (c *client) handOver(b []byte, size int64) {
	if c.credit--; c.credit < 0 {
		size = -1
	}
	h := &handedConn{from: c.from, read: append([]byte(nil), b...), left: size, credit: c.credit}
	if fd := c.conn.Detach(); fd >= 0 {
		c.door.handOver(c.w, fd, h)
	}
	c.left()
}

// reject answers what is no request, or none that may be passed on, and closes the connection.
func (c *client) reject(err *h1.Error) {
	c.w.g.malformed.count(err)
	status := strconv.Itoa(err.Status) + " " + http.StatusText(err.Status)
	text := status + ": " + err.Reason
	c.last, c.unread = true, true
	c.in = nil
	c.write(append(c.w.scratch[:0], "HTTP/1.1 "+status+"\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: "+
		strconv.Itoa(len(text))+"\r\n\r\n"+text...), nil, nil)
	if c.conn.Open() && len(c.out) > 0 {
		c.w.loop.Set(&c.timer, c.w.g.writeGrace)
	}
}

// leave closes the connection once the last answer is with the kernel. Where bytes of the client are not wanted, or have come
// beyond its last request, it is given a moment to read the answer first: closing on bytes that were not received resets the
// connection, and takes back what the client has not got yet.
func (c *client) leave() {
	if c.conn.Ended || !c.unread && !c.conn.Peek() {
		c.close()
		return
	}
	c.lingering = true
	c.conn.Shutdown()
	c.w.loop.Set(&c.timer, bodyGrace)
	c.drop()
}

// drop reads what has come and throws it away, within bounds.
func (c *client) drop() {
	for c.conn.Readable {
		n, end, err := c.conn.Read(c.w.fromClient[:readSize])
		if c.dropped += n; end || err != 0 || c.dropped > maxAbandoned {
			c.close()
			return
		}
	}
}

// write sends three pieces, and keeps what the client does not take at once. It returns false where the client is gone;
// the connection is closed then.
func (c *client) write(a, b, d []byte) bool {
	if len(a)+len(b)+len(d) == 0 {
		return c.conn.Open()
	}
	if len(c.out) == 0 && c.conn.Open() {
		n, err := c.conn.Writev(a, b, d)
		if err != 0 {
			c.gone(err)
			return false
		}
		if n == len(a)+len(b)+len(d) {
			return true
		}
		k := min(n, len(a))
		a, n = a[k:], n-k
		k = min(n, len(b))
		b, n = b[k:], n-k
		d = d[n:]
	}
	if !c.conn.Open() {
		return false
	}
	if c.out == nil {
		c.out = c.w.buffer()
	}
	c.out = append(append(append(c.out, a...), b...), d...)
	return true
}

// writeStored sends a head and a body that does not change, of which no copy is made where the client does not take it
// at once. It returns false where the client is gone.
func (c *client) writeStored(head, body []byte) bool {
	if len(c.out) > 0 || !c.conn.Open() {
		return c.write(head, body, nil)
	}
	n, err := c.conn.Writev(head, body, nil)
	if err != 0 {
		c.gone(err)
		return false
	}
	if n == len(head)+len(body) {
		return true
	}
	k := min(n, len(head))
	c.out, c.stored = append(c.w.buffer(), head[k:]...), body[n-k:]
	return len(c.out) > 0 || c.flush()
}

// flush sends what the client has not taken yet. It returns false where the connection is closed.
func (c *client) flush() bool {
	for {
		n, err := c.conn.Write(c.out)
		if err != 0 {
			c.gone(err)
			return false
		}
		if n < len(c.out) {
			c.out = c.out[:copy(c.out, c.out[n:])]
			return true
		}
		if len(c.stored) == 0 {
			break
		}
		piece := c.stored[:min(len(c.stored), holdSize)]
		c.out, c.stored = append(c.out[:0], piece...), c.stored[len(piece):]
		if !c.conn.Writable {
			return true
		}
	}
	c.w.free(c.out)
	c.out = nil
	if c.x == nil && !c.last {
		c.w.loop.Set(&c.timer, keepIdleTime)
	}
	return true
}

// done is called when a request is over and its answer on its way.
func (c *client) done() {
	c.x = nil
	if !c.conn.Open() {
		return
	}
	if c.door.draining[c.w.number] {
		c.last = true
	}
	c.credit = min(c.credit+1, maxCredit)
	switch {
	case len(c.out) > 0: // the timer is set
	case len(c.in) > 0:
		c.w.loop.Set(&c.timer, c.w.g.headTime)
	default:
		c.w.loop.Set(&c.timer, keepIdleTime)
	}
	c.run()
}

// gone is called when the client's connection is broken, or is to be.
func (c *client) gone(error) {
	x := c.x
	if x != nil {
		x.resetAtEnd()
	}
	c.close()
	if x != nil {
		c.x = nil
		x.clientGone()
	}
}

// close closes the connection. It may be called more than once.
func (c *client) close() {
	if c.conn.Open() {
		c.conn.Close()
		c.left()
		c.door.limit.leave(c.from.Addr())
	}
}

// quiet reports whether no request is under way on the connection, and since when: it is idle, or a head has not come whole.
func (c *client) quiet() (since time.Duration, ok bool) {
	if c.x != nil || len(c.out) > 0 || c.last || c.lingering || !c.timer.Active() {
		return 0, false
	}
	if c.fresh || len(c.in) > 0 {
		return c.timer.Due() - c.w.g.headTime, true
	}
	return c.timer.Due() - keepIdleTime, true
}

// left is called once, when the connection is not the worker's any more.
func (c *client) left() {
	c.w.loop.Unset(&c.timer)
	c.w.free(c.out)
	c.in, c.out, c.stored = nil, nil, nil
	c.door.unlink(c)
	c.w.nClients.Add(-1)
	c.door.open.Done()
}

// Expired implements reactor.Expirer: the client was idle, or slow, for too long.
func (c *client) Expired(*reactor.Timer) {
	if c.x == nil {
		c.close()
	}
}
