package ui

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/orchestrate"
	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/topology"
)

// Expectation says whether the plan can say what is to be expected, and how far that is to be trusted.
type Expectation struct {
	Known bool `json:"known"`
	// Why nothing is expected, where that is so.
	Why string `json:"why,omitempty"`
	// Saturated: the load is more than the system holds, by the plan.
	Saturated bool `json:"saturated,omitempty"`
	// Bottleneck is what is used most at this load.
	Bottleneck string `json:"bottleneck,omitempty"`
	// LatencyBand and UseBand are the relative widths to either side within which measured figures are as expected.
	LatencyBand float64 `json:"latency_band,omitempty"`
	UseBand     float64 `json:"use_band,omitempty"`
}

// ExpectedUse is what the plan expects of a service.
type ExpectedUse struct {
	Rate        float64 `json:"rate"`
	Cores       float64 `json:"cores"`
	Utilisation float64 `json:"utilisation"`
}

// ExpectedLatency is what the plan expects clients of a route to see.
type ExpectedLatency struct {
	Mean float64 `json:"mean_ms"`
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
}

type expectation struct {
	Expectation
	services map[string]*ExpectedUse
	routes   map[string]*ExpectedLatency
}

// bands are the relative errors that predictions of each grade stay within, for half of all figures at least:
// docs/twin-accuracy.md has a median of 10 % for means and 22 % for p99.
var bands = map[plan.Trust]float64{plan.Good: 0.1, plan.Fair: 0.25, plan.Poor: 0.5}

func bandOf(claims []plan.Claim, what string) float64 {
	i := slices.IndexFunc(claims, func(c plan.Claim) bool { return c.What == what })
	if i < 0 {
		return bands[plan.Poor]
	}
	return cmp.Or(bands[claims[i].Trust], bands[plan.Poor])
}

// expect asks the plan what the system as it runs should do at these rates of its routes.
func expect(sys *topology.System, rates map[string]float64) expectation {
	unknown := func(why string) expectation { return expectation{Expectation: Expectation{Why: why}} }
	load := plan.Load{Rates: map[string]float64{}}
	for route, rate := range rates {
		if rate > 0 && sys.RouteByName(route) != nil {
			load.Rates[route] = rate
		}
	}
	if load.Total() <= 0 {
		return unknown("nothing is asked of the system")
	}
	p, err := plan.Predict(sys, load, plan.Options{Cores: coresHere()})
	if errors.Is(err, plan.ErrNoDemands) {
		return unknown("nothing says what a request costs: 'banyan load' and then 'banyan calibrate' find out")
	}
	if err != nil {
		return unknown(err.Error())
	}
	e := expectation{
		Expectation: Expectation{Known: true, Saturated: p.Saturated, Bottleneck: p.Bottleneck,
			LatencyBand: bandOf(p.Claims, "percentiles"), UseBand: bandOf(p.Claims, "throughput, use of CPU")},
		services: map[string]*ExpectedUse{}, routes: map[string]*ExpectedLatency{},
	}
	for _, s := range p.Services {
		e.services[s.Service] = &ExpectedUse{Rate: s.Rate, Cores: s.CPU, Utilisation: s.Utilisation}
	}
	if g := e.services[plan.Gateway]; g != nil { // in whose process the tables run
		for _, t := range p.Tables {
			g.Cores += t.CPU
		}
	}
	if p.Saturated {
		return e // it gives no latencies
	}
	for _, r := range p.Routes {
		e.routes[r.Route] = &ExpectedLatency{Mean: ms(r.Mean), P50: ms(r.P50), P99: ms(r.P99)}
	}
	return e
}

// asItRuns is a system with the replicas and limits that its services have now.
func asItRuns(sys *topology.System, now []orchestrate.ServiceStatus) *topology.System {
	actual := *sys
	actual.Services = make(map[string]*topology.Service, len(sys.Services))
	for name, svc := range sys.Services {
		actual.Services[name] = svc
	}
	for _, s := range now {
		if svc := sys.Services[s.Service]; svc != nil && s.Desired > 0 {
			v := *svc
			v.Limits.CPU, v.Limits.Memory = s.CPU, s.Memory
			v.Replicas.Min, v.Replicas.Max = s.Desired, max(v.Replicas.Max, s.Desired)
			actual.Services[s.Service] = &v
		}
	}
	return &actual
}

// expectEvery is how often the plan is asked about the present at most.
const expectEvery = 2 * time.Second

// expected is what the plan said last of the present.
type expected struct {
	at   time.Time
	last expectation
}

// expectNow asks the plan about the present; the feed's lock is held.
func (s *Server) expectNow(st observe.Status, replicas []orchestrate.ServiceStatus) expectation {
	if st.At.Sub(s.expected.at) < expectEvery && st.At.After(s.expected.at) {
		return s.expected.last
	}
	rates := map[string]float64{}
	for _, r := range st.Routes {
		rates[r.Route] = r.Rate
	}
	sys, err := s.cfg.System.Planned()
	if err != nil {
		s.expected.last = expectation{Expectation: Expectation{Why: err.Error()}}
	} else {
		s.expected.last = expect(asItRuns(sys, replicas), rates)
	}
	s.expected.at = st.At
	return s.expected.last
}
