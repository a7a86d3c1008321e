package load

import (
	"cmp"
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/stats/plot"
)

// WriteHTML writes the result as one page that needs nothing else: no script, no font, no address.
func (r *Result) WriteHTML(w io.Writer) error {
	var b strings.Builder
	title := html.EscapeString("Load test of " + r.Target)
	fmt.Fprintf(&b, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>%s</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>%s</style></head><body>\n", title, plot.Style)
	fmt.Fprintf(&b, "<h1>%s</h1>\n<p class=\"dim\">%s; %s measured from %s on", title, html.EscapeString(r.Schedule), brief(r.Duration), r.Start.Add(r.Warmup).Format(time.DateTime+" MST"))
	if r.Warmup > 0 {
		fmt.Fprintf(&b, ", after %s of warm-up that is left out", brief(r.Warmup))
	}
	fmt.Fprintf(&b, "; seed %d</p>\n", r.Seed)
	if r.CutShort {
		fmt.Fprintf(&b, "<p class=\"warn\">Cut short: %s of %s.</p>\n", brief(r.Duration), brief(r.Planned))
	}
	r.htmlTiles(&b)
	for _, warning := range r.Warnings {
		fmt.Fprintf(&b, "<p class=\"warn\">%s</p>\n", html.EscapeString(warning))
	}
	r.htmlVerdicts(&b)
	r.htmlPlots(&b)
	r.htmlDistribution(&b)
	r.htmlSteps(&b)
	r.htmlErrors(&b)
	r.htmlWorkers(&b)
	r.htmlGenerator(&b)
	b.WriteString("</body></html>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Result) htmlTiles(b *strings.Builder) {
	t := r.Total
	b.WriteString("<div class=\"tiles\">")
	tile := func(value, what string) {
		fmt.Fprintf(b, "<div class=\"tile\"><b>%s</b><span>%s</span></div>", value, what)
	}
	tile(count(t.Requests), "requests")
	tile(number3(t.Rate)+"/s", "ended well")
	for _, q := range []float64{0.5, 0.99, 0.999} {
		value := "beyond measure"
		if d, ok := t.Quantile(q); ok {
			value = brief(d)
		}
		tile(value, fmt.Sprintf("p%g", 100*q))
	}
	tile(brief(time.Duration(t.Latency.Max())), "slowest")
	tile(percent(t.ErrorRate()), "errors and not sent")
	b.WriteString("</div>\n")
}

func (r *Result) htmlVerdicts(b *strings.Builder) {
	if len(r.Verdicts) == 0 {
		return
	}
	b.WriteString("<h2>Thresholds</h2><div class=\"wide\"><table class=\"left\"><tr><th>threshold</th><th>found</th><th>kept</th></tr>\n")
	for _, v := range r.Verdicts {
		class, word := "ok", "yes"
		if !v.OK {
			class, word = "bad", "no"
		}
		fmt.Fprintf(b, "<tr><td>%s</td><td>%s</td><td class=\"%s\">%s</td></tr>\n", html.EscapeString(v.Threshold), html.EscapeString(v.Value), class, word)
	}
	b.WriteString("</table></div>\n")
}

// coarse merges each k neighbours without touching the points given.
func coarse(points []Point, k int) []Point {
	own := slices.Clone(points)
	for i := range own {
		if own[i].Latency != nil {
			own[i].Latency = own[i].Latency.Clone()
		}
	}
	return merged(own, max(k, 1))
}

func (r *Result) htmlPlots(b *strings.Builder) {
	if len(r.Timeline.Points) == 0 || r.Duration <= 0 {
		return
	}
	k := (len(r.Timeline.Points) + plot.MaxColumns - 1) / plot.MaxColumns
	points := coarse(r.Timeline.Points, k)
	width := r.Timeline.Width * time.Duration(k)
	perSecond := func(of func(*Point) int64) []float64 {
		out := make([]float64, len(points))
		for i := range points {
			// The last stretch may be shorter than the others.
			span := min(width, r.Duration-time.Duration(i)*width).Seconds()
			if out[i] = math.NaN(); span > 0 {
				out[i] = float64(of(&points[i])) / span
			}
		}
		return out
	}
	rate := func(v float64) string { return number3(v) + "/s" }
	offered := plot.Curve{Name: "due", Class: "c4 under", Values: perSecond(func(p *Point) int64 { return p.Offered })}
	sent := plot.Curve{Name: "sent", Class: "c2", Values: perSecond(func(p *Point) int64 { return p.Sent })}
	done := plot.Curve{Name: "ended well", Class: "c1", Values: perSecond(func(p *Point) int64 { return p.Completed })}
	fmt.Fprintf(b, "<h2>Rates</h2>\n<p class=\"dim\">Requests per second, each counted where it happened.</p>\n%s", plot.Lines("Rates over time", plot.LinearAxis(rate, offered, sent, done), r.Duration, width, offered, sent, done))

	var curves []plot.Curve
	low, high := math.Inf(1), 0.0
	columns := make([]*stats.Histogram, len(points))
	for i := range points {
		columns[i] = points[i].Latency
	}
	for i, q := range []float64{0.5, 0.9, 0.99, 1} {
		c := plot.Curve{Name: fmt.Sprintf("p%g", 100*q), Class: []string{"c1", "c3", "c2", "bad"}[i], Values: make([]float64, len(points))}
		if q == 1 {
			c.Name = "slowest"
		}
		for j, h := range columns {
			if c.Values[j] = math.NaN(); h != nil {
				v := max(float64(h.Quantile(q)), 1)
				c.Values[j], low, high = v, min(low, v), max(high, v)
			}
		}
		curves = append(curves, c)
	}
	fmt.Fprintf(b, "<h2>Latency</h2>\n<p class=\"dim\">From the intended start to the end of the answer, of the requests that ended in each %s; logarithmic.</p>\n%s", brief(width), plot.Lines("Percentiles of the latency over time", plot.LatencyAxis(low, high), r.Duration, width, curves...))
	least := math.Inf(1)
	for _, h := range columns {
		if h != nil {
			least = min(least, max(float64(h.Min()), 1))
		}
	}
	fmt.Fprintf(b, "<h2>Heat map of the latency</h2>\n%s", plot.Heat("Heat map of the latency over time", plot.LatencyAxis(least, high), r.Duration, width, columns))

	errors := plot.Curve{Name: "errors", Class: "bad", Values: perSecond(func(p *Point) int64 { return p.Errors })}
	b.WriteString("<h2>Errors</h2>\n")
	if slices.ContainsFunc(points, func(p Point) bool { return p.Errors > 0 }) {
		b.WriteString(plot.Lines("Errors over time", plot.LinearAxis(rate, errors), r.Duration, width, errors))
	} else {
		b.WriteString("<p class=\"dim\">None.</p>\n")
	}
	flight := plot.Curve{Name: "most seen in flight", Class: "c4", Values: make([]float64, len(points))}
	for i := range points {
		flight.Values[i] = float64(points[i].InFlight)
	}
	fmt.Fprintf(b, "<h2>Requests in flight</h2>\n%s", plot.Lines("Requests in flight over time", plot.LinearAxis(number3, flight), r.Duration, width, flight))
}

// maxDrawnSteps is how many steps are drawn apart: those with the most requests.
const maxDrawnSteps = 8

// htmlDistribution draws the latencies of the whole run by their quantiles, each step's apart.
func (r *Result) htmlDistribution(b *strings.Builder) {
	if r.Total.Latency.Count() == 0 {
		return
	}
	steps := slices.DeleteFunc(slices.Clone(r.Steps), func(s *Step) bool { return s.Latency.Count() == 0 })
	slices.SortStableFunc(steps, func(a, b *Step) int { return cmp.Compare(b.Latency.Count(), a.Latency.Count()) })
	note := ""
	if len(steps) > maxDrawnSteps {
		note = fmt.Sprintf(" The %d steps with the most requests of %d.", maxDrawnSteps, len(steps))
		steps = steps[:maxDrawnSteps]
	}
	var curves []plot.Distribution
	low, high := math.Inf(1), 0.0
	add := func(name, class string, h *stats.Histogram) {
		curves = append(curves, plot.Distribution{Name: name, Class: class, Values: h})
		low, high = min(low, max(float64(h.Min()), 1)), max(high, float64(h.Max()))
	}
	for i, s := range steps {
		class := fmt.Sprintf("c%d", i%4+1)
		if i >= 4 {
			class += " dash"
		}
		add(s.Name, class, s.Latency)
	}
	add("service time of all", "faint", r.Total.Service)
	fmt.Fprintf(b, "<h2>Latency by step</h2>\n<p class=\"dim\">The share of requests that were as fast or faster; each further nine takes as much room.%s</p>\n%s", note, plot.Quantiles("Latency of each step by the share of requests", plot.LatencyAxis(low, high), curves...))
}
