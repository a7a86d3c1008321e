//go:build linux && (amd64 || arm64)

package gateway

import (
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	h1 "github.com/banyanhq/banyan/gateway/http1"
	"github.com/banyanhq/banyan/reactor"
)

// worker is one loop with all that belongs to it: the clients' connections, those to backends, and the buffers that they
// share. Nothing of it is touched from elsewhere, but for what says so.
type worker struct {
	tier     *fastTier
	g        *Gateway
	number   int
	loop     *reactor.Loop
	nClients atomic.Int64 // read by all workers

	doors   []*door // that have, or had, connections here
	pools   map[*backend]*pool
	streams map[*exchange]struct{} // those without an end

	fromClient  []byte // what one read from a client yields
	fromBackend []byte // the same from a backend
	scratch     []byte // what is put together to be written at once
	tail        []byte // the same, for behind the data
	hits        hits
	pipe        *reactor.Pipe // nil: there is none, and all is copied
	request     h1.Request
	response    h1.Response
	logged      h1.Request  // what the access log looks at
	exchanges   []*exchange // free ones
	buffers     [][]byte    // free ones of holdSize

	date  []byte // for the header Date
	dueAt time.Duration
}

const (
	readSize     = 64 << 10
	maxFree      = 1024 // of exchanges and buffers that are kept for later
	headBuffer   = 2 << 10
	keptBuffer   = 8 << 10 // a larger buffer is not kept with its exchange
	keepIdleTime = 2 * time.Minute
)

func newWorker(t *fastTier) (*worker, error) {
	loop, err := reactor.New(t.g.realNow)
	if err != nil {
		return nil, err
	}
	pipe, err := reactor.NewPipe()
	if err != nil {
		t.g.cfg.Log.Warn("large answers will be copied", "error", err)
	}
	return &worker{
		pipe: pipe, tier: t, g: t.g, number: len(t.workers), loop: loop, pools: map[*backend]*pool{}, streams: map[*exchange]struct{}{},
		fromClient: make([]byte, maxHeader+readSize), fromBackend: make([]byte, maxHeader+readSize), scratch: make([]byte, 0, 16<<10),
	}, nil
}

// end frees what the worker has, when its loop has ended. Clients are gone by then, unless the loop has failed.
func (w *worker) end() {
	for _, d := range w.doors {
		w.cut(d)
	}
	for b := range w.pools {
		w.closeIdle(b)
	}
	w.loop.Close()
	if w.pipe != nil {
		w.pipe.Close()
	}
}

// welcome takes a new connection, if its client may have one more.
func (w *worker) welcome(d *door, fd int, from netip.AddrPort) {
	if !d.limit.enter(from.Addr()) {
		w.turnAway(d, fd)
		return
	}
	w.seat(d, fd, from, len(w.tier.workers))
}

// seat takes a connection that has been let in. Where there are too many by now, one that is quiet is closed for it: here, or
// at another of so many workers that are to be asked, or in the full tier.
func (w *worker) seat(d *door, fd int, from netip.AddrPort, ask int) {
	if d.limit.crowded() && !w.closeQuiet(d, 0) {
		if ask > 1 {
			next := w.tier.workers[(w.number+1)%len(w.tier.workers)]
			w.nClients.Add(-1)
			next.nClients.Add(1)
			if next.loop.Post(func() { next.seat(d, fd, from, ask-1) }) {
				return
			}
			next.nClients.Add(-1)
			w.nClients.Add(1)
		} else if !d.limit.closeQuiet(0) {
			d.limit.refuse(from.Addr())
			w.turnAway(d, fd)
			return
		}
	}
	if c := w.admit(d, fd, from); c != nil {
		c.fresh, c.credit = true, firstCredit
		w.loop.Set(&c.timer, w.g.headTime)
	}
}

// turnAway refuses a connection with a reset.
func (w *worker) turnAway(d *door, fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) // or it is closed in the usual way
	_ = unix.Close(fd)
	w.nClients.Add(-1)
	d.open.Done()
}

// closeQuiet closes the connection here that has been quiet for the longest of those that it looks at, each time the next
// ones in the ring; false where none of them is, or not for so long.
func (w *worker) closeQuiet(d *door, least time.Duration) bool {
	c := d.clients[w.number]
	if c == nil {
		return false
	}
	var best *client
	var since time.Duration
	for range looks {
		if s, ok := c.quiet(); ok && (best == nil || s < since) && (least == 0 || w.loop.Now()-s >= least) && !c.conn.Peek() {
			best, since = c, s
		}
		if c = c.next; c == d.clients[w.number] {
			break
		}
	}
	d.clients[w.number] = c
	if best == nil {
		return false
	}
	d.limit.closed.Add(1)
	best.close()
	return true
}

