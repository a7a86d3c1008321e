package plan

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/banyanhq/banyan/queueing"
	"github.com/banyanhq/banyan/simulate"
	"github.com/banyanhq/banyan/topology"
)

// fan is a front that calls services which take an exponential delay of so many milliseconds each.
func fan(parallel []string, calls map[string]float64, delays map[string]float64) *topology.System {
	sys := &topology.System{
		Name:     "fan",
		Machine:  &topology.Machine{Cores: 64},
		Services: map[string]*topology.Service{},
		Routes:   []*topology.Route{{Name: "home", Path: "/", To: "front"}},
		Workload: &topology.Workload{Rate: 1, Mix: map[string]topology.Percent{"s": 1},
			Scenarios: map[string]*topology.Scenario{"s": {Steps: []*topology.Step{{Path: "/"}}}}},
	}
	front := &topology.Service{Replicas: topology.Replicas{Min: 1, Max: 1}, Work: &topology.Work{CPU: ms(0.001), Calls: calls, Parallel: parallel}}
	for _, name := range sortedKeys(delays) {
		front.Uses = append(front.Uses, name)
		sys.Services[name] = &topology.Service{Replicas: topology.Replicas{Min: 1, Max: 1}, Work: &topology.Work{Delay: ms(delays[name])}}
	}
	sys.Services["front"] = front
	return sys
}

// simulated is the mean latency of the route home by simulation, in seconds.
func simulatedMean(t *testing.T, sys *topology.System, rate float64) float64 {
	t.Helper()
	m, err := simulate.New(sys, simulate.Options{Seed: 7, Load: &simulate.Load{Rates: map[string]float64{"home": rate}}, Duration: 300 * time.Second, Replications: 3})
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return r.Routes[0].Mean.Value.Seconds()
}

