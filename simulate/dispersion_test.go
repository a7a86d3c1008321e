package simulate

import (
	"testing"
	"time"

	"github.com/banyanhq/banyan/queueing"
	"github.com/banyanhq/banyan/topology"
)

// TestDispersionMakesWorkWait holds the simulator against the planner's law: waiting grows with half the dispersion.
func TestDispersionMakesWorkWait(t *testing.T) {
	heavy(t)
	for _, c := range []struct{ dispersion, load float64 }{{2, 0.7}, {4, 0.3}, {4, 0.7}, {6, 0.5}, {6, 0.8}} {
		sys := chain(1, 2)
		sys.Workload.Users = 0
		sys.Services["web"].Work.Delay, sys.Services["store"].Work.Delay = 0, 0
		rate := c.load * 2 / 0.010
		sys.Workload.Rate = topology.Rate(rate)
		machine, err := queueing.MMc(rate*2.5, 250, 2)
		if err != nil {
			t.Fatal(err)
		}
		r := simulate(t, sys, Options{Seed: 1, Warmup: 20 * time.Second, Duration: 10 * time.Minute, Dispersion: c.dispersion, Replications: 4})
		within(t, "mean latency", r.All.Mean.Value.Seconds(), 2.5*(0.004+machine.Wq*c.dispersion/2), 0.12)
		within(t, "throughput", r.All.Throughput.Value, rate, 0.02)
	}
}

// TestDispersionLeavesUsersTheirPace: users who come in clusters think as long as others.
func TestDispersionLeavesUsersTheirPace(t *testing.T) {
	heavy(t)
	for _, users := range []int{5, 20} {
		alone := simulate(t, chain(users, 2), Options{Seed: 1, Warmup: 10 * time.Second, Duration: 5 * time.Minute, Dispersion: 2})
		sys := chain(users, 2)
		sys.Calibration = &topology.Calibration{Dispersion: 6}
		clustered := simulate(t, sys, Options{Seed: 1, Warmup: 10 * time.Second, Duration: 5 * time.Minute})
		within(t, "throughput", clustered.All.Throughput.Value*(0.1+clustered.All.Mean.Value.Seconds()), float64(users), 0.02)
		if users > 10 && clustered.All.Mean.Value < alone.All.Mean.Value*105/100 {
			t.Errorf("mean latency of %v, in clusters %v", alone.All.Mean.Value, clustered.All.Mean.Value)
		}
	}
}
