package forecast

import (
	"math"
	"slices"
)

// Levels at which quantiles are calibrated; one between two of them is interpolated.
var levels = [...]float64{0.5, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999}

const (
	maxScores   = 1000
	scaleMemory = 500.0 // errors that the scale is fitted to
	// how fast restlessness follows, and what it may do to the scale
	restlessRate, leastRestless, mostRestless = 0.1, 0.3, 3
	minScores                                 = 30
	maxScore                                  = 25 // a larger one counts as that
)

// conformal puts quantiles around a forecast by what it got wrong. An error is divided by a scale that holds the square
// root of the forecast as well as the forecast (counting noise and noise in proportion), both fitted as it goes, and by
// how restless the series has been of late. A quantile of the next error is one of the scores so obtained, and an
// offset by how many more misses there were in all than the level allows, so that in the long run the stated share is
// covered whatever the errors' distribution: the error integration of conformal PID control (Angelopoulos, Candes and
// Tibshirani, NeurIPS 2023), for each horizon and each level with a gain of its own. What is integrated is a number of misses,
// not a sum of steps of the bound: steps that were taken while the errors were small would be undone by one while they are
// large.
type conformal struct {
	ring   []float32 // scores, in the order in which they came once full from first
	sorted []float32
	first  int
	excess [len(levels)]float64 // misses beyond those that a level allows
	// normal equations of error^2/m = a + b m
	s0, s1, s2, t0, t1 float64
	a, b               float64
	restless           float64 // average absolute score of late over that of all
	long               float64
	n                  int
	// what is said for each step to come
	pending []bounds
	next    int
	now     bounds
}

type bounds struct {
	mean, floored, scale float64
	upper                [len(levels)]float64
	valid, counted, sure bool
}

func newConformal(h int) conformal {
	return conformal{pending: make([]bounds, h), restless: 1, long: 1}
}

// observe holds what was said for this step against what came, and returns the error in scales.
func (c *conformal) observe(y float64) float64 {
	b := c.pending[c.next]
	if !b.valid {
		return 0
	}
	e := y - b.mean
	r := min(max(e/b.scale, -maxScore), maxScore)
	c.fit(e, b.floored)
	c.n++
	w := math.Max(1/scaleMemory, 1/float64(c.n))
	c.long += w * (math.Abs(r) - c.long)
	c.restless += math.Max(restlessRate, 1/float64(c.n)) * (math.Abs(r) - c.restless)
	if b.counted {
		c.adapt(y, &b)
	}
	if c.n > minScores {
		c.remember(float32(r))
	}
	return r
}

// The gain of a level is such that an excess of misses is worked off within adaptSteps, or three horizons if that is more (what
// is learned comes a horizon late), whatever the level: misses of a high one are rare, so that each says more. One miss
// makes further ones mostRarer times as rare at most. Over T steps the share that is covered is then off by a few misses
// in T, not by the square root of T.
const (
	adaptSteps = 100.0
	mostRarer  = 4.0
)

func (c *conformal) adapt(y float64, b *bounds) {
	for i, p := range levels {
		c.excess[i] -= 1 - p
		if y > b.upper[i] {
			c.excess[i]++
		}
	}
}

// offset of a level in scores.
func (c *conformal) offset(i int) float64 {
	memory := math.Max(adaptSteps, 3*float64(len(c.pending)))
	tail := c.spread() / math.Log(0.5/0.05) // in which misses become e times as rare, if the tail is exponential
	return tail * math.Min(1/((1-levels[i])*memory), math.Log(mostRarer)) * c.excess[i]
}

// spread is the distance between the middle and the upper scores.
func (c *conformal) spread() float64 {
	return c.score(0.95) - c.score(0.5)
}

// fit the variance of the errors to a m + b m^2 by weighted least squares on the last scaleMemory or so.
func (c *conformal) fit(e, m float64) {
	m = math.Max(m, 1e-9)
	keep := 1 - 1/math.Min(scaleMemory, float64(c.n+10))
	v := e * e / m
	if c.n >= minScores { // one error far beyond the others does not make them all uncertain
		v = math.Min(v, 25*(c.a+c.b*m))
	}
	u := m
	c.s0, c.s1, c.s2 = keep*c.s0+1/u, keep*c.s1+1, keep*c.s2+u
	c.t0, c.t1 = keep*c.t0+v/u, keep*c.t1+v
	det := c.s0*c.s2 - c.s1*c.s1
	a, b := -1.0, -1.0
	if det > 1e-9*c.s0*c.s2 {
		a, b = (c.t0*c.s2-c.t1*c.s1)/det, (c.s0*c.t1-c.s1*c.t0)/det
	}
	switch {
	case a >= 0 && b >= 0:
	case b < 0 && c.s0 > 0 && a >= 0 || c.s2 == 0:
		a, b = c.t0/c.s0, 0
	default:
		a, b = 0, c.t1/c.s2
	}
	c.a, c.b = a, b
}

