package plan

import (
	"fmt"
	"math"
	"sort"
	"strings"
	"time"

	"github.com/banyanhq/banyan/simulate"
)

// Comparison holds a prediction, and a simulation where there is one, against a measurement.
type Comparison struct {
	System   string                     `json:"system"`
	Source   string                     `json:"source"`
	Method   string                     `json:"method"`
	Routes   map[string]RouteComparison `json:"routes"`
	Services map[string]Pair            `json:"services"` // CPU in cores, all replicas together
	Machine  Pair                       `json:"machine"`  // CPU in cores
	Total    Pair                       `json:"throughput"`
	// Hits are the hit ratios of routes with an http_cache.
	Hits map[string]Pair `json:"hits,omitempty"`
	// CacheHits are the hit ratios of caches of the file.
	CacheHits map[string]Pair `json:"cache_hits,omitempty"`
	// Refused is the share of the requests that the adaptive bound refuses; nil where it is predicted to refuse none. What is measured
	// and simulated are all that failed.
	Refused *Pair `json:"refused,omitempty"`
	// Tables as in 'uses'.
	Tables map[string]TableComparison `json:"tables,omitempty"`
	// Validity says in plain sentences where the model is outside of what it knows.
	Validity []string `json:"validity"`
}

// RouteComparison is predicted against measured for one route; latencies in seconds.
type RouteComparison struct {
	Throughput Pair `json:"throughput"`
	Mean       Pair `json:"mean"`
	P99        Pair `json:"p99"`
}

// Pair is a predicted and a measured figure, and the simulated one between them.
type Pair struct {
	Predicted float64 `json:"predicted"`
	Measured  float64 `json:"measured"`
	// Error is the predicted figure's deviation from the measured one as a share of the measured one; 0 where nothing
	// was measured.
	Error float64 `json:"error"`
	// Simulated figure with its error; 0 where nothing was simulated.
	Simulated      float64 `json:"simulated,omitempty"`
	SimulatedError float64 `json:"simulated_error,omitempty"`
}

func pair(predicted, simulated, measured float64) Pair {
	p := Pair{Predicted: predicted, Measured: measured, Simulated: simulated}
	if measured != 0 {
		p.Error = (predicted - measured) / measured
		if simulated != 0 {
			p.SimulatedError = (simulated - measured) / measured
		}
	}
	return p
}

// simulated looks figures of a simulation up by name; all are 0 without one.
type simulated struct {
	routes   map[string]*simulate.RouteResult
	services map[string]*simulate.ServiceResult
	machine  float64
	total    float64
	failed   float64 // share of all
}

func index(r *simulate.Result) simulated {
	s := simulated{routes: map[string]*simulate.RouteResult{}, services: map[string]*simulate.ServiceResult{}}
	if r == nil {
		return s
	}
	for i := range r.Routes {
		s.routes[r.Routes[i].Route] = &r.Routes[i]
	}
	for i := range r.Services {
		s.services[r.Services[i].Service] = &r.Services[i]
	}
	s.machine, s.total, s.failed = r.Machine.CPU.Value, r.All.Throughput.Value, r.All.ErrorShare.Value
	return s
}

func (s simulated) route(name string) (rate, mean, p99 float64) {
	if r := s.routes[name]; r != nil {
		return r.Throughput.Value, r.Mean.Value.Seconds(), r.P99.Value.Seconds()
	}
	return 0, 0, 0
}

// failing is the share of a route's requests that fail.
func (s simulated) failing(name string) float64 {
	if r := s.routes[name]; r != nil {
		return r.ErrorShare.Value
	}
	return 0
}

func (s simulated) cpu(service string) float64 {
	if r := s.services[service]; r != nil {
		return r.CPU.Value
	}
	return 0
}

