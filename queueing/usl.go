package queueing

import (
	"errors"
	"fmt"
	"math"
)

// USL is the universal scalability law X(N) = gamma N / (1 + alpha(N-1) + beta N(N-1)):
// alpha is contention, beta coherency, gamma the throughput of one.
// Source: Gunther, Guerrilla Capacity Planning, 2007.
type USL struct {
	Alpha, Beta, Gamma float64
}

// USLMethod names how a USL was fitted.
type USLMethod string

const (
	// USLLeastSquares fits the three parameters by least squares of throughput,
	// none below zero.
	USLLeastSquares USLMethod = "three-parameter bounded least squares"
	// USLQuadratic is Gunther's: gamma is the first point's throughput per unit of
	// load; a parabola through the origin of N/C-1 over N-1.
	USLQuadratic USLMethod = "Gunther's quadratic"
)

// USLPoint is one measurement: throughput X at load (users, threads, nodes) N.
type USLPoint struct{ N, X float64 }

// FitUSL fits the law to measurements at three or more different loads, each
// at least 1. R2 is the share of the variance of X that the fit explains.
func FitUSL(points []USLPoint, method USLMethod) (u USL, r2 float64, err error) {
	if len(points) > maxCapacity {
		return u, 0, fmt.Errorf("usl: %d points, at most %d", len(points), maxCapacity)
	}
	distinct := map[float64]bool{}
	for i, p := range points {
		if err := checkPositive("load", p.N); err != nil {
			return u, 0, fmt.Errorf("usl: point %d: %w", i+1, err)
		}
		if err := checkPositive("throughput", p.X); err != nil {
			return u, 0, fmt.Errorf("usl: point %d: %w", i+1, err)
		}
		distinct[p.N] = true
	}
	if len(distinct) < 3 {
		return u, 0, fmt.Errorf("usl: %d different loads, three parameters need at least 3", len(distinct))
	}
	switch method {
	case "", USLLeastSquares:
		u, err = fitBounded(points)
	case USLQuadratic:
		u, err = fitQuadratic(points)
	default:
		return u, 0, fmt.Errorf("usl: unknown method %q", method)
	}
	if err != nil {
		return u, 0, err
	}
	mean, total := 0.0, 0.0
	for _, p := range points {
		mean += p.X / float64(len(points))
	}
	for _, p := range points {
		total += (p.X - mean) * (p.X - mean)
	}
	if total > 0 {
		r2 = 1 - u.squares(points)/total
	}
	return u, r2, nil
}

func (u USL) squares(points []USLPoint) float64 {
	total := 0.0
	for _, p := range points {
		d := p.X - u.throughput(p.N)
		total += d * d
	}
	return total
}

// fitBounded fits with each choice of alpha and beta held at zero and keeps the
// best fit without a negative parameter: the bounded optimum has some such
// pattern.
func fitBounded(points []USLPoint) (USL, error) {
	best, found := USL{}, false
	for pattern := range 4 {
		u, ok := fitFree(points, pattern&1 == 0, pattern&2 == 0)
		if ok && u.Alpha >= 0 && u.Beta >= 0 && u.Gamma > 0 && (!found || u.squares(points) < best.squares(points)*(1-1e-12)) {
			best, found = u, true
		}
	}
	if !found {
		return USL{}, errors.New("usl: no fit with parameters of zero or more")
	}
	return best, nil
}

// fitFree is Levenberg and Marquardt's least squares from the solution of the
// linear problem N/X = 1/gamma + (alpha/gamma)(N-1) + (beta/gamma)N(N-1).
func fitFree(points []USLPoint, alpha, beta bool) (USL, bool) {
	free := []bool{true, alpha, beta} // gamma, alpha, beta
	theta, ok := leastSquares(points, free, func(p USLPoint) ([3]float64, float64, float64) {
		return [3]float64{1, p.N - 1, p.N * (p.N - 1)}, p.N / p.X, p.X * p.X / p.N
	})
	if !ok || theta[0] <= 0 {
		return USL{}, false
	}
	u := USL{Gamma: 1 / theta[0], Alpha: theta[1] / theta[0], Beta: theta[2] / theta[0]}
	damp := 1e-3
	for range 200 {
		before := u.squares(points)
		step, ok := u.step(points, free, damp)
		if !ok {
			break
		}
		next := USL{Gamma: u.Gamma + step[0], Alpha: u.Alpha + step[1], Beta: u.Beta + step[2]}
		after := next.squares(points)
		if math.IsNaN(after) || after >= before || next.Gamma <= 0 {
			if damp *= 10; damp > 1e12 {
				break
			}
			continue
		}
		u, damp = next, damp/10
		if before-after <= 1e-16*before {
			break
		}
	}
	return u, true
}

