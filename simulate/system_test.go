package simulate

import (
	"context"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func ms(x float64) topology.Duration {
	return topology.Duration(x * float64(time.Millisecond))
}

func ptr[T any](v T) *T { return &v }

// oneService is a system of one service of the given CPU time on a machine of so many cores, under an open load.
func oneService(cores, cpuMillis, scv, rate float64) *topology.System {
	return &topology.System{
		Name:    "one",
		Machine: &topology.Machine{Cores: topology.CPU(cores)},
		Services: map[string]*topology.Service{
			"web": {Work: &topology.Work{CPU: ms(cpuMillis), SCV: &scv}, Replicas: topology.Replicas{Min: 1, Max: 1}},
		},
		Routes: []*topology.Route{{Name: "GET /", Method: "GET", Path: "/", To: "web"}},
		Workload: &topology.Workload{
			Rate:      topology.Rate(rate),
			Duration:  topology.Duration(10 * time.Minute),
			Timeout:   topology.Duration(time.Hour),
			Mix:       map[string]topology.Percent{"home": 1},
			Scenarios: map[string]*topology.Scenario{"home": {Steps: []*topology.Step{{Method: "GET", Path: "/"}}}},
		},
	}
}

func simulate(t testing.TB, sys *topology.System, o Options) *Result {
	t.Helper()
	m, err := New(sys, o)
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// service returns the result of a service.
func (r *Result) service(t testing.TB, name string) *ServiceResult {
	t.Helper()
	for i := range r.Services {
		if r.Services[i].Service == name {
			return &r.Services[i]
		}
	}
	t.Fatalf("no service %s in the result", name)
	return nil
}

// within fails the test unless got lies as close to want as the share says.
func within(t *testing.T, what string, got, want, share float64) {
	t.Helper()
	if d := got - want; d > share*want || d < -share*want || got != got {
		t.Errorf("%s is %.6g, want %.6g within %.3g %%", what, got, want, 100*share)
	}
}
