package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/banyanhq/banyan/gateway/httpcache"
	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// newCache returns the store that a system's cached routes share, nil where it has none.
func newCache(sys *topology.System) (*httpcache.Cache, error) {
	if !anyCached(sys) {
		return nil, nil
	}
	c := httpcache.Config{Drop: []string{headerRequestID}}
	if s := sys.HTTPCache; s != nil {
		c.Memory, c.Disk = int64(s.Memory), int64(s.Disk)
		if s.Dir != "" {
			c.Dir = s.Dir
			if !filepath.IsAbs(c.Dir) {
				c.Dir = filepath.Join(sys.Dir, c.Dir)
			}
		}
	}
	return httpcache.New(c)
}

// openCache opens the store's disk tier, if it has one.
func (g *Gateway) openCache() error {
	switch {
	case g.cache == nil:
		return nil
	case g.sockets.taken: // from a gateway that still uses the folder for a moment
		return g.cache.OpenLater(g.cfg.Log)
	}
	return g.cache.Open()
}

// cacheStats counts what became of the route's requests in its cache, nil where it has none.
func (t *target) cacheStats() *httpcache.Stats {
	if t.zone == nil {
		return nil
	}
	s := t.zone.Stats()
	return &s
}

func anyCached(sys *topology.System) bool {
	for _, r := range sys.Routes {
		if r.HTTPCache != nil {
			return true
		}
	}
	return false
}

// cacheFor returns the store for a table that is built. The first that needs one opens it, and its budgets stay.
func (g *Gateway) cacheFor(sys *topology.System, old *table) error {
	if g.cache != nil {
		if old != nil && old.system != nil && anyCached(sys) && !sameStore(g.cacheOf, sys.HTTPCache) {
			return errors.New("gateway: reloading: http_cache is of another size or place: that takes a restart")
		}
		return nil
	}
	var err error
	if g.cache, err = newCache(sys); g.cache != nil {
		g.cacheOf = sys.HTTPCache
	}
	return err
}

func sameStore(a, b *topology.HTTPCacheStore) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// keepAnswers gives the targets of cached routes their zones, and has the answers to unsafe requests on routes that
// overlap with them invalidate what is stored (RFC 9111, 4.4).
func (g *Gateway) keepAnswers(t *table) {
	if g.cache == nil {
		return
	}
	for i, r := range t.system.Routes {
		to := t.routes[i]
		if h := r.HTTPCache; h != nil {
			to.zone = g.cache.Zone(to.traffic.name, httpcache.Rules{
				TTL: h.TTL.Std(), Heuristic: h.Heuristic, StaleWhileRevalidate: h.StaleWhileRevalidate.Std(),
				StaleIfError: h.StaleIfError.Std(), MaxObject: int64(h.MaxObject),
				Key: httpcache.Key{
					NoQuery: h.Key.NoQuery, Query: h.Key.Query, IgnoreQuery: h.Key.IgnoreQuery, Headers: h.Key.Headers, Cookies: h.Key.Cookies,
				},
			})
		}
		to.invalidates = overlaps(t.system.Routes, r)
	}
}

// overlaps reports whether unsafe requests on a route may be for what another route, or the route itself, keeps.
func overlaps(routes []*topology.Route, r *topology.Route) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions {
		return false
	}
	for _, o := range routes {
		if o.HTTPCache != nil && (strings.HasPrefix(o.Path, r.Path) || strings.HasPrefix(r.Path, o.Path)) {
			return true
		}
	}
	return false
}

// Purge drops what the cached routes keep, and returns how many answers that were. It returns an error if p is not valid
// or no route keeps anything.
func (g *Gateway) Purge(p httpcache.Purge) (int, error) {
	g.reloading.Lock()
	cache := g.cache
	g.reloading.Unlock()
	if cache == nil {
		return 0, errors.New("purging: no route has an http_cache")
	}
	return cache.Purge(p)
}

// closeCache ends the store, if there is one.
func (g *Gateway) closeCache() {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	if g.cache != nil {
		g.cache.Close()
	}
}

