package simulate

import (
	"math"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// two is a system of two services on cores of their own, a with exponential work and b, in front of which a route lies.
func two(rate float64, route *topology.Route) *topology.System {
	sys := oneService(16, 10, 1, rate)
	sys.Services["b"] = &topology.Service{Work: &topology.Work{CPU: ms(10), SCV: ptr(1.0)}, Replicas: topology.Replicas{Min: 1, Max: 1}}
	sys.Workload.Duration = topology.Duration(2 * time.Minute)
	route.Name, route.Method, route.Path = "GET /", "GET", "/"
	sys.Routes = []*topology.Route{route}
	return sys
}

func (r *ServiceResult) visits() float64 { return r.Rate.Value }

func TestASplitGivesEachServiceItsShare(t *testing.T) {
	r := simulate(t, two(100, &topology.Route{Split: map[string]float64{"web": 3, "b": 1}}), Options{Seed: 2})
	within(t, "web's rate", r.service(t, "web").visits(), 75, 0.05)
	within(t, "b's rate", r.service(t, "b").visits(), 25, 0.05)
}

func TestASplitOfMeasuredDemandsVisitsOneServiceEach(t *testing.T) {
	sys := two(100, &topology.Route{Split: map[string]float64{"web": 3, "b": 1}})
	sys.Demands = map[string]map[string]*topology.Demand{"GET /": {
		"web": {Visits: 0.75, CPU: ms(10)}, "b": {Visits: 0.25, CPU: ms(20)}, Gateway: {Visits: 1, CPU: ms(1)},
	}}
	r := simulate(t, sys, Options{Seed: 2})
	within(t, "web's CPU", r.service(t, "web").CPU.Value, 0.75, 0.05)
	within(t, "b's CPU", r.service(t, "b").CPU.Value, 0.5, 0.08)
	within(t, "the gateway's CPU", r.service(t, Gateway).CPU.Value, 0.1, 0.05)
}

func TestAMirrorCostsCPUAndNoTime(t *testing.T) {
	plain := simulate(t, two(50, &topology.Route{To: "web"}), Options{Seed: 2})
	r := simulate(t, two(50, &topology.Route{To: "web", Mirror: &topology.Mirror{To: "b", Share: 0.5, Concurrency: 64}}), Options{Seed: 2})
	within(t, "copies", r.service(t, "b").visits(), 25, 0.05)
	within(t, "the mean latency", float64(r.All.Mean.Value), float64(plain.All.Mean.Value), 0.01)
	if got := r.Routes[0]; got.Copied == 0 || got.Dropped != 0 || got.Requests != plain.Routes[0].Requests {
		t.Errorf("%d copied, %d dropped, %d requests of %d", got.Copied, got.Dropped, got.Requests, plain.Routes[0].Requests)
	}
	// One copy at a time, each of 10 ms, of 50 requests a second: the Erlang loss formula.
	one := two(50, &topology.Route{To: "web", Mirror: &topology.Mirror{To: "b", Share: 1, Concurrency: 1}})
	one.Machine.Cores = 64
	r = simulate(t, one, Options{Seed: 2})
	within(t, "copies one at a time", r.service(t, "b").visits(), 50/(1+0.5), 0.04)
}

func TestARedirectAsksNoService(t *testing.T) {
	sys := two(50, &topology.Route{Redirect: &topology.Redirect{Path: "/new", Status: 308}})
	sys.Demands = map[string]map[string]*topology.Demand{"GET /": {Gateway: {Visits: 1, CPU: ms(1)}}}
	r := simulate(t, sys, Options{Seed: 2})
	within(t, "the gateway's rate", r.service(t, Gateway).visits(), 50, 0.05)
	if v := r.service(t, "web").visits(); v != 0 || len(r.Routes[0].Errors) > 0 {
		t.Errorf("%v visits, errors %v", v, r.Routes[0].Errors)
	}
}

func TestAFaultDelaysAndAborts(t *testing.T) {
	r := simulate(t, two(50, &topology.Route{To: "web", Fault: &topology.Fault{Delay: ms(100), Share: 0.5}}), Options{Seed: 2})
	within(t, "the mean latency", float64(r.All.Mean.Value), float64(60*time.Millisecond), 0.05)
	r = simulate(t, two(50, &topology.Route{To: "web", Fault: &topology.Fault{Abort: 503, Share: 0.2}}), Options{Seed: 2})
	within(t, "aborted", r.Routes[0].ErrorShare.Value, 0.2, 0.08)
	within(t, "web's rate", r.service(t, "web").visits(), 40, 0.05)
	// A delay counts against the time-out of the call.
	late := two(50, &topology.Route{To: "web", Fault: &topology.Fault{Delay: ms(100), Share: 1}})
	late.Routes[0].Timeout = ms(90)
	r = simulate(t, late, Options{Seed: 2})
	if n := r.Routes[0].Errors["timeout"]; n != r.Routes[0].Requests {
		t.Errorf("%d of %d requests timed out", n, r.Routes[0].Requests)
	}
}

// TestAHedgeCutsTheTail has one request in twenty take 20 times as long by chance: a copy after the 95th percentile is
// hardly ever as slow.
func TestAHedgeCutsTheTail(t *testing.T) {
	sys := func(hedge *topology.Hedge) *topology.System {
		s := two(50, &topology.Route{To: "web"})
		s.Services["web"].Work = &topology.Work{Delay: ms(10)}
		s.Services["web"].Replicas = topology.Replicas{Min: 4, Max: 4}
		s.Demands = map[string]map[string]*topology.Demand{"GET /": {"web": {Visits: 1, CPU: ms(0.1), Delay: ms(20),
			DelayQuantiles: map[string]topology.Duration{"p50": ms(10), "p94": ms(11), "p96": ms(200), "p99.9": ms(220)}}}}
		s.Routes[0].Hedge = hedge
		return s
	}
	plain := simulate(t, sys(nil), Options{Seed: 4})
	hedged := simulate(t, sys(&topology.Hedge{Quantile: 0.9, MinDelay: ms(1), Budget: 0.2, MaxUtilization: 1}), Options{Seed: 4})
	if p, h := plain.All.P99.Value, hedged.All.P99.Value; h > p/3 || hedged.service(t, "web").Hedges == 0 {
		t.Errorf("p99 %v with hedges, %v without; %d hedges", h, p, hedged.service(t, "web").Hedges)
	}
	web := hedged.service(t, "web")
	if share := float64(web.Hedges) / float64(web.Calls); share > 0.2 || share < 0.05 {
		t.Errorf("%.1f%% of the calls were hedged", 100*share)
	}
	if r := hedged.Routes[0]; len(r.Errors) > 0 || hedged.Started-hedged.Ended-hedged.InProgress != 0 {
		t.Errorf("errors %v, %d started, %d ended, %d in progress", r.Errors, hedged.Started, hedged.Ended, hedged.InProgress)
	}
}

func TestATryTimeoutLetsAnotherReplicaAnswer(t *testing.T) {
	sys := two(50, &topology.Route{To: "web"})
	sys.Services["web"].Replicas = topology.Replicas{Min: 2, Max: 2}
	sys.Services["web"].Work = &topology.Work{CPU: ms(0.1), Delay: ms(10)}
	in := &sys.Routes[0].Inbound
	in.Balance, in.Retry, in.Breaker = topology.Random, &topology.Retry{Attempts: 3, Budget: 1, On: []int{502, 503, 504}}, &topology.Breaker{Off: true}
	slow := []Fault{{Kind: FaultSlow, Service: "web", Replicas: 1, Factor: 100, At: 0, For: time.Hour}}
	without := simulate(t, sys, Options{Seed: 2, Faults: slow})
	in.TryTimeout = ms(100)
	with := simulate(t, sys, Options{Seed: 2, Faults: slow})
	if a, b := without.All.P99.Value, with.All.P99.Value; b > a/3 || b < 100*time.Millisecond {
		t.Errorf("p99 %v with a time-out of tries, %v without", b, a)
	}
	web := with.service(t, "web")
	if bad := with.All.ErrorShare.Value; web.Retries == 0 || bad > 0.15 {
		t.Errorf("%d retries, %.2g of the requests fail", web.Retries, bad)
	}
}

// TestPrioritiesAreShedInOrder offers twice what a service holds, half of it bulk.
func TestPrioritiesAreShedInOrder(t *testing.T) {
	sys := two(200, &topology.Route{To: "web"})
	sys.Services["web"].Concurrency = 20
	sys.Services["web"].Limits.CPU = 1
	for _, name := range []string{"critical", "bulk"} {
		sys.Routes = append(sys.Routes, &topology.Route{Name: name, Method: "GET", Path: "/" + name, To: "web",
			Inbound: topology.Inbound{Priority: &topology.Priority{Class: name}}})
	}
	sys.Workload.Mix = map[string]topology.Percent{"critical": 0.3, "bulk": 0.7}
	for name := range sys.Workload.Mix {
		sys.Workload.Scenarios[name] = &topology.Scenario{Steps: []*topology.Step{{Method: "GET", Path: "/" + name}}}
	}
	r := simulate(t, sys, Options{Seed: 2, Warmup: 10 * time.Second})
	share := map[string]float64{}
	for _, of := range r.Routes {
		share[of.Route] = of.ErrorShare.Value
	}
	if share["critical"] > 0.02 || share["bulk"] < 0.5 || r.service(t, "web").Shed == 0 {
		t.Errorf("refused: %v; %d shed", share, r.service(t, "web").Shed)
	}
}

func TestAdmissionRefusesWhatCannotFinish(t *testing.T) {
	run := func(a *topology.Admission) *Result {
		sys := two(150, &topology.Route{To: "web"})
		sys.Services["web"].Limits.CPU = 1
		sys.Workload.Duration = topology.Duration(time.Minute)
		sys.Routes[0].Timeout, sys.Routes[0].Admission = ms(300), a
		return simulate(t, sys, Options{Seed: 2, Warmup: 10 * time.Second})
	}
	without, with := run(nil), run(&topology.Admission{Margin: 1})
	good := func(r *Result) float64 { return r.All.Throughput.Value * (1 - r.All.ErrorShare.Value) }
	if good(with) < 2*good(without) || with.service(t, "web").Infeasible == 0 {
		t.Errorf("%.1f/s are answered well with admission, %.1f/s without", good(with), good(without))
	}
}

// TestACallHasNoMoreTimeThanTheRequest has a service call another that takes longer than the request may: the retry that
// could not come in time is not made.
func TestACallHasNoMoreTimeThanTheRequest(t *testing.T) {
	sys := two(20, &topology.Route{To: "web"})
	sys.Services["web"].Uses, sys.Services["web"].Work = []string{"b"}, &topology.Work{CPU: ms(0.1)}
	sys.Services["b"].Work = &topology.Work{CPU: ms(0.1), Delay: ms(200)}
	sys.Services["b"].Inbound = topology.Inbound{Timeout: ms(1000)}
	sys.Routes[0].Timeout = ms(150)
	sys.Workload.Duration = topology.Duration(20 * time.Second)
	r := simulate(t, sys, Options{Seed: 2, Orphans: OrphansFinish})
	// b's times are exponential with a mean of 200 ms: e^(-3/4) take longer than 150 ms.
	within(t, "timed out", r.Routes[0].ErrorShare.Value, math.Exp(-0.75), 0.12)
	if b := r.service(t, "b"); b.Timeouts == 0 {
		t.Error("the call behind the request was not ended with it")
	}
}

func TestACanaryIsPromotedOrRolledBack(t *testing.T) {
	run := func(cpu float64) *Result {
		sys := two(400, &topology.Route{To: "web", Canary: &topology.Canary{To: "b", Steps: []topology.Percent{0.1, 0.5},
			Interval: topology.Duration(5 * time.Second), MinRequests: 50, Errors: 0.05, Slower: 2, Confidence: 0.99}})
		sys.Services["b"].Work.CPU = ms(cpu)
		return simulate(t, sys, Options{Seed: 2, Replications: 2, Warmup: -1})
	}
	if r := run(10); r.Routes[0].Canary["promoted"] != 2 {
		t.Errorf("as good: %v", r.Routes[0].Canary)
	}
	bad := run(40)
	if bad.Routes[0].Canary["rolled back"] != 2 {
		t.Errorf("four times as slow: %v", bad.Routes[0].Canary)
	}
	if v := bad.service(t, "b").visits(); v > 20 {
		t.Errorf("%.1f/s went to the slow one", v)
	}
}
