package plan

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func growth(share float64, per string) *topology.GrowthRate {
	return &topology.GrowthRate{Share: share, Period: per}
}

// limited is the shop on four cores, its catalog held to half a core, promised p99 of 80 ms; 100 requests a second.
func limited() (*topology.System, Load) {
	sys := shop()
	sys.Machine.Cores = 4
	sys.Services["catalog"].Limits = topology.Limits{CPU: 0.5, Memory: 1 << 29}
	sys.SLOs = map[string]*topology.SLO{"fast": {Route: "api", Latency: map[string]topology.Duration{"p99": ms(80)}}}
	sys.Growth = &topology.Growth{Requests: *growth(1, "year")}
	sys.Prices = &topology.Prices{CPUHour: 0.04, MemoryGiBHour: 0.01, Currency: "EUR"}
	return sys, Load{Rates: map[string]float64{"api": 100}}
}

const year = 12 * month

func TestGrowthToTheDateOfEachEnd(t *testing.T) {
	sys, load := limited()
	c, err := Grow(sys, load, CapacityOptions{For: 4 * year})
	if err != nil {
		t.Fatal(err)
	}
	ends := map[string]End{}
	for i, e := range c.Ends {
		ends[e.What] = e
		if i > 0 && e.Factor < c.Ends[i-1].Factor {
			t.Errorf("ends are not in order: %+v", c.Ends)
		}
	}
	// 2 ms each: half a core is full at 250/s, the machine at 2000/s; demand doubles each year.
	near(t, "catalog factor", ends["catalog"].Factor, 2.5, 1e-9)
	near(t, "catalog at", float64(ends["catalog"].At), math.Log2(2.5)*float64(year), 1e-6)
	near(t, "machine at", float64(ends[Machine].At), math.Log2(20)*float64(year), 1e-6)
	slo := ends["SLO fast"]
	if slo.Factor >= 2.5 || slo.Factor < 1.5 {
		t.Errorf("the SLO ends at %g times today's load", slo.Factor)
	}
	// The planner says the same at that load, and otherwise just beyond.
	for _, side := range []float64{0.999, 1.001} {
		p, err := Predict(sys, load.Scaled(slo.Factor*side), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if kept := p.Routes[0].P99 <= 80*time.Millisecond; kept != (side < 1) {
			t.Errorf("at %g of the end: p99 %v", side, p.Routes[0].P99)
		}
	}
	if len(c.Steps) != 17 || c.Steps[0].Factor != 1 || c.Steps[16].At != 4*year {
		t.Errorf("%d steps, the last at %v", len(c.Steps), c.Steps[len(c.Steps)-1].At)
	}
	for _, s := range c.Steps {
		if broken := s.At > slo.At; broken != (len(s.Broken) > 0) {
			t.Errorf("after %v: broken %v", s.At, s.Broken)
		}
	}
}

func TestUsersGrowAsAnOpenLoad(t *testing.T) {
	sys, _ := limited()
	load := Load{Users: 100, Think: time.Second, Mix: map[string]float64{"api": 1}}
	c, err := Grow(sys, load, CapacityOptions{For: year})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "rate today", c.Steps[0].Rate, 100/(1+0.012), 0.01)
	near(t, "users at the end", c.Steps[len(c.Steps)-1].Users, 200, 1e-9)
	for _, e := range c.Ends {
		if e.What == "catalog" {
			near(t, "N*", e.Factor, 250*(1+0.012)/100, 1e-6)
		}
	}
}

