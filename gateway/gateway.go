package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/gateway/httpcache"
	"github.com/banyanhq/banyan/reactor"
	"github.com/banyanhq/banyan/topology"
)

// Gateway is the HTTP data plane of one system. Its methods are safe for concurrent use, but for Listen and Run, which
// are called once each, in this order.
type Gateway struct {
	cfg   Config
	now   func() time.Duration // the clock that all policies run on; tests have their own
	table atomic.Pointer[table]

	origin time.Time // of the clock
	access accessLog
	memory memory

	parting   atomic.Bool     // clients' connections end with their next answer
	reloading sync.Mutex      // held while the table is replaced, and while a change must reach all of it
	names     []string        // of routes, by their id: all that there ever were; guarded by reloading
	running   context.Context // set by Run, nil before and after; guarded by reloading
	failed    chan error      // of a server, to Run

	cache   *httpcache.Cache         // of all routes that keep answers; nil: none does; guarded by reloading, and set once
	cacheOf *topology.HTTPCacheStore // that it was made for

	unguarded    bool          // set by a benchmark alone: HTTP/2 without guards
	holdTime     time.Duration // this and the next: tests on a busy machine have more
	holdDocument time.Duration
	headTime     time.Duration // in which a request's head must come whole, and a handshake; tests have less
	writeGrace   time.Duration // tests have more, of the next as well
	proxyTime    time.Duration
	listenPacket func(network, address string) (net.PacketConn, error) // net's, but in a test
	traces       inFlightTraces

	fast    atomic.Pointer[fastTier] // nil: the full tier carries all
	realNow func() time.Duration     // what the fast tier's timers run on

	sockets  sockets
	listener net.Listener // outside
	proxies  networks     // that its connections come from; empty: they are the clients' own
	addr     net.Addr
	tls      *encrypted  // nil: none is spoken
	tcp      []*tcpProxy // in the file's order
	outside  side
	inner    side

	// The connections of clients: outside in clear, outside over TLS, and of services.
	plainConns, tlsConns, innerConns *connLimit

	background background
	peers      peers
	calmed     calmed
	malformed  malformed
	secret     []byte // that the gateways of the system share; nil: this is the only one

	streams    context.Context // ends when streams without an end are to be cut off
	cutStreams context.CancelFunc
}

// headTime is how long a client may take for a request's head, and for a handshake.
const headTime = 10 * time.Second

