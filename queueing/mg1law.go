package queueing

import (
	"fmt"
	"math"
)

// MG1Law solves M/G/1 first come first served for a service law: means and variances exactly, tails of the wait and of the
// time in the station by inverting their transforms (Pollaczek and Khinchine; for constant service by Franx's formula of
// 2001), the number present by the recursion over the level crossed (Ramaswami 1988), which only adds.
func MG1Law(lambda float64, service *Law) (*Single, error) {
	s, err := MG1Moments(lambda, service.M1, service.M2, service.M3)
	if err != nil {
		return nil, err
	}
	if s.tailW != nil || lambda == 0 {
		if lambda == 0 {
			s.tailW, s.tailWq, s.atMost = service.tail, func(float64) float64 { return 0 }, func(int) float64 { return 1 }
		}
		return s, nil
	}
	rho := s.Utilisation
	number := newNumberPresent(lambda, rho, service)
	s.atMost = number.atMost
	if service.least == service.most {
		d := service.M1
		s.tailWq = func(t float64) float64 { return constantWait(lambda, d, number, t) }
		s.tailW = func(t float64) float64 {
			if t < d {
				return 1
			}
			return s.tailWq(t - d)
		}
		return s, nil
	}
	// The wait's transform is (1-rho) s / (s - lambda + lambda B(s)); of those who wait, without the atom at zero, the
	// tail is smooth.
	wait := func(z complex128) complex128 {
		return complex(1-rho, 0) * z / (z - complex(lambda, 0)*(1-service.transform(z)))
	}
	// A share rho waits; scaled so that the inversion sees a whole distribution.
	s.tailWq = func(t float64) float64 {
		return math.Min(rho, rho*invertTail(func(z complex128) complex128 { return (wait(z) - complex(1-rho, 0)) / complex(rho, 0) }, t))
	}
	s.tailW = func(t float64) float64 {
		return invertTail(func(z complex128) complex128 { return wait(z) * service.transform(z) }, t)
	}
	return s, nil
}

// numberPresent is the law of the number present at M/G/1, computed as far as it is asked for.
type numberPresent struct {
	more []float64 // more[k] is P(more than k arrivals in a service)
	none float64   // P(no arrival in a service)
	p    []float64
	up   []float64 // cumulated p
	arr  func(k int) float64
	acc  float64
}

// maxLevels bounds the recursion, which is quadratic; beyond them the tail is geometric.
const maxLevels = 3000

func newNumberPresent(lambda, rho float64, service *Law) *numberPresent {
	n := &numberPresent{arr: countsOf(lambda, service)}
	n.none = n.arr(0)
	n.acc = n.none
	n.more = []float64{1 - n.none}
	n.p = []float64{1 - rho}
	n.up = []float64{1 - rho}
	return n
}

// countsOf are the probabilities of k Poisson arrivals in a service time.
func countsOf(lambda float64, service *Law) func(k int) float64 {
	a := lambda * service.M1
	switch service.Name {
	case "constant":
		return func(k int) float64 {
			lg, _ := math.Lgamma(float64(k) + 1)
			return math.Exp(float64(k)*math.Log(a) - a - lg)
		}
	case "hyperexponential", "uniform", "Pareto":
		// By the transform on a circle: a_k = (1/N) sum B(lambda(1-z)) z^-k over the N-th roots of unity.
		const N = 4096
		values := coefficients(func(z complex128) complex128 { return service.transform(complex(lambda, 0) * (1 - z)) }, N)
		return func(k int) float64 {
			if k < N/2 {
				return math.Max(0, values[k])
			}
			return 0
		}
	}
	scv := service.SCV()
	shape, theta := 1/scv, a*scv // negative binomial
	return func(k int) float64 {
		x := float64(k)
		l1, _ := math.Lgamma(x + shape)
		l2, _ := math.Lgamma(shape)
		l3, _ := math.Lgamma(x + 1)
		return math.Exp(l1 - l2 - l3 + x*math.Log(theta/(1+theta)) - shape*math.Log1p(theta))
	}
}

// extend computes the law up to n: the flow up across each level equals the flow down.
func (l *numberPresent) extend(n int) {
	for i := len(l.p); i <= n; i++ {
		for len(l.more) <= i {
			l.acc += l.arr(len(l.more))
			l.more = append(l.more, math.Max(0, 1-l.acc))
		}
		// more[k-1] is P(at least k arrivals)
		flow := l.p[0] * l.more[i-1]
		for j := 1; j < i; j++ {
			flow += l.p[j] * l.more[i-j]
		}
		l.p = append(l.p, flow/l.none)
		l.up = append(l.up, math.Min(1, l.up[i-1]+l.p[i]))
	}
}

func (l *numberPresent) atMost(n int) float64 {
	if n < maxLevels {
		l.extend(n)
		return l.up[n]
	}
	l.extend(maxLevels)
	ratio := l.p[maxLevels] / math.Max(l.p[maxLevels-1], 1e-300)
	return math.Min(1, 1-(1-l.up[maxLevels])*math.Pow(math.Min(1, ratio), float64(n-maxLevels)))
}

// constantWait is P(wait > t) at M/D/1. Source: Franx, A simple solution for the M/D/c waiting time distribution, 2001.
func constantWait(lambda, d float64, number *numberPresent, t float64) float64 {
	k := int(math.Floor(t/d)) + 1
	if k >= maxLevels {
		// Geometric from here on: two steps of one service time apart.
		near, far := constantWait(lambda, d, number, float64(maxLevels-30)*d), constantWait(lambda, d, number, float64(maxLevels-20)*d)
		if near <= 1e-14 || far <= 0 {
			return 0
		}
		return math.Min(1, near*math.Pow(far/near, (t/d-float64(maxLevels-30))/10))
	}
	x := lambda * (float64(k)*d - t)
	total, term := 0.0, math.Exp(-x)
	for j := 0; j < k; j++ {
		if j > 0 {
			term *= x / float64(j)
		}
		total += term * number.atMost(k-j) // at most k-j-1 in line
	}
	return math.Min(1, math.Max(0, 1-total))
}

