package observe

import (
	"cmp"
	"slices"
	"time"

	"github.com/banyanhq/banyan/stats"
)

// TrendLength is how many seconds a trend looks back.
const TrendLength = 60

// Status is the present of a system, for people: `banyan status` and `banyan top` show it.
type Status struct {
	System string `json:"system"`
	// At is the instant of the last sample, zero if there is none yet.
	At time.Time `json:"at"`
	// Up is how long the system has been observed.
	Up time.Duration `json:"up_ns"`
	// Window is the time that the rates and latencies are of. It is shorter than asked for soon after the start, and 0
	// while there is only one sample.
	Window   time.Duration   `json:"window_ns"`
	Machine  MachineStatus   `json:"machine"`
	Gateway  UseStatus       `json:"gateway"` // Banyan's own process
	Total    CallStatus      `json:"total"`   // all routes together
	Services []ServiceStatus `json:"services"`
	Routes   []CallStatus    `json:"routes"`
	Edges    []CallStatus    `json:"edges"`
}

// MachineStatus is the host.
type MachineStatus struct {
	Cores       int     `json:"cores"`  // online
	Busy        float64 `json:"busy"`   // cores in use
	Stolen      float64 `json:"stolen"` // cores taken by the hypervisor
	MemoryUsed  int64   `json:"memory_used_bytes"`
	MemoryTotal int64   `json:"memory_total_bytes"`
	Load1       float64 `json:"load1"`
}

// UseStatus is what a process, or all replicas of a service, use.
type UseStatus struct {
	Cores  float64 `json:"cores"`        // CPU cores in use
	Memory int64   `json:"memory_bytes"` // resident now
	// Throttled is the share of time for which a CPU limit held it back, 0 to 1 (for a service: the mean of its replicas).
	Throttled float64 `json:"throttled"`
}

// CallStatus is what happens on a route, an edge or a service.
type CallStatus struct {
	Route    string        `json:"route,omitempty"`
	From     string        `json:"from,omitempty"`
	To       string        `json:"to,omitempty"`
	Rate     float64       `json:"rate"`   // requests answered a second
	Errors   float64       `json:"errors"` // share of requests, 0 to 1
	InFlight int64         `json:"in_flight"`
	ByCode   map[int]int64 `json:"by_code,omitempty"` // in the window
	Latency  LatencyStatus `json:"latency"`
	Trend    Trend         `json:"trend"`
}

// LatencyStatus summarises latencies; all zero where nothing was measured.
type LatencyStatus struct {
	Count int64         `json:"count"`
	Mean  time.Duration `json:"mean_ns"`
	P50   time.Duration `json:"p50_ns"`
	P90   time.Duration `json:"p90_ns"`
	P95   time.Duration `json:"p95_ns"`
	P99   time.Duration `json:"p99_ns"`
	Max   time.Duration `json:"max_ns"`
}

// Trend is the last minute, one value for each interval, oldest first.
type Trend struct {
	Rate []float64       `json:"rate"`
	P99  []time.Duration `json:"p99_ns"` // 0: no request
}

// BreakerStatus counts replicas by the state of their breaker.
type BreakerStatus struct {
	Closed   int `json:"closed"`
	HalfOpen int `json:"half_open"`
	Open     int `json:"open"`
}

// ServiceStatus is one service: the calls to it (CallStatus.To is its name), its replicas and what they use.
type ServiceStatus struct {
	Service string `json:"service"`
	Wanted  int    `json:"wanted"`
	Ready   int    `json:"ready"`
	Message string `json:"message,omitempty"`
	CallStatus
	UseStatus
	Breakers BreakerStatus   `json:"breakers"`
	Replicas []ReplicaStatus `json:"replicas"`
}

// ReplicaStatus is one replica. Its calls are tries, as the gateway sent them.
type ReplicaStatus struct {
	ReplicaState
	Address  string        `json:"address,omitempty"`
	Breaker  Breaker       `json:"breaker,omitempty"`
	Healthy  bool          `json:"healthy"`
	Draining bool          `json:"draining,omitempty"`
	InFlight int64         `json:"in_flight"`
	Rate     float64       `json:"rate"`
	Errors   float64       `json:"errors"`
	Latency  LatencyStatus `json:"latency"`
	UseStatus
}

// Status returns the present: the state of the last sample, and rates and latencies over the given time before it.
// Trends reach back a minute whatever the window. A window that is longer than the history is cut to it.
func (o *Observer) Status(window time.Duration) (Status, error) {
	return o.status(window, TrendLength)
}

