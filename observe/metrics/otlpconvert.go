package metrics

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"github.com/prometheus/common/model"
	"github.com/prometheus/otlptranslator"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"

	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
)

// otlpConverter appends the points of one message.
type otlpConverter struct {
	batch   *Batch
	builder *labels.Builder
	names   otlptranslator.MetricNamer
	labels  otlptranslator.LabelNamer

	resource labels.Labels // job and instance
	metric   *otlp.Metric
	name     string
	latest   uint64 // newest time of a point of the resource
}

// appendOTLP appends the points of a message; each service is an origin of its own.
func (s *Store) appendOTLP(ctx context.Context, req *collector.ExportMetricsServiceRequest) (Result, error) {
	var all Result
	for _, rm := range req.ResourceMetrics {
		c := &otlpConverter{builder: labels.NewBuilder(labels.EmptyLabels()),
			names: otlptranslator.MetricNamer{WithMetricSuffixes: true}}
		c.setResource(rm.Resource)
		c.batch = s.Begin(ctx, "otlp "+c.resource.Get("job"))
		for _, sm := range rm.ScopeMetrics {
			for _, m := range sm.Metrics {
				c.convert(m)
			}
		}
		c.targetInfo(rm.Resource)
		r, err := c.batch.Commit()
		if err != nil {
			return all, err
		}
		all.Stored, all.Failed = all.Stored+r.Stored, all.Failed+r.Failed
		if all.Problems == nil {
			all.Problems = r.Problems
		}
	}
	return all, nil
}

func attribute(attrs []*common.KeyValue, name string) string {
	for _, a := range attrs {
		if a.GetKey() == name {
			return text(a.GetValue())
		}
	}
	return ""
}

