package load

import (
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/banyanhq/banyan/stats"
)

// reportStyle of the page. Colours are told apart by people who see few of them, on light and dark.
const reportStyle = `
:root{color-scheme:light dark;--bg:#fff;--fg:#1c2026;--dim:#5d6673;--rule:#e2e5ea;--card:#f6f7f9;--c1:#0b62c4;--c2:#c25a00;--c3:#1a7f4b;--c4:#8a3ab9;--bad:#b3261e;--ok:#1a7f4b;--heat:#0b62c4}
@media(prefers-color-scheme:dark){:root{--bg:#14171c;--fg:#e6e9ee;--dim:#98a2b0;--rule:#2c323b;--card:#1c2027;--c1:#6cb0ff;--c2:#ffab5e;--c3:#5fd39a;--c4:#cf9bf2;--bad:#ff8a80;--ok:#5fd39a;--heat:#6cb0ff}}
body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem;margin:0 0 .2rem;overflow-wrap:anywhere}h2{font-size:1.05rem;margin:2rem 0 .4rem}p{margin:.3rem 0}.dim{color:var(--dim)}
.tiles{display:flex;flex-wrap:wrap;gap:.6rem;margin:1.2rem 0}.tile{background:var(--card);border-radius:8px;padding:.6rem .9rem;min-width:6.5rem}.tile b{display:block;font-size:1.25rem;font-variant-numeric:tabular-nums}.tile span{color:var(--dim);font-size:.8rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.87rem;font-variant-numeric:tabular-nums;width:100%}th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}th{color:var(--dim);font-weight:500}th:first-child,td:first-child,.left td,.left th{text-align:left}
svg{width:100%;height:auto;display:block}.grid{stroke:var(--rule);stroke-width:1}.axis{stroke:var(--dim);stroke-width:1}.tick{fill:var(--dim);font-size:11px;font-family:system-ui,sans-serif}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}.heat{fill:var(--heat)}
.line.under{stroke-width:6;opacity:.4}.line.c1{stroke:var(--c1)}.line.c2{stroke:var(--c2)}.line.c3{stroke:var(--c3)}.line.c4{stroke:var(--c4)}.line.bad{stroke:var(--bad)}
i.c1{background:var(--c1)}i.c2{background:var(--c2)}i.c3{background:var(--c3)}i.c4{background:var(--c4)}i.bad{background:var(--bad)}
.legend{color:var(--dim);font-size:.82rem}.legend span{margin-right:1.2rem}.legend i{display:inline-block;width:.9rem;height:.2rem;margin-right:.4rem;vertical-align:middle;border-radius:2px}
.warn{border-left:3px solid var(--c2);padding:.2rem .8rem;margin:.5rem 0}.bad{color:var(--bad)}.ok{color:var(--ok)}
`

