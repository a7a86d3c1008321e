package gateway

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// table is what one version of the file makes of the gateway: where requests from outside and calls between services
// go, and on which terms. It never changes; Reload replaces it as a whole. A request goes by the table that was there
// when it came. What is the same in two tables (a service, an edge, the counters of a route, a lane on the same terms)
// is one object in both, so that a reload loses neither a breaker's memory nor a count.
type table struct {
	system    *topology.System
	router    *topology.Router
	targets   map[*topology.Route]*target
	unmatched *target
	routes    []*target // in the file's order
	names     []string  // of routes, by their id
	edges     []*edge   // sorted by caller, then callee
	inward    []*target // of the edges, in the same order
	services  map[string]*service
	departed  map[string]*service // of tables before, which still have backends
	lanes     map[*service][]*lane
	links     map[string]link // of services, by name
	tcp       map[string]*tcpTarget
	shared    map[uint64]*limit // that all gateways of the system keep together
}

// edge is the way from one service to another.
type edge struct {
	from, to string
	listener net.Listener
	server   *http.Server
	door     *door // to the fast tier; nil: there is none
	url      string
	target   atomic.Pointer[target]
}

func (e *edge) listen() (err error) {
	if e.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return fmt.Errorf("gateway: listening for calls from %s to %s: %w", e.from, e.to, err)
	}
	e.url = "http://" + e.listener.Addr().String()
	return nil
}

func (t *table) edge(from, to string) *edge {
	for _, e := range t.edges {
		if e.from == from && e.to == to {
			return e
		}
	}
	return nil
}

// service returns what a name stands for, services that are gone included: their backends still have to be drained.
func (t *table) service(name string) *service { return cmp.Or(t.services[name], t.departed[name]) }

// Reload makes the gateway go by another version of the file, from one request to the next: no connection is closed, no
// request fails, and what did not change (backends, breakers, budgets, counters) goes on. Services that are new have no
// backends until Add; those that are gone get no further request. The outside address must be the same. If it returns an
// error nothing has changed.
func (g *Gateway) Reload(sys *topology.System) error {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	old := g.table.Load()
	if sys.Listen != old.system.Listen {
		return fmt.Errorf("gateway: reloading: listen is %s and would become %s: that takes a restart", old.system.Listen, sys.Listen)
	}
	if err := sameListeners(old.system, sys); err != nil {
		return err
	}
	t, err := g.build(sys, old)
	if err != nil {
		return err
	}
	authorities, err := g.readAuthorities()
	if err != nil {
		return err
	}
	var opened []*edge
	for _, e := range t.edges {
		if g.listener == nil || e.listener != nil {
			continue
		}
		if err := e.listen(); err != nil {
			closeEdges(opened)
			return err
		}
		opened = append(opened, e)
	}
	if g.listener != nil {
		if err := g.openCache(); err != nil {
			closeEdges(opened)
			return err
		}
		// All of it can fail no more but for this.
		if err := g.access.open(sys.AccessLog, sys.Dir); err != nil {
			closeEdges(opened)
			return err
		}
	}
	g.commit(t, old)
	if authorities != nil {
		if !authorities.Equal(g.tls.asked.pool.Load()) {
			g.cfg.Log.Info("the authorities of clients have changed", "file", g.tls.asked.file)
		}
		g.tls.trust(authorities)
	}
	if g.running != nil {
		for _, e := range opened {
			g.serveEdge(e)
		}
	}
	g.retire(t, old)
	return nil
}

// closeEdges closes what was opened for a table that is not used after all.
func closeEdges(opened []*edge) {
	for _, e := range opened {
		_ = e.listener.Close()
	}
}

