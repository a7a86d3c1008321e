package plan

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Sensitivity is what one input does to the knee (without SLOs: to what is held).
type Sensitivity struct {
	// Input in words: the CPU time of a service, or the delay of a route.
	Input string `json:"input"`
	// Less and More are the change of the knee, as a share of it, where the input is 10% less and 10% more.
	Less float64 `json:"less"`
	More float64 `json:"more"`
}

// limit is the throughput that matters: the knee or, without SLOs, all that is held.
func (s *steady) limit() (float64, error) {
	if len(s.slos) == 0 {
		held, _ := s.held()
		return min(held, ample), nil
	}
	k, err := s.knee()
	return k.Throughput, err
}

// sensitivity moves each input by 10% either way.
func (g *grower) sensitivity() ([]Sensitivity, error) {
	base, err := g.limit()
	if err != nil || base <= 0 {
		return nil, err
	}
	var list []Sensitivity
	try := func(input string, at *float64) error {
		defer func() { *at = 1; g.gather() }()
		out := Sensitivity{Input: input}
		for _, step := range []struct {
			factor float64
			to     *float64
		}{{0.9, &out.Less}, {1.1, &out.More}} {
			*at = step.factor
			g.gather()
			x, err := g.limit()
			if err != nil {
				return err
			}
			*step.to = x/base - 1
		}
		list = append(list, out)
		return nil
	}
	for i := range g.services {
		if st := &g.services[i]; st.full+st.wake > 0 {
			if err := try("CPU time of "+st.name, &st.scale); err != nil {
				return nil, err
			}
		}
	}
	for i := range g.routes {
		if r := &g.routes[i]; r.delay > 0 && len(g.slos) > 0 {
			if err := try("delay of "+r.name, &r.slow); err != nil {
				return nil, err
			}
		}
	}
	size := func(s Sensitivity) float64 { return max(math.Abs(s.Less), math.Abs(s.More)) }
	slices.SortStableFunc(list, func(a, b Sensitivity) int {
		return cmp.Or(cmp.Compare(size(b), size(a)), cmp.Compare(a.Input, b.Input))
	})
	return list, nil
}

// Doubt is when the system ends (see Capacity.Ends) if every input is uncertain: today's load, the growth, the CPU time
// of each service and the delay of each route, each lognormal about what is stated and independent of the others.
type Doubt struct {
	Uncertainty float64 `json:"uncertainty"`
	Samples     int     `json:"samples"`
	// The end comes before P5 in one case of twenty, and so on; a hundred years stand for never.
	P5  time.Duration `json:"p5_ns"`
	P25 time.Duration `json:"p25_ns"`
	P50 time.Duration `json:"p50_ns"`
	P75 time.Duration `json:"p75_ns"`
	P95 time.Duration `json:"p95_ns"`
	// Holds is the share of cases in which the system holds through the horizon as it is, and HoldsChanged with the
	// remedy.
	Holds        float64 `json:"holds"`
	HoldsChanged float64 `json:"holds_changed"`
	// Options are the system as it is and remedies for more and more growth, the cheapest first; Least is the index of the one
	// of least regret.
	Options []Option `json:"options"`
	Least   int      `json:"least"`
}

// Option is a remedy for a margin beyond the growth that is expected.
type Option struct {
	// Margin on the expected load, 1 for none; 0: the system as it is.
	Margin float64 `json:"margin"`
	Remedy Remedy  `json:"remedy"`
	// Bill is what it costs an hour: money where there are prices, else cores.
	Bill float64 `json:"bill"`
	// Holds is the share of cases in which it holds through the horizon.
	Holds float64 `json:"holds"`
	// Regret is the mean, over the cases, of what was paid too much: over the cheapest option that holds in the case or, where
	// this one does not hold, all that the cheapest one costs, for it must be bought after all. Cases in which none holds do
	// not count.
	Regret float64 `json:"regret"`
}

// margins of the options.
var margins = []float64{1, 1.1, 1.25, 1.5, 2}