func (u USL) step(points []USLPoint, free []bool, damp float64) ([3]float64, bool) {
	return leastSquaresDamped(points, free, damp, func(p USLPoint) ([3]float64, float64, float64) {
		d := 1 + u.Alpha*(p.N-1) + u.Beta*p.N*(p.N-1)
		x := u.Gamma * p.N / d
		return [3]float64{p.N / d, -x * (p.N - 1) / d, -x * p.N * (p.N - 1) / d}, p.X - x, 1
	})
}

func leastSquares(points []USLPoint, free []bool, row func(USLPoint) ([3]float64, float64, float64)) ([3]float64, bool) {
	return leastSquaresDamped(points, free, 0, row)
}

// leastSquaresDamped solves the normal equations over the free parameters, each
// column scaled to one; row gives coefficients, right side and weight.
func leastSquaresDamped(points []USLPoint, free []bool, damp float64, row func(USLPoint) ([3]float64, float64, float64)) (out [3]float64, ok bool) {
	var index []int
	for i, f := range free {
		if f {
			index = append(index, i)
		}
	}
	a, b := matrix(len(index), len(index)), make([]float64, len(index))
	for _, p := range points {
		c, y, w := row(p)
		for i, ci := range index {
			b[i] += w * c[ci] * y
			for j, cj := range index {
				a[i][j] += w * c[ci] * c[cj]
			}
		}
	}
	scale := make([]float64, len(index))
	for i := range index {
		if scale[i] = math.Sqrt(a[i][i]); scale[i] == 0 {
			return out, false
		}
	}
	for i := range index {
		b[i] /= scale[i]
		for j := range index {
			a[i][j] /= scale[i] * scale[j]
		}
		a[i][i] += damp
	}
	x, err := solveLinear(a, b)
	if err != nil {
		return out, false
	}
	for i, ci := range index {
		out[ci] = x[i] / scale[i]
	}
	return out, true
}

func fitQuadratic(points []USLPoint) (USL, error) {
	first := points[0]
	for _, p := range points {
		if p.N < first.N {
			first = p
		}
	}
	u := USL{Gamma: first.X / first.N}
	// N/C - 1 = beta (N-1)^2 + (alpha+beta)(N-1)
	var s2, s3, s4, y1, y2 float64
	for _, p := range points {
		x, y := p.N-1, p.N/(p.X/u.Gamma)-1
		s2 += x * x
		s3 += x * x * x
		s4 += x * x * x * x
		y1 += x * y
		y2 += x * x * y
	}
	det := s2*s4 - s3*s3
	if det <= 1e-12*s2*s4 {
		return u, errors.New("usl: the loads do not determine a parabola")
	}
	u.Beta = (s2*y2 - s3*y1) / det
	u.Alpha = (s4*y1-s3*y2)/det - u.Beta
	return u, nil
}

// Errors returns the standard errors of the coefficients of a law fitted to points, linearised at the fit; of a coefficient
// that is held at 0 the one that it would have if it were free. Infinite where there are no more points than coefficients.
func (u USL) Errors(points []USLPoint) (USL, error) {
	if err := u.validate(); err != nil {
		return USL{}, err
	}
	const k = 3
	if len(points) <= k {
		return USL{math.Inf(1), math.Inf(1), math.Inf(1)}, nil
	}
	sigma := u.squares(points) / float64(len(points)-k)
	var out [k]float64
	for j := range k {
		// Row j of the inverse of J'J; columns are scaled by gamma, so that the elements are of one size.
		normal := make([][]float64, k)
		unit := make([]float64, k)
		unit[j] = 1
		for i := range normal {
			normal[i] = make([]float64, k)
		}
		for _, p := range points {
			d := 1 + u.Alpha*(p.N-1) + u.Beta*p.N*(p.N-1)
			x := p.N / d // throughput for a gamma of 1
			row := [k]float64{-x * (p.N - 1) / d, -x * p.N * (p.N - 1) / d, x}
			for a := range k {
				for b := range k {
					normal[a][b] += row[a] * row[b]
				}
			}
		}
		inverse, err := solveLinear(normal, unit)
		if err != nil {
			return USL{}, fmt.Errorf("usl: the points do not tell the coefficients apart: %w", err)
		}
		out[j] = math.Sqrt(max(0, sigma*inverse[j])) / u.Gamma
	}
	return USL{out[0], out[1], out[2] * u.Gamma}, nil
}

