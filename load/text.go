package load

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/stats/plot"
)

// maxTraceRows is the most lines that the replay of a trace takes; points are merged until they fit.
const maxTraceRows = 60

// WriteText writes the result for a person to read.
func (r *Result) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s\n", r.Target, r.Schedule)
	fmt.Fprintf(&b, "%s measured, from %s on, seed %d", brief(r.Duration), r.Start.Add(r.Warmup).Format(time.DateTime+" MST"), r.Seed)
	if r.Warmup > 0 {
		fmt.Fprintf(&b, ", after %s of warm-up that is left out", brief(r.Warmup))
	}
	if r.CutShort {
		fmt.Fprintf(&b, "\nCUT SHORT: %s of %s", brief(r.Duration), brief(r.Planned))
	}
	b.WriteString("\n\n")
	r.writeSteps(&b)
	r.writeAnswers(&b)
	r.writeErrors(&b)
	if r.Trace != nil {
		r.Trace.write(&b)
	}
	r.writeGenerator(&b)
	r.writeWorkers(&b)
	for _, warning := range r.Warnings {
		fmt.Fprintf(&b, "! %s\n", warning)
	}
	r.writeVerdicts(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Result) writeSteps(b *strings.Builder) {
	t := table{left: 1}
	t.row("step", "requests", "rate", "mean", "p50", "p90", "p99", "p99.9", "max", "errors")
	steps := slices.Clone(r.Steps)
	if len(steps) != 1 {
		steps = append(steps, r.Total)
	}
	line := func(name string, s *Step, h *stats.Histogram, errors string) {
		row := []string{name, count(s.Requests), number3(s.Rate) + "/s"}
		if h.Count() == 0 {
			row = append(row, "-", "-", "-", "-", "-", "-")
		} else {
			row = append(row, brief(time.Duration(h.Mean())))
			for _, q := range []float64{0.5, 0.9, 0.99, 0.999, 1} {
				row = append(row, brief(h.QuantileDuration(q)))
			}
		}
		t.row(append(row, errors)...)
	}
	for _, s := range steps {
		errors := "0"
		if n := s.Failed(); n > 0 {
			errors = percent(float64(n) / float64(s.Requests))
		}
		line(s.Name, s, s.Latency, errors)
	}
	for _, s := range r.Tags {
		line("  tag "+s.Name, s, s.Latency, percent(s.ErrorRate()))
	}
	line("  service", r.Total, r.Total.Service, "")
	t.write(b)
	b.WriteString("latency from the intended start to the end of the answer; service time from the actual sending\n")
	if n := r.Total.Requests - r.Total.Latency.Count(); n > 0 {
		fmt.Fprintf(b, "without latency: %s requests that had no answer and did not time out\n", count(n))
	}
	var out []string
	for _, x := range []struct {
		n    int64
		what string
	}{
		{r.Total.NotSent, "due and not sent by the end"},
		{r.Total.Unfinished, "under way when the run was cut short"},
		{r.Total.Skipped, "not made for want of a value that an earlier step extracts"},
	} {
		if x.n > 0 {
			out = append(out, count(x.n)+" "+x.what)
		}
	}
	if len(out) > 0 {
		fmt.Fprintf(b, "not in the table: %s\n", strings.Join(out, "; "))
	}
}

// writeAnswers says which statuses came, and how much was read.
func (r *Result) writeAnswers(b *strings.Builder) {
	var parts []string
	for _, code := range slices.Sorted(mapKeys(r.Total.Statuses)) {
		parts = append(parts, fmt.Sprintf("%d: %s", code, count(r.Total.Statuses[code])))
	}
	if r.Total.BytesIn > 0 {
		text := size(float64(r.Total.BytesIn)) + " read"
		if r.Duration > 0 {
			text += ", " + size(float64(r.Total.BytesIn)/r.Duration.Seconds()) + "/s"
		}
		parts = append(parts, text)
	}
	if len(parts) > 0 {
		fmt.Fprintf(b, "answers: %s\n", strings.Join(parts, "; "))
	}
}

// size writes bytes in three digits.
func size(x float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for x >= 1000 && i < len(units)-1 {
		x /= 1024
		i++
	}
	return number3(x) + " " + units[i]
}

func (r *Result) writeErrors(b *strings.Builder) {
	if r.Total.Failed() == 0 {
		return
	}
	b.WriteString("\n")
	t := table{left: 2}
	t.row("step", "error", "requests", "share")
	for _, s := range r.Steps {
		for _, k := range sortedByCount(s.Errors) {
			name := string(k)
			if k == BadStatus {
				name += " " + badStatuses(s)
			}
			t.row(s.Name, name, count(s.Errors[k]), percent(float64(s.Errors[k])/float64(s.Requests)))
		}
	}
	t.write(b)
}

