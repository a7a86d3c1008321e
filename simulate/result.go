package simulate

import (
	"fmt"
	"time"

	"github.com/banyanhq/banyan/stats"
)

// Result of a simulation: all replications together, their warm-ups left out unless said otherwise.
type Result struct {
	System       string `json:"system"`
	Seed         uint64 `json:"seed"`
	Replications int    `json:"replications"`
	// Warmup of each replication, and whether it was found by MSER-5.
	Warmup      time.Duration `json:"warmup_ns"`
	WarmupFound bool          `json:"warmup_found,omitempty"`
	// Duration of each replication, its warm-up not included.
	Duration time.Duration `json:"duration_ns"`
	// Events of all replications, the warm-ups included.
	Events int64 `json:"events"`
	// Started and Ended are requests of all replications, the warm-ups included; InProgress were under way at the end.
	Started    int64 `json:"started"`
	Ended      int64 `json:"ended"`
	InProgress int64 `json:"in_progress"`

	All      RouteResult     `json:"all"` // all routes together
	Routes   []RouteResult   `json:"routes"`
	Services []ServiceResult `json:"services"`
	Blocks   []BlockResult   `json:"blocks,omitempty"`
	Machine  MachineResult   `json:"machine"`
	Sizing   *Sizing         `json:"sizing,omitempty"`
	// Timeline and Trace are of the first replication, from its very start.
	Timeline []Point      `json:"timeline"`
	Trace    []TraceEvent `json:"trace,omitempty"`
	// Notes on what was left out, and on what the figures do not hold for.
	Notes []string `json:"notes,omitempty"`

	samples struct {
		all      latencySamples
		routes   []latencySamples
		services []serviceSamples
		blocks   []blockSamples
		machine  sample
	}
}

// Estimate is a mean over replications with its 95 % confidence interval, by Student's t. HalfWidth is 0 where there
// was one replication.
type Estimate struct {
	Value     float64 `json:"value"`
	HalfWidth float64 `json:"half_width"`
}

// Span is an Estimate of a time.
type Span struct {
	Value     time.Duration `json:"value_ns"`
	HalfWidth time.Duration `json:"half_width_ns"`
}

// RouteResult is what the clients of a route saw. Latencies count from the start of a request to its end, of all
// requests that ended: good ones, errors, and those that the client gave up.
type RouteResult struct {
	Route string `json:"route,omitempty"`
	// Requests that ended, and how those ended that were not good.
	Requests int64            `json:"requests"`
	Errors   map[string]int64 `json:"errors,omitempty"`
	// Throughput in requests a second.
	Throughput Estimate `json:"throughput"`
	// ErrorShare is the share of requests that were not good.
	ErrorShare Estimate `json:"error_share"`
	Mean       Span     `json:"mean"`
	// Percentiles of all replications taken together; their intervals are those of the replications' own percentiles.
	P50  Span `json:"p50"`
	P90  Span `json:"p90"`
	P95  Span `json:"p95"`
	P99  Span `json:"p99"`
	P999 Span `json:"p999"`
	// Hits are the requests that the gateway's cache answered.
	Hits int64 `json:"hits,omitempty"`
	// Copied are the copies sent to the route's mirror since the start of the run, Dropped those that would have been one
	// too many.
	Copied  int64 `json:"copied,omitempty"`
	Dropped int64 `json:"dropped,omitempty"`
	// Canary says how often the route's canary stood where at the end, by its state.
	Canary map[string]int `json:"canary,omitempty"`
	// Latency in nanoseconds.
	Latency *stats.Histogram `json:"latency"`
}

// HitRatio is the share of requests that the gateway's cache answered.
func (r *RouteResult) HitRatio() float64 {
	if r.Requests == 0 {
		return 0
	}
	return min(float64(r.Hits)/float64(r.Requests), 1)
}

// Quantile of the latency, 0 <= q <= 1.
func (r *RouteResult) Quantile(q float64) time.Duration { return r.Latency.QuantileDuration(q) }

