package gateway

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/gateway/httpcache"
	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/stats"
)

// Stats is what the gateway has counted since it was made. All counts and sums only grow; what happened in a span of
// time is the difference of two Stats. Times are in nanoseconds.
type Stats struct {
	// At is when the snapshot was taken, since the gateway was made.
	At time.Duration `json:"at"`
	// Routes in the order of the file.
	Routes []RouteStats `json:"routes"`
	// LostLogLines are lines of the access log that were not written, since its file did not keep up.
	LostLogLines int64 `json:"lost_log_lines,omitempty"`
	// Unmatched are requests from outside that no route leads anywhere.
	Unmatched Traffic `json:"unmatched"`
	// Edges by caller, then callee.
	Edges []EdgeStats `json:"edges"`
	// Calls between services by the route that they served, then caller, then callee; only those that happened.
	Calls []CallStats `json:"calls"`
	// Backends by service, then id; only those known now.
	Backends []BackendStats `json:"backends"`
	// Services by name: what was decided about their requests.
	Services []ServiceStats `json:"services,omitempty"`
	// TCP listeners in the order of the file.
	TCP []TCPStats `json:"tcp,omitempty"`
	// Connections of clients over HTTP, by listener.
	Connections []ConnectionStats `json:"connections,omitempty"`
}

// ServiceStats counts decisions about the requests to one service, by whatever way they came.
type ServiceStats struct {
	Service string `json:"service"`
	// Waiting for a backend now.
	Waiting int64 `json:"waiting"`
	// Verdicts about tries that failed, by name: repeat, final, unsafe, body_gone, exhausted, late, over_budget.
	Verdicts map[string]int64 `json:"verdicts,omitempty"`
	// RetriesAllowed are how many retries of the last ten seconds the budget allows, by the most generous policy towards the
	// service; RetriesSpent are those that there were, on all gateways that share it.
	RetriesAllowed float64 `json:"retries_allowed"`
	RetriesSpent   int64   `json:"retries_spent"`
	// Bound is how many requests 'adaptive' lets in at once now, and Within how many there are; the sums over all policies
	// towards the service that have one. 0 where none has.
	Bound  int64 `json:"bound,omitempty"`
	Within int64 `json:"within,omitempty"`
}

// verdictNames are the names of policy's verdicts in statistics and metrics.
var verdictNames = [policy.Verdicts]string{"repeat", "final", "unsafe", "body_gone", "exhausted", "late", "over_budget"}

