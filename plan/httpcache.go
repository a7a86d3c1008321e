package plan

import (
	"fmt"
	"math"

	"github.com/banyanhq/banyan/queueing"
	"github.com/banyanhq/banyan/topology"
)

// cachedRoute is a route whose gateway keeps answers. What is hit asks no service for anything.
type cachedRoute struct {
	name  string
	keys  topology.KeyPopularity
	size  float64 // bytes of an object, bookkeeping included
	ttl   float64 // seconds, 0 for good
	base  map[string]demand
	entry string
	hit   float64
}

// objectOverhead is about what the gateway spends on an object beside its body: fields and bookkeeping.
const objectOverhead = 1000

// addCache takes note of a route's cache.
func (m *model) addCache(sys *topology.System, route *topology.Route, demands map[string]demand) error {
	h := route.HTTPCache
	if h == nil {
		return nil
	}
	keys, ok := sys.CachedKeys(route)
	if !ok {
		m.notes = append(m.notes, fmt.Sprintf("%s: nothing tells which answers http_cache is asked for, so that the prediction is as if every request reached %s: "+
			"give its 'objects', or the workload's paths variables", route.Name, route.To))
		return nil
	}
	size, ttl := h.KeptObject()
	m.caches = append(m.caches, &cachedRoute{
		name: route.Name, keys: keys, size: float64(size) + objectOverhead, ttl: ttl.Std().Seconds(), base: demands, entry: route.To,
	})
	text := "fresh for good"
	if ttl > 0 {
		text = "fresh for " + ttl.String()
	}
	m.notes = append(m.notes, fmt.Sprintf("%s: hits of http_cache by Che's approximation (an LRU cache, requests independent of each other, in the long run): %s, of %v each (and %d B beside), %s, in %v for all routes",
		route.Name, keys.Assumption, size, objectOverhead, text, sys.HTTPMemory()))
	if h.StaleWhileRevalidate > 0 {
		m.notes = append(m.notes, fmt.Sprintf("%s: answers that stale_while_revalidate serves while they are fetched again count as misses", route.Name))
	}
	return nil
}

// settleCaches finds the hit ratios at the load's rates, and takes hits off what services are asked. At other rates of
// the same model (where it saturates, what growth brings) they stay as they are, which underrates those of objects with
// a TTL at more load.
func (m *model) settleCaches(sys *topology.System, load Load) error {
	if len(m.caches) == 0 {
		return nil
	}
	rates, turns := load.Rates, 1
	if load.Users > 0 {
		// The throughput depends on the hits, and they on it where objects expire: more hits give more throughput, and
		// that more hits, so that the iteration rises from none to the fixed point.
		rates, turns = load.Mix, 12
	}
	last := math.Inf(-1)
	for range turns {
		if load.Users > 0 {
			s, err := m.compile(sys, load.Mix)
			if err != nil {
				return err
			}
			x, err := s.closed(load.Users, load.Think.Seconds())
			if err != nil {
				return err
			}
			rates = map[string]float64{}
			for _, r := range s.routes {
				rates[r.name] = x * r.share
			}
			if math.Abs(x-last) < 1e-4*x {
				break
			}
			last = x
		}
		if err := m.hitRatios(float64(sys.HTTPMemory()), rates); err != nil {
			return err
		}
	}
	return nil
}

// hitRatios of all routes, which share the memory.
func (m *model) hitRatios(memory float64, rates map[string]float64) error {
	var classes []queueing.CacheClass
	for _, c := range m.caches {
		for i := range c.keys.Families {
			f := &c.keys.Families[i]
			objects, err := queueing.FamilyObjects(factorsOf(f), f.Unbounded, f.Share*rates[c.name])
			if err != nil {
				return fmt.Errorf("route %s: %w", c.name, err)
			}
			classes = append(classes, queueing.CacheClass{Objects: objects, Size: c.size, TTL: c.ttl})
		}
	}
	uses, err := queueing.SharedCache(classes, memory)
	if err != nil {
		return err
	}
	for _, c := range m.caches {
		c.hit = 0
		for i := range c.keys.Families {
			c.hit += c.keys.Families[i].Share * uses[i].HitRatio
		}
		uses = uses[len(c.keys.Families):]
		m.demands[c.name] = c.demands()
	}
	return nil
}

// demands are those of a route with its hits. Demands that were measured while a cache worked visit services less than
// once a request already: what counts is how they are spread over the requests that get there.
func (c *cachedRoute) demands() map[string]demand {
	scale := 1 - c.hit
	if v := c.base[c.entry].visits; v > 0 && v < 1 {
		scale /= v
	}
	out := make(map[string]demand, len(c.base))
	for name, d := range c.base {
		if name != Gateway && name != Client {
			d.visits *= scale
		}
		out[name] = d
	}
	return out
}

// cacheOf returns a route's cache, nil where there is none.
func (m *model) cacheOf(route string) *cachedRoute {
	for _, c := range m.caches {
		if c.name == route {
			return c
		}
	}
	return nil
}

// A latency is that of a hit, which costs what the gateway itself does, or of a miss. The model's mean is over both, and its variance
// that of misses in proportion to their share: with miss ratio m, and mean and variance of a miss M and V, these are
// m M and m V.

// variance of the latency over hits and misses.
func (c *cachedRoute) variance(mean, variance float64) float64 {
	if c == nil || c.hit <= 0 || c.hit >= 1 {
		return variance
	}
	miss := 1 - c.hit
	return variance + miss*c.hit*(mean/miss)*(mean/miss)
}

// quantile of the latency over hits and misses.
func (c *cachedRoute) quantile(mean, variance, p float64) (float64, error) {
	if c == nil || c.hit <= 0 {
		return queueing.FittedQuantile(mean, variance, p)
	}
	if c.hit >= p {
		var own float64
		for _, name := range []string{Gateway, Client} {
			d := c.base[name]
			own += d.visits * (d.cpu + d.delay)
		}
		return own, nil
	}
	miss := 1 - c.hit
	return queueing.FittedQuantile(mean/miss, variance/miss, (p-c.hit)/miss)
}

func factorsOf(f *topology.KeyFamily) []queueing.ZipfFactor {
	out := make([]queueing.ZipfFactor, len(f.Factors))
	for i, k := range f.Factors {
		out[i] = queueing.ZipfFactor(k)
	}
	return out
}
