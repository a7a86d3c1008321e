package queueing

import (
	"errors"
	"fmt"
)

// Method names a solver of networks.
type Method string

const (
	Auto             Method = "" // exact where affordable, else Linearizer, else Schweitzer
	MethodExact      Method = "exact"
	MethodLinearizer Method = "linearizer"
	MethodSchweitzer Method = "schweitzer"
)

// Options of the network solvers. The zero value is the default.
type Options struct {
	Method        Method
	MaxStates     float64 // cells that an exact solver may compute; 0 means 4 million (tens of milliseconds)
	Tolerance     float64 // of the fixed points, in customers relative to the population; 0 means 1e-7
	MaxIterations int     // of one fixed point; 0 means 20 000
}

func (o Options) maxStates() float64 {
	if o.MaxStates > 0 {
		return min(o.MaxStates, 1e8)
	}
	return 4e6
}

func (o Options) tolerance() float64 {
	if o.Tolerance > 0 {
		return o.Tolerance
	}
	return 1e-7
}

func (o Options) maxIterations() int {
	if o.MaxIterations > 0 {
		return o.MaxIterations
	}
	return 20_000
}

func (o Options) validate() error {
	switch o.Method {
	case Auto, MethodExact, MethodLinearizer, MethodSchweitzer:
	default:
		return fmt.Errorf("unknown method %q (have %q, %q, %q)", o.Method, MethodExact, MethodLinearizer, MethodSchweitzer)
	}
	if o.MaxIterations < 0 {
		return fmt.Errorf("max iterations is %d, must not be negative", o.MaxIterations)
	}
	if err := checkNonNegative("max states", o.MaxStates); err != nil {
		return err
	}
	return checkNonNegative("tolerance", o.Tolerance)
}

// Solve solves a network by the best method that is affordable and says in
// Solution.Method which one that was.
func Solve(n *Network, o Options) (*Solution, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if err := n.Validate(); err != nil {
		return nil, err
	}
	open, closed := 0, 0
	for r := range n.Classes {
		if n.Classes[r].closed() {
			closed++
		} else {
			open++
		}
	}
	switch {
	case closed == 0:
		return Open(n)
	case open == 0:
		return solveClosed(n, o)
	}
	return Mixed(n, o)
}

// linearizerCost bounds the work for which Auto prefers Linearizer to Schweitzer.
const linearizerCost = 200_000

func solveClosed(n *Network, o Options) (*Solution, error) {
	switch o.Method {
	case MethodExact:
		return ExactMVA(n, o)
	case MethodSchweitzer:
		return Schweitzer(n, o)
	case MethodLinearizer:
		return Linearizer(n, o)
	}
	if n.allProductForm() {
		s, err := ExactMVA(n, o)
		if err == nil || !errors.Is(err, ErrTooLarge) {
			return s, err
		}
	}
	R, K := len(n.Classes), len(n.Stations)
	if R*R*R*K <= linearizerCost {
		if s, err := Linearizer(n, o); err == nil {
			return s, nil
		}
	}
	return Schweitzer(n, o)
}