// welcomeBack takes a connection that the full tier had, with what was read from it since its last request.
func (w *worker) welcomeBack(h *handedConn, fd int, in []byte) {
	w.nClients.Add(1)
	c := w.admit(h.d, fd, h.from)
	if c == nil {
		return
	}
	c.in, c.credit = in, h.credit
	if len(in) == 0 {
		w.loop.Set(&c.timer, keepIdleTime)
		return
	}
	w.loop.Set(&c.timer, w.g.headTime)
	c.run()
}

// admit makes a client of a connection; nil where it was closed instead.
func (w *worker) admit(d *door, fd int, from netip.AddrPort) *client {
	c := &client{w: w, door: d, from: from}
	c.timer.Owner = c
	if d.draining[w.number] || w.loop.Add(&c.conn, fd, c) != nil {
		if d.draining[w.number] {
			_ = unix.Close(fd)
		}
		w.nClients.Add(-1)
		d.open.Done()
		d.limit.leave(from.Addr())
		return nil
	}
	if !slices.Contains(w.doors, d) {
		w.doors = append(w.doors, d)
	}
	d.link(c)
	c.ip = from.Addr().String()
	c.trusted = d.edge != nil || w.g.trusts(c.ip)
	return c
}

// drain accepts nothing more at a door, and closes its connections as they become idle.
func (w *worker) drain(d *door) {
	d.draining[w.number] = true
	if l := d.listeners[w.number]; l != nil {
		l.Close()
		d.listeners[w.number] = nil
	}
	for _, c := range d.each(w.number) {
		if c.x == nil && len(c.out) == 0 && (c.fresh || len(c.in) == 0) {
			c.close()
		}
	}
	if i := slices.Index(w.doors, d); i >= 0 && d.clients[w.number] == nil {
		w.doors = slices.Delete(w.doors, i, i+1)
	}
}

// part lets nothing new in through a door, and ends each of its connections with the next answer.
func (w *worker) part(d *door) {
	d.parting[w.number] = true
	if l := d.listeners[w.number]; l != nil {
		l.Close()
		d.listeners[w.number] = nil
	}
}

// cut closes all connections of a door.
func (w *worker) cut(d *door) {
	for _, c := range d.each(w.number) {
		c.gone(errFinished)
	}
}

func (w *worker) cutStreams() {
	for x := range w.streams {
		x.broken(stopping)
	}
}

// get returns an exchange for a request.
func (w *worker) get() *exchange {
	if n := len(w.exchanges); n > 0 {
		x := w.exchanges[n-1]
		w.exchanges = w.exchanges[:n-1]
		return x
	}
	x := &exchange{w: w, req: make([]byte, 0, headBuffer)}
	x.total.Owner, x.step.Owner = (*totalTimer)(x), (*stepTimer)(x)
	return x
}

func (w *worker) put(x *exchange) {
	req, original, trailer := x.req, x.original[:0], x.trailer.Fields[:0]
	if cap(req) > keptBuffer {
		req = make([]byte, 0, headBuffer)
	}
	if cap(original) > keptBuffer {
		original = nil
	}
	*x = exchange{w: w, req: req[:0], original: original}
	x.trailer.Fields = trailer
	x.total.Owner, x.step.Owner = (*totalTimer)(x), (*stepTimer)(x)
	if len(w.exchanges) < maxFree {
		w.exchanges = append(w.exchanges, x)
	}
}

// buffer returns an empty buffer of holdSize.
func (w *worker) buffer() []byte {
	if n := len(w.buffers); n > 0 {
		b := w.buffers[n-1]
		w.buffers = w.buffers[:n-1]
		return b
	}
	return make([]byte, 0, holdSize)
}

// free takes a buffer back that may have grown, or be nil.
func (w *worker) free(b []byte) {
	if cap(b) == holdSize && len(w.buffers) < maxFree/8 {
		w.buffers = append(w.buffers, b[:0])
	}
}

// appendDate appends the time for the header Date, formatted once a second.
func (w *worker) appendDate(b []byte) []byte {
	if now := w.loop.Now(); w.date == nil || now >= w.dueAt {
		at := time.Now()
		w.date = at.UTC().AppendFormat(w.date[:0], http.TimeFormat)
		w.dueAt = now + time.Second - time.Duration(at.Nanosecond())
	}
	return append(b, w.date...)
}
