package metrics

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
)

func attr(name, v string) *common.KeyValue {
	return &common.KeyValue{Key: name, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: v}}}
}

const atSecond = 1_000_000_000

func export(ms ...*otlp.Metric) *collector.ExportMetricsServiceRequest {
	return &collector.ExportMetricsServiceRequest{ResourceMetrics: []*otlp.ResourceMetrics{{
		Resource:     &resource.Resource{Attributes: []*common.KeyValue{attr("service.name", "shop"), attr("service.instance.id", "1"), attr("host.name", "h")}},
		ScopeMetrics: []*otlp.ScopeMetrics{{Metrics: ms}},
	}}}
}

func numbers(v float64) []*otlp.NumberDataPoint {
	return []*otlp.NumberDataPoint{{TimeUnixNano: atSecond, Value: &otlp.NumberDataPoint_AsDouble{AsDouble: v}, Attributes: []*common.KeyValue{attr("http.route", "/a")}}}
}

const cumulative = otlp.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE

func sum(v float64, temporality otlp.AggregationTemporality) *otlp.Metric {
	return &otlp.Metric{Name: "http.requests", Description: "Requests.", Data: &otlp.Metric_Sum{Sum: &otlp.Sum{IsMonotonic: true, AggregationTemporality: temporality, DataPoints: numbers(v)}}}
}

func TestOTLP(t *testing.T) {
	six := 6.0
	for name, test := range map[string]struct {
		metric *otlp.Metric
		want   string
	}{
		"gauge": {&otlp.Metric{Name: "queue.length", Unit: "By", Data: &otlp.Metric_Gauge{Gauge: &otlp.Gauge{DataPoints: numbers(5)}}}, `
{__name__="queue_length_bytes", http_route="/a", instance="1", job="shop"} 5@1000
`},
		"sum": {sum(7, cumulative), `
{__name__="http_requests_total", http_route="/a", instance="1", job="shop"} 7@1000
`},
		"histogram": {&otlp.Metric{Name: "latency", Unit: "s", Data: &otlp.Metric_Histogram{Histogram: &otlp.Histogram{AggregationTemporality: cumulative,
			DataPoints: []*otlp.HistogramDataPoint{{TimeUnixNano: atSecond, Count: 6, Sum: &six, ExplicitBounds: []float64{0.1, 1}, BucketCounts: []uint64{1, 2, 3}}}}}}, `
{__name__="latency_seconds_bucket", instance="1", job="shop", le="+Inf"} 6@1000
{__name__="latency_seconds_bucket", instance="1", job="shop", le="0.1"} 1@1000
{__name__="latency_seconds_bucket", instance="1", job="shop", le="1"} 3@1000
{__name__="latency_seconds_count", instance="1", job="shop"} 6@1000
{__name__="latency_seconds_sum", instance="1", job="shop"} 6@1000
`},
		// Scale 0: bucket i is (2^i, 2^(i+1)].
		"exponential histogram": {&otlp.Metric{Name: "size", Data: &otlp.Metric_ExponentialHistogram{ExponentialHistogram: &otlp.ExponentialHistogram{AggregationTemporality: cumulative,
			DataPoints: []*otlp.ExponentialHistogramDataPoint{{TimeUnixNano: atSecond, Count: 6, Sum: &six, ZeroCount: 1,
				Positive: &otlp.ExponentialHistogramDataPoint_Buckets{Offset: -1, BucketCounts: []uint64{2, 0, 3}}}}}}}, `
{__name__="size", instance="1", job="shop"} {count:6, sum:6, [-1e-128,1e-128]:1, (0.5,1]:2, (2,4]:3}@1000
`},
		"summary": {&otlp.Metric{Name: "old", Data: &otlp.Metric_Summary{Summary: &otlp.Summary{DataPoints: []*otlp.SummaryDataPoint{{TimeUnixNano: atSecond, Count: 2, Sum: 3,
			QuantileValues: []*otlp.SummaryDataPoint_ValueAtQuantile{{Quantile: 0.5, Value: 1}}}}}}}, `
{__name__="old", instance="1", job="shop", quantile="0.5"} 1@1000
{__name__="old_count", instance="1", job="shop"} 2@1000
{__name__="old_sum", instance="1", job="shop"} 3@1000
`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, kind := range []string{"application/x-protobuf", "application/json"} {
				s := openStore(t, Config{})
				data, err := proto.Marshal(export(test.metric))
				if kind == "application/json" {
					data, err = protojson.Marshal(export(test.metric))
				}
				if err != nil {
					t.Fatal(err)
				}
				if w := post(s.OTLP(), data, "Content-Type", kind); w.Code != http.StatusOK || w.Header().Get("Content-Type") != kind {
					t.Fatalf("status %d, %s: %s", w.Code, w.Header().Get("Content-Type"), w.Body)
				}
				if got := dump(t, s, matcher(t, "__name__", "[^t].+|t[^a].+")); got != strings.TrimPrefix(test.want, "\n") {
					t.Errorf("%s: got\n%swant%s", kind, got, test.want)
				}
				if got, want := dump(t, s, matcher(t, "__name__", "target_info")), `{__name__="target_info", host_name="h", instance="1", job="shop"} 1@1000`+"\n"; got != want {
					t.Errorf("%s: got %s want %s", kind, got, want)
				}
			}
		})
	}
}

