package plan

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > tolerance*math.Abs(want)+1e-12 {
		t.Errorf("%s = %g, want %g within %g%%", what, got, want, 100*tolerance)
	}
}

func ms(v float64) topology.Duration { return topology.Duration(v * float64(time.Millisecond)) }

// shop is two services behind three routes, with declared work.
func shop() *topology.System {
	return &topology.System{
		Name:    "shop",
		Machine: &topology.Machine{Cores: 1},
		Services: map[string]*topology.Service{
			"web":     {Uses: []string{"catalog"}, Replicas: topology.Replicas{Min: 1, Max: 1}, Work: &topology.Work{CPU: ms(1), Calls: map[string]float64{"catalog": 2}}},
			"catalog": {Replicas: topology.Replicas{Min: 1, Max: 1}, Work: &topology.Work{CPU: ms(2), Delay: ms(10)}},
		},
		Routes: []*topology.Route{{Name: "home", Path: "/", Exact: true, To: "web"}, {Name: "api", Path: "/api/", To: "catalog"}},
		Workload: &topology.Workload{Users: 10, Think: ms(100),
			Mix: map[string]topology.Percent{"look": 3, "call": 1},
			Scenarios: map[string]*topology.Scenario{
				"look": {Steps: []*topology.Step{{Path: "/"}, {Path: "/api/x?y=z"}}},
				"call": {Steps: []*topology.Step{{Path: "/api/${id}"}}},
			}},
	}
}

