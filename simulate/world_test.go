package simulate

import (
	"math"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func TestTimesByQuantiles(t *testing.T) {
	d, err := newEmpirical(map[string]topology.Duration{"p50": ms(10), "p90": ms(30), "p99": ms(80)}, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := newStream(1, 0, "quantiles")
	var below [3]float64
	var sum float64
	const n = 400_000
	for range n {
		x := d.sample(s)
		sum += x
		for i, q := range []float64{0.010, 0.030, 0.080} {
			if x <= q {
				below[i]++
			}
		}
	}
	for i, p := range []float64{0.5, 0.9, 0.99} {
		if math.Abs(below[i]/n-p) > 0.003 {
			t.Errorf("a share of %.4f lies below the quantile %v", below[i]/n, p)
		}
	}
	within(t, "mean", sum/n, d.mean, 0.01)
	stretched, err := newEmpirical(map[string]topology.Duration{"p50": ms(10), "p90": ms(30), "p99": ms(80)}, 0.1)
	if err != nil {
		t.Fatal(err)
	}
	sum = 0
	for range n {
		sum += stretched.sample(s)
	}
	within(t, "stretched mean", sum/n, 0.1, 0.01)
	for _, wrong := range []map[string]topology.Duration{{"p50": ms(3), "p90": ms(2)}, {"p0": ms(1)}, {"p100": ms(1)}, {"x": ms(1)}, {"p50": -1}} {
		if _, err := newEmpirical(wrong, 1); err == nil {
			t.Errorf("no error for %v", wrong)
		}
	}
}

func TestLinksTakeTheirTime(t *testing.T) {
	sys := chain(1, 8)
	sys.Workload.Users, sys.Workload.Rate = 0, 20
	plain := simulate(t, sys, Options{Seed: 1, Warmup: -1, Duration: 2 * time.Minute})
	sys.Services["store"].Link = &topology.Link{Delay: ms(20), SCV: ptr(0.0)}
	linked := simulate(t, sys, Options{Seed: 1, Warmup: -1, Duration: 2 * time.Minute, Links: map[string]topology.Link{">web": {Delay: ms(7)}}})
	within(t, "what the links add", (linked.All.Mean.Value - plain.All.Mean.Value).Seconds(), 1.5*0.020+0.007, 0.03)
}

func TestReplicasFailAndAreRepaired(t *testing.T) {
	sys := farm(4, 10, topology.Inbound{Retry: &topology.Retry{Attempts: 3, Budget: 1, MinPerSecond: 10, On: []int{502, 503}}})
	r := simulate(t, sys, Options{Seed: 2, Warmup: -1, Duration: 2 * time.Hour, Start: -1, Replications: 3,
		Failures: map[string]Failures{"web": {MTBF: 90 * time.Second, MTTR: 30 * time.Second}}})
	within(t, "replicas that are ready", r.service(t, "web").Replicas.Value, 4*0.75, 0.03)
	// All four are away for 0.25^4 of the time.
	if e := r.All.ErrorShare.Value; e > 0.006 {
		t.Errorf("errors of %v", e)
	}
}

func TestAZoneIsCutOff(t *testing.T) {
	run := func(breaker *topology.Breaker) *Result {
		sys := farm(6, 200, topology.Inbound{Balance: topology.RoundRobin, Breaker: breaker, Timeout: topology.Duration(3 * time.Second)})
		return simulate(t, sys, Options{Seed: 3, Warmup: -1, Zones: 3, Faults: []Fault{{Kind: FaultIsolate, Service: "*", Zone: 2, At: 20 * time.Second, For: 20 * time.Second}}})
	}
	// A third of the requests of a third of the time.
	within(t, "errors", run(nil).All.ErrorShare.Value, 1.0/9, 0.1)
	if e := run(&topology.Breaker{Failures: 3, Open: ms(1000), MaxOpen: ms(30000), MaxEjected: 0.5}).All.ErrorShare.Value; e > 0.03 {
		t.Errorf("with breakers, errors of %v", e)
	}
}

func TestAStalledReplicaHoldsWhatItHas(t *testing.T) {
	sys := farm(1, 20, topology.Inbound{Timeout: topology.Duration(time.Minute)})
	r := simulate(t, sys, Options{Seed: 4, Warmup: -1, Replications: 2, Faults: []Fault{{Kind: FaultStall, Service: "web", At: 20 * time.Second, For: 5 * time.Second}}})
	if r.All.ErrorShare.Value > 0 {
		t.Errorf("errors of %v", r.All.ErrorShare.Value)
	}
	// Those of five seconds of sixty wait for two and a half on average.
	if m := r.All.Mean.Value.Seconds(); m < 0.19 || m > 0.28 {
		t.Errorf("mean latency of %v s", m)
	}
}

func TestPhasesModulateTheRate(t *testing.T) {
	sys := oneService(64, 0.1, 1, 100)
	sys.Workload.Duration = topology.Duration(time.Hour)
	r := simulate(t, sys, Options{Seed: 5, Warmup: -1, Replications: 2, Phases: []Phase{{Factor: 0.5, Mean: 9 * time.Second}, {Factor: 5.5, Mean: time.Second}}})
	within(t, "rate", r.All.Throughput.Value, 100, 0.05)
	var n, sum, squares float64
	for _, p := range r.Timeline {
		n, sum, squares = n+1, sum+p.Throughput, squares+p.Throughput*p.Throughput
	}
	if d := (squares/n - sum/n*sum/n) / (sum / n); d < 20 {
		t.Errorf("the counts of a second have an index of dispersion of %v: a Poisson process has 1", d)
	}
}