// remember keeps half of what was seen, and no more than maxScores: what the models got wrong before they had learned
// anything is soon forgotten.
func (c *conformal) remember(r float32) {
	keep := min(maxScores, max(100, c.n/2))
	for len(c.ring)-c.first >= keep {
		i, _ := slices.BinarySearch(c.sorted, c.ring[c.first])
		c.sorted = slices.Delete(c.sorted, i, i+1)
		c.first++
	}
	if c.first >= maxScores {
		c.ring = c.ring[:copy(c.ring, c.ring[c.first:])]
		c.first = 0
	}
	c.ring = append(c.ring, r)
	i, _ := slices.BinarySearch(c.sorted, r)
	c.sorted = slices.Insert(c.sorted, i, r)
}

// score at a level: order statistics of what was seen; beyond the largest, and among the largest few, an exponential
// tail of the mean excess over the score at 0.9.
func (c *conformal) score(level float64) float64 {
	n := len(c.sorted)
	if n == 0 {
		return 0
	}
	pos := level*float64(n+1) - 1
	switch {
	case pos <= 0:
		return float64(c.sorted[0])
	case pos < float64(n-1):
		i := int(pos)
		f := pos - float64(i)
		return float64(c.sorted[i])*(1-f) + float64(c.sorted[i+1])*f
	}
	return float64(c.sorted[n-1])
}

// tail is the score at a level, with what is not known yet. Before there are minScores it is at least that of a Laplace
// distribution of the errors' deviation. At a high level it is at least that of an exponential tail above the score at 0.9
// while there are too few scores to have seen it: of such a tail whose mean is known from k excesses alone, so that misses
// are foretold by a Lomax distribution.
func (c *conformal) tail(level float64) float64 {
	v := c.score(level)
	n := float64(len(c.sorted))
	if n < minScores {
		return math.Max(v, math.Log(0.5/(1-level))/math.Sqrt2)
	}
	if level <= 0.9 || n*(1-level) > 3 {
		return v
	}
	base := c.score(0.9)
	excess, k := 0.0, 0.0
	for i := len(c.sorted) - 1; i >= 0 && float64(c.sorted[i]) > base; i-- {
		excess += float64(c.sorted[i]) - base
		k++
	}
	if k == 0 {
		return v
	}
	return math.Max(v, base+excess*(math.Pow(0.1/(1-level), 1/k)-1))
}

// predict puts bounds around a forecast.
func (c *conformal) predict(mean, level float64) {
	b := bounds{mean: mean, floored: math.Max(mean, 0.1*level), valid: true, counted: c.n >= minScores, sure: len(c.sorted) >= minScores}
	m := b.floored
	variance := c.a*m + c.b*m*m
	if c.n < minScores {
		variance = math.Max(variance, 0.01*m*m)
	}
	b.scale = math.Sqrt(math.Max(variance, 1e-6*m*m+1e-12))
	if c.long > 0 && c.n >= minScores {
		b.scale *= min(max(0.5+0.5*c.restless/c.long, leastRestless), mostRestless)
	}
	for i := range levels {
		b.upper[i] = math.Max(0, mean+b.scale*(c.tail(levels[i])+c.offset(i)))
		if i > 0 {
			b.upper[i] = math.Max(b.upper[i], b.upper[i-1])
		}
	}
	c.pending[c.next] = b
	c.next = (c.next + 1) % len(c.pending)
	c.now = b
}

// upper returns the quantile at a level: calibrated at levels, between them interpolated in the logarithm of what is
// left above.
func (c *conformal) upper(p float64) float64 {
	if p == levels[0] {
		return c.now.upper[0]
	}
	if p < levels[0] {
		return c.now.mean + (c.now.upper[0]-c.now.mean)*math.Max(0, p/levels[0])
	}
	last := len(levels) - 1
	if p >= levels[last] {
		return c.now.upper[last]
	}
	i := 1
	for levels[i] < p {
		i++
	}
	lo, hi := math.Log(1-levels[i-1]), math.Log(1-levels[i])
	w := (math.Log(1-p) - lo) / (hi - lo)
	return min(c.now.upper[i-1]+w*(c.now.upper[i]-c.now.upper[i-1]), c.now.upper[i])
}
