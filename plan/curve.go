package plan

import "math"

// curve is a percentile as a multiple of the mean, over the squared coefficient of variation: a table, for a percentile
// of two moments costs as much as all the rest of a solve; without a table it is computed. Between its points it is a cubic, good to about 1e-5.
type curve struct {
	q     float64
	value []float64 // at exp(curveLow + i curveStep)
}

// The table's points: evenly spaced in the logarithm, with one at 1, where the fitted distribution changes its kind.
const (
	curveLow  = -12.0
	curveStep = 0.125
	curveSize = 161 // up to exp(8)
)

func newCurve(q float64) (*curve, error) {
	c := &curve{q: q}
	for i := range curveSize {
		v, err := quantile(1, math.Exp(curveLow+float64(i)*curveStep), q)
		if err != nil {
			return nil, err
		}
		c.value = append(c.value, v)
	}
	return c, nil
}

// at is the percentile of a time of that mean and variance.
func (c *curve) at(mean, variance float64) (float64, error) {
	if mean <= 0 {
		return 0, nil
	}
	if c.value == nil {
		return quantile(mean, variance, c.q)
	}
	position := (math.Log(variance/(mean*mean)) - curveLow) / curveStep
	if !(position >= 1 && position < curveSize-2) {
		return quantile(mean, variance, c.q)
	}
	i := int(position)
	f := position - float64(i)
	y0, y1, y2, y3 := c.value[i-1], c.value[i], c.value[i+1], c.value[i+2]
	// One-sided slopes beside the point at 1, so that no cubic spans the change of kind.
	s1, s2 := (y2-y0)/2, (y3-y1)/2
	const one = int(-curveLow / curveStep)
	if i == one {
		s1 = 2*(y2-y1) - s2
	} else if i+1 == one {
		s2 = 2*(y2-y1) - s1
	}
	f2, f3 := f*f, f*f*f
	return mean * ((2*f3-3*f2+1)*y1 + (f3-2*f2+f)*s1 + (3*f2-2*f3)*y2 + (f3-f2)*s2), nil
}
