package load

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/banyanhq/banyan/stats"
)

// Metrics are the figures of the run under way as Prometheus has them, for a page that is scraped or for remote write.
// What counts is taken when it is asked for: a run that nobody asks about pays nothing. A run is attached by
// Config.Metrics, one at a time; the zero value is ready and has none.
//
// Counters by step are of the measured part. With Workers only the totals are known while the run is under way, and its
// steps from its end on.
type Metrics struct {
	mu     sync.Mutex
	latest Progress
	run    *run    // under way in this process; nil: none
	result *Result // of the run that has ended
}

var _ prometheus.Collector = (*Metrics)(nil)

// latencyBounds are the upper ends of the buckets of a latency, in seconds.
var latencyBounds = []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("banyan_load_"+name, help, labels, nil)
}

var (
	descElapsed     = desc("elapsed_seconds", "Since the start of the run, the warm-up included.")
	descPlanned     = desc("planned_seconds", "Length of the run, the warm-up included.")
	descWarming     = desc("warming_up", "1 while what is sent is not part of the result.")
	descOffered     = desc("offered_rate", "Scenarios of an open workload that were due, per second, over the last second.")
	descSent        = desc("sent_total", "Requests that were sent, the warm-up included.")
	descFailed      = desc("failed_total", "Requests that ended with an error, the warm-up included.")
	descInFlight    = desc("in_flight", "Requests that are under way.")
	descWaiting     = desc("waiting", "Requests that are due and wait for a connection, or for the generator.", "for")
	descConnections = desc("connections", "Connections that are open.")
	descCPU         = desc("generator_cpu_cores", "CPU that the generator used over the last second.")
	descCores       = desc("generator_cores", "Cores that the generator may use.")
	descRecent      = desc("recent_latency_seconds", "Latency of the requests that ended in the last second.", "quantile")
	descRequests    = desc("requests_total", "Requests of the measured part that ended, well or with an error.", "step")
	descErrors      = desc("errors_total", "Requests of the measured part that ended with an error, by kind.", "step", "kind")
	descNotSent     = desc("not_sent_total", "Requests of the measured part that were due and were given up.", "step")
	descBytes       = desc("received_bytes_total", "Bytes that were read for the requests of the measured part.", "step")
	descLatency     = desc("latency_seconds", "From the intended start to the end of the answer, in the measured part.", "step")
	descService     = desc("service_seconds", "From the actual sending to the end of the answer, in the measured part.", "step")
)

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descElapsed, descPlanned, descWarming, descOffered, descSent, descFailed, descInFlight, descWaiting,
		descConnections, descCPU, descCores, descRecent, descRequests, descErrors, descNotSent, descBytes, descLatency, descService} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	m.mu.Lock()
	p, r, res := m.latest, m.run, m.result
	m.mu.Unlock()
	if p.Length == 0 {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if r != nil { // fresher than the last look
		p.Elapsed, p.InFlight, p.Waiting, p.Connections = r.now(), r.rec.inFlight.Load(), r.queue(), r.connections()
		p.TotalSent, p.TotalFailed = r.rec.sent.Load(), r.rec.failed.Load()
	}
	gauge(descElapsed, p.Elapsed.Seconds())
	gauge(descPlanned, p.Length.Seconds())
	gauge(descWarming, oneIf(p.Warming))
	gauge(descOffered, p.Offered)
	to <- prometheus.MustNewConstMetric(descSent, prometheus.CounterValue, float64(p.TotalSent))
	to <- prometheus.MustNewConstMetric(descFailed, prometheus.CounterValue, float64(p.TotalFailed))
	gauge(descInFlight, float64(p.InFlight))
	gauge(descWaiting, float64(p.Waiting), "connection")
	gauge(descWaiting, float64(p.Behind), "generator")
	gauge(descConnections, float64(p.Connections))
	gauge(descCPU, p.CPU)
	gauge(descCores, float64(p.Cores))
	if p.Recent != nil && p.Recent.Count() > 0 {
		for label, v := range map[string]time.Duration{"0.5": p.P50, "0.9": p.P90, "0.99": p.P99, "1": p.Max} {
			gauge(descRecent, v.Seconds(), label)
		}
	}
	switch {
	case r != nil:
		for id := range r.plan.names {
			r.rec.metrics(id, to)
		}
	case res != nil:
		for _, s := range res.Steps {
			f := newStepFigures(s.Name)
			f.add(s)
			f.send(to)
		}
	}
}