// New returns a gateway for the system. It has no backends yet, and no listeners.
func New(cfg Config) (g *Gateway, err error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	origin := time.Now()
	g = &Gateway{cfg: cfg, origin: origin, holdTime: holdTime, holdDocument: holdDocument, headTime: headTime, writeGrace: writeGrace, proxyTime: proxyTime, listenPacket: net.ListenPacket, failed: make(chan error, 1), now: func() time.Duration { return time.Since(origin) }}
	g.realNow = g.now
	g.access.full = make(chan struct{}, 1)
	g.memory = newMemory()
	g.plainConns, g.tlsConns, g.innerConns = g.newConnLimit("outside"), g.newConnLimit("tls"), g.newConnLimit("services")
	g.streams, g.cutStreams = context.WithCancel(context.Background())
	if g.secret, err = peerSecret(cfg.System); err != nil {
		return nil, err
	}
	t, err := g.build(cfg.System, nil)
	if err != nil {
		return nil, err
	}
	g.commit(t, nil)
	return g, nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Listen binds the outside address, and a free port of the loopback interface for each edge. Where one cannot be
// bound, none is. What is bound is served, and closed, by Run.
func (g *Gateway) Listen() (err error) {
	var bound []net.Listener
	defer func() {
		if err != nil {
			for _, l := range bound {
				_ = l.Close()
			}
			g.closeTLS()
			g.closeTCP()
			g.closePeers()
		}
	}()
	t := g.table.Load()
	if err := g.access.open(t.system.AccessLog, t.system.Dir); err != nil {
		return err
	}
	if err := g.openCache(); err != nil {
		return err
	}
	defer g.sockets.forgetInherited()
	outside, err := g.bind(SocketOutside, t.system.Listen)
	if err != nil {
		return fmt.Errorf("gateway: listening for requests from outside: %w", err)
	}
	g.listener = outside
	bound = append(bound, g.listener)
	if g.proxies, err = parseNetworks(t.system.AcceptProxyFrom); err != nil {
		return fmt.Errorf("gateway: accept_proxy_from: %w", err)
	}
	g.addr = g.listener.Addr()
	for _, e := range t.edges {
		if err = e.listen(); err != nil {
			return err
		}
		bound = append(bound, e.listener)
	}
	if err = g.listenTLS(t.system); err != nil {
		return err
	}
	if err = g.listenPeers(t.system); err != nil {
		return err
	}
	return g.listenTCP(t)
}

// Part lets no new connection in from outside, where another gateway takes them by now, and ends each of those that are
// there with its next answer ('Connection: close', GOAWAY), so that no client is cut off while it sends. TCP connections
// and streams go on, and so does Run; what is still idle when it ends is closed. The disk tier of the cache is left to the
// other gateway.
func (g *Gateway) Part() {
	g.parting.Store(true)
	g.reloading.Lock()
	doors, cache := slices.Clone(g.outside.doors), g.cache
	g.reloading.Unlock()
	for _, d := range doors {
		d.part()
	}
	// What is closed here, its server takes for the end.
	if len(doors) == 0 && g.listener != nil {
		_ = g.listener.Close()
	}
	if g.tls != nil {
		_ = g.tls.listener.Close()
	}
	g.partQUIC()
	g.closeTCP()
	if g.peers.link != nil {
		g.peers.link.Part()
	}
	if cache != nil {
		cache.Release()
	}
}

// InFlight returns how many requests and TCP connections from outside are under way, streams without an end among them.
func (g *Gateway) InFlight() (n int64) {
	t := g.table.Load()
	n = t.unmatched.traffic.inFlight.Load()
	for _, r := range t.routes {
		n += r.traffic.inFlight.Load()
	}
	for _, p := range g.tcp {
		n += p.open.Load()
	}
	return n
}

// Addr returns the address that requests from outside are answered on, nil before Listen.
func (g *Gateway) Addr() net.Addr { return g.addr }

// EdgeURL returns where one service finds another, such as http://127.0.0.1:41234; empty before Listen, or if from does
// not use to.
func (g *Gateway) EdgeURL(from, to string) string {
	if e := g.table.Load().edge(from, to); e != nil {
		return e.url
	}
	return ""
}

// Run serves until ctx ends, then lets requests in flight finish: first those from outside, which may still call from
// service to service, then the rest; all within DrainTimeout, after which they are cut off. Streams that have no end of
// their own (events, upgraded connections) are cut off at once. It returns nil after such an end, an error if a listener
// failed; in both cases all listeners and connections are closed and no goroutine is left.
func (g *Gateway) Run(ctx context.Context) error {
	if g.listener == nil {
		return errors.New("gateway: Run before Listen")
	}
	logged, endLog := context.WithCancel(context.Background())
	var logging sync.WaitGroup
	logging.Go(func() { g.access.run(logged, func(err error) { g.cfg.Log.Error(err.Error()) }) })
	defer logging.Wait()
	defer endLog()
	g.reloading.Lock()
	g.running = ctx
	g.startFast()
	g.serveOn(&g.outside, g.plainConns, g.listener, nil, g.serveOutside, g.proxies)
	g.serveTLS()
	g.serveTCP()
	for _, e := range g.table.Load().edges {
		g.serveEdge(e)
	}
	g.reloading.Unlock()
	var watching sync.WaitGroup
	defer watching.Wait()
	watched, unwatch := context.WithCancel(ctx)
	defer unwatch()
	watching.Go(func() { g.watch(watched) })
	if g.tls != nil && g.tls.acme != nil {
		watching.Go(func() { g.tls.acme.Run(watched) })
	}
	watching.Go(func() { g.exchange(watched) })
	watching.Go(func() { g.awaitQUIC(watched) })
	var err error
	select {
	case <-ctx.Done():
	case err = <-g.failed:
		err = fmt.Errorf("gateway: serving: %w", err)
	}
	g.reloading.Lock()
	g.running = nil // no edge is added any more
	g.reloading.Unlock()
	deadline, cancel := context.WithTimeout(context.Background(), g.cfg.DrainTimeout)
	defer cancel()
	g.cutStreams()
	if t := g.fast.Load(); t != nil {
		t.cutStreams()
		defer func() {
			t.stop()
			g.fast.Store(nil)
		}()
	}
	g.stopTCP()
	g.stopQUIC(deadline)
	g.outside.stop(deadline)
	g.inner.stop(deadline)
	g.background.stop() // they end with the streams
	t := g.table.Load()
	for _, s := range slices.Concat(slices.Collect(maps.Values(t.services)), slices.Collect(maps.Values(t.departed))) {
		s.closeAll()
	}
	g.closeCache()
	return err
}

// startFast starts the fast tier, unless it is not wanted or not to be had.
func (g *Gateway) startFast() {
	if g.cfg.FullTierOnly || !reactor.Supported {
		return
	}
	t, err := startFast(g)
	if err != nil {
		g.cfg.Log.Warn("the fast tier cannot start: all requests go through the full tier", "error", err)
		return
	}
	g.fast.Store(t)
}

// fail makes Run end with an error.
func (g *Gateway) fail(err error) {
	select {
	case g.failed <- err:
	default: // one is enough
	}
}

// serveEdge answers the calls on an edge, by whatever target the edge has when they come.
func (g *Gateway) serveEdge(e *edge) {
	e.server, e.door = g.serveOn(&g.inner, g.innerConns, e.listener, e, func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, e.target.Load()) }, nil)
}

