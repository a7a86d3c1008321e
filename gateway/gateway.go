package gateway

import (
	"cmp"
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

	"github.com/banyanhq/banyan/topology"
)

// Gateway is the HTTP data plane of one system. Its methods are safe for concurrent use, but for Listen and Run, which
// are called once each, in this order.
type Gateway struct {
	cfg      Config
	now      func() time.Duration // the clock that all policies run on; tests have their own
	services map[string]*service  // fixed
	edges    []*edge              // fixed; sorted by caller, then callee
	table    atomic.Pointer[table]
	routes   []*target // fixed; in the file's order

	holdDocument time.Duration // tests on a busy machine have more
	traces       inFlightTraces

	listener net.Listener // outside
	addr     net.Addr
	outside  side
	inner    side

	streams    context.Context // ends when streams without an end are to be cut off
	cutStreams context.CancelFunc
}

// table is how requests from outside find their target. It is replaced as a whole.
type table struct {
	router    *topology.Router
	targets   map[*topology.Route]*target
	unmatched *target
}

// edge is the way from one service to another.
type edge struct {
	from, to string
	target   *target
	listener net.Listener
	url      string
	calls    []atomic.Pointer[attributed] // by route, the last one for calls of no known route
}

// New returns a gateway for the system. It has no backends yet, and no listeners.
func New(cfg Config) (*Gateway, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	origin := time.Now()
	g := &Gateway{cfg: cfg, services: map[string]*service{}, holdDocument: holdDocument, now: func() time.Duration { return time.Since(origin) }}
	g.streams, g.cutStreams = context.WithCancel(context.Background())
	for name, s := range cfg.System.Services {
		g.services[name] = &service{
			name: name, limit: int64(s.Concurrency), now: func() time.Duration { return g.now() }, backends: map[string]*backend{},
		}
	}
	if err := g.makeRoutes(); err != nil {
		return nil, err
	}
	return g, g.makeEdges()
}

func (g *Gateway) makeRoutes() error {
	routes := g.cfg.System.Routes
	t := &table{
		router:    topology.NewRouter(routes),
		targets:   make(map[*topology.Route]*target, len(routes)),
		unmatched: &target{route: -1, traffic: newTraffic("")},
	}
	for i, r := range routes {
		to := &target{route: i, traffic: newTraffic(routeName(r))}
		if err := g.direct(to, r.To, r.Inbound); err != nil {
			return fmt.Errorf("gateway: route %s: %w", to.traffic.name, err)
		}
		t.targets[r] = to
		g.routes = append(g.routes, to)
	}
	g.table.Store(t)
	return nil
}

func (g *Gateway) makeEdges() error {
	for _, from := range sortedKeys(g.cfg.System.Services) {
		uses := slices.Clone(g.cfg.System.Services[from].Uses)
		slices.Sort(uses)
		for _, to := range slices.Compact(uses) {
			callee := g.cfg.System.Services[to]
			if callee == nil {
				continue // a cache, a table, a queue: not the gateway's
			}
			e := &edge{from: from, to: to, calls: make([]atomic.Pointer[attributed], len(g.routes)+1)}
			e.target = &target{route: -1, edge: e, traffic: newTraffic(from + " -> " + to)}
			if err := g.direct(e.target, to, callee.Inbound); err != nil {
				return fmt.Errorf("gateway: %s used by %s: %w", to, from, err)
			}
			g.edges = append(g.edges, e)
		}
	}
	return nil
}

// direct points a target at a service.
func (g *Gateway) direct(t *target, name string, in topology.Inbound) error {
	s := g.services[name]
	if s == nil {
		return fmt.Errorf("there is no service %q", name)
	}
	var err error
	t.timeout = in.Timeout.Std()
	if t.timeout <= 0 {
		return fmt.Errorf("time-out %v: want more than 0", t.timeout)
	}
	if hashing(in.Balance) {
		t.hash = cmp.Or(in.Hash, &topology.Hash{Client: true})
	}
	if in.Limit != nil {
		t.limit = newLimit(*in.Limit)
	}
	if in.Sticky != nil {
		t.sticky = newSticky(name, *in.Sticky, g.cfg.Secret)
	}
	t.lane, err = s.lane(in)
	return err
}