// build returns the table of a system. It changes nothing that is in use.
func (g *Gateway) build(sys *topology.System, old *table) (*table, error) {
	t := &table{
		system: sys, router: topology.NewRouter(sys.Routes), targets: make(map[*topology.Route]*target, len(sys.Routes)),
		services: map[string]*service{}, lanes: map[*service][]*lane{}, names: slices.Clone(g.names),
	}
	if old == nil {
		old = &table{unmatched: &target{route: -1, traffic: newTraffic("")}}
	}
	if err := g.cacheFor(sys, old); err != nil {
		return nil, err
	}
	t.unmatched = old.unmatched
	var err error
	if t.links, err = newLinks(sys); err != nil {
		return nil, err
	}
	defer t.depart(old)
	for name := range sys.Services {
		t.services[name] = old.service(name)
		if t.services[name] == nil {
			t.services[name] = &service{name: name, g: g, now: func() time.Duration { return g.now() }, backends: map[string]*backend{}, place: place{g.cfg.Zone, g.cfg.Gateway, g.cfg.Gateways}}
		}
	}
	kept := slices.Clone(old.routes)
	for _, r := range sys.Routes {
		to := t.newRoute(routeName(r), &kept)
		if r.Redirect == nil {
			if err := g.direct(t, to, r.To, r.Inbound); err != nil {
				return nil, fmt.Errorf("gateway: route %s: %w", to.traffic.name, err)
			}
		} else {
			to.timeout = redirectTimeout
			if r.Limit != nil {
				to.limit = g.keptLimit(to, *r.Limit)
			}
		}
		if err := g.ruled(t, to, r); err != nil {
			return nil, fmt.Errorf("gateway: route %s: %w", to.traffic.name, err)
		}
		t.targets[r] = to
		t.routes = append(t.routes, to)
	}
	if err := t.buildTCP(); err != nil {
		return nil, err
	}
	return t, g.buildEdges(t, old)
}

// newRoute returns a target with the counters of the route of the same name, which it takes out of kept.
func (t *table) newRoute(name string, kept *[]*target) *target {
	if i := slices.IndexFunc(*kept, func(o *target) bool { return o.traffic.name == name }); i >= 0 {
		o := (*kept)[i]
		*kept = slices.Delete(*kept, i, i+1)
		return &target{route: o.route, traffic: o.traffic, before: o}
	}
	t.names = append(t.names, name)
	return &target{route: len(t.names) - 1, traffic: newTraffic(name)}
}

func (g *Gateway) buildEdges(t, old *table) error {
	callers := callersOf(t.system)
	for _, from := range sortedKeys(callers) {
		slices.Sort(callers[from])
		for _, to := range slices.Compact(callers[from]) {
			callee := t.system.Services[to]
			if callee == nil {
				continue // a cache, a table, a queue: not the gateway's
			}
			e := old.edge(from, to)
			n := &target{route: -1, calls: make([]atomic.Pointer[attributed], len(t.names)+1)}
			if e == nil {
				e = &edge{from: from, to: to}
				n.traffic = newTraffic(from + " -> " + to)
			} else {
				n.before = e.target.Load()
				n.traffic = n.before.traffic
				last := len(n.before.calls) - 1
				for i := range last {
					n.calls[i].Store(n.before.calls[i].Load())
				}
				n.calls[len(n.calls)-1].Store(n.before.calls[last].Load())
			}
			n.edge = e
			if err := g.direct(t, n, to, callee.Inbound); err != nil {
				return fmt.Errorf("gateway: %s used by %s: %w", to, from, err)
			}
			t.edges = append(t.edges, e)
			t.inward = append(t.inward, n)
		}
	}
	return nil
}

// callersOf says who calls whom by a way of its own: services what they use, and queues and topics whom they push to, under
// the names queues.NAME and topics.NAME; sagas what their steps call, under the names sagas.NAME.
func callersOf(sys *topology.System) map[string][]string {
	callers := map[string][]string{}
	for name, s := range sys.Services {
		callers[name] = slices.Clone(s.Uses)
	}
	for name, q := range sys.Queues {
		if q.Engine == "embedded" {
			callers["queues."+name] = sortedKeys(q.Push)
		}
	}
	for name, t := range sys.Topics {
		callers["topics."+name] = sortedKeys(t.Push) // whoever has its events
	}
	for name, v := range sys.Sagas {
		callers["sagas."+name] = v.Calls()
	}
	return callers
}

