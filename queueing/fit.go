package queueing

import "math"

// gammaTail is Q(k, x): the probability that a gamma variable of shape k and
// scale 1 exceeds x. Series below k+1, continued fraction above (Abramowitz and
// Stegun 6.5.29, 6.5.31).
func gammaTail(k, x float64) float64 {
	if x <= 0 {
		return 1
	}
	lg, _ := math.Lgamma(k)
	front := math.Exp(k*math.Log(x) - x - lg)
	if front == 0 {
		if x > k {
			return 0
		}
		return 1
	}
	if x < k+1 {
		term, total := 1/k, 1/k
		for n := 1; n < 100000 && term > total*1e-16; n++ {
			term *= x / (k + float64(n))
			total += term
		}
		return math.Max(0, 1-front*total)
	}
	const tiny = 1e-300
	b := x + 1 - k
	c, d := 1/tiny, 1/b
	h := d
	for n := 1; n < 100000; n++ {
		an := -float64(n) * (float64(n) - k)
		b += 2
		d = an*d + b
		if math.Abs(d) < tiny {
			d = tiny
		}
		c = b + an/c
		if math.Abs(c) < tiny {
			c = tiny
		}
		d = 1 / d
		step := d * c
		h *= step
		if math.Abs(step-1) < 1e-15 {
			break
		}
	}
	return math.Min(1, front*h)
}

// fittedTail is P(X > t) for the distribution that stands for a time of that mean
// and variance: gamma up to the variance of an exponential, above it the
// hyperexponential with balanced means, which is nearer to what queues and
// processor sharing make of times that vary much. Variance zero is the constant.
func fittedTail(mean, variance, t float64) float64 {
	if mean <= 0 {
		return 0
	}
	cv2 := variance / mean / mean
	switch {
	case cv2 > 1+1e-9:
		p := (1 + math.Sqrt((cv2-1)/(cv2+1))) / 2
		return p*math.Exp(-2*p*t/mean) + (1-p)*math.Exp(-2*(1-p)*t/mean)
	case cv2 >= 1e-9:
		return gammaTail(1/cv2, t/mean/cv2)
	case t < mean:
		return 1
	}
	return 0
}

// fittedQuantile is the p-quantile of that distribution.
func fittedQuantile(mean, variance, p float64) float64 {
	if mean <= 0 {
		return 0
	}
	if cv2 := variance / mean / mean; cv2 < 1e-9 {
		// Nearly constant; the normal limit, whose error vanishes with cv2.
		return mean * (1 + math.Sqrt(2*cv2)*math.Erfinv(2*p-1))
	}
	return tailInverse(1-p, mean, func(t float64) float64 { return fittedTail(mean, variance, t) })
}

// tailInverse finds x >= 0 with tail(x) = q for a non-increasing tail, by
// doubling from guess and then bisection to the last bits.
func tailInverse(q, guess float64, tail func(float64) float64) float64 {
	if tail(0) <= q {
		return 0
	}
	lo, hi := 0.0, math.Max(guess, 1e-300)
	for i := 0; i < 1000 && tail(hi) > q; i++ {
		lo, hi = hi, hi*2
	}
	for i := 0; i < 200 && hi-lo > 1e-13*hi; i++ {
		mid := lo + (hi-lo)/2
		if tail(mid) > q {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo + (hi-lo)/2
}
