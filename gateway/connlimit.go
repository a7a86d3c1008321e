package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// connLimit bounds the connections of clients at one listener. Where all places are taken, a quiet connection is closed for one
// that comes: one on which no request is under way, for it is idle or a head has not come whole. Where there is none, what comes
// is refused with a reset, so that its client knows at once and goes elsewhere. Only the coming and going of connections is
// counted here, never a request.
type connLimit struct {
	listener string // its name in metrics and in the log
	log      *slog.Logger
	now      func() time.Duration
	spared   func(client string) bool // addresses that a bound of our own choice is not for

	max, each atomic.Int64 // for all, and for one client; 0: no bound
	implied   atomic.Bool  // nobody has asked for the bound on one client

	open, refused, denied, closed, failed atomic.Int64

	crowding, failing teller

	mu      sync.Mutex
	clients map[netip.Addr]int64 // connections of each client
	quiet   map[*seat]struct{}   // of the full tier: all that ever were quiet, and may be now
}

// ConnectionStats counts the connections of clients at one listener.
type ConnectionStats struct {
	// Listener is outside, tls (HTTP/3 included) or services: all on which services call each other.
	Listener string `json:"listener"`
	// Open now, of Max that may be; PerClient may be of one address. 0: no bound.
	Open      int64 `json:"open"`
	Max       int64 `json:"max"`
	PerClient int64 `json:"per_client"`
	// Refused since all places were taken, and Denied since their client had as many as one may have.
	Refused int64 `json:"refused"`
	Denied  int64 `json:"denied"`
	// Closed are quiet ones that made room for others.
	Closed int64 `json:"closed"`
	// Failed are attempts to accept one that failed, for want of file descriptors or memory.
	Failed int64 `json:"failed"`
}

func (g *Gateway) newConnLimit(listener string) *connLimit {
	return &connLimit{listener: listener, log: g.cfg.Log, now: g.realNow, spared: g.sparesClient, clients: map[netip.Addr]int64{}, quiet: map[*seat]struct{}{}}
}

// sparesClient reports whether an address may stand for many clients: this machine's own, and those of trusted proxies.
func (g *Gateway) sparesClient(client string) bool {
	a, err := netip.ParseAddr(client)
	return err == nil && a.IsLoopback() || len(g.cfg.TrustedProxies) > 0 && g.trusts(client)
}

// reservedFiles is the share of the files that a process may have open which connections of clients leave to all else: those
// to backends, logs, the cache.
const reservedFiles = 0.25

// limitConnections sets the bounds that the system asks for, as far as the process may have so many files open.
func (g *Gateway) limitConnections(sys *topology.System) {
	cfg, level := topology.Connections{Max: topology.DefaultMaxConnections}, slog.LevelDebug
	if sys.Connections != nil {
		cfg, level = *sys.Connections, slog.LevelWarn
	}
	listeners := []*connLimit{g.plainConns}
	if sys.TLS != nil {
		listeners = append(listeners, g.tlsConns)
	}
	bound := int64(cfg.Max)
	if files := openFiles(); files > 0 {
		if fit := max(int64(float64(files)*(1-reservedFiles))/int64(len(listeners)), 1); bound > fit {
			g.cfg.Log.Log(context.Background(), level, "fewer connections of clients are let in than 'connections' says: the process may not have so many files open (ulimit -n)",
				"max", bound, "let in", fit, "files", files)
			bound = fit
		}
	}
	each := int64(cfg.PerClient)
	if each == 0 {
		each = (bound + 1) / 2
	}
	for _, l := range listeners {
		l.max.Store(bound)
		l.each.Store(min(each, bound))
		l.implied.Store(cfg.PerClient == 0)
	}
}

// clientKey is what is counted as one client: an address, or of IPv6 the network of 64 bits that one host usually has.
func clientKey(a netip.Addr) netip.Addr {
	if a = a.Unmap().WithZone(""); a.Is6() {
		p, _ := a.Prefix(64) // fails only where the address has less
		return p.Addr()
	}
	return a
}

// enter takes a place for a connection; false where its client, if it is known, has as many as it may. There may be more
// connections than places then: whoever enters makes room (crowded), or leaves again.
func (l *connLimit) enter(client netip.Addr) bool {
	if !l.nameClient(client) {
		return false
	}
	l.open.Add(1)
	return true
}

