package queueing

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

func bigNetwork(open bool) *Network {
	rng := rand.New(rand.NewPCG(7, 7))
	n := &Network{Stations: make([]Station, 100), Classes: make([]Class, 20)}
	for k := range n.Stations {
		n.Stations[k] = Station{Servers: 1 + rng.IntN(8), SCV: 2 * rng.Float64()}
		if k%3 == 0 {
			n.Stations[k].Discipline = FCFS
		}
	}
	for r := range n.Classes {
		c := Class{Population: 50 + rng.IntN(500), Think: 1, Demands: make([]float64, 100)}
		for k := range c.Demands {
			c.Demands[k] = 0.01 * rng.Float64()
		}
		if open {
			c.Population, c.Think, c.Arrival = 0, 0, 4
		}
		n.Classes[r] = c
	}
	return n
}

func BenchmarkSolve100x20(b *testing.B) {
	for name, open := range map[string]bool{"closed": false, "open": true} {
		n := bigNetwork(open)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Solve(n, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// randomNetwork may be open, closed or mixed, in or out of product form.
func randomNetwork(rng *rand.Rand) *Network {
	K, R := 1+rng.IntN(5), 1+rng.IntN(4)
	n := &Network{Stations: make([]Station, K), Classes: make([]Class, R)}
	for k := range n.Stations {
		n.Stations[k] = Station{Servers: 1 + rng.IntN(4)}
		switch rng.IntN(5) {
		case 0:
			n.Stations[k].Kind = Delay
		case 1:
			n.Stations[k].Discipline, n.Stations[k].SCV = FCFS, 3*rng.Float64()
		case 2:
			n.Stations[k].Discipline = FCFS
		}
	}
	for r := range n.Classes {
		c := Class{Demands: make([]float64, K)}
		if rng.IntN(2) == 0 {
			c.Population, c.Think = 1+rng.IntN(30), 3*rng.Float64()
		} else {
			c.Arrival = 0.3 * rng.Float64()
		}
		for k := range c.Demands {
			c.Demands[k] = rng.Float64()
		}
		if rng.IntN(2) == 0 {
			c.Visits = make([]float64, K)
			for k := range c.Visits {
				c.Visits[k] = 0.2 + 4*rng.Float64()
			}
		}
		n.Classes[r] = c
	}
	return n
}

// What must hold of any solution by any method.
func TestSolutionsObeyTheLaws(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 13))
	solved := 0
	for range 2000 {
		n := randomNetwork(rng)
		s, err := Solve(n, Options{})
		if err != nil {
			if strings.Contains(err.Error(), "unstable") {
				continue
			}
			t.Fatalf("%+v: %v", n, err)
		}
		solved++
		for r := range n.Classes {
			inside := 0.0
			for k := range n.Stations {
				if s.Residence[r][k] < n.Classes[r].Demands[k]*(1-1e-9) {
					t.Fatalf("%s: class %d spends %v at station %d, less than its demand %v: %+v", s.Method, r, s.Residence[r][k], k, n.Classes[r].Demands[k], n)
				}
				inside += s.QueueLength[r][k]
			}
			if c := &n.Classes[r]; c.closed() {
				if total := inside + s.Throughput[r]*c.Think; math.Abs(total-float64(c.Population)) > 1e-5*float64(c.Population) {
					t.Fatalf("%s: %v customers of %d: %+v", s.Method, total, c.Population, n)
				}
			}
			last := 0.0
			for _, p := range []float64{0.5, 0.95, 0.99} {
				x, err := s.Percentile(r, p)
				if err != nil || x < last || math.IsNaN(x) || math.IsInf(x, 0) {
					t.Fatalf("%s: percentile %v = %v after %v, %v: %+v", s.Method, p, x, last, err, n)
				}
				last = x
			}
			if s.StdDev[r] <= 0 {
				t.Fatalf("%s: standard deviation %v: %+v", s.Method, s.StdDev[r], n)
			}
		}
		for k := range n.Stations {
			if u := s.StationUtilisation[k]; !n.Stations[k].delay() && u > 1+1e-4 {
				t.Fatalf("%s: utilisation %v of station %d: %+v", s.Method, u, k, n)
			}
		}
	}
	if solved < 1000 {
		t.Fatalf("only %d of 2000 networks were stable", solved)
	}
}

func TestBoundsBracketExactMVA(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		K, N, z := 1+rng.IntN(5), 1+rng.IntN(40), 0.0
		if rng.IntN(2) == 0 {
			z = 3 * rng.Float64()
		}
		d := make([]float64, K)
		for k := range d {
			d[k] = 0.01 + rng.Float64()
		}
		s, err := ExactMVA(&Network{Stations: make([]Station, K), Classes: []Class{{Population: N, Think: z, Demands: d}}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		check := func(b *Bounds, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			x := s.Throughput[0]
			if b.XLower > x*(1+1e-9) || b.XUpper < x*(1-1e-9) {
				t.Fatalf("%s bounds %v..%v, exact %v: demands %v, Z %v, N %d", b.Method, b.XLower, b.XUpper, x, d, z, N)
			}
			for k := range b.QLower {
				if q := s.QueueLength[0][k]; b.QLower[k] > q+1e-6 || b.QUpper[k] < q-1e-6 {
					t.Fatalf("%s: queue %d bounds %v..%v, exact %v: demands %v, Z %v, N %d", b.Method, k, b.QLower[k], b.QUpper[k], q, d, z, N)
				}
			}
		}
		check(AsymptoticBounds(d, z, N))
		check(BalancedJobBounds(d, z, N))
		check(GeometricBounds(d, z, N))
		if z == 0 {
			check(ProportionalBounds(d, N))
		}
	}
}

func TestInvalidNetworksAreNamed(t *testing.T) {
	one := func(change func(n *Network)) *Network {
		n := &Network{Stations: []Station{{Name: "cpu"}}, Classes: []Class{{Name: "web", Arrival: 1, Demands: []float64{0.5}}}}
		change(n)
		return n
	}
	for _, c := range []struct {
		want   string
		change func(n *Network)
	}{
		{"no stations", func(n *Network) { n.Stations = nil }},
		{"no classes", func(n *Network) { n.Classes = nil }},
		{"station cpu: servers is -1", func(n *Network) { n.Stations[0].Servers = -1 }},
		{"station cpu: SCV is NaN", func(n *Network) { n.Stations[0].SCV = math.NaN() }},
		{"station cpu: SCV is -2", func(n *Network) { n.Stations[0].SCV = -2 }},
		{`station cpu: kind "x"`, func(n *Network) { n.Stations[0].Kind = "x" }},
		{`station cpu: discipline "LIFO"`, func(n *Network) { n.Stations[0].Discipline = "LIFO" }},
		{"class web: arrival rate is +Inf", func(n *Network) { n.Classes[0].Arrival = math.Inf(1) }},
		{"class web: demand at cpu is -1", func(n *Network) { n.Classes[0].Demands[0] = -1 }},
		{"class web: demands nothing", func(n *Network) { n.Classes[0].Demands[0] = 0 }},
		{"class web: 2 demands for 1 stations", func(n *Network) { n.Classes[0].Demands = []float64{1, 2} }},
		{"class web: has both", func(n *Network) { n.Classes[0].Population = 3 }},
		{"class web: population is -3", func(n *Network) { n.Classes[0].Population = -3 }},
		{"class web: has a think time", func(n *Network) { n.Classes[0].Think = 3 }},
		{"never visits", func(n *Network) { n.Classes[0].Visits = []float64{0} }},
		{"station cpu is unstable", func(n *Network) { n.Classes[0].Arrival = 2 }},
		{"station cpu is unstable", func(n *Network) { n.Classes[0].Arrival = 1e99 }},
		{"too large", func(n *Network) { n.Stations = make([]Station, 20_000) }},
	} {
		_, err := Solve(one(c.change), Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want an error with %q", err, c.want)
		}
	}
}

func TestLargePopulationsFallBack(t *testing.T) {
	n := &Network{Stations: make([]Station, 3)}
	for r := range 3 {
		n.Classes = append(n.Classes, Class{Population: 100_000 * (r + 1), Think: 100, Demands: []float64{0.001, 0.0005 * float64(r+1), 0.0002}})
	}
	if _, err := ExactMVA(n, Options{}); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("exact MVA of 6e15 states: %v", err)
	}
	s, err := Solve(n, Options{})
	if err != nil || s.Exact || !strings.Contains(s.Method, "Linearizer") {
		t.Fatalf("%v %v", s, err)
	}
	n.Classes[0].Population = maxPopulation
	if s, err = Solve(n, Options{}); err != nil || s.StationUtilisation[0] > 1.0001 {
		t.Fatalf("%v %v", s, err)
	}
}

func TestKnee(t *testing.T) {
	n := &Network{Stations: []Station{{}}, Classes: []Class{{Arrival: 1, Demands: []float64{0.1}}}}
	k, err := Knee(n, Options{})
	if err != nil || math.Abs(k.Throughput-5) > 1e-3 || math.Abs(k.Saturation-10) > 1e-9 {
		t.Fatalf("knee of M/M/1 with capacity 10: %+v %v", k, err)
	}
	star, err := SaturationPopulation(&Network{Stations: make([]Station, 2), Classes: []Class{{Population: 1, Think: 8, Demands: []float64{0.5, 1.5}}}}, 0)
	if err != nil || math.Abs(star-10/1.5) > 1e-12 {
		t.Fatalf("N* = %v %v", star, err)
	}
	if _, err := Knee(&Network{Stations: []Station{{Kind: Delay}}, Classes: []Class{{Arrival: 1, Demands: []float64{1}}}}, Options{}); err == nil {
		t.Fatal("a knee without a queue")
	}
	c, err := Knee(&Network{Stations: make([]Station, 2), Classes: []Class{{Population: 4, Think: 8, Demands: []float64{0.5, 1.5}}}}, Options{})
	if err != nil || c.Station != 1 || c.Throughput <= 0 {
		t.Fatalf("%+v %v", c, err)
	}
}

func TestMixedAgainstChainOfLimitedOpen(t *testing.T) {
	// The open class as a closed one of many customers with a long think time.
	n := &Network{Stations: []Station{{Servers: 2}, {}}, Classes: []Class{
		{Arrival: 0.5, Demands: []float64{0.8, 0.4}}, {Population: 3, Think: 2, Demands: []float64{1, 0.5}}}}
	s, err := Solve(n, Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := n.clone()
	m.Classes[0] = Class{Population: 4000, Think: 8000, Demands: []float64{0.8, 0.4}}
	e, err := ExactMVA(m, Options{MaxStates: 1e8})
	if err != nil {
		t.Fatal(err)
	}
	for r := range 2 {
		if d := s.Response[r]/e.Response[r] - 1; math.Abs(d) > 0.1 {
			t.Errorf("class %d: response %v, nearly exact %v", r, s.Response[r], e.Response[r])
		} else {
			t.Logf("class %d: shared two-server station, response off by %.1f %%", r, 100*d)
		}
	}
	n.Stations[0].Servers = 1
	m.Stations[0].Servers = 1
	n.Classes[0].Arrival, m.Classes[0].Think = 0.25, 16000
	s, _ = Solve(n, Options{})
	e, _ = ExactMVA(m, Options{MaxStates: 1e8})
	for r := range 2 {
		if d := s.Response[r]/e.Response[r] - 1; math.Abs(d) > 0.005 || !s.Exact {
			t.Errorf("class %d: response %v, nearly exact %v", r, s.Response[r], e.Response[r])
		}
	}
}
