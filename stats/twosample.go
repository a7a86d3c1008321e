package stats

import "math"

// Proportion is how many of a number of trials had an outcome.
type Proportion struct {
	Count, Of int64
}

// Share returns the proportion; 0 where there were no trials.
func (p Proportion) Share() float64 {
	if p.Of == 0 {
		return 0
	}
	return float64(p.Count) / float64(p.Of)
}

// interval is Wilson's score interval (E. B. Wilson, 1927).
func (p Proportion) interval(z float64) (low, high float64) {
	if p.Of == 0 {
		return 0, 1
	}
	n, share := float64(p.Of), p.Share()
	centre := share + z*z/(2*n)
	half := z * math.Sqrt(share*(1-share)/n+z*z/(4*n*n))
	scale := 1 + z*z/n
	return max(0, (centre-half)/scale), min(1, (centre+half)/scale)
}

// DifferenceInterval returns an interval that holds the difference b - a of the proportions behind two samples with the
// given confidence (0.99 is 99 %): Newcombe's hybrid of score intervals (R. G. Newcombe, Interval Estimation for the
// Difference Between Independent Proportions, Statistics in Medicine 17, 1998, method 10). Unlike the test of two
// proportions by the normal distribution it holds for few trials and for shares near 0 as well.
func DifferenceInterval(a, b Proportion, confidence float64) (low, high float64) {
	z := normalQuantile(confidence)
	aLow, aHigh := a.interval(z)
	bLow, bHigh := b.interval(z)
	d := b.Share() - a.Share()
	low = d - math.Hypot(b.Share()-bLow, aHigh-a.Share())
	high = d + math.Hypot(bHigh-b.Share(), a.Share()-aLow)
	return max(-1, low), min(1, high)
}

// normalQuantile returns the number of standard deviations around the mean that hold the given share.
func normalQuantile(confidence float64) float64 {
	return math.Sqrt2 * math.Erfinv(min(max(confidence, 0), 1-1e-15))
}

// QuantileInterval returns an interval that holds a quantile of what a histogram's values were drawn from with the given
// confidence, whatever the distribution: between two of its values whose ranks bound the binomial distribution of how many
// lie below (W. J. Conover, Practical Nonparametric Statistics, 1999, 3.2; by the normal approximation). ok is false where
// there are too few values.
func (h *Histogram) QuantileInterval(q, confidence float64) (low, high int64, ok bool) {
	n := float64(h.Count())
	half := normalQuantile(confidence) * math.Sqrt(n*q*(1-q))
	from, to := math.Floor(n*q-half), math.Ceil(n*q+half)+1
	if from < 1 || to > n {
		return 0, 0, false
	}
	return h.Quantile(from / n), h.Quantile(to / n), true
}

// RatioInterval returns an interval that holds the ratio of a quantile of b to that of a with at least the given
// confidence, of which the quantile of each is left half. ok is false where there are too few values.
func RatioInterval(a, b *Histogram, q, confidence float64) (low, high float64, ok bool) {
	each := 1 - (1-confidence)/2
	aLow, aHigh, okA := a.QuantileInterval(q, each)
	bLow, bHigh, okB := b.QuantileInterval(q, each)
	if !okA || !okB || aLow <= 0 {
		return 0, 0, false
	}
	return float64(bLow) / float64(aHigh), float64(bHigh) / float64(aLow), true
}