// text writes an attribute's value. Lists and maps are written as protobuf's own text: they are no good as labels.
func text(v *common.AnyValue) string {
	switch v := v.GetValue().(type) {
	case nil:
		return ""
	case *common.AnyValue_StringValue:
		return v.StringValue
	case *common.AnyValue_BoolValue:
		return strconv.FormatBool(v.BoolValue)
	case *common.AnyValue_IntValue:
		return strconv.FormatInt(v.IntValue, 10)
	case *common.AnyValue_DoubleValue:
		return strconv.FormatFloat(v.DoubleValue, 'g', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

// setResource takes job and instance from the resource's attributes.
func (c *otlpConverter) setResource(r *resource.Resource) {
	job := attribute(r.GetAttributes(), "service.name")
	if ns := attribute(r.GetAttributes(), "service.namespace"); ns != "" && job != "" {
		job = ns + "/" + job
	}
	if job == "" {
		job = "unknown_service"
	}
	c.builder.Reset(labels.EmptyLabels())
	c.builder.Set("job", job)
	c.builder.Set("instance", attribute(r.GetAttributes(), "service.instance.id"))
	c.resource = c.builder.Labels()
}

// targetInfo appends the resource's other attributes as labels of one series, at the time of its newest point.
func (c *otlpConverter) targetInfo(r *resource.Resource) {
	if c.latest == 0 || len(r.GetAttributes()) == 0 {
		return
	}
	c.builder.Reset(c.resource)
	for _, a := range r.GetAttributes() {
		switch a.GetKey() {
		case "service.name", "service.namespace", "service.instance.id":
		default:
			c.setLabel(a)
		}
	}
	c.builder.Set(labels.MetricName, "target_info")
	c.batch.Append(c.builder.Labels(), Sample{T: millis(c.latest), V: 1})
}

func (c *otlpConverter) setLabel(a *common.KeyValue) {
	name, err := c.labels.Build(a.GetKey())
	if err != nil {
		c.batch.problem(fmt.Errorf("attribute %.100q: %w", a.GetKey(), err))
		return
	}
	if before := c.builder.Get(name); before != "" && name != "job" && name != "instance" {
		c.builder.Set(name, before+";"+text(a.GetValue())) // two attributes of one name: both are kept
		return
	}
	c.builder.Set(name, text(a.GetValue()))
}

// millis turns OTLP's time into milliseconds.
func millis(ns uint64) int64 { return int64(ns / 1e6) }

var otlpTypes = map[otlptranslator.MetricType]model.MetricType{
	otlptranslator.MetricTypeGauge: model.MetricTypeGauge, otlptranslator.MetricTypeMonotonicCounter: model.MetricTypeCounter,
	otlptranslator.MetricTypeNonMonotonicCounter: model.MetricTypeGauge, otlptranslator.MetricTypeHistogram: model.MetricTypeHistogram,
	otlptranslator.MetricTypeExponentialHistogram: model.MetricTypeHistogram, otlptranslator.MetricTypeSummary: model.MetricTypeSummary,
}

// convert appends the points of one metric.
func (c *otlpConverter) convert(m *otlp.Metric) {
	c.metric = m
	kind := otlptranslator.MetricType(otlptranslator.MetricTypeUnknown)
	temporality := otlp.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
	points := 0
	switch d := m.GetData().(type) {
	case *otlp.Metric_Gauge:
		kind, points = otlptranslator.MetricTypeGauge, len(d.Gauge.GetDataPoints())
	case *otlp.Metric_Sum:
		kind, temporality, points = otlptranslator.MetricTypeNonMonotonicCounter, d.Sum.GetAggregationTemporality(), len(d.Sum.GetDataPoints())
		if d.Sum.GetIsMonotonic() {
			kind = otlptranslator.MetricTypeMonotonicCounter
		}
	case *otlp.Metric_Histogram:
		kind, temporality, points = otlptranslator.MetricTypeHistogram, d.Histogram.GetAggregationTemporality(), len(d.Histogram.GetDataPoints())
	case *otlp.Metric_ExponentialHistogram:
		kind, temporality = otlptranslator.MetricTypeExponentialHistogram, d.ExponentialHistogram.GetAggregationTemporality()
		points = len(d.ExponentialHistogram.GetDataPoints())
	case *otlp.Metric_Summary:
		kind, points = otlptranslator.MetricTypeSummary, len(d.Summary.GetDataPoints())
	default:
		c.batch.problem(fmt.Errorf("metric %.100q has no data of a known kind", m.GetName()))
		return
	}
	var err error
	c.name, err = c.names.Build(otlptranslator.Metric{Name: m.GetName(), Unit: m.GetUnit(), Type: kind})
	if err == nil && temporality != otlp.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE {
		err = fmt.Errorf("%v is not supported: have the exporter send cumulative values", temporality)
	}
	if err != nil {
		c.batch.failed += points
		c.batch.problem(fmt.Errorf("metric %.100q: %w", m.GetName(), err))
		c.batch.o.store.counts.invalid.Add(int64(points))
		return
	}
	c.batch.o.store.metadata.set([]byte(c.name), func(md *metadata.Metadata) {
		*md = metadata.Metadata{Type: otlpTypes[kind], Unit: m.GetUnit(), Help: clipped([]byte(m.GetDescription()))}
	})
	switch d := m.GetData().(type) {
	case *otlp.Metric_Gauge:
		c.numbers(d.Gauge.GetDataPoints())
	case *otlp.Metric_Sum:
		c.numbers(d.Sum.GetDataPoints())
	case *otlp.Metric_Histogram:
		for _, p := range d.Histogram.GetDataPoints() {
			c.histogram(p)
		}
	case *otlp.Metric_ExponentialHistogram:
		for _, p := range d.ExponentialHistogram.GetDataPoints() {
			c.exponential(p)
		}
	case *otlp.Metric_Summary:
		for _, p := range d.Summary.GetDataPoints() {
			c.summary(p)
		}
	}
}

// series prepares the labels of a point; with adds those of one of its series.
func (c *otlpConverter) series(attrs []*common.KeyValue, t uint64) (with func(suffix string, pair ...string) labels.Labels) {
	c.latest = max(c.latest, t)
	c.builder.Reset(labels.EmptyLabels())
	for _, a := range attrs {
		c.setLabel(a)
	}
	c.resource.Range(func(l labels.Label) { c.builder.Set(l.Name, l.Value) })
	own := c.builder.Labels()
	return func(suffix string, pair ...string) labels.Labels {
		c.builder.Reset(own)
		c.builder.Set(labels.MetricName, c.name+suffix)
		for i := 0; i+1 < len(pair); i += 2 {
			c.builder.Set(pair[i], pair[i+1])
		}
		return c.builder.Labels()
	}
}

// value is the point's, or the mark of staleness where it says that there is none.
func value64(flags uint32, v float64) float64 {
	if flags&uint32(otlp.DataPointFlags_DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK) != 0 {
		return staleNaN
	}
	return v
}

func (c *otlpConverter) numbers(points []*otlp.NumberDataPoint) {
	for _, p := range points {
		v := p.GetAsDouble()
		if i, ok := p.GetValue().(*otlp.NumberDataPoint_AsInt); ok {
			v = float64(i.AsInt)
		}
		with := c.series(p.GetAttributes(), p.GetTimeUnixNano())
		c.batch.Append(with(""), Sample{T: millis(p.GetTimeUnixNano()), V: value64(p.GetFlags(), v), Exemplars: c.exemplars(p.GetExemplars())})
	}
}

func (c *otlpConverter) exemplars(all []*otlp.Exemplar) []exemplar.Exemplar {
	var out []exemplar.Exemplar
	for _, e := range all[:min(len(all), 10)] {
		v := e.GetAsDouble()
		if i, ok := e.GetValue().(*otlp.Exemplar_AsInt); ok {
			v = float64(i.AsInt)
		}
		b := labels.NewScratchBuilder(2)
		if len(e.GetSpanId()) > 0 {
			b.Add("span_id", fmt.Sprintf("%x", e.GetSpanId()))
		}
		if len(e.GetTraceId()) > 0 {
			b.Add("trace_id", fmt.Sprintf("%x", e.GetTraceId()))
		}
		out = append(out, exemplar.Exemplar{Labels: b.Labels(), Value: v, Ts: millis(e.GetTimeUnixNano()), HasTs: true})
	}
	return out
}

// maxBuckets of one histogram.
const maxBuckets = 1000

// histogram appends a histogram with explicit bounds as classic series.
func (c *otlpConverter) histogram(p *otlp.HistogramDataPoint) {
	bounds, counts := p.GetExplicitBounds(), p.GetBucketCounts()
	if len(counts) > maxBuckets || len(counts) > 0 && len(counts) != len(bounds)+1 {
		c.batch.failed++
		c.batch.o.store.counts.invalid.Add(1)
		c.batch.problem(fmt.Errorf("histogram %s: %d buckets with %d bounds: want one bound fewer, and at most %d", c.name, len(counts), len(bounds), maxBuckets))
		return
	}
	t, with := millis(p.GetTimeUnixNano()), c.series(p.GetAttributes(), p.GetTimeUnixNano())
	add := func(l labels.Labels, v float64, ex []exemplar.Exemplar) {
		c.batch.Append(l, Sample{T: t, V: value64(p.GetFlags(), v), Exemplars: ex})
	}
	if p.Sum != nil {
		add(with("_sum"), p.GetSum(), nil)
	}
	add(with("_count"), float64(p.GetCount()), nil)
	left := c.exemplars(p.GetExemplars())
	var below uint64
	for i := range bounds {
		if i >= len(counts) {
			break
		}
		below += counts[i]
		var in []exemplar.Exemplar
		in, left = split(left, bounds[i])
		add(with("_bucket", "le", strconv.FormatFloat(bounds[i], 'f', -1, 64)), float64(below), in)
	}
	add(with("_bucket", "le", "+Inf"), float64(p.GetCount()), left)
}

// split parts exemplars at a bound.
func split(all []exemplar.Exemplar, bound float64) (in, left []exemplar.Exemplar) {
	for _, e := range all {
		if e.Value <= bound {
			in = append(in, e)
		} else {
			left = append(left, e)
		}
	}
	return in, left
}

func (c *otlpConverter) summary(p *otlp.SummaryDataPoint) {
	t, with := millis(p.GetTimeUnixNano()), c.series(p.GetAttributes(), p.GetTimeUnixNano())
	add := func(l labels.Labels, v float64) { c.batch.Append(l, Sample{T: t, V: value64(p.GetFlags(), v)}) }
	add(with("_sum"), p.GetSum())
	add(with("_count"), float64(p.GetCount()))
	for _, q := range p.GetQuantileValues()[:min(len(p.GetQuantileValues()), maxBuckets)] {
		add(with("", "quantile", strconv.FormatFloat(q.GetQuantile(), 'f', -1, 64)), q.GetValue())
	}
}

// exponential appends a native histogram. OTLP's scale is Prometheus's schema, and its bucket i ends where Prometheus's
// bucket i+1 does.
func (c *otlpConverter) exponential(p *otlp.ExponentialHistogramDataPoint) {
	pos, neg := p.GetPositive(), p.GetNegative()
	scale := p.GetScale()
	down := max(scale-8, 0) // finer than Prometheus's finest: buckets are joined
	switch {
	case scale < -4:
		c.fail(fmt.Errorf("histogram %s: scale %d is not supported: want -4 or more", c.name, scale))
		return
	case outOfReach(pos.GetOffset()) || outOfReach(neg.GetOffset()):
		c.fail(fmt.Errorf("histogram %s: its buckets begin at %d and %d: no number is as large or small", c.name, pos.GetOffset(), neg.GetOffset()))
		return
	case len(pos.GetBucketCounts()) > maxBuckets || len(neg.GetBucketCounts()) > maxBuckets || down > 20:
		c.fail(fmt.Errorf("histogram %s: more than %d buckets, or a scale of %d", c.name, maxBuckets, scale))
		return
	}
	h := &histogram.Histogram{Schema: scale - down, Count: p.GetCount(), Sum: p.GetSum(), ZeroCount: p.GetZeroCount(), ZeroThreshold: p.GetZeroThreshold()}
	if h.ZeroThreshold == 0 {
		h.ZeroThreshold = 1e-128
	}
	h.PositiveSpans, h.PositiveBuckets = spans(pos, down)
	h.NegativeSpans, h.NegativeBuckets = spans(neg, down)
	if p.GetFlags()&uint32(otlp.DataPointFlags_DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK) != 0 {
		h = &histogram.Histogram{Sum: staleNaN}
	} else if err := h.Validate(); err != nil {
		c.fail(fmt.Errorf("histogram %s: %w", c.name, err))
		return
	}
	with := c.series(p.GetAttributes(), p.GetTimeUnixNano())
	c.batch.Append(with(""), Sample{T: millis(p.GetTimeUnixNano()), H: h})
}

// outOfReach says that no float64 lies in a bucket: at the finest scale of 28 there are 2^28 to each power of two.
func outOfReach(offset int32) bool { return offset < -1<<30 || offset > 1<<30 }

func (c *otlpConverter) fail(err error) {
	c.batch.failed++
	c.batch.o.store.counts.invalid.Add(1)
	c.batch.problem(err)
}

// spans turns consecutive buckets into Prometheus's spans with differences, joining 2^down of them into one.
func spans(b *otlp.ExponentialHistogramDataPoint_Buckets, down int32) ([]histogram.Span, []int64) {
	counts := map[int32]uint64{}
	lo, hi := int32(math.MaxInt32), int32(math.MinInt32)
	for i, n := range b.GetBucketCounts() {
		if n == 0 {
			continue
		}
		at := (b.GetOffset()+int32(i))>>down + 1
		counts[at] += n
		lo, hi = min(lo, at), max(hi, at)
	}
	if len(counts) == 0 {
		return nil, nil
	}
	var out []histogram.Span
	var deltas []int64
	var before uint64
	gap := lo
	for at := lo; at <= hi; at++ {
		n, ok := counts[at]
		if !ok {
			gap++
			continue
		}
		if len(out) == 0 || gap != 0 {
			out = append(out, histogram.Span{Offset: gap})
		}
		gap = 0
		out[len(out)-1].Length++
		deltas = append(deltas, int64(n)-int64(before))
		before = n
	}
	return out, deltas
}
