package load

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// ProbeVerdict says what one probe of a search for the knee showed.
type ProbeVerdict string

const (
	// Held: the SLO was kept over the whole probe.
	Held ProbeVerdict = "held"
	// Broken: the probe ran to its end and the SLO was not kept.
	Broken ProbeVerdict = "broken"
	// Hopeless: the probe was stopped early, for the SLO could not be kept any more.
	Hopeless ProbeVerdict = "hopeless"
	// Unmeasured: the probe says nothing of the target, for instance because the generator was too slow.
	Unmeasured ProbeVerdict = "unmeasured"
)

// SearchOptions shape a search for the knee. Zero fields take their defaults.
type SearchOptions struct {
	// Start is the rate of the first probe, per second. Default: 10.
	Start float64
	// Max is the highest rate that is tried. Default: 1e6.
	Max float64
	// Precision is the half-width of the interval, as a share of the knee, at which the search ends. Default: 0.04.
	Precision float64
	// MaxProbes ends the search whatever is known. Default: 40.
	MaxProbes int
}

func (o SearchOptions) withDefaults() (SearchOptions, error) {
	if o.Start == 0 {
		o.Start = 10
	}
	if o.Max == 0 {
		o.Max = max(1e6, o.Start)
	}
	if o.Precision == 0 {
		o.Precision = 0.04
	}
	if o.MaxProbes == 0 {
		o.MaxProbes = 40
	}
	switch {
	case !(o.Start > 0) || !(o.Max >= o.Start) || o.Max > 1e9:
		return o, fmt.Errorf("search between %v/s and %v/s: want 0 < start <= highest <= 1e9", o.Start, o.Max)
	case !(o.Precision >= 0.002 && o.Precision <= 0.5):
		return o, fmt.Errorf("precision %v: want 0.002 to 0.5", o.Precision)
	case o.MaxProbes < 3 || o.MaxProbes > 1000:
		return o, fmt.Errorf("at most %d probes: want 3 to 1000", o.MaxProbes)
	}
	return o, nil
}

// Search is the pure core of the search for the highest rate that holds an SLO: outcomes go in through Observe, the next
// probe comes out of Next. It knows neither clock nor target and draws nothing.
//
// It first doubles the rate (or halves it) with short probes until one holds and one breaks. A short probe that breaks
// without being hopeless is repeated at full length, for a few slow requests break a short probe easily. Between the two
// rates the outcome of a probe is random: near the knee the same rate sometimes holds and sometimes breaks. So the rest is
// Bayesian, as thresholds of perception are found: the chance to hold is a logistic curve of the logarithm of the rate,
// with unknown middle (the knee) and slope, and a lapse rate for accidents; the posterior of both is kept on a grid, and
// the next probe is the one that leaves the least expected entropy of the knee (L. Kontsevich and C. Tyler, Bayesian
// adaptive estimation of psychometric slope and threshold, Vision Research 39, 1999). The slope is averaged over: no
// guess of how noisy the target is enters the interval.
type Search struct {
	o      SearchOptions
	seen   []observation
	lo, hi float64 // highest rate that held, lowest that broke, while the rate is doubled; 0: none yet
	again  float64 // a rate that is to be probed at full length; 0: none
	idle   int     // unmeasured probes in a row
	ended  string  // why the search was given up, if it was

	grid *posterior
}

type observation struct {
	rate    float64
	short   bool
	verdict ProbeVerdict
}

// Probe is what is to be measured next.
type Probe struct {
	Rate float64 // per second
	// Short: a probe of a fraction of the full length is enough.
	Short bool
}

// Estimate of the knee.
type Estimate struct {
	// Knee is the median of what is believed, Low and High the ends of the 95 % credible interval, per second. All are 0
	// where nothing can be said.
	Knee, Low, High float64
	// Found: the interval is as narrow as was asked for. Where it is false, Why says what is known instead.
	Found bool
	Why   string
}

// NewSearch begins a search.
func NewSearch(o SearchOptions) (*Search, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Search{o: o}, nil
}