// direct points a target at a service, on the terms of in.
func (g *Gateway) direct(t *table, to *target, name string, in topology.Inbound) error {
	s := t.services[name]
	if s == nil {
		return fmt.Errorf("there is no service %q", name)
	}
	to.timeout = in.Timeout.Std()
	if to.timeout <= 0 {
		return fmt.Errorf("time-out %v: want more than 0", to.timeout)
	}
	if hashing(in.Balance) {
		to.hash = cmp.Or(in.Hash, &topology.Hash{Client: true})
	}
	if in.Limit != nil {
		to.limit = g.keptLimit(to, *in.Limit)
	}
	if in.Compress != nil {
		to.compress, to.full = in.Compress, true
	}
	if l := t.links[name]; l.http2() || l.config != nil || to.edge == nil && t.system.TLS != nil && t.system.TLS.Redirect {
		to.full = true
	}
	if in.Sticky != nil {
		secret, err := g.cookieSecret()
		if err != nil {
			return err
		}
		to.sticky = newSticky(name, *in.Sticky, secret)
	}
	to.to = name
	to.tryTimeout = in.TryTimeout.Std()
	to.priority = newPriority(in.Priority)
	to.hedger, to.mirrors = nil, new(mirrorStats)
	if cfg := in.Hedge; cfg != nil {
		to.hedging = *cfg
		if b := to.before; b != nil && b.hedger != nil && b.hedging == *cfg && b.to == name {
			to.hedger = b.hedger // or a reload would forget what it learned
		} else {
			to.hedger = policy.NewHedger(*cfg, &s.ledger)
		}
	}
	to.full = to.full || to.hedger != nil
	var err error
	to.lane, err = t.lane(s, in)
	return err
}

// redirectTimeout bounds a request that no service answers.
const redirectTimeout = 30 * time.Second

// keptLimit returns the target's rate limit: the one it had, where that is the same, or a reload would fill its buckets.
func (g *Gateway) keptLimit(to *target, cfg topology.Limit) *limit {
	if b := to.before; b != nil && b.limit != nil && b.limit.cfg == cfg {
		return b.limit
	}
	return g.newLimit(to.traffic.name, cfg)
}

// lane returns the way of calling a service on the terms of in: one for all who ask for the same.
func (t *table) lane(s *service, in topology.Inbound) (*lane, error) {
	key := laneKey(in)
	same := func(l *lane) bool { return l.key == key }
	if i := slices.IndexFunc(t.lanes[s], same); i >= 0 {
		l := t.lanes[s][i]
		return l, nil
	}
	s.mu.Lock()
	before := s.lanes
	s.mu.Unlock()
	var l *lane
	if i := slices.IndexFunc(before, same); i >= 0 {
		l = before[i]
	} else {
		var err error
		if l, err = s.newLane(in, slices.Concat(t.lanes[s], before)); err != nil {
			return nil, err
		}
	}
	t.lanes[s] = append(t.lanes[s], l)
	return l, nil
}

// commit puts the table into use.
func (g *Gateway) commit(t, old *table) {
	g.keepAnswers(t)
	g.names = t.names
	for i, e := range t.edges {
		e.target.Store(t.inward[i])
	}
	for _, to := range slices.Concat(t.routes, t.inward) {
		to.before = nil // or all tables that ever were would stay in memory
		for _, to := range to.all() {
			if to.lane == nil {
				continue // a redirect
			}
			to.lane.service.mu.Lock()
			to.lane.longest = max(to.lane.longest, to.timeout)
			to.lane.service.mu.Unlock()
		}
	}
	for name, s := range t.services {
		s.use(t.lanes[s], int64(t.system.Services[name].Concurrency), t.links[name])
	}
	t.shared = t.sharedLimits()
	g.limitConnections(t.system)
	g.table.Store(t)
}

// retire lets go of what the new table does not have any more.
func (g *Gateway) retire(t, old *table) {
	for _, e := range old.edges {
		switch {
		case slices.Contains(t.edges, e):
		case e.server != nil:
			g.inner.servers = slices.DeleteFunc(g.inner.servers, func(s *http.Server) bool { return s == e.server })
			g.inner.serving.Go(func() {
				deadline, cancel := context.WithTimeout(context.Background(), g.cfg.DrainTimeout)
				defer cancel()
				if e.door != nil {
					e.door.stop(deadline)
				}
				if e.server.Shutdown(deadline) != nil {
					_ = e.server.Close()
				}
			})
		case e.listener != nil: // Run has not come to it, and will not any more
			_ = e.listener.Close()
		}
	}
	for _, s := range old.services {
		if t.services[s.name] == nil {
			s.use(nil, s.limit, s.link)
		}
	}
}

// depart keeps at hand the services that the new table does not have, as long as they have backends.
func (t *table) depart(old *table) {
	t.departed = map[string]*service{}
	for _, all := range []map[string]*service{old.services, old.departed} {
		for name, s := range all {
			s.mu.Lock()
			if t.services[name] == nil && len(s.backends) > 0 {
				t.departed[name] = s
			}
			s.mu.Unlock()
		}
	}
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
