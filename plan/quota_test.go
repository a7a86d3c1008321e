package plan

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/banyanhq/banyan/simulate"
	"github.com/banyanhq/banyan/topology"
)

// TestLossAgainstTheSimulator holds what a CPU limit costs against the simulator, which refills quotas one by one.
func TestLossAgainstTheSimulator(t *testing.T) {
	if raceEnabled {
		t.Skip("minutes under the race detector, and nothing here is concurrent")
	}
	for _, c := range []struct {
		limit, load float64
		cpu         time.Duration
		scv         float64
	}{
		{0.25, 0.5, 2 * time.Millisecond, 0}, {0.25, 0.8, 2 * time.Millisecond, 0}, {0.25, 0.7, 2 * time.Millisecond, 1},
		{0.5, 0.5, 2 * time.Millisecond, 1}, {0.5, 0.7, 2 * time.Millisecond, 0.25}, {0.5, 0.8, 2 * time.Millisecond, 0.25},
		{0.5, 0.9, time.Millisecond, 1}, {0.4, 0.8, 5 * time.Millisecond, 0.25}, {0.4, 0.6, 5 * time.Millisecond, 1},
	} {
		rate := c.load * c.limit / c.cpu.Seconds()
		sys := &topology.System{
			Name:     "one",
			Services: map[string]*topology.Service{"a": {Limits: topology.Limits{CPU: topology.CPU(c.limit)}, Work: &topology.Work{CPU: topology.Duration(c.cpu), SCV: &c.scv}}},
			Routes:   []*topology.Route{{Name: "r", Path: "/", To: "a"}},
		}
		load := simulate.Load{Rates: map[string]float64{"r": rate}}
		m, err := simulate.New(sys, simulate.Options{Seed: 1, Cores: 2, Load: &load, Duration: 200 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		r, err := m.Run(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		p, err := Predict(sys, Load{Rates: load.Rates}, Options{Cores: 2})
		if err != nil {
			t.Fatal(err)
		}
		mean, p99 := r.Routes[0].Mean.Value, r.Routes[0].P99.Value
		off := func(predicted, simulated time.Duration) float64 { return float64(predicted)/float64(simulated) - 1 }
		t.Logf("limit %v, load %.0f%%, %v (scv %v): mean %v simulated, %v predicted (%+.0f%%); p99 %v, %v (%+.0f%%)", c.limit, 100*c.load, c.cpu, c.scv,
			mean, p.Routes[0].Mean, 100*off(p.Routes[0].Mean, mean), p99, p.Routes[0].P99, 100*off(p.Routes[0].P99, p99))
		if math.Abs(off(p.Routes[0].Mean, mean)) > 0.25 {
			t.Errorf("limit %v at %v: the mean is predicted as %v and simulated as %v", c.limit, c.load, p.Routes[0].Mean, mean)
		}
	}
}
