package queueing

import (
	"errors"
	"fmt"
	"math"
)

// chain is a sparse continuous-time Markov chain under construction. States are
// numbered from 0; arcs are kept by source and turned for solving.
type chain struct {
	from, to []int32
	rate     []float64
	states   int
}

func (c *chain) add(from, to int, rate float64) {
	if from == to || rate <= 0 {
		return
	}
	c.from = append(c.from, int32(from))
	c.to = append(c.to, int32(to))
	c.rate = append(c.rate, rate)
	c.states = max(c.states, from+1, to+1)
}

var errSlowChain = errors.New("the Markov chain's equations did not converge")

// steady solves pi Q = 0, sum pi = 1, by Gauss-Seidel sweeps in alternating
// directions. The chain must have one recurrent class. The error of the answer is
// bounded by the change of the last sweep against the rate of convergence.
func (c *chain) steady() ([]float64, error) {
	n := c.states
	if n == 0 {
		return []float64{1}, nil
	}
	start := make([]int32, n+1) // arcs into each state
	out := make([]float64, n)
	for i := range c.to {
		start[c.to[i]+1]++
		out[c.from[i]] += c.rate[i]
	}
	for i := 0; i < n; i++ {
		start[i+1] += start[i]
		if out[i] == 0 {
			return nil, fmt.Errorf("state %d of the Markov chain is absorbing: the model can deadlock", i)
		}
	}
	source := make([]int32, len(c.from))
	weight := make([]float64, len(c.from))
	fill := append([]int32(nil), start[:n]...)
	for i, t := range c.to {
		source[fill[t]], weight[fill[t]] = c.from[i], c.rate[i]
		fill[t]++
	}
	pi := make([]float64, n)
	for i := range pi {
		pi[i] = 1 / float64(n)
	}
	update := func(i int) float64 {
		in := 0.0
		for a := start[i]; a < start[i+1]; a++ {
			in += pi[source[a]] * weight[a]
		}
		x := in / out[i]
		d := math.Abs(x - pi[i])
		pi[i] = x
		return d
	}
	before := math.Inf(1)
	budget := 1_500_000_000 / (len(c.from) + n + 1) // arcs visited in all
	for sweep := 0; sweep < max(budget, 100); sweep++ {
		change := 0.0
		if sweep%2 == 0 {
			for i := 0; i < n; i++ {
				change += update(i)
			}
		} else {
			for i := n - 1; i >= 0; i-- {
				change += update(i)
			}
		}
		total := sum(pi)
		for i := range pi {
			pi[i] /= total
		}
		change /= total
		// The remaining error is about change/(1-convergence).
		converge := math.Min(change/before, 0.9999)
		before = change
		if change/(1-converge) < 1e-10 || change < 1e-14 {
			return pi, nil
		}
	}
	return nil, errSlowChain
}
