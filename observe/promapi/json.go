package promapi

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

// rawJSON is an answer that is written already.
type rawJSON string

// appendData writes an answer's data. Lists that are empty are written as such, never as null.
func appendData(b []byte, data any) ([]byte, error) {
	switch d := data.(type) {
	case rawJSON:
		return append(b, d...), nil
	case []string:
		return appendStrings(b, d), nil
	case []labels.Labels:
		b = append(b, '[')
		for i, l := range d {
			b = appendLabels(comma(b, i), l)
		}
		return append(b, ']'), nil
	case []exemplar.QueryResult:
		b = append(b, '[')
		for i, r := range d {
			b = appendExemplars(comma(b, i), r)
		}
		return append(b, ']'), nil
	}
	text, err := json.Marshal(data)
	return append(b, text...), err
}

func comma(b []byte, i int) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	return b
}

func appendStrings(b []byte, all []string) []byte {
	b = append(b, '[')
	for i, s := range all {
		b = appendString(comma(b, i), s)
	}
	return append(b, ']')
}

// appendList writes a member of the envelope, if there is anything in it.
func appendList(b []byte, name string, all []string) []byte {
	if len(all) == 0 {
		return b
	}
	b = append(b, `,"`+name+`":`...)
	return appendStrings(b, all)
}

const hex = "0123456789abcdef"

// appendString writes a JSON string (RFC 8259). What is not UTF-8 becomes U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			if r, n := utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || n != 1 {
				i += n
				continue
			}
		}
		b = append(b, s[start:i]...)
		switch {
		case c >= utf8.RuneSelf:
			b = append(b, "\ufffd"...)
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

func appendLabels(b []byte, l labels.Labels) []byte {
	b = append(b, '{')
	i := 0
	l.Range(func(l labels.Label) {
		b = appendString(comma(b, i), l.Name)
		b = appendString(append(b, ':'), l.Value)
		i++
	})
	return append(b, '}')
}

// appendTime writes milliseconds as seconds, with as many decimals as it takes.
func appendTime(b []byte, t int64) []byte {
	if t < 0 {
		b, t = append(b, '-'), -t
	}
	b = strconv.AppendInt(b, t/1000, 10)
	switch f := t % 1000; {
	case f == 0:
		return b
	case f < 10:
		b = append(b, '.', '0', '0')
		return strconv.AppendInt(b, f, 10)
	case f < 100:
		b = append(b, '.', '0')
		return strconv.AppendInt(b, f, 10)
	default:
		return strconv.AppendInt(append(b, '.'), f, 10)
	}
}

// appendValue writes a number as the string that Prometheus makes of it.
func appendValue(b []byte, v float64) []byte {
	format := byte('f')
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	b = append(b, '"')
	b = strconv.AppendFloat(b, v, format, -1, 64)
	return append(b, '"')
}

func appendPoint(b []byte, t int64, v float64) []byte {
	b = append(appendTime(append(b, '['), t), ',')
	return append(appendValue(b, v), ']')
}

func appendHistogramPoint(b []byte, t int64, h *histogram.FloatHistogram) []byte {
	b = append(appendTime(append(b, '['), t), ',')
	return append(appendHistogram(b, h), ']')
}

// appendHistogram writes a native histogram: its buckets with a code for which of their ends belong to them.
func appendHistogram(b []byte, h *histogram.FloatHistogram) []byte {
	b = appendValue(append(b, `{"count":`...), h.Count)
	b = appendValue(append(b, `,"sum":`...), h.Sum)
	n := 0
	for it := h.AllBucketIterator(); it.Next(); {
		bucket := it.At()
		if bucket.Count == 0 {
			continue
		}
		if n == 0 {
			b = append(b, `,"buckets":[`...)
		}
		ends := byte('2') // open on both sides
		switch {
		case bucket.LowerInclusive && bucket.UpperInclusive:
			ends = '3'
		case bucket.LowerInclusive:
			ends = '1'
		case bucket.UpperInclusive:
			ends = '0'
		}
		b = append(comma(b, n), '[', ends, ',')
		b = append(appendValue(b, bucket.Lower), ',')
		b = append(appendValue(b, bucket.Upper), ',')
		b = append(appendValue(b, bucket.Count), ']')
		n++
	}
	if n > 0 {
		b = append(b, ']')
	}
	return append(b, '}')
}

// appendResult writes the result of a query.
func appendResult(b []byte, r result) (out string, err error) {
	b = append(b, `{"resultType":"`+string(r.value.Type())+`","result":`...)
	switch v := r.value.(type) {
	case promql.Matrix:
		b = append(b, '[')
		for i := range v {
			b = appendSeries(comma(b, i), &v[i])
		}
		b = append(b, ']')
	case promql.Vector:
		b = append(b, '[')
		for i := range v {
			b = appendSample(comma(b, i), &v[i])
		}
		b = append(b, ']')
	case promql.Scalar:
		b = appendPoint(b, v.T, v.V)
	case promql.String:
		b = append(appendTime(append(b, '['), v.T), ',')
		b = append(appendString(b, v.V), ']')
	default:
		return "", fmt.Errorf("a result of type %T", r.value)
	}
	if r.stats != nil {
		text, err := json.Marshal(r.stats)
		if err != nil {
			return "", err
		}
		b = append(append(b, `,"stats":`...), text...)
	}
	return string(append(b, '}')), nil
}

func appendSeries(b []byte, s *promql.Series) []byte {
	b = appendLabels(append(b, `{"metric":`...), s.Metric)
	if len(s.Floats) > 0 {
		b = append(b, `,"values":[`...)
		for i, p := range s.Floats {
			b = appendPoint(comma(b, i), p.T, p.F)
		}
		b = append(b, ']')
	}
	if len(s.Histograms) > 0 {
		b = append(b, `,"histograms":[`...)
		for i, p := range s.Histograms {
			b = appendHistogramPoint(comma(b, i), p.T, p.H)
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

func appendSample(b []byte, s *promql.Sample) []byte {
	b = appendLabels(append(b, `{"metric":`...), s.Metric)
	if s.H != nil {
		b = appendHistogramPoint(append(b, `,"histogram":`...), s.T, s.H)
	} else {
		b = appendPoint(append(b, `,"value":`...), s.T, s.F)
	}
	return append(b, '}')
}

func appendExemplars(b []byte, r exemplar.QueryResult) []byte {
	b = appendLabels(append(b, `{"seriesLabels":`...), r.SeriesLabels)
	b = append(b, `,"exemplars":[`...)
	for i, e := range r.Exemplars {
		b = appendLabels(append(comma(b, i), `{"labels":`...), e.Labels)
		b = appendValue(append(b, `,"value":`...), e.Value)
		b = append(appendTime(append(b, `,"timestamp":`...), e.Ts), '}')
	}
	return append(b, ']', '}')
}
