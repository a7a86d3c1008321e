package plan

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/simulate"
	"github.com/banyanhq/banyan/topology"
)

// cachedShop is a system whose only route is cached, and asked for by paths.
func cachedShop(memory topology.Bytes, h *topology.HTTPCache, paths ...string) *topology.System {
	sc := &topology.Scenario{}
	for _, p := range paths {
		method, path, _ := strings.Cut(p, " ")
		sc.Steps = append(sc.Steps, &topology.Step{Method: method, Path: path})
	}
	return &topology.System{
		Name: "shop", Machine: &topology.Machine{Cores: 4}, HTTPCache: &topology.HTTPCacheStore{Memory: memory},
		Services: map[string]*topology.Service{"web": {
			Work: &topology.Work{CPU: topology.Duration(2 * time.Millisecond), Delay: topology.Duration(10 * time.Millisecond)}, Uses: topology.Strings{"store"}},
			"store": {Work: &topology.Work{CPU: topology.Duration(time.Millisecond)}}},
		Routes:   []*topology.Route{{Name: "/", Path: "/", To: "web", HTTPCache: h}},
		Workload: &topology.Workload{Rate: 200, Duration: topology.Duration(240 * time.Second), Mix: map[string]topology.Percent{"a": 1}, Scenarios: map[string]*topology.Scenario{"a": sc}},
	}
}

// What is predicted is what comes out of the simulation, which draws each key and keeps an LRU list: hits, calls of the
// services behind, and latencies.
func TestPredictedHitsAreTheSimulated(t *testing.T) {
	minute := topology.Duration(time.Minute)
	for name, c := range map[string]struct {
		sys *topology.System
		ttl bool
	}{
		"memory":      {sys: cachedShop(2<<20, &topology.HTTPCache{Objects: &topology.HTTPObjects{Count: 1, Size: 3 << 10}}, "GET /p/${zipf:1:20000}")},
		"ttl":         {sys: cachedShop(64<<20, &topology.HTTPCache{TTL: minute}, "GET /p/${random:1:5000}")},
		"both":        {sys: cachedShop(2<<20, &topology.HTTPCache{TTL: minute / 2}, "GET /p/${zipf:1:20000}")},
		"declared":    {sys: cachedShop(8<<20, &topology.HTTPCache{Objects: &topology.HTTPObjects{Count: 3000, Zipf: 0.8, Size: 5 << 10}}, "GET /p/1")},
		"combined":    {sys: cachedShop(4<<20, &topology.HTTPCache{}, "GET /p/${zipf:1:300}/${pick:a,b,c}")},
		"writes":      {sys: cachedShop(4<<20, &topology.HTTPCache{}, "GET /p/${zipf:1:300}", "POST /p/1")},
		"never twice": {sys: cachedShop(4<<20, &topology.HTTPCache{}, "GET /p/${uuid}", "GET /p/1")},
	} {
		t.Run(name, func(t *testing.T) {
			load, err := LoadOf(c.sys, 0)
			if err != nil {
				t.Fatal(err)
			}
			p, err := Predict(c.sys, load, Options{})
			if err != nil {
				t.Fatal(err)
			}
			m, err := simulate.New(c.sys, simulate.Options{Seed: 7, Replications: 1})
			if err != nil {
				t.Fatal(err)
			}
			r, err := m.Run(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			hit, got := *p.Routes[0].HitRatio, r.Routes[0].HitRatio()
			t.Logf("hits: predicted %.4f, simulated %.4f; mean %v, %v; p99 %v, %v", hit, got, p.Routes[0].Mean, r.Routes[0].Mean.Value, p.Routes[0].P99, r.Routes[0].P99.Value)
			if math.Abs(hit-got) > 0.02 || hit <= 0 || hit >= 1 && name != "combined" {
				t.Errorf("hits: predicted %.4f, simulated %.4f", hit, got)
			}
			for _, s := range r.Services {
				for _, q := range p.Services {
					if s.Service == q.Service && math.Abs(s.Rate.Value-q.Rate) > 0.05*q.Rate+1 {
						t.Errorf("%s: predicted %.2f visits a second, simulated %.2f", q.Service, q.Rate, s.Rate.Value)
					}
				}
			}
			if want, got := p.Routes[0].Mean.Seconds(), r.Routes[0].Mean.Value.Seconds(); math.Abs(want-got) > 0.1*got+1e-5 {
				t.Errorf("mean: predicted %v, simulated %v", p.Routes[0].Mean, r.Routes[0].Mean.Value)
			}
		})
	}
}

// A closed load's throughput and its hits depend on each other.
func TestHitsOfAClosedLoad(t *testing.T) {
	sys := cachedShop(64<<20, &topology.HTTPCache{TTL: topology.Duration(20 * time.Second)}, "GET /p/${random:1:2000}")
	sys.Workload.Rate, sys.Workload.Users, sys.Workload.Think = 0, 50, topology.Duration(200*time.Millisecond)
	load, err := LoadOf(sys, 0)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Predict(sys, load, Options{})
	if err != nil {
		t.Fatal(err)
	}
	perObject := p.Throughput / 2000
	want := perObject * 20 / (1 + perObject*20)
	if got := *p.Routes[0].HitRatio; math.Abs(got-want) > 1e-3 {
		t.Errorf("hits %v at %v/s, want %v", got, p.Throughput, want)
	}
}

// Where nothing tells what is asked for, the prediction says so; measured demands in which hits are contained already
// are not taken off twice.
func TestHitsThatAreNotKnown(t *testing.T) {
	sys := cachedShop(1<<20, &topology.HTTPCache{}, "GET /p/${rows.id}")
	sys.Workload.Feeders = map[string]*topology.Feeder{"rows": {File: "rows.csv"}}
	load, err := LoadOf(sys, 0)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Predict(sys, load, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Routes[0].HitRatio != nil || !strings.Contains(strings.Join(p.Notes, "\n"), "every request reached web") {
		t.Errorf("%+v, %q", p.Routes[0], p.Notes)
	}
	sys.Routes[0].HTTPCache.Objects = &topology.HTTPObjects{Count: 1000, Size: 8 << 10}
	sys.Demands = map[string]map[string]*topology.Demand{"/": {"web": {Visits: 0.25, CPU: topology.Duration(time.Millisecond)}, "store": {Visits: 0.5, CPU: topology.Duration(time.Millisecond)}}}
	if p, err = Predict(sys, load, Options{}); err != nil {
		t.Fatal(err)
	}
	miss := 1 - *p.Routes[0].HitRatio
	for _, s := range p.Services {
		want := map[string]float64{"web": 200 * miss, "store": 400 * miss}[s.Service]
		if math.Abs(s.Rate-want) > 1e-6 {
			t.Errorf("%s: %v visits a second, want %v", s.Service, s.Rate, want)
		}
	}
}