// Compare holds p, and a simulation of the same load (nil for none), against m. calibrated is the throughput of the run
// that the demands come from, 0 if they were declared.
func Compare(p *Prediction, sim *simulate.Result, m *Measurement, calibrated float64) *Comparison {
	s := index(sim)
	c := &Comparison{System: m.System, Source: m.Source, Method: p.Method,
		Routes: map[string]RouteComparison{}, Services: map[string]Pair{}}
	secs := m.Seconds()
	refuses := p.Bound != nil && p.Bound.Refused > 0
	var total, all, failed float64
	for _, r := range p.Routes {
		mr, ok := m.Routes[r.Route]
		if !ok {
			continue
		}
		all += float64(mr.Requests)
		failed += float64(mr.Errors)
		rate, mean, p99 := s.route(r.Route)
		measured := float64(mr.Requests) / secs
		if refuses { // what is predicted is what is answered
			measured = float64(mr.Requests-mr.Errors) / secs
			rate *= 1 - s.failing(r.Route)
		}
		total += measured
		c.Routes[r.Route] = RouteComparison{
			Throughput: pair(r.Rate, rate, measured),
			Mean:       pair(r.Mean.Seconds(), mean, mr.Mean.Seconds()),
			P99:        pair(r.P99.Seconds(), p99, mr.P99.Seconds()),
		}
	}
	c.Total = pair(p.Throughput, s.total, total)
	if refuses {
		refused := pair(p.Bound.Refused, s.failed, failed/max(all, 1))
		c.Refused = &refused
		c.Total = pair(p.Throughput, s.total*(1-s.failed), total)
	}
	c.Tables = compareTables(p, sim, m)
	services := m.apart(func(table string) bool { _, ok := c.Tables["tables."+table]; return ok })
	for _, svc := range p.Services {
		if ms, ok := services[svc.Service]; ok {
			c.Services[svc.Service] = pair(svc.CPU, s.cpu(svc.Service), ms.CPU)
		}
	}
	c.Machine = pair(p.Machine.CPU, s.machine, m.MachineCPU)
	c.Hits, c.CacheHits = hits(p, sim, m), storeHits(p, sim, m)
	c.Validity = validity(p, m, c, calibrated)
	return c
}

// validity names each known reason for which the prediction should not be trusted here.
func validity(p *Prediction, m *Measurement, c *Comparison, calibrated float64) []string {
	var v []string
	say := func(format string, a ...any) { v = append(v, fmt.Sprintf(format, a...)) }
	if calibrated == 0 {
		say("The demands were declared in the file, not measured: run 'banyan calibrate' for figures of this machine.")
	} else if ratio := c.Total.Measured / calibrated; ratio > 3 {
		say("The load is %.1f times that of the calibration: costs for each request may have changed on the way.", ratio)
	}
	if p.Saturated {
		say("The load is more than the model holds (%s is full): latencies grow for as long as it lasts, so none are predicted.", p.Bottleneck)
	} else if p.Bound != nil && p.Bound.Refused > 0 {
		say("adaptive bounds %s at about %d requests: %.1f%% are predicted to be refused. Throughputs are of good answers; predicted latencies are those of good answers, measured and simulated ones of all, and what is refused is answered at once.", p.Bound.Service, p.Bound.Limit, 100*p.Bound.Refused)
	} else if p.Machine.Utilisation > 0.85 {
		say("The machine is predicted to be %.0f%% busy: this close to full, a small error in the demands is a large one in the latencies.", 100*p.Machine.Utilisation)
	}
	if other := m.MachineCPU - knownCPU(m); other > 0.1*m.Cores {
		say("Processes that are not part of the system used %.2f of %.0f cores during the run: the model does not know them.", other, m.Cores)
	}
	if d := m.disturbed(); d != "" {
		say("During the run %s.", d)
	}
	var failed, all int64
	for _, r := range m.Routes {
		failed += r.Errors
		all += r.Requests
	}
	if all > 0 && float64(failed) > 0.01*float64(all) {
		say("%.1f%% of the requests failed: the model knows only answered ones.", 100*float64(failed)/float64(all))
	}
	if m.NotSent > 0 {
		say("%d requests were due and never sent: less was offered than the load says.", m.NotSent)
	}
	v = append(v, suspects(c)...)
	v = append(v, m.Notes...)
	v = append(v, p.Notes...)
	if len(v) == 0 {
		say("Within the model's validity: moderate load, measured demands, no failures.")
	}
	return v
}

func knownCPU(m *Measurement) float64 {
	var sum float64
	for _, s := range m.Services {
		sum += s.CPU
	}
	return sum
}

// suspects names routes that are much slower than predicted although the CPU is as predicted: they wait for something
// that the model has no station for.
func suspects(c *Comparison) []string {
	if math.Abs(c.Machine.Error) > 0.15 {
		return nil
	}
	var slow []string
	for name, r := range c.Routes {
		if r.Mean.Predicted > 0 && r.Mean.Measured > 1.5*r.Mean.Predicted && r.Mean.Measured-r.Mean.Predicted > time.Millisecond.Seconds() {
			slow = append(slow, name)
		}
	}
	if len(slow) == 0 {
		return nil
	}
	sort.Strings(slow)
	return []string{fmt.Sprintf("%s: much slower than predicted while the CPU is as predicted: something there queues that the model counts as a fixed delay (a lock, a disk, a pool).", strings.Join(slow, ", "))}
}