func (u USL) validate() error {
	if err := checkNonNegative("alpha", u.Alpha); err != nil {
		return err
	}
	if err := checkNonNegative("beta", u.Beta); err != nil {
		return err
	}
	return checkPositive("gamma", u.Gamma)
}

func (u USL) throughput(n float64) float64 {
	return u.Gamma * n / (1 + u.Alpha*(n-1) + u.Beta*n*(n-1))
}

// Throughput at load n.
func (u USL) Throughput(n float64) (float64, error) {
	if err := u.validate(); err != nil {
		return 0, err
	}
	return u.throughput(n), checkPositive("load", n)
}

// Latency at load n: n/X(n), by Little's law.
func (u USL) Latency(n float64) (float64, error) {
	x, err := u.Throughput(n)
	if err != nil {
		return 0, err
	}
	return n / x, nil
}

// Peak is the load of highest throughput, sqrt((1-alpha)/beta), and that
// throughput; with beta zero the load is +Inf and the throughput gamma/alpha.
func (u USL) Peak() (load, throughput float64, err error) {
	if err := u.validate(); err != nil {
		return 0, 0, err
	}
	if u.Beta == 0 {
		return math.Inf(1), u.Gamma / u.Alpha, nil
	}
	load = math.Sqrt(math.Max(0, 1-u.Alpha) / u.Beta)
	load = math.Max(load, 1)
	return load, u.throughput(load), nil
}

// Optimum is the load 1/alpha, where the linear rise meets the ceiling
// gamma/alpha that contention alone would set.
func (u USL) Optimum() (float64, error) { return 1 / u.Alpha, u.validate() }

// LoadAtLatency is the load whose latency is t.
func (u USL) LoadAtLatency(t float64) (float64, error) {
	if err := u.validate(); err != nil {
		return 0, err
	}
	if err := checkPositive("latency", t); err != nil {
		return 0, err
	}
	// beta N^2 + (alpha-beta) N + 1 - alpha - gamma t = 0
	c := 1 - u.Alpha - u.Gamma*t
	if u.Beta == 0 {
		if u.Alpha == 0 {
			return 0, errors.New("usl: without contention or coherency the latency is the same at every load")
		}
		return positiveLoad(-c / u.Alpha)
	}
	b := u.Alpha - u.Beta
	disc := b*b - 4*u.Beta*c
	if disc < 0 {
		return 0, fmt.Errorf("usl: no load has latency %v", t)
	}
	return positiveLoad((-b + math.Sqrt(disc)) / (2 * u.Beta))
}

// ThroughputAtLatency is the throughput at the load whose latency is t.
func (u USL) ThroughputAtLatency(t float64) (float64, error) {
	n, err := u.LoadAtLatency(t)
	if err != nil {
		return 0, err
	}
	return n / t, nil
}

// LoadAtThroughput is the smallest load that reaches throughput x.
func (u USL) LoadAtThroughput(x float64) (float64, error) {
	if err := u.validate(); err != nil {
		return 0, err
	}
	if err := checkPositive("throughput", x); err != nil {
		return 0, err
	}
	// beta x N^2 + (x(alpha-beta) - gamma) N + x(1-alpha) = 0
	a, b, c := u.Beta*x, x*(u.Alpha-u.Beta)-u.Gamma, x*(1-u.Alpha)
	disc := b*b - 4*a*c
	if disc < 0 || b >= 0 {
		return 0, fmt.Errorf("usl: throughput %v is beyond the peak", x)
	}
	return positiveLoad(2 * c / (-b + math.Sqrt(disc)))
}

func positiveLoad(n float64) (float64, error) {
	if notFinite(n) || n <= 0 {
		return 0, fmt.Errorf("usl: no load reaches it (the equation gives %v)", n)
	}
	return n, nil
}