func TestCallsAtTheSameTimeTakeAsLongAsTheLongest(t *testing.T) {
	three := map[string]float64{"a": 10, "b": 10, "c": 10}
	for _, c := range []struct {
		name     string
		parallel []string
		calls    map[string]float64
		want     float64 // ms
	}{
		{"one after the other", nil, nil, 30},
		{"all at once", []string{"a", "b", "c"}, nil, 10 * (1 + 1.0/2 + 1.0/3)},
		{"two at once", []string{"a", "b"}, nil, 10*(1+1.0/2) + 10},
		{"two calls to one, at once", []string{"a", "b"}, map[string]float64{"a": 2, "b": 1, "c": 0}, 10 * (1 + 1.0/2 + 1.0/3)},
		// With probability a half the longest of two, else the one.
		{"half of the time", []string{"a", "b"}, map[string]float64{"a": 0.5, "b": 1, "c": 0}, 10*(1+1.0/2)/2 + 10.0/2},
	} {
		t.Run(c.name, func(t *testing.T) {
			sys := fan(c.parallel, c.calls, three)
			p, err := Predict(sys, Load{Rates: map[string]float64{"home": 100}}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			near(t, "predicted", p.Routes[0].Mean.Seconds()*1000, c.want, 0.01)
			near(t, "simulated", simulatedMean(t, sys, 100)*1000, c.want, 0.02)
		})
	}
}

func TestForksWithinForksAndTheirSpread(t *testing.T) {
	// The front calls a and m at once; m calls b and c at once.
	sys := fan([]string{"a", "m"}, nil, map[string]float64{"a": 10, "m": 1})
	sys.Services["m"].Uses, sys.Services["m"].Work.Parallel = []string{"b", "c"}, []string{"b", "c"}
	for _, name := range []string{"b", "c"} {
		sys.Services[name] = &topology.Service{Replicas: topology.Replicas{Min: 1, Max: 1}, Work: &topology.Work{Delay: ms(8)}}
	}
	p, err := Predict(sys, Load{Rates: map[string]float64{"home": 50}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "predicted", p.Routes[0].Mean.Seconds(), simulatedMean(t, sys, 50), 0.03)
	// The longest of three exponential times has a variance of 1 + 1/4 + 1/9 of one's.
	p, err = Predict(fan([]string{"a", "b", "c"}, nil, map[string]float64{"a": 10, "b": 10, "c": 10}), Load{Rates: map[string]float64{"home": 1}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "spread", p.Routes[0].StdDev.Seconds()*1000, 10*math.Sqrt(1+1.0/4+1.0/9), 0.02)
}

func TestCallsWaitForPlaces(t *testing.T) {
	sys := fan(nil, nil, map[string]float64{"store": 20})
	sys.Services["store"].Concurrency = 5
	for _, rate := range []float64{100, 200, 225} {
		p, err := Predict(sys, Load{Rates: map[string]float64{"home": rate}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		q, err := queueing.MMc(rate, 50, 5)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "mean", p.Routes[0].Mean.Seconds(), q.W, 0.001)
		near(t, "deviation", p.Routes[0].StdDev.Seconds(), q.StdDevW(), 0.001)
		if rate < 225 { // beyond that, some wait for longer than the gateway lets them
			near(t, "simulated", simulatedMean(t, sys, rate), q.W, 0.03)
		}
	}
	plan, err := Make(sys, Load{Rates: map[string]float64{"home": 100}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "saturation", plan.Saturation.Throughput, 250, 1e-6)
	if plan.Saturation.By != PlacesOf("store") {
		t.Errorf("held by %s", plan.Saturation.By)
	}
	over, err := Predict(sys, Load{Rates: map[string]float64{"home": 300}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !over.Saturated || over.Bottleneck != PlacesOf("store") {
		t.Errorf("saturated: %v by %s", over.Saturated, over.Bottleneck)
	}
	near(t, "served", over.Throughput, 250, 1e-6)
}

// TestPlacesThatTheCPUFillsDoNotCountTwice: what waits in a service for its own CPU waits before it otherwise.
func TestPlacesThatTheCPUFillsDoNotCountTwice(t *testing.T) {
	sys := fan(nil, nil, map[string]float64{"store": 0})
	sys.Machine.Cores = 1
	sys.Services["store"].Work.CPU = ms(10)
	sys.Services["store"].Concurrency = 2
	p, err := Make(sys, Load{Rates: map[string]float64{"home": 80}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "saturation", p.Saturation.Throughput, 100, 0.001)
	if p.Saturation.By != Machine {
		t.Errorf("held by %s", p.Saturation.By)
	}
	near(t, "mean", p.Routes[0].Mean.Seconds(), simulatedMean(t, sys, 80), 0.10)
}

func TestUsersWhoWaitForPlaces(t *testing.T) {
	sys := fan(nil, nil, map[string]float64{"store": 20})
	sys.Services["store"].Concurrency = 5
	p, err := Predict(sys, Load{Users: 1000, Think: 10 * time.Second, Mix: map[string]float64{"home": 1}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "N = X (R+Z)", p.Throughput*(p.Routes[0].Mean.Seconds()+10), 1000, 1e-3)
	more, err := Predict(sys, Load{Users: 10000, Think: 10 * time.Second, Mix: map[string]float64{"home": 1}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "throughput of many", more.Throughput, 250, 0.01)
}

func TestTheRemedyForPlacesIsMoreReplicas(t *testing.T) {
	sys := fan(nil, nil, map[string]float64{"store": 20})
	sys.Services["store"].Concurrency = 5
	sys.SLOs = map[string]*topology.SLO{"fast": {Route: "home", Latency: map[string]topology.Duration{"p99": ms(150)}}}
	growth := topology.GrowthRate{Share: 0.08, Period: "month"}
	for _, spare := range []int{0, 2} {
		c, err := Grow(sys, Load{Rates: map[string]float64{"home": 200}}, CapacityOptions{For: 18 * month, Growth: &growth, Spare: spare})
		if err != nil {
			t.Fatal(err)
		}
		// 200 x 1.08^18 x 20 ms are 16 places, four replicas of which leave little to wait.
		if n := c.Remedy.Services["store"].Replicas; n < 4+spare || n > 5+spare || !c.Remedy.Possible {
			t.Errorf("%d spare: %+v", spare, c.Remedy)
		}
		if n := c.Remedy.Services["front"].Replicas; spare > 0 && n != 1+spare {
			t.Errorf("%d spare: the front has %d replicas", spare, n)
		}
	}
}

func TestZonesAndShards(t *testing.T) {
	sys := fan(nil, nil, map[string]float64{"store": 1})
	sys.Machine.Cores = 3
	sys.Services["store"].Work.CPU = ms(10)
	sys.Services["store"].Uses = []string{"tables.items"}
	sys.Services["store"].Work.Calls = map[string]float64{"tables.items": 2}
	sys.Tables = map[string]*topology.Table{"items": {Shards: 4, Replicas: 1}}
	sys.Services["store"].Replicas.Min, sys.Services["front"].Replicas.Min = 3, 3
	growth := topology.GrowthRate{Share: 0.08, Period: "month"}
	c, err := Grow(sys, Load{Rates: map[string]float64{"home": 100}}, CapacityOptions{For: month, Growth: &growth, Zones: 3})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "held without a zone", c.Zone.Saturation, 2/(0.010+2*60e-6), 0.001) // each request reads twice, 60 us of CPU each
	if c.Zone.Lost != 2 || c.Zone.Left != 4 || !c.Zone.Holds {
		t.Errorf("%+v", c.Zone)
	}
	near(t, "requests that a lost shard fails", c.Shards[0].Fails["home"], 1-0.75*0.75, 1e-9)
	sys.Services["front"].Replicas.Min = 1
	if c, err = Grow(sys, Load{Rates: map[string]float64{"home": 100}}, CapacityOptions{For: month, Growth: &growth, Zones: 3}); err != nil || c.Zone.Saturation != 0 || c.Zone.Holds {
		t.Errorf("a zone with all of a service: %+v, %v", c.Zone, err)
	}
}
