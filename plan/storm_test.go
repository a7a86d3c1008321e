package plan

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/banyanhq/banyan/simulate"
	"github.com/banyanhq/banyan/topology"
)

// stormy is a store that times out behind web, which is tried again from the start.
func stormy(attempts int, budget topology.Percent) *topology.System {
	return &topology.System{
		Name: "stormy", Machine: &topology.Machine{Cores: 4},
		Services: map[string]*topology.Service{
			"web":   {Uses: []string{"store"}, Replicas: topology.Replicas{Min: 2, Max: 2}, Work: &topology.Work{CPU: ms(0.1)}},
			"store": {Replicas: topology.Replicas{Min: 2, Max: 2}, Work: &topology.Work{CPU: ms(20)}, Inbound: topology.Inbound{Timeout: ms(250)}},
		},
		Routes: []*topology.Route{{Name: "home", Path: "/", To: "web", Inbound: topology.Inbound{Timeout: ms(10000),
			Retry: &topology.Retry{Attempts: attempts, Budget: budget, MinPerSecond: 0.1, Backoff: ms(5), On: []int{502, 503, 504}}}}},
		Workload: &topology.Workload{Timeout: ms(10000), Mix: map[string]topology.Percent{"s": 1},
			Scenarios: map[string]*topology.Scenario{"s": {Steps: []*topology.Step{{Path: "/"}}}}},
	}
}

func planStorm(t *testing.T, sys *topology.System) (*Storm, float64) {
	t.Helper()
	p, err := Make(sys, Load{Rates: map[string]float64{"home": 50}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p.Storm, p.Saturation.Throughput
}

func TestStormFromRetriesAndTimeouts(t *testing.T) {
	free, held := planStorm(t, stormy(3, 1e6))
	// Three tries of all that is asked for fill the machine from a third of what it holds on.
	if free == nil || free.Share < 0.28 || free.Share > 0.36 || free.Service != "store" || free.Tries < 2.5 || free.Good > 0.5 {
		t.Errorf("three attempts: %+v", free)
	}
	two, _ := planStorm(t, stormy(2, 1e6))
	if two == nil || two.From <= free.From || two.From > 0.55*held {
		t.Errorf("two attempts: %+v", two)
	}
	bounded, _ := planStorm(t, stormy(3, 0.1))
	if bounded == nil || bounded.Share < 0.8 {
		t.Errorf("a budget of 10%%: %+v", bounded)
	}
}

func TestWhatAStormNeeds(t *testing.T) {
	granted := stormy(3, 0)
	granted.Routes[0].Retry.MinPerSecond = 1e6
	if s, _ := planStorm(t, granted); s == nil || s.Share < 0.28 || s.Share > 0.36 {
		t.Errorf("no budget, but as many retries a second as one likes: %+v", s)
	}
	named := stormy(3, 1e6)
	store, aux := *named.Services["store"], *named.Services["store"]
	aux.Work, store.Limits.CPU = &topology.Work{CPU: ms(1)}, 0.5
	named.Services["store"], named.Services["aux"] = &store, &aux
	named.Services["web"].Uses = []string{"aux", "store"}
	named.Services["web"].Work.Calls = map[string]float64{"aux": 1, "store": 1}
	if s, _ := planStorm(t, named); s == nil || s.Service != "store" {
		t.Errorf("of two that are multiplied alike the one that is full: %+v", s)
	}
}

func TestNoStorm(t *testing.T) {
	for what, change := range map[string]func(sys *topology.System){
		"no retries":                                       func(sys *topology.System) { sys.Routes[0].Retry.Attempts, sys.Routes[0].Retry.Budget = 1, 0 },
		"requests that must not be repeated":               func(sys *topology.System) { sys.Routes[0].Method = "POST" },
		"the store's time-out is longer than the caller's": func(sys *topology.System) { sys.Services["store"].Inbound.Timeout = ms(30000) },
		"what a time-out makes is not tried again":         func(sys *topology.System) { sys.Routes[0].Retry.On = []int{503} },
		"most calls time out with no retries at all":       func(sys *topology.System) { sys.Services["store"].Inbound.Timeout = ms(14) },
	} {
		sys := stormy(3, 1e6)
		change(sys)
		if s, _ := planStorm(t, sys); s != nil {
			t.Errorf("%s: %+v", what, s)
		}
	}
}

// The plan beside a storm is that of the system without: what is tried again is no part of it.
func TestStormLeavesThePlanAlone(t *testing.T) {
	changes := func(sys *topology.System) []Change {
		p, err := Make(sys, Load{Rates: map[string]float64{"home": 50}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return p.Changes
	}
	with, without := changes(stormy(3, 1e6)), changes(stormy(1, 0))
	if len(with) == 0 || !reflect.DeepEqual(with, without) {
		t.Errorf("changes with retries: %+v\nwithout: %+v", with, without)
	}
}

// TestStormAgainstSimulation shocks the simulated system with a second of overload, below and above the load from
// which the storm is said to sustain itself. What was begun and abandoned is burnt to its end, which takes a minute.
func TestStormAgainstSimulation(t *testing.T) {
	if testing.Short() {
		t.Skip("simulates ten minutes")
	}
	after := func(attempts int, budget topology.Percent, rate float64) float64 {
		sys := stormy(attempts, budget)
		stage := func(rate float64, length time.Duration) topology.Stage {
			return topology.Stage{Rate: topology.Rate(rate), Duration: topology.Duration(length)}
		}
		sys.Workload.Stages = []topology.Stage{stage(rate, time.Millisecond), stage(rate, 5*time.Second), stage(400, time.Millisecond),
			stage(400, time.Second), stage(rate, time.Millisecond), stage(rate, 120*time.Second)}
		m, err := simulate.New(sys, simulate.Options{Seed: 1, Replications: 1})
		if err != nil {
			t.Fatal(err)
		}
		r, err := m.Run(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var good, n float64
		for _, p := range r.Timeline {
			if p.At > 105*time.Second && p.At <= 125*time.Second {
				good += (p.Throughput - p.Errors) / rate
				n++
			}
		}
		return good / n
	}
	for _, c := range []struct {
		attempts int
		budget   topology.Percent
	}{{3, 1e6}, {2, 1e6}, {3, 0.3}} {
		s, held := planStorm(t, stormy(c.attempts, c.budget))
		if s == nil {
			t.Fatalf("%+v: no storm", c)
		}
		below, above := after(c.attempts, c.budget, 0.9*s.From), after(c.attempts, c.budget, 1.1*s.From)
		t.Logf("%d attempts, budget %g: from %.1f/s of %.1f; simulated good share at 0.9 %.2f, at 1.1 %.2f", c.attempts, float64(c.budget), s.From, held, below, above)
		if below < 0.95 {
			t.Errorf("%+v: at 90%% of %g/s only %.2f are answered: the storm goes on", c, s.From, below)
		}
		if above > 0.5 {
			t.Errorf("%+v: at 110%% of %g/s %.2f are answered: the storm ends by itself", c, s.From, above)
		}
	}
}

func TestTailIsTheFittedOne(t *testing.T) {
	for _, scv := range []float64{0.05, 0.3, 0.9, 1, 1.5, 4} {
		for _, q := range []float64{0.5, 0.9, 0.99} {
			x, err := quantile(2, scv*4, q)
			if err != nil {
				t.Fatal(err)
			}
			near(t, "tail", tailOf(2, scv*4, x), 1-q, 0.08)
		}
	}
}