// hashing reports whether a policy looks at a request's hash.
func hashing(b topology.Balance) bool {
	switch b {
	case topology.RingHash, topology.Maglev, topology.BoundedHash, topology.Rendezvous:
		return true
	}
	return false
}

func routeName(r *topology.Route) string {
	if r.Name == "" && r.Method != "" {
		return r.Method + " " + r.Path
	}
	return cmp.Or(r.Name, r.Path)
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
		}
	}()
	g.listener, err = net.Listen("tcp", g.cfg.System.Listen)
	if err != nil {
		return fmt.Errorf("gateway: listening for requests from outside: %w", err)
	}
	bound = append(bound, g.listener)
	g.addr = g.listener.Addr()
	for _, e := range g.edges {
		if e.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return fmt.Errorf("gateway: listening for calls from %s to %s: %w", e.from, e.to, err)
		}
		bound = append(bound, e.listener)
		e.url = "http://" + e.listener.Addr().String()
	}
	return nil
}

// Addr returns the address that requests from outside are answered on, nil before Listen.
func (g *Gateway) Addr() net.Addr { return g.addr }

// EdgeURL returns where one service finds another, such as http://127.0.0.1:41234; empty before Listen, or if from does
// not use to.
func (g *Gateway) EdgeURL(from, to string) string {
	for _, e := range g.edges {
		if e.from == from && e.to == to {
			return e.url
		}
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
	failed := make(chan error, 1+len(g.edges))
	g.serveOn(&g.outside, g.listener, g.serveOutside, failed)
	for _, e := range g.edges {
		g.serveOn(&g.inner, e.listener, func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, e.target) }, failed)
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("gateway: serving: %w", err)
	}
	deadline, cancel := context.WithTimeout(context.Background(), g.cfg.DrainTimeout)
	defer cancel()
	g.cutStreams()
	g.outside.stop(deadline)
	g.inner.stop(deadline)
	for _, s := range g.services {
		s.closeAll()
	}
	return err
}

// side is a set of servers that are stopped together: those for requests from outside, or those for calls between
// services.
type side struct {
	servers []*http.Server
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

func (g *Gateway) serveOn(side *side, l net.Listener, h http.HandlerFunc, failed chan<- error) {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeader,
		Protocols:         http1(),
		ConnState:         side.conns.changed,
		ErrorLog:          slog.NewLogLogger(g.cfg.Log.Handler(), slog.LevelDebug),
	}
	side.servers = append(side.servers, s)
	side.serving.Go(func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	})
}

// stop ends the servers, politely until ctx ends, and returns when the last connection is gone.
func (s *side) stop(ctx context.Context) {
	var stopping sync.WaitGroup
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

// changed follows the life of a connection. One that was taken over is done when its handler says so.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
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
	if s := g.services[service]; s != nil {
		s.add(b)
	}
}

// SetReady says whether a replica may be given requests. Those in flight are not affected. Becoming ready closes its
// breakers, for it may be another process than before.
func (g *Gateway) SetReady(service, id string, ready bool) {
	if s := g.services[service]; s != nil {
		s.setReady(id, ready)
	}
}

// Drain gives a replica no new request, for good, and returns when none is in flight and its idle connections are
// closed; or with an error that wraps ctx's when that ends first.
func (g *Gateway) Drain(ctx context.Context, service, id string) error {
	s := g.services[service]
	if s == nil {
		return fmt.Errorf("draining: there is no service %q", service)
	}
	return s.drain(ctx, id)
}

// Remove forgets a replica. It gets no new request; those in flight go on, and its connections are closed as they
// become idle.
func (g *Gateway) Remove(service, id string) {
	if s := g.services[service]; s != nil {
		s.remove(id)
	}
}