// MD1 is M/D/1: constant service of rate mu.
func MD1(lambda, mu float64) (*Single, error) {
	if err := checkStation(lambda, mu, 1); err != nil {
		return nil, err
	}
	law, err := Constant(1 / mu)
	if err != nil {
		return nil, err
	}
	s, err := MG1Law(lambda, law)
	if err != nil {
		return nil, err
	}
	s.Model = "M/D/1"
	return s, nil
}

// MDc is M/D/c: c servers of constant service. Every c-th customer goes to the same server, so the wait is that of one
// server with Erlang-c arrivals (Crommelin 1932), whose cumulants and atom at zero are Spitzer's sums over the random
// walk of k services less k c arrivals. Tails fit these.
func MDc(lambda, mu float64, c int) (*Single, error) {
	if err := checkStation(lambda, mu, c); err != nil {
		return nil, err
	}
	if c == 1 {
		return MD1(lambda, mu)
	}
	a := lambda / mu
	if a >= float64(c) {
		return nil, unstable("M/D/c", lambda, mu, c)
	}
	rho := a / float64(c)
	s := &Single{Model: "M/D/c", Exact: true, Arrival: lambda, Throughput: lambda, Servers: c, Utilisation: rho, P0: math.NaN()}
	if a > 0 {
		atom, mean, variance := spitzer(a, float64(c))
		d := 1 / mu
		s.PWait, s.Wq, s.VarWq = -math.Expm1(-atom), mean*d, variance*d*d
	}
	s.W, s.VarW = s.Wq+1/mu, s.VarWq
	s.Lq, s.L = lambda*s.Wq, lambda*s.W
	s.tailW = func(t float64) float64 {
		if t < 1/mu {
			return 1
		}
		return s.TailWq(t - 1/mu)
	}
	return s, nil
}

// spitzer sums E[(S_k^+)^m]/k, m = 0, 1, 2, for S_k = k - Erlang(k c stages of rate a). Terms are added one by one first and
// then, where they change slowly, by Simpson's rule in log k.
func spitzer(a, c float64) (atom, mean, second float64) {
	at := func(k float64) (float64, float64, float64) {
		n, x := k*c, k*a
		if n > manyStages {
			e0, e1, e2 := erlangBelow(k, n, a)
			return e0 / k, e1 / k, e2 / k
		}
		f0, f1, f2 := 1-gammaTail(n, x), 1-gammaTail(n+1, x), 1-gammaTail(n+2, x)
		e1 := k*f0 - n/a*f1
		e2 := k*k*f0 - 2*k*n/a*f1 + n*(n+1)/(a*a)*f2
		if f0 < 1e-9 { // what is left is below what the differences resolve
			e1, e2 = math.Max(0, e1), math.Max(0, e2)
		}
		return f0 / k, math.Max(0, e1) / k, math.Max(0, e2) / k
	}
	const single = 400
	for k := 1; k <= single; k++ {
		x, y, z := at(float64(k))
		atom, mean, second = atom+x, mean+y, second+z
		if x < 1e-17 {
			return atom, mean, second
		}
	}
	// Sum over k > single is the integral from single + 1/2, in u = log k.
	lo := math.Log(single + 0.5)
	const h = 0.02
	for i := 0; i < 3000; i++ {
		u := lo + float64(i)*h
		part := 0.0
		for j, w := range []float64{1, 4, 1} {
			k := math.Exp(u + float64(j)*h/2)
			x, y, z := at(k)
			w *= h / 6 * k
			atom, mean, second = atom+w*x, mean+w*y, second+w*z
			part += w * z
		}
		if part < 1e-12*second {
			break
		}
	}
	return atom, mean, second
}

// manyStages is from how many stages on an Erlang law is taken by its expansion: there the incomplete gamma function has lost as many
// digits to the difference of large terms as the expansion neglects, some 1e-8, and beyond it all of them.
const manyStages = 1e5

// erlangBelow is E[((k - X)^+)^m], m = 0, 1, 2, for X the sum of n stages of rate a, n large: the normal law with the terms
// of skewness and kurtosis (Edgeworth's expansion; Feller, 'An Introduction to Probability Theory', vol. 2, XVI.2), of which
// Hermite's polynomials He integrate to He again. What is left out is of the order of n^-1.5.
func erlangBelow(k, n, a float64) (e0, e1, e2 float64) {
	sigma := math.Sqrt(n) / a
	b := (n/a - k) / sigma // so many standard deviations below its mean
	phi, tail := math.Exp(-b*b/2)/math.Sqrt(2*math.Pi), math.Erfc(b/math.Sqrt2)/2
	skew := -2 / math.Sqrt(n) // of -X
	s1, s2, s3 := skew/6, 6/n/24, skew*skew/72
	he2, he3, he4 := b*b-1, b*b*b-3*b, b*b*b*b-6*b*b+3
	he5 := b*he4 - 4*he3
	e0 = tail + phi*(s1*he2+s2*he3+s3*he5)
	e1 = sigma * (phi - b*tail + phi*(s1*b+s2*he2+s3*he4))
	e2 = sigma * sigma * ((1+b*b)*tail - b*phi + 2*phi*(s1+s2*b+s3*he3))
	return math.Max(0, e0), math.Max(0, e1), math.Max(0, e2)
}

// String names the law with its mean and SCV.
func (l *Law) String() string { return fmt.Sprintf("%s, mean %g, SCV %.3g", l.Name, l.M1, l.SCV()) }
