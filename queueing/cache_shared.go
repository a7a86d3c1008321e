package queueing

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// CacheClass is a class of requests that share a cache with others, such as those of one route.
type CacheClass struct {
	// Objects that are asked for.
	Objects []CacheObjects
	// Size that each takes of the cache, in its unit.
	Size float64
	// TTL is for how many seconds an object is fresh after it was fetched; 0 for good. An object that is no longer keeps
	// its place until it is fetched again or evicted.
	TTL float64
}

// CacheObjects are Count objects of which each is asked for at Rate (1/s), independently.
type CacheObjects struct {
	Count, Rate float64
}

// CacheUse is what a class gets of a shared cache.
type CacheUse struct {
	// HitRatio of all its requests.
	HitRatio float64
	// Held is the expected number of its objects in the cache, fresh or not.
	Held float64
}

// SharedCache approximates the hit ratios of an LRU cache of the given size that several classes of requests share, of
// objects of several sizes that expire. The characteristic time T solves sum_i size_i (1 - exp(-rate_i T)) = size (Che,
// Tung and Wang 2002; with sizes as in Fricker, Robert and Roberts 2012). An object is fetched, hit as long as it is
// fresh and no gap between two requests is longer than T, and fetched again. Its hits of such a cycle are, by optional
// stopping, rate E[min(TTL, D)], with D the end of the first gap longer than T, whose mean is (exp(rate T) - 1) / rate;
// beyond T, its distribution is taken for an exponential one of that mean. Without a TTL this is Che's formula, without
// a bound on the size that of a pure TTL cache (Jung, Berger and Balakrishnan 2003), rate TTL / (1 + rate TTL).
func SharedCache(classes []CacheClass, size float64) ([]CacheUse, error) {
	if err := checkNonNegative("cache size", size); err != nil {
		return nil, err
	}
	var all float64
	for i, c := range classes {
		if err := c.check(); err != nil {
			return nil, fmt.Errorf("cache class %d: %w", i+1, err)
		}
		for _, o := range c.Objects {
			if o.Rate > 0 {
				all += o.Count * c.Size
			}
		}
	}
	t := math.Inf(1)
	if all > size {
		t = sharedTime(classes, size)
	}
	uses := make([]CacheUse, len(classes))
	for i, c := range classes {
		var rate, hits float64
		for _, o := range c.Objects {
			if o.Rate <= 0 {
				continue
			}
			rate += o.Count * o.Rate
			hits += o.Count * o.Rate * hitRatio(o.Rate, t, c.TTL)
			uses[i].Held += o.Count * -math.Expm1(-o.Rate*t)
		}
		if rate > 0 {
			uses[i].HitRatio = hits / rate
		}
	}
	return uses, nil
}

func (c *CacheClass) check() error {
	if err := checkNonNegative("size", c.Size); err != nil {
		return err
	}
	if err := checkNonNegative("TTL", c.TTL); err != nil {
		return err
	}
	for _, o := range c.Objects {
		if err := checkNonNegative("count of objects", o.Count); err != nil {
			return err
		}
		if err := checkNonNegative("rate of objects", o.Rate); err != nil {
			return err
		}
	}
	return nil
}

// hitRatio of one object asked for at rate, in a cache with characteristic time t.
func hitRatio(rate, t, ttl float64) float64 {
	if t <= 0 {
		return 0
	}
	if ttl <= 0 {
		return -math.Expm1(-rate * t)
	}
	lasts := ttl // E[min(TTL, D)]
	if t < ttl {
		q := math.Exp(-rate * t)
		if beyond := math.Expm1(rate*t)/rate - t; q < 1 && beyond > 0 {
			tail := beyond / (1 - q) // mean of D beyond T, where it ends there
			lasts = t + (1-q)*tail*-math.Expm1(-(ttl-t)/tail)
		} else {
			lasts = t
		}
	}
	hits := rate * lasts
	return hits / (1 + hits)
}

