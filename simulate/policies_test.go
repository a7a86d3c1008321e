package simulate

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// farm is one service of several replicas, each of a core of its own.
func farm(replicas int, rate float64, in topology.Inbound) *topology.System {
	sys := oneService(float64(replicas), 10, 1, rate)
	sys.Services["web"].Replicas = topology.Replicas{Min: replicas, Max: replicas}
	sys.Services["web"].Inbound = in
	sys.Workload.Duration = topology.Duration(time.Minute)
	return sys
}

// visitsByReplica runs one replication and returns the visits that each replica has begun.
func visitsByReplica(t *testing.T, sys *topology.System, o Options) (visits []float64, s *sim) {
	t.Helper()
	m, err := New(sys, o)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = newSim(m, m.load, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, i := range s.services[0].replicas {
		visits = append(visits, s.cpu.procs[i].used)
	}
	return visits, s
}

func TestEveryBalancingPolicySpreadsTheLoad(t *testing.T) {
	for _, balance := range topology.Balances() {
		t.Run(string(balance), func(t *testing.T) {
			sys := farm(6, 300, topology.Inbound{Balance: balance})
			used, s := visitsByReplica(t, sys, Options{Seed: 3, Warmup: -1})
			var sum float64
			for _, u := range used {
				sum += u
			}
			share := 0.12 // keys are thousands of clients
			switch balance {
			case topology.RingHash:
				share = 0.35 // 160 points for each replica
			case topology.Prequal:
				share = 0.5 // goes by latency while none is hot, whatever the shares are
			}
			for i, u := range used {
				within(t, "CPU of replica "+string(rune('0'+i)), u, sum/6, share)
			}
			if bad := s.tally.routes[0].Ended - s.tally.routes[0].outcomes[OK]; bad != 0 {
				t.Errorf("%d requests ended badly", bad)
			}
		})
	}
}

func TestPoliciesThatLookAvoidASlowReplica(t *testing.T) {
	slow := Options{Seed: 4, Warmup: -1, Faults: []Fault{{Kind: FaultSlow, Service: "web", Replicas: 1, Factor: 8}}}
	latency := map[topology.Balance]float64{}
	for _, balance := range []topology.Balance{topology.RoundRobin, topology.LeastRequest, topology.P2CEWMA, topology.Prequal} {
		_, s := visitsByReplica(t, farm(6, 200, topology.Inbound{Balance: balance}), slow)
		latency[balance] = s.tally.routes[0].latency.Mean() / 1e9
	}
	for _, balance := range []topology.Balance{topology.LeastRequest, topology.P2CEWMA, topology.Prequal} {
		if latency[balance] > latency[topology.RoundRobin]*0.65 {
			t.Errorf("%s: mean latency of %v, round-robin has %v", balance, latency[balance], latency[topology.RoundRobin])
		}
	}
	_, s := visitsByReplica(t, farm(6, 200, topology.Inbound{Balance: topology.RoundRobin, Outliers: &topology.Outliers{
		Interval: ms(2000), Eject: ms(60000), MaxEject: ms(60000), MaxEjected: 0.2, MinReplicas: 3, MinRequests: 20, Deviations: 1.9, Slower: 3, Panic: 0.5,
	}}), slow)
	if got := s.tally.routes[0].latency.Mean() / 1e9; got > latency[topology.RoundRobin]/2 {
		t.Errorf("with outliers ejected the mean latency is %v, without %v", got, latency[topology.RoundRobin])
	}
}

func TestSessionsStickToTheirReplica(t *testing.T) {
	sys := farm(4, 0, topology.Inbound{Balance: topology.Random, Sticky: &topology.Sticky{}})
	sys.Workload.Users, sys.Workload.Rate, sys.Workload.Think = 40, 0, ms(200)
	_, s := visitsByReplica(t, sys, Options{Seed: 5, Warmup: -1, Trace: 2000})
	if len(s.bindings) != 40 {
		t.Fatalf("%d bindings of 40 users", len(s.bindings))
	}
	// Without new bindings, each user goes where the first answer came from.
	before := append([]binding(nil), s.bindings...)
	m, err := New(sys, Options{Seed: 5, Warmup: -1, Duration: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	again, err := newSim(m, m.load, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	different := map[uint64]bool{}
	for i := range before {
		if before[i] != again.bindings[i] {
			t.Errorf("user %d moved from replica %x to %x", i, before[i].key, again.bindings[i].key)
		}
		different[before[i].key] = true
	}
	if len(different) < 3 {
		t.Errorf("all users are bound to %d replicas", len(different))
	}
}

func TestHashKeysComeFromTheFile(t *testing.T) {
	sys := farm(4, 200, topology.Inbound{Balance: topology.Maglev, Hash: &topology.Hash{Path: true}})
	sys.Routes[0].Path = "/item/"
	step := sys.Workload.Scenarios["home"].Steps[0]
	step.Path = "/item/7"
	used, _ := visitsByReplica(t, sys, Options{Seed: 6, Warmup: -1})
	busy := 0
	for _, u := range used {
		if u > 0 {
			busy++
		}
	}
	if busy != 1 {
		t.Errorf("requests for one path went to %d replicas", busy)
	}
	step.Path = "/item/${zipf:1:100000}"
	used, _ = visitsByReplica(t, sys, Options{Seed: 6, Warmup: -1})
	most, sum := 0.0, 0.0
	for _, u := range used {
		most, sum = max(most, u), sum+u
	}
	// The first of 100 000 ranks gets about 8 % of all requests: its replica has that on top of its quarter.
	if share := most / sum; share < 0.27 || share > 0.42 {
		t.Errorf("the most used of four replicas got %.3f of the work", share)
	}
}

func TestRateLimitLetsItsRateIn(t *testing.T) {
	sys := farm(2, 100, topology.Inbound{Limit: &topology.Limit{Rate: 30, Burst: 5}})
	r := simulate(t, sys, Options{Seed: 7, Warmup: -1, Replications: 3})
	if good := r.All.Throughput.Value * (1 - r.All.ErrorShare.Value); math.Abs(good-30) > 1 {
		t.Errorf("%v requests a second were let in, of 30", good)
	}
	if r.Routes[0].Errors["limited"] != r.service(t, "web").Limited || r.service(t, "web").Limited == 0 {
		t.Errorf("%d limited at the route, %d at the service", r.Routes[0].Errors["limited"], r.service(t, "web").Limited)
	}
}

func TestAdaptiveBoundKeepsAnOverloadedServiceFast(t *testing.T) {
	overload := func(a *topology.Adaptive) *Result {
		sys := farm(2, 260, topology.Inbound{Timeout: topology.Duration(time.Hour), Adaptive: a})
		return simulate(t, sys, Options{Seed: 8, Warmup: -1, Replications: 2})
	}
	free, bound := overload(nil), overload(&topology.Adaptive{Initial: 20, Min: 4, Max: 200, Tolerance: 1.5})
	if bound.Routes[0].Errors["refused"] == 0 || bound.All.P50.Value > free.All.P50.Value/10 {
		t.Errorf("p50 of %v with an adaptive bound, %v without; %v", bound.All.P50.Value, free.All.P50.Value, bound.Routes[0].Errors)
	}
	within(t, "good answers a second", bound.All.Throughput.Value*(1-bound.All.ErrorShare.Value), 200, 0.05)
}

// A request that is refused at the door takes one hop of the gateway; the hops of the calls that it would have made come with these.
func TestARefusedRequestTakesOneHop(t *testing.T) {
	sys := farm(2, 400, topology.Inbound{Timeout: topology.Duration(time.Hour), Adaptive: &topology.Adaptive{Initial: 8, Min: 8, Max: 8, Tolerance: 1.5}})
	sys.Services["web"].Uses = topology.Strings{"store"}
	sys.Services["store"] = &topology.Service{}
	sys.Demands = map[string]map[string]*topology.Demand{sys.Routes[0].Name: {
		"web": {Visits: 1, CPU: ms(5)}, "store": {Visits: 2, CPU: ms(2)}, Gateway: {Visits: 3, CPU: ms(0.1)}}}
	r := simulate(t, sys, Options{Seed: 8, Warmup: -1, Replications: 2})
	refused := r.All.ErrorShare.Value
	if refused < 0.2 || refused > 0.8 {
		t.Fatalf("%.2f are refused: the test says nothing", refused)
	}
	within(t, "hops of a request", r.service(t, Gateway).Rate.Value/r.All.Throughput.Value, 1+2*(1-refused), 0.02)
	within(t, "calls of store for an answer", r.service(t, "store").Rate.Value/r.All.Throughput.Value, 2*(1-refused), 0.02)
}

func TestSlowStartSparesANewReplica(t *testing.T) {
	share := func(window topology.Duration) float64 {
		sys := farm(3, 120, topology.Inbound{SlowStart: window, Balance: topology.RoundRobin})
		used, _ := visitsByReplica(t, sys, Options{Seed: 9, Warmup: -1, Start: time.Millisecond,
			Faults: []Fault{{Kind: FaultKill, At: 10 * time.Second, Service: "web", Replicas: 1, For: time.Millisecond}}})
		return used[0] / (used[0] + used[1] + used[2])
	}
	if cold, warm := share(topology.Duration(50*time.Second)), share(0); cold > warm-0.05 {
		t.Errorf("a new replica took %.3f of the work with slow start, %.3f without", cold, warm)
	}
}

// What a service can hold does not depend on how often its callers try again.
func TestRoutesShareTheAdaptiveBound(t *testing.T) {
	bound := &topology.Adaptive{Initial: 20, Min: 4, Max: 200, Tolerance: 1.5}
	sys := farm(2, 100, topology.Inbound{Adaptive: bound})
	again, other := *sys.Routes[0], *sys.Routes[0]
	again.Name, again.Path, again.Retry = "again", "/again", &topology.Retry{Attempts: 2}
	other.Name, other.Path, other.Adaptive = "other", "/other", &topology.Adaptive{Initial: 20, Min: 4, Max: 100, Tolerance: 1.5}
	elsewhere, shop := *sys.Routes[0], *sys.Services["web"]
	elsewhere.Name, elsewhere.Path, elsewhere.To = "elsewhere", "/elsewhere", "shop"
	sys.Services["shop"] = &shop
	sys.Routes = append(sys.Routes, &again, &other, &elsewhere)
	m, err := New(sys, Options{Load: &topology.RouteLoad{Rates: map[string]float64{sys.Routes[0].Name: 1, "again": 1, "other": 1, "elsewhere": 1}}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSim(m, m.load, 0)
	if err != nil {
		t.Fatal(err)
	}
	bounds := map[any]int{}
	for i := range s.lanes {
		bounds[s.lanes[i].bound]++
	}
	if len(s.lanes) != 4 || len(bounds) != 3 { // a service never shares another one's
		t.Errorf("%d lanes have %d bounds, want 4 and 3", len(s.lanes), len(bounds))
	}
}