// choices are the system as it is and the remedies for more and more load, those left out that change nothing more.
func (g *grower) choices(sys *topology.System, o CapacityOptions) ([]Option, error) {
	bill := g.biller(sys.Prices)
	list := []Option{{Remedy: Remedy{Possible: true}, Bill: bill()}}
	for _, margin := range margins {
		r, err := g.remedy(sys, margin*g.factorAt(o.For))
		if err != nil {
			return nil, err
		}
		if !r.Needed || !r.Possible {
			continue
		}
		services, cores := slices.Clone(g.services), g.cores
		g.resize(r)
		option := Option{Margin: margin, Remedy: r, Bill: bill()}
		g.services, g.cores = services, cores
		if option.Bill > list[len(list)-1].Bill {
			list = append(list, option)
		}
	}
	return list, nil
}

// doubt draws the uncertain inputs again and again.
func (g *grower) doubt(sys *topology.System, o CapacityOptions, remedy Remedy) (*Doubt, error) {
	n := o.Samples
	if n == 0 {
		n = 1000
	}
	d := &Doubt{Uncertainty: o.Uncertainty, Samples: n}
	var err error
	if d.Options, err = g.choices(sys, o); err != nil {
		return nil, err
	}
	services, routes, rate, cores := slices.Clone(g.services), slices.Clone(g.routes), g.rate, g.cores
	restore := func() {
		for i := range g.services {
			g.services[i].replicas, g.services[i].limit = services[i].replicas, services[i].limit
		}
		g.cores = cores
	}
	defer func() {
		g.services, g.routes, g.rate, g.cores = services, routes, rate, cores
		g.gather()
	}()
	rng := rand.New(rand.NewPCG(o.Seed, 0x6361706163697479))
	sigma := math.Log1p(o.Uncertainty) / 1.6448536269514722 // nine in ten lie within a factor of 1 + uncertainty
	draw := func() float64 { return math.Exp(sigma * rng.NormFloat64()) }
	ends := make([]time.Duration, 0, n)
	cases := 0
	for range n {
		load := draw()
		g.rate.Share = rate.Share * draw()
		for i := range g.services {
			g.services[i].scale = draw()
		}
		for i := range g.routes {
			g.routes[i].slow = draw()
		}
		g.gather()
		best := len(d.Options) // the cheapest that holds; larger ones are taken to hold too
		for k := range d.Options {
			if k > 0 {
				g.resize(d.Options[k].Remedy)
			}
			end, err := g.lasts(load)
			restore()
			if err != nil {
				return nil, err
			}
			if k == 0 {
				ends = append(ends, end)
			}
			if end >= o.For {
				best = k
				break
			}
		}
		if best < len(d.Options) {
			cases++
			d.count(best)
		}
	}
	d.weigh(n, cases, remedy)
	slices.Sort(ends)
	at := func(p float64) time.Duration { return ends[min(int(p*float64(n)), n-1)] }
	d.P5, d.P25, d.P50, d.P75, d.P95 = at(0.05), at(0.25), at(0.5), at(0.75), at(0.95)
	return d, nil
}

// count takes note of a case in which an option is the cheapest that holds.
func (d *Doubt) count(best int) {
	least := d.Options[best].Bill
	for k := range d.Options {
		if option := &d.Options[k]; k >= best {
			option.Holds++
			option.Regret += option.Bill - least
		} else {
			option.Regret += least
		}
	}
}

// weigh turns sums into means, and finds the option of least regret.
func (d *Doubt) weigh(samples, cases int, remedy Remedy) {
	for k := range d.Options {
		option := &d.Options[k]
		option.Holds /= float64(samples)
		option.Regret /= float64(max(cases, 1))
		if option.Regret < d.Options[d.Least].Regret {
			d.Least = k
		}
		if option.Margin == 1 {
			d.HoldsChanged = option.Holds
		}
	}
	d.Holds = d.Options[0].Holds
	if !remedy.Needed || !remedy.Possible {
		d.HoldsChanged = d.Holds
	}
}

// lasts is how long the system lasts from a multiple of today's load on.
func (g *grower) lasts(load float64) (time.Duration, error) {
	factor, err := g.end()
	if err != nil {
		return 0, err
	}
	if at, ok := g.until(factor / load); ok {
		return at, nil
	}
	return maxHorizon, nil
}

func (g *grower) resize(r Remedy) {
	for i := range g.services {
		if size, ok := r.Services[g.services[i].name]; ok {
			g.services[i].replicas, g.services[i].limit = size.Replicas, size.CPU
		}
	}
	if r.Cores > 0 {
		g.cores = r.Cores
	}
}