// sharedTime solves for the characteristic time, by bisection in logarithms.
func sharedTime(classes []CacheClass, size float64) float64 {
	if size <= 0 {
		return 0
	}
	fill := func(t float64) (s float64) {
		for _, c := range classes {
			for _, o := range c.Objects {
				s += o.Count * c.Size * -math.Expm1(-o.Rate*t)
			}
		}
		return s
	}
	lo, hi := 1e-12, 1.0
	for i := 0; i < 500 && fill(hi) < size; i++ {
		hi *= 4
	}
	for i := 0; i < 200 && hi/lo > 1+1e-9; i++ {
		mid := math.Sqrt(lo * hi)
		if fill(mid) < size {
			lo = mid
		} else {
			hi = mid
		}
	}
	return math.Sqrt(lo * hi)
}

// ZipfObjects gives n objects with popularities in proportion to 1/rank^s and the given rate in all, in groups whose
// members are nearly alike: at most about a thousand, whatever n is.
func ZipfObjects(n int, s, rate float64) ([]CacheObjects, error) {
	if n < 1 {
		return nil, fmt.Errorf("zipf: %d objects, must be positive", n)
	}
	if err := checkNonNegative("zipf exponent", s); err != nil {
		return nil, err
	}
	if err := checkNonNegative("rate", rate); err != nil {
		return nil, err
	}
	if s == 0 {
		return []CacheObjects{{Count: float64(n), Rate: rate / float64(n)}}, nil
	}
	var groups []CacheObjects
	total := 0.0
	for first := 1; first <= n; {
		count := min(max(first/50, 1), n-first+1)
		mass := 0.0
		if first < 1000 {
			for k := range count {
				mass += math.Pow(float64(first+k), -s)
			}
		} else { // by the midpoint rule the other way round: exact to a millionth where members are so nearly alike
			mass = powerIntegral(float64(first)-0.5, float64(first+count)-0.5, s)
		}
		groups = append(groups, CacheObjects{Count: float64(count), Rate: mass / float64(count)})
		total += mass
		first += count
	}
	for i := range groups {
		groups[i].Rate *= rate / total
	}
	return groups, nil
}

// powerIntegral is that of x^-s.
func powerIntegral(from, to, s float64) float64 {
	if math.Abs(s-1) < 1e-9 {
		return math.Log(to / from)
	}
	return (math.Pow(to, 1-s) - math.Pow(from, 1-s)) / (1 - s)
}

// ZipfFactor is a part of a key that has Count values, the one of rank k in proportion to 1/k^Zipf.
type ZipfFactor struct {
	Count int
	Zipf  float64
}

// unboundedObjects stand for keys that never come twice.
const unboundedObjects = 1e12

// FamilyObjects gives the objects whose keys are made of all combinations of the factors' values, and are asked for at
// the given rate in all; where they are unbounded, none is asked for twice.
func FamilyObjects(factors []ZipfFactor, unbounded bool, rate float64) ([]CacheObjects, error) {
	if unbounded {
		return []CacheObjects{{Count: unboundedObjects, Rate: rate / unboundedObjects}}, nil
	}
	all := []CacheObjects{{Count: 1, Rate: rate}}
	for _, f := range factors {
		groups, err := ZipfObjects(f.Count, f.Zipf, 1)
		if err != nil {
			return nil, err
		}
		if all = product(all, groups); len(all) > 4*maxGroups {
			all = merged(all)
		}
	}
	return all, nil
}

const maxGroups = 2000

func product(a, b []CacheObjects) []CacheObjects {
	if len(a)*len(b) > 16*maxGroups*maxGroups {
		a, b = merged(a), merged(b)
	}
	out := make([]CacheObjects, 0, len(a)*len(b))
	for _, x := range a {
		for _, y := range b {
			out = append(out, CacheObjects{Count: x.Count * y.Count, Rate: x.Rate * y.Rate})
		}
	}
	return out
}

// merged puts groups of nearly the same rate together.
func merged(all []CacheObjects) []CacheObjects {
	slices.SortFunc(all, func(a, b CacheObjects) int { return cmp.Compare(b.Rate, a.Rate) })
	span := math.Log(all[0].Rate/max(all[len(all)-1].Rate, 1e-300)) / maxGroups
	var out []CacheObjects
	edge := math.Inf(1)
	for _, g := range all {
		if g.Rate <= edge {
			out = append(out, CacheObjects{})
			edge = g.Rate * math.Exp(-max(span, 1e-12))
		}
		last := &out[len(out)-1]
		total := last.Count + g.Count
		last.Rate = (last.Rate*last.Count + g.Rate*g.Count) / total
		last.Count = total
	}
	return out
}
