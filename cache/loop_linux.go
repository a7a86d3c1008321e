//go:build linux && (amd64 || arm64)

package cache

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/banyanhq/banyan/cache/resp"
	"github.com/banyanhq/banyan/reactor"
)

const supported = reactor.Supported

// loop serves some of the connections. All of it belongs to its goroutine, but for what is marked.
type loop struct {
	s      *Server
	r      *reactor.Loop
	door   *reactor.Listener
	ticker reactor.Timer
	alarm  reactor.Timer // for the first of those who wait
	rings  int64         // when that is, in milliseconds since 1970
	in     []byte        // what one read yields
	call   call
	parser resp.Parser
	kicked []*client // guarded by the server's lock
	kicks  []*client
	held   []*client // whose answers wait for a sync
}

// wire is a client's connection.
type wire struct {
	conn  reactor.Conn
	until int64 // what is unsent waits until there was a sync up to there; 0: it does not wait
}

const (
	readSize   = 64 << 10
	keepOut    = 1 << 20   // a larger buffer for answers is not kept
	flushAbove = 256 << 10 // answers that are sent before further commands are carried out
	tickEvery  = 100 * time.Millisecond
)

func newLoop(s *Server) (*loop, error) {
	r, err := reactor.New(s.elapsed)
	if err != nil {
		return nil, err
	}
	l := &loop{s: s, r: r, in: make([]byte, readSize)}
	l.call.s = s
	l.ticker.Owner, l.alarm.Owner = l, l
	if l.door, err = r.Listen(s.listener, l); err != nil {
		r.Close()
		return nil, err
	}
	return l, nil
}

// run serves until stop. One of the loops ticks.
func (l *loop) run(ticks bool) error {
	if ticks {
		l.r.Set(&l.ticker, tickEvery)
	}
	return l.r.Run()
}

// stop ends run, from any goroutine.
func (l *loop) stop() {
	l.r.Post(func() {
		l.door.Close()
		l.s.mu.Lock()
		var mine []*client
		for _, c := range l.s.clients {
			if c.l == l {
				mine = append(mine, c)
			}
		}
		l.s.mu.Unlock()
		for _, c := range mine {
			c.close()
		}
		l.r.Stop()
	})
}

func (l *loop) close() { l.r.Close() }

// ringAt has those who wait looked at when the first has waited for long enough.
func (l *loop) ringAt(until int64) {
	if until != 0 && (!l.alarm.Active() || until < l.rings) {
		l.rings = until
		l.r.Set(&l.alarm, max(0, time.Until(time.UnixMilli(until))))
	}
}

// Expired ticks, or tells those who have waited for long enough.
func (l *loop) Expired(t *reactor.Timer) {
	if t == &l.alarm {
		l.s.mu.Lock()
		next := l.s.expireWaiting(time.Now())
		l.s.mu.Unlock()
		l.deliver()
		l.ringAt(next)
		return
	}
	next := tickEvery
	if l.s.tick() {
		next = 5 * time.Millisecond
	}
	l.deliver()
	l.r.Set(&l.ticker, next)
}

// Accepted takes a new connection.
func (l *loop) Accepted(fd int, from netip.AddrPort) {
	s := l.s
	c := &client{server: s, l: l, from: from, since: time.Now().Unix()}
	c.heard = c.since
	s.mu.Lock()
	s.count.connections++
	full := int64(len(s.clients)) >= s.set.maxClients
	if full {
		s.count.rejected++
	} else {
		s.nextID++
		c.id = s.nextID
		s.acl.welcome(c)
		s.clients[c.id] = c
		if s.sharding != nil {
			c.epoch = s.sharding.m.Epoch
		}
	}
	s.mu.Unlock()
	if full {
		_, _ = unix.Write(fd, []byte("-ERR max number of clients reached\r\n")) // it is closed either way
		_ = unix.Close(fd)
		return
	}
	if err := l.r.Add(&c.conn, fd, c); err != nil {
		l.Failed(err)
		c.forget()
	}
}

// Failed is told that no connection can be taken.
func (l *loop) Failed(err error) { l.s.cfg.Log.Warn("taking a connection", "error", err) }

// kick has the loop look at a client soon. The server's lock is held.
func (l *loop) kick(c *client) {
	l.kicked = append(l.kicked, c)
	if len(l.kicked) == 1 && (l.s.current == nil || l.s.current.c.l != l) {
		l.r.Post(l.deliver)
	}
}

// deliver sends what others have for clients of this loop.
func (l *loop) deliver() {
	s := l.s
	s.mu.Lock()
	l.kicks, l.kicked = l.kicked, l.kicks[:0]
	for _, c := range l.kicks {
		c.inKicks = false
		c.unsent = append(c.unsent, c.push...)
		c.push, c.backlog = nil, len(c.unsent)
		c.paused = c.blocked != nil
		if c.killed {
			c.unsent, c.closing = nil, true
		}
	}
	var until int64
	write := false
	if s.keep != nil {
		until, write = s.keep.mark()
	}
	s.mu.Unlock()
	if write {
		s.keep.writeOut()
	}
	kicks := l.kicks
	l.kicks = nil // another delivery may come while this one goes on
	for i, c := range kicks {
		kicks[i] = nil
		if !c.conn.Open() {
			continue
		}
		c.hold(until)
		if c.flush(); c.closing && len(c.unsent) == 0 {
			c.close()
		}
		if c.conn.Open() && !c.paused && len(c.unsent) == 0 {
			c.goOn()
		}
	}
	if l.kicks == nil {
		l.kicks = kicks
	}
}