// Present is Status without trends, which are most of its cost: for who asks every second about a large system.
func (o *Observer) Present(window time.Duration) (Status, error) { return o.status(window, 0) }

func (o *Observer) status(window time.Duration, trendLength int) (Status, error) {
	o.mu.Lock()
	last, first := o.last, o.first
	var items, trend []stored
	if last != nil {
		items = o.history.between(last.At.Add(-window), last.At)
		fine := o.history.fine.all()
		trend = fine[max(0, len(fine)-trendLength):]
	}
	o.mu.Unlock()
	if last == nil {
		return Status{System: o.cfg.System}, nil
	}
	total := newSums(Digits)
	for _, s := range items {
		iv, err := s.decode()
		if err == nil {
			total.reduce(iv.digits)
			err = total.add(iv)
		}
		if err != nil {
			return Status{}, err
		}
	}
	t, err := trendsOf(trend)
	if err != nil {
		return Status{}, err
	}
	b := statusBuilder{last: last, sums: total, trends: t}
	st := b.build()
	st.System, st.Up = o.cfg.System, last.At.Sub(first)
	return st, nil
}

type statusBuilder struct {
	last   *Sample
	sums   *sums
	trends *trends
}

func (b *statusBuilder) build() Status {
	covered := b.sums.covered
	iv := b.sums.interval()
	st := Status{At: b.last.At, Window: covered}
	m := b.last.Machine
	st.Machine = MachineStatus{Cores: m.Cores, Busy: ratio(iv.Machine.Busy, covered), Stolen: ratio(iv.Machine.Stolen, covered),
		MemoryUsed: m.MemoryUsed, MemoryTotal: m.MemoryTotal, Load1: m.Load1}
	st.Total = callStatus(callKey{}, totalOf(b.sums.routes), covered)
	st.Total.Trend = b.trends.of("total", callKey{})
	for _, c := range b.last.Routes {
		k := callKey{route: c.Route}
		r := callStatus(k, b.sums.routes[k], covered)
		r.InFlight, r.Trend = c.InFlight, b.trends.of("route", k)
		st.Total.InFlight += c.InFlight
		st.Routes = append(st.Routes, r)
	}
	for _, c := range b.last.Edges {
		k := callKey{from: c.From, to: c.To}
		e := callStatus(k, b.sums.edges[k], covered)
		e.InFlight, e.Trend = c.InFlight, b.trends.of("edge", k)
		st.Edges = append(st.Edges, e)
	}
	order := func(x, y CallStatus) int {
		return compareCallKeys(callKey{x.Route, x.From, x.To}, callKey{y.Route, y.From, y.To})
	}
	slices.SortFunc(st.Routes, order)
	slices.SortFunc(st.Edges, order)
	b.services(&st)
	return st
}

// services builds the services from all that knows them: the orchestrator, the gateway's backends and the processes.
func (b *statusBuilder) services(st *Status) {
	replicas := map[replicaKey]*ReplicaStatus{}
	services := map[string]*ServiceStatus{}
	replica := func(service, name string) *ReplicaStatus {
		entry(services, service).Service = service
		r := entry(replicas, replicaKey{service, name})
		r.Replica = name
		return r
	}
	for _, s := range b.last.Services {
		v := entry(services, s.Service)
		v.Service, v.Wanted, v.Ready, v.Message = s.Service, s.Wanted, s.Ready, s.Message
		for _, r := range s.Replicas {
			replica(s.Service, r.Replica).ReplicaState = r
		}
	}
	for _, p := range b.last.Processes {
		switch {
		case p.Service == Gateway:
			st.Gateway.Memory += p.Memory
		case !p.Exited:
			replica(p.Service, p.Replica).Memory += p.Memory
		}
	}
	for _, s := range b.last.Backends {
		b.backend(replica(s.Service, s.Replica), entry(services, s.Service), s)
	}
	for k, p := range b.sums.processes {
		if k.service == Gateway {
			st.Gateway.Cores += ratio(p.CPU, b.sums.covered)
			st.Gateway.Throttled = ratio(p.Throttled, p.Alive)
			continue
		}
		v := services[k.service]
		if v == nil {
			continue // gone by now
		}
		// Replicas that are gone count for the service, whose CPU they used.
		v.Cores += ratio(p.CPU, b.sums.covered)
		if r := replicas[k]; r != nil {
			r.Cores, r.Throttled = p.Cores(), ratio(p.Throttled, p.Alive)
		}
	}
	for k, r := range replicas {
		v := services[k.service]
		v.Memory += r.Memory
		v.Throttled += r.Throttled
		v.Replicas = append(v.Replicas, *r)
	}
	for name, v := range services {
		b.calls(v, name)
		v.Throttled /= float64(max(len(v.Replicas), 1))
		slices.SortFunc(v.Replicas, func(x, y ReplicaStatus) int { return compareNatural(x.Replica, y.Replica) })
		st.Services = append(st.Services, *v)
	}
	slices.SortFunc(st.Services, func(x, y ServiceStatus) int { return cmp.Compare(x.Service, y.Service) })
}

