package queueing

import (
	"fmt"
	"math"
)

// ErlangB is the probability that a call is lost at c servers without a queue
// offered a = lambda/mu Erlangs (M/G/c/c: any service distribution).
//
// Source: A. K. Erlang 1917; the recursion B(k) = aB(k-1)/(k+aB(k-1)).
func ErlangB(c int, a float64) (float64, error) {
	if err := checkServers(c); err != nil {
		return 0, err
	}
	if err := checkNonNegative("offered load", a); err != nil {
		return 0, err
	}
	return erlangB(c, a), nil
}

// ErlangC is the probability that an arrival at M/M/c must wait. The offered
// load a must be below c.
func ErlangC(c int, a float64) (float64, error) {
	if err := checkServers(c); err != nil {
		return 0, err
	}
	if err := checkNonNegative("offered load", a); err != nil {
		return 0, err
	}
	if a >= float64(c) {
		return 0, fmt.Errorf("unstable: offered load %v is not below the %d servers", a, c)
	}
	return erlangC(c, a), nil
}

func erlangB(c int, a float64) float64 {
	if c > 1000 && a > 0 {
		// B = P(N=c)/P(N<=c) for N Poisson of mean a: of order sqrt(c) terms.
		lg, _ := math.Lgamma(float64(c) + 1)
		return math.Exp(float64(c)*math.Log(a)-a-lg) / gammaTail(float64(c)+1, a)
	}
	b := 1.0
	for k := 1; k <= c; k++ {
		b = a * b / (float64(k) + a*b)
	}
	return b
}

func erlangC(c int, a float64) float64 {
	b := erlangB(c, a)
	rho := a / float64(c)
	return b / (1 - rho*(1-b))
}
