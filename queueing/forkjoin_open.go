package queueing

import (
	"errors"
	"fmt"
	"math"
)

// ForkJoinMethod names a formula for the fork-join queue.
type ForkJoinMethod string

const (
	NelsonTantawi ForkJoinMethod = "Nelson-Tantawi" // 1988; within 5 % up to 32 branches
	Varma         ForkJoinMethod = "Varma-Makowski" // 1994: between the light and the heavy traffic limit
)

// ForkJoinOpen is the mean response time of Poisson jobs of rate lambda that split over n alike exponential servers of rate
// mu, each with its own line, and end with their last part. One and two branches are exact (Flatto and Hahn 1984). The bounds
// are n independent lines' maximum above and no queueing beside the slowest below.
func ForkJoinOpen(lambda, mu float64, n int, method ForkJoinMethod) (response, lower, upper float64, exact bool, err error) {
	if err := checkStation(lambda, mu, 1); err != nil {
		return 0, 0, 0, false, err
	}
	if n < 1 || n > 10_000 {
		return 0, 0, 0, false, fmt.Errorf("fork-join: %d branches, must be 1 to 10000", n)
	}
	rho := lambda / mu
	if rho >= 1 {
		return 0, 0, 0, false, unstable("fork-join", lambda, mu, 1)
	}
	harmonic := func(n int) float64 {
		h := 0.0
		for i := 1; i <= n; i++ {
			h += 1 / float64(i)
		}
		return h
	}
	one, h := 1/(mu-lambda), harmonic(n)
	two := (12 - rho) / 8 * one
	upper = h * one
	// Each branch waits at least as M/M/1; the maximum of the services alone is h/mu.
	lower = math.Max(one, h/mu)
	switch {
	case n == 1:
		return one, one, one, true, nil
	case n == 2:
		return two, lower, upper, true, nil
	}
	switch method {
	case "", NelsonTantawi:
		ratio := h / 1.5
		return (ratio + 4.0/11*(1-ratio)*rho) * two, lower, upper, false, nil
	case Varma:
		if n > 30 {
			return 0, 0, 0, false, errors.New("fork-join: the alternating sum of Varma-Makowski loses its precision beyond 30 branches")
		}
		return (h + (varma(n)-h)*rho) * one, lower, upper, false, nil
	}
	return 0, 0, 0, false, fmt.Errorf("fork-join: unknown method %q (have %s, %s)", method, NelsonTantawi, Varma)
}

// varma is the slope of the heavy-traffic limit.
func varma(n int) float64 {
	total, binomial := 0.0, 1.0
	for r := 1; r <= n; r++ {
		binomial *= float64(n-r+1) / float64(r)
		inner, c, power := 0.0, 1.0, float64(r)
		factorial := 1.0 // (m-1)!
		for m := 1; m <= r; m++ {
			c *= float64(r-m+1) / float64(m)
			power *= float64(r)
			if m > 1 {
				factorial *= float64(m - 1)
			}
			inner += c * factorial / power
		}
		if r%2 == 1 {
			total += binomial * inner
		} else {
			total -= binomial * inner
		}
	}
	return total
}
