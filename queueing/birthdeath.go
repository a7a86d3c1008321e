package queueing

import (
	"errors"
	"fmt"
	"math"
)

// BirthDeath gives the stationary probabilities of a birth-death chain on
// 0..n: birth(k) is the rate from k to k+1, death(k) from k to k-1. The chain
// must be irreducible: death rates positive; a birth rate of zero cuts off the
// states above.
func BirthDeath(n int, birth, death func(k int) float64) ([]float64, error) {
	if n < 0 || n > maxCapacity {
		return nil, fmt.Errorf("birth-death chain of %d states, must be 0 to %d", n, maxCapacity)
	}
	// Logarithms first: the weights span more than the range of a float64.
	logs := make([]float64, n+1)
	top := 0.0
	for k := 1; k <= n; k++ {
		b, d := birth(k-1), death(k)
		if err := checkNonNegative(fmt.Sprintf("birth rate of state %d", k-1), b); err != nil {
			return nil, err
		}
		if err := checkPositive(fmt.Sprintf("death rate of state %d", k), d); err != nil {
			return nil, err
		}
		logs[k] = logs[k-1] + math.Log(b) - math.Log(d) // -Inf from a zero birth rate on
		top = math.Max(top, logs[k])
	}
	total := 0.0
	for k, l := range logs {
		logs[k] = math.Exp(l - top)
		total += logs[k]
	}
	for k := range logs {
		logs[k] /= total
	}
	return logs, nil
}

// MMcK solves M/M/c/K: at most K customers present (c <= K), others are lost.
// K = c is the Erlang loss system. Source: Gross and Harris, section 2.5.
func MMcK(lambda, mu float64, c, K int) (*Single, error) {
	if err := checkStation(lambda, mu, c); err != nil {
		return nil, err
	}
	if K < c || K > maxCapacity {
		return nil, fmt.Errorf("M/M/c/K: capacity %d, must be at least the %d servers and at most %d", K, c, maxCapacity)
	}
	p, err := BirthDeath(K,
		func(int) float64 { return lambda },
		func(k int) float64 { return mu * float64(min(k, c)) })
	if err != nil {
		return nil, err
	}
	s := finite("M/M/c/K", p, mu, c)
	s.Arrival, s.PLoss = lambda, p[K]
	s.Throughput = lambda * (1 - p[K])
	// What an entering customer finds: the stationary law given room (PASTA).
	arrive := append([]float64(nil), p[:K]...)
	return s, s.fill(arrive, mu)
}

// MMcN solves M/M/c//N: N sources each of which asks at rate lambda when it is
// not at the station (machine repair). Arrival and Throughput are the effective
// rate. Source: Gross and Harris, section 2.7.
func MMcN(lambda, mu float64, c, N int) (*Single, error) {
	if err := checkStation(lambda, mu, c); err != nil {
		return nil, err
	}
	if N < 1 || N > maxCapacity {
		return nil, fmt.Errorf("M/M/c//N: population %d, must be 1 to %d", N, maxCapacity)
	}
	if lambda == 0 {
		return nil, errors.New("M/M/c//N: arrival rate of a source is 0, must be positive")
	}
	p, err := BirthDeath(N,
		func(k int) float64 { return lambda * float64(N-k) },
		func(k int) float64 { return mu * float64(min(k, c)) })
	if err != nil {
		return nil, err
	}
	s := finite("M/M/c//N", p, mu, c)
	arrive := make([]float64, N)
	for k := range arrive {
		arrive[k] = lambda * float64(N-k) * p[k]
	}
	s.Throughput = sum(arrive)
	s.Arrival = s.Throughput
	return s, s.fill(arrive, mu)
}

// finite fills what follows from the distribution of the number present alone.
func finite(model string, p []float64, mu float64, c int) *Single {
	s := &Single{Model: model, Exact: true, Servers: c, P0: p[0]}
	busy := 0.0
	cumulative := make([]float64, len(p))
	acc := 0.0
	for n, x := range p {
		s.L += float64(n) * x
		s.Lq += float64(max(n-c, 0)) * x
		busy += float64(min(n, c)) * x
		acc += x
		cumulative[n] = math.Min(acc, 1)
	}
	s.Utilisation = busy / float64(c)
	s.atMost = func(n int) float64 { return cumulative[min(n, len(p)-1)] }
	return s
}

// fill adds times: arrive[n] is proportional to the probability that an
// entering customer finds n present. A wait is then Erlang(n-c+1, c mu).
func (s *Single) fill(arrive []float64, mu float64) error {
	total := sum(arrive)
	if total <= 0 || s.Throughput <= 0 {
		s.W, s.VarW, s.VarWq = 1/mu, 1/(mu*mu), 0
		return nil
	}
	c := s.Servers
	rate := float64(c) * mu
	second := 0.0
	wait := make([]float64, max(len(arrive)-c, 0)) // probability of Erlang(i+1)
	for n := range arrive {
		arrive[n] /= total
		if n >= c {
			k := float64(n - c + 1)
			wait[n-c] = arrive[n]
			s.PWait += arrive[n]
			s.Wq += arrive[n] * k / rate
			second += arrive[n] * k * (k + 1) / (rate * rate)
		}
	}
	s.W = s.Wq + 1/mu
	s.VarWq = math.Max(0, second-s.Wq*s.Wq)
	s.VarW = s.VarWq + 1/(mu*mu)
	s.tailWq = func(t float64) float64 { return erlangMixTail(wait, rate*t) }
	if len(wait) <= maxExactTail { // beyond: the fit of two moments
		s.tailW = func(t float64) float64 { return tailErlangPlus(wait, rate, mu, t) }
	}
	return nil
}

// erlangMixTail is P(X > x) for X Erlang of i+1 unit stages with probability
// w[i]: at most i events of a Poisson process by x.
func erlangMixTail(w []float64, x float64) float64 {
	if x <= 0 {
		return sum(w)
	}
	remaining := sum(w)
	logTerm, total := -x, 0.0
	for i := range w {
		if i > 0 {
			logTerm += math.Log(x / float64(i))
		}
		// A Poisson count of i keeps every Erlang of more than i stages alive.
		total += math.Exp(logTerm) * math.Max(remaining, 0)
		remaining -= w[i]
	}
	return math.Min(1, total)
}

// maxExactTail is the number of waiting places up to which the integral below is
// affordable in the many evaluations that a percentile takes.
const maxExactTail = 200

// tailErlangPlus is P(V + S > t): S alone exceeds t, or S = u and V > t-u. The
// integral is taken by Simpson's rule on the smooth integrand.
func tailErlangPlus(wait []float64, rate, mu, t float64) float64 {
	if t <= 0 {
		return 1
	}
	const steps = 400
	h := t / steps
	total := 0.0
	for i := 0; i <= steps; i++ {
		u := float64(i) * h
		w := 2.0
		switch {
		case i == 0 || i == steps:
			w = 1
		case i%2 == 1:
			w = 4
		}
		total += w * mu * math.Exp(-mu*u) * erlangMixTail(wait, rate*math.Max(0, t-u))
	}
	return math.Min(1, math.Exp(-mu*t)+total*h/3)
}
