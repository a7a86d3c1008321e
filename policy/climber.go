package policy

import "math"

// climber finds the share of the window by hill climbing: it takes a step, looks whether more requests hit than before,
// and goes on or turns round. Where no difference can be told from chance it goes back to a small window, and tries a
// larger one from time to time.
type climber struct {
	window    float64 // share of the entries
	step      float64
	hits, all int
	before    float64 // the hit ratio of the last period
	rest      int     // periods at the smallest window
}

const (
	leastWindow  = 0.01
	mostWindow   = 0.8
	firstStep    = 0.0625
	leastStep    = 0.01
	restPeriods  = 16     // after which a larger window is tried
	periodLength = 10     // requests for each entry
	leastPeriod  = 20_000 // requests, for the difference of two ratios to mean something
)

func newClimber() climber { return climber{window: leastWindow, step: firstStep, before: -1} }

// count takes note of a request to a cache of n entries.
func (c *climber) count(hit bool, n int) {
	c.all++
	if hit {
		c.hits++
	}
	if c.all >= max(periodLength*n, leastPeriod) {
		c.decide()
	}
}

func (c *climber) decide() {
	ratio := float64(c.hits) / float64(c.all)
	chance := 2 * math.Sqrt(2*ratio*(1-ratio)/float64(c.all))
	change := ratio - c.before
	first := c.before < 0
	c.before, c.hits, c.all = ratio, 0, 0
	size := math.Abs(c.step)
	up := c.step > 0
	switch {
	case first:
	case change > chance: // on, and faster
		size *= 2
	case change < -chance:
		up, size = !up, size/2
	default:
		up, size = false, size/2
	}
	c.step = min(max(size, leastStep), firstStep)
	if !up {
		c.step = -c.step
	}
	if c.window <= leastWindow && c.step < 0 {
		if c.rest++; c.rest < restPeriods {
			return
		}
		c.rest, c.step = 0, firstStep
	}
	c.window = min(max(c.window+c.step, leastWindow), mostWindow)
}
