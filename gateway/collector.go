package gateway

import (
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/banyanhq/banyan/gateway/h2guard"
	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

// durationBuckets are the upper bounds of the classic histograms, in seconds.
var durationBuckets = [...]float64{
	0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
}

// Collector returns the gateway's metrics for a Prometheus registry. Their number is bounded by the file: by routes,
// edges, replicas, and the status codes and error kinds that were seen. They are collected when asked for, and cost
// nothing while requests pass.
func (g *Gateway) Collector() prometheus.Collector {
	return &collector{
		g:     g,
		cache: newCacheFamily(),
		route: newFamily("", "Requests from outside", "route", "service"),
		edge:  newFamily("edge_", "Calls between services", "from", "to"),
		canary: [2]*prometheus.Desc{
			desc("canary_share", "Share of the route's requests that the service under test is given.", "route", "service"),
			desc("canary_state", "Where the canary stands: 0 running, 1 promoted, 2 rolled back.", "route", "service"),
		},
		backend: []*prometheus.Desc{
			desc("backend_up", "Whether the replica may be given requests.", "service", "backend"),
			desc("backend_breaker_state", "Breaker of the replica: 0 closed, 1 open, 2 half-open.", "service", "backend"),
			desc("backend_ejected", "Whether the replica is left alone because it is worse than its peers.", "service", "backend"),
			desc("backend_requests_in_flight", "Requests that the replica is handling.", "service", "backend"),
			desc("backend_connections", "Connections open to the replica.", "service", "backend"),
			desc("backend_requests_total", "Tries that the replica was given.", "service", "backend"),
			desc("backend_failures_total", "Tries that count against the replica.", "service", "backend"),
			desc("backend_breaker_opened_total", "How often a breaker of the replica has opened.", "service", "backend"),
			desc("backend_ejections_total", "How often the replica was left alone because it was worse than its peers.", "service", "backend"),
		},
		verdicts: desc("retry_verdicts_total", "What was decided about tries that failed.", "service", "verdict"),
		service: []*prometheus.Desc{
			desc("waiting_requests", "Requests that wait for a replica.", "service"),
			desc("retry_budget_allowed", "Retries that the budget allows of the last ten seconds.", "service"),
			desc("retry_budget_spent", "Retries of the last ten seconds, on all gateways that share the budget.", "service"),
			desc("adaptive_limit", "Requests that the adaptive bound lets in at once; 0 where there is none.", "service"),
			desc("adaptive_in_flight", "Requests within the adaptive bound.", "service"),
		},
		calmed:    desc("http2_calmed_total", "HTTP/2 connections that were ended because their frames cost more than they brought, by what they sent too much of.", "reason"),
		malformed: desc("malformed_requests_total", "What came over HTTP/1 and was refused before it was a request, by the status of the refusal.", "code"),
		tcp: []*prometheus.Desc{
			desc("tcp_connections", "TCP connections open now.", "name", "service"),
			desc("tcp_accepted_total", "TCP connections that came.", "name", "service"),
			desc("tcp_refused_total", "TCP connections closed as they came.", "name", "service"),
			desc("tcp_failed_total", "TCP connections for which no replica could be connected to.", "name", "service"),
			desc("tcp_received_bytes_total", "Bytes from clients, of TCP connections that have ended.", "name", "service"),
			desc("tcp_sent_bytes_total", "Bytes to clients, of TCP connections that have ended.", "name", "service"),
		},
		conns: []*prometheus.Desc{
			desc("connections", "Connections of clients over HTTP that are open.", "listener"),
			desc("connections_max", "Connections of clients that may be open at once; 0: no bound.", "listener"),
			desc("connections_refused_total", "Connections refused since as many were open as may be.", "listener"),
			desc("connections_denied_total", "Connections refused since their client had as many as one may have.", "listener"),
			desc("connections_evicted_total", "Connections on which no request was under way that were closed for others.", "listener"),
			desc("accept_failures_total", "Attempts to accept a connection that failed, for want of file descriptors or memory.", "listener"),
		},
		peer: []*prometheus.Desc{
			desc("peer_hears", "Whether another gateway of the system is told what this one spends.", "peer"),
			desc("peer_heard", "Whether another gateway of the system tells what it spends.", "peer"),
			desc("shared_limit_peer_requests_total", "Requests within shared limits that other gateways have told of."),
			desc("shared_limit_untold_total", "Requests within shared limits that other gateways were not told of: too many keys at once."),
		},
	}
}

// bucketBounds are durationBuckets and the latencies that the system promises, so that each promise can be held against a
// bucket of its own.
func bucketBounds(sys *topology.System) []float64 {
	bounds := slices.Clone(durationBuckets[:])
	for _, slo := range sys.SLOs {
		for _, limit := range slo.Latency {
			bounds = append(bounds, limit.Std().Seconds())
		}
	}
	slices.Sort(bounds)
	return slices.Compact(bounds)
}

// family is the metrics of routes, or of edges.
type family struct {
	requests, errors, retries, hedges, inFlight, duration, upstream *prometheus.Desc
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("banyan_gateway_"+name, help, labels, nil)
}

func newFamily(prefix, what string, labels ...string) family {
	labels = slices.Clip(labels)
	return family{
		requests: desc(prefix+"requests_total", what+" that have ended, by status.", append(labels, "code")...),
		errors:   desc(prefix+"errors_total", what+" that failed in the gateway or on the way to a replica, by kind.", append(labels, "error")...),
		retries:  desc(prefix+"retries_total", what+": tries beyond the first.", labels...),
		hedges:   desc(prefix+"hedges_total", what+": second copies of slow ones.", labels...),
		inFlight: desc(prefix+"requests_in_flight", what+" being handled now.", labels...),
		duration: desc(prefix+"request_duration_seconds", what+": time from the request's head to the answer's end.", labels...),
		upstream: desc(prefix+"upstream_seconds_total", what+": time that tries took at replicas.", labels...),
	}
}

func (f family) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{f.requests, f.errors, f.retries, f.hedges, f.inFlight, f.duration, f.upstream} {
		ch <- d
	}
}