func TestLossIsSolvedAnewNotInProportion(t *testing.T) {
	sys, load := limited()
	sys.Machine.Cores = 1
	sys.Services["catalog"].Replicas.Min = 3
	c, err := Grow(sys, load, CapacityOptions{For: year})
	if err != nil {
		t.Fatal(err)
	}
	loss := map[string]Loss{}
	for _, l := range c.Losses {
		loss[l.Service+string(rune('0'+l.Lost))] = l
	}
	one, two := loss["catalog1"], loss["catalog2"]
	// The machine holds 500/s, two replicas as much, one of them half.
	near(t, "held without one", one.Saturation, 500, 1e-9)
	near(t, "held without two", two.Saturation, 250, 1e-9)
	p, err := Make(sys, load, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if share := one.Knee / p.Knee.Throughput; share < 0.7 || share > 1 || !one.Holds || two.Left != 1 {
		t.Errorf("the knee without one of three is %g of the whole", share)
	}
	if two.Knee >= two.Saturation || two.Knee <= 0 {
		t.Errorf("without two: %+v", two)
	}
	if w := loss["web1"]; w.Left != 0 || w.Factor != 0 || w.Holds {
		t.Errorf("without the only web: %+v", w)
	}
}

func TestCostOfMachineAndReservations(t *testing.T) {
	sys, load := limited()
	c, err := Grow(sys, load, CapacityOptions{For: year})
	if err != nil {
		t.Fatal(err)
	}
	hour := 4*0.04 + 0.5*0.01
	near(t, "hour", c.Cost.Hour, hour, 1e-9)
	near(t, "million requests", c.Cost.MillionRequests, hour/(100*3600)*1e6, 1e-9)
	sys.Services["catalog"].Replicas.Min = 10 // 5 cores reserved, more than the machine's 4
	if c, err = Grow(sys, load, CapacityOptions{For: year}); err != nil {
		t.Fatal(err)
	}
	near(t, "hour of reservations", c.Cost.Hour, 5*0.04+5*0.01, 1e-9)
	sys.Prices = nil
	if c, err = Grow(sys, load, CapacityOptions{For: year}); err != nil || c.Cost != nil {
		t.Errorf("a cost without prices: %+v %v", c.Cost, err)
	}
}

// applied is the system with a remedy.
func applied(sys *topology.System, r Remedy) *topology.System {
	for name, size := range r.Services {
		sys.Services[name].Replicas.Min, sys.Services[name].Limits.CPU = size.Replicas, topology.CPU(size.CPU)
	}
	if r.Cores > 0 {
		sys.Machine.Cores = topology.CPU(r.Cores)
	}
	return sys
}

func TestRemedyHoldsAndNothingInItIsSpare(t *testing.T) {
	sys, load := limited()
	c, err := Grow(sys, load, CapacityOptions{For: 5 * year}) // 32 times the load: 6.4 cores of 4
	if err != nil {
		t.Fatal(err)
	}
	r := c.Remedy
	if !r.Needed || !r.Possible || r.Cores <= 6 || r.Cores > 8 {
		t.Fatalf("%+v", r)
	}
	keeps := func(r Remedy) bool {
		fixed, _ := limited()
		p, err := Predict(applied(fixed, r), load.Scaled(32), Options{})
		if err != nil {
			t.Fatal(err)
		}
		return !p.Saturated && p.Routes[0].P99 <= 80*time.Millisecond
	}
	if !keeps(r) {
		t.Errorf("does not hold: %+v", r)
	}
	if r.Lasts < 5*year {
		t.Errorf("lasts %v", r.Lasts)
	}
	less := r
	less.Services = map[string]Size{"catalog": {Replicas: r.Services["catalog"].Replicas, CPU: r.Services["catalog"].CPU - 0.01}}
	if keeps(less) {
		t.Errorf("a hundredth of a core less would do: %+v", r)
	}
	less = r
	less.Cores--
	if keeps(less) {
		t.Errorf("a core less would do: %+v", r)
	}
}

func TestRemedyThatIsNotNeededOrNotPossible(t *testing.T) {
	sys, load := limited()
	c, err := Grow(sys, load, CapacityOptions{For: month})
	if err != nil || c.Remedy.Needed || !c.Remedy.Possible {
		t.Errorf("one month: %+v %v", c.Remedy, err)
	}
	sys.SLOs["fast"].Latency["p99"] = ms(5) // less than its delay
	c, err = Grow(sys, load, CapacityOptions{For: year})
	if err != nil || !c.Remedy.Needed || c.Remedy.Possible || !strings.Contains(c.Remedy.Why, "SLO fast") {
		t.Errorf("an SLO below the delay: %+v %v", c.Remedy, err)
	}
	if c.Sensitivity != nil {
		t.Errorf("a knee of 0 has sensitivities: %v", c.Sensitivity)
	}
}

func TestSensitivityNamesTheBottleneckFirst(t *testing.T) {
	sys, _ := limited()
	c, err := Grow(sys, Load{Rates: map[string]float64{"api": 80, "home": 10}}, CapacityOptions{For: year})
	if err != nil {
		t.Fatal(err)
	}
	if first := c.Sensitivity[0]; first.Input != "CPU time of catalog" || first.Less < 0.08 || first.More > -0.08 {
		t.Errorf("%+v", c.Sensitivity)
	}
}

func TestDoubtIsSeededAndCentred(t *testing.T) {
	sys, load := limited()
	run := func(seed uint64, u float64) *Capacity {
		c, err := Grow(sys, load, CapacityOptions{For: year, Uncertainty: u, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	a, b, other := run(1, 0.2), run(1, 0.2), run(2, 0.2)
	if !reflect.DeepEqual(a, b) {
		t.Error("the same seed gives other answers")
	}
	if a.Doubt.P50 == other.Doubt.P50 {
		t.Error("another seed gives the same answer")
	}
	d := a.Doubt
	if !(d.P5 < d.P25 && d.P25 < d.P50 && d.P50 < d.P75 && d.P75 < d.P95) {
		t.Errorf("out of order: %+v", d)
	}
	near(t, "median", float64(d.P50), float64(a.Ends[0].At), 0.1)
	if wide := run(1, 1).Doubt; wide.P95-wide.P5 <= d.P95-d.P5 {
		t.Error("more uncertainty gives a narrower answer")
	}
	if len(d.Options) < 3 || d.Options[0].Margin != 0 {
		t.Fatalf("options: %+v", d.Options)
	}
	for k, o := range d.Options {
		if k > 0 && (o.Bill <= d.Options[k-1].Bill || o.Holds < d.Options[k-1].Holds) {
			t.Errorf("option %d costs less or holds less often than a smaller one: %+v", k, o)
		}
		if o.Regret < d.Options[d.Least].Regret {
			t.Errorf("option %d has less regret than the chosen %d", k, d.Least)
		}
	}
}

// TestRegretWeighsWhatIsPaidTooMuch: of ten cases, two need nothing, five the small one and three the large.
func TestRegretWeighsWhatIsPaidTooMuch(t *testing.T) {
	d := &Doubt{Options: []Option{{Bill: 10}, {Margin: 1, Bill: 12}, {Margin: 1.5, Bill: 20}}}
	for best, n := range []int{2, 5, 3} {
		for range n {
			d.count(best)
		}
	}
	d.weigh(10, 10, Remedy{Needed: true, Possible: true})
	// As it is: 5x12 and 3x20 again. The small one: 2x2 too much, 3x20 again. The large one: 2x10 and 5x8 too much.
	for k, want := range []float64{12, 6.4, 6} {
		near(t, "regret", d.Options[k].Regret, want, 1e-9)
	}
	near(t, "holds", d.Options[1].Holds, 0.7, 1e-9)
	if d.Least != 2 || d.HoldsChanged != 0.7 {
		t.Errorf("least regret has option %d, the changes hold in %g", d.Least, d.HoldsChanged)
	}
}

// TestMoreGrowthNeverLastsLonger and a replica more never holds less, on random systems.
func TestMoreGrowthNeverLastsLonger(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for trial := range 25 {
		sys, load := large(1+rng.IntN(6), 1+rng.IntN(3))
		sys.Machine.Cores = topology.CPU(2 + rng.IntN(8))
		for _, name := range sortedKeys(sys.Services) {
			sys.Services[name].Limits.CPU = []topology.CPU{0, 0.4, 1}[rng.IntN(3)]
		}
		if trial%2 == 0 {
			sys.SLOs = nil
		}
		if trial%3 == 0 {
			mix := map[string]float64{}
			for r, v := range load.Rates {
				mix[r] = v / load.Total()
			}
			load = Load{Users: 50 + rng.IntN(500), Think: time.Second, Mix: mix}
		}
		at := func(share float64) *Capacity {
			c, err := Grow(sys, load, CapacityOptions{For: 6 * month, Growth: growth(share, "month")})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		slow, fast := at(0.05), at(0.06)
		last := map[string]End{}
		for _, e := range slow.Ends {
			last[e.What] = e
		}
		for _, e := range fast.Ends {
			was := last[e.What]
			if e.Never && !was.Never || !was.Never && e.At > was.At {
				t.Errorf("trial %d: %s ends at %v, with more growth at %v", trial, e.What, was.At, e.At)
			}
		}
		if r := slow.Remedy; r.Needed && r.Possible && r.Lasts < 6*month-time.Hour && len(sys.SLOs) > 0 {
			t.Errorf("trial %d: a remedy that lasts only %v: %+v", trial, r.Lasts, r)
		}
		p, err := Make(sys, load, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, ch := range p.Changes {
			least := 1 - 1e-9
			if strings.HasSuffix(ch.What, "replicas") {
				least = 0.99 // more of them rest for longer
			}
			if ch.Saturation < p.Saturation.Throughput*least || len(sys.SLOs) > 0 && ch.Knee < p.Knee.Throughput*(least-1e-5) {
				t.Errorf("trial %d: %s holds less: %+v, before %+v %+v", trial, ch.What, ch, p.Saturation, p.Knee)
			}
		}
	}
}

func TestCapacityRefusesWhatMeansNothing(t *testing.T) {
	for _, c := range []struct {
		name string
		o    CapacityOptions
		want string
	}{
		{"no growth", CapacityOptions{For: year, Growth: &topology.GrowthRate{}}, "no growth"},
		{"no period", CapacityOptions{For: year, Growth: growth(0.1, "fortnight")}, `unknown period "fortnight"`},
		{"NaN", CapacityOptions{For: year, Growth: growth(math.NaN(), "year")}, "no growth"},
		{"no horizon", CapacityOptions{}, "horizon"},
		{"endless", CapacityOptions{For: 101 * year}, "horizon"},
		{"negative doubt", CapacityOptions{For: year, Uncertainty: -1}, "uncertainty"},
		{"NaN doubt", CapacityOptions{For: year, Uncertainty: math.NaN()}, "uncertainty"},
		{"too many samples", CapacityOptions{For: year, Samples: 1e9}, "samples"},
	} {
		sys, load := limited()
		if _, err := Grow(sys, load, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	sys, load := limited()
	sys.Growth = nil
	if _, err := Grow(sys, load, CapacityOptions{For: year}); !errors.Is(err, ErrNoGrowth) {
		t.Errorf("no growth at all: %v", err)
	}
}

func BenchmarkGrow(b *testing.B) {
	sys, load := large(100, 20)
	for b.Loop() {
		if _, err := Grow(sys, load, CapacityOptions{For: 18 * month}); err != nil {
			b.Fatal(err)
		}
	}
}
