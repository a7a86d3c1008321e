package stats

import "math"

// Source is where random numbers come from; *rand.Rand is one.
type Source interface {
	Float64() float64
	ExpFloat64() float64
	NormFloat64() float64
}

// Pause draws a pause of the given mean, in the mean's unit. The distribution is exponential (also where it is empty),
// constant, uniform (from half to one and a half of the mean) or lognormal with a standard deviation as large as the mean.
func Pause(distribution string, mean float64, from Source) float64 {
	switch distribution {
	case "constant":
		return mean
	case "uniform":
		return mean * (0.5 + from.Float64())
	case "lognormal":
		// exp(N(-s/2, s)) has mean 1 and variance exp(s)-1, which is 1 for s = ln 2.
		return mean * math.Exp(math.Sqrt(math.Ln2)*from.NormFloat64()-math.Ln2/2)
	}
	return mean * from.ExpFloat64()
}

// RemainingPause draws what is left, at an instant of no significance, of a pause that has begun some time before: the
// excess of a renewal process, whose density at x is the chance that a pause is longer than x, over the mean.
func RemainingPause(distribution string, mean float64, from Source) float64 {
	switch distribution {
	case "constant":
		return mean * from.Float64()
	case "uniform", "lognormal":
		// A pause met at random is longer in proportion to its length: lengths biased by size, then a uniform share of it.
		return lengthBiased(distribution, mean, from) * from.Float64()
	}
	return mean * from.ExpFloat64() // it has no memory
}

func lengthBiased(distribution string, mean float64, from Source) float64 {
	if distribution == "uniform" { // density proportional to x between 1/2 and 3/2, by inversion
		return mean * math.Sqrt(0.25+2*from.Float64())
	}
	// The size-biased lognormal is the lognormal whose logarithm lies one variance higher.
	return mean * math.Exp(math.Sqrt(math.Ln2)*from.NormFloat64()+math.Ln2/2)
}
