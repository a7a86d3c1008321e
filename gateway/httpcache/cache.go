package httpcache

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Config of a Cache. Zero means the default, field by field.
type Config struct {
	// Memory is the budget in bytes for what is kept in memory, bookkeeping included. Default 64 MiB.
	Memory int64
	// Dir is the folder of the disk tier. Default: there is none. Disk is its budget in bytes; default 1 GiB.
	Dir  string
	Disk int64
	// Name of the cache in Cache-Status (RFC 9211). Default banyan.
	Name string
	// Drop names fields, in canonical form, that are never stored.
	Drop []string
	// MaxBackground is how many refreshes may run that no client waits for. Default 64.
	MaxBackground int
	// Now is the wall clock. Default time.Now.
	Now func() time.Time
	// Random gives numbers from 0 to 1 that spread early refreshes; it must be safe for concurrent use.
	Random func() float64
}

// Fetch asks the origin, and writes its answer to w. It returns an error where the answer broke off, ErrIncomplete if it
// has none that says more. It must end when the request's context does. It may run on another goroutine than its
// request's handler, and go on when that has returned.
type Fetch func(w http.ResponseWriter, r *http.Request) error

// ErrIncomplete means that an answer broke off after its head was passed on.
var ErrIncomplete = errors.New("httpcache: the answer broke off")

// ErrClosed means that the cache was closed.
var ErrClosed = errors.New("httpcache: closed")

// Cache is a shared HTTP cache. Its methods are safe for concurrent use.
type Cache struct {
	cfg   Config
	store *store
	disk  *disk // nil: there is none

	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	closed  bool
	flying  sync.WaitGroup // flights; added to under mu
	flights map[string]*flight
	byRes   map[string]map[*flight]struct{} // all flights of a resource
	zones   []*Zone
	inBack  int
}

