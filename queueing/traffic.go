package queueing

import "fmt"

// maxRouting bounds the stations of a routing matrix: elimination is cubic.
const maxRouting = 500

func checkRouting(p [][]float64, closed bool) error {
	if len(p) == 0 || len(p) > maxRouting {
		return fmt.Errorf("routing matrix of %d stations, must be 1 to %d", len(p), maxRouting)
	}
	for i, row := range p {
		if len(row) != len(p) {
			return fmt.Errorf("routing matrix: row %d has %d entries for %d stations", i+1, len(row), len(p))
		}
		total := 0.0
		for j, x := range row {
			if err := checkNonNegative(fmt.Sprintf("routing probability %d to %d", i+1, j+1), x); err != nil {
				return err
			}
			total += x
		}
		if total > 1+1e-6 || closed && total < 1-1e-6 {
			return fmt.Errorf("routing matrix: row %d sums to %v", i+1, total)
		}
	}
	return nil
}

// OpenVisits solves the traffic equations v = entry + v P: the mean visits to
// each station of a request that enters at station i with probability (or rate)
// entry[i] and leaves i with probability 1 - sum of row i.
func OpenVisits(entry []float64, p [][]float64) ([]float64, error) {
	if err := checkRouting(p, false); err != nil {
		return nil, err
	}
	if len(entry) != len(p) {
		return nil, fmt.Errorf("%d entry rates for %d stations", len(entry), len(p))
	}
	n := len(p)
	a, b := matrix(n, n), make([]float64, n)
	for i := range n {
		if err := checkNonNegative(fmt.Sprintf("entry rate of station %d", i+1), entry[i]); err != nil {
			return nil, err
		}
		b[i] = entry[i]
		for j := range n {
			a[i][j] = -p[j][i]
		}
		a[i][i]++
	}
	v, err := solveLinear(a, b)
	if err != nil {
		return nil, fmt.Errorf("traffic equations: requests cannot leave: %w", err)
	}
	return nonNegative(v)
}

// ClosedVisits solves v = v P with one visit to station reference (from 0).
func ClosedVisits(p [][]float64, reference int) ([]float64, error) {
	if err := checkRouting(p, true); err != nil {
		return nil, err
	}
	n := len(p)
	if reference < 0 || reference >= n {
		return nil, fmt.Errorf("reference station %d of %d", reference+1, n)
	}
	a, b := matrix(n, n), make([]float64, n)
	for i := range n {
		for j := range n {
			a[i][j] = -p[j][i]
		}
		a[i][i]++
	}
	clear(a[reference])
	a[reference][reference], b[reference] = 1, 1
	v, err := solveLinear(a, b)
	if err != nil {
		return nil, fmt.Errorf("traffic equations: station %d cannot be reached from all others: %w", reference+1, err)
	}
	return nonNegative(v)
}

func nonNegative(v []float64) ([]float64, error) {
	for i := range v {
		if notFinite(v[i]) || v[i] < -1e-6 {
			return nil, fmt.Errorf("traffic equations: station %d gets %v visits", i+1, v[i])
		}
		v[i] = max(0, v[i])
	}
	return v, nil
}
