//go:build linux && (amd64 || arm64)

package cache

// hold keeps what the client is answered until there was a sync up to a position; 0: it may be sent. A client with answers
// that are kept is not read from, so that they stay in order and bounded.
func (c *client) hold(until int64) {
	if until == 0 {
		return
	}
	if c.until == 0 {
		c.l.held = append(c.l.held, c)
	}
	c.until = max(c.until, until)
}

// synced has the loop look at those who wait for a sync. It may be called by anyone.
func (l *loop) synced() { l.r.Post(l.release) }

// release answers those who have waited for long enough. Where the sync failed nobody knows what will be found on the disk:
// then they are closed without an answer.
func (l *loop) release() {
	s := l.s
	durable := s.keep.durable.Load()
	s.mu.Lock()
	broken := s.keep.broken != nil
	s.mu.Unlock()
	held := l.held
	l.held = nil
	for _, c := range held {
		switch {
		case !c.conn.Open():
		case c.until <= durable:
			c.until = 0
			if c.flush(); c.conn.Open() && len(c.unsent) == 0 && !c.paused {
				c.goOn()
			}
		case broken:
			c.close()
		default:
			l.held = append(l.held, c)
		}
	}
}