// nameClient counts a connection for its client; false where that has as many as it may.
func (l *connLimit) nameClient(client netip.Addr) bool {
	each := l.each.Load()
	if each == 0 || !client.IsValid() {
		return true
	}
	key := clientKey(client)
	l.mu.Lock()
	n := l.clients[key]
	if fits := n < each || l.implied.Load() && l.spared(client.Unmap().String()); fits {
		l.clients[key] = n + 1
		l.mu.Unlock()
		return true
	}
	l.mu.Unlock()
	l.denied.Add(1)
	l.tell()
	return false
}

// leave gives a place back.
func (l *connLimit) leave(client netip.Addr) {
	l.open.Add(-1)
	if !client.IsValid() || l.max.Load() == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(client)
}

// forget counts one connection of a client less. The mutex is held.
func (l *connLimit) forget(client netip.Addr) {
	key := clientKey(client)
	if n := l.clients[key]; n > 1 {
		l.clients[key] = n - 1
	} else {
		delete(l.clients, key)
	}
}

// crowded reports whether there are more connections than places.
func (l *connLimit) crowded() bool {
	n := l.max.Load()
	return n > 0 && l.open.Load() > n
}

// refuse counts a connection for which there was no place, and which has taken one.
func (l *connLimit) refuse(client netip.Addr) {
	l.leave(client)
	l.refused.Add(1)
	l.tell()
}

// tell says that connections are refused.
func (l *connLimit) tell() {
	if l.crowding.due(l.now()) {
		l.log.Warn("connections of clients are refused: there are as many as 'connections' allows", "listener", l.listener, "open", l.open.Load(), "max", l.max.Load(),
			"refused", l.refused.Load(), "per_client", l.each.Load(), "denied", l.denied.Load())
	}
}

// acceptFailed counts an attempt to accept a connection that failed, and makes room where that can help: where descriptors
// are scarce, connections that have been quiet for a while are closed, here by closeQuiet, then of the full tier.
func (l *connLimit) acceptFailed(err error, closeQuiet func(least time.Duration) bool) {
	if errors.Is(err, net.ErrClosed) {
		return
	}
	l.failed.Add(1)
	if l.failing.due(l.now()) {
		l.log.Warn("connections cannot be accepted; those that are there go on, and it is tried again", "listener", l.listener, "error", err,
			"open", l.open.Load(), "failed", l.failed.Load())
	}
	if l.max.Load() == 0 || !scarce(err) {
		return
	}
	for range closedAtOnce {
		if !(closeQuiet != nil && closeQuiet(quietLeast)) && !l.closeQuiet(quietLeast) {
			return
		}
	}
}

const (
	// closedAtOnce is how many quiet connections are closed where descriptors are scarce.
	closedAtOnce = 16
	// quietLeast is for how long they have been quiet. What comes waits for so long at most; those that have just come do not
	// close each other, before the first of them could send its request.
	quietLeast = 100 * time.Millisecond
	// looks is at how many connections is looked for one that is quiet: a bound on what a connection that comes may cost.
	looks = 128
)

// closeQuiet closes the connection of the full tier that has been quiet for the longest of some, drawn anew each time; false
// where none of them is, or not for so long.
func (l *connLimit) closeQuiet(least time.Duration) bool {
	var best *seat
	var since time.Duration
	n := 0
	l.mu.Lock()
	for p := range l.quiet {
		if s := time.Duration(p.since.Load()); s > 0 && (best == nil || s < since) {
			best, since = p, s
		}
		if n++; n == looks {
			break
		}
	}
	if best != nil && least > 0 && l.now()-since < least {
		best = nil
	}
	delete(l.quiet, best)
	l.mu.Unlock()
	if best == nil {
		return false
	}
	l.closed.Add(1)
	_ = best.conn.Close() // it is given up
	return true
}

func (l *connLimit) stats() ConnectionStats {
	return ConnectionStats{
		Listener: l.listener, Open: l.open.Load(), Max: l.max.Load(), PerClient: l.each.Load(), Refused: l.refused.Load(), Denied: l.denied.Load(),
		Closed: l.closed.Load(), Failed: l.failed.Load(),
	}
}

// Connections counts the connections of clients, by listener.
func (g *Gateway) Connections() []ConnectionStats {
	all := []ConnectionStats{g.plainConns.stats()}
	if g.tls != nil {
		all = append(all, g.tlsConns.stats())
	}
	return append(all, g.innerConns.stats())
}

// teller says when something that goes on is worth a line of the log: at first, and once a minute.
type teller struct{ next atomic.Int64 }

const tellEvery = time.Minute

func (t *teller) due(now time.Duration) bool {
	next := t.next.Load()
	return int64(now) >= next && t.next.CompareAndSwap(next, int64(now+tellEvery))
}
