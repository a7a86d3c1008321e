package plan

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"
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
}

// doubt draws the uncertain inputs again and again.
func (g *grower) doubt(o CapacityOptions, remedy Remedy) (*Doubt, error) {
	n := o.Samples
	if n == 0 {
		n = 1000
	}
	services, routes, rate, cores := slices.Clone(g.services), slices.Clone(g.routes), g.rate, g.cores
	defer func() {
		g.services, g.routes, g.rate, g.cores = services, routes, rate, cores
		g.gather()
	}()
	rng := rand.New(rand.NewPCG(o.Seed, 0x6361706163697479))
	sigma := math.Log1p(o.Uncertainty) / 1.6448536269514722 // nine in ten lie within a factor of 1 + uncertainty
	draw := func() float64 { return math.Exp(sigma * rng.NormFloat64()) }
	d := &Doubt{Uncertainty: o.Uncertainty, Samples: n}
	ends := make([]time.Duration, 0, n)
	held, heldChanged := 0, 0
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
		end, err := g.lasts(load)
		if err != nil {
			return nil, err
		}
		ends = append(ends, end)
		if end >= o.For {
			held++
		}
		if remedy.Needed && remedy.Possible {
			g.resize(remedy)
			if end, err = g.lasts(load); err != nil {
				return nil, err
			}
			for i := range g.services {
				g.services[i].replicas, g.services[i].limit = services[i].replicas, services[i].limit
			}
			g.cores = cores
		}
		if end >= o.For {
			heldChanged++
		}
	}
	d.Holds, d.HoldsChanged = float64(held)/float64(n), float64(heldChanged)/float64(n)
	slices.Sort(ends)
	at := func(p float64) time.Duration { return ends[min(int(p*float64(n)), n-1)] }
	d.P5, d.P25, d.P50, d.P75, d.P95 = at(0.05), at(0.25), at(0.5), at(0.75), at(0.95)
	return d, nil
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
