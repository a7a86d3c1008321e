package forecast

import "math"

// cusum finds that a series left the regime it was in: the two-sided cumulative sum of Page (1954) of the errors of the
// next step, each in scales and bounded, so that one spike alone is no new regime.
type cusum struct {
	up, down float64
}

const (
	cusumSlack = 1.0 // scales that an error may have for nothing
	cusumLimit = 12
	cusumBound = 4 // of one error
)

func (c *cusum) observe(surprise float64) bool {
	s := math.Min(math.Max(surprise, -cusumBound), cusumBound)
	c.up = math.Max(0, c.up+s-cusumSlack)
	c.down = math.Max(0, c.down-s-cusumSlack)
	if c.up < cusumLimit && c.down < cusumLimit {
		return false
	}
	*c = cusum{}
	return true
}

// outage finds that values fell to next to nothing at once: the source is silent, not its users. What comes until it
// ends is masked; when it lasts, it is the new truth.
type outage struct {
	masked int
}

const (
	outageShare = 0.02 // of what was expected
	outageMost  = 60   // steps that are masked
)

// silent says whether a value is to be taken as missing.
func (o *outage) silent(y, expected, level float64) bool {
	if level < 20 || y > outageShare*math.Min(expected, level) || o.masked > outageMost {
		if y > outageShare*level {
			o.masked = 0
		}
		return false
	}
	o.masked++
	return true
}

// surge finds values so far beyond all that was seen that they are more likely a fault of whoever measured them: one would
// be in the seasons, the level and the regression for days. Like an outage they are masked, and when they last they are the
// new truth.
type surge struct {
	masked int
}

const (
	surgeFactor = 100 // times the largest value seen
	surgeLeast  = 20  // that value: below it a multiple says little
	surgeMost   = 5   // steps that are masked
)

// absurd says whether a value is to be taken as missing.
func (s *surge) absurd(y, peak float64) bool {
	if peak < surgeLeast || y <= surgeFactor*peak {
		s.masked = 0
		return false
	}
	s.masked++
	return s.masked <= surgeMost
}