// ServiceResult is what happened at a service, all its replicas together. Counts are sums over replications.
type ServiceResult struct {
	Service string `json:"service"`
	// Replicas that were ready, on average.
	Replicas Estimate `json:"replicas"`
	// Limit of one replica in cores, 0 for none.
	Limit float64 `json:"limit"`
	// Rate of visits that ended a second, and their mean time at the replica.
	Rate     Estimate `json:"rate"`
	Response Span     `json:"response"`
	// CPU in cores, and as a share of the limit or, where there is none, of the machine.
	CPU         Estimate `json:"cpu"`
	Utilisation Estimate `json:"utilisation"`
	// Present is the mean number of requests at the replicas, Waiting of calls that waited for a replica.
	Present Estimate `json:"present"`
	Waiting Estimate `json:"waiting"`
	// Throttled is the share of time that a replica stood still because its CPU quota was used up.
	Throttled Estimate `json:"throttled"`

	Calls      int64 `json:"calls"`
	Retries    int64 `json:"retries,omitempty"`
	OverBudget int64 `json:"over_budget,omitempty"` // tries that were not repeated because the retry budget was spent
	Timeouts   int64 `json:"timeouts,omitempty"`
	Refused    int64 `json:"refused,omitempty"`
	Broken     int64 `json:"broken,omitempty"`
	Orphans    int64 `json:"orphans,omitempty"` // visits whose caller had gone
	Limited    int64 `json:"limited,omitempty"` // calls that were one too many for the rate limit
	// Hedges are second copies of slow calls; Shed the calls refused because others matter more, Infeasible those that would
	// not have been answered in their time.
	Hedges     int64 `json:"hedges,omitempty"`
	Shed       int64 `json:"shed,omitempty"`
	Infeasible int64 `json:"infeasible,omitempty"`
}

// MachineResult is what the cores that all share carried.
type MachineResult struct {
	Cores       float64  `json:"cores"`
	CPU         Estimate `json:"cpu"`
	Utilisation Estimate `json:"utilisation"`
}

type serviceSamples struct {
	ready, rate, response, cpu, present, waiting, throttled sample
}

func newResult(m *Model) *Result {
	r := &Result{Seed: m.o.Seed, Notes: append([]string(nil), m.notes...), System: m.system}
	r.All.Latency = stats.NewHistogram(latencyDigits)
	for _, route := range m.routes {
		r.Routes = append(r.Routes, RouteResult{Route: route.name, Latency: stats.NewHistogram(latencyDigits)})
	}
	for _, s := range m.services {
		r.Services = append(r.Services, ServiceResult{Service: s.name, Limit: s.limit})
	}
	r.newBlocks(m)
	r.samples.routes = make([]latencySamples, len(m.routes))
	r.samples.services = make([]serviceSamples, len(m.services))
	return r
}

// add takes the figures of one replication.
func (r *Result) add(s *sim) error {
	t := &s.tally
	seconds := float64(t.to-t.from) * 1e-9
	r.Replications++
	r.Events += s.events
	r.InProgress += int64(s.requests.live)
	all := stats.NewHistogram(latencyDigits)
	var allBad int64
	for i := range t.routes {
		rt := &t.routes[i]
		r.Started += rt.Started
		r.Ended += rt.Ended
		bad := r.Routes[i].count(rt)
		allBad += bad
		r.Routes[i].trial(&s.traffic[i])
		for _, h := range []*stats.Histogram{all, r.Routes[i].Latency, r.All.Latency} {
			if err := h.Merge(rt.latency); err != nil {
				return fmt.Errorf("merging latencies: %w", err)
			}
		}
		r.samples.routes[i].add(rt.latency, bad, seconds)
		r.All.count(rt)
	}
	r.samples.all.add(all, allBad, seconds)
	for i := range t.services {
		r.Services[i].count(t.services[i])
		r.samples.services[i].add(t.services[i], seconds)
	}
	for i := range t.blocks {
		r.Blocks[i].count(&t.blocks[i])
		r.samples.blocks[i].add(&t.blocks[i], seconds)
	}
	r.samples.machine.add(t.busy / seconds)
	if s.replication == 0 {
		for i := range r.Blocks {
			if l := s.blocks[i].line; l != nil {
				if outlook, ok := l.trend.Outlook(); ok && len(s.blocks[i].groups) > 0 {
					r.Blocks[i].Outlook = outlook.String()
				}
			}
		}
		r.Timeline = t.timeline
		if s.trace != nil {
			r.Trace = s.trace.events
		}
	}
	return nil
}

// trial counts where a canary stands.
func (r *RouteResult) trial(t *traffic) {
	if t.trial != nil {
		if r.Canary == nil {
			r.Canary = map[string]int{}
		}
		r.Canary[t.trial.State().String()]++
	}
}