func (f family) collect(ch chan<- prometheus.Metric, bounds []float64, t Traffic, labels ...string) {
	labels = slices.Clip(labels)
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	for code, n := range t.Codes {
		counter(f.requests, float64(n), append(labels, strconv.Itoa(code))...)
	}
	for kind, n := range t.Errors {
		counter(f.errors, float64(n), append(labels, kind)...)
	}
	counter(f.retries, float64(t.Retries), labels...)
	counter(f.hedges, float64(t.Hedges), labels...)
	counter(f.upstream, t.Upstream.Seconds(), labels...)
	ch <- prometheus.MustNewConstMetric(f.inFlight, prometheus.GaugeValue, float64(t.InFlight), labels...)
	count, sum, buckets := classic(t.Latency, bounds)
	ch <- prometheus.MustNewConstHistogram(f.duration, count, sum, buckets, labels...)
}

// classic turns a histogram of nanoseconds into cumulative buckets of seconds. A bucket that straddles a bound counts
// above it, so that bounds are exact to the histogram's one per cent.
func classic(h *stats.Histogram, bounds []float64) (count uint64, sum float64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64, len(bounds))
	all := h.Buckets()
	i := 0
	var below uint64
	for _, le := range bounds {
		for ; i < len(all) && float64(all[i].High) <= le*1e9; i++ {
			below += uint64(all[i].Count)
		}
		buckets[le] = below
	}
	return uint64(h.Count()), h.Sum() / 1e9, buckets
}

type collector struct {
	g           *Gateway
	route, edge family
	cache       cacheFamily
	canary      [2]*prometheus.Desc
	backend     []*prometheus.Desc
	service     []*prometheus.Desc
	verdicts    *prometheus.Desc
	tcp         []*prometheus.Desc
	calmed      *prometheus.Desc
	malformed   *prometheus.Desc
	peer        []*prometheus.Desc
	conns       []*prometheus.Desc
}

