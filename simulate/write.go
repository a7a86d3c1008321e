package simulate

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteText writes the result as tables for people.
func (r *Result) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d replications of %v", r.System, r.Replications, r.Duration.Round(time.Millisecond))
	if r.Warmup > 0 {
		fmt.Fprintf(&b, " after a warm-up of %v", r.Warmup.Round(time.Millisecond))
		if r.WarmupFound {
			b.WriteString(" (found by MSER-5)")
		}
	}
	fmt.Fprintf(&b, ", %d events; ± is a 95 %% confidence interval\n\n", r.Events)
	r.writeRoutes(&b)
	b.WriteByte('\n')
	r.writeServices(&b)
	r.writeBlocks(&b)
	fmt.Fprintf(&b, "\nmachine: %s of %.3g cores, %s used\n", plusMinus(r.Machine.CPU.Value, r.Machine.CPU.HalfWidth, "%.3f"),
		r.Machine.Cores, percent(r.Machine.Utilisation))
	r.Sizing.write(&b)
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Result) writeRoutes(b *strings.Builder) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "requests/s\tmean\tp50\tp95\tp99\terrors\t  route")
	rows := slices.Clone(r.Routes)
	if len(rows) != 1 {
		all := r.All
		all.Route = "all routes"
		rows = append(rows, all)
	}
	for i := range rows {
		row := &rows[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t  %s\n", plusMinus(row.Throughput.Value, row.Throughput.HalfWidth, "%.2f"),
			row.Mean, row.P50, row.P95, row.P99, percent(row.ErrorShare), row.Route)
	}
	_ = t.Flush() // to a strings.Builder, which does not fail
	for i := range r.Routes {
		if row := &r.Routes[i]; row.Hits > 0 {
			fmt.Fprintf(b, "http_cache of %s: %.1f %% hits\n", row.Route, 100*row.HitRatio())
		}
		if row := &r.Routes[i]; len(row.Errors) > 0 {
			fmt.Fprintf(b, "errors of %s:", row.Route)
			for k, kind := range sortedKeys(row.Errors) {
				if k > 0 {
					b.WriteByte(',')
				}
				fmt.Fprintf(b, " %d %s", row.Errors[kind], kind)
			}
			b.WriteByte('\n')
		}
	}
}

func (r *Result) writeServices(b *strings.Builder) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "replicas\tvisits/s\tresponse\tCPU cores\tutilisation\tpresent\twaiting\tthrottled\tretries\ttime-outs\trefused\tbroken\t  service")
	for i := range r.Services {
		s := &r.Services[i]
		if s.Rate.Value == 0 && s.CPU.Value == 0 && s.Calls == 0 {
			continue
		}
		fmt.Fprintf(t, "%.3g\t%.2f\t%s\t%.3f\t%s\t%.2f\t%.2f\t%.1f %%\t%d\t%d\t%d\t%d\t  %s\n", s.Replicas.Value, s.Rate.Value, s.Response,
			s.CPU.Value, percent(s.Utilisation), s.Present.Value, s.Waiting.Value, 100*s.Throttled.Value,
			s.Retries, s.Timeouts, s.Refused, s.Broken, s.Service)
	}
	_ = t.Flush()
}

// String returns the time with its interval, for example '5.21ms ± 0.08ms'.
func (s Span) String() string {
	if s.HalfWidth == 0 {
		return short(s.Value)
	}
	return short(s.Value) + " ± " + short(s.HalfWidth)
}

// short rounds to three or four digits.
func short(d time.Duration) string {
	unit := time.Duration(1)
	for unit*10000 <= d {
		unit *= 10
	}
	return d.Round(unit).String()
}

func plusMinus(v, half float64, format string) string {
	if half == 0 {
		return fmt.Sprintf(format, v)
	}
	return fmt.Sprintf(format+" ± "+format, v, half)
}

func percent(e Estimate) string { return plusMinus(100*e.Value, 100*e.HalfWidth, "%.1f") + " %" }

// write says what a system that was sized, or divided, needs.
func (z *Sizing) write(b *strings.Builder) {
	if z == nil {
		return
	}
	fmt.Fprintf(b, "needs: %.5g cores", z.Cores)
	for _, name := range sortedKeys(z.Replicas) {
		fmt.Fprintf(b, ", %s %d", name, z.Replicas[name])
	}
	if z.Cells > 1 {
		fmt.Fprintf(b, ", in %d cells", z.Cells)
	}
	if z.CostHour > 0 {
		fmt.Fprintf(b, ": %.2f %s an hour", z.CostHour, z.Currency)
	}
	b.WriteByte('\n')
}
