package ui

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/topology"
)

// PredictRequest asks what the plan says of the system as it runs, and of a version that differs. All fields may be left
// out: then it is the system as it runs, under the load of its file's workload.
type PredictRequest struct {
	// Rate of all requests a second. 0: that of the workload, or, without one, what is measured now.
	Rate float64 `json:"rate,omitempty"`
	// Mix is the weight of each route. Left out: that of the workload, or what is measured now.
	Mix map[string]float64 `json:"mix,omitempty"`
	// Replicas and CPU limit of a replica in cores (0: none), by service: what differs.
	Replicas map[string]int     `json:"replicas,omitempty"`
	CPU      map[string]float64 `json:"cpu,omitempty"`
}

// Prediction is the answer: the system as it runs, and as it would be, under one load.
type Prediction struct {
	// Rate and Mix that it is for; shares of the mix add up to 1.
	Rate float64            `json:"rate"`
	Mix  map[string]float64 `json:"mix"`
	// Changed says that something differs.
	Changed bool    `json:"changed"`
	Before  Variant `json:"before"`
	After   Variant `json:"after"`
	// Rates of the curves' points.
	Rates []float64 `json:"rates"`
	// Present are the replicas and limits of the services as they run, for the sliders.
	Present []ServiceSize `json:"present"`
	// Took is how long the plan reckoned, in milliseconds.
	Took float64 `json:"took_ms"`
}

// ServiceSize is how a service runs.
type ServiceSize struct {
	Service  string  `json:"service"`
	Replicas int     `json:"replicas"`
	Max      int     `json:"max"`
	CPU      float64 `json:"cpu"` // limit of a replica in cores; 0: none
}

// Variant is what the plan says of one version of the system.
type Variant struct {
	// Plan is the whole plan at the rate asked for, with limits, single changes and how far to trust it.
	Plan *plan.Plan `json:"plan"`
	Cost *plan.Cost `json:"cost,omitempty"`
	// Mean and P99 (of the slowest route) in milliseconds, at each of the rates; null where it holds no more.
	Mean Values `json:"mean_ms"`
	P99  Values `json:"p99_ms"`
}

// Bounds of what is reckoned for one question.
const (
	curvePoints   = 24
	maxRate       = 1e7
	maxReplicas   = 10000
	maxCPU        = 4096
	predictWait   = 10 * time.Second // for others' questions
	endlessDemand = 1e8              // a limit of the plan that is no limit
)

func (r *PredictRequest) validate(sys *topology.System) error {
	if !(r.Rate >= 0 && r.Rate <= maxRate) {
		return wrongf("rate %v: want 0 to %g a second", r.Rate, maxRate)
	}
	total := 0.0
	for route, w := range r.Mix {
		if sys.RouteByName(route) == nil {
			return wrongf("mix: there is no route %.128q", route)
		}
		if !(w >= 0 && w <= 1e9) {
			return wrongf("mix: %s has the weight %v: want 0 to 1e9", route, w)
		}
		total += w
	}
	if len(r.Mix) > 0 && total <= 0 {
		return wrongf("the mix adds up to nothing")
	}
	for name, n := range r.Replicas {
		if sys.Services[name] == nil {
			return wrongf("replicas: there is no service %.128q", name)
		}
		if n < 1 || n > maxReplicas {
			return wrongf("replicas: %d of %s: want 1 to %d", n, name, maxReplicas)
		}
	}
	for name, c := range r.CPU {
		if sys.Services[name] == nil {
			return wrongf("cpu: there is no service %.128q", name)
		}
		if !(c >= 0 && c <= maxCPU) {
			return wrongf("cpu: %v of %s: want 0 to %d cores", c, name, maxCPU)
		}
	}
	return nil
}

// predict answers a question, one at a time.
func (s *Server) predict(ctx context.Context, req PredictRequest) (*Prediction, error) {
	sys, err := s.cfg.System.Planned()
	if err != nil {
		return nil, err
	}
	if err := req.validate(sys); err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, predictWait)
	defer cancel()
	select {
	case s.predicting <- struct{}{}:
		defer func() { <-s.predicting }()
	case <-wait.Done():
		return nil, errBusy
	}
	begin := time.Now()
	before := asItRuns(sys, s.cfg.System.Replicas())
	load, err := s.loadFor(before, req)
	if err != nil {
		return nil, err
	}
	after := changed(before, req)
	out := &Prediction{Rate: load.Total(), Mix: map[string]float64{}, Changed: after != before, Present: sizes(before)}
	for route, rate := range load.Rates {
		out.Mix[route] = rate / out.Rate
	}
	w, err := plan.MakeWhatIf(before, after, load, load, plan.Options{Cores: coresHere()})
	if err != nil {
		return nil, refusedf("%w", err)
	}
	out.Before, out.After = Variant{Plan: w.Before, Cost: w.CostBefore}, Variant{Plan: w.After, Cost: w.CostAfter}
	out.Rates = curveRates(out.Rate, w.Before.Saturation.Throughput, w.After.Saturation.Throughput)
	if out.Before.Mean, out.Before.P99, err = curve(before, load, out.Rates); err != nil {
		return nil, err
	}
	out.After.Mean, out.After.P99 = out.Before.Mean, out.Before.P99
	if out.Changed {
		if out.After.Mean, out.After.P99, err = curve(after, load, out.Rates); err != nil {
			return nil, err
		}
	}
	out.Took = ms(time.Since(begin))
	return out, nil
}