func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	c.route.describe(ch)
	c.edge.describe(ch)
	c.cache.describe(ch)
	for _, d := range c.canary {
		ch <- d
	}
	for _, d := range slices.Concat(c.backend, c.service, c.tcp, c.peer, c.conns) {
		ch <- d
	}
	ch <- c.calmed
	ch <- c.malformed
	ch <- c.verdicts
}

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.g.Stats()
	bounds := bucketBounds(c.g.table.Load().system)
	// Routes may share a name, as two methods of one path do if they are named so; a metric may not.
	routes := map[[2]string]bool{}
	for _, r := range s.Routes {
		if key := [2]string{r.Route, r.Service}; !routes[key] {
			routes[key] = true
			c.route.collect(ch, bounds, r.Traffic, r.Route, r.Service)
			if r.Cache != nil {
				c.cache.collect(ch, r.Cache, r.Route, r.Service)
			}
		}
	}
	c.route.collect(ch, bounds, s.Unmatched, "", "")
	tested := map[string]bool{}
	for _, v := range c.g.Canaries() {
		if !tested[v.Route] {
			tested[v.Route] = true
			for i, value := range [2]float64{v.Share, float64(v.State)} {
				ch <- prometheus.MustNewConstMetric(c.canary[i], prometheus.GaugeValue, value, v.Route, v.Service)
			}
		}
	}
	c.collectPeers(ch)
	for _, e := range s.Edges {
		c.edge.collect(ch, bounds, e.Traffic, e.From, e.To)
	}
	states := map[string]float64{
		policy.BreakerClosed.String(): 0, policy.BreakerOpen.String(): 1, policy.BreakerHalfOpen.String(): 2,
	}
	for _, b := range s.Backends {
		up := 0.0
		if b.Ready && !b.Draining {
			up = 1
		}
		ejected := 0.0
		if b.Ejected {
			ejected = 1
		}
		values := []float64{up, states[b.Breaker], ejected, float64(b.InFlight), float64(b.Connections), float64(b.Requests), float64(b.Failures), float64(b.Opened), float64(b.Ejections)}
		for i, v := range values {
			kind := prometheus.GaugeValue
			if i >= 5 {
				kind = prometheus.CounterValue
			}
			ch <- prometheus.MustNewConstMetric(c.backend[i], kind, v, b.Service, b.ID)
		}
	}
	for _, d := range s.Services {
		for i, v := range []float64{float64(d.Waiting), d.RetriesAllowed, float64(d.RetriesSpent), float64(d.Bound), float64(d.Within)} {
			ch <- prometheus.MustNewConstMetric(c.service[i], prometheus.GaugeValue, v, d.Service)
		}
		for verdict, n := range d.Verdicts {
			ch <- prometheus.MustNewConstMetric(c.verdicts, prometheus.CounterValue, float64(n), d.Service, verdict)
		}
	}
	for _, t := range s.TCP {
		for i, v := range []int64{t.Open, t.Accepted, t.Refused, t.Failed, t.Received, t.Sent} {
			kind := prometheus.CounterValue
			if i == 0 {
				kind = prometheus.GaugeValue
			}
			ch <- prometheus.MustNewConstMetric(c.tcp[i], kind, float64(v), t.Name, t.Service)
		}
	}
	for _, l := range s.Connections {
		for i, v := range []int64{l.Open, l.Max, l.Refused, l.Denied, l.Closed, l.Failed} {
			kind := prometheus.GaugeValue
			if i >= 2 {
				kind = prometheus.CounterValue
			}
			ch <- prometheus.MustNewConstMetric(c.conns[i], kind, float64(v), l.Listener)
		}
	}
	for _, why := range h2guard.Reasons {
		ch <- prometheus.MustNewConstMetric(c.calmed, prometheus.CounterValue, float64(c.g.calmed[why].Load()), why.String())
	}
	for i, status := range malformedStatuses {
		ch <- prometheus.MustNewConstMetric(c.malformed, prometheus.CounterValue, float64(c.g.malformed[i].Load()), strconv.Itoa(status))
	}
}

// collectPeers returns how it stands with other gateways.
func (c *collector) collectPeers(ch chan<- prometheus.Metric) {
	seen := map[string]bool{}
	for _, p := range c.g.Peers() {
		if p.Self || seen[p.Address] { // names are given by peers, and two may give themselves the same
			continue
		}
		seen[p.Address] = true
		for i, v := range [2]bool{p.Hears, p.Reports} {
			value := 0.0
			if v {
				value = 1
			}
			ch <- prometheus.MustNewConstMetric(c.peer[i], prometheus.GaugeValue, value, p.Address)
		}
	}
	if shared := c.g.table.Load().shared; len(shared) > 0 {
		var charged, lost int64
		for _, l := range shared {
			charged += l.shared.Charged()
			lost += l.shared.Lost()
		}
		ch <- prometheus.MustNewConstMetric(c.peer[2], prometheus.CounterValue, float64(charged))
		ch <- prometheus.MustNewConstMetric(c.peer[3], prometheus.CounterValue, float64(lost))
	}
}
