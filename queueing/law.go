package queueing

import (
	"errors"
	"fmt"
	"math"
	"math/cmplx"
)

// Law is the distribution of a time: its first three moments, its Laplace-Stieltjes transform E[exp(-sX)], and its
// tail. Make one by Constant, Exponential, Erlang, Gamma, Hyperexponential, Uniform or Pareto.
type Law struct {
	Name       string
	M1, M2, M3 float64

	transform func(s complex128) complex128
	tail      func(x float64) float64
	// least and most bound the support; most may be infinite.
	least, most float64
}

// SCV is the squared coefficient of variation.
func (l *Law) SCV() float64 { return math.Max(0, l.M2/l.M1/l.M1-1) }

// Constant is the law of a time that never varies.
func Constant(d float64) (*Law, error) {
	if err := checkPositive("mean", d); err != nil {
		return nil, err
	}
	return &Law{Name: "constant", M1: d, M2: d * d, M3: d * d * d, least: d, most: d,
		transform: func(s complex128) complex128 { return cmplx.Exp(-s * complex(d, 0)) },
		tail: func(x float64) float64 {
			if x < d {
				return 1
			}
			return 0
		}}, nil
}

// Gamma is the gamma law of that mean and squared coefficient of variation; 1 is exponential, 1/k Erlang of k stages, 0 the
// constant.
func Gamma(mean, scv float64) (*Law, error) {
	if err := checkPositive("mean", mean); err != nil {
		return nil, err
	}
	if err := checkNonNegative("squared coefficient of variation", scv); err != nil {
		return nil, err
	}
	if scv < 1e-9 {
		return Constant(mean)
	}
	shape, scale := 1/scv, mean*scv
	name := "gamma"
	if math.Abs(scv-1) < 1e-12 {
		name = "exponential"
	}
	return &Law{Name: name, M1: mean, M2: mean * mean * (1 + scv), M3: mean * mean * mean * (1 + scv) * (1 + 2*scv), most: math.Inf(1),
		transform: func(s complex128) complex128 { return cmplx.Exp(complex(-shape, 0) * cmplx.Log(1+s*complex(scale, 0))) },
		tail:      func(x float64) float64 { return gammaTail(shape, x/scale) }}, nil
}

// Exponential is the exponential law of that mean.
func Exponential(mean float64) (*Law, error) { return Gamma(mean, 1) }

// Erlang is the sum of k exponential stages.
func Erlang(mean float64, k int) (*Law, error) {
	if k < 1 || k > maxCapacity {
		return nil, fmt.Errorf("stages is %d, must be 1 to %d", k, maxCapacity)
	}
	l, err := Gamma(mean, 1/float64(k))
	if err == nil && k > 1 {
		l.Name = fmt.Sprintf("Erlang-%d", k)
	}
	return l, err
}

// Hyperexponential is exponential of mean m1 with probability p, else of mean m2.
func Hyperexponential(p, m1, m2 float64) (*Law, error) {
	if math.IsNaN(p) || p < 0 || p > 1 {
		return nil, fmt.Errorf("probability is %v, must be 0 to 1", p)
	}
	if err := errors.Join(checkPositive("mean of the first branch", m1), checkPositive("mean of the second branch", m2)); err != nil {
		return nil, err
	}
	q := 1 - p
	return &Law{Name: "hyperexponential", M1: p*m1 + q*m2, M2: 2 * (p*m1*m1 + q*m2*m2), M3: 6 * (p*m1*m1*m1 + q*m2*m2*m2), most: math.Inf(1),
		transform: func(s complex128) complex128 {
			return complex(p, 0)/(1+s*complex(m1, 0)) + complex(q, 0)/(1+s*complex(m2, 0))
		},
		tail: func(x float64) float64 { return p*math.Exp(-x/m1) + q*math.Exp(-x/m2) }}, nil
}

// BalancedHyperexponential is the hyperexponential law of that mean and SCV (1 or more) both branches of which carry the same work.
func BalancedHyperexponential(mean, scv float64) (*Law, error) {
	if err := checkPositive("mean", mean); err != nil {
		return nil, err
	}
	if notFinite(scv) || scv < 1 {
		return nil, fmt.Errorf("squared coefficient of variation is %v, of a hyperexponential at least 1", scv)
	}
	p := (1 + math.Sqrt((scv-1)/(scv+1))) / 2
	return Hyperexponential(p, mean/(2*p), mean/(2*(1-p)))
}

// Uniform is the uniform law between lo and hi.
func Uniform(lo, hi float64) (*Law, error) {
	if err := errors.Join(checkNonNegative("lower end", lo), checkPositive("upper end", hi)); err != nil {
		return nil, err
	}
	if lo >= hi {
		return nil, fmt.Errorf("uniform between %v and %v: the second must be larger", lo, hi)
	}
	w := hi - lo
	return &Law{Name: "uniform", M1: (lo + hi) / 2, M2: (hi*hi + hi*lo + lo*lo) / 3, M3: (hi + lo) * (hi*hi + lo*lo) / 4, least: lo, most: hi,
		transform: func(s complex128) complex128 {
			if z := s * complex(w, 0); cmplx.Abs(z) > 1e-4 {
				return cmplx.Exp(-s*complex(lo, 0)) * (1 - cmplx.Exp(-z)) / z
			}
			z := s * complex(w, 0)
			return cmplx.Exp(-s*complex(lo, 0)) * (1 - z/2 + z*z/6)
		},
		tail: func(x float64) float64 { return math.Min(1, math.Max(0, (hi-x)/w)) }}, nil
}

// eulerTerms and eulerAverages are the terms of the Fourier series and how many of its last partial sums are averaged.
const (
	eulerTerms    = 38
	eulerAverages = 11
	eulerDecay    = 23.0 // discretisation error e^-23
)

// invertTail is P(X > t) of a time whose transform is known, by the Fourier-series method with Euler summation
// (Abate and Whitt 1995): errors near 1e-9 where the density is smooth, up to 1e-3 at a jump of it.
func invertTail(transform func(complex128) complex128, t float64) float64 {
	if t <= 0 {
		return 1
	}
	at := func(k int) float64 {
		s := complex(eulerDecay/(2*t), float64(k)*math.Pi/t)
		return real((1 - transform(s)) / s)
	}
	total := at(0) / 2
	sign := -1.0
	partial := make([]float64, 0, eulerAverages+1)
	for k := 1; k <= eulerTerms+eulerAverages; k++ {
		total += sign * at(k)
		sign = -sign
		if k >= eulerTerms {
			partial = append(partial, total)
		}
	}
	// Binomial average of the last partial sums.
	weight, average := math.Pow(0.5, eulerAverages), 0.0
	for i, p := range partial {
		average += weight * p
		weight *= float64(eulerAverages-i) / float64(i+1)
	}
	return math.Min(1, math.Max(0, average*math.Exp(eulerDecay/2)/t))
}
