package simulate

import (
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/banyanhq/banyan/stats/plot"
)

// WriteHTML writes the result as one page that needs nothing else: no script, no font, no address.
func (r *Result) WriteHTML(w io.Writer) error {
	var b strings.Builder
	title := html.EscapeString("Simulation of " + r.System)
	fmt.Fprintf(&b, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>%s</title>\n<style>%s</style></head><body>\n", title, plot.Style)
	fmt.Fprintf(&b, "<h1>%s</h1>\n<p class=\"dim\">%d replications of %s", title, r.Replications, plot.Brief(r.Duration))
	if r.Warmup > 0 {
		fmt.Fprintf(&b, ", after a warm-up of %s that is left out", plot.Brief(r.Warmup))
	}
	fmt.Fprintf(&b, "; seed %d; %s events. Figures are means with 95 %% confidence intervals.</p>\n", r.Seed, plot.Count(r.Events))
	r.htmlTiles(&b)
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "<p class=\"warn\">%s</p>\n", html.EscapeString(n))
	}
	r.htmlRoutes(&b)
	r.htmlPlots(&b)
	r.htmlServices(&b)
	r.htmlBlocks(&b)
	r.htmlTrace(&b)
	b.WriteString("</body></html>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Result) htmlTiles(b *strings.Builder) {
	b.WriteString("<div class=\"tiles\">")
	for _, t := range [][2]string{
		{plot.Number(r.All.Throughput.Value) + "/s", "requests ended"},
		{plot.Brief(r.All.Mean.Value), "mean"}, {plot.Brief(r.All.P50.Value), "p50"},
		{plot.Brief(r.All.P99.Value), "p99"}, {plot.Brief(r.All.P999.Value), "p99.9"},
		{share(r.All.ErrorShare.Value), "errors"},
		{fmt.Sprintf("%s of %.3g", share(r.Machine.Utilisation.Value), r.Machine.Cores), "cores used"},
	} {
		fmt.Fprintf(b, "<div class=\"tile\"><b>%s</b><span>%s</span></div>", html.EscapeString(t[0]), t[1])
	}
	b.WriteString("</div>\n")
}

func share(x float64) string { return fmt.Sprintf("%.3g %%", 100*x) }

// htmlTable writes a table; the first cell of a row is a name.
func htmlTable(b *strings.Builder, title string, head []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(b, "<h2>%s</h2><div class=\"wide\"><table><tr>", title)
	for _, h := range head {
		fmt.Fprintf(b, "<th>%s</th>", h)
	}
	b.WriteString("</tr>\n")
	for _, row := range rows {
		b.WriteString("<tr>")
		for _, cell := range row {
			fmt.Fprintf(b, "<td>%s</td>", html.EscapeString(cell))
		}
		b.WriteString("</tr>\n")
	}
	b.WriteString("</table></div>\n")
}

func (r *Result) htmlRoutes(b *strings.Builder) {
	all := r.All
	all.Route = "all routes"
	var rows, errors [][]string
	for _, route := range append(slices.Clone(r.Routes), all) {
		rows = append(rows, []string{route.Route, plusMinus(route.Throughput.Value, route.Throughput.HalfWidth, "%.2f"), route.Mean.String(),
			route.P50.String(), route.P95.String(), route.P99.String(), route.P999.String(), percent(route.ErrorShare)})
	}
	for i := range r.Routes {
		for _, kind := range sortedKeys(r.Routes[i].Errors) {
			n := r.Routes[i].Errors[kind]
			errors = append(errors, []string{r.Routes[i].Route, kind, plot.Count(n), share(float64(n) / float64(max(r.Routes[i].Requests, 1)))})
		}
	}
	htmlTable(b, "Routes", []string{"route", "requests/s", "mean", "p50", "p95", "p99", "p99.9", "errors"}, rows)
	htmlTable(b, "Errors by what went wrong first", []string{"route", "error", "requests", "share"}, errors)
}

// mostCurves is how many services are drawn in one plot: the busiest.
const mostCurves = 4

