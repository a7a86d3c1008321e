package simulate

import (
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// TestFileAutoscalerHoldsItsTarget lets a load rise to six times what one replica takes.
func TestFileAutoscalerHoldsItsTarget(t *testing.T) {
	sys := oneService(32, 10, 1, 0)
	svc := sys.Services["web"]
	svc.Replicas, svc.Limits.CPU = topology.Replicas{Min: 1, Max: 20}, 1
	svc.Scale = &topology.Scale{Target: topology.ScaleTarget{CPU: 0.6}, CoolDown: topology.Duration(time.Minute)}
	sys.Workload.Rate = 0
	sys.Workload.Stages = []topology.Stage{
		{Rate: 50, Duration: topology.Duration(time.Second)}, {Rate: 600, Duration: topology.Duration(10 * time.Minute)},
		{Rate: 600, Duration: topology.Duration(10 * time.Minute)}, {Rate: 30, Duration: topology.Duration(time.Minute)}, {Rate: 30, Duration: topology.Duration(10 * time.Minute)},
	}
	r := simulate(t, sys, Options{Seed: 1, Warmup: -1, Replications: 2, Autoscale: FileAutoscaler(sys)})
	replicas := func(at time.Duration) float64 {
		for _, p := range r.Timeline {
			if p.At >= at {
				return p.Services[0].Ready
			}
		}
		return 0
	}
	if n := replicas(19 * time.Minute); n < 9 || n > 12 {
		t.Errorf("%v replicas at a load of 6 and a target of 60 %%", n)
	}
	if n := replicas(30 * time.Minute); n > 2 {
		t.Errorf("%v replicas when the load has gone", n)
	}
	if FileAutoscaler(oneService(1, 1, 1, 1)) != nil {
		t.Error("an autoscaler for a service that cannot be scaled")
	}
}
