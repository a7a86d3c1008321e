package replay

import (
	"fmt"
	"html"
	"strings"

	"github.com/banyanhq/banyan/stats/plot"
)

// HTML is the comparison as one page without scripts: the costs, and each policy's curve.
func (c *Comparison) HTML(title string) string {
	var b strings.Builder
	title = html.EscapeString(title)
	fmt.Fprintf(&b, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>%s</title>\n<style>%s</style></head><body>\n", title, plot.Style)
	fmt.Fprintf(&b, "<h1>%s</h1>\n<p class=\"dim\">%d steps, of which %.4g %% must hold the objective. Costs are over those of an oracle that always has exactly the replicas needed.</p>\n", title, c.Steps, 100*c.Objective)
	b.WriteString("<table><tr><th>policy</th><th>cost / oracle</th><th>replica-hours</th><th>steps violated</th><th>changes</th><th>setting</th></tr>\n")
	for _, r := range c.Results {
		if !r.Reached {
			fmt.Fprintf(&b, "<tr><td>%s</td><td colspan=\"5\">the objective is not reached at any setting</td></tr>\n", html.EscapeString(r.Policy))
			continue
		}
		fmt.Fprintf(&b, "<tr><td>%s</td><td>%.3f</td><td>%s</td><td>%d</td><td>%d</td><td>%s %.2f</td></tr>\n", html.EscapeString(r.Policy), r.Cost,
			plot.Number(r.At.ReplicaHours), r.At.Violated, r.At.Changes, html.EscapeString(r.Knob), r.At.Knob)
	}
	b.WriteString("</table>\n")
	b.WriteString(c.curves())
	b.WriteString("</body></html>\n")
	return b.String()
}

// curves draws cost against the share of steps that are violated, on a grid of shares of its own since the settings of
// the policies meet different ones.
func (c *Comparison) curves() string {
	const width, height, pad = 720, 320, 48
	most := 5 * (1 - c.Objective)
	top := 1.0
	for _, r := range c.Results {
		if r.Reached {
			top = max(top, 1.5*r.Cost)
		}
	}
	x := func(violated float64) float64 { return pad + (width-2*pad)*violated/most }
	y := func(cost float64) float64 { return height - pad - (height-2*pad)*(cost-1)/(top-1) }
	var b strings.Builder
	fmt.Fprintf(&b, "<h2>Cost against service</h2>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"cost over the oracle against the share of steps violated\">\n", width, height)
	fmt.Fprintf(&b, "<path class=\"axis\" d=\"M%d %dV%dH%d\" fill=\"none\" stroke=\"currentColor\"/>\n", pad, pad, height-pad, width-pad)
	fmt.Fprintf(&b, "<path d=\"M%.1f %dV%d\" stroke=\"currentColor\" stroke-dasharray=\"4 4\" opacity=\"0.5\"/>\n", x(1-c.Objective), pad, height-pad)
	for i := range 6 {
		v := most * float64(i) / 5
		fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\" fill=\"currentColor\" font-size=\"11\">%.3g %%</text>\n", x(v), height-pad+16, 100*v)
		cost := 1 + (top-1)*float64(i)/5
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\" fill=\"currentColor\" font-size=\"11\">%.2f</text>\n", pad-6, y(cost)+4, cost)
	}
	colours := []string{"#2a7de1", "#00a3a3", "#d9822b", "#29a634", "#a854d6", "#db3737"}
	for i, r := range c.Results {
		var points []string
		for _, p := range r.Curve {
			if v, cost := 1-p.Held(), p.Cost(); v <= most && cost <= top && cost >= 1 {
				points = append(points, fmt.Sprintf("%.1f,%.1f", x(v), y(cost)))
			}
		}
		colour := colours[i%len(colours)]
		fmt.Fprintf(&b, "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n", strings.Join(points, " "), colour)
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" fill=\"%s\" font-size=\"12\">%s</text>\n", width-pad-90, pad+16*i, colour, html.EscapeString(r.Policy))
	}
	b.WriteString("</svg>\n<p class=\"dim\">Across: share of the steps that miss the objective. Up: cost over the oracle's. The dashed line is the objective.</p>\n")
	return b.String()
}