// attach makes r the run that is asked about.
func (m *Metrics) attach(r *run) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.run, m.result = r, nil
	m.latest = Progress{Length: r.end, Warming: r.rec.warm > 0}
}

// see takes a look at the run.
func (m *Metrics) see(p Progress) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.latest = p
}

// finish takes the result of the run that was attached.
func (m *Metrics) finish(res *Result) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.run; r != nil {
		m.latest.Elapsed, m.latest.TotalSent, m.latest.TotalFailed = min(r.now(), r.end), r.rec.sent.Load(), r.rec.failed.Load()
	}
	m.run, m.result = nil, res
	m.latest.InFlight, m.latest.Waiting, m.latest.Behind, m.latest.Connections = 0, 0, 0, 0
	m.latest.Offered, m.latest.CPU, m.latest.Recent, m.latest.Warming = 0, 0, nil, false
}

// stepFigures are the counts of one step as Prometheus has them.
type stepFigures struct {
	name              string
	requests, notSent int64
	bytes             int64
	errors            map[Kind]int64
	latency, service  bucketCounts
}

// bucketCounts is a histogram in latencyBounds.
type bucketCounts struct {
	count  int64
	sum    float64 // nanoseconds
	within []int64 // by bound
}

func newStepFigures(name string) *stepFigures {
	return &stepFigures{name: name, errors: map[Kind]int64{}, latency: bucketCounts{within: make([]int64, len(latencyBounds))}, service: bucketCounts{within: make([]int64, len(latencyBounds))}}
}

func (f *stepFigures) add(s *Step) {
	f.requests += s.Requests
	f.notSent += s.NotSent
	f.bytes += s.BytesIn
	for k, n := range s.Errors {
		f.errors[k] += n
	}
	f.latency.add(s.Latency)
	f.service.add(s.Service)
}

// add counts what h holds. A bucket of h counts where its upper end lies, which is right to a thousandth.
func (b *bucketCounts) add(h *stats.Histogram) {
	b.count += h.Count()
	b.sum += h.Sum()
	i := 0
	before := int64(0)
	for _, x := range h.Buckets() {
		for i < len(latencyBounds) && float64(x.High) > latencyBounds[i]*1e9 {
			b.within[i] += before
			i++
		}
		before += x.Count
	}
	for ; i < len(latencyBounds); i++ {
		b.within[i] += before
	}
}

func (b *bucketCounts) metric(d *prometheus.Desc, step string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(latencyBounds))
	for i, n := range b.within {
		buckets[latencyBounds[i]] = uint64(n)
	}
	return prometheus.MustNewConstHistogram(d, uint64(b.count), b.sum/1e9, buckets, step)
}

func (f *stepFigures) send(to chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n int64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	counter(descRequests, f.requests, f.name)
	counter(descNotSent, f.notSent, f.name)
	counter(descBytes, f.bytes, f.name)
	for k, n := range f.errors {
		counter(descErrors, n, f.name, string(k))
	}
	to <- f.latency.metric(descLatency, f.name)
	to <- f.service.metric(descService, f.name)
}

// metrics sends the counts of one step so far.
func (r *recorder) metrics(id int, to chan<- prometheus.Metric) {
	f := newStepFigures(r.shards[0].steps[id].Name)
	for i := range r.shards {
		sh := &r.shards[i]
		sh.mu.Lock()
		f.add(&sh.steps[id].Step)
		sh.mu.Unlock()
	}
	f.send(to)
}
