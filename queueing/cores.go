package queueing

import (
	"fmt"
	"math"
)

// CoresBusy is how many of c cores work where n threads are ready to run, n >= 1: the rate at which they get done, each as much as any
// other. A scheduler that always found an idle core would have min(n, c) of them work; one that left each thread where it was put first,
// at random, c n/(n+c-1), by which the queue is that of c single servers (both are rates of a symmetric queue: Kelly, 'Reversibility and
// Stochastic Networks', 1979, section 3.3). Operating systems are between the two: a thread that wakes is put where it or its waker
// ran, and moved when a core has found nothing to do. Here threads of one core's worth, or a part of it, apart, from 0 to 1, are left where
// they were put, and the others are shared: what is lost vanishes with many cores, of which some is idle nearly always.
func CoresBusy(n, c, apart float64) float64 {
	if c <= 1 {
		return math.Min(n, c)
	}
	return (1-apart/c)*math.Min(n, c) + apart*n/(n+c-1)
}

// CoresStretch is by how much sharing c cores stretches CPU time where load of them, on average, are at work: the mean sojourn of a
// piece of work over its length, of any law, where pieces come by chance and CoresBusy says how fast they get done. It is an error
// where load is not below c, or apart is not from 0 to 1.
func CoresStretch(load float64, c int, apart float64) (float64, error) {
	if !(apart >= 0 && apart <= 1) {
		return 0, fmt.Errorf("cores: %v of a core apart, must be from 0 to 1", apart)
	}
	if err := checkStation(load, 1, c); err != nil {
		return 0, err
	}
	if !(load < float64(c)) {
		return 0, unstable("cores", load, 1, c)
	}
	rho := load / float64(c)
	if rho < 1e-12 {
		return 1, nil
	}
	if c == 1 {
		return 1 / (1 - rho), nil
	}
	// A birth-death chain: p[n]/p[n-1] = load/CoresBusy(n), all relative to p[c-1]. From c on, (n+b) p[n] = rho (n+c-1) p[n-1]: the sum
	// of p[n] is a hypergeometric series, and that of n p[n] follows from it.
	servers := float64(c)
	b := (servers - apart) * (servers - 1) / servers
	sum := rho * (2*servers - 1) / (servers + b) * hypergeometric(2*servers, servers+b, rho)
	first := (rho*(2*servers-1) + (rho*servers-b)*sum) / (1 - rho)
	sum++
	p := 1.0
	for n := c - 1; n >= 1; n-- {
		first += float64(n) * p
		p *= CoresBusy(float64(n), servers, apart) / load
		sum += p
		if p > 1e100 { // of many cores that are used little, the last are used hardly ever
			p, sum, first = p*1e-100, sum*1e-100, first*1e-100
		}
	}
	return math.Max(1, first/sum/load), nil
}

// hypergeometric is F(a, 1; b+1; z) for 0 <= z < 1, by Gauss's continued fraction (DLMF 15.7.1 with one parameter 0, so that the
// denominator is 1), evaluated forwards by the modified Lentz method. It takes some 1/sqrt(1-z) steps.
func hypergeometric(a, b, z float64) float64 {
	const tiny = 1e-300
	f, c, d := tiny, tiny, 0.0
	next := 1.0 // numerator of the step
	for k := 0; k < 100_000; k++ {
		d = 1 + next*d
		if d == 0 {
			d = tiny
		}
		c = 1 + next/c
		if c == 0 {
			c = tiny
		}
		d = 1 / d
		f *= c * d
		if k > 0 && math.Abs(c*d-1) < 1e-13 {
			break
		}
		m := float64(k / 2)
		if k%2 == 0 {
			next = -z * (a + m) * (b + m) / ((b + 2*m) * (b + 2*m + 1))
		} else {
			m++
			next = -z * m * (b - a + m) / ((b + 2*m - 1) * (b + 2*m))
		}
	}
	return f
}
