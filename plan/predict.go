package plan

import (
	"fmt"
	"math"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Options of a prediction. The zero value takes all from the file.
type Options struct {
	// Cores of the machine, where the file does not say.
	Cores float64
	// Replicas overrides the number of replicas, by service.
	Replicas map[string]int
	// CPU overrides the CPU limit of one replica in cores (0: none), by service.
	CPU map[string]float64
}

// Prediction is what a system is expected to do under a load.
type Prediction struct {
	Load Load `json:"load"`
	// Method of the solution, as package queueing names it.
	Method string `json:"method"`
	// Saturated means that the load is more than the system holds. Then throughput is what it holds and latencies
	// are not given: they grow for as long as the load lasts.
	Saturated bool `json:"saturated"`
	// Bottleneck is the service with the highest utilisation of its limit, or the machine.
	Bottleneck string `json:"bottleneck"`
	// Throughput of all routes in requests a second.
	Throughput float64             `json:"throughput"`
	Routes     []RoutePrediction   `json:"routes"`
	Services   []ServicePrediction `json:"services"`
	Machine    MachinePrediction   `json:"machine"`
	// Caches of the file whose keys are known.
	Caches []CachePrediction `json:"caches,omitempty"`
	// Notes on what the prediction leaves out.
	Notes []string `json:"notes,omitempty"`
}

// RoutePrediction is what clients of a route are expected to see.
type RoutePrediction struct {
	Route string  `json:"route"`
	Rate  float64 `json:"rate"`
	// Mean and percentiles of the latency; 0 where the system is saturated.
	Mean   time.Duration `json:"mean_ns"`
	StdDev time.Duration `json:"stddev_ns"`
	P50    time.Duration `json:"p50_ns"`
	P95    time.Duration `json:"p95_ns"`
	P99    time.Duration `json:"p99_ns"`
	// HitRatio of its http_cache: the share of all its requests that no service is asked for. Nil where it has none, or
	// where nothing tells which answers are asked for.
	HitRatio *float64 `json:"hit_ratio,omitempty"`
}

// ServicePrediction is what a service is expected to use.
type ServicePrediction struct {
	Service  string `json:"service"`
	Replicas int    `json:"replicas"`
	// Rate of visits a second, all replicas together.
	Rate float64 `json:"rate"`
	// CPU in cores, all replicas together.
	CPU float64 `json:"cpu"`
	// Limit of one replica in cores, 0 for none.
	Limit float64 `json:"limit"`
	// Utilisation of the limit, or of the machine where there is none: 0 to 1.
	Utilisation float64 `json:"utilisation"`
}

// MachinePrediction is what the machine is expected to carry.
type MachinePrediction struct {
	Cores       float64 `json:"cores"`
	CPU         float64 `json:"cpu"`
	Utilisation float64 `json:"utilisation"`
}

// Predict solves the model of a system under a load.
func Predict(sys *topology.System, load Load, o Options) (*Prediction, error) {
	m, err := newModel(sys, load, o)
	if err != nil {
		return nil, err
	}
	p, err := m.predict(load)
	if err == nil && sys.Calibration != nil {
		p.Notes = append(p.Notes, beyondSweep(sys.Calibration.USL, p.Throughput)...)
	}
	return p, err
}

func (m *model) predict(load Load) (*Prediction, error) {
	p := &Prediction{Load: load, Notes: m.notes}
	var sol *solution
	var err error
	if load.Users > 0 {
		sol, err = m.solveClosed(load)
	} else {
		sol, err = m.solveOpen(load.Rates)
	}
	if err != nil {
		return nil, err
	}
	p.Method, p.Saturated = sol.method, sol.saturated
	_, p.Bottleneck = m.busiest(sol.rates)
	for i, route := range m.routes {
		r := RoutePrediction{Route: route, Rate: sol.rates[route]}
		cache := m.cacheOf(route)
		if cache != nil {
			r.HitRatio = &cache.hit
		}
		p.Throughput += r.Rate
		if !sol.saturated {
			r.Mean, r.StdDev = seconds(sol.mean[i]), seconds(math.Sqrt(cache.variance(sol.mean[i], sol.variance[i])))
			for _, q := range []struct {
				p  float64
				to *time.Duration
			}{{0.5, &r.P50}, {0.95, &r.P95}, {0.99, &r.P99}} {
				v, err := cache.quantile(sol.mean[i], sol.variance[i], q.p)
				if err != nil {
					return nil, fmt.Errorf("route %s: %w", route, err)
				}
				*q.to = seconds(v)
			}
		}
		p.Routes = append(p.Routes, r)
	}
	m.describeUse(p, sol.rates)
	return p, m.describeCaches(p, sol.rates)
}

func (m *model) describeUse(p *Prediction, rates map[string]float64) {
	p.Machine.Cores = m.cores
	idle := m.idleShare(rates)
	for _, s := range m.services {
		sp := ServicePrediction{Service: s.name, Replicas: s.replicas, Limit: s.limit, CPU: m.useAwake(s.name, rates, m.asleep(s, rates, idle))}
		for route, rate := range rates {
			sp.Rate += rate * m.demands[route][s.name].visits
		}
		if s.limit > 0 {
			sp.Utilisation = sp.CPU / (s.limit * float64(s.replicas))
		} else {
			sp.Utilisation = sp.CPU / m.cores
		}
		p.Machine.CPU += sp.CPU
		p.Services = append(p.Services, sp)
	}
	p.Machine.Utilisation = p.Machine.CPU / m.cores
}

func seconds(s float64) time.Duration {
	if s > math.MaxInt64/1e9 {
		return math.MaxInt64
	}
	return time.Duration(s * 1e9)
}
