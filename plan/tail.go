package plan

import "math"

// odd is what only some requests of a route lose, to CPU limits and to the lack of places: mean and variance over all
// requests, and the logarithm of the chance to lose nothing. Percentiles need it apart: a time that one request of a hundred
// loses moves the mean, and not the median.
type odd struct{ mean, variance, none float64 }

// add counts a time that visits lose each, with a chance.
func (o *odd) add(visits, mean, variance, chance float64) {
	o.mean += visits * mean
	o.variance += visits * variance
	o.none += visits * math.Log1p(-min(chance, 1-1e-12))
}

// neverBelow is a chance of losing something that no percentile shows.
const neverBelow = 1e-5

// split gives the moments of requests that lose nothing and of those that lose something, and the share of these.
func (s *steady) split(route int) (mean, variance, lateMean, lateVariance, late float64) {
	o := &s.odd[route]
	mean, variance = s.mean[route], s.variance[route]
	if late = -math.Expm1(o.none); late < neverBelow || o.mean <= 0 {
		return mean, variance, mean, variance, 0
	}
	lost := o.mean / late
	spread := max(0, (o.variance+o.mean*o.mean)/late-lost*lost)
	mean, variance = max(0, mean-o.mean), max(0, variance-o.variance)
	return mean, variance, mean + lost, variance + spread, late
}

// at is a percentile of a route's latency after a solve: of the distributions that are fitted to the requests that lose
// nothing and to those that do.
func (s *steady) at(route int, q *curve) (float64, error) {
	mean, variance, lateMean, lateVariance, late := s.split(route)
	lo, err := q.at(mean, variance)
	if err != nil || late == 0 {
		return lo, err
	}
	hi, err := q.at(lateMean, lateVariance)
	if err != nil || !(hi > lo) {
		return lo, err
	}
	// The tail falls about exponentially: a secant of its logarithm (Illinois) takes few steps.
	above := func(t float64) float64 {
		return math.Log(max((1-late)*tailOf(mean, variance, t)+late*tailOf(lateMean, lateVariance, t), 1e-300) / (1 - q.q))
	}
	flo, fhi := above(lo), above(hi)
	if flo <= 0 {
		return lo, nil
	}
	if fhi >= 0 {
		return hi, nil
	}
	side := 0
	for range 40 {
		x := lo + (hi-lo)*flo/(flo-fhi)
		f := above(x)
		if math.Abs(f) < 1e-5 || hi-lo < 1e-6*hi {
			return x, nil
		}
		if f > 0 {
			lo, flo = x, f
			if side == 1 {
				fhi /= 2
			}
			side = 1
		} else {
			hi, fhi = x, f
			if side == -1 {
				flo /= 2
			}
			side = -1
		}
	}
	return (lo + hi) / 2, nil
}

// tailOf is the chance that a time of that mean and variance is over a limit: of the hyperexponential with balanced means
// above the variance of an exponential; below it of the gamma distribution, by Wilson and Hilferty's cube root (1931).
func tailOf(mean, variance, limit float64) float64 {
	switch {
	case math.IsInf(limit, 1):
		return 0
	case math.IsInf(mean, 1) || math.IsInf(variance, 1) || math.IsNaN(variance):
		return 1
	case mean <= 0:
		return 0
	}
	scv := variance / (mean * mean)
	if scv > 1 {
		p := (1 + math.Sqrt((scv-1)/(scv+1))) / 2
		return p*math.Exp(-2*p*limit/mean) + (1-p)*math.Exp(-2*(1-p)*limit/mean)
	}
	if scv < 1e-9 {
		if mean > limit {
			return 1
		}
		return 0
	}
	ninth := scv / 9
	return normalTail((math.Cbrt(limit/mean) - 1 + ninth) / math.Sqrt(ninth))
}
