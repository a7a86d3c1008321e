package plot

import (
	"fmt"
	"html"
	"math"
	"strings"
	"time"

	"github.com/banyanhq/banyan/stats"
)

// A plot is an inline SVG whose colours come from the page's style, so that it follows light and dark.
const (
	plotWidth  = 900.0
	plotHeight = 240.0
	plotLeft   = 70.0 // of the plane on which the data are drawn
	plotRight  = 12.0
	plotTop    = 10.0
	plotBottom = 26.0
	MaxColumns = 300 // points of a Curve; longer timelines are merged
)

// Curve is one line of a plot. A value that is not a number, or not above 0 where the scale is logarithmic, is a gap.
type Curve struct {
	Name   string
	Class  string // of the style sheet: c1, c2 ...
	Values []float64
}

// Axis maps values to the height of the plane.
type Axis struct {
	low, high float64
	log       bool
	label     func(float64) string
}

func (a Axis) y(v float64) float64 {
	share := (v - a.low) / (a.high - a.low)
	if a.log {
		share = math.Log(v/a.low) / math.Log(a.high/a.low)
	}
	return plotHeight - plotBottom - min(max(share, 0), 1)*(plotHeight-plotTop-plotBottom)
}

// ticks are at most a handful of round values.
func (a Axis) ticks() []float64 {
	var out []float64
	if a.log {
		decades := math.Log10(a.high / a.low)
		for d := math.Pow(10, math.Floor(math.Log10(a.low))); d <= a.high*1.0001; d *= 10 {
			for _, m := range []float64{1, 2, 5} {
				if v := d * m; v >= a.low*0.9999 && v <= a.high*1.0001 && (m == 1 || decades < 2.5) {
					out = append(out, v)
				}
			}
		}
		return out
	}
	step := niceStep((a.high - a.low) / 4)
	for i := 0; ; i++ {
		v := a.low + float64(i)*step
		if v > a.high*1.0001 {
			return out
		}
		out = append(out, v)
	}
}

// niceStep is the smallest of 1, 2 and 5 times a power of ten that is not below x.
func niceStep(x float64) float64 {
	if !(x > 0) {
		return 1
	}
	p := math.Pow(10, math.Floor(math.Log10(x)))
	for _, m := range []float64{1, 2, 5} {
		if p*m >= x*0.9999 {
			return p * m
		}
	}
	return 10 * p
}

// LinearAxis starts at 0 and holds all values.
func LinearAxis(label func(float64) string, curves ...Curve) Axis {
	high := 0.0
	for _, c := range curves {
		for _, v := range c.Values {
			if !math.IsNaN(v) {
				high = max(high, v)
			}
		}
	}
	step := niceStep(max(high, 1e-9) / 4)
	if high == 0 {
		step = 0.25
	}
	return Axis{low: 0, high: step * max(1, math.Ceil(high/step*0.9999)), label: label}
}

// LatencyAxis is logarithmic and holds all values above 0.
func LatencyAxis(low, high float64) Axis {
	if !(low > 0) || !(high > 0) {
		low, high = 1e6, 1e9
	}
	round := func(v float64, up bool) float64 {
		p := math.Pow(10, math.Floor(math.Log10(v)*1.0000001))
		best := p
		for _, m := range []float64{1, 2, 5, 10} {
			if up && p*m >= v*0.9999 {
				return p * m
			}
			if !up && p*m <= v*1.0001 {
				best = p * m
			}
		}
		return best
	}
	low, high = round(low, false), round(high, true)
	if high < low*10 {
		high = low * 10
	}
	return Axis{low: low, high: high, log: true, label: func(v float64) string { return Brief(time.Duration(v + 0.5)) }}
}

// plane begins a plot: its grid and its values' axis.
func plane(b *strings.Builder, title string, a Axis) {
	fmt.Fprintf(b, `<div class="wide"><svg viewBox="0 0 %g %g" role="img" aria-label="%s"><title>%s</title>`, plotWidth, plotHeight, html.EscapeString(title), html.EscapeString(title))
	for _, v := range a.ticks() {
		y := a.y(v)
		fmt.Fprintf(b, `<path class="grid" d="M%g %.1fH%g"/><text class="tick" x="%g" y="%.1f" text-anchor="end">%s</text>`,
			plotLeft, y, plotWidth-plotRight, plotLeft-6, y+4, html.EscapeString(a.label(v)))
	}
	fmt.Fprintf(b, `<path class="axis" d="M%g %gH%g"/>`, plotLeft, plotHeight-plotBottom, plotWidth-plotRight)
}

