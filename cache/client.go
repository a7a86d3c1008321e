package cache

import (
	"net/netip"

	"github.com/banyanhq/banyan/cache/resp"
)

// client is a connection. What is not marked belongs to its loop's goroutine while that holds the server's lock.
type client struct {
	wire // the connection itself: the loop's alone

	server *Server
	l      *loop
	id     int64
	from   netip.AddrPort
	since  int64 // seconds since 1970
	heard  int64

	name    string
	library [2]string // name and version, as CLIENT SETINFO has said
	db      int
	v3      bool
	known   bool // has said who it is
	user    *aclUser
	tx      *transaction   // nil: none, and nothing is watched
	subs    *subscriptions // nil: none
	blocked *waiting       // nil: it is not waiting
	tracks  *tracker       // nil: it does not track
	last    *command
	monitor bool
	noEvict bool
	noTouch bool
	silent  silence

	asking   bool         // the next command may be of a slot that is on its way here
	readonly bool         // a replica may answer
	epoch    uint64       // of the map that the client may know: see sharding.admit
	parser   *resp.Parser // of a command of which a part is there
	partial  []byte       // that part, and what came behind it

	unsent    []byte // what the socket did not take; the loop's alone
	backlog   int    // how much that was lately
	paused    bool   // is not read from, because it waits; the loop's alone
	closing   bool   // is closed when all is sent
	killed    bool
	push      []byte // what others have for it
	inKicks   bool
	softSince int64 // since when more than the soft limit is unread, seconds since 1970; 0: it is not
}

// silence says whether a client wants answers.
type silence uint8

const (
	answers   silence = iota
	noAnswers         // none
	skipNext          // none to the next command
	skipThis          // none to this one
)

// send gives a client what it did not ask for: at once if one of its commands is being carried out, otherwise by way of
// its loop. The lock is held.
func (s *Server) send(to *client, b []byte) {
	if s.current != nil && s.current.c == to {
		s.current.out = append(s.current.out, b...)
		return
	}
	if to.killed || to.closing {
		return
	}
	to.push = append(to.push, b...)
	switch waiting := len(to.push) + to.backlog; {
	case waiting > s.set.pushHard && s.set.pushHard > 0:
		s.cfg.Log.Warn("closing a client that does not read what it is sent", "client", to.from.String(), "bytes", waiting)
		to.kill()
	case waiting > s.set.pushSoft && s.set.pushSoft > 0:
		if to.softSince == 0 {
			to.softSince = s.store.Now() / 1000
		}
	default:
		to.softSince = 0
	}
	to.kick()
}

// kick has the client's loop look at it. The lock is held.
func (c *client) kick() {
	if !c.inKicks {
		c.inKicks = true
		c.l.kick(c)
	}
}

// kill has the client closed. The lock is held.
func (c *client) kill() {
	c.killed = true
	c.kick()
}

// gone takes a client that is closed out of everything. The lock is held.
func (s *Server) goneClient(c *client) {
	delete(s.clients, c.id)
	c.killed = true
	s.endTransaction(c)
	s.unsubscribeAll(c)
	s.stopTracking(c)
	if c.blocked != nil {
		s.stopWaiting(c.blocked)
	}
	if c.monitor {
		s.stopMonitor(c)
	}
}
