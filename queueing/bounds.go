package queueing

import (
	"errors"
	"fmt"
	"math"
)

// Bounds on a closed single-class network of single-server stations.
type Bounds struct {
	Method         string
	XLower, XUpper float64   // throughput
	RLower, RUpper float64   // response time, think time excluded: N/X - Z
	QLower, QUpper []float64 // queue lengths for each demand; nil where the method gives none
}

// demandsOf checks the arguments shared by the bounds.
func demandsOf(demands []float64, think float64, population int) (total, largest float64, err error) {
	if len(demands) == 0 || len(demands) > maxStations {
		return 0, 0, fmt.Errorf("%d demands, must be 1 to %d", len(demands), maxStations)
	}
	for i, d := range demands {
		if err := checkNonNegative(fmt.Sprintf("demand %d", i+1), d); err != nil {
			return 0, 0, err
		}
		total += d
		largest = math.Max(largest, d)
	}
	if largest == 0 {
		return 0, 0, errors.New("all demands are zero")
	}
	if population < 1 || population > maxPopulation {
		return 0, 0, fmt.Errorf("population is %d, must be 1 to %d", population, maxPopulation)
	}
	return total, largest, checkNonNegative("think time", think)
}

func between(method string, lower, upper, think float64, population int) *Bounds {
	n := float64(population)
	return &Bounds{Method: method, XLower: lower, XUpper: upper,
		RLower: math.Max(0, n/upper-think), RUpper: math.Max(0, n/lower-think)}
}

// AsymptoticBounds: no queueing at all against full queueing at every station
// (Muntz and Wong 1974; Denning and Buzen 1978). Distribution-free.
func AsymptoticBounds(demands []float64, think float64, population int) (*Bounds, error) {
	d, m, err := demandsOf(demands, think, population)
	if err != nil {
		return nil, err
	}
	n := float64(population)
	return between("asymptotic", n/(n*d+think), math.Min(1/m, n/(d+think)), think, population), nil
}

// BalancedJobBounds compares with the balanced networks (Zahorjan, Sevcik,
// Eager and Galler 1982; with think time Lazowska et al., table 5.3).
func BalancedJobBounds(demands []float64, think float64, population int) (*Bounds, error) {
	d, m, err := demandsOf(demands, think, population)
	if err != nil {
		return nil, err
	}
	n, avg := float64(population), d/float64(len(demands))
	lower := n / (d + think + (n-1)*m/(1+think/(n*d)))
	upper := math.Min(1/m, n/(d+think+(n-1)*avg/(1+think/d)))
	return between("balanced job", lower, upper, think, population), nil
}

// OpenBounds bounds the response time of an open network of single servers at arrival rate lambda: the demands alone below and
// nothing above or, balanced, between the networks of the mean and of the largest demand (Lazowska et al., table 5.2).
func OpenBounds(demands []float64, lambda float64, balanced bool) (lower, upper, largest float64, err error) {
	total, largest, err := demandsOf(demands, 0, 1)
	if err != nil {
		return 0, 0, 0, err
	}
	if err := checkNonNegative("arrival rate", lambda); err != nil {
		return 0, 0, 0, err
	}
	if lambda*largest >= 1 {
		return 0, 0, 0, fmt.Errorf("unstable: arrival rate %v is not below %v, what the largest demand allows", lambda, 1/largest)
	}
	if !balanced {
		return total, math.Inf(1), largest, nil
	}
	return total / (1 - lambda*total/float64(len(demands))), total / (1 - lambda*largest), largest, nil
}

// ProportionalBounds compares with queue lengths in proportion to powers of the
// demands (Hsieh and Lam 1987). Defined without think time.
func ProportionalBounds(demands []float64, population int) (*Bounds, error) {
	d, m, err := demandsOf(demands, 0, population)
	if err != nil {
		return nil, err
	}
	n := float64(population)
	// Relative to the largest, so that high powers do not underflow together.
	var squares, nth, before float64
	for _, x := range demands {
		y := x / m
		squares += y * x
		nth += math.Pow(y, n) * m
		if x > 0 || population > 1 {
			before += math.Pow(y, n-1)
		}
	}
	lower := n / (d + nth/before*(n-1))
	upper := math.Min(1/m, n/(d+squares/(d/m)*(n-1)))
	return between("proportional", lower, upper, 0, population), nil
}

// GeometricBounds replaces queue lengths by geometric sums (Casale, Muntz and
// Serazzi 2008), tight at low and at high population.
func GeometricBounds(demands []float64, think float64, population int) (*Bounds, error) {
	d, m, err := demandsOf(demands, think, population)
	if err != nil {
		return nil, err
	}
	n := float64(population)
	bLower := think + d + m*(n-1)
	bUpper := bLower
	for _, x := range demands {
		if x < m {
			lo, hi := geometricQueue(x, d, m, think, population-1)
			bLower -= (m - x) * lo
			bUpper -= (m - x) * hi
		}
	}
	// From X(N)(Z+R(N)) = N with R(N) = D + Dmax(N-1-Z X(N-1)) - sum (Dmax-D_i)Q_i(N-1)
	// and (N-1)/N X(N) <= X(N-1) <= X(N).
	lower := 2 * n / (bLower + math.Sqrt(math.Max(0, bLower*bLower-4*think*m*(n-1))))
	upper := 2 * n / (bUpper + math.Sqrt(math.Max(0, bUpper*bUpper-4*think*m*n)))
	b := between("geometric", lower, math.Min(upper, 1/m), think, population)
	ties, rest := 0, [2]float64{}
	for _, x := range demands {
		if x == m {
			ties++
			b.QLower, b.QUpper = append(b.QLower, -1), append(b.QUpper, -1)
			continue
		}
		lo, hi := geometricQueue(x, d, m, think, population)
		b.QLower, b.QUpper = append(b.QLower, lo), append(b.QUpper, hi)
		rest[0] += lo
		rest[1] += hi
	}
	for i, x := range demands { // the bottlenecks share what the others leave
		if x == m {
			b.QLower[i] = math.Max(0, (n-think*b.XUpper-rest[1])/float64(ties))
			b.QUpper[i] = math.Min(n, (n-think*b.XLower-rest[0])/float64(ties))
		}
	}
	return b, nil
}

// geometricQueue bounds the queue of a station that is not the bottleneck.
func geometricQueue(x, total, largest, think float64, population int) (lower, upper float64) {
	n := float64(population)
	geometric := func(y float64) float64 {
		if y >= 1-1e-12 {
			return n
		}
		return (y - math.Pow(y, n+1)) / (1 - y)
	}
	lower = geometric(n * x / (think + total + largest*n))
	upper = geometric(x * math.Min(1/largest, n/(think+total)))
	return lower, upper
}