func (b *statusBuilder) backend(r *ReplicaStatus, v *ServiceStatus, s BackendState) {
	r.Address, r.Breaker, r.Healthy, r.Draining, r.InFlight = s.Address, s.Breaker, s.Healthy, s.Draining, s.InFlight
	switch s.Breaker {
	case BreakerOpen:
		v.Breakers.Open++
	case BreakerHalfOpen:
		v.Breakers.HalfOpen++
	case BreakerClosed:
		v.Breakers.Closed++
	}
	if d := b.sums.backends[replicaKey{s.Service, s.Replica}]; d != nil {
		r.Rate, r.Errors, r.Latency = perSecond(d.Requests, b.sums.covered), share(d.Errors, d.Requests), latencyStatus(d.Latency, 0, 0)
	}
}

// calls fills in the calls to a service from all its callers.
func (b *statusBuilder) calls(v *ServiceStatus, name string) {
	to := map[callKey]*CallSums{}
	for k, c := range b.sums.edges {
		if k.to == name {
			to[k] = c
		}
	}
	v.CallStatus = callStatus(callKey{to: name}, totalOf(to), b.sums.covered)
	for _, c := range b.last.Edges {
		if c.To == name {
			v.InFlight += c.InFlight
		}
	}
	v.Trend = b.trends.of("service", callKey{to: name})
}

func totalOf(m map[callKey]*CallSums) *CallSums {
	total := &CallSums{ByCode: map[int]int64{}}
	for _, c := range m {
		total.Requests += c.Requests
		total.Errors += c.Errors
		total.Sum += c.Sum
		for code, n := range c.ByCode {
			total.ByCode[code] += n
		}
		if c.Latency == nil {
			continue
		}
		if total.Latency == nil {
			total.Latency = c.Latency.Clone()
		} else if total.Latency.Merge(c.Latency) != nil {
			addBuckets(total.Latency, c.Latency)
		}
	}
	return total
}

// callStatus summarises c, which may be nil: nothing happened.
func callStatus(k callKey, c *CallSums, covered time.Duration) CallStatus {
	st := CallStatus{Route: k.route, From: k.from, To: k.to}
	if c != nil {
		st.Rate, st.Errors, st.ByCode = perSecond(c.Requests, covered), c.ErrorShare(), c.ByCode
		st.Latency = latencyStatus(c.Latency, c.Sum, c.Requests)
	}
	return st
}

// latencyStatus summarises h. The mean is that of the exact sum where there is one.
func latencyStatus(h *stats.Histogram, sum time.Duration, n int64) LatencyStatus {
	if h == nil || h.Count() == 0 {
		return LatencyStatus{}
	}
	l := LatencyStatus{Count: h.Count(), Mean: mean(sum, n), P50: h.QuantileDuration(0.5), P90: h.QuantileDuration(0.9),
		P95: h.QuantileDuration(0.95), P99: h.QuantileDuration(0.99), Max: time.Duration(h.Max())}
	if sum == 0 {
		l.Mean = time.Duration(h.Mean())
	}
	return l
}

func perSecond(n int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// compareNatural orders by text and then number, so that web-10 follows web-9.
func compareNatural(a, b string) int {
	ta, na := splitNumber(a)
	tb, nb := splitNumber(b)
	return cmp.Or(cmp.Compare(ta, tb), cmp.Compare(len(na), len(nb)), cmp.Compare(na, nb), cmp.Compare(a, b))
}

func splitNumber(s string) (text, number string) {
	i := len(s)
	for i > 0 && s[i-1] >= '0' && s[i-1] <= '9' {
		i--
	}
	number = s[i:]
	for len(number) > 1 && number[0] == '0' {
		number = number[1:]
	}
	return s[:i], number
}
