package queueing

import (
	"fmt"
	"math"
)

// LoadDependentSolution is the steady state of a closed network of one class, by station.
type LoadDependentSolution struct {
	Throughput  float64 // cycles per unit of time
	QueueLength []float64
	Busy        []float64 // mean rate in use over the highest rate
	Idle        []float64 // P(no one there)
	Marginal    [][]float64
	LogG        float64 // logarithm of the normalisation constant, visits and rates as given
}

const maxLoadDependent = 400_000_000 // products of the convolutions

// ClosedLoadDependent solves a closed network of one class exactly: visits[k] to station k, whose rate with n present is
// rates[k][n-1], the last for more. By convolution of logarithms (Buzen 1973): all terms are positive, nothing cancels.
func ClosedLoadDependent(population int, think float64, visits []float64, rates [][]float64) (*LoadDependentSolution, error) {
	K, N := len(rates), population
	if K == 0 || K > maxStations || len(visits) != K {
		return nil, fmt.Errorf("%d stations and %d visits, must agree and be 1 to %d", K, len(visits), maxStations)
	}
	if N < 1 || float64(N)*float64(N)*float64(3*K) > maxLoadDependent {
		return nil, fmt.Errorf("population %d at %d stations, must be at least 1 and population squared times stations at most %.3g", N, K, maxLoadDependent/3.0)
	}
	if err := checkNonNegative("think time", think); err != nil {
		return nil, err
	}
	weights := make([][]float64, K+1)
	top := make([]float64, K)
	busy := false
	for k, row := range rates {
		if len(row) == 0 {
			return nil, fmt.Errorf("station %d has no rates", k+1)
		}
		if err := checkNonNegative(fmt.Sprintf("visits to station %d", k+1), visits[k]); err != nil {
			return nil, err
		}
		busy = busy || visits[k] > 0
		for _, mu := range row { // a station keeps the servers that so few customers cannot use
			top[k] = math.Max(top[k], mu)
		}
		w := make([]float64, N+1)
		for j := 1; j <= N; j++ {
			mu := row[min(j, len(row))-1]
			if j <= len(row) {
				if err := checkPositive(fmt.Sprintf("rate of station %d with %d present", k+1, j), mu); err != nil {
					return nil, err
				}
			}
			w[j] = w[j-1] + math.Log(visits[k]) - math.Log(mu)
		}
		weights[k] = w
	}
	if !busy {
		return nil, fmt.Errorf("no station is visited")
	}
	weights[K] = stationWeights(think, &Station{Kind: Delay}, N)
	prefix, suffix := make([][]float64, K+2), make([][]float64, K+2)
	prefix[0], suffix[K+1] = one(N), one(N)
	for k := 0; k <= K; k++ {
		prefix[k+1] = logConvolve(prefix[k], weights[k])
		suffix[K-k] = logConvolve(suffix[K-k+1], weights[K-k])
	}
	g := suffix[0]
	s := &LoadDependentSolution{Throughput: math.Exp(g[N-1] - g[N]), LogG: g[N], QueueLength: make([]float64, K), Busy: make([]float64, K), Idle: make([]float64, K)}
	if notFinite(s.Throughput) || s.Throughput <= 0 {
		return nil, fmt.Errorf("no finite answer: throughput %v", s.Throughput)
	}
	for k := range rates {
		without := logConvolve(prefix[k], suffix[k+1])
		p := make([]float64, N+1)
		for j := range p {
			p[j] = math.Exp(weights[k][j] + without[N-j] - g[N])
			s.QueueLength[k] += float64(j) * p[j]
			if j > 0 {
				s.Busy[k] += p[j] * rates[k][min(j, len(rates[k]))-1] / top[k]
			}
		}
		s.Idle[k] = p[0]
		if N <= 100 {
			s.Marginal = append(s.Marginal, p)
		}
	}
	return s, nil
}

// TTLHits is the hit probability of each object, over all requests, and the mean number of objects held, of a cache without a
// bound on its size that keeps an object for ttl: from when it was fetched or, with reset, from its last use. Requests for each
// object are Poisson. Exact (Fofack, Nain, Neglia and Towsley 2014).
func TTLHits(rates []float64, ttl float64, reset bool) (each []float64, overall, held float64, err error) {
	if len(rates) > maxObjects {
		return nil, 0, 0, fmt.Errorf("cache: %d objects, at most %d", len(rates), maxObjects)
	}
	if err := checkNonNegative("ttl", ttl); err != nil {
		return nil, 0, 0, fmt.Errorf("cache: %w", err)
	}
	total := 0.0
	each = make([]float64, len(rates))
	for i, x := range rates {
		if err := checkNonNegative(fmt.Sprintf("rate of object %d", i+1), x); err != nil {
			return nil, 0, 0, fmt.Errorf("cache: %w", err)
		}
		each[i] = x * ttl / (1 + x*ttl)
		if reset {
			each[i] = -math.Expm1(-x * ttl)
		}
		total += x
		overall += x * each[i]
		held += each[i] // Poisson arrivals see time averages
	}
	if total <= 0 {
		return nil, 0, 0, fmt.Errorf("cache: no object is ever asked for")
	}
	return each, overall / total, held, nil
}