// htmlPlots draws the time-line of the first replication.
func (r *Result) htmlPlots(b *strings.Builder) {
	n := len(r.Timeline)
	if n < 2 {
		return
	}
	k := (n + plot.MaxColumns - 1) / plot.MaxColumns
	width := r.Timeline[0].At * time.Duration(k)
	length := r.Timeline[n-1].At
	series := func(of func(*Point) float64, join func([]float64) float64) []float64 {
		var out, group []float64
		for i := range r.Timeline {
			if group = append(group, of(&r.Timeline[i])); len(group) == k || i == n-1 {
				out, group = append(out, join(group)), group[:0]
			}
		}
		return out
	}
	mean := func(x []float64) (m float64) {
		for _, v := range x {
			m += v / float64(len(x))
		}
		return m
	}
	perSecond := func(v float64) string { return plot.Number(v) + "/s" }
	done := plot.Curve{Name: "ended", Class: "c1", Values: series(func(p *Point) float64 { return p.Throughput }, mean)}
	bad := plot.Curve{Name: "of them errors", Class: "bad", Values: series(func(p *Point) float64 { return p.Errors }, mean)}
	b.WriteString("<h2>Requests</h2>\n<p class=\"dim\">Of the first replication, from its very start.</p>\n")
	b.WriteString(plot.Lines("Requests over time", plot.LinearAxis(perSecond, done, bad), length, width, done, bad))

	latency := []plot.Curve{
		{Name: "mean", Class: "c1", Values: series(func(p *Point) float64 { return float64(p.Mean) }, mean)},
		{Name: "p99", Class: "c2", Values: series(func(p *Point) float64 { return float64(p.P99) }, slices.Max)},
	}
	low, high := math.Inf(1), 0.0
	for _, c := range latency {
		for _, v := range c.Values {
			if v > 0 {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	fmt.Fprintf(b, "<h2>Latency</h2>\n<p class=\"dim\">Of the requests that ended in each %s; logarithmic.</p>\n%s", plot.Brief(width),
		plot.Lines("Latency over time", plot.LatencyAxis(low, high), length, width, latency...))

	for _, what := range []struct {
		title, text string
		of          func(*ServicePoint) float64
		label       func(float64) string
	}{
		{"CPU", "In cores, of the services that use most.", func(p *ServicePoint) float64 { return p.CPU }, plot.Number},
		{"Requests present", "At the replicas of the services that have most.", func(p *ServicePoint) float64 { return p.Present }, plot.Number},
		{"Calls that wait for a replica", "At the gateway.", func(p *ServicePoint) float64 { return p.Waiting }, plot.Number},
		{"Retries", "A second.", func(p *ServicePoint) float64 { return p.Retries }, perSecond},
		{"Replicas that are ready", "Of services whose number changes.", func(p *ServicePoint) float64 { return p.Ready }, plot.Number},
	} {
		curves := r.serviceCurves(what.title == "Replicas that are ready", func(i int) []float64 {
			return series(func(p *Point) float64 { return what.of(&p.Services[i]) }, mean)
		})
		if len(curves) > 0 {
			fmt.Fprintf(b, "<h2>%s</h2>\n<p class=\"dim\">%s</p>\n%s", what.title, what.text,
				plot.Lines(what.title+" over time", plot.LinearAxis(what.label, curves...), length, width, curves...))
		}
	}
}

// serviceCurves are those of the services with the highest sums, or whose figure changes; none that is always 0.
func (r *Result) serviceCurves(changing bool, values func(i int) []float64) (curves []plot.Curve) {
	type candidate struct {
		curve  plot.Curve
		weight float64
	}
	var all []candidate
	for i := range r.Services {
		c := candidate{curve: plot.Curve{Name: r.Services[i].Service, Values: values(i)}}
		if changing {
			c.weight = slices.Max(c.curve.Values) - slices.Min(c.curve.Values)
			if c.weight < 0.5 {
				continue
			}
		} else {
			for _, v := range c.curve.Values {
				c.weight += v
			}
		}
		if c.weight > 0 {
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b candidate) int {
		switch {
		case a.weight > b.weight:
			return -1
		case a.weight < b.weight:
			return 1
		}
		return 0
	})
	for i, c := range all[:min(len(all), mostCurves)] {
		c.curve.Class = fmt.Sprintf("c%d", i+1)
		curves = append(curves, c.curve)
	}
	return curves
}

func (r *Result) htmlServices(b *strings.Builder) {
	var rows [][]string
	for i := range r.Services {
		s := &r.Services[i]
		if s.Rate.Value == 0 && s.CPU.Value == 0 && s.Calls == 0 {
			continue
		}
		rows = append(rows, []string{s.Service, fmt.Sprintf("%.3g", s.Replicas.Value), fmt.Sprintf("%.2f", s.Rate.Value), s.Response.String(),
			fmt.Sprintf("%.3f", s.CPU.Value), percent(s.Utilisation), fmt.Sprintf("%.2f", s.Present.Value), fmt.Sprintf("%.2f", s.Waiting.Value),
			share(s.Throttled.Value), plot.Count(s.Retries), plot.Count(s.Timeouts), plot.Count(s.Refused + s.Limited), plot.Count(s.Broken)})
	}
	htmlTable(b, "Services", []string{"service", "replicas", "visits/s", "response", "CPU cores", "utilisation", "present", "waiting", "throttled", "retries", "time-outs", "refused", "broken"}, rows)
}

func (r *Result) htmlBlocks(b *strings.Builder) {
	var rows [][]string
	for i := range r.Blocks {
		rows = append(rows, []string{r.Blocks[i].Block, fmt.Sprintf("%.2f", r.Blocks[i].Rate.Value), strings.Join(r.Blocks[i].words(), ", ")})
	}
	htmlTable(b, "Caches, tables, queues, topics and functions", []string{"block", "a second", "figures"}, rows)
}

// mostTraced is how many requests of a trace are drawn.
const mostTraced = 20

// htmlTrace lists what happened to the first requests that were traced.
func (r *Result) htmlTrace(b *strings.Builder) {
	var rows [][]string
	for _, e := range r.Trace {
		if e.Request > mostTraced || len(rows) == 2000 {
			break
		}
		replica := ""
		if e.Replica >= 0 {
			replica = fmt.Sprint(e.Replica)
		}
		rows = append(rows, []string{fmt.Sprintf("%.6f s", e.At.Seconds()), fmt.Sprint(e.Request), e.Service, replica, e.What, e.Detail})
	}
	htmlTable(b, "What happened to the first requests", []string{"at", "request", "service", "replica", "what", "detail"}, rows)
}