func TestOTLPRefuses(t *testing.T) {
	s := openStore(t, Config{Limits: Limits{Body: 4 << 20}})
	h := s.OTLP()
	wire := func(m *otlp.Metric) []byte {
		data, err := proto.Marshal(export(m))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var zip bytes.Buffer
	z := gzip.NewWriter(&zip)
	if _, err := z.Write(make([]byte, 2<<20)); err != nil {
		t.Fatal(err)
	}
	z.Close()
	exponential := func(offset int32, scale int32) *otlp.Metric {
		return &otlp.Metric{Name: "size", Data: &otlp.Metric_ExponentialHistogram{ExponentialHistogram: &otlp.ExponentialHistogram{AggregationTemporality: cumulative,
			DataPoints: []*otlp.ExponentialHistogramDataPoint{{TimeUnixNano: atSecond, Count: 2, Scale: scale,
				Positive: &otlp.ExponentialHistogramDataPoint_Buckets{Offset: offset, BucketCounts: []uint64{1, 1}}}}}}}
	}
	for _, test := range []struct {
		name    string
		body    []byte
		headers []string
		status  int
		says    string
	}{
		{"no kind", nil, nil, 415, "want application"},
		{"malformed", []byte{0xff, 1, 2}, []string{"Content-Type", "application/x-protobuf"}, 400, "reading the message"},
		{"malformed JSON", []byte(`{"resourceMetrics": 7}`), []string{"Content-Type", "application/json"}, 400, "reading the message"},
		{"a bomb", zip.Bytes(), []string{"Content-Type", "application/x-protobuf", "Content-Encoding", "gzip"}, 413, "too large"},
		{"delta", wire(sum(1, otlp.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA)), []string{"Content-Type", "application/x-protobuf"}, 200, "not supported"},
		{"an offset at the end of the world", wire(exponential(1<<31-1, 0)), []string{"Content-Type", "application/x-protobuf"}, 200, "no number is"},
		{"a scale that is too coarse", wire(exponential(0, -9)), []string{"Content-Type", "application/x-protobuf"}, 200, "not supported"},
		{"no data", wire(&otlp.Metric{Name: "x"}), []string{"Content-Type", "application/x-protobuf"}, 200, "no data"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := post(h, test.body, test.headers...)
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.says) {
				t.Errorf("status %d, %q: want %d, %q", w.Code, w.Body, test.status, test.says)
			}
		})
	}
}

// Many services are not many origins: a sender cannot grow the bookkeeping without bound.
func TestOTLPManyServices(t *testing.T) {
	s := openStore(t, Config{})
	for i := range maxSenders + 50 {
		req := export(sum(1, cumulative))
		req.ResourceMetrics[0].Resource.Attributes[0] = attr("service.name", strings.Repeat("x", i%40)+string(rune('a'+i%26))+strings.Repeat("y", i/40))
		if _, err := s.appendOTLP(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.sortedOrigins()); n > maxSenders+1 {
		t.Errorf("%d origins: want at most %d", n, maxSenders+1)
	}
}