// WriteHTML writes the result as one page that needs nothing else: no script, no font, no address.
func (r *Result) WriteHTML(w io.Writer) error {
	var b strings.Builder
	title := html.EscapeString("Load test of " + r.Target)
	fmt.Fprintf(&b, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>%s</title>\n<style>%s</style></head><body>\n", title, reportStyle)
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
	r.htmlSteps(&b)
	r.htmlErrors(&b)
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
	k := (len(r.Timeline.Points) + maxColumns - 1) / maxColumns
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
	offered := curve{"due", "c4 under", perSecond(func(p *Point) int64 { return p.Offered })}
	sent := curve{"sent", "c2", perSecond(func(p *Point) int64 { return p.Sent })}
	done := curve{"ended well", "c1", perSecond(func(p *Point) int64 { return p.Completed })}
	fmt.Fprintf(b, "<h2>Rates</h2>\n<p class=\"dim\">Requests per second, each counted where it happened.</p>\n%s", lines("Rates over time", linearAxis(rate, offered, sent, done), r.Duration, width, offered, sent, done))

	var curves []curve
	low, high := math.Inf(1), 0.0
	columns := make([]*stats.Histogram, len(points))
	for i := range points {
		columns[i] = points[i].Latency
	}
	for i, q := range []float64{0.5, 0.9, 0.99, 1} {
		c := curve{fmt.Sprintf("p%g", 100*q), []string{"c1", "c3", "c2", "bad"}[i], make([]float64, len(points))}
		if q == 1 {
			c.name = "slowest"
		}
		for j, h := range columns {
			if c.values[j] = math.NaN(); h != nil {
				v := max(float64(h.Quantile(q)), 1)
				c.values[j], low, high = v, min(low, v), max(high, v)
			}
		}
		curves = append(curves, c)
	}
	fmt.Fprintf(b, "<h2>Latency</h2>\n<p class=\"dim\">From the intended start to the end of the answer, of the requests that ended in each %s; logarithmic.</p>\n%s", brief(width), lines("Percentiles of the latency over time", latencyAxis(low, high), r.Duration, width, curves...))
	least := math.Inf(1)
	for _, h := range columns {
		if h != nil {
			least = min(least, max(float64(h.Min()), 1))
		}
	}
	fmt.Fprintf(b, "<h2>Heat map of the latency</h2>\n%s", heat("Heat map of the latency over time", latencyAxis(least, high), r.Duration, width, columns))

	errors := curve{"errors", "bad", perSecond(func(p *Point) int64 { return p.Errors })}
	b.WriteString("<h2>Errors</h2>\n")
	if slices.ContainsFunc(points, func(p Point) bool { return p.Errors > 0 }) {
		b.WriteString(lines("Errors over time", linearAxis(rate, errors), r.Duration, width, errors))
	} else {
		b.WriteString("<p class=\"dim\">None.</p>\n")
	}
	flight := curve{"most seen in flight", "c4", make([]float64, len(points))}
	for i := range points {
		flight.values[i] = float64(points[i].InFlight)
	}
	fmt.Fprintf(b, "<h2>Requests in flight</h2>\n%s", lines("Requests in flight over time", linearAxis(number3, flight), r.Duration, width, flight))
}

func (r *Result) htmlSteps(b *strings.Builder) {
	b.WriteString("<h2>Steps</h2><div class=\"wide\"><table><tr><th>step</th><th>requests</th><th>rate</th><th>mean</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th><th>errors</th><th>not sent</th></tr>\n")
	row := func(name string, s *Step, h *stats.Histogram, counts bool) {
		fmt.Fprintf(b, "<tr><td>%s</td><td>%s</td><td>%s/s</td>", html.EscapeString(name), count(s.Requests), number3(s.Rate))
		if h.Count() == 0 {
			b.WriteString(strings.Repeat("<td>-</td>", 6))
		} else {
			fmt.Fprintf(b, "<td>%s</td>", brief(time.Duration(h.Mean())))
			for _, q := range []float64{0.5, 0.9, 0.99, 0.999, 1} {
				fmt.Fprintf(b, "<td>%s</td>", brief(h.QuantileDuration(q)))
			}
		}
		if !counts {
			b.WriteString("<td></td><td></td></tr>\n")
			return
		}
		class := ""
		if s.Failed() > 0 {
			class = ` class="bad"`
		}
		fmt.Fprintf(b, "<td%s>%s</td><td>%s</td></tr>\n", class, count(s.Failed()), count(s.NotSent))
	}
	for _, s := range r.Steps {
		row(s.Name, s, s.Latency, true)
	}
	if len(r.Steps) != 1 {
		row("total", r.Total, r.Total.Latency, true)
	}
	row("service time, from the sending", r.Total, r.Total.Service, false)
	b.WriteString("</table></div>\n")
}

func (r *Result) htmlErrors(b *strings.Builder) {
	if r.Total.Failed() == 0 {
		return
	}
	b.WriteString("<h2>Errors by kind</h2><div class=\"wide\"><table class=\"left\"><tr><th>step</th><th>error</th><th>requests</th><th>share</th></tr>\n")
	for _, s := range r.Steps {
		for _, k := range sortedByCount(s.Errors) {
			name := string(k)
			if k == BadStatus {
				name += " " + badStatuses(s)
			}
			fmt.Fprintf(b, "<tr><td>%s</td><td>%s</td><td>%s</td><td>%s</td></tr>\n", html.EscapeString(s.Name), html.EscapeString(name), count(s.Errors[k]), percent(float64(s.Errors[k])/float64(s.Requests)))
		}
	}
	b.WriteString("</table></div>\n")
}

func (r *Result) htmlGenerator(b *strings.Builder) {
	var text strings.Builder
	r.writeGenerator(&text)
	fmt.Fprintf(b, "<h2>Generator</h2><p class=\"dim\">%s</p>\n", html.EscapeString(strings.TrimPrefix(strings.TrimSpace(text.String()), "generator: ")))
}
