//go:build linux && (amd64 || arm64)

package gateway

import (
	"context"
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/banyanhq/banyan/reactor"
)

// upstream is one connection to a backend. It belongs to one exchange, or is idle in its pool.
type upstream struct {
	conn    reactor.Conn
	pool    *pool
	x       *exchange // nil: idle
	timer   reactor.Timer
	reused  bool // it has carried a request before
	dialing bool
	cancel  context.CancelFunc // of a dial that looks a name up; nil otherwise
	index   int                // in the pool's idle ones
	in      []byte             // the part of a head that has come; nil mostly
	seen    int
}

// pool is the connections of one worker to one backend.
type pool struct {
	w       *worker
	backend *backend
	to      unix.Sockaddr // nil: the address is a name
	idle    []*upstream   // the last one used last
}

func (w *worker) pool(b *backend) *pool {
	p := w.pools[b]
	if p == nil {
		p = &pool{w: w, backend: b}
		p.to, _ = sockaddr(b.address)
		w.pools[b] = p
	}
	return p
}

// closeIdle closes the idle connections to a backend.
func (w *worker) closeIdle(b *backend) {
	p := w.pools[b]
	if p == nil {
		return
	}
	for len(p.idle) > 0 {
		p.idle[len(p.idle)-1].close()
	}
	if b.closing.Load() {
		delete(w.pools, b)
	}
}

// take returns an idle connection, nil if there is none. Where sure is set, it makes sure that the backend has not just
// closed it, as far as that can be known.
func (p *pool) take(sure bool) *upstream {
	for len(p.idle) > 0 {
		u := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		u.index = -1
		if u.conn.Ended || u.conn.Readable || sure && u.conn.Peek() {
			u.close()
			continue
		}
		p.w.loop.Unset(&u.timer)
		u.reused = true
		return u
	}
	return nil
}

// put makes a connection idle on which an exchange has come to its end, or closes it.
func (p *pool) put(u *upstream) {
	u.x = nil
	if u.conn.Ended || len(p.idle) >= max(1, idleConns/len(p.w.tier.workers)) || p.backend.closing.Load() || p.w.pools[p.backend] != p {
		u.close()
		return
	}
	u.index = len(p.idle)
	p.idle = append(p.idle, u)
	p.w.loop.Set(&u.timer, idleTimeout)
}

// dial begins a connection for x, which is told of its outcome by connected or dialFailed.
func (p *pool) dial(x *exchange) error {
	u := &upstream{pool: p, x: x, index: -1, dialing: true}
	u.timer.Owner = u
	x.conn = u
	if p.to == nil {
		ctx, cancel := context.WithCancel(context.Background())
		u.cancel = cancel
		p.backend.conns.Add(1)
		p.w.loop.Set(&u.timer, dialTimeout)
		p.w.tier.running.Go(func() {
			fd, err := lookUp(ctx, p.backend.address)
			if !p.w.loop.Post(func() { u.lookedUp(fd, err) }) && err == nil {
				_ = unix.Close(fd)
			}
		})
		return nil
	}
	if err := p.w.loop.Dial(&u.conn, p.to, u); err != nil {
		x.conn = nil
		return err
	}
	p.backend.conns.Add(1)
	p.w.loop.Set(&u.timer, dialTimeout)
	return nil
}

// lookedUp is called when a dial elsewhere has ended.
func (u *upstream) lookedUp(fd int, err error) {
	if u.cancel == nil { // closed meanwhile
		if err == nil {
			_ = unix.Close(fd)
		}
		return
	}
	u.cancel()
	if err == nil {
		if err = u.pool.w.loop.Add(&u.conn, fd, u); err == nil {
			u.conn.Writable = true
			u.connected()
			return
		}
	}
	x := u.x
	u.close()
	x.dialFailed(err)
}

func (u *upstream) connected() {
	u.dialing = false
	u.cancel = nil
	u.pool.w.loop.Unset(&u.timer)
	u.x.connected()
}

// close closes the connection. It may be called more than once.
func (u *upstream) close() {
	p := u.pool
	if u.index >= 0 && u.index < len(p.idle) && p.idle[u.index] == u {
		last := p.idle[len(p.idle)-1]
		p.idle[u.index] = last
		last.index = u.index
		p.idle = p.idle[:len(p.idle)-1]
	}
	u.index = -1
	u.x = nil
	p.w.loop.Unset(&u.timer)
	p.w.free(u.in)
	u.in = nil
	if u.cancel != nil {
		u.cancel()
		u.cancel = nil
		p.backend.conns.Add(-1)
	}
	if u.conn.Open() {
		p.backend.conns.Add(-1)
		u.conn.Close()
	}
}

// Ready implements reactor.Handler.
func (u *upstream) Ready(*reactor.Conn) {
	switch {
	case u.x == nil:
		if u.conn.Ended || u.conn.Readable {
			u.close() // nothing may come on an idle connection
		}
	case u.dialing:
		if !u.conn.Writable && !u.conn.Failed {
			return
		}
		if err := u.conn.Connected(); err != nil {
			x := u.x
			u.close()
			x.dialFailed(err)
			return
		}
		u.connected()
	default:
		u.x.ready()
	}
}

// Expired implements reactor.Expirer: it was idle, or connecting, for too long.
func (u *upstream) Expired(*reactor.Timer) {
	x := u.x
	u.close()
	if x != nil {
		x.dialFailed(&net.OpError{Op: "dial", Net: "tcp", Err: dialTimedOut{}})
	}
}

// dialTimedOut is the error of a connection that took too long to make.
type dialTimedOut struct{}

func (dialTimedOut) Error() string   { return "connecting took longer than " + dialTimeout.String() }
func (dialTimedOut) Timeout() bool   { return true }
func (dialTimedOut) Temporary() bool { return true }

// brokenFault is what an error of an established connection means.
func brokenFault(err error) fault {
	if errors.Is(err, syscall.ETIMEDOUT) {
		return fault{kind: connectionTerminated, detail: "the connection to the backend broke"}
	}
	return fault{kind: connectionTerminated, detail: "the backend closed the connection before its answer was complete"}
}
