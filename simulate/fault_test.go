package simulate

import (
	"math"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// pair is a service of two replicas, lightly loaded, with what is given for its calls.
func pair(in topology.Inbound) *topology.System {
	sys := oneService(4, 10, 1, 100)
	sys.Services["web"].Replicas = topology.Replicas{Min: 2, Max: 2}
	sys.Services["web"].Inbound = in
	sys.Workload.Duration = topology.Duration(30 * time.Second)
	return sys
}

var retrying = &topology.Retry{Attempts: 3, Budget: 0.2, MinPerSecond: 10, Backoff: ms(5), On: []int{502, 503, 504}}

func one(o Options) Options {
	o.Seed, o.Replications, o.Warmup = 1, 1, -1
	return o
}

func at(r *Result, t *testing.T, name string, when time.Duration) ServicePoint {
	t.Helper()
	for i, s := range r.Services {
		if s.Service == name {
			for _, p := range r.Timeline {
				if p.At == when {
					return p.Services[i]
				}
			}
		}
	}
	t.Fatalf("no point of %s at %v", name, when)
	return ServicePoint{}
}

func TestKilledReplicaComesBack(t *testing.T) {
	kill := Fault{Kind: FaultKill, At: 10 * time.Second, For: 5 * time.Second, Service: "web", Replicas: 1}
	bare := simulate(t, pair(topology.Inbound{}), one(Options{Faults: []Fault{kill}}))
	if n := bare.All.Errors["disconnected"]; n == 0 || n > 20 {
		t.Errorf("%d requests were disconnected, want the few that the replica had", n)
	}
	for when, want := range map[time.Duration]float64{10: 2, 12: 1, 16: 1, 18: 2} {
		if got := at(bare, t, "web", when*time.Second).Ready; math.Abs(got-want) > 1e-9 {
			t.Errorf("%v replicas were ready at %vs, want %v", got, int(when), want)
		}
	}
	tried := simulate(t, pair(topology.Inbound{Retry: retrying}), one(Options{Faults: []Fault{kill}}))
	if len(tried.All.Errors) > 0 || tried.service(t, "web").Retries == 0 {
		t.Errorf("with retries: errors %v, %d retries", tried.All.Errors, tried.service(t, "web").Retries)
	}
	// The restart policy starts it at once, and it takes its time to be ready.
	kill.For = 0
	soon := simulate(t, pair(topology.Inbound{}), one(Options{Faults: []Fault{kill}, Start: 3 * time.Second}))
	for when, want := range map[time.Duration]float64{12: 1, 13: 1, 14: 2} {
		if got := at(soon, t, "web", when*time.Second).Ready; math.Abs(got-want) > 1e-9 {
			t.Errorf("restarted: %v replicas were ready at %vs, want %v", got, int(when), want)
		}
	}
}

func TestNoReplicaLeft(t *testing.T) {
	kill := Fault{Kind: FaultKill, At: 10 * time.Second, For: 4 * time.Second, Service: "web"}
	r := simulate(t, pair(topology.Inbound{}), one(Options{Faults: []Fault{kill}, Start: -1}))
	// Calls wait a second for a replica; those of the last second get one.
	if n := r.All.Errors["unavailable"]; n < 250 || n > 350 {
		t.Errorf("%d requests found no replica, want about 300", n)
	}
	if got := goodput(r, 15*time.Second, 30*time.Second); got < 90 {
		t.Errorf("%.1f good answers a second afterwards", got)
	}
}

func TestSlowReplicaAndPauses(t *testing.T) {
	roomy := pair(topology.Inbound{Balance: topology.RoundRobin})
	roomy.Machine.Cores = 16
	base := simulate(t, roomy, one(Options{}))
	slow := simulate(t, roomy,
		one(Options{Faults: []Fault{{Kind: FaultSlow, Service: "web", Factor: 3}}}))
	within(t, "response at a third of the speed", slow.service(t, "web").Response.Value.Seconds(), 3*base.service(t, "web").Response.Value.Seconds(), 0.03)
	within(t, "CPU at a third of the speed", slow.Machine.CPU.Value, 3*base.Machine.CPU.Value, 0.02)
	mended := simulate(t, roomy,
		one(Options{Faults: []Fault{{Kind: FaultSlow, Service: "web", Factor: 3, For: time.Second}}}))
	within(t, "response once repaired", mended.All.P50.Value.Seconds(), base.All.P50.Value.Seconds(), 0.15)
	stopped := simulate(t, roomy,
		one(Options{Pauses: map[string]Pause{"web": {Every: 500 * time.Millisecond, For: 100 * time.Millisecond}}}))
	// A sixth of the time each replica stands still, for half of a tenth of a second on average.
	within(t, "mean with pauses", stopped.All.Mean.Value.Seconds(), base.All.Mean.Value.Seconds()*1.2+0.1/6/2*1.1, 0.35)
	if stopped.All.P99.Value < 90*time.Millisecond {
		t.Errorf("p99 with pauses of 100ms is %v", stopped.All.P99.Value)
	}
}

func TestBreakerTakesAFailingReplicaOut(t *testing.T) {
	o := one(Options{Faults: []Fault{{Kind: FaultErrors, Service: "web", Factor: 1, Replicas: 1, At: 5 * time.Second}}})
	without := simulate(t, pair(topology.Inbound{Balance: topology.RoundRobin}), o)
	breaker := &topology.Breaker{Failures: 5, Open: ms(1000), MaxOpen: ms(30000), MaxEjected: 0.5}
	with := simulate(t, pair(topology.Inbound{Balance: topology.RoundRobin, Breaker: breaker}), o)
	if n := without.All.Errors["failed"]; n < 1000 {
		t.Errorf("without a breaker only %d requests failed", n)
	}
	if n := with.All.Errors["failed"]; n < 5 || n > 30 {
		t.Errorf("with a breaker %d requests failed, want five and a few probes", n)
	}
	breaker.MaxEjected = 1
	o.Faults[0].Replicas = 0
	all := simulate(t, pair(topology.Inbound{Breaker: breaker}), o)
	if all.All.Errors["broken"] < 1000 || all.service(t, "web").Broken == 0 {
		t.Errorf("with all replicas failing: %v", all.All.Errors)
	}
}

func TestPartition(t *testing.T) {
	sys := storm(0.1, 1)
	sys.Workload.Stages, sys.Workload.Rate = nil, 50
	sys.Routes[0].Retry = nil
	sys.Services["store"].Inbound.Timeout = ms(5000)
	sys.Workload.Duration = topology.Duration(30 * time.Second)
	r := simulate(t, sys, one(Options{Faults: []Fault{{Kind: FaultPartition, From: "web", Service: "store", At: 10 * time.Second, For: 5 * time.Second}}}))
	if n := r.All.Errors["disconnected"]; n < 200 || n > 300 {
		t.Errorf("%d requests were disconnected, want about 250", n)
	}
	if p := r.All.P99.Value; p < time.Second || p > 1200*time.Millisecond {
		t.Errorf("p99 is %v, want the second after which connecting is given up", p)
	}
}

// proportional is the rule of the Kubernetes autoscaler: as many replicas as bring the CPU to its target.
type proportional struct{ target float64 }

func (p proportional) Replicas(_ time.Duration, o Observation) int {
	return int(math.Ceil(float64(o.Ready) * o.CPU / p.target))
}

func TestAutoscalerInTheLoop(t *testing.T) {
	sys := oneService(16, 10, 1, 0)
	sys.Services["web"].Replicas = topology.Replicas{Min: 1, Max: 12}
	sys.Services["web"].Limits.CPU = 0.5
	sys.Workload.Rate = 0
	stage := func(rate topology.Rate, length time.Duration) topology.Stage {
		return topology.Stage{Rate: rate, Duration: topology.Duration(length)}
	}
	sys.Workload.Stages = []topology.Stage{
		stage(20, time.Millisecond), stage(20, time.Minute), stage(200, time.Minute), stage(200, time.Minute), stage(20, time.Second), stage(20, 2*time.Minute),
	}
	fixed := simulate(t, sys, one(Options{}))
	scaled := simulate(t, sys, one(Options{Autoscale: func() Autoscaler { return proportional{0.6} }, AutoscaleEvery: 5 * time.Second, Start: 2 * time.Second}))
	if got := at(scaled, t, "web", 170*time.Second).Ready; got < 6 || got > 9 {
		t.Errorf("%v replicas at 200/s of 10 ms each, want 7 for 60 %% of half a core", got)
	}
	if got := at(scaled, t, "web", 300*time.Second).Ready; got != 1 {
		t.Errorf("%v replicas at the end, want 1", got)
	}
	if scaled.All.ErrorShare.Value > 0.001 || fixed.All.ErrorShare.Value < 0.1 {
		t.Errorf("share of errors %v with the autoscaler, %v without", scaled.All.ErrorShare.Value, fixed.All.ErrorShare.Value)
	}
}

func TestArrivalsFollowTheRate(t *testing.T) {
	for _, arrivals := range []string{"poisson", "constant"} {
		sys := oneService(1, 0.01, 1, 0)
		sys.Workload.Rate, sys.Workload.Arrivals = 0, arrivals
		sys.Workload.Stages = []topology.Stage{{Rate: 1000, Duration: topology.Duration(20 * time.Second)}, {Rate: 0, Duration: topology.Duration(10 * time.Second)}}
		r := simulate(t, sys, one(Options{}))
		within(t, arrivals+": requests of a ramp up and down", float64(r.Started), 15000, 0.03)
		within(t, arrivals+": rate half way up", r.Timeline[9].Throughput, 475, 0.15)

		sys.Workload.Stages, sys.Workload.Trace = nil, &topology.Trace{}
		r = simulate(t, sys, one(Options{Arrivals: &Arrivals{Counts: []float64{100, 0, 900}, Period: time.Second}}))
		within(t, arrivals+": third period of a trace", r.Timeline[2].Throughput, 900, 0.1)
		if got := r.Timeline[1].Throughput; got > 1 {
			t.Errorf("%s: %v requests in the empty period", arrivals, got)
		}
	}
	even := oneService(1, 0.001, 0, 10)
	even.Workload.Arrivals = "constant"
	r := simulate(t, even, one(Options{Trace: 3, Duration: 10 * time.Second}))
	if r.Started != 100 || r.Trace[0].At != 0 || r.Trace[len(r.Trace)-1].At/time.Millisecond != 200 {
		t.Errorf("%d evenly spaced requests; trace %v", r.Started, r.Trace)
	}
}

func TestLoadReplacesTheWorkload(t *testing.T) {
	heavy(t)
	sys := twentyServices(10)
	r := simulate(t, sys, one(Options{Load: &Load{Rates: map[string]float64{"/a1": 30, "/a3": 90}}}))
	if len(r.Routes) != 2 || r.Routes[0].Route != "/a1" {
		t.Fatalf("routes %+v", r.Routes)
	}
	within(t, "rate of /a1", r.Routes[0].Throughput.Value, 30, 0.1)
	within(t, "rate of /a3", r.Routes[1].Throughput.Value, 90, 0.1)
	r = simulate(t, sys, one(Options{Load: &Load{Users: 50, Think: 100 * time.Millisecond, Mix: map[string]float64{"/a1": 1, "/a3": 3}}}))
	within(t, "mix", r.Routes[1].Throughput.Value/r.Routes[0].Throughput.Value, 3, 0.1)
	within(t, "users", r.All.Throughput.Value*(0.1+r.All.Mean.Value.Seconds()), 50, 0.03)
}

func TestRetriesGoToAnotherReplica(t *testing.T) {
	in := topology.Inbound{Balance: topology.RoundRobin, Retry: &topology.Retry{Attempts: 2, Budget: 1, MinPerSecond: 1000, Backoff: ms(1), On: []int{500}}}
	r := simulate(t, pair(in), one(Options{Faults: []Fault{{Kind: FaultErrors, Service: "web", Factor: 1, Replicas: 1}}}))
	if len(r.All.Errors) > 0 || r.service(t, "web").Retries < 1000 {
		t.Errorf("errors %v, %d retries: want none, and every second request tried again elsewhere", r.All.Errors, r.service(t, "web").Retries)
	}
}

func TestTimeoutsOpenTheBreaker(t *testing.T) {
	breaker := &topology.Breaker{Failures: 5, Open: ms(2000), MaxOpen: ms(30000), MaxEjected: 0.5}
	o := one(Options{Faults: []Fault{{Kind: FaultSlow, Service: "web", Factor: 1000, Replicas: 1}}})
	without := simulate(t, pair(topology.Inbound{Balance: topology.RoundRobin, Timeout: ms(200)}), o)
	with := simulate(t, pair(topology.Inbound{Balance: topology.RoundRobin, Timeout: ms(200), Breaker: breaker}), o)
	if without.All.Errors["timeout"] < 1000 || with.All.Errors["timeout"] > 100 {
		t.Errorf("%d time-outs without a breaker, %d with one", without.All.Errors["timeout"], with.All.Errors["timeout"])
	}
	// Each leaves behind work that nobody waits for.
	if o := without.service(t, "web").Orphans; o != without.All.Errors["timeout"] {
		t.Errorf("%d orphans of %d time-outs", o, without.All.Errors["timeout"])
	}
}
