//go:build linux && (amd64 || arm64)

package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/banyanhq/banyan/reactor"
)

// fastTier carries HTTP/1.1 on event loops of its own, one for each processor. Whatever it does not do itself it hands
// over to the full tier, with all that was read (door).
type fastTier struct {
	g       *Gateway
	workers []*worker
	running sync.WaitGroup
	release func() // of the processors that the loops wait on
}

// maxWorkers bounds the loops: beyond it the kernel's locks are what limits.
const maxWorkers = 64

// startFast starts the loops.
func startFast(g *Gateway) (*fastTier, error) {
	n, release := reactor.Claim()
	t := &fastTier{g: g, release: release}
	for range min(n, maxWorkers) {
		w, err := newWorker(t)
		if err != nil {
			for _, w := range t.workers {
				w.end()
			}
			release()
			return nil, err
		}
		t.workers = append(t.workers, w)
	}
	for _, w := range t.workers {
		t.running.Go(func() {
			if err := w.loop.Run(); err != nil {
				g.fail(err)
			}
			w.end()
		})
	}
	return t, nil
}

// stop ends the loops, whose doors have been closed, and returns when they are gone.
func (t *fastTier) stop() {
	for _, w := range t.workers {
		w.loop.Post(w.loop.Stop)
	}
	t.running.Wait()
	t.release()
}

// closeIdle closes the connections to a backend on which nothing is in flight, soon; then it calls done.
func (t *fastTier) closeIdle(b *backend, done func()) {
	var left atomic.Int32
	left.Store(int32(len(t.workers)))
	one := func() {
		if left.Add(-1) == 0 {
			done()
		}
	}
	for _, w := range t.workers {
		if !w.loop.Post(func() { w.closeIdle(b); one() }) {
			one()
		}
	}
}

// leastBusy returns the worker with the fewest clients.
func (t *fastTier) leastBusy() *worker {
	best := t.workers[0]
	for _, w := range t.workers[1:] {
		if w.nClients.Load() < best.nClients.Load() {
			best = w
		}
	}
	return best
}

// door is one address on which the fast tier takes connections. To the full tier's server it is the listener whence the
// connections come that are handed over.
type door struct {
	tier   *fastTier
	side   *side
	limit  *connLimit
	edge   *edge // nil: outside
	tcp    *net.TCPListener
	handed chan net.Conn

	proxied  bool // connections say by the PROXY protocol whose they are
	stopping sync.Once
	closed   context.Context // ended by close: nothing new is accepted, and nothing handed over
	close    context.CancelFunc
	open     sync.WaitGroup

	// each worker's own; by its number
	listeners []*reactor.Listener
	clients   []*client // the first of a ring; nil: none
	draining  []bool
	parting   []bool // its connections end with the next answer; those that are idle stay for a while
}

func (t *fastTier) newDoor(l *net.TCPListener, side *side, limit *connLimit, e *edge) *door {
	n := len(t.workers)
	closed, end := context.WithCancel(context.Background())
	return &door{
		tier: t, side: side, limit: limit, edge: e, tcp: l, handed: make(chan net.Conn), closed: closed, close: end,
		listeners: make([]*reactor.Listener, n), clients: make([]*client, n), draining: make([]bool, n), parting: make([]bool, n),
	}
}

// open makes the tier take connections from l; edge is nil where they come from outside.
func (t *fastTier) open(l *net.TCPListener, side *side, limit *connLimit, e *edge) *door {
	d := t.newDoor(l, side, limit, e)
	for _, w := range t.workers {
		w.loop.Post(func() {
			if d.ending(w) {
				return
			}
			var err error
			if d.listeners[w.number], err = w.loop.Listen(l, &acceptor{w, d}); err != nil {
				t.g.fail(err)
			}
		})
	}
	return d
}

// ending reports whether the connections of the door end with their next answer. It runs on the worker's loop.
func (d *door) ending(w *worker) bool { return d.draining[w.number] || d.parting[w.number] }

