package plan

import (
	"fmt"
	"slices"

	"github.com/banyanhq/banyan/queueing"
	"github.com/banyanhq/banyan/simulate"
	"github.com/banyanhq/banyan/topology"
)

// CachePrediction is what a cache of the file is expected to do.
type CachePrediction struct {
	Cache string `json:"cache"`
	// Rate of lookups a second, by requests that do not write: as many for each visit to a service that uses it as the route's demand
	// of that service or its 'work' says by 'calls', one if they say nothing.
	Rate float64 `json:"rate"`
	// HitRatio of the lookups, by Che's approximation: an LRU cache, requests independent of each other, in the long run. Where the file does not
	// say which keys are asked for, it is that of the curve from live traffic.
	HitRatio float64 `json:"hit_ratio"`
	// Memory that its entries may take, in bytes, and the hit ratio with twice as much: by the curve from live traffic (Live) where there is
	// one, otherwise by Che's approximation.
	Memory  float64 `json:"memory_bytes"`
	Doubled float64 `json:"hit_ratio_doubled"`
	Live    bool    `json:"live,omitempty"`
	// LiveHitRatio is that of the curve at the memory that the cache has.
	LiveHitRatio float64 `json:"live_hit_ratio,omitempty"`
	// Primaries share the keys of a cache that is a cluster. The busiest has this share of the lookups, for a key is at one of them, and
	// its core is full at Holds lookups a second of the whole cache. 0: it stands alone, or its keys are not known.
	Primaries int     `json:"primaries,omitempty"`
	Busiest   float64 `json:"busiest_share,omitempty"`
	Holds     float64 `json:"holds,omitempty"`
}

// CurvePoint is what share of its lookups a cache would answer with so many bytes of memory.
type CurvePoint struct{ Memory, HitRatio float64 }

// onCurve is the hit ratio with so much memory: between two points on the line between them. Curves are in order of memory, and not empty.
func onCurve(curve []CurvePoint, memory float64) float64 {
	for i, p := range curve {
		if memory > p.Memory {
			continue
		}
		if i == 0 {
			return p.HitRatio
		}
		was := curve[i-1]
		return was.HitRatio + (p.HitRatio-was.HitRatio)*(memory-was.Memory)/(p.Memory-was.Memory)
	}
	return curve[len(curve)-1].HitRatio
}

// cacheStore is a cache of the file whose keys are known, or of which a curve from live traffic is.
type cacheStore struct {
	name               string
	users              map[string]float64 // lookups of a visit to each service that uses it, where a route's demands do not say otherwise
	keys               int                // 0: not known
	skew               float64
	memory, entry, ttl float64 // bytes, bytes, seconds
	primaries          int
	lookup             float64 // seconds of CPU
	curve              []CurvePoint
}

// What a file means that leaves it out.
const (
	usualSkew   = 0.99
	usualMemory = 64 << 20
	usualEntry  = 1 << 10
	usualLookup = 10e-6 // seconds of CPU, as topology.Cache.Lookup says
)

func (m *model) addStores(sys *topology.System, o Options) {
	for name, v := range sys.Caches {
		if v.Keys == 0 && len(o.Curves[name]) == 0 {
			continue
		}
		c := cacheStore{name: name, users: map[string]float64{}, keys: v.Keys, skew: usualSkew, memory: usualMemory, entry: usualEntry, ttl: v.TTL.Std().Seconds(),
			primaries: v.Primaries(), lookup: usualLookup, curve: o.Curves[name]}
		if v.Lookup != nil && v.Lookup.CPU > 0 {
			c.lookup = v.Lookup.CPU.Std().Seconds()
		}
		if v.Skew != nil {
			c.skew = *v.Skew
		}
		if v.Memory > 0 {
			c.memory = float64(v.Memory)
		}
		if v.Entry > 0 {
			c.entry = float64(v.Entry)
		}
		for service, s := range sys.Services {
			if slices.Contains(s.Uses, "caches."+name) {
				c.users[service] = callsOf(s, "caches."+name)
			}
		}
		m.stores = append(m.stores, c)
	}
	slices.SortFunc(m.stores, func(a, b cacheStore) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
}

// describeCaches predicts the hit ratio of each cache at the rates of the routes.
func (m *model) describeCaches(p *Prediction, rates map[string]float64) error {
	for _, c := range m.stores {
		out := CachePrediction{Cache: c.name, Memory: c.memory}
		for _, route := range sortedKeys(rates) {
			if !m.writing[route] {
				out.Rate += rates[route] * c.lookups(m.demands[route])
			}
		}
		if out.Rate <= 0 {
			continue
		}
		if err := c.describe(&out); err != nil {
			return fmt.Errorf("caches.%s: %w", c.name, err)
		}
		p.Caches = append(p.Caches, out)
	}
	return nil
}

// lookups of one request with such demands.
func (c *cacheStore) lookups(demands map[string]demand) (n float64) {
	for _, service := range sortedKeys(c.users) {
		d := demands[service]
		calls, said := d.calls["caches."+c.name]
		if !said {
			calls = c.users[service]
		}
		n += d.visits * calls
	}
	return n
}

// describe predicts the hit ratio at a rate, with twice the memory as well, and what the nodes of a cluster bear.
func (c *cacheStore) describe(out *CachePrediction) error {
	if c.keys > 0 {
		family := topology.KeyFamily{Share: 1, Factors: []topology.KeyFactor{{Count: c.keys, Zipf: c.skew}}}
		objects, err := queueing.FamilyObjects(factorsOf(&family), false, out.Rate)
		if err != nil {
			return err
		}
		for _, of := range []struct {
			memory float64
			into   *float64
		}{{c.memory, &out.HitRatio}, {2 * c.memory, &out.Doubled}} {
			uses, err := queueing.SharedCache([]queueing.CacheClass{{Objects: objects, Size: c.entry, TTL: c.ttl}}, of.memory)
			if err != nil {
				return err
			}
			*of.into = uses[0].HitRatio
		}
		if c.primaries > 1 {
			// The hottest key, and of the others as much as every primary has.
			hottest := 0.0
			for _, o := range objects {
				hottest = max(hottest, o.Rate/out.Rate)
			}
			out.Primaries, out.Busiest = c.primaries, hottest+(1-hottest)/float64(c.primaries)
			out.Holds = 1 / (c.lookup * out.Busiest)
		}
	}
	if len(c.curve) > 0 {
		out.Live, out.LiveHitRatio, out.Doubled = true, onCurve(c.curve, c.memory), onCurve(c.curve, 2*c.memory)
		if c.keys == 0 {
			out.HitRatio = out.LiveHitRatio
		}
	}
	return nil
}

// storeHits compares the hit ratios of caches of the file; nil where none was predicted and measured.
func storeHits(p *Prediction, sim *simulate.Result, m *Measurement) map[string]Pair {
	simulated := map[string]float64{}
	if sim != nil {
		for i := range sim.Blocks {
			simulated[sim.Blocks[i].Block] = sim.Blocks[i].HitRatio.Value
		}
	}
	var out map[string]Pair
	for _, c := range p.Caches {
		measured, ok := m.CacheHits[c.Cache]
		if !ok {
			continue
		}
		if out == nil {
			out = map[string]Pair{}
		}
		out[c.Cache] = pair(c.HitRatio, simulated["caches."+c.Cache], measured)
	}
	return out
}