// Ready carries on with a connection.
func (c *client) Ready(*reactor.Conn) {
	if c.conn.Failed {
		c.close()
		return
	}
	if len(c.unsent) > 0 && c.conn.Writable {
		c.flush()
		if c.conn.Open() && len(c.unsent) == 0 {
			c.goOn()
		}
	}
	if c.conn.Open() && c.conn.Readable {
		c.read()
	}
}

// goOn carries out commands that were read and could not be then, and reads on.
func (c *client) goOn() {
	if len(c.partial) > 0 && !c.parserWaits() {
		c.take(c.partial)
	}
	if c.conn.Open() && c.conn.Readable {
		c.read()
	}
}

// parserWaits reports whether it is known that more must come before anything can be done.
func (c *client) parserWaits() bool { return c.parser != nil && c.parser.Partial() }

// read reads what is there and carries it out. A client that does not read its answers is not read from.
func (c *client) read() {
	for c.conn.Readable && len(c.unsent) == 0 && !c.closing {
		if c.paused {
			c.readBlocked()
			return
		}
		into := c.l.in
		kept := len(c.partial)
		if kept > 0 {
			c.room()
			into = c.partial[kept:cap(c.partial)]
		}
		n, end, errno := c.conn.Read(into)
		if errno != 0 || end {
			c.close()
			return
		}
		if n == 0 {
			return
		}
		data := into[:n]
		if kept > 0 {
			data = c.partial[:kept+n]
			c.partial = data
			if c.parserWaits() && len(data) < c.parser.Wants() {
				continue
			}
		}
		c.take(data)
		if !c.conn.Open() {
			return
		}
	}
}

// readBlocked looks whether a client that waits is still there; what it sends meanwhile is kept, up to a bound.
func (c *client) readBlocked() {
	for c.conn.Readable && len(c.partial) < readSize {
		n, end, errno := c.conn.Read(c.l.in)
		if errno != 0 || end {
			c.close()
			return
		}
		if n == 0 {
			return
		}
		c.partial = append(c.partial, c.l.in[:n]...)
	}
}

// room makes room for more behind what is there of a command: by doubling, whatever length was announced.
func (c *client) room() {
	kept := len(c.partial)
	if cap(c.partial)-kept >= 4<<10 && (c.parser == nil || cap(c.partial) >= min(c.parser.Wants(), 2*kept)) {
		return
	}
	want := max(2*kept, 16<<10)
	if c.parser != nil && c.parser.Wants() > kept {
		want = min(want, max(c.parser.Wants()+64, kept+4<<10))
	}
	larger := make([]byte, kept, want)
	copy(larger, c.partial)
	c.partial = larger
}

// take carries out the commands in data, and keeps what is left.
func (c *client) take(data []byte) {
	l := c.l
	p := c.parser
	if p == nil {
		p = &l.parser
	}
	kicked := false
	for {
		rest, did := l.s.batch(c, p, data)
		kicked = kicked || did.kicked
		if did.blocked {
			c.paused = true
			l.ringAt(did.until)
		}
		if did.write {
			l.s.keep.writeOut()
		}
		c.hold(did.sync)
		if !c.write(l.call.out) {
			break
		}
		if cap(l.call.out) > keepOut {
			l.call.out = nil
		}
		if data = rest; !did.more || len(c.unsent) > 0 || c.paused {
			break
		}
	}
	c.keep(p, data)
	if c.closing && len(c.unsent) == 0 {
		c.close()
	}
	if kicked { // now that neither the loop's buffer nor its parser is in use
		l.deliver()
	}
}

// keep remembers what is left of what was read.
func (c *client) keep(p *resp.Parser, rest []byte) {
	shared := p == &c.l.parser
	if len(rest) == 0 || c.closing || !c.conn.Open() {
		c.partial, c.parser = nil, nil
		if shared {
			c.l.parser.Reset()
		}
		return
	}
	if shared {
		own := *p
		own.Args = nil
		c.parser = &own
		c.l.parser = resp.Parser{}
	}
	if len(c.partial) > 0 && len(rest) == len(c.partial) && &rest[0] == &c.partial[0] {
		return // nothing of it was done
	}
	c.partial = append(make([]byte, 0, max(len(rest), 1<<10)), rest...)
}

// write sends an answer; what the socket does not take is kept. It reports whether the connection is still there.
func (c *client) write(b []byte) bool {
	if len(b) == 0 {
		return c.conn.Open()
	}
	if len(c.unsent) > 0 || c.until > 0 {
		c.unsent = append(c.unsent, b...)
		return true
	}
	n, errno := c.conn.Write(b)
	if errno != 0 {
		c.close()
		return false
	}
	if n < len(b) {
		c.unsent = append([]byte(nil), b[n:]...)
	}
	return true
}

// flush sends what was left.
func (c *client) flush() {
	for len(c.unsent) > 0 && c.conn.Writable && c.until == 0 {
		n, errno := c.conn.Write(c.unsent)
		if errno != 0 {
			c.close()
			return
		}
		c.unsent = c.unsent[n:]
	}
	if len(c.unsent) > 0 {
		return
	}
	c.unsent = nil
	if c.closing {
		c.close()
	}
}

// close closes the connection.
func (c *client) close() {
	if !c.conn.Open() {
		return
	}
	c.conn.Close()
	c.partial, c.unsent, c.parser = nil, nil, nil
	c.forget()
}

func (c *client) forget() {
	c.l.s.mu.Lock()
	c.l.s.goneClient(c)
	c.l.s.mu.Unlock()
}