// badStatuses lists the codes that may be meant by an unexpected status.
func badStatuses(s *Step) string {
	var codes []string
	for _, code := range slices.Sorted(mapKeys(s.Statuses)) {
		if code < 200 || code >= 400 {
			codes = append(codes, strconv.Itoa(code))
		}
	}
	if len(codes) == 0 {
		return ""
	}
	return "(" + strings.Join(codes, ", ") + ")"
}

func mapKeys(m map[int]int64) func(func(int) bool) {
	return func(yield func(int) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func sortedByCount(m map[Kind]int64) []Kind {
	var kinds []Kind
	for k := range m {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(a, b Kind) int {
		if m[a] != m[b] {
			return int(max(min(m[b]-m[a], 1), -1))
		}
		return strings.Compare(string(a), string(b))
	})
	return kinds
}

// write prints offered and achieved, in the trace's own time.
func (t *TraceReplay) write(b *strings.Builder) {
	k := (len(t.Timeline.Points) + maxTraceRows - 1) / maxTraceRows
	if k == 0 {
		return
	}
	points := coarse(t.Timeline.Points, k)
	width := t.Timeline.Width * time.Duration(k)
	own := time.Duration(float64(width) * t.Speed).Round(time.Second)
	fmt.Fprintf(b, "\n%s at speed %s: each line is %s of the trace, replayed in %s; scenarios per second of the replay\n", t.File, number(t.Speed), brief(own), brief(width))
	out := table{left: 1}
	out.row("trace time", "offered", "started", "achieved", "failed", "p50", "p99")
	for i := range points {
		p := &points[i]
		at := t.Offset + time.Duration(i)*own
		label := at.String()
		if !t.Start.IsZero() {
			label = t.Start.Add(time.Duration(i) * own).Format("2006-01-02 15:04")
		}
		rate := func(n int64) string { return number3(float64(n)/width.Seconds()) + "/s" }
		out.row(label, rate(p.Offered), rate(p.Sent), rate(p.Completed), rate(p.Errors), brief(p.Quantile(0.5)), brief(p.Quantile(0.99)))
	}
	out.write(b)
}

func (r *Result) writeGenerator(b *strings.Builder) {
	g, late := &r.Generator, r.Total.Lateness
	b.WriteString("\ngenerator: ")
	if late.Count() > 0 {
		fmt.Fprintf(b, "sent %s (p50), %s (p99), at most %s after the intended start; ", brief(late.QuantileDuration(0.5)), brief(late.QuantileDuration(0.99)), brief(time.Duration(late.Max())))
	}
	if r.Duration > 0 {
		fmt.Fprintf(b, "CPU %.2f of %d cores", g.CPU.Seconds()/r.Duration.Seconds(), g.Cores)
		if r.Total.Requests > 0 {
			fmt.Fprintf(b, ", %s a request", brief(g.CPU/time.Duration(r.Total.Requests)))
		}
		b.WriteString("; ")
	}
	fmt.Fprintf(b, "connections opened: %s", count(g.Connections))
	if g.Reconnects > 0 {
		fmt.Fprintf(b, ", %s of them because the server had closed an idle one", count(g.Reconnects))
	}
	b.WriteString("\n")
}

func (r *Result) writeVerdicts(b *strings.Builder) {
	if len(r.Verdicts) == 0 {
		return
	}
	b.WriteString("\n")
	t := table{left: 3}
	for _, v := range r.Verdicts {
		word := "ok"
		if !v.OK {
			word = "FAILED"
		}
		t.row(word, v.Threshold, v.Value)
	}
	t.write(b)
}

// table aligns columns: the first ones to the left, the others to the right.
type table struct {
	left int
	rows [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(b *strings.Builder) {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i > 0 {
				line.WriteString("  ")
			}
			if i < t.left {
				line.WriteString(cell + pad)
			} else {
				line.WriteString(pad + cell)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// brief writes a time in three digits.
func brief(d time.Duration) string { return plot.Brief(d) }

// number3 writes a number in three digits, from 1000 on with its thousands apart.
func number3(x float64) string { return plot.Number(x) }

// count writes n with its thousands apart.
func count(n int64) string { return plot.Count(n) }

func percent(x float64) string {
	return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(100*x, 'f', 3, 64), "0"), ".") + "%"
}
