package plan

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// large is a system of so many services in layers and so many routes, each route through about a dozen services, with
// CPU limits, time-outs, retries, an SLO for each route, growth and prices; at about half of what it holds.
func large(services, routes int) (*topology.System, Load) {
	rng := rand.New(rand.NewPCG(7, uint64(services)))
	sys := &topology.System{Name: "large", Machine: &topology.Machine{Cores: 64}, Services: map[string]*topology.Service{},
		Demands: map[string]map[string]*topology.Demand{}, SLOs: map[string]*topology.SLO{},
		Growth: &topology.Growth{Requests: topology.GrowthRate{Share: 0.05, Period: "month"}},
		Prices: &topology.Prices{CPUHour: 0.04, MemoryGiBHour: 0.005, Currency: "USD"}}
	name := func(i int) string { return fmt.Sprintf("s%03d", i) }
	retry := &topology.Retry{Attempts: 3, Budget: 0.2, MinPerSecond: 10}
	for i := range services {
		var uses []string
		for k := i + 1; k < min(i+9, services); k++ {
			uses = append(uses, name(k))
		}
		sys.Services[name(i)] = &topology.Service{Replicas: topology.Replicas{Min: 2, Max: 8}, Limits: topology.Limits{CPU: 1, Memory: 256 << 20},
			Uses: uses, Inbound: topology.Inbound{Timeout: ms(200), Retry: retry}}
	}
	load := Load{Rates: map[string]float64{}}
	for r := range routes {
		route := fmt.Sprintf("r%02d", r)
		sys.Routes = append(sys.Routes, &topology.Route{Name: route, Path: "/" + route, To: name(r % services),
			Inbound: topology.Inbound{Timeout: ms(1000), Retry: retry}})
		sys.Demands[route] = map[string]*topology.Demand{}
		sys.Demands[route][name(r%services)] = &topology.Demand{Visits: 1, CPU: ms(0.5)}
		for range 11 {
			sys.Demands[route][name(rng.IntN(services))] = &topology.Demand{Visits: float64(1 + rng.IntN(3)), CPU: topology.Duration(time.Duration(100+rng.IntN(900)) * time.Microsecond),
				Delay: topology.Duration(time.Millisecond), Wake: topology.Duration(100 * time.Microsecond)}
		}
		sys.SLOs["slo-"+route] = &topology.SLO{Route: route, Latency: map[string]topology.Duration{"p99": ms(300)}}
		load.Rates[route] = 100
	}
	return sys, load
}

func BenchmarkMake(b *testing.B) {
	sys, load := large(100, 20)
	for b.Loop() {
		if _, err := Make(sys, load, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPredict(b *testing.B) {
	sys, load := large(100, 20)
	for b.Loop() {
		if _, err := Predict(sys, load, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
