package traces

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// red counts requests, errors and durations of spans, and calls from service to service, before anything is left out.
type red struct {
	mu    sync.Mutex
	spans map[spanKey]*spanCount
	edges map[edgeKey]*edgeCount
}

type spanKey struct{ service, name, kind string }

type edgeKey struct{ client, server string }

type spanCount struct {
	ok, failed int64
	sum        float64 // seconds
	buckets    [len(bounds)]uint64
}

type edgeCount struct {
	calls, failed int64
	sum           float64
}

// bounds of the histograms, in seconds.
var bounds = [...]float64{0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10}

const (
	maxOperations = 2000 // counted apart; further ones of a service together
	maxEdges      = 2000
	otherName     = "(other)"
)

func newRED() *red { return &red{spans: map[spanKey]*spanCount{}, edges: map[edgeKey]*edgeCount{}} }

func (r *red) count(s *Span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := spanKey{s.Service, s.Name, s.Kind}
	c := r.spans[key]
	if c == nil {
		if len(r.spans) >= maxOperations {
			key.name = otherName
			if len(r.spans) >= 2*maxOperations {
				key.service = otherName
			}
			c = r.spans[key]
		}
		if c == nil {
			c = &spanCount{}
			r.spans[key] = c
		}
	}
	if s.Error {
		c.failed++
	} else {
		c.ok++
	}
	seconds := s.Took().Seconds()
	c.sum += seconds
	for i, b := range bounds {
		if seconds <= b {
			c.buckets[i]++
		}
	}
}

// edge counts a call, once the caller is known.
func (r *red) edge(s *Span) {
	if s.Caller == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := edgeKey{s.Caller, s.Service}
	c := r.edges[key]
	if c == nil {
		if len(r.edges) >= maxEdges {
			key = edgeKey{otherName, otherName}
			c = r.edges[key]
		}
		if c == nil {
			c = &edgeCount{}
			r.edges[key] = c
		}
	}
	c.calls++
	c.sum += s.Took().Seconds()
	if s.Error {
		c.failed++
	}
}

// Collector shows the counters to Prometheus, under the names of OpenTelemetry's spanmetrics and servicegraph connectors where they have
// names for them.
func (t *Traces) Collector() prometheus.Collector { return collector{t} }

type collector struct{ t *Traces }

var (
	descCalls     = prometheus.NewDesc("traces_span_metrics_calls_total", "Spans.", []string{"service_name", "span_name", "span_kind", "status_code"}, nil)
	descDurations = prometheus.NewDesc("traces_span_metrics_duration_seconds", "Durations of spans.", []string{"service_name", "span_name", "span_kind"}, nil)
	descEdges     = prometheus.NewDesc("traces_service_graph_request_total", "Calls from service to service.", []string{"client", "server"}, nil)
	descEdgeFails = prometheus.NewDesc("traces_service_graph_request_failed_total", "Calls from service to service that failed.", []string{"client", "server"}, nil)
	descEdgeTime  = prometheus.NewDesc("traces_service_graph_request_server_seconds_total", "Time that calls from service to service took the server.", []string{"client", "server"}, nil)
	descTaken     = prometheus.NewDesc("banyan_traces_spans_total", "Spans taken.", nil, nil)
	descLost      = prometheus.NewDesc("banyan_traces_lost_spans_total", "Spans that were not kept although their trace was, or never read.", []string{"reason"}, nil)
	descKept      = prometheus.NewDesc("banyan_traces_kept_total", "Traces kept.", []string{"reason"}, nil)
	descLeftOut   = prometheus.NewDesc("banyan_traces_left_out_total", "Traces left out by sampling.", nil, nil)
	descLate      = prometheus.NewDesc("banyan_traces_late_spans_total", "Spans that came after their trace was decided.", nil, nil)
	descEarly     = prometheus.NewDesc("banyan_traces_decided_early_total", "Traces decided early for want of memory.", nil, nil)
	descPending   = prometheus.NewDesc("banyan_traces_pending_bytes", "Bytes of spans whose traces are not decided.", nil, nil)
	descDisk      = prometheus.NewDesc("banyan_traces_disk_bytes", "Bytes of sealed segments on disk.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descCalls, descDurations, descEdges, descEdgeFails, descEdgeTime, descTaken, descLost, descKept, descLeftOut, descLate, descEarly, descPending, descDisk} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	r := c.t.redded
	r.mu.Lock()
	for k, s := range r.spans {
		service, name := valid(k.service), valid(k.name)
		if s.ok > 0 {
			counter(descCalls, float64(s.ok), service, name, k.kind, "STATUS_CODE_UNSET")
		}
		if s.failed > 0 {
			counter(descCalls, float64(s.failed), service, name, k.kind, "STATUS_CODE_ERROR")
		}
		buckets := make(map[float64]uint64, len(bounds))
		for i, b := range bounds {
			buckets[b] = s.buckets[i]
		}
		ch <- prometheus.MustNewConstHistogram(descDurations, uint64(s.ok+s.failed), s.sum, buckets, service, name, k.kind)
	}
	for k, e := range r.edges {
		client, server := valid(k.client), valid(k.server)
		counter(descEdges, float64(e.calls), client, server)
		counter(descEdgeFails, float64(e.failed), client, server)
		counter(descEdgeTime, e.sum, client, server)
	}
	r.mu.Unlock()

	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	n := &c.t.counters
	counter(descTaken, float64(n.spans))
	counter(descLost, float64(n.refused), "refused")
	counter(descLost, float64(n.overTrace), "trace too large")
	counter(descLost, float64(n.failed), "disk")
	for reason, k := range n.kept {
		counter(descKept, float64(k), valid(reason))
	}
	counter(descLeftOut, float64(n.leftOut))
	counter(descLate, float64(n.late))
	counter(descEarly, float64(n.early))
	ch <- prometheus.MustNewConstMetric(descPending, prometheus.GaugeValue, float64(c.t.bytes))
	ch <- prometheus.MustNewConstMetric(descDisk, prometheus.GaugeValue, float64(c.t.store.Stats().SealedBytes))
}