// part lets nothing new in, and ends each connection with its next answer. It returns when no loop accepts any more.
func (d *door) part() {
	if d.proxied {
		_ = d.tcp.Close()
	}
	var gone sync.WaitGroup
	for _, w := range d.tier.workers {
		gone.Add(1)
		if !w.loop.Post(func() { w.part(d); gone.Done() }) {
			gone.Done()
		}
	}
	gone.Wait()
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	select {
	case c := <-d.handed:
		return c, nil
	case <-d.closed.Done():
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener.
func (d *door) Addr() net.Addr { return d.tcp.Addr() }

// Close makes the door accept nothing new, and its connections end as their requests do. It does not wait for them.
func (d *door) Close() error {
	d.stopping.Do(func() {
		d.close()
		var gone sync.WaitGroup
		for _, w := range d.tier.workers {
			gone.Add(1)
			if !w.loop.Post(func() { w.drain(d); gone.Done() }) {
				gone.Done()
			}
		}
		gone.Wait()
		_ = d.tcp.Close() // nobody accepts from it any more
	})
	return nil
}

// stop closes the door and waits for its connections; those that are left when ctx ends are cut off.
func (d *door) stop(ctx context.Context) {
	_ = d.Close() // never fails
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		d.open.Wait()
	}()
	select {
	case <-gone:
		return
	case <-ctx.Done():
	}
	for _, w := range d.tier.workers {
		w.loop.Post(func() { w.cut(d) })
	}
	<-gone
}

// cutStreams ends what has no end of its own.
func (t *fastTier) cutStreams() {
	for _, w := range t.workers {
		w.loop.Post(w.cutStreams)
	}
}

// acceptor takes the connections of a door for one worker's loop.
type acceptor struct {
	w *worker
	d *door
}

// Accepted implements reactor.Acceptor: it gives the connection to the worker that has the fewest.
func (a *acceptor) Accepted(fd int, from netip.AddrPort) {
	to := a.d.tier.leastBusy()
	to.nClients.Add(1)
	a.d.open.Add(1)
	if to == a.w {
		to.welcome(a.d, fd, from)
	} else if !to.loop.Post(func() { to.welcome(a.d, fd, from) }) {
		to.nClients.Add(-1)
		a.d.open.Done()
		_ = unix.Close(fd)
	}
}

// Failed implements reactor.Acceptor.
func (a *acceptor) Failed(err error) {
	a.d.limit.acceptFailed(err, func(least time.Duration) bool { return a.w.closeQuiet(a.d, least) })
}

// sockaddr returns an address with a literal IP for the kernel; ok is false where it has to be looked up.
func sockaddr(address string) (to unix.Sockaddr, ok bool) {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, false
	}
	switch addr := ap.Addr().Unmap(); {
	case addr.Is4():
		return &unix.SockaddrInet4{Addr: addr.As4(), Port: int(ap.Port())}, true
	case addr.Zone() == "":
		return &unix.SockaddrInet6{Addr: addr.As16(), Port: int(ap.Port())}, true
	}
	return nil, false
}

// lookUp connects to an address that is a name, elsewhere than on the loop.
func lookUp(ctx context.Context, address string) (fd int, err error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	c, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return -1, err
	}
	defer c.Close()
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return -1, errors.New("not TCP")
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return -1, err
	}
	if cerr := raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil {
		return -1, cerr
	}
	if err != nil {
		return -1, fmt.Errorf("taking a connection over: %w", err)
	}
	return fd, nil
}

// ring links the clients of a door on one worker.
func (d *door) link(c *client) {
	head := d.clients[c.w.number]
	if head == nil {
		c.next, c.prev = c, c
	} else {
		c.next, c.prev = head, head.prev
		head.prev.next, head.prev = c, c
	}
	d.clients[c.w.number] = c
}

func (d *door) unlink(c *client) {
	n := c.w.number
	if c.next == c {
		d.clients[n] = nil
	} else {
		c.next.prev, c.prev.next = c.prev, c.next
		if d.clients[n] == c {
			d.clients[n] = c.next
		}
	}
	c.next, c.prev = nil, nil
}

// each returns the clients of a door on one worker, so that they may leave meanwhile.
func (d *door) each(number int) (all []*client) {
	if head := d.clients[number]; head != nil {
		all = append(all, head)
		for c := head.next; c != head; c = c.next {
			all = append(all, c)
		}
	}
	return slices.Clip(all)
}