// decisions returns what was decided about the service's requests.
func (s *service) decisions() ServiceStats {
	d := ServiceStats{Service: s.name, Waiting: int64(s.waiting.len()), Verdicts: map[string]int64{}}
	for v := range s.verdicts {
		if n := s.verdicts[v].Load(); n > 0 {
			d.Verdicts[verdictNames[v]] = n
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	counted := map[*policy.Adaptive]bool{}
	for _, l := range s.lanes {
		if l.retrier.Enabled() {
			allowed, spent := l.retrier.Budget().Allowed(s.now())
			d.RetriesAllowed, d.RetriesSpent = max(d.RetriesAllowed, allowed), spent // of one account
		}
		if l.bound != nil && !counted[l.bound] {
			counted[l.bound] = true
			d.Bound += l.bound.Limit()
			d.Within += l.bound.InFlight()
		}
	}
	return d
}

// RouteStats counts the requests of one route, as its clients saw them.
type RouteStats struct {
	Route   string `json:"route"`
	Service string `json:"service"`
	Traffic
	// Cache counts what became of the requests in the route's cache; nil where it has none.
	Cache *httpcache.Stats `json:"cache,omitempty"`
}

// EdgeStats counts the calls from one service to another, as the caller saw them.
type EdgeStats struct {
	From string `json:"from"`
	To   string `json:"to"`
	Traffic
}

// Traffic counts requests.
type Traffic struct {
	// Requests that have ended, however they did.
	Requests int64 `json:"requests"`
	// Classes counts them by class of status, '1xx' to '5xx'. A client that did not wait for its answer counts as 499.
	Classes map[string]int64 `json:"classes"`
	// Codes counts them by status.
	Codes map[int]int64 `json:"codes"`
	// Errors counts those that failed in the gateway or between it and the backend, by kind (RFC 9209 where it has a
	// name for it). http_response_incomplete and client_closed may come on top of a good status.
	Errors map[string]int64 `json:"errors"`
	// InFlight are the requests being handled now.
	InFlight int64 `json:"in_flight"`
	// Retries beyond the first try of each request.
	Retries int64 `json:"retries"`
	// Hedges are second copies of slow requests.
	Hedges int64 `json:"hedges"`
	// Latency of the whole call, from the request's head to the answer's end; of streams without an end, to the
	// answer's head.
	Latency *stats.Histogram `json:"latency"`
	// Upstream is the sum of the time that tries took at backends. What the latencies' sum exceeds it by was spent in
	// the gateway: waiting for a backend, pausing before retries, reading small bodies, working.
	Upstream time.Duration `json:"upstream"`
}

// CallStats sums up the calls from one service to another that were made for one route.
type CallStats struct {
	// Route of the request from outside; empty if it is not known.
	Route string `json:"route"`
	From  string `json:"from"`
	To    string `json:"to"`
	// Count of the calls that have ended.
	Count int64 `json:"count"`
	// Sum of their durations.
	Sum time.Duration `json:"sum"`
	// SumSquares of their durations, in square seconds.
	SumSquares float64 `json:"sum_squares"`
}

// BackendStats is what is known of one replica.
type BackendStats struct {
	Service string `json:"service"`
	ID      string `json:"id"`
	Address string `json:"address"`
	// Ready is whether it may be given requests; Draining, that it never will again.
	Ready    bool `json:"ready"`
	Draining bool `json:"draining"`
	// Breaker is closed, half-open or open: the worst of its breakers, for each way of calling a service has its own.
	Breaker string `json:"breaker"`
	// Ejected is whether it is left alone, on any way of calling its service, because it is worse than its peers.
	Ejected bool `json:"ejected"`
	// InFlight are the requests that it is handling; Connections, those open to it, idle ones included.
	InFlight    int64 `json:"in_flight"`
	Connections int64 `json:"connections"`
	// Requests are the tries that it was given; Failures, those that count against it: no answer in time, or one that
	// says that it is at fault.
	Requests int64 `json:"requests"`
	Failures int64 `json:"failures"`
	// Opened is how often its breakers have opened, Ejections how often it was left alone for being worse than its peers; both
	// since it was last found ready.
	Opened    int64 `json:"opened,omitempty"`
	Ejections int64 `json:"ejections,omitempty"`
	// Latency of the tries.
	Latency *stats.Histogram `json:"latency"`
}

// traffic counts while requests pass.
type traffic struct {
	name     string
	inFlight atomic.Int64
	ended    atomic.Int64
	retries  atomic.Int64
	hedges   atomic.Int64
	upstream atomic.Int64
	codes    [600]atomic.Int64 // index 0: codes that HTTP does not have
	faults   [faultKinds]atomic.Int64
	latency  *stats.Recorder
}

func newTraffic(name string) *traffic { return &traffic{name: name, latency: stats.NewRecorder(2)} }

func (t *traffic) record(code int, kind faultKind, latency, upstream time.Duration) {
	if code < 100 || code >= len(t.codes) {
		code = 0
	}
	t.ended.Add(1)
	t.codes[code].Add(1)
	if kind != noFault {
		t.faults[kind].Add(1)
	}
	t.upstream.Add(int64(upstream))
	t.latency.Record(latency)
}

func (t *traffic) snapshot() Traffic {
	s := Traffic{
		Classes: map[string]int64{}, Codes: map[int]int64{}, Errors: map[string]int64{},
		InFlight: t.inFlight.Load(), Retries: t.retries.Load(), Hedges: t.hedges.Load(), Upstream: time.Duration(t.upstream.Load()),
		Latency: t.latency.Snapshot(),
	}
	for code := range t.codes {
		if n := t.codes[code].Load(); n > 0 {
			s.Requests += n
			s.Codes[code] = n
			s.Classes[strconv.Itoa(code/100)+"xx"] += n
		}
	}
	for kind := range t.faults {
		if n := t.faults[kind].Load(); n > 0 {
			s.Errors[faultKind(kind).String()] = n
		}
	}
	return s
}

// attributed sums up the calls of one edge for one route.
type attributed struct {
	count   atomic.Int64
	sum     atomic.Int64  // nanoseconds
	squares atomic.Uint64 // square seconds, the bits of a float64
}

// attribute counts a call of an edge for a route, by its id; -1: for no known one.
func (t *target) attribute(route int, d time.Duration) {
	if route < 0 || route >= len(t.calls)-1 {
		route = len(t.calls) - 1
	}
	a := t.calls[route].Load()
	if a == nil {
		t.calls[route].CompareAndSwap(nil, new(attributed))
		a = t.calls[route].Load()
	}
	a.count.Add(1)
	a.sum.Add(int64(d))
	for {
		old := a.squares.Load()
		if a.squares.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+d.Seconds()*d.Seconds())) {
			return
		}
	}
}

