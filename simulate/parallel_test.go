package simulate

import (
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// forked is a front that calls two services at the same time, which take 10 and 30 ms on average.
func forked(rate float64) *topology.System {
	sys := oneService(16, 0.001, 1, rate)
	sys.Workload.Duration = topology.Duration(5 * time.Minute)
	sys.Services["web"].Uses = []string{"a", "b"}
	sys.Services["web"].Work.Parallel = []string{"a", "b"}
	for name, delay := range map[string]float64{"a": 10, "b": 30} {
		sys.Services[name] = &topology.Service{Work: &topology.Work{Delay: ms(delay)}, Replicas: topology.Replicas{Min: 1, Max: 1}}
	}
	return sys
}

func TestCallsAtTheSameTimeEndWithTheLast(t *testing.T) {
	heavy(t)
	r := simulate(t, forked(200), Options{Seed: 3, Replications: 3})
	// The mean of the longer of two exponential times is their sum less that of the shorter.
	within(t, "mean in ms", r.All.Mean.Value.Seconds()*1000, 10+30-1/(1.0/10+1.0/30), 0.02)
	within(t, "visits to a", r.service(t, "a").Rate.Value, 200, 0.02)
	if r.Started != r.Ended+r.InProgress {
		t.Errorf("%d started, %d ended, %d in progress", r.Started, r.Ended, r.InProgress)
	}
}

func TestAForkFailsWithOneOfItsCalls(t *testing.T) {
	heavy(t)
	sys := forked(100)
	r := simulate(t, sys, Options{Seed: 3, Faults: []Fault{{Kind: FaultErrors, Service: "a", Factor: 0.2}}, Warmup: -1})
	within(t, "requests that fail", r.All.ErrorShare.Value, 0.2, 0.05)
	// It waits for the other call all the same.
	within(t, "visits to b", r.service(t, "b").Rate.Value, 100, 0.03)
}

// TestAForkIsCutOffWhole: what a request that has timed out waits for ends with it, both calls.
func TestAForkIsCutOffWhole(t *testing.T) {
	heavy(t)
	sys := forked(100)
	sys.Routes[0].Timeout = ms(20)
	r := simulate(t, sys, Options{Seed: 3, Orphans: OrphansStop})
	a, b := r.service(t, "a"), r.service(t, "b")
	if a.Orphans == 0 || b.Orphans == 0 {
		t.Errorf("orphans: %d of a, %d of b", a.Orphans, b.Orphans)
	}
	// No visit outlives the 20 ms: without a bound they would take 30 on average.
	if b.Response.Value > 20*time.Millisecond {
		t.Errorf("visits to b take %v", b.Response.Value)
	}
	if r.Started != r.Ended+r.InProgress {
		t.Errorf("%d started, %d ended, %d in progress", r.Started, r.Ended, r.InProgress)
	}
}