// frame begins a plot over the given length of time.
func frame(b *strings.Builder, title string, a Axis, length time.Duration) {
	plane(b, title, a)
	step := niceTime(length / 8)
	for t := time.Duration(0); t <= length; t += step {
		fmt.Fprintf(b, `<text class="tick" x="%.1f" y="%g" text-anchor="middle">%s</text>`, timeX(t, length), plotHeight-8, Brief(t))
	}
}

func timeX(t, length time.Duration) float64 {
	return plotLeft + (plotWidth-plotLeft-plotRight)*float64(t)/float64(max(length, 1))
}

// niceTime is a round stretch of time not below d.
func niceTime(d time.Duration) time.Duration {
	for _, s := range []time.Duration{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 43200, 86400} {
		if s*time.Second >= d {
			return s * time.Second
		}
	}
	return (d/(24*time.Hour) + 1) * 24 * time.Hour
}

// Lines draws curves; each value stands for a stretch of width, drawn at its middle.
func Lines(title string, a Axis, length, width time.Duration, curves ...Curve) string {
	var b strings.Builder
	frame(&b, title, a, length)
	for _, c := range curves {
		fmt.Fprintf(&b, `<path class="line %s" d="`, c.Class)
		pen := false
		for i, v := range c.Values {
			if math.IsNaN(v) || a.log && v <= 0 {
				pen = false
				continue
			}
			at := min(time.Duration(i)*width+width/2, length)
			word := "L"
			if !pen {
				word = "M"
			}
			fmt.Fprintf(&b, "%s%.1f %.1f", word, timeX(at, length), a.y(v))
			if alone := !pen && (i+1 == len(c.Values) || math.IsNaN(c.Values[i+1]) || a.log && c.Values[i+1] <= 0); alone {
				b.WriteString("h0.1")
			}
			pen = true
		}
		b.WriteString(`"/>`)
	}
	b.WriteString("</svg></div>\n")
	b.WriteString(`<p class="legend">`)
	for _, c := range curves {
		fmt.Fprintf(&b, `<span><i class="%s"></i>%s</span>`, c.Class, html.EscapeString(c.Name))
	}
	b.WriteString("</p>\n")
	return b.String()
}

// The heat map: rows of equal height on a logarithmic scale, and shades of one colour by the logarithm of the count.
const (
	heatRows   = 36
	heatShades = 8
)

// Heat draws how many requests of each stretch had which latency.
func Heat(title string, a Axis, length, width time.Duration, columns []*stats.Histogram) string {
	cells, most := heatCells(a, columns)
	var paths [heatShades]strings.Builder
	tall := (plotHeight - plotTop - plotBottom) / heatRows
	for i := range cells {
		x0 := timeX(min(time.Duration(i)*width, length), length)
		x1 := timeX(min(time.Duration(i+1)*width, length), length)
		for row, n := range cells[i] {
			if n == 0 {
				continue
			}
			shade := 0
			if most > 1 {
				shade = int(math.Log(float64(n)) / math.Log(float64(most)) * (heatShades - 1))
			}
			fmt.Fprintf(&paths[shade], "M%.1f %.1fH%.1fv%.1fH%.1fz", x0, plotHeight-plotBottom-float64(row+1)*tall, x1, tall, x0)
		}
	}
	var b strings.Builder
	frame(&b, title, a, length)
	for shade := range paths {
		if paths[shade].Len() > 0 {
			fmt.Fprintf(&b, `<path class="heat" fill-opacity="%.2f" d="%s"/>`, 0.12+0.88*float64(shade)/(heatShades-1), paths[shade].String())
		}
	}
	b.WriteString("</svg></div>\n")
	fmt.Fprintf(&b, `<p class="legend"><span>each column %s; from 1 request (light) to %s (full), logarithmic</span></p>`+"\n", Brief(width), Count(max(most, 1)))
	return b.String()
}

// heatCells counts by column and row; most is the largest count.
func heatCells(a Axis, columns []*stats.Histogram) (cells [][heatRows]int64, most int64) {
	cells = make([][heatRows]int64, len(columns))
	for i, h := range columns {
		if h == nil {
			continue
		}
		for _, bucket := range h.Buckets() {
			mid := float64(bucket.Low+bucket.High) / 2
			row := 0
			if mid > a.low {
				row = min(int(math.Log(mid/a.low)/math.Log(a.high/a.low)*heatRows), heatRows-1)
			}
			cells[i][row] += bucket.Count
			most = max(most, cells[i][row])
		}
	}
	return cells, most
}
