package load

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"time"
)

// Schedule says when scenarios are due. At returns the intended start of the n-th, counted from 0, since the start of
// the run; false where the schedule has no n-th. Starts never decrease with n, and do not depend on when or in which
// order they are asked for. An implementation may cache: a Schedule belongs to one goroutine at a time.
type Schedule interface {
	At(n int64) (time.Duration, bool)
	String() string
}

var (
	_ Schedule = Even{}
	_ Schedule = (*Poisson)(nil)
)

// Even spaces arrivals evenly: the n-th is due when the profile's integral reaches n.
type Even struct{ Profile *Profile }

// At implements Schedule.
func (e Even) At(n int64) (time.Duration, bool) {
	if n < 0 || float64(n) >= e.Profile.Total()-1e-6 {
		return 0, false
	}
	return e.Profile.Instant(float64(n)), true
}

func (e Even) String() string { return "evenly spaced at " + e.Profile.String() }

// Poisson draws arrivals as independent users bring them about: a Poisson process with the profile's rate.
//
// The process is built from the top: how many arrivals there are in all is a Poisson number, and given that they are
// the order statistics of as many uniform draws. The middle one of a run of order statistics is Beta distributed, so
// that halving again and again, each draw from a generator of its own seeded by the place, leads to any one of them in
// a logarithmic number of steps (L. Devroye, Non-Uniform Random Variate Generation, 1986, V.3). Hence the n-th start
// needs no sum over those before it, and is the same for whoever asks.
type Poisson struct {
	profile *Profile
	seed    uint64
	count   int64

	// The block of starts that was asked for last: those of the indexes first to first+len(block)-1, from 1, as shares of
	// the total.
	first int64
	block []float64
}

// poissonBlock is the longest run of arrivals that is drawn at once.
const poissonBlock = 256

// NewPoisson returns the Poisson process of the profile with the given seed.
func NewPoisson(p *Profile, seed uint64) *Poisson {
	rng := rand.New(rand.NewPCG(streamOf(seed, 0)))
	return &Poisson{profile: p, seed: seed, count: poissonNumber(rng, p.Total())}
}

// Count is the number of arrivals in all.
func (p *Poisson) Count() int64 { return p.count }

// At implements Schedule.
func (p *Poisson) At(n int64) (time.Duration, bool) {
	if n < 0 || n >= p.count {
		return 0, false
	}
	i := n + 1
	if i < p.first || i >= p.first+int64(len(p.block)) {
		p.fill(i)
	}
	return p.profile.Instant(p.block[i-p.first] * p.profile.Total()), true
}

// fill draws the block that holds index i, from 1.
func (p *Poisson) fill(i int64) {
	lo, hi := int64(0), p.count+1
	a, b := 0.0, 1.0
	for hi-lo > poissonBlock {
		mid := lo + (hi-lo)/2
		rng := rand.New(rand.NewPCG(streamOf(p.seed, mid<<1|1)))
		x, y := gamma(rng, float64(mid-lo)), gamma(rng, float64(hi-mid))
		at := a + (b-a)*x/(x+y)
		if i < mid {
			hi, b = mid, at
		} else {
			lo, a = mid, at
		}
	}
	// Uniform order statistics between a and b: sums of exponential gaps over their total. The lower end belongs to the
	// block, for it is itself an arrival unless it is the origin.
	rng := rand.New(rand.NewPCG(streamOf(p.seed, lo<<1+2)))
	p.first, p.block = lo, append(p.block[:0], 0)
	sum := 0.0
	for range hi - lo - 1 {
		sum += rng.ExpFloat64()
		p.block = append(p.block, sum)
	}
	sum += rng.ExpFloat64()
	for k, x := range p.block {
		p.block[k] = a + (b-a)*x/sum
	}
}

func (p *Poisson) String() string { return "Poisson at " + p.profile.String() }

// gamma draws from the Gamma distribution of whole shape k >= 1 and scale 1 (G. Marsaglia and W. W. Tsang, A simple
// method for generating gamma variables, 2000).
func gamma(rng *rand.Rand, k float64) float64 {
	d := k - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := rng.NormFloat64()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v = v * v * v
		if math.Log(1-rng.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}

// poissonNumber draws from the Poisson distribution: by counting unit exponentials where the mean is small, otherwise
// by the arrival time of an order that lies below the mean, then what is left, which is Poisson again (J. Ahrens and
// U. Dieter, Computer methods for sampling from gamma, beta, Poisson and binomial distributions, 1974).
func poissonNumber(rng *rand.Rand, mean float64) int64 {
	n := int64(0)
	for mean > 30 {
		k := math.Floor(mean * 7 / 8)
		x := gamma(rng, k)
		if x > mean {
			return n + binomial(rng, int64(k)-1, mean/x)
		}
		n += int64(k)
		mean -= x
	}
	for sum := rng.ExpFloat64(); sum <= mean; sum += rng.ExpFloat64() {
		n++
	}
	return n
}

// binomial counts how many of n uniform draws lie below share, by halving them at their median.
func binomial(rng *rand.Rand, n int64, share float64) int64 {
	below := int64(0)
	for n > 30 {
		k := n/2 + 1
		x, y := gamma(rng, float64(k)), gamma(rng, float64(n+1-k))
		median := x / (x + y)
		if share < median {
			n, share = k-1, share/median
		} else {
			below, n, share = below+k, n-k, (share-median)/(1-median)
		}
	}
	for range n {
		if rng.Float64() < share {
			below++
		}
	}
	return below
}

// dueBefore returns how many arrivals of s, from index from on, are due before t.
func dueBefore(s Schedule, from int64, t time.Duration) int64 {
	due := func(n int64) bool {
		at, ok := s.At(n)
		return ok && at < t
	}
	step := int64(1)
	for due(from + step - 1) {
		step *= 2
	}
	low := step / 2
	return low + int64(sort.Search(int(step-low), func(i int) bool { return !due(from + low + int64(i)) }))
}

// number writes x with no more digits than it needs, at most six.
func number(x float64) string { return fmt.Sprintf("%.6g", x) }