func (r *RouteResult) count(t *routeTally) (bad int64) {
	r.Hits += t.hits
	r.Copied += t.copied
	r.Dropped += t.dropped
	for o, n := range t.outcomes {
		r.Requests += n
		if Outcome(o) == OK || n == 0 {
			continue
		}
		if r.Errors == nil {
			r.Errors = map[string]int64{}
		}
		r.Errors[Outcome(o).String()] += n
		bad += n
	}
	return bad
}

func (r *ServiceResult) count(c serviceCount) {
	r.Calls += c.Calls
	r.Retries += c.Retries
	r.OverBudget += c.OverBudget
	r.Timeouts += c.Timeouts
	r.Refused += c.Refused
	r.Broken += c.Broken
	r.Orphans += c.Orphans
	r.Limited += c.Limited
	r.Hedges += c.Hedges
	r.Shed += c.Shed
	r.Infeasible += c.Infeasible
}

func (s *serviceSamples) add(c serviceCount, seconds float64) {
	s.ready.add(c.readyArea / seconds)
	s.rate.add(float64(c.Visits) / seconds)
	if c.Visits > 0 {
		s.response.add(float64(c.sojourn) / float64(c.Visits))
	}
	s.cpu.add(c.cpu / seconds)
	s.present.add(c.presentArea / seconds)
	s.waiting.add(c.waitingArea / seconds)
	if c.readyArea > 0 {
		s.throttled.add(float64(c.throttled) * 1e-9 / c.readyArea)
	}
}

// complete turns what was collected into estimates.
func (r *Result) complete(m *Model, load *workload) {
	r.Warmup, r.Duration = time.Duration(load.warmup), time.Duration(load.end-load.warmup)
	r.All.complete(&r.samples.all)
	for i := range r.Routes {
		r.Routes[i].complete(&r.samples.routes[i])
	}
	for i := range r.Services {
		s, from := &r.Services[i], &r.samples.services[i]
		s.Replicas, s.Rate, s.CPU = estimate(&from.ready, 1), estimate(&from.rate, 1), estimate(&from.cpu, 1)
		s.Present, s.Waiting, s.Throttled = estimate(&from.present, 1), estimate(&from.waiting, 1), estimate(&from.throttled, 1)
		s.Response = span(&from.response)
		capacity := m.cores
		if s.Limit > 0 && s.Replicas.Value > 0 {
			capacity = s.Limit * s.Replicas.Value
		}
		s.Utilisation = estimate(&from.cpu, 1/capacity)
	}
	r.Sizing = m.sizing
	for i := range r.Blocks {
		r.Blocks[i].complete(&r.samples.blocks[i])
		if r.Blocks[i].kind == blockFunction {
			r.Blocks[i].Instances = r.Services[r.Blocks[i].service].Replicas
		}
	}
	r.Machine = MachineResult{Cores: m.cores, CPU: estimate(&r.samples.machine, 1), Utilisation: estimate(&r.samples.machine, 1/m.cores)}
	r.judge()
}

func (r *RouteResult) complete(from *latencySamples) {
	r.Throughput, r.ErrorShare, r.Mean = estimate(&from.rate, 1), estimate(&from.errors, 1), span(&from.mean)
	for i, to := range []*Span{&r.P50, &r.P90, &r.P95, &r.P99, &r.P999} {
		*to = Span{Value: r.Latency.QuantileDuration(quantiles[i]), HalfWidth: spanOf(from.quantile[i].halfWidth())}
	}
}

func estimate(s *sample, factor float64) Estimate {
	return Estimate{Value: s.mean * factor, HalfWidth: s.halfWidth() * factor}
}

func span(s *sample) Span {
	return Span{Value: spanOf(s.mean), HalfWidth: spanOf(s.halfWidth())}
}

// judge adds notes on what the figures do not hold for.
func (r *Result) judge() {
	if r.InProgress > r.Ended/20 && r.InProgress > 100 {
		r.Notes = append(r.Notes, fmt.Sprintf(
			"%d of %d requests had not ended: the system did not keep up, and latencies grow with the time that is simulated", r.InProgress, r.Started))
	}
	if r.Machine.Utilisation.Value > 0.98 {
		r.Notes = append(r.Notes, "the machine was full: throughput is what it holds, and latencies depend on how long is simulated")
	}
	if r.Replications < 2 {
		r.Notes = append(r.Notes, "one replication gives no confidence intervals")
	}
}
