package plan

import "math"

// quotaPeriod is the kernel's default period of a CPU limit, in seconds (CFS bandwidth control).
const quotaPeriod = 0.1

// quotaDelay is the mean time, in seconds, that a request loses to a CPU limit of its replica. A replica may use
// limit x period of CPU in each period and then stands still until the next. What did not fit is carried over: with
// Gaussian work for each period, the backlog is a random walk held at zero, whose mean Spitzer's identity gives
// (Spitzer 1956, 'A combinatorial lemma and its application to probability theory'): the sum of E[S_n+]/n.
//
// rate is requests a second at one replica, cpu their mean CPU seconds with squared coefficient of variation scv.
// Infinite where the limit is too small.
func quotaDelay(rate, cpu, scv, idle, limit float64) float64 {
	if limit <= 0 || rate <= 0 || cpu <= 0 {
		return 0
	}
	quota := limit * quotaPeriod
	work := (rate*cpu + idle) * quotaPeriod
	drift := quota - work
	if drift <= 0 {
		return math.Inf(1)
	}
	sigma := math.Sqrt(rate * quotaPeriod * cpu * cpu * (1 + scv))
	backlog := 0.0
	for n := 1; n <= 100000; n++ {
		f := float64(n)
		z := drift * math.Sqrt(f) / sigma
		term := (sigma*math.Sqrt(f)*normalDensity(z) - f*drift*normalTail(z)) / f
		backlog += max(term, 0)
		if z > 8 || term < 1e-9*backlog {
			break
		}
	}
	// Work in front of a request is done at the rate of the limit. One that exhausts a period's quota also waits for
	// its end: half of what the period has left once the quota is gone, as often as that happens.
	exhausted := normalTail(drift / sigma)
	left := quotaPeriod * max(0, 1-limit) / 2
	return backlog/limit + exhausted*left
}

func normalDensity(z float64) float64 { return math.Exp(-z*z/2) / math.Sqrt(2*math.Pi) }

func normalTail(z float64) float64 { return math.Erfc(z/math.Sqrt2) / 2 }
