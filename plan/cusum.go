package plan

import (
	"math"
	"time"
)

// A chart watches the logarithm of observed over predicted by two one-sided CUSUM tests (Page 1954): with x standardised by
// its noise, S = max(0, S + x - tolerance - allowance), and an alarm when S exceeds the limit. The allowance is what makes
// a system at the very edge of the tolerance sink back to 0.
type chart struct {
	service, quantity string
	tolerance         float64 // of the logarithm
	warm              []float64
	sigma             float64
	up, down          side
	gone              bool
}

// side is one of the two tests, with what has been seen since it was last 0.
type side struct {
	s                   float64
	observed, predicted float64
	n                   float64
	since               time.Time
}

const (
	cusumAllowance = 0.5 // in standard deviations
	cusumWarm      = 12  // intervals from which the noise is estimated
	cusumClip      = 3.0 // standard deviations that one interval counts for at most: a stall is no change
	// A variance from twelve values errs, and underestimates as often as not: it is taken at the upper end of its 80%
	// interval (chi-squared with 11 degrees of freedom: 6.99 of 11).
	cusumDoubt = 1.254
	leastNoise = 0.02
)

// cusumLimit is the limit at which a test of standardised values whose mean is the allowance below 0 gives an alarm after
// so many values on average (Siegmund, 'Sequential Analysis', 1985): ARL = (exp(2 k b) - 2 k b - 1) / (2 k^2), b = limit + 1.166.
func cusumLimit(arl float64) float64 {
	const k = cusumAllowance
	lo, hi := 0.0, 1000.0
	for range 100 {
		mid := (lo + hi) / 2
		if b := 2 * k * (mid + 1.166); (math.Exp(b)-b-1)/(2*k*k) < arl {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}

// add takes a value in. The first ones tell the noise.
func (c *chart) add(observed, predicted float64, at time.Time, limit float64) (Departure, bool) {
	x := math.Log(observed / predicted)
	if c.gone {
		return Departure{}, false
	}
	if c.sigma == 0 {
		c.warm = append(c.warm, x)
		if len(c.warm) == cusumWarm {
			c.sigma = max(cusumDoubt*noiseOf(c.warm), leastNoise)
		}
		return Departure{}, false
	}
	for _, test := range []struct {
		*side
		sign float64
	}{{&c.up, 1}, {&c.down, -1}} {
		z := min((test.sign*x-c.tolerance)/c.sigma, cusumClip)
		if test.s == 0 {
			*test.side = side{since: at}
		}
		test.s = max(0, test.s+z-cusumAllowance)
		test.observed += observed
		test.predicted += predicted
		test.n++
		if test.s > limit {
			c.gone = true
			return Departure{Service: c.service, Quantity: c.quantity, Ratio: test.observed / test.predicted,
				Observed: test.observed / test.n, Predicted: test.predicted / test.n, Since: test.since}, true
		}
	}
	return Departure{}, false
}

// noiseOf is the standard deviation of values: from their spread about the median, or from successive differences where
// that says more.
func noiseOf(values []float64) float64 {
	var mean, spread, steps float64
	for _, v := range values {
		mean += v / float64(len(values))
	}
	for i, v := range values {
		spread += (v - mean) * (v - mean)
		if i > 0 {
			steps += (v - values[i-1]) * (v - values[i-1])
		}
	}
	n := float64(len(values) - 1)
	return math.Sqrt(max(spread/n, steps/(2*n)))
}
