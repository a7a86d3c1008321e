package simulate

import (
	"math"
	"slices"

	"github.com/banyanhq/banyan/policy"
)

// keyCache is a cache whose keys are the ranks of a distribution.
type keyCache interface {
	// get reports whether the cache has a key, and put stores one.
	get(key uint64, now int64) bool
	put(key uint64, now int64)
	drop(key uint64)
	clear()
	// age has what is there expire at any time of its life, for the beginning of a run.
	age(draws *stream)
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

// noKey is none of the keys that there can be.
const noKey = math.MaxUint32

// newTinyCache returns an empty one with room for so many keys. number, by key, says of each that it is not held; caches of which no
// two are ever asked for the same key may have it in common.
func newTinyCache(number []uint32, capacity int32, ttl int64) *tinyCache {
	return &tinyCache{policy: policy.NewTinyLFU(), number: number, key: slices.Repeat([]uint32{noKey}, int(capacity)+1),
		expires: make([]int64, capacity+1), capacity: int(capacity), ttl: ttl}
}

// noNumbers says of so many keys that they are not held.
func noNumbers(keys uint64) []uint32 { return slices.Repeat([]uint32{policy.NoEntry}, int(keys)) }

func (c *tinyCache) clear() {
	c.policy = policy.NewTinyLFU()
	for _, k := range c.key { // all that it ever had
		if k != noKey {
			c.number[k] = policy.NoEntry
		}
	}
}

func (c *tinyCache) age(draws *stream) { ageAll(c.expires, c.ttl, draws) }

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