// side is a set of servers that are stopped together: those for requests from outside, or those for calls between
// services.
type side struct {
	servers []*http.Server
	doors   []*door // to the fast tier
	serving sync.WaitGroup
	conns   connections
}

// side returns the side on which the target's requests come in.
func (t *target) side(g *Gateway) *side {
	if t.edge != nil {
		return &g.inner
	}
	return &g.outside
}

func (g *Gateway) newServer(side *side, h http.HandlerFunc) *http.Server {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: g.headTime,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeader,
		Protocols:         clientProtocols(),
		HTTP2:             http2Config(),
		ConnState:         side.conns.changed,
		ConnContext:       withConn,
		ErrorLog:          slog.NewLogLogger(g.cfg.Log.Handler(), slog.LevelDebug),
	}
	g.serveHTTP2(s)
	return s
}

// serveOn answers what comes in at a listener, on an edge or from outside: through the fast tier, which hands to the full
// tier's server what is not for it, or through the latter alone. Where proxies are given, connections come from them alone.
func (g *Gateway) serveOn(side *side, limit *connLimit, l net.Listener, e *edge, h http.HandlerFunc, proxies networks) (*http.Server, *door) {
	s := g.newServer(side, h)
	var d *door
	tcp, ok := l.(*net.TCPListener)
	switch t := g.fast.Load(); {
	case ok && t != nil:
		if len(proxies) > 0 {
			d = t.openProxied(tcp, side, limit, proxies)
		} else {
			d = t.open(tcp, side, limit, e)
		}
		l = d
		side.doors = append(side.doors, d)
	case len(proxies) > 0:
		l = limitedListener{proxiedListener{l, proxies, g.proxyTime}, limit}
	default:
		l = limitedListener{l, limit}
	}
	side.servers = append(side.servers, s)
	side.serving.Go(func() {
		if err := s.Serve(strictListener{l, g}); d == nil || !errors.Is(err, net.ErrClosed) {
			g.ended(err)
		}
	})
	return s, d
}

