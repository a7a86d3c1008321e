package simulate

import (
	"context"
	"fmt"
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

// twentyServices is a system of 20 services in four tiers, each with three replicas, time-outs, retries and breakers.
func twentyServices(rate float64) *topology.System {
	sys := &topology.System{
		Name: "twenty", Machine: &topology.Machine{Cores: 16}, Services: map[string]*topology.Service{},
		Workload: &topology.Workload{
			Rate: topology.Rate(rate), Duration: topology.Duration(time.Minute), Timeout: topology.Duration(10 * time.Second),
			Mix: map[string]topology.Percent{}, Scenarios: map[string]*topology.Scenario{},
		},
	}
	name := func(tier, i int) string { return string(rune('a'+tier)) + string(rune('0'+i)) }
	for tier := range 4 {
		for i := range 5 {
			svc := &topology.Service{
				Replicas: topology.Replicas{Min: 3, Max: 3},
				Work:     &topology.Work{CPU: ms(1 + 0.2*float64(i)), Delay: ms(2), SCV: ptr([]float64{1, 0.5, 2, 0, 1}[i])},
				Inbound: topology.Inbound{
					Timeout: ms(float64(400 - 90*tier)),
					Retry:   &topology.Retry{Attempts: 3, Budget: 0.2, MinPerSecond: 10, Backoff: ms(5), On: []int{502, 503, 504}},
					Breaker: &topology.Breaker{Failures: 5, Open: ms(1000), MaxOpen: ms(30000), MaxEjected: 0.5},
				},
			}
			if tier < 3 {
				svc.Uses = []string{name(tier+1, i), name(tier+1, (i+1)%5)}
				svc.Work.Calls = map[string]float64{svc.Uses[0]: 1, svc.Uses[1]: 0.5}
			}
			sys.Services[name(tier, i)] = svc
		}
	}
	for i := range 5 {
		path := "/" + name(0, i)
		sys.Routes = append(sys.Routes, &topology.Route{Name: path, Method: "GET", Path: path, To: name(0, i)})
		sys.Workload.Mix[name(0, i)] = 1
		sys.Workload.Scenarios[name(0, i)] = &topology.Scenario{Steps: []*topology.Step{{Method: "GET", Path: path}}}
	}
	return sys
}

// hundredServices is a system of 100 services in five tiers and of 20 routes, under a load of a million requests.
func hundredServices() *topology.System {
	const tiers, width = 5, 20
	sys := &topology.System{
		Name: "hundred", Machine: &topology.Machine{Cores: 64}, Services: map[string]*topology.Service{},
		Workload: &topology.Workload{
			Rate: 4000, Duration: topology.Duration(250 * time.Second), Timeout: topology.Duration(10 * time.Second),
			Mix: map[string]topology.Percent{}, Scenarios: map[string]*topology.Scenario{},
		},
	}
	name := func(tier, i int) string { return fmt.Sprintf("t%d-%02d", tier, i%width) }
	for tier := range tiers {
		for i := range width {
			svc := &topology.Service{
				Replicas: topology.Replicas{Min: 3, Max: 3},
				Work:     &topology.Work{CPU: ms(1), Delay: ms(2)},
				Inbound:  topology.Inbound{Timeout: ms(1000), Retry: &topology.Retry{Attempts: 2, Budget: 0.2, Backoff: ms(5), On: []int{502, 503, 504}}},
			}
			if tier+1 < tiers {
				svc.Uses = []string{name(tier+1, i), name(tier+1, i+7)}
				svc.Work.Calls = map[string]float64{svc.Uses[0]: 1, svc.Uses[1]: 0.5}
			}
			sys.Services[name(tier, i)] = svc
		}
	}
	for i := range width {
		path := "/" + name(0, i)
		sys.Routes = append(sys.Routes, &topology.Route{Name: path, Method: "GET", Path: path, To: name(0, i)})
		sys.Workload.Mix[path] = 1
		sys.Workload.Scenarios[path] = &topology.Scenario{Steps: []*topology.Step{{Method: "GET", Path: path}}}
	}
	return sys
}
