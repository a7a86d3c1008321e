package load

import (
	"fmt"
	"html"
	"strings"
	"time"

	"github.com/banyanhq/banyan/stats"
)

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
	for _, s := range r.Tags {
		row("tag "+s.Name, s, s.Latency, true)
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

// htmlWorkers shows what each generator of a distributed run did.
func (r *Result) htmlWorkers(b *strings.Builder) {
	if len(r.Workers) == 0 {
		return
	}
	b.WriteString("<h2>Workers</h2><div class=\"wide\"><table>\n")
	for i, row := range r.workerRows() {
		cell := "td"
		if i == 0 {
			cell = "th"
		}
		b.WriteString("<tr>")
		for _, text := range row {
			class := ""
			if text == workerLost {
				class = ` class="bad"`
			}
			fmt.Fprintf(b, "<%s%s>%s</%s>", cell, class, html.EscapeString(text), cell)
		}
		b.WriteString("</tr>\n")
	}
	b.WriteString("</table></div>\n")
}
