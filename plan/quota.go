package plan

import "math"

// quotaPeriod is the kernel's default period of a CPU limit, in seconds (CFS bandwidth control).
const quotaPeriod = 0.1

// loss is the time, in seconds, that a visit loses to the CPU limit of its replica: its mean and mean square, over all
// visits, and the chance that it is not nothing.
type loss struct{ mean, square, chance float64 }

func (l loss) variance() float64 { return max(0, l.square-l.mean*l.mean) }

// held is what a replica with a CPU limit is asked for: visits a second, their mean CPU seconds with squared coefficient
// of variation scv, the cores that it uses without any, and the cores on which it runs while it may.
type held struct{ rate, cpu, scv, idle, limit, cores float64 }

// asleep is how often, of 1, a visit has to wake the replica up, which costs wake CPU seconds: all but those that come
// while the limit makes it stand still with work to do. The more it stands still, the less its visits cost, and the less
// it stands still; a full replica never sleeps.
func (h held) asleep(wake float64) float64 {
	if wake <= 0 || h.limit <= 0 || h.limit >= h.cores {
		return 1
	}
	// What the limit leaves bounds it: near that, there is always work, and no time to sleep.
	room := h.limit - h.rate*h.cpu - h.idle
	if room <= 0 {
		return 0
	}
	lo, hi := 0.0, min(1, 0.99*room/(h.rate*wake))
	for range 12 {
		f := (lo + hi) / 2
		cpu := h.cpu + wake*f
		used := h.rate*cpu + h.idle
		beta := (h.limit - used) * quotaPeriod / math.Sqrt(h.rate*quotaPeriod*cpu*cpu*(1+h.scv))
		often := 1.0
		if beta > 9 {
			return hi
		} else if beta > 0 {
			often = min(1, 2*beta*walkMaximum(beta))
		}
		if 1-often*(1-min(h.limit, 1))/max(1-used, 1e-9) > f {
			lo = f
		} else {
			hi = f
		}
	}
	return (lo + hi) / 2
}

// loss of a visit. A replica may use limit x period of CPU in each period and then stands still until the next. What did
// not fit is carried over: with Gaussian work for each period, the backlog at the start of one is the maximum of a random
// walk with negative drift (Spitzer 1956, 'A combinatorial lemma and its application to probability theory'), taken as
// exponential where there is one, with the walk's mean and decay. A visit at instant u of a period finds the backlog and
// what came since the period began, a gamma amount. Where that and its own work exceed k quotas, it is served in the k-th
// period after this one, behind what is over. The two moments are sums over a grid of u, backlog and what came.
// Infinite where the limit is too small.
func (h held) loss() loss {
	if h.limit <= 0 || h.limit >= h.cores || h.rate <= 0 || h.cpu <= 0 {
		return loss{}
	}
	quota := h.limit * quotaPeriod
	drift := quota - (h.rate*h.cpu+h.idle)*quotaPeriod
	if drift <= 0 {
		return loss{math.Inf(1), math.Inf(1), 1}
	}
	sigma := math.Sqrt(h.rate * quotaPeriod * h.cpu * h.cpu * (1 + h.scv))
	if drift > 9*sigma {
		return loss{} // a chance below 1e-18
	}
	beta := drift / sigma
	backlog := sigma * walkMaximum(beta)
	often := min(1, 2*beta*walkMaximum(beta))
	out := h.lossBehind(0).times(1 - often)
	if often > 1e-9 {
		for _, b := range backlogs {
			out = out.plus(h.lossBehind(b * backlog / often).times(often / float64(len(backlogs))))
		}
	}
	return out
}

// overtaking is the share of what comes in the rest of a period that is served before a visit all the same, since the
// CPU is shared and not first come first served: fitted to the simulator, which refills quotas one by one (see the test).
const overtaking = 0.3

func (l loss) times(p float64) loss { return loss{p * l.mean, p * l.square, p * l.chance} }

// add counts visits that lose a time.
func (l *loss) add(weight, lost float64) {
	if weight > 0 && lost > 0 {
		l.mean += weight * lost
		l.square += weight * lost * lost
		l.chance += weight
	}
}

func (l loss) plus(other loss) loss {
	return loss{l.mean + other.mean, l.square + other.square, l.chance + other.chance}
}

// lossBehind is the loss in a period that begins with so many CPU seconds of backlog.
func (h held) lossBehind(backlog float64) (out loss) {
	const instants = 10
	quota, speed := h.limit*quotaPeriod, max(1, h.cores)
	for i := range instants {
		u := (float64(i) + 0.5) / instants * quotaPeriod
		came := (h.rate*h.cpu + h.idle) * u
		shape := came * came / (h.rate * u * h.cpu * h.cpu * (1 + h.scv))
		// A gamma amount from a normal deviate (Wilson and Hilferty 1931).
		middle, slope := 1-1/(9*shape), 1/(3*math.Sqrt(shape))
		always, waiting := backlog+h.cpu+h.rate*h.cpu*(quotaPeriod-u)*overtaking, max(0, backlog/speed-u)
		for _, z := range deviates {
			root := max(0, middle+z.at*slope)
			work := always + came*root*root*root
			// The point stands for half a deviation, of which a part may be over the quota.
			over := min(max((work-quota)/max(came*3*root*root*slope*deviateStep, 1e-12)+0.5, 0), 1)
			w := z.weight / instants
			if over > 0 {
				work := max(work, quota)
				k := max(1, math.Floor(work/quota))
				out.add(w*over, max(0, k*quotaPeriod-u+(work-k*quota)/speed-h.cpu))
			}
			out.add(w*(1-over), waiting)
		}
	}
	return out
}

// backlogs are equally likely points of an exponential distribution of mean 1.
var backlogs = [...]float64{0.0921, 0.3045, 0.5697, 0.9225, 1.4518, 2.6594}

// deviates are points of the normal distribution, deviateStep apart, with their weights.
const deviateStep = 0.5

var deviates = [...]struct{ at, weight float64 }{
	{-3, 0.00222}, {-2.5, 0.00877}, {-2, 0.02702}, {-1.5, 0.06483}, {-1, 0.12112}, {-0.5, 0.17621}, {0, 0.19966},
	{0.5, 0.17621}, {1, 0.12112}, {1.5, 0.06483}, {2, 0.02702}, {2.5, 0.00877}, {3, 0.00222},
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
