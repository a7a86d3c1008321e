package queueing

import (
	"fmt"
	"math"
)

// Eviction is how a cache chooses what to drop.
type Eviction string

const (
	LRU    Eviction = "LRU"
	FIFO   Eviction = "FIFO"
	Random Eviction = "RANDOM"
)

const maxObjects = 5_000_000

// CacheHits approximates the hit probability of each object and over all
// requests, for a cache of size objects (each of size one) asked for object i at
// rate popularity[i], independently. LRU is Che's approximation (Che, Tung and
// Wang 2002): an object stays if asked for within a characteristic time. FIFO
// and RANDOM, which are equal under this model, replace that by an exponential
// time (Fricker, Robert and Roberts 2012; Martina, Garetto and Leonardi 2014).
func CacheHits(popularity []float64, size float64, evict Eviction) (each []float64, overall float64, err error) {
	if len(popularity) == 0 || len(popularity) > maxObjects {
		return nil, 0, fmt.Errorf("cache: %d objects, must be 1 to %d", len(popularity), maxObjects)
	}
	if err := checkNonNegative("cache size", size); err != nil {
		return nil, 0, err
	}
	total, asked := 0.0, 0
	for i, p := range popularity {
		if err := checkNonNegative(fmt.Sprintf("popularity of object %d", i+1), p); err != nil {
			return nil, 0, fmt.Errorf("cache: %w", err)
		}
		total += p
		if p > 0 {
			asked++
		}
	}
	if total <= 0 {
		return nil, 0, fmt.Errorf("cache: no object is ever asked for")
	}
	var in func(rate, t float64) float64
	switch evict {
	case "", LRU:
		in = func(rate, t float64) float64 { return -math.Expm1(-rate * t) }
	case FIFO, Random:
		in = func(rate, t float64) float64 { return rate * t / (1 + rate*t) }
	default:
		return nil, 0, fmt.Errorf("cache: unknown eviction %q (have %s, %s, %s)", evict, LRU, FIFO, Random)
	}
	each = make([]float64, len(popularity))
	if size >= float64(asked) { // everything fits
		for i, p := range popularity {
			if p > 0 {
				each[i] = 1
			}
		}
		return each, 1, nil
	}
	t := characteristicTime(popularity, total, size, in)
	for i, p := range popularity {
		each[i] = in(p/total, t)
		overall += p / total * each[i]
	}
	return each, overall, nil
}

// characteristicTime solves sum_i in(rate_i, t) = size for t, by bisection in
// logarithms.
func characteristicTime(popularity []float64, total, size float64, in func(rate, t float64) float64) float64 {
	if size <= 0 {
		return 0
	}
	fill := func(t float64) float64 {
		s := 0.0
		for _, p := range popularity {
			s += in(p/total, t)
		}
		return s
	}
	lo, hi := size, size // fill(t) <= t, since the rates sum to one
	for i := 0; i < 1000 && fill(hi) < size; i++ {
		lo, hi = hi, hi*4
	}
	for range 80 {
		mid := math.Sqrt(lo * hi)
		if fill(mid) < size {
			lo = mid
		} else {
			hi = mid
		}
		if hi/lo < 1+1e-12 {
			break
		}
	}
	return math.Sqrt(lo * hi)
}

// Zipf gives n popularities in proportion to 1/rank^s, summing to one.
func Zipf(n int, s float64) ([]float64, error) {
	if n < 1 || n > maxObjects {
		return nil, fmt.Errorf("zipf: %d objects, must be 1 to %d", n, maxObjects)
	}
	if err := checkNonNegative("zipf exponent", s); err != nil {
		return nil, err
	}
	p := make([]float64, n)
	total := 0.0
	for i := range p {
		p[i] = math.Pow(float64(i+1), -s)
		total += p[i]
	}
	for i := range p {
		p[i] /= total
	}
	return p, nil
}