// loadFor is the open load that a question is about.
func (s *Server) loadFor(sys *topology.System, req PredictRequest) (plan.Load, error) {
	mix, rate := req.Mix, req.Rate
	if len(mix) == 0 || rate == 0 {
		known, err := s.usualLoad(sys)
		if err != nil {
			return plan.Load{}, err
		}
		if len(mix) == 0 {
			mix = known.Rates
		}
		if rate == 0 {
			rate = known.Total()
		}
	}
	total := 0.0
	for _, w := range mix {
		total += w
	}
	load := plan.Load{Rates: map[string]float64{}}
	for route, w := range mix {
		if w > 0 {
			load.Rates[route] = rate * w / total
		}
	}
	return load, nil
}

// usualLoad is what the file's workload offers, as an open load; without one, what is measured now.
func (s *Server) usualLoad(sys *topology.System) (plan.Load, error) {
	load, err := plan.LoadOf(sys, 0)
	if err == nil && load.Users > 0 { // at the throughput that these users reach
		p, err := plan.Predict(sys, load, plan.Options{Cores: coresHere()})
		if err != nil {
			return plan.Load{}, refusedf("%w", err)
		}
		open := plan.Load{Rates: map[string]float64{}}
		for route, share := range load.Mix {
			open.Rates[route] = share * p.Throughput
		}
		return open, nil
	}
	if err == nil {
		return load, nil
	}
	if !errors.Is(err, plan.ErrNoWorkload) {
		return plan.Load{}, refusedf("%w", err)
	}
	st, err := s.cfg.System.Present(time.Minute)
	if err != nil {
		return plan.Load{}, err
	}
	open := plan.Load{Rates: map[string]float64{}}
	for _, r := range st.Routes {
		if r.Rate > 0 {
			open.Rates[r.Route] = r.Rate
		}
	}
	if len(open.Rates) == 0 {
		return open, refusedf("the file has no workload with a rate, and nothing is asked of the system: say a rate and a mix")
	}
	return open, nil
}

// changed is the system as the question would have it; the very same if nothing differs.
func changed(sys *topology.System, req PredictRequest) *topology.System {
	after := *sys
	after.Services = maps.Clone(sys.Services)
	differs := false
	for name, svc := range sys.Services {
		v := *svc
		if n, ok := req.Replicas[name]; ok {
			v.Replicas.Min, v.Replicas.Max = n, max(v.Replicas.Max, n)
		}
		if c, ok := req.CPU[name]; ok {
			v.Limits.CPU = topology.CPU(c)
		}
		if v.Replicas.Min != svc.Replicas.Min || v.Limits.CPU != svc.Limits.CPU {
			after.Services[name], differs = &v, true
		}
	}
	if !differs {
		return sys
	}
	return &after
}

func sizes(sys *topology.System) []ServiceSize {
	all := []ServiceSize{}
	for _, name := range sys.SortedServices() {
		if svc := sys.Services[name]; !svc.External() {
			all = append(all, ServiceSize{Service: name, Replicas: svc.Replicas.Min, Max: svc.Replicas.Max, CPU: float64(svc.Limits.CPU)})
		}
	}
	return all
}

// curveRates spread from little to a little more than what is held, closer together where the curve is steep.
func curveRates(rate float64, limits ...float64) []float64 {
	most := 1.2 * rate
	for _, l := range limits {
		if l < endlessDemand {
			most = max(most, 1.02*l)
		}
	}
	rates := make([]float64, 0, curvePoints+len(limits)+1)
	for i := range curvePoints {
		rates = append(rates, most*(float64(i)+0.5)/curvePoints)
	}
	for _, l := range limits {
		if l < endlessDemand {
			for _, near := range []float64{0.86, 0.89, 0.92, 0.94, 0.96, 0.975, 0.985, 0.993} {
				rates = append(rates, near*l)
			}
		}
	}
	slices.Sort(rates)
	return slices.Compact(rates)
}

// curve is the latency over the rate.
func curve(sys *topology.System, load plan.Load, rates []float64) (mean, p99 Values, err error) {
	points, err := plan.LatencyCurve(sys, load, rates, plan.Options{Cores: coresHere()})
	if err != nil {
		return nil, nil, err
	}
	for _, p := range points {
		if p.Saturated {
			mean, p99 = append(mean, math.NaN()), append(p99, math.NaN())
			continue
		}
		mean, p99 = append(mean, ms(p.Mean)), append(p99, ms(p.P99))
	}
	return mean, p99, nil
}
