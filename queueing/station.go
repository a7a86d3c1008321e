package queueing

import "math"

// Single holds the steady state of one station. Times share the unit of the
// caller's rates; all means are over customers that enter (are not lost).
type Single struct {
	Model       string  // which model and formula, e.g. "M/M/c" or "M/G/c (Kimura)"
	Exact       bool    // whether the means are exact for the model
	Arrival     float64 // offered rate
	Throughput  float64 // rate of served customers: Arrival less losses
	Servers     int
	Utilisation float64 // of each server, 0 to 1
	P0          float64 // probability of an empty station; NaN where the model does not give it
	PWait       float64 // probability that an entering customer waits; NaN where unknown
	PLoss       float64 // probability that an arrival is lost
	L, Lq       float64 // mean number present, and waiting
	W, Wq       float64 // mean time in the station, and waiting
	VarW, VarWq float64 // their variances; NaN where unknown

	// tailW and tailWq give P(W>t), P(Wq>t); nil: by a fit of two moments.
	tailW, tailWq func(t float64) float64
	// atMost gives P(N<=n); nil where unknown.
	atMost func(n int) float64
}

// StdDevW is the standard deviation of the time in the station.
func (s *Single) StdDevW() float64 { return math.Sqrt(s.VarW) }

// TailW is P(W > t): exact for M/M/1, M/M/c and, up to 200 waiting
// places, M/M/c/K and the finite source,
// otherwise from a gamma or hyperexponential distribution of the same mean and
// variance.
func (s *Single) TailW(t float64) float64 {
	switch {
	case math.IsNaN(t):
		return math.NaN()
	case t < 0:
		return 1
	case s.tailW != nil:
		return s.tailW(t)
	}
	return fittedTail(s.W, s.VarW, t)
}

// TailWq is P(Wq > t), with the same exactness as TailW. Approximations keep
// the probability of no wait as an atom at zero where PWait is known.
func (s *Single) TailWq(t float64) float64 {
	switch {
	case math.IsNaN(t):
		return math.NaN()
	case t < 0:
		return 1
	case s.tailWq != nil:
		return s.tailWq(t)
	case s.PWait <= 0:
		return 0
	}
	// The wait of those that wait: Wq = PWait * conditional mean.
	p := s.PWait
	if math.IsNaN(p) {
		p = 1
	}
	mean := s.Wq / p
	variance := (s.VarWq+s.Wq*s.Wq)/p - mean*mean
	return p * fittedTail(mean, math.Max(variance, 0), t)
}

// PercentileW is the time that a share p (0 < p < 1) of customers stays below; NaN where the model does not give it.
func (s *Single) PercentileW(p float64) (float64, error) {
	if err := checkProbability("percentile", p); err != nil {
		return 0, err
	}
	if math.IsNaN(s.TailW(s.W)) {
		return math.NaN(), nil
	}
	return tailInverse(1-p, s.W, s.TailW), nil
}

// PercentileWq is the waiting time that a share p of customers stays below.
func (s *Single) PercentileWq(p float64) (float64, error) {
	if err := checkProbability("percentile", p); err != nil {
		return 0, err
	}
	if math.IsNaN(s.TailWq(s.Wq)) {
		return math.NaN(), nil
	}
	return tailInverse(1-p, s.W, s.TailWq), nil
}

// PAtMost is P(N <= n) for the number N present at a random time; NaN for the
// models that do not give the distribution of N.
func (s *Single) PAtMost(n int) float64 {
	switch {
	case s.atMost == nil:
		return math.NaN()
	case n < 0:
		return 0
	}
	return s.atMost(n)
}

// PExactly is P(N = n).
func (s *Single) PExactly(n int) float64 {
	return math.Max(0, s.PAtMost(n)-s.PAtMost(n-1))
}
