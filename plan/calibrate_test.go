package plan

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

// recorded is a run that is drawn: two routes into web, which calls catalog on both. Catalog's requests of 'list' cost 1 ms of
// CPU and those of 'find' 4 ms, though both take the same time, so that a split by own time gets it wrong.
type recorded struct {
	rng     *rand.Rand
	seconds int
	rates   map[string]float64
	costs   map[string]map[string]float64 // CPU seconds of a request, by service and route
	calls   float64                       // of web to catalog, for each visit
	shift   float64                       // calls more for each second that has gone by
	draw    func(*rand.Rand) float64      // time of a call to catalog, in seconds
	stretch float64                       // how much more slowly CPU grows than requests do
}

func (r *recorded) measure(t *testing.T) *Measurement {
	t.Helper()
	start := time.Unix(1000, 0)
	m := &Measurement{System: "shop", Source: "drawn", Start: start, End: start.Add(time.Duration(r.seconds) * time.Second), Cores: 4,
		Routes: map[string]RouteMeasurement{}, Services: map[string]ServiceMeasurement{}, HitRatios: map[string]float64{"list": 0.75}}
	requests, used := map[string]float64{}, map[string]float64{}
	edges := map[string]*stats.Histogram{"-> web": stats.NewHistogram(2), "web -> catalog": stats.NewHistogram(2)}
	mean := map[string]float64{}
	for svc, by := range r.costs {
		for route, cost := range by {
			mean[svc] += r.rates[route] * cost
		}
	}
	for second := range r.seconds {
		calls := r.calls + r.shift*float64(second)
		s := Second{Seconds: 1, Requests: map[string]float64{}, CPU: map[string]float64{}, Calls: map[string]float64{}}
		for _, route := range []string{"find", "list"} {
			n := poisson(r.rng, r.rates[route])
			s.Requests[route] = float64(n)
			requests[route] += float64(n)
			for range n {
				whole := 0.002 * r.rng.ExpFloat64()
				k := int(calls)
				if r.rng.Float64() < calls-float64(k) {
					k++
				}
				for range k {
					took := r.draw(r.rng)
					edges["web -> catalog"].RecordDuration(seconds(took))
					whole += took
				}
				s.Calls["web -> catalog"] += float64(k)
				s.Calls["-> web"]++
				edges["-> web"].RecordDuration(seconds(whole))
			}
			for _, svc := range slices.Sorted(maps.Keys(r.costs)) { // in one order, or a seed would not draw the same run again
				for range n {
					s.CPU[svc] += r.costs[svc][route] * r.rng.ExpFloat64()
				}
			}
		}
		for svc := range r.costs {
			s.CPU[svc] += r.stretch * (mean[svc] - s.CPU[svc])
			used[svc] += s.CPU[svc]
		}
		m.PerSecond = append(m.PerSecond, s)
	}
	for svc, cpu := range used {
		m.Services[svc] = ServiceMeasurement{CPU: cpu / float64(r.seconds), Replicas: 1}
		m.MachineCPU += cpu / float64(r.seconds)
	}
	for route, n := range requests {
		m.Routes[route] = RouteMeasurement{Requests: int64(n), Mean: 12 * time.Millisecond, StdDev: 8 * time.Millisecond}
		called := int64(n * r.calls)
		m.Calls = append(m.Calls,
			CallMeasurement{Route: route, To: "web", Count: int64(n), Time: time.Duration(n) * 12 * time.Millisecond},
			CallMeasurement{Route: route, From: "web", To: "catalog", Count: called, Time: time.Duration(called) * 8 * time.Millisecond})
	}
	for name, h := range edges {
		from, to, _ := strings.Cut(name, "-> ")
		m.Edges = append(m.Edges, EdgeMeasurement{From: strings.TrimSpace(from), To: to, Count: h.Count(), Mean: time.Duration(h.Mean()), Histogram: h})
	}
	return m
}

func poisson(rng *rand.Rand, mean float64) int {
	n := 0
	for t := rng.ExpFloat64(); t < mean; t += rng.ExpFloat64() {
		n++
	}
	return n
}

func aRun(seed uint64) *recorded {
	return &recorded{rng: rand.New(rand.NewPCG(seed, 5)), seconds: 60, rates: map[string]float64{"list": 60, "find": 40}, calls: 1.5,
		costs: map[string]map[string]float64{"web": {"list": 0.002, "find": 0.002}, "catalog": {"list": 0.001, "find": 0.004}},
		draw:  func(rng *rand.Rand) float64 { return 0.004 * rng.ExpFloat64() }}
}

