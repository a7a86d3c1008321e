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
	if drift > 9*sigma {
		return 0 // a chance below 1e-18
	}
	backlog := sigma * walkMaximum(drift/sigma)
	// Work in front of a request is done at the rate of the limit. One that exhausts a period's quota also waits for
	// its end: half of what the period has left once the quota is gone, as often as that happens.
	exhausted := normalTail(drift / sigma)
	left := quotaPeriod * max(0, 1-limit) / 2
	return backlog/limit + exhausted*left
}

func normalDensity(z float64) float64 { return math.Exp(-z*z/2) / math.Sqrt(2*math.Pi) }

func normalTail(z float64) float64 { return math.Erfc(z/math.Sqrt2) / 2 }

// walkZeta are zeta(-1/2 - r), r from 0.
var walkZeta = [...]float64{-0.20788622497735462, -0.02548520188983304, 0.008516928777850328, 0.0044410113354794315,
	-0.003091669247215835, -0.002671458019899228, 0.0027467679395368695, 0.003269039572600223, -0.0044160328730048935,
	-0.0066721722964666495, 0.011146122473942827, 0.020396978715942832}

// walkMaximum is the mean of the highest point of a Gaussian random walk from 0 whose steps have mean -drift and
// variance 1: Spitzer's sum where it is short, otherwise the expansion around no drift (Janssen and van Leeuwaarden,
// 'On Lerch's transcendent and the Gaussian random walk', 2007, theorem 2), which is exact to the last digits there.
func walkMaximum(drift float64) float64 {
	if drift < 0.8 {
		const zetaHalf = -1.4603545088095868
		root := math.Sqrt(2 * math.Pi)
		sum, power, factorial := 0.0, 1.0, 1.0
		for r, z := range walkZeta {
			f := float64(r)
			if r > 0 {
				power *= -drift * drift / 2
				factorial *= f
			}
			sum += z * power / (factorial * (2*f + 1) * (2*f + 2))
		}
		return 1/(2*drift) + zetaHalf/root + drift/4 + drift*drift/root*sum
	}
	sum := 0.0
	for n := 1.0; drift*math.Sqrt(n) < 8; n++ {
		root := math.Sqrt(n)
		sum += max(0, normalDensity(drift*root)/root-drift*normalTail(drift*root))
	}
	return sum
}
