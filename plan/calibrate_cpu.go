package plan

import (
	"fmt"
	"math"
	"slices"

	"github.com/banyanhq/banyan/stats"
)

// What is believed of a route's CPU time at a service before the seconds are looked at: the split by own time may be off by
// so much, as a share. That of the gateway, where every hop is alike, is believed closer.
const (
	splitError   = 0.7
	gatewayError = 0.3
)

// leastRows is how many seconds it takes for a regression to say anything.
const leastRows = 10

// regressCPU refines how each service's CPU time is split over routes. From second to second, the CPU that the service used
// follows the requests that ended: CPU(t) = sum over routes of N(t) D, with D >= 0, by least squares. What is
// known beforehand goes in as one more row for each route, weighed by its error against the noise of the seconds, so that
// routes whose requests rise and fall together keep the split that they had. One more column, the work offered beyond its
// mean, takes up what waking up spares (see wake.go): without it all demands would come out too low or too even. In the
// end all are scaled so that the utilisation law holds for the whole interval.
func (c *calibration) regressCPU() error {
	c.error = grid(c.routes)
	for svc := range c.m.Services {
		if svc == Client || isTable(svc) {
			continue
		}
		var routes []string
		for _, r := range c.routes {
			if c.cpu[r][svc] > 0 {
				routes = append(routes, r)
			}
		}
		rows, used := c.secondsOf(svc, routes)
		if len(routes) == 0 || len(rows) < leastRows {
			continue
		}
		belief := splitError
		if svc == Gateway {
			belief = gatewayError
		}
		fit, err := fitSplit(rows, used, belief)
		if err != nil {
			return fmt.Errorf("calibrating: the CPU of %s: %w", svc, err)
		}
		var before, after float64
		for i, r := range routes {
			before += c.rate(r) * c.cpu[r][svc]
			after += c.rate(r) * c.cpu[r][svc] * fit.X[i]
		}
		if after <= 0 {
			continue
		}
		for i, r := range routes {
			scale := c.cpu[r][svc] * before / after
			c.cpu[r][svc], c.error[r][svc] = scale*fit.X[i], scale*fit.Errors[i]
		}
	}
	return nil
}

// secondsOf returns, for each second, the CPU time that a service's requests of each route cost by the split so far, and
// what it used, its idle use taken out.
func (c *calibration) secondsOf(svc string, routes []string) (rows [][]float64, used []float64) {
	for _, s := range c.m.PerSecond {
		cpu, ok := s.CPU[svc]
		if !ok || s.Seconds <= 0 {
			continue
		}
		row := make([]float64, len(routes))
		for i, r := range routes {
			row[i] = s.Requests[r] * c.cpu[r][svc]
		}
		if svc == Gateway { // whose process has the tables in it
			cpu -= c.tablesCPU(s.Requests)
		}
		rows, used = append(rows, row), append(used, cpu-c.out.Calibration.Idle[svc]*s.Seconds)
	}
	return rows, used
}

// fitSplit finds by which factor each column's cost differs from what was believed, and the standard errors of the factors.
// The noise of the rows is estimated along the way.
func fitSplit(rows [][]float64, used []float64, belief float64) (*stats.LeastSquares, error) {
	n, k := len(rows), len(rows[0])
	offered, mean := make([]float64, n), 0.0
	for i, row := range rows {
		for _, v := range row {
			offered[i] += v
		}
		mean += offered[i] / float64(n)
	}
	fit := &stats.LeastSquares{X: slices.Repeat([]float64{1}, k+1)}
	fit.X[k] = 0
	for range 4 {
		// Rows have the variance that the last fit leaves; at least a hundredth of the use, for clocks tick.
		var square, level float64
		for i, row := range rows {
			r := used[i] + fit.X[k]*(offered[i]-mean)
			for j, v := range row {
				r -= v * fit.X[j]
			}
			square += r * r
			level += math.Abs(used[i]) / float64(n)
		}
		free := max(float64(n-k-1), float64(n)/2)
		sigma := max(math.Sqrt(square/free), 0.01*level, 1e-9)
		var a [][]float64
		var b []float64
		for i, row := range rows {
			line := make([]float64, k+1)
			for j, v := range row {
				line[j] = v / sigma
			}
			line[k] = (mean - offered[i]) / sigma
			a, b = append(a, line), append(b, used[i]/sigma)
		}
		for j := range k {
			line := make([]float64, k+1)
			line[j] = 1 / belief
			a, b = append(a, line), append(b, 1/belief)
		}
		var err error
		if fit, err = stats.NonNegative(a, b); err != nil {
			return nil, err
		}
	}
	return fit, nil
}
