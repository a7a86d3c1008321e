package policy

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func TestScalerFollowsTheFormula(t *testing.T) {
	cpu := topology.Scale{Target: topology.ScaleTarget{CPU: 0.5}}
	for _, c := range []struct {
		name  string
		scale topology.Scale
		u     Usage
		want  int
		why   ScaleReason
	}{
		{"twice the target doubles", cpu, Usage{Replicas: 3, Ready: 3, CPU: 1}, 6, ScaleCPU},
		{"half the target halves", cpu, Usage{Replicas: 4, Ready: 4, CPU: 0.25}, 2, ScaleCPU},
		{"within a tenth nothing happens", cpu, Usage{Replicas: 4, Ready: 4, CPU: 0.545}, 4, ScaleOnTarget},
		{"replicas on their way count as idle", cpu, Usage{Replicas: 4, Ready: 2, CPU: 1}, 4, ScaleOnTarget},
		{"and too few of them are no reason to wait", cpu, Usage{Replicas: 4, Ready: 3, CPU: 1}, 6, ScaleCPU},
		{"rounded up", cpu, Usage{Replicas: 3, Ready: 3, CPU: 0.6}, 4, ScaleCPU},
		{"at most the maximum", cpu, Usage{Replicas: 6, Ready: 6, CPU: 1}, 10, ScaleMax},
		{"at least the minimum", cpu, Usage{Replicas: 4, Ready: 4, CPU: 0.01}, 2, ScaleMin},
		{"the largest wish counts", topology.Scale{Target: topology.ScaleTarget{CPU: 0.5, Requests: 10}}, Usage{Replicas: 3, Ready: 3, CPU: 0.5, Requests: 48}, 5, ScaleRequests},
		{"requests in flight", topology.Scale{Target: topology.ScaleTarget{Concurrency: 2}}, Usage{Replicas: 3, Ready: 3, InFlight: 7.5}, 4, ScaleInFlight},
		{"messages", topology.Scale{Target: topology.ScaleTarget{Queue: 100}}, Usage{Replicas: 3, Ready: 3, Queue: 750}, 7, ScaleStepBound},
		{"no faster than it may", cpu, Usage{Replicas: 2, Ready: 2, CPU: 5}, 6, ScaleStepBound},
		{"nothing is measured", cpu, Usage{Replicas: 3, CPU: math.NaN()}, 3, ScaleOnTarget},
		{"no target", topology.Scale{}, Usage{Replicas: 3, Ready: 3, CPU: 9}, 3, ScaleOnTarget},
	} {
		n, why := NewScaler(c.scale, 2, 10).Decide(0, c.u)
		if n != c.want || why != c.why {
			t.Errorf("%s: %d (%v), want %d (%v)", c.name, n, why, c.want, c.why)
		}
	}
}

func TestScalerWaitsBeforeItTakesAway(t *testing.T) {
	s := NewScaler(topology.Scale{Target: topology.ScaleTarget{CPU: 0.5}, CoolDown: topology.Duration(time.Minute)}, 1, 20)
	if n, _ := s.Decide(0, Usage{Replicas: 4, Ready: 4, CPU: 0.5}); n != 4 {
		t.Fatalf("%d replicas", n)
	}
	for at := 15 * time.Second; at <= time.Minute; at += 15 * time.Second {
		if n, why := s.Decide(at, Usage{Replicas: 4, Ready: 4, CPU: 0.1}); n != 4 || why != ScaleStabilised {
			t.Errorf("%d replicas at %v (%v)", n, at, why)
		}
	}
	if n, _ := s.Decide(75*time.Second, Usage{Replicas: 4, Ready: 4, CPU: 0.1}); n != 1 {
		t.Errorf("%d replicas after the cool-down", n)
	}
}

func TestScalerStaysWithinItsBounds(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	odd := func() float64 {
		return []float64{0, 1, -1, math.NaN(), math.Inf(1), 1e300, rng.Float64(), 100 * rng.Float64()}[rng.IntN(8)]
	}
	for range 2000 {
		least := rng.IntN(4)
		most := least + 1 + rng.IntN(20)
		s := NewScaler(topology.Scale{CoolDown: topology.Duration(rng.IntN(60)) * topology.Duration(time.Second), Target: topology.ScaleTarget{
			CPU: topology.Percent(odd()), Requests: topology.Rate(odd()), Concurrency: odd(), Queue: odd(),
		}}, least, most)
		n := least + rng.IntN(most-least+1)
		for at := time.Duration(0); at < 10*time.Minute; at += 15 * time.Second {
			if n, _ = s.Decide(at, Usage{Replicas: n, Ready: rng.IntN(n + 1), CPU: odd(), Requests: odd(), InFlight: odd(), Queue: odd()}); n < least || n > most {
				t.Fatalf("%d replicas, want %d to %d", n, least, most)
			}
		}
	}
	s := NewScaler(topology.Scale{Target: topology.ScaleTarget{CPU: 0.5}, CoolDown: topology.Duration(time.Hour)}, 1, 20)
	at := time.Duration(0)
	if allocs := testing.AllocsPerRun(2000, func() {
		at += 15 * time.Second
		s.Decide(at, Usage{Replicas: 5, Ready: 5, CPU: 0.2 + float64(at%7)/20})
	}); allocs > 0 {
		t.Errorf("%v allocations for each decision", allocs)
	}
}
