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
	// Rate of lookups a second: one for each visit to a service that uses it.
	Rate float64 `json:"rate"`
	// HitRatio of the lookups, by Che's approximation: an LRU cache, requests independent of each other, in the long run.
	HitRatio float64 `json:"hit_ratio"`
}

// cacheStore is a cache of the file whose keys are known.
type cacheStore struct {
	name               string
	users              []string
	keys               int
	skew               float64
	memory, entry, ttl float64 // bytes, bytes, seconds
}

// What a file means that leaves it out.
const (
	usualSkew   = 0.99
	usualMemory = 64 << 20
	usualEntry  = 1 << 10
)

func (m *model) addStores(sys *topology.System) {
	for name, v := range sys.Caches {
		if v.Keys == 0 {
			continue
		}
		c := cacheStore{name: name, keys: v.Keys, skew: usualSkew, memory: usualMemory, entry: usualEntry, ttl: v.TTL.Std().Seconds()}
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
				c.users = append(c.users, service)
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
		out := CachePrediction{Cache: c.name}
		for route, rate := range rates {
			for _, service := range c.users {
				out.Rate += rate * m.demands[route][service].visits
			}
		}
		if out.Rate <= 0 {
			continue
		}
		family := topology.KeyFamily{Share: 1, Factors: []topology.KeyFactor{{Count: c.keys, Zipf: c.skew}}}
		objects, err := queueing.FamilyObjects(factorsOf(&family), false, out.Rate)
		if err != nil {
			return fmt.Errorf("caches.%s: %w", c.name, err)
		}
		uses, err := queueing.SharedCache([]queueing.CacheClass{{Objects: objects, Size: c.entry, TTL: c.ttl}}, c.memory)
		if err != nil {
			return fmt.Errorf("caches.%s: %w", c.name, err)
		}
		out.HitRatio = uses[0].HitRatio
		p.Caches = append(p.Caches, out)
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