// cacheable reports whether the request may be answered by the cache; where it may not, its answer may still invalidate.
func (c *call) cacheable() bool {
	to := c.target
	if to.zone != nil && (c.r.Method == http.MethodGet || c.r.Method == http.MethodHead) && c.kept == nil && c.stream == nil && c.upgrading == "" {
		return true
	}
	switch {
	case to.zone != nil:
		c.w.ResponseWriter = to.zone.Passing(c.w.ResponseWriter, c.r)
	case to.invalidates:
		c.w.ResponseWriter = c.g.cache.Invalidating(c.w.ResponseWriter, c.r)
	}
	return false
}

// errBroken tells the cache that an answer broke off, or that there is none. What the gateway answers by itself in a
// backend's place is an answer like others.
var errBroken = errors.New("no whole answer came")

// fetched is what is known of the fetch for a call, which may outlive it.
type fetched struct {
	sync.Mutex
	call *call
	f    fault
}

// fromCache answers from the cache, which asks the backends where it has to.
func (c *call) fromCache() (int, fault) {
	c.set(c.w.Header(), headerRequestID, c.requestID)
	c.writeWithin(c.left())
	r := c.r.WithContext(c.ctx)
	r.Header = c.header // what backends see is what answers vary by
	var own fetched
	res := c.serveKept(r, c.fetcher(&own))
	own.Lock()
	defer own.Unlock()
	if s := own.call; s != nil && res.Fetched {
		c.upstream, c.headAt, c.attempts = s.upstream, s.headAt, s.attempts
	}
	switch {
	case res.Status == 0:
		delete(c.w.Header(), headerRequestID)
		if c.ctx.Err() != nil {
			return c.refuse(c.ended())
		}
		return c.refuse(fault{kind: cmp.Or(own.f.kind, internalError), detail: "the answer could not be fetched"})
	case res.Err == nil:
		if res.Fetched {
			return res.Status, own.f
		}
		return res.Status, fault{}
	case errors.Is(res.Err, httpcache.ErrClient) || c.r.Context().Err() != nil:
		return res.Status, fault{kind: clientClosed, detail: "the client went away"}
	}
	return res.Status, fault{kind: responseIncomplete, detail: fmt.Sprintf("the answer broke off: %v", res.Err)}
}

// serveKept has the cache answer, compressed where the route asks for it.
func (c *call) serveKept(r *http.Request, fetch httpcache.Fetch) httpcache.Result {
	cfg := c.target.compress
	if cfg == nil {
		return c.target.zone.Serve(c.w, r, fetch)
	}
	p := &packer{ResponseWriter: c.w, r: r, cfg: cfg}
	res := c.target.zone.Serve(p, r, fetch)
	if res.Status != 0 && res.Err == nil && p.end() != nil {
		res.Err = httpcache.ErrClient
	}
	return res
}

// fetcher returns how the cache asks the backends on behalf of the call. It uses nothing of the call that changes, for
// it may go on when that is over.
func (c *call) fetcher(own *fetched) httpcache.Fetch {
	g, to, id, trace, outer, rules, class := c.g, c.target, c.requestID, c.trace, c.timer, c.rules, c.class
	return func(w http.ResponseWriter, r *http.Request) error {
		s := &call{
			walk: walk{g: g, target: to, start: g.now(), idempotent: policy.Idempotent(r.Method), requestID: id, trace: trace, rules: rules, class: class},
			w:    &meter{ResponseWriter: w}, r: r, header: maps.Clone(r.Header), outer: outer, // each try tells its deadline in the header
		}
		f := s.fetch()
		own.Lock()
		own.call, own.f = s, f
		own.Unlock()
		if f.kind == clientClosed || f.kind == responseIncomplete {
			return errBroken
		}
		return nil
	}
}

// fetch carries a call of the cache's to a backend.
func (c *call) fetch() fault {
	c.ctx, c.cancel = context.WithCancelCause(c.r.Context())
	defer c.cancel(errFinished)
	c.timer = time.AfterFunc(c.target.timeout, c.expire)
	defer c.timer.Stop()
	c.aim(c)
	c.enter(true)
	if f := c.admit(); f.kind != noFault {
		_, f = c.refuse(f)
		return f
	}
	if f := c.enterBound(); f.kind != noFault {
		c.leaveDoor(false)
		_, f = c.refuse(f)
		return f
	}
	_, f := c.carry()
	c.leaveBound(c.countsForBound(f))
	c.leaveDoor(c.countsForBound(f))
	return f
}