// stop ends the servers, politely until ctx ends, and returns when the last connection is gone.
func (s *side) stop(ctx context.Context) {
	var stopping sync.WaitGroup
	for _, d := range s.doors {
		stopping.Go(func() { d.stop(ctx) })
	}
	for _, srv := range s.servers {
		stopping.Go(func() {
			if srv.Shutdown(ctx) != nil {
				_ = srv.Close() // what is left is cut off
			}
		})
	}
	s.serving.Wait() // no new connections from here on
	s.conns.closeFresh()
	stopping.Wait()
	s.conns.open.Wait()
}

// stopWith calls cancel when streams are to be cut off, until the returned function is called.
func (g *Gateway) stopWith(cancel context.CancelCauseFunc) (release func()) {
	stop := context.AfterFunc(g.streams, func() { cancel(errStopping) })
	return func() { stop() }
}

// connections keeps count of the clients' connections, so that Run can wait for the last.
type connections struct {
	open sync.WaitGroup

	nFresh atomic.Int32
	mu     sync.Mutex
	fresh  map[net.Conn]struct{} // without a byte received yet
}

// changed follows the life of a connection, and what is asked on it. One that was taken over is done when its handler says so.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	if guarded, ok := conn.(interface{ Guarded() net.Conn }); ok {
		conn = guarded.Guarded()
	}
	c.follow(conn, state)
	if s := seatOf(conn); s != nil {
		if state == http.StateIdle {
			s.rest()
		} else if state != http.StateNew {
			s.since.Store(0)
		}
	}
}

func (c *connections) follow(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.open.Add(1)
		c.mu.Lock()
		if c.fresh == nil {
			c.fresh = map[net.Conn]struct{}{}
		}
		c.fresh[conn] = struct{}{}
		c.nFresh.Store(int32(len(c.fresh)))
		c.mu.Unlock()
	case http.StateActive:
		c.forget(conn)
	case http.StateIdle, http.StateHijacked:
		if h, ok := conn.(interface{ Answered(hijacked bool) }); ok {
			h.Answered(state == http.StateHijacked)
		}
	case http.StateClosed:
		c.forget(conn)
		c.open.Done()
	}
}

func (c *connections) forget(conn net.Conn) {
	if c.nFresh.Load() == 0 {
		return
	}
	c.mu.Lock()
	delete(c.fresh, conn)
	c.nFresh.Store(int32(len(c.fresh)))
	c.mu.Unlock()
}

// closeFresh closes the connections on which nothing was asked yet: an ending server would wait for them.
func (c *connections) closeFresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.fresh {
		_ = conn.Close()
	}
}

// Add makes a replica of a service known. It gets requests once SetReady says that it is ready. A replica of the same id
// is replaced. A service that the system does not have is ignored.
func (g *Gateway) Add(service string, b Backend) {
	if s := g.table.Load().service(service); s != nil {
		s.add(b)
	}
}

// SetReady says whether a replica may be given requests. Those in flight are not affected. Becoming ready closes its
// breakers, for it may be another process than before.
func (g *Gateway) SetReady(service, id string, ready bool) {
	if s := g.table.Load().service(service); s != nil {
		s.setReady(id, ready)
	}
}

// Drain gives a replica no new request, for good, and returns when none is in flight and its idle connections are
// closed; or with an error that wraps ctx's when that ends first.
func (g *Gateway) Drain(ctx context.Context, service, id string) error {
	s := g.table.Load().service(service)
	if s == nil {
		return fmt.Errorf("draining: there is no service %q", service)
	}
	return s.drain(ctx, id)
}

// Remove forgets a replica. It gets no new request; those in flight go on, and its connections are closed as they
// become idle.
func (g *Gateway) Remove(service, id string) {
	if s := g.table.Load().service(service); s != nil {
		s.remove(id)
	}
}
