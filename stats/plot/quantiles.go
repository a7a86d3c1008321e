package plot

import (
	"fmt"
	"html"
	"math"
	"strings"

	"github.com/banyanhq/banyan/stats"
)

// Distribution is one curve of a plot of quantiles.
type Distribution struct {
	Name, Class string
	Values      *stats.Histogram
}

// quantileSteps is how many points a curve has between 90% and 99%, between 99% and 99.9% and so on.
const quantileSteps = 24

// Quantiles draws latencies by the share of requests that were as fast or faster. The scale of the shares is that of
// 1/(1-share), logarithmic, so that each further nine takes as much room: a curve ends where one request is left.
func Quantiles(title string, a Axis, of ...Distribution) string {
	most := int64(10)
	for _, d := range of {
		most = max(most, d.Values.Count())
	}
	nines := min(math.Ceil(math.Log10(float64(most))), 9)
	x := func(share float64) float64 {
		return plotLeft + (plotWidth-plotLeft-plotRight)*min(-math.Log10(1-share)/nines, 1)
	}
	var b strings.Builder
	plane(&b, title, a)
	for n := 0.0; n <= nines; n++ {
		share, anchor := 1-math.Pow(10, -n), "middle"
		if n == nines {
			anchor = "end"
		}
		fmt.Fprintf(&b, `<text class="tick" x="%.1f" y="%g" text-anchor="`+anchor+`">%.*f%%</text>`, x(share), plotHeight-8, max(int(n)-2, 0), 100*share)
	}
	for _, d := range of {
		n := d.Values.Count()
		if n == 0 {
			continue
		}
		fmt.Fprintf(&b, `<path class="line %s" d="`, d.Class)
		word := "M"
		for i := 0; ; i++ {
			share := 1 - math.Pow(10, -float64(i)/quantileSteps)
			last := (1-share)*float64(n) <= 1
			if last {
				share = 1 - 1/float64(n)
			}
			v := float64(d.Values.Quantile(share))
			if last {
				v = float64(d.Values.Max())
			}
			fmt.Fprintf(&b, "%s%.1f %.1f", word, x(share), a.y(max(v, 1)))
			if word = "L"; last {
				break
			}
		}
		b.WriteString(`"/>`)
	}
	b.WriteString("</svg></div>\n")
	b.WriteString(`<p class="legend">`)
	for _, d := range of {
		fmt.Fprintf(&b, `<span><i class="%s"></i>%s</span>`, d.Class, html.EscapeString(d.Name))
	}
	b.WriteString("</p>\n")
	return b.String()
}
