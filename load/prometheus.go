package load

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/banyanhq/banyan/stats"
)

// WritePrometheus writes the totals in the Prometheus text exposition format, version 0.0.4, as node_exporter's textfile
// collector takes them. They are gauges and summaries of one finished run: a new file replaces them.
func (r *Result) WritePrometheus(w io.Writer) error {
	var b strings.Builder
	family := func(name, kind, help string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	value := func(name string, v float64, labels ...string) {
		b.WriteString(name)
		for i := 0; i+1 < len(labels); i += 2 {
			sep := ","
			if i == 0 {
				sep = "{"
			}
			fmt.Fprintf(&b, `%s%s="%s"`, sep, labels[i], promEscape(labels[i+1]))
		}
		if len(labels) > 0 {
			b.WriteString("}")
		}
		b.WriteString(" " + strconv.FormatFloat(v, 'g', -1, 64) + "\n")
	}
	single := func(name, help string, v float64) {
		family(name, "gauge", help)
		value(name, v)
	}
	single("banyan_load_start_time_seconds", "Start of the measured part, since 1970.", float64(r.Start.Add(r.Warmup).UnixMilli())/1e3)
	single("banyan_load_duration_seconds", "Length of the measured part.", r.Duration.Seconds())
	single("banyan_load_cut_short", "1 if the run was ended before its time.", oneIf(r.CutShort))
	single("banyan_load_generator_cpu_seconds", "CPU time of the generator in the measured part.", r.Generator.CPU.Seconds())
	single("banyan_load_generator_connections", "Connections that were opened.", float64(r.Generator.Connections))
	each := func(name, help string, of func(*Step) float64) {
		family(name, "gauge", help)
		for _, s := range r.Steps {
			value(name, of(s), "step", s.Name)
		}
	}
	each("banyan_load_requests", "Requests that ended, well or with an error.", func(s *Step) float64 { return float64(s.Requests) })
	each("banyan_load_rate", "Requests that ended well, per second.", func(s *Step) float64 { return s.Rate })
	each("banyan_load_not_sent", "Requests that were due and never sent.", func(s *Step) float64 { return float64(s.NotSent) })
	each("banyan_load_received_bytes", "Bytes that were read.", func(s *Step) float64 { return float64(s.BytesIn) })
	family("banyan_load_errors", "gauge", "Requests that ended with an error, by kind.")
	for _, s := range r.Steps {
		for _, k := range slices.Sorted(maps.Keys(s.Errors)) {
			value("banyan_load_errors", float64(s.Errors[k]), "step", s.Name, "kind", string(k))
		}
	}
	for _, f := range []struct {
		name, help string
		of         func(*Step) *stats.Histogram
	}{
		{"banyan_load_latency_seconds", "From the intended start to the end of the answer.", func(s *Step) *stats.Histogram { return s.Latency }},
		{"banyan_load_service_seconds", "From the actual sending to the end of the answer.", func(s *Step) *stats.Histogram { return s.Service }},
		{"banyan_load_lateness_seconds", "From the intended start to the actual sending.", func(s *Step) *stats.Histogram { return s.Lateness }},
	} {
		family(f.name, "summary", f.help)
		for _, s := range r.Steps {
			h := f.of(s)
			for _, q := range []float64{0.5, 0.9, 0.99, 0.999, 1} {
				if h.Count() > 0 {
					value(f.name, h.QuantileDuration(q).Seconds(), "step", s.Name, "quantile", strconv.FormatFloat(q, 'g', -1, 64))
				}
			}
			value(f.name+"_sum", h.Sum()/1e9, "step", s.Name)
			value(f.name+"_count", float64(h.Count()), "step", s.Name)
		}
	}
	if len(r.Verdicts) > 0 {
		family("banyan_load_threshold_kept", "gauge", "1 if the threshold was kept.")
		for _, v := range r.Verdicts {
			value("banyan_load_threshold_kept", oneIf(v.OK), "threshold", v.Threshold)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// promEscape writes a label's value: backslash, quote and line feed are escaped.
func promEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(strings.ToValidUTF8(s, "\uFFFD"))
}
