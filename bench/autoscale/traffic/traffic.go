// Package traffic makes series of request rates that no default was chosen on: drawn from processes that are known
// exactly, and cut from recorded series. The same seed gives the same series.
package traffic

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/banyanhq/banyan/autoscale/replay"
)

// Trace is a series with a name.
type Trace struct {
	Name string
	// Diurnal says that it has days, and several of them.
	Diurnal bool
	replay.Trace
}

// process is what a trace is drawn from: a deterministic course times a noise that lasts, and of that a Poisson number of
// requests in each step.
type process struct {
	name    string
	diurnal bool
	step    time.Duration
	steps   int
	// mean number of requests in a step where the course is 1: the fewer, the noisier.
	mean   float64
	course func(rng *rand.Rand, steps int) func(i int) float64
	// coefficient of variation of the lognormal noise, and over how many steps it is forgotten.
	cv, memory float64
}

func (p process) draw(seed uint64) Trace {
	rng := rand.New(rand.NewPCG(seed, 0x7a11))
	at := p.course(rng, p.steps)
	sigma := math.Sqrt(math.Log1p(p.cv * p.cv))
	keep := 0.0
	if p.memory > 0 {
		keep = math.Exp(-1 / p.memory)
	}
	t := Trace{Name: fmt.Sprintf("%s #%d", p.name, seed), Diurnal: p.diurnal, Trace: replay.Trace{Step: p.step, Rates: make([]float64, p.steps)}}
	x := rng.NormFloat64()
	for i := range t.Rates {
		x = keep*x + math.Sqrt(1-keep*keep)*rng.NormFloat64()
		mean := p.mean * at(i) * math.Exp(sigma*x-sigma*sigma/2)
		t.Rates[i] = poisson(rng, mean) / p.step.Seconds()
	}
	return t
}

// poisson draws a number with a mean: exactly where it is small, and by the normal distribution where it is not.
func poisson(rng *rand.Rand, mean float64) float64 {
	if mean > 50 {
		return math.Max(0, math.Round(mean+math.Sqrt(mean)*rng.NormFloat64()))
	}
	n := 0.0
	for left := rng.ExpFloat64(); left < mean; left += rng.ExpFloat64() {
		n++
	}
	return n
}

// The courses.

func level(*rand.Rand, int) func(int) float64 { return func(int) float64 { return 1 } }

func ramp(from, to float64) func(*rand.Rand, int) func(int) float64 {
	return func(_ *rand.Rand, steps int) func(int) float64 {
		return func(i int) float64 { return from + (to-from)*float64(i)/float64(steps) }
	}
}

// wave goes once up and down in so many steps.
func wave(period, depth float64) func(*rand.Rand, int) func(int) float64 {
	return func(rng *rand.Rand, _ int) func(int) float64 {
		phase := rng.Float64()
		return func(i int) float64 { return 1 + depth*math.Sin(2*math.Pi*(float64(i)/period+phase)) }
	}
}

// levels stay for a time of so many steps on average and jump to another within a factor of 2 either way.
func levels(stay float64) func(*rand.Rand, int) func(int) float64 {
	return func(rng *rand.Rand, steps int) func(int) float64 {
		at := make([]float64, steps)
		now, left := 1.0, rng.ExpFloat64()*stay
		for i := range at {
			if left--; left < 0 {
				now, left = math.Pow(2, 2*rng.Float64()-1), rng.ExpFloat64()*stay
			}
			at[i] = now
		}
		return func(i int) float64 { return at[i] }
	}
}

// bursts begin every so many steps on average, reach up to a factor at once, and fade within so many steps.
func bursts(every, factor, fade float64) func(*rand.Rand, int) func(int) float64 {
	return func(rng *rand.Rand, steps int) func(int) float64 {
		at := make([]float64, steps)
		over, left := 0.0, rng.ExpFloat64()*every
		for i := range at {
			over *= math.Exp(-1 / fade)
			if left--; left < 0 {
				over, left = over+(factor-1)*rng.Float64(), rng.ExpFloat64()*every
			}
			at[i] = 1 + over
		}
		return func(i int) float64 { return at[i] }
	}
}

// days have a night, a noon and an evening, and fewer requests on two days of seven.
func days(perDay int, depth, weekend float64) func(*rand.Rand, int) func(int) float64 {
	return func(rng *rand.Rand, _ int) func(int) float64 {
		phase, second := rng.Float64(), 0.2+0.3*rng.Float64()
		first := rng.IntN(7)
		return func(i int) float64 {
			t := float64(i)/float64(perDay) + phase
			v := 1 + depth*(math.Sin(2*math.Pi*t)+second*math.Sin(4*math.Pi*t+1))/(1+second)
			if day := (int(t) + first) % 7; day >= 5 {
				v *= weekend
			}
			return v
		}
	}
}

// times multiplies two courses.
func times(a, b func(*rand.Rand, int) func(int) float64) func(*rand.Rand, int) func(int) float64 {
	return func(rng *rand.Rand, steps int) func(int) float64 {
		x, y := a(rng, steps), b(rng, steps)
		return func(i int) float64 { return x(i) * y(i) }
	}
}
