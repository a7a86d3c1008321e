package simulate

import (
	"fmt"
	"math"
	"strings"

	"github.com/banyanhq/banyan/queueing"
	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

// httpCacheModel is what the gateway keeps of a route's answers.
type httpCacheModel struct {
	families []keyFamily
	readers  float64 // share of the route's requests that a cache may answer
	keys     uint64
	capacity int32
	ttl      int64
	size     float64
	topology topology.KeyPopularity
}

// keyFamily is the keys of one path with its variables.
type keyFamily struct {
	upTo    float64 // share of this one and those before it, of all requests of the route
	first   uint64
	factors []keyFactor
	never   bool // no key is asked for twice
}

type keyFactor struct {
	count uint64
	zipf  *stats.Zipf // nil: all are as likely
}

// httpCache is a httpCacheModel at work.
type httpCache struct {
	*httpCacheModel
	lru   *lru
	draws *stream
}

// objectOverhead is about what the gateway spends on an object beside its body: fields and bookkeeping.
const objectOverhead = 1000

// httpCache compiles a route's cache; none where it has none, or nothing tells what it is asked for.
func (c *compiler) httpCache(route *topology.Route) (int32, error) {
	h := route.HTTPCache
	if h == nil {
		return none, nil
	}
	keys, ok := c.sys.CachedKeys(route)
	if !ok {
		c.assume("%s: nothing tells which answers http_cache is asked for: every request is simulated as reaching %s; give its 'objects', or the workload's paths variables", route.Name, route.To)
		return none, nil
	}
	size, ttl := h.KeptObject()
	m := httpCacheModel{size: float64(size) + objectOverhead, ttl: int64(ttl), topology: keys}
	for i := range keys.Families {
		f := &keys.Families[i]
		m.readers += f.Share
		k := keyFamily{upTo: m.readers, first: m.keys, never: f.Unbounded}
		for _, factor := range f.Factors {
			kf := keyFactor{count: uint64(factor.Count)}
			if factor.Zipf > 0 {
				var err error
				if kf.zipf, err = stats.NewZipf(kf.count, factor.Zipf); err != nil {
					return none, err
				}
			}
			k.factors = append(k.factors, kf)
		}
		m.keys += uint64(f.Keys())
		m.families = append(m.families, k)
	}
	if m.keys > maxCacheKeys {
		return none, fmt.Errorf("http_cache: %d different answers are asked for: at most %d are simulated", m.keys, maxCacheKeys)
	}
	c.assume("%s: http_cache is simulated as an LRU cache: %s; requests that miss the same answer at the same time all reach %s, and what is stale is never served", route.Name, keys.Assumption, route.To)
	c.m.httpCaches = append(c.m.httpCaches, m)
	return int32(len(c.m.httpCaches) - 1), nil
}

// hitRoot is the node of requests that are answered from the cache: only the gateway and the client have work with them.
func (c *compiler) hitRoot(root *node) (int32, error) {
	hit := node{service: none, block: none}
	for _, call := range root.calls {
		if name := c.nameOf(call.node); name == Gateway || name == Client {
			hit.calls = append(hit.calls, call)
		}
	}
	return c.addNode(hit)
}

// missRoot has those requests that reach a service reach it once at least: in demands that were measured while a cache
// worked, they are spread over the hits.
func (c *compiler) missRoot(root *node) {
	for i := range root.calls {
		call := &root.calls[i]
		if name := c.nameOf(call.node); name != Gateway && name != Client && call.mean > 0 && call.mean < 1 {
			call.mean = 1
		}
	}
}

func (c *compiler) nameOf(n int32) string {
	if s := c.m.nodes[n].service; s != none {
		return c.m.services[s].name
	}
	return ""
}

// shareMemory divides the memory of all cached answers between the routes, as it comes to be in an LRU cache that they
// share: by Che's approximation.
func (c *compiler) shareMemory() error {
	if len(c.m.httpCaches) == 0 {
		return nil
	}
	rates := map[int32]float64{}
	before := 0.0
	for _, sc := range c.m.load.scenarios {
		for _, st := range sc.steps {
			rates[st.route] += (sc.share - before) * st.weight
		}
		before = sc.share
	}
	var classes []queueing.CacheClass
	for i, r := range c.m.routes {
		if r.cache == none {
			continue
		}
		m := &c.m.httpCaches[r.cache]
		for k := range m.topology.Families {
			f := &m.topology.Families[k]
			var factors []queueing.ZipfFactor
			for _, z := range f.Factors {
				factors = append(factors, queueing.ZipfFactor(z))
			}
			objects, err := queueing.FamilyObjects(factors, f.Unbounded, f.Share*rates[int32(i)])
			if err != nil {
				return err
			}
			classes = append(classes, queueing.CacheClass{Objects: objects, Size: m.size})
		}
	}
	uses, err := queueing.SharedCache(classes, float64(c.sys.HTTPMemory()))
	if err != nil {
		return err
	}
	for _, r := range c.m.routes {
		if r.cache == none {
			continue
		}
		m := &c.m.httpCaches[r.cache]
		held := 0.0
		for k := range m.topology.Families {
			if !m.topology.Families[k].Unbounded {
				held += uses[k].Held
			}
		}
		uses = uses[len(m.topology.Families):]
		m.capacity = int32(min(max(math.Round(held), 1), float64(max(m.keys, 1))))
	}
	return nil
}

func (s *sim) newHTTPCache(m *httpCacheModel, route string) httpCache {
	c := httpCache{httpCacheModel: m, draws: s.stream("keys of " + route)}
	if m.keys > 0 {
		c.lru = newLRU(noSlots(m.keys), m.capacity, m.ttl)
		for range min(4*int(m.capacity)+4*int(min(m.keys, uint64(m.capacity))), 2_000_000) {
			if key, ok := c.key(c.draws.uniform() * m.readers); ok && !c.lru.get(key, 0) {
				c.lru.put(key, 0)
			}
		}
		c.lru.age(c.draws)
	}
	return c
}

// key draws what a request asks for; false where nothing else will ever ask for it. at says which family, by its share.
func (c *httpCache) key(at float64) (uint64, bool) {
	i := 0
	for i < len(c.families)-1 && at >= c.families[i].upTo {
		i++
	}
	f := &c.families[i]
	if f.never {
		return 0, false
	}
	key := uint64(0)
	for _, k := range f.factors {
		rank := uint64(0)
		if k.zipf != nil {
			rank = k.zipf.Draw(c.draws.uniform)
		} else {
			rank = min(uint64(c.draws.uniform()*float64(k.count)), k.count-1)
		}
		key = key*k.count + rank
	}
	return f.first + key, true
}

// fromCache looks for the answer to a request; where it has it, it sets the request's node to that of hits.
func (s *sim) fromCache(r *request, v *visit, st *step) {
	route := &s.m.routes[st.route]
	c := &s.httpCaches[route.cache]
	at := c.draws.uniform()
	if st.sent != nil {
		if m := strings.ToUpper(st.sent.Method); m != "" && m != "GET" && m != "HEAD" {
			return
		}
		at *= c.readers
	} else if at >= c.readers {
		return
	}
	key, ok := c.key(at)
	if !ok || c.lru == nil {
		return
	}
	if c.lru.get(key, s.now) {
		v.node = route.hit
		if s.tally.measuring {
			s.tally.routes[st.route].hits++
		}
		return
	}
	r.key = key + 1
}

// keepAnswer stores the answer to a request that missed.
func (s *sim) keepAnswer(r *request, outcome Outcome) {
	if r.key > 0 && outcome == OK {
		s.httpCaches[s.m.routes[r.route].cache].lru.put(r.key-1, s.now)
	}
}