// lowest is the share of the first rate below which the search gives up.
const lowest = 1.0 / 1024

// Next returns the next probe; false where the search has ended.
func (s *Search) Next() (Probe, bool) {
	if s.ended != "" || len(s.seen) >= s.o.MaxProbes {
		return Probe{}, false
	}
	switch {
	case s.again > 0:
		return Probe{Rate: s.again}, true
	case s.lo == 0 && s.hi == 0:
		return Probe{s.o.Start, true}, true
	case s.hi == 0:
		return Probe{min(2*s.lo, s.o.Max), true}, true
	case s.lo == 0:
		return Probe{s.hi / 2, true}, true
	}
	if e := s.grid.estimate(); s.narrow(e) {
		return Probe{}, false
	}
	return Probe{Rate: min(s.grid.next(), s.o.Max)}, true
}

// Observe takes the outcome of a probe.
func (s *Search) Observe(p Probe, v ProbeVerdict) error {
	if !(p.Rate > 0) || !slices.Contains([]ProbeVerdict{Held, Broken, Hopeless, Unmeasured}, v) {
		return errors.New("an outcome without a rate or a verdict")
	}
	o := observation{p.Rate, p.Short, v}
	s.seen = append(s.seen, o)
	if v == Unmeasured {
		if s.idle++; s.idle == 3 {
			s.ended = fmt.Sprintf("three probes in a row could not be measured, the last at %s/s", number3(p.Rate))
		}
		return nil
	}
	s.idle = 0
	if s.grid != nil {
		s.grid.learn(o)
		return nil
	}
	if v == Broken && p.Short {
		s.again = p.Rate
		return nil
	}
	s.again = 0
	if v == Held {
		if s.lo = p.Rate; s.hi == 0 && p.Rate >= s.o.Max {
			s.ended = fmt.Sprintf("the highest rate that was allowed, %s/s, still holds", number3(p.Rate))
		}
	} else if s.hi = p.Rate; s.lo == 0 && p.Rate < s.o.Start*lowest*2 {
		s.ended = fmt.Sprintf("not even %s/s holds", number3(p.Rate))
	}
	if s.lo > 0 && s.hi > 0 {
		s.grid = newPosterior(s.lo/4, s.hi*2)
		for _, o := range s.seen {
			s.grid.learn(o)
		}
	}
	return nil
}

// narrow reports whether the interval of e is what was asked for.
func (s *Search) narrow(e Estimate) bool {
	return max(e.High-e.Knee, e.Knee-e.Low) <= s.o.Precision*e.Knee
}

// Estimate returns what is known so far.
func (s *Search) Estimate() Estimate {
	if s.grid == nil {
		e := Estimate{Why: s.ended}
		switch {
		case s.lo > 0:
			e.Low = s.lo
		case s.hi > 0:
			e.High = s.hi
		}
		if e.Why == "" {
			e.Why = fmt.Sprintf("the search ended after %d probes, before both a rate that holds and one that breaks were known", len(s.seen))
		}
		return e
	}
	e := s.grid.estimate()
	if e.Found = s.narrow(e); !e.Found {
		if e.Why = s.ended; e.Why == "" {
			e.Why = fmt.Sprintf("the interval is wider than asked for (%s) after %d probes", percent(s.o.Precision), len(s.seen))
		}
	}
	return e
}

// The grid of the posterior.
const (
	kneePoints  = 401
	slopePoints = 10
	flattest    = 0.15 // scale of the logistic, in the logarithm of the rate
	steepest    = 0.004
)

// posterior is what is believed of the knee (i) and the slope (k), on a grid that is even in the logarithms of both.
type posterior struct {
	from, step float64 // of the logarithm of the knee
	weight     [slopePoints][kneePoints]float64
	// holds is the chance, without lapse, that a probe holds whose rate lies d points above the knee: holds[k][d+kneePoints].
	holds [slopePoints][2*kneePoints + 1]float64
}

