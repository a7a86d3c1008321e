package simulate

import (
	"fmt"
	"math"
)

// Shape is the family of distributions that times are drawn from, given their mean and squared coefficient of
// variation (SCV).
type Shape string

// The shapes. An SCV of 0 is constant and 1 exponential, unless the shape is lognormal.
const (
	// ShapeAuto draws gamma times below an SCV of 1, and hyperexponential times above.
	ShapeAuto Shape = ""
	// ShapeGamma draws gamma times.
	ShapeGamma Shape = "gamma"
	// ShapeLognormal draws lognormal times, whose tail is heavier at the same SCV.
	ShapeLognormal Shape = "lognormal"
)

type family uint8

const (
	constant family = iota
	exponential
	gamma
	hyperexponential
	lognormal
	empirical
)

// distribution of a time in seconds.
type distribution struct {
	family family
	mean   float64
	// gamma: shape and scale; hyperexponential: probability of the first phase, then both means; lognormal: mean and
	// standard deviation of the logarithm.
	a, b, c float64
	points  *quantilePoints // of an empirical one
}

// newDistribution fits a distribution of the shape to a mean and an SCV.
func newDistribution(shape Shape, mean, scv float64) (distribution, error) {
	switch {
	case math.IsNaN(mean) || math.IsInf(mean, 0) || mean < 0:
		return distribution{}, fmt.Errorf("mean of %v s: want a number of at least 0", mean)
	case math.IsNaN(scv) || math.IsInf(scv, 0) || scv < 0:
		return distribution{}, fmt.Errorf("squared coefficient of variation of %v: want a number of at least 0", scv)
	}
	d := distribution{mean: mean}
	switch {
	case mean == 0 || scv == 0:
		d.family = constant
	case shape == ShapeLognormal:
		variance := math.Log1p(scv)
		d.family, d.a, d.b = lognormal, math.Log(mean)-variance/2, math.Sqrt(variance)
	case scv == 1:
		d.family = exponential
	case scv < 1 || shape == ShapeGamma:
		d.family, d.a, d.b = gamma, 1/scv, mean*scv
	default:
		// Two phases with balanced means (Morse 1958): each contributes half of the mean.
		root := math.Sqrt((scv - 1) / (scv + 1))
		p := (1 + root) / 2
		d.family, d.a, d.b, d.c = hyperexponential, p, mean/(2*p), mean/(1-root)
	}
	return d, nil
}

func (d *distribution) sample(s *stream) float64 {
	switch d.family {
	case exponential:
		return d.mean * s.ExpFloat64()
	case gamma:
		return d.b * sampleGamma(s, d.a)
	case hyperexponential:
		if s.uniform() < d.a {
			return d.b * s.ExpFloat64()
		}
		return d.c * s.ExpFloat64()
	case lognormal:
		return math.Exp(d.a + d.b*s.NormFloat64())
	case empirical:
		return d.a * d.points.at(s.uniform())
	}
	return d.mean
}

// sampleGamma draws from the gamma distribution of scale 1 (Marsaglia and Tsang 2000).
func sampleGamma(s *stream, shape float64) float64 {
	boost := 1.0
	if shape < 1 {
		boost = math.Pow(1-s.uniform(), 1/shape)
		shape++
	}
	d := shape - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := s.NormFloat64()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v = v * v * v
		if math.Log(1-s.uniform()) < 0.5*x*x+d-d*v+d*math.Log(v) {
			return boost * d * v
		}
	}
}

// nanoseconds converts seconds to whole nanoseconds, at most a third of the range of instants, so that sums of an
// instant and a time do not overflow.
func nanoseconds(seconds float64) int64 {
	if seconds >= maxSpan*1e-9 {
		return maxSpan
	}
	return int64(seconds*1e9 + 0.5)
}

const maxSpan = math.MaxInt64 / 3