// New returns an empty cache. Open takes its disk tier into use, Close ends it.
func New(cfg Config) (*Cache, error) {
	if cfg.Memory == 0 {
		cfg.Memory = 64 << 20
	}
	if cfg.Disk == 0 {
		cfg.Disk = 1 << 30
	}
	if cfg.Name == "" {
		cfg.Name = "banyan"
	}
	if cfg.MaxBackground == 0 {
		cfg.MaxBackground = 64
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Random == nil {
		cfg.Random = rand.Float64
	}
	if cfg.Memory < 0 || cfg.Disk < 0 || cfg.MaxBackground < 0 {
		return nil, errors.New("httpcache: a budget is negative")
	}
	c := &Cache{cfg: cfg, store: newStore(cfg.Memory), flights: map[string]*flight{}, byRes: map[string]map[*flight]struct{}{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// Open takes the disk tier into use, if there is one, with what it holds. It must not be called while requests are
// served. The folder is one cache's at a time, of whatever process: Open fails where another one has it.
func (c *Cache) Open() error {
	if c.cfg.Dir == "" || c.disk != nil {
		return nil
	}
	d := newDisk(c.cfg.Dir, c.cfg.Disk)
	if err := d.open(); err != nil {
		return err
	}
	go d.run()
	c.disk = d
	return nil
}

// OpenLater is Open for a folder that another cache is about to leave: what it holds is taken into use as soon as that has
// been done. Requests wait for that for two seconds at most, and go on without; what is stored until then is written
// afterwards. It must not be called while
// requests are served either. The log is told of what goes wrong later; the cache has no disk tier then.
func (c *Cache) OpenLater(log *slog.Logger) error {
	if c.cfg.Dir == "" || c.disk != nil {
		return nil
	}
	c.disk = newDisk(c.cfg.Dir, c.cfg.Disk)
	c.disk.soon = time.Now().Add(openPatience)
	go c.disk.openLater(log)
	return nil
}

// Release leaves the disk tier to another cache: what is to be written is written, and nothing is from then on. What is
// there can still be read, and is removed where it is not valid any more.
func (c *Cache) Release() {
	if c.disk != nil {
		c.disk.close()
	}
}

// Close cuts fetches off and returns when none is left and what was to be written is.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.flying.Wait()
	if c.disk != nil {
		c.disk.close()
	}
}

func (c *Cache) now() time.Time { return c.cfg.Now() }

// Zone returns the handler of a route, with the rules that hold for it. All zones share the store; their names tell them
// apart in statistics.
func (c *Cache) Zone(name string, rules Rules) *Zone {
	if rules.MaxObject == 0 {
		rules.MaxObject = 1 << 20
	}
	for i, k := range rules.Key.Headers {
		rules.Key.Headers[i] = http.CanonicalHeaderKey(k)
	}
	z := &Zone{cache: c, name: name, rules: rules}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, old := range c.zones {
		if old.name == name { // a newer version of the route: its counts go on
			z.counts = old.counts
			c.zones[i] = z
			return z
		}
	}
	z.counts = new(counts)
	c.zones = append(c.zones, z)
	return z
}

// Zone is the cache as one route has it.
type Zone struct {
	cache *Cache
	name  string
	rules Rules
	*counts
}

// join returns the flight under a key that can be waited for, or starts one. found is an object that came to be stored
// meanwhile.
func (c *Cache) join(f *flight, mayJoin func(*flight) bool, look func() *object) (in *flight, rd *reader, found *object, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, nil, ErrClosed
	}
	rd = &reader{}
	if f.key != "" {
		if old := c.flights[f.key]; old != nil {
			old.mu.Lock()
			defer old.mu.Unlock()
			if mayJoin(old) {
				old.readers[rd] = struct{}{}
				return old, rd, nil, nil
			}
			f.key = ""
		} else if o := look(); o != nil {
			return nil, nil, o, nil
		}
	}
	if f.key != "" {
		c.flights[f.key] = f
	}
	if c.byRes[f.resource] == nil {
		c.byRes[f.resource] = map[*flight]struct{}{}
	}
	c.byRes[f.resource][f] = struct{}{}
	c.flying.Add(1)
	rd.leader = true
	f.readers[rd] = struct{}{}
	return f, rd, nil, nil
}

// launch sends a flight off.
func (c *Cache) launch(f *flight, r *http.Request, fetch Fetch, background bool) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	unhook := context.AfterFunc(c.ctx, cancel)
	f.mu.Lock()
	f.cancel = cancel
	f.mu.Unlock()
	r = r.WithContext(ctx)
	go func() {
		defer c.flying.Done()
		defer unhook()
		f.run(ctx, r, fetch)
		if background {
			c.mu.Lock()
			c.inBack--
			c.mu.Unlock()
		}
	}()
}

// land stores what a flight has brought, and takes it off the list. In this order: who does not find the flight finds the
// object.
func (c *Cache) land(f *flight) {
	f.mu.Lock()
	if f.whole && !f.doomed {
		o := newObject(f.resource, f.parts, f.request, f.status, f.kept, f.data, f.fresh)
		o.route = f.z
		f.result = o
		c.keep(f, o)
	}
	if f.phase == waiting {
		f.phase = failed
	}
	f.mu.Unlock()
	c.mu.Lock()
	if f.key != "" && c.flights[f.key] == f {
		delete(c.flights, f.key)
	}
	delete(c.byRes[f.resource], f)
	if len(c.byRes[f.resource]) == 0 {
		delete(c.byRes, f.resource)
	}
	c.mu.Unlock()
	f.mu.Lock()
	f.changed()
	f.mu.Unlock()
}

// keep stores what a flight has brought, unless it may be outdated. The caller holds the flight's mutex, so that nothing
// can be invalidated in between.
func (c *Cache) keep(f *flight, o *object) {
	if f.doomed {
		return
	}
	c.store.put(o)
	if o.decide(&directives{maxAge: absent, minFresh: absent, maxStale: absent}, c.now(), 1) == useValidate {
		c.store.mark(o.resource, c.now()) // each request has to ask: none waits for another
	}
	c.persist(o)
}

// clipped makes the slices of a header full, so that whoever appends to one gets a copy.
func clipped(h http.Header) http.Header {
	for key, values := range h {
		h[key] = values[:len(values):len(values)]
	}
	return h
}

// remove drops an object from all tiers.
func (c *Cache) remove(o *object) {
	if c.disk != nil {
		c.disk.removeResource(o.resource, o.variant()) // first, or it could come back from there
	}
	c.store.drop(o)
}

// persist writes an object to the disk tier, if there is one, in its own time.
func (c *Cache) persist(o *object) {
	if c.disk != nil {
		c.disk.write(o)
	}
}

// doom sees to it that what flights bring is not stored. The caller must not hold the mutex.
func (c *Cache) doom(which func(f *flight) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, set := range c.byRes {
		for f := range set {
			c.doomOne(f, which)
		}
	}
}

func (c *Cache) doomOne(f *flight, which func(f *flight) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if which(f) {
		f.doomed = true
	}
}

// flightKey is under which those find a flight who may wait for it: the resource, and what is known to tell its variants
// apart.
func flightKey(resource, parts []byte, all []*object, h http.Header) string {
	var b strings.Builder
	b.Write(resource)
	b.WriteByte(0)
	b.Write(parts)
	for _, o := range all {
		for _, name := range o.names {
			b.WriteByte(0)
			b.WriteString(normalised(name, h[name]))
		}
	}
	return b.String()
}
