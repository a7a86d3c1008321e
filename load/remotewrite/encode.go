package remotewrite

import (
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protowire"
)

// label is a name and its value.
type label struct{ name, value string }

// sample is one value of one series, whose labels are sorted by name.
type sample struct {
	labels []label
	value  float64
}

// samples flattens families as the text format does: histograms and summaries become series of numbers. extra labels are
// added where a series has none of that name.
func samples(families []*dto.MetricFamily, extra []label) (out []sample) {
	for _, f := range families {
		for _, m := range f.GetMetric() {
			add := func(suffix string, v float64, more ...label) {
				out = append(out, sample{labelsOf(f.GetName()+suffix, m, extra, more), v})
			}
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				add("", m.GetCounter().GetValue())
			case dto.MetricType_GAUGE:
				add("", m.GetGauge().GetValue())
			case dto.MetricType_UNTYPED:
				add("", m.GetUntyped().GetValue())
			case dto.MetricType_SUMMARY:
				for _, q := range m.GetSummary().GetQuantile() {
					add("", q.GetValue(), label{"quantile", number(q.GetQuantile())})
				}
				add("_sum", m.GetSummary().GetSampleSum())
				add("_count", float64(m.GetSummary().GetSampleCount()))
			case dto.MetricType_HISTOGRAM:
				h := m.GetHistogram()
				for _, b := range h.GetBucket() {
					if !math.IsInf(b.GetUpperBound(), 1) {
						add("_bucket", float64(b.GetCumulativeCount()), label{"le", number(b.GetUpperBound())})
					}
				}
				add("_bucket", float64(h.GetSampleCount()), label{"le", "+Inf"})
				add("_sum", h.GetSampleSum())
				add("_count", float64(h.GetSampleCount()))
			}
		}
	}
	return out
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

// labelsOf puts the labels of a series together. Empty ones are the same as none.
func labelsOf(name string, m *dto.Metric, extra, more []label) []label {
	out := []label{{"__name__", name}}
	add := func(l label) {
		if l.value != "" && !slices.ContainsFunc(out, func(o label) bool { return o.name == l.name }) {
			out = append(out, label{l.name, strings.ToValidUTF8(l.value, "\uFFFD")})
		}
	}
	for _, l := range more {
		add(l)
	}
	for _, l := range m.GetLabel() {
		add(label{l.GetName(), l.GetValue()})
	}
	for _, l := range extra {
		add(l)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].name < out[j].name })
	return out
}

// Fields of the messages prometheus.WriteRequest, TimeSeries, Label and Sample.
const (
	fieldSeries    = 1
	fieldLabels    = 1
	fieldSamples   = 2
	fieldName      = 1
	fieldValue     = 2
	fieldNumber    = 1
	fieldTimestamp = 2
)

// encode writes a prometheus.WriteRequest with one sample for each series, all at one instant, in milliseconds since 1970.
func encode(all []sample, at int64) []byte {
	var out, series, inner []byte
	for _, s := range all {
		series = series[:0]
		for _, l := range s.labels {
			inner = protowire.AppendTag(inner[:0], fieldName, protowire.BytesType)
			inner = protowire.AppendString(inner, l.name)
			inner = protowire.AppendTag(inner, fieldValue, protowire.BytesType)
			inner = protowire.AppendString(inner, l.value)
			series = protowire.AppendTag(series, fieldLabels, protowire.BytesType)
			series = protowire.AppendBytes(series, inner)
		}
		inner = protowire.AppendTag(inner[:0], fieldNumber, protowire.Fixed64Type)
		inner = protowire.AppendFixed64(inner, math.Float64bits(s.value))
		inner = protowire.AppendTag(inner, fieldTimestamp, protowire.VarintType)
		inner = protowire.AppendVarint(inner, uint64(at))
		series = protowire.AppendTag(series, fieldSamples, protowire.BytesType)
		series = protowire.AppendBytes(series, inner)
		out = protowire.AppendTag(out, fieldSeries, protowire.BytesType)
		out = protowire.AppendBytes(out, series)
	}
	return out
}
