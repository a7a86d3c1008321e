package queueing

import (
	"fmt"
	"math"
)

// Limits on sizes: beyond them a model is refused rather than solved slowly.
const (
	maxServers    = 1_000_000
	maxCapacity   = 1_000_000
	maxStations   = 10_000
	maxClasses    = 1_000
	maxCells      = 1_000_000 // stations x classes
	maxPopulation = 1_000_000_000
	maxMagnitude  = 1e100 // rates and times: keeps products of three finite
)

// notFinite reports NaN, infinities and magnitudes whose products overflow.
func notFinite(x float64) bool {
	return math.IsNaN(x) || math.Abs(x) > maxMagnitude
}

func checkPositive(what string, x float64) error {
	if notFinite(x) || x <= 0 {
		return fmt.Errorf("%s is %v, must be a positive finite number", what, x)
	}
	return nil
}

func checkNonNegative(what string, x float64) error {
	if notFinite(x) || x < 0 {
		return fmt.Errorf("%s is %v, must be a finite number, zero or more", what, x)
	}
	return nil
}

func checkServers(c int) error {
	if c < 1 || c > maxServers {
		return fmt.Errorf("servers is %d, must be 1 to %d", c, maxServers)
	}
	return nil
}

// checkProbability accepts 0 < p < 1: the percentile of 0 or 1 is no number.
func checkProbability(what string, p float64) error {
	if math.IsNaN(p) || p <= 0 || p >= 1 {
		return fmt.Errorf("%s is %v, must lie strictly between 0 and 1", what, p)
	}
	return nil
}

func sum(xs []float64) float64 {
	s := 0.0
	for _, x := range xs {
		s += x
	}
	return s
}

func matrix(rows, cols int) [][]float64 {
	cells := make([]float64, rows*cols)
	m := make([][]float64, rows)
	for i := range m {
		m[i] = cells[i*cols : (i+1)*cols : (i+1)*cols]
	}
	return m
}