// Stats returns a snapshot. It costs a copy of each histogram: meant for every second, not for every request.
func (g *Gateway) Stats() *Stats {
	t := g.table.Load()
	s := &Stats{At: g.now(), LostLogLines: g.access.dropped(), Unmatched: t.unmatched.traffic.snapshot()}
	for _, r := range t.routes {
		s.Routes = append(s.Routes, RouteStats{Route: r.traffic.name, Service: r.to, Traffic: r.traffic.snapshot(), Cache: r.cacheStats()})
	}
	for _, e := range t.edges {
		to := e.target.Load()
		s.Edges = append(s.Edges, EdgeStats{From: e.from, To: e.to, Traffic: to.traffic.snapshot()})
		for i := range to.calls {
			a := to.calls[i].Load()
			if a == nil {
				continue
			}
			call := CallStats{
				From: e.from, To: e.to, Count: a.count.Load(), Sum: time.Duration(a.sum.Load()),
				SumSquares: math.Float64frombits(a.squares.Load()),
			}
			if i < len(t.names) {
				call.Route = t.names[i]
			}
			s.Calls = append(s.Calls, call)
		}
	}
	slices.SortStableFunc(s.Calls, func(a, b CallStats) int {
		return cmp.Or(cmp.Compare(a.Route, b.Route), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	for _, name := range sortedKeys(t.services) {
		s.Backends = append(s.Backends, t.services[name].snapshot()...)
		s.Services = append(s.Services, t.services[name].decisions())
	}
	for _, p := range g.tcp {
		s.TCP = append(s.TCP, p.stats())
	}
	s.Connections = g.Connections()
	return s
}

// Requests is how many requests of each route have ended since the gateway was made, in the order of the file. It is
// cheap.
func (g *Gateway) Requests() []int64 {
	t := g.table.Load()
	n := make([]int64, len(t.routes))
	for i, r := range t.routes {
		n[i] = r.traffic.ended.Load()
	}
	return n
}

func (s *service) snapshot() []BackendStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []BackendStats
	for _, id := range sortedKeys(s.backends) {
		b := s.backends[id]
		worst, ejected := policy.BreakerClosed, false
		var opened, ejections int64
		for _, m := range b.members {
			ejected = ejected || m.Ejected(s.now())
			ejections += m.Ejections()
			if m.Breaker == nil {
				continue
			}
			opened += m.Breaker.Opened()
			switch state := m.Breaker.State(); {
			case state == policy.BreakerOpen:
				worst = state
			case state == policy.BreakerHalfOpen && worst == policy.BreakerClosed:
				worst = state
			}
		}
		all = append(all, BackendStats{
			Service: s.name, ID: id, Address: b.address, Ready: b.ready, Draining: b.closing.Load(), Breaker: worst.String(), Ejected: ejected,
			InFlight: b.InFlight(), Connections: b.conns.Load(), Requests: b.requests.Load(), Failures: b.failures.Load(),
			Latency: b.latency.Snapshot(), Opened: opened, Ejections: ejections,
		})
	}
	return all
}
