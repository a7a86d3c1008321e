package policy

import "math"

// CurveSizes are the sizes of which a MissCurve tells, as multiples of the cache's own.
var CurveSizes = [...]float64{0.25, 0.5, 0.75, 1, 1.5, 2, 4}

const (
	// mostSampled keys a cache of its own size may hold in miniature before fewer are sampled: the curve is exact to about a
	// point with a thousand (Waldspurger et al., 2017), and takes two megabytes at most.
	mostSampled = 2048
	// firstHalves is how often all keys are halved for those that are sampled at first, so that small caches do not pay as
	// much for the curve as they hold.
	firstHalves = 5
	// curveEntry is what a sampled key takes in a miniature, and curveFixed what a curve takes besides.
	curveEntry = 12 + 1 + 16 + 48 + 16
	curveFixed = len(CurveSizes) * chunkLen * 16
	// curveMemory is after how many sampled requests those before them count half.
	curveMemory = 10_000
	// leastForCurve sampled requests say something.
	leastForCurve = 1000
)

// MissCurve tells from live traffic what share of the requests a cache would answer if it were smaller or larger, by
// miniature simulation (Waldspurger, Saemundsson, Ahmad and Park, Cache Modeling and Optimization using Miniature
// Simulations, USENIX ATC 2017): of all keys a share is sampled by their hashes, and what is asked of these is played
// against caches that are smaller by the same share, each with the very policy of the real one, TinyLFU. How many more or
// fewer requests the sampled keys get than their share is put down to keys that every size holds (SHARDS_adj, Waldspurger,
// Park, Garthwaite and Ahmad, Efficient MRC Construction with SHARDS, FAST 2015).
//
// Calls must be serialised by the caller. What a request that is not sampled costs is a comparison and an addition.
type MissCurve struct {
	bound    uint64 // keys with a mixed hash up to it are sampled
	rate     float64
	expected float64 // requests that the sampled keys should have got
	asked    float64 // that they did get
	answered float64 // of expected, those that the cache itself had the key of, sampled or not
	minis    [len(CurveSizes)]miniature
	entries  int // of all miniatures
}

// miniature is a small cache of sampled keys.
type miniature struct {
	policy  *TinyLFU
	entries map[uint64]uint32 // by hash: the number in the policy
	keys    []uint64          // by that number: the hash
	until   []int64           // by that number: when it expires; 0: never
	hits    float64
}

// CurvePoint is the share of the requests that a cache of so many times its size would answer.
type CurvePoint struct {
	Size, HitRatio float64
}

// NewMissCurve returns one that knows nothing yet.
func NewMissCurve() *MissCurve {
	c := &MissCurve{bound: math.MaxUint64 >> firstHalves, rate: 1.0 / (1 << firstHalves)}
	for i := range c.minis {
		c.minis[i] = miniature{policy: NewTinyLFU(), entries: map[uint64]uint32{}}
	}
	return c
}

// mixed spreads hashes anew: what decides on a key's place elsewhere does not decide on whether it is sampled.
func mixed(hash uint64) uint64 {
	hash *= 0x9e3779b97f4a7c15
	return hash ^ hash>>29
}

// Asked counts that a key was asked for at an instant (milliseconds), when the cache held so many entries. there says that
// it had the key, until an instant (0: for ever): a smaller cache, that has not, would then be given it.
func (c *MissCurve) Asked(hash uint64, now int64, held int, there bool, until int64) {
	c.expected += c.rate
	if there {
		c.answered += c.rate
	}
	if mixed(hash) > c.bound {
		return
	}
	c.asked++
	for i := range c.minis {
		m := &c.minis[i]
		if n, ok := m.find(hash, now); ok {
			m.policy.Hit(n)
			m.hits++
		} else {
			m.policy.Miss()
			if there {
				c.store(i, hash, until, held)
			}
		}
	}
	if c.asked >= curveMemory {
		c.asked, c.expected, c.answered = c.asked/2, c.expected/2, c.answered/2
		for i := range c.minis {
			c.minis[i].hits /= 2
		}
	}
	for float64(held)*c.rate > mostSampled {
		c.sampleFewer()
	}
}

// Stored counts that a key was stored, until an instant (0: for ever), when the cache held so many entries.
func (c *MissCurve) Stored(hash uint64, now, until int64, held int) {
	if mixed(hash) > c.bound {
		return
	}
	for i := range c.minis {
		m := &c.minis[i]
		if n, ok := m.find(hash, now); ok {
			m.policy.Hit(n)
			m.until[n] = until
		} else {
			c.store(i, hash, until, held)
		}
	}
}

// store puts a key into a miniature that does not have it, which then holds as many as are its share.
func (c *MissCurve) store(i int, hash uint64, until int64, held int) {
	m := &c.minis[i]
	before := m.policy.Len()
	m.until[m.add(hash)] = until
	m.shrink(max(1, int(CurveSizes[i]*float64(held)*c.rate+0.5)))
	c.entries += m.policy.Len() - before
}

// Dropped counts that a key was deleted.
func (c *MissCurve) Dropped(hash uint64) {
	if mixed(hash) > c.bound {
		return
	}
	for i := range c.minis {
		if n, ok := c.minis[i].entries[hash]; ok {
			c.minis[i].remove(n)
			c.entries--
		}
	}
}

// sampleFewer leaves half of the sampled keys out from now on.
func (c *MissCurve) sampleFewer() {
	c.bound /= 2
	c.rate /= 2
	for i := range c.minis {
		for hash, n := range c.minis[i].entries {
			if mixed(hash) > c.bound {
				c.minis[i].remove(n)
				c.entries--
			}
		}
	}
}

// Points of the curve, by size; nil before enough was asked for.
func (c *MissCurve) Points() []CurvePoint {
	if c.asked < leastForCurve {
		return nil
	}
	points := make([]CurvePoint, len(CurveSizes))
	own := 0.0
	for i, size := range CurveSizes {
		points[i] = CurvePoint{size, (c.minis[i].hits + c.expected - c.asked) / c.expected}
		if size == 1 {
			own = points[i].HitRatio
		}
	}
	// What its own size answers is known: by as much as the miniature is off there, all are put right. More room never
	// answers less, but for chance and the policy's adapting.
	best := 0.0
	for i := range points {
		best = max(best, min(points[i].HitRatio+c.answered/c.expected-own, 1))
		points[i].HitRatio = best
	}
	return points
}

// Bytes is about what it takes.
func (c *MissCurve) Bytes() int64 { return int64(c.entries*curveEntry + curveFixed) }

// find returns the number of a key that is there and has not expired.
func (m *miniature) find(hash uint64, now int64) (n uint32, ok bool) {
	if n, ok = m.entries[hash]; ok && m.until[n] != 0 && m.until[n] <= now {
		m.remove(n)
		return 0, false
	}
	return n, ok
}

func (m *miniature) add(hash uint64) uint32 {
	n := m.policy.Add(hash)
	for int(n) >= len(m.keys) {
		m.keys, m.until = append(m.keys, 0), append(m.until, 0)
	}
	m.keys[n] = hash
	m.entries[hash] = n
	return n
}

func (m *miniature) remove(n uint32) {
	delete(m.entries, m.keys[n])
	m.policy.Remove(n)
}

// shrink evicts down to so many entries.
func (m *miniature) shrink(most int) {
	for m.policy.Len() > most {
		m.remove(m.policy.Victim())
	}
}
