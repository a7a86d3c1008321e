package queueing

import (
	"errors"
	"fmt"
)

// ErrTooLarge is wrapped by the exact solvers when the state space is beyond
// what the options allow.
var ErrTooLarge = errors.New("state space too large for the exact solver")

// ExactMVA solves a closed network in product form exactly: mean value analysis
// over all populations below the given one (Reiser and Lavenberg 1980), with
// the marginal probabilities of fewer customers than servers for multi-server
// stations. A single class with multi-server stations goes by convolution
// (Buzen 1973), which keeps its precision at any load.
func ExactMVA(n *Network, o Options) (*Solution, error) {
	if err := n.closedOnly("exact MVA"); err != nil {
		return nil, err
	}
	if !n.allProductForm() {
		for k := range n.Stations {
			if !n.productForm(k) {
				return nil, fmt.Errorf("station %s: first come first served with SCV other than 1 or unequal service times has no product form", n.stationName(k))
			}
		}
	}
	if cost := n.exactCost(); cost > o.maxStates() {
		return nil, fmt.Errorf("exact MVA: %.3g cells, at most %.3g: %w", cost, o.maxStates(), ErrTooLarge)
	}
	s := newSolution(n)
	s.Method, s.Exact = "exact MVA", true
	if len(n.Classes) == 1 && n.multiServer() {
		s.Method = "exact load-dependent convolution"
		n.convolve(s)
		return s.finish()
	}
	n.exactMVA(s)
	return s.finish()
}

func (n *Network) closedOnly(solver string) error {
	if err := n.Validate(); err != nil {
		return err
	}
	for r := range n.Classes {
		if !n.Classes[r].closed() {
			return fmt.Errorf("class %s is open; %s takes closed classes only", n.className(r), solver)
		}
	}
	return nil
}

func (n *Network) multiServer() bool {
	for k := range n.Stations {
		if !n.Stations[k].delay() && n.Stations[k].servers() > 1 {
			return true
		}
	}
	return false
}

// exactCost is the number of cells that the exact solver computes.
func (n *Network) exactCost() float64 {
	cost := float64(len(n.Stations) * len(n.Classes))
	if len(n.Classes) == 1 && n.multiServer() {
		return float64(len(n.Stations)) * float64(n.Classes[0].Population) * float64(n.Classes[0].Population)
	}
	width := 0 // marginal probabilities kept for each station
	for r := range n.Classes {
		cost *= float64(n.Classes[r].Population) + 1
	}
	for k := range n.Stations {
		if !n.Stations[k].delay() {
			width += n.Stations[k].servers() - 1
		}
	}
	return cost * (1 + float64(width)/float64(len(n.Stations)))
}

// exactMVA walks the populations in mixed-radix order, so that each population
// less one customer was computed before.
func (n *Network) exactMVA(s *Solution) {
	R, K := len(n.Classes), len(n.Stations)
	stride := make([]int, R) // of one customer of class r in the state number
	states := 1
	for r := range n.Classes {
		stride[r] = states
		states *= n.Classes[r].Population + 1
	}
	queue := matrix(states, K) // total queue length
	marginal := make([][][]float64, K)
	for k := range n.Stations {
		if c := n.Stations[k].servers(); !n.Stations[k].delay() && c > 1 {
			marginal[k] = matrix(states, c)
			marginal[k][0][0] = 1
		}
	}
	pop := make([]int, R)
	for state := 1; state < states; state++ {
		for r := range pop { // count up
			if pop[r]++; pop[r] <= n.Classes[r].Population {
				break
			}
			pop[r] = 0
		}
		for r := range pop {
			s.Throughput[r] = 0
			if pop[r] == 0 {
				continue
			}
			less := state - stride[r]
			total := n.Classes[r].Think
			for k := range n.Stations {
				res := n.exactResidence(r, k, queue[less][k], marginal[k], less)
				s.Residence[r][k] = res
				total += res
			}
			s.Throughput[r] = float64(pop[r]) / total
		}
		for k := range n.Stations {
			for r := range pop {
				if pop[r] > 0 {
					queue[state][k] += s.Throughput[r] * s.Residence[r][k]
				}
			}
			if marginal[k] != nil {
				n.updateMarginal(s, k, state, stride, pop, marginal[k])
			}
		}
	}
}

func (n *Network) exactResidence(r, k int, found float64, marginal [][]float64, less int) float64 {
	d, st := n.Classes[r].Demands[k], &n.Stations[k]
	if st.delay() {
		return d
	}
	if marginal == nil {
		return d * (1 + found)
	}
	// Servers that stand idle for the arrival make up for those found.
	c := st.servers()
	idle := 0.0
	for j := 0; j <= c-2; j++ {
		idle += float64(c-1-j) * marginal[less][j]
	}
	return d / float64(c) * (1 + found + idle)
}

func (n *Network) updateMarginal(s *Solution, k, state int, stride, pop []int, p [][]float64) {
	c := n.Stations[k].servers()
	busy := 0.0
	for r := range pop {
		if pop[r] > 0 {
			busy += n.Classes[r].Demands[k] * s.Throughput[r]
		}
	}
	rest := busy
	for j := 1; j < c; j++ {
		for r := range pop {
			if pop[r] > 0 {
				p[state][j] += n.Classes[r].Demands[k] * s.Throughput[r] / float64(j) * p[state-stride[r]][j-1]
			}
		}
		rest += float64(c-j) * p[state][j]
	}
	// The difference of two near numbers at high load: never below zero.
	p[state][0] = max(0, 1-rest/float64(c))
}