func TestOpenPredictionIsProcessorSharingPlusDelay(t *testing.T) {
	p, err := Predict(shop(), Load{Rates: map[string]float64{"home": 100, "api": 50}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	// Home asks 1 + 2x2 ms of CPU and 2x10 ms of delay, api 2 and 10: utilisation 100x5ms + 50x2ms = 0.6.
	near(t, "utilisation", p.Machine.Utilisation, 0.6, 1e-9)
	near(t, "home mean", p.Routes[1].Mean.Seconds(), 0.005/0.4+0.020, 1e-6)
	near(t, "api mean", p.Routes[0].Mean.Seconds(), 0.002/0.4+0.010, 1e-6)
	near(t, "catalog rate", p.Services[0].Rate, 250, 1e-9)
	near(t, "catalog cpu", p.Services[0].CPU, 0.5, 1e-9)
	if p.Saturated || p.Bottleneck != Machine {
		t.Errorf("saturated %v, bottleneck %s", p.Saturated, p.Bottleneck)
	}
	for _, r := range p.Routes {
		if !(r.P50 < r.P95 && r.P95 < r.P99 && r.P50 > 0) {
			t.Errorf("%s: percentiles out of order: %v %v %v", r.Route, r.P50, r.P95, r.P99)
		}
	}
}

func TestOverloadIsSaidAndBounded(t *testing.T) {
	p, err := Predict(shop(), Load{Rates: map[string]float64{"home": 400}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !p.Saturated {
		t.Fatal("200% is not called saturated")
	}
	near(t, "throughput", p.Throughput, 200, 1e-6)
}

func TestClosedPredictionKeepsLittlesLaw(t *testing.T) {
	sys := shop()
	load, err := LoadOf(sys, 0)
	if err != nil {
		t.Fatal(err)
	}
	// Of 4 scenarios, 3 look (home, api) and 1 calls (api): 7 requests, 3 home and 4 api.
	near(t, "mix", load.Mix["home"], 3.0/7, 1e-9)
	for _, users := range []int{1, 10, 100, 1000} {
		load.Users = users
		p, err := Predict(sys, load, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var mean float64
		for _, r := range p.Routes {
			mean += load.Mix[r.Route] * r.Mean.Seconds()
		}
		near(t, "N = X (R+Z)", p.Throughput*(mean+load.Think.Seconds()), float64(users), 1e-3)
		if p.Machine.Utilisation > 1+1e-6 {
			t.Errorf("%d users: utilisation %g", users, p.Machine.Utilisation)
		}
	}
}

func TestDemandsTakePrecedenceAndAsyncIsNotWaitedFor(t *testing.T) {
	sys := shop()
	sys.Demands = map[string]map[string]*topology.Demand{"api": {
		"catalog": {Visits: 1, CPU: ms(2)},
		Client:    {Visits: 1, Async: ms(3)},
	}}
	p, err := Predict(sys, Load{Rates: map[string]float64{"api": 100}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "utilisation", p.Machine.Utilisation, 0.5, 1e-9)
	near(t, "mean", p.Routes[0].Mean.Seconds(), 0.002/0.5, 1e-6)
}

func TestCPULimitSaturatesAndDelays(t *testing.T) {
	sys := shop()
	sys.Machine.Cores = 4
	sys.Services["catalog"].Limits.CPU = 0.25
	rates := func(x float64) Load { return Load{Rates: map[string]float64{"api": x}} }
	low, err := Predict(sys, rates(50), Options{})
	if err != nil {
		t.Fatal(err)
	}
	high, err := Predict(sys, rates(120), Options{})
	if err != nil {
		t.Fatal(err)
	}
	over, err := Predict(sys, rates(130), Options{})
	if err != nil {
		t.Fatal(err)
	}
	more, err := Predict(sys, rates(130), Options{Replicas: map[string]int{"catalog": 2}})
	if err != nil {
		t.Fatal(err)
	}
	if low.Routes[0].Mean > 14*time.Millisecond || high.Routes[0].Mean < 2*low.Routes[0].Mean {
		t.Errorf("40%%: %v, 96%%: %v: the limit should not be felt, then be felt", low.Routes[0].Mean, high.Routes[0].Mean)
	}
	if !over.Saturated || over.Bottleneck != "catalog" || more.Saturated {
		t.Errorf("104%%: saturated %v by %s; with two replicas %v", over.Saturated, over.Bottleneck, more.Saturated)
	}
}

func TestPlanFindsLimitsAndWhatHelps(t *testing.T) {
	sys := shop()
	sys.Machine.Cores = 8
	sys.Services["catalog"].Limits.CPU = 0.5
	sys.SLOs = map[string]*topology.SLO{"fast": {Route: "api", Latency: map[string]topology.Duration{"p99": ms(80)}}}
	p, err := Make(sys, Load{Rates: map[string]float64{"api": 100}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "saturation", p.Saturation.Throughput, 250, 1e-6)
	if p.Saturation.By != "catalog" || p.Knee.By != "SLO fast" || p.Knee.Throughput >= 250 || p.Knee.Throughput < 100 {
		t.Errorf("saturation %+v, knee %+v", p.Saturation, p.Knee)
	}
	gains := map[string]float64{}
	for _, c := range p.Changes {
		gains[c.What] = c.Gain
	}
	if gains["catalog: 1 -> 2 replicas"] < 0.8 || math.Abs(gains["web: 1 -> 2 replicas"]) > 0.01 || math.Abs(gains["machine: 8 -> 9 cores"]) > 0.01 {
		t.Errorf("gains %v", gains)
	}
}

// TestCalibrationReturnsTheTruth measures a model with known demands, and calibrates another from that.
func TestCalibrationReturnsTheTruth(t *testing.T) {
	truth := shop()
	truth.Machine.Cores = 2
	truth.Calibration = &topology.Calibration{Apart: coresApart}
	measure := func(scale float64) *Measurement {
		load := Load{Rates: map[string]float64{"home": 60 * scale, "api": 100 * scale}}
		p, err := Predict(truth, load, Options{})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Unix(1000, 0)
		m := &Measurement{System: "shop", Source: "model", Start: start, End: start.Add(100 * time.Second), Cores: 2, MachineCPU: p.Machine.CPU,
			Load: load, Routes: map[string]RouteMeasurement{}, Services: map[string]ServiceMeasurement{}}
		for _, r := range p.Routes {
			m.Routes[r.Route] = RouteMeasurement{Requests: int64(r.Rate * 100), Mean: r.Mean, StdDev: r.StdDev, P99: r.P99}
		}
		for _, s := range p.Services {
			m.Services[s.Service] = ServiceMeasurement{CPU: s.CPU, Replicas: 1}
		}
		home, api := m.Routes["home"], m.Routes["api"]
		m.Calls = []CallMeasurement{
			{Route: "home", To: "web", Count: home.Requests, Time: home.Mean * time.Duration(home.Requests)},
			{Route: "home", From: "web", To: "catalog", Count: 2 * home.Requests, Time: 2 * api.Mean * time.Duration(home.Requests)},
			{Route: "api", To: "catalog", Count: api.Requests, Time: api.Mean * time.Duration(api.Requests)},
		}
		return m
	}
	c, err := Calibrate(&topology.System{}, measure(1))
	if err != nil {
		t.Fatal(err)
	}
	near(t, "visits", c.Demands["home"]["catalog"].Visits, 2, 1e-9)
	near(t, "catalog cpu", c.Demands["api"]["catalog"].CPU.Std().Seconds(), 0.002, 0.01)
	near(t, "web cpu", c.Demands["home"]["web"].CPU.Std().Seconds(), 0.001, 0.01)

	fitted := shop()
	fitted.Machine.Cores = 2
	fitted.Demands, fitted.Calibration = c.Demands, c.Calibration
	for _, scale := range []float64{1, 2, 2.8} {
		m := measure(scale)
		p, err := Predict(fitted, m.Load, Options{})
		if err != nil {
			t.Fatal(err)
		}
		cmp := Compare(p, nil, m, c.Calibration.Throughput)
		for name, r := range cmp.Routes {
			if math.Abs(r.Mean.Error) > 0.02 || math.Abs(r.Throughput.Error) > 0.01 || math.Abs(r.P99.Error) > 0.2 {
				t.Errorf("at %gx, %s: %+v", scale, name, r)
			}
		}
		if math.Abs(cmp.Machine.Error) > 0.01 {
			t.Errorf("at %gx: machine %+v", scale, cmp.Machine)
		}
	}
}

func TestBadInputIsRefusedByName(t *testing.T) {
	sys := shop()
	if _, err := Predict(sys, Load{}, Options{}); err == nil {
		t.Error("no load: want an error")
	}
	if _, err := Predict(sys, Load{Rates: map[string]float64{"nowhere": 1}}, Options{}); err == nil {
		t.Error("unknown route: want an error")
	}
	sys.Machine = nil
	if _, err := Predict(sys, Load{Rates: map[string]float64{"api": 1}}, Options{}); err == nil {
		t.Error("no cores: want an error")
	}
	bare := shop()
	bare.Services["web"].Work, bare.Services["catalog"].Work = nil, nil
	if _, err := Predict(bare, Load{Rates: map[string]float64{"api": 1}}, Options{}); err == nil {
		t.Error("no demands: want an error")
	}
	if _, err := Calibrate(&topology.System{}, &Measurement{}); err == nil {
		t.Error("empty measurement: want an error")
	}
}

func TestQuotaDelayAgainstAWalk(t *testing.T) {
	if d := (held{100, 0.002, 1, 0, 0.25, 2}).loss().mean; d < 0 || d > 0.05 {
		t.Errorf("80%% of a quarter core: %g s", d)
	}
	if !math.IsInf((held{200, 0.002, 1, 0, 0.25, 2}).loss().mean, 1) {
		t.Error("more than the limit must never end")
	}
	last := 0.0
	for _, rate := range []float64{10, 50, 90, 110, 120, 124} {
		d := held{rate, 0.002, 1, 0, 0.25, 2}.loss().mean
		if d < last {
			t.Errorf("delay falls at %g/s", rate)
		}
		last = d
	}
}

func TestDispersionOfPoissonAndOfClusters(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	run := func(cluster int, session moments) float64 {
		var beats []float64
		for range 2000 {
			cpu := 0.0
			// Poisson arrivals by their exponential gaps.
			for at := rng.ExpFloat64(); at < 100/float64(cluster); at += rng.ExpFloat64() {
				for range cluster {
					cpu += 0.001 * rng.ExpFloat64()
				}
			}
			beats = append(beats, cpu)
		}
		return dispersion(beats, session)
	}
	call := moments{mean: 0.001, square: 2e-6} // exponential
	if d := run(1, call); math.Abs(d-2) > 0.5 {
		t.Errorf("Poisson arrivals of exponential work: %.2f, want 2", d)
	}
	// A cluster of n calls of exponential work has variance n + n^2 against a mean of n.
	if d := run(8, call); math.Abs(d-9) > 2 {
		t.Errorf("clusters of 8: %.2f, want 9", d)
	}
	// The same clusters are no more than chance where they are the calls of one request.
	if d := run(8, moments{mean: 0.008, square: 72e-6}); math.Abs(d-2) > 0.5 {
		t.Errorf("requests of 8 calls: %.2f, want 2", d)
	}
}
