package simulate

import (
	"math"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/stats"
)

// keyCache is a cache whose keys are the ranks of a distribution.
type keyCache interface {
	// get reports whether the cache has a key, and put stores one.
	get(key uint64, now int64) bool
	put(key uint64, now int64)
	drop(key uint64)
	clear()
	fill(zipf *stats.Zipf, draws *stream)
}

var (
	_ keyCache = (*lru)(nil)
	_ keyCache = (*tinyCache)(nil)
)

// tinyCache is an embedded cache: the same decisions about the same keys as the one that runs, by policy.TinyLFU.
type tinyCache struct {
	policy   *policy.TinyLFU
	number   []uint32 // by key: its number in the policy, NoEntry where it is not held
	key      []uint32 // by number
	expires  []int64
	capacity int
	ttl      int64 // 0: entries do not expire
}

func newTinyCache(keys uint64, capacity int32, ttl int64) *tinyCache {
	c := &tinyCache{number: make([]uint32, keys), key: make([]uint32, capacity+1), expires: make([]int64, capacity+1), capacity: int(capacity), ttl: ttl}
	c.clear()
	return c
}

func (c *tinyCache) clear() {
	c.policy = policy.NewTinyLFU()
	for i := range c.number {
		c.number[i] = policy.NoEntry
	}
}

// fill warms the cache up, as that of an lru.
func (c *tinyCache) fill(zipf *stats.Zipf, draws *stream) {
	for k := min(c.capacity, len(c.number)) - 1; k >= 0; k-- {
		c.put(uint64(k), 0)
	}
	for range min(20*c.capacity, 2_000_000) { // the policy has to learn how often keys are asked for
		k := uint64(draws.uniform() * float64(len(c.number)))
		if zipf != nil {
			k = zipf.Draw(draws.uniform)
		}
		if !c.get(k, 0) {
			c.put(k, 0)
		}
	}
	if c.ttl > 0 {
		for i := range c.expires {
			c.expires[i] = int64(draws.uniform() * float64(c.ttl))
		}
	}
}

func (c *tinyCache) get(key uint64, now int64) bool {
	i := c.number[key]
	if i != policy.NoEntry && c.ttl > 0 && c.expires[i] <= now {
		c.drop(key)
		i = policy.NoEntry
	}
	if i == policy.NoEntry {
		c.policy.Miss()
		return false
	}
	c.policy.Hit(i)
	return true
}

func (c *tinyCache) put(key uint64, now int64) {
	i := c.number[key]
	if i == policy.NoEntry {
		i = c.policy.Add(hashKey(key))
		c.number[key], c.key[i] = i, uint32(key)
	}
	c.expires[i] = math.MaxInt64
	if c.ttl > 0 {
		c.expires[i] = now + c.ttl
	}
	for c.policy.Len() > c.capacity {
		c.drop(uint64(c.key[c.policy.Victim()]))
	}
}

func (c *tinyCache) drop(key uint64) {
	if i := c.number[key]; i != policy.NoEntry {
		c.policy.Remove(i)
		c.number[key] = policy.NoEntry
	}
}

// hashKey spreads ranks over all 64 bits (the finaliser of MurmurHash3, A. Appleby).
func hashKey(k uint64) uint64 {
	k = (k ^ k>>33) * 0xff51afd7ed558ccd
	k = (k ^ k>>33) * 0xc4ceb9fe1a85ec53
	return k ^ k>>33
}