func newPosterior(low, high float64) *posterior {
	p := &posterior{from: math.Log(low), step: math.Log(high/low) / (kneePoints - 1)}
	for k := range p.weight {
		scale := flattest * math.Pow(steepest/flattest, float64(k)/(slopePoints-1))
		for d := range p.holds[k] {
			p.holds[k][d] = 1 / (1 + math.Exp(float64(d-kneePoints)*p.step/scale))
		}
		for i := range p.weight[k] {
			p.weight[k][i] = 1 / math.Sqrt(scale) // most targets break rather sharply
		}
	}
	return p
}

// lapse is the chance that a probe says the opposite of what its rate deserves: short probes begin with an idle target
// and see few requests; what is hopeless is seldom an accident.
func (o observation) lapse() float64 {
	switch {
	case o.verdict == Hopeless:
		return 0.01
	case o.short:
		return 0.1
	}
	return 0.02
}

func (p *posterior) learn(o observation) {
	if o.verdict == Unmeasured {
		return
	}
	x, lapse, sum := math.Log(o.rate), o.lapse(), 0.0
	for k := range p.weight {
		for i := range p.weight[k] {
			d := (x-p.from)/p.step - float64(i)
			at := int(math.Round(min(max(d, -kneePoints), kneePoints)))
			chance := lapse + (1-2*lapse)*p.holds[k][at+kneePoints]
			if o.verdict != Held {
				chance = 1 - chance
			}
			p.weight[k][i] *= chance
			sum += p.weight[k][i]
		}
	}
	for k := range p.weight {
		for i := range p.weight[k] {
			p.weight[k][i] /= sum
		}
	}
}

// knees is the distribution of the knee alone.
func (p *posterior) knees() (m [kneePoints]float64) {
	for k := range p.weight {
		for i, w := range p.weight[k] {
			m[i] += w
		}
	}
	return m
}

func (p *posterior) rate(i float64) float64 { return math.Exp(p.from + i*p.step) }

// quantile of the distribution of the knee, as a place on the grid; each point stands for the cell around it.
func quantileOf(m *[kneePoints]float64, q float64) float64 {
	sum := 0.0
	for i, w := range m {
		if sum+w >= q && w > 0 {
			return float64(i) - 0.5 + (q-sum)/w
		}
		sum += w
	}
	return kneePoints - 1
}

func (p *posterior) estimate() Estimate {
	m := p.knees()
	return Estimate{Knee: p.rate(quantileOf(&m, 0.5)), Low: p.rate(quantileOf(&m, 0.025)), High: p.rate(quantileOf(&m, 0.975))}
}

// next returns the rate whose probe, at full length, leaves the least expected entropy of the knee.
func (p *posterior) next() float64 {
	m := p.knees()
	first, last := int(quantileOf(&m, 0.005)), int(math.Ceil(quantileOf(&m, 0.995)))
	from, to := int(quantileOf(&m, 1e-6)), int(math.Ceil(quantileOf(&m, 1-1e-6))) // the rest weighs nothing
	best, at := math.Inf(1), (first+last)/2
	for x := max(first, 0); x <= min(last, kneePoints-1); x++ {
		if e := p.entropyAfter(x, max(from, 0), min(to, kneePoints-1)); e < best-1e-12 {
			best, at = e, x
		}
	}
	return p.rate(float64(at))
}

// entropyAfter is the expected entropy of the knee, which lies between the points from and to, after a probe at point x.
func (p *posterior) entropyAfter(x, from, to int) float64 {
	lapse := observation{verdict: Held}.lapse()
	held, broken, all := 0.0, 0.0, 0.0
	for i := from; i <= to; i++ {
		h, b := 0.0, 0.0
		for k := range p.weight {
			w := p.weight[k][i]
			chance := lapse + (1-2*lapse)*p.holds[k][x-i+kneePoints]
			h += w * chance
			b += w * (1 - chance)
		}
		all += h
		held += plogp(h)
		broken += plogp(b)
	}
	// H(knee | outcome) = -sum p log p of the joint, less that of the outcome.
	return -(held + broken) + plogp(all) + plogp(1-all)
}

func plogp(p float64) float64 {
	if p <= 0 {
		return 0
	}
	return p * math.Log(p)
}