// TestCPUIsSplitByRegression draws runs of known costs: the demands found lie nearer to them than the split by own time,
// which says 2.2 ms for both, and within two of their standard errors as often as they should.
func TestCPUIsSplitByRegression(t *testing.T) {
	const runs = 40
	inside, all := 0, 0
	sum := map[string]float64{}
	for seed := range uint64(runs) {
		c, err := Calibrate(&topology.System{}, aRun(seed).measure(t))
		if err != nil {
			t.Fatal(err)
		}
		for route, want := range map[string]float64{"list": 0.001, "find": 0.004} {
			d := c.Demands[route]["catalog"]
			got := d.Visits * (d.CPU + d.Async + d.Wake).Std().Seconds()
			if d.CPUError <= 0 {
				t.Fatalf("no error of catalog's CPU time for %s", route)
			}
			sum[route] += got / runs
			all++
			if math.Abs(got-want) < 2*d.Visits*d.CPUError.Std().Seconds() {
				inside++
			}
		}
	}
	if sum["list"] > 0.0017 || sum["find"] < 0.0030 {
		t.Errorf("on average list costs %.2g s and find %.2g s, not 0.001 and 0.004", sum["list"], sum["find"])
	}
	if share := float64(inside) / float64(all); share < 0.85 {
		t.Errorf("the truth lies within two standard errors in %.0f%% of %d cases", 100*share, all)
	}
}

// TestCPUThatGrowsMoreSlowlyDoesNotMoveTheSplit has CPU follow the requests by half only, as where busy machines need not
// wake up: the level stays that of the whole run.
func TestCPUThatGrowsMoreSlowlyDoesNotMoveTheSplit(t *testing.T) {
	r := aRun(3)
	r.stretch = 0.5
	m := r.measure(t)
	c, err := Calibrate(&topology.System{}, m)
	if err != nil {
		t.Fatal(err)
	}
	var all float64
	for route, by := range c.Demands {
		d := by["catalog"]
		all += float64(m.Routes[route].Requests) / m.Seconds() * d.Visits * (d.CPU + d.Async + d.Wake).Std().Seconds()
	}
	near(t, "catalog's CPU", all, m.Services["catalog"].CPU, 1e-3)
}

func TestShapesEdgesAndHitsAreFound(t *testing.T) {
	erlang := func(rng *rand.Rand) float64 {
		return 0.001 * (rng.ExpFloat64() + rng.ExpFloat64() + rng.ExpFloat64() + rng.ExpFloat64())
	}
	lognormal := func(rng *rand.Rand) float64 { return 0.0025 * math.Exp(0.9*rng.NormFloat64()) }
	for _, c := range []struct {
		law  string
		scv  float64
		draw func(*rand.Rand) float64
	}{{"exponential", 1, aRun(1).draw}, {"gamma", 0.25, erlang}, {"lognormal", math.Expm1(0.81), lognormal}} {
		r := aRun(9)
		r.draw = c.draw
		got, err := Calibrate(&topology.System{}, r.measure(t))
		if err != nil {
			t.Fatal(err)
		}
		k := got.Calibration
		s := k.Services["catalog"]
		if s == nil || s.Distribution != c.law || math.Abs(s.SCV-c.scv) > 3*s.SCVError || s.SCVError > 0.3*c.scv {
			t.Errorf("%s with an SCV of %.2f: found %+v", c.law, c.scv, s)
		}
		if w := k.Services["web"]; w == nil || math.Abs(w.SCV-1) > 3*w.SCVError || w.Distribution != "" {
			t.Errorf("web, whose own time is exponential: %+v", w)
		}
		if len(k.Edges) != 1 || math.Abs(k.Edges[0].Calls-1.5) > 3*k.Edges[0].Error || k.Edges[0].Error <= 0 || k.Edges[0].Error > 0.05 {
			t.Errorf("edges %+v", k.Edges)
		}
		if h := k.HitRatios["list"]; h == nil || h.Share != 0.75 || h.Error <= 0 || h.Error > 0.02 {
			t.Errorf("hits %+v", h)
		}
		if calls := got.Demands["find"]["web"].Calls; math.Abs(calls["catalog"]-1.5) > 0.01 {
			t.Errorf("web calls %v", calls)
		}
	}
}

func TestABusyMachineSaysNothingOfShapes(t *testing.T) {
	m := aRun(1).measure(t)
	m.MachineCPU = 3.2
	c, err := Calibrate(&topology.System{}, m)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Calibration.Services) > 0 || !strings.Contains(fmt.Sprint(c.Notes), "latencies are mostly waiting") {
		t.Errorf("services %v, notes %q", c.Calibration.Services, c.Notes)
	}
}

func TestAPredictionBeyondTheSweepSaysSo(t *testing.T) {
	sys := shop()
	sys.Calibration = &topology.Calibration{USL: &topology.CalibratedUSL{Alpha: 0.05, Beta: 0.001, Gamma: 20}}
	for rate, want := range map[float64]bool{10: false, 200: true} {
		p, err := Predict(sys, Load{Rates: map[string]float64{"api": rate}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(fmt.Sprint(p.Notes), "throughput peaks at 181/s with 31 requests at once"); got != want {
			t.Errorf("at %g/s: %q", rate, p.Notes)
		}
	}
}
