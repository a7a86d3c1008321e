package liveview

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/banyanhq/banyan/stats/plot"
)

// rateChart draws the rate of what ended well over the run, and what failed on top of it.
func (v *View) rateChart(width int) []string {
	columns, cells := v.scaled(width - gutter)
	top := 0.0
	for i := range columns {
		c := &columns[i]
		top = max(top, c.mean(c.done+c.failed), c.mean(c.due))
	}
	if top == 0 {
		top = 1
	}
	lines := make([]string, rateRows)
	for row := range lines {
		var b strings.Builder
		label := ""
		if row == 0 {
			label = plot.Number(top)
		} else if row == rateRows-1 {
			label = "0"
		}
		fmt.Fprintf(&b, "%*s ", gutter-1, label)
		low := float64(rateRows - 1 - row)
		for i := range columns {
			c := &columns[i]
			well, all := c.mean(c.done)/top*rateRows-low, c.mean(c.done+c.failed)/top*rateRows-low
			sign, code := level(all), green
			if all > 0 && all-max(well, 0) > 1.0/16 { // the upper part of the cell, or all of it, failed
				sign = '▒'
				if code = red; well >= 0.5 {
					code = yellow
				}
			}
			b.WriteString(v.paint(code, strings.Repeat(string(sign), cells)))
		}
		lines[row] = strings.TrimRight(b.String(), " ")
	}
	return lines
}

// level is a cell that is filled from below to a share of it; what is more than nothing is seen.
func level(share float64) rune {
	levels := []rune(" ▁▂▃▄▅▆▇█")
	if share <= 0 {
		return ' '
	}
	return levels[min(max(int(math.Round(share*8)), 1), 8)]
}

// latencyChart draws, for each stretch of the run, where the latencies lie: from the median to p90, up to p99 and up to the
// slowest, on a logarithmic scale.
func (v *View) latencyChart(width, rows int) []string {
	columns, cells := v.scaled(width - gutter)
	low, high := math.Inf(1), 0.0
	for i := range columns {
		if h := columns[i].latency; h != nil {
			low, high = min(low, max(float64(h.Quantile(0.5)), 1)), max(high, float64(h.Max()), 1)
		}
	}
	if high == 0 {
		low, high = 1e6, 1e9
	}
	low, high = roundDown(low), roundUp(high)
	if high <= low {
		high = low * 2
	}
	step := math.Log(high/low) / float64(rows)
	rowOf := func(value float64) int { // from the top
		return rows - 1 - min(max(int(math.Log(max(value, 1)/low)/step), 0), rows-1)
	}
	grid := make([][]rune, rows)
	for row := range grid {
		grid[row] = make([]rune, 0, width)
	}
	for i := range columns {
		h := columns[i].latency
		for row := range grid {
			sign := ' '
			if h != nil {
				switch p50, p90, p99, most := rowOf(float64(h.Quantile(0.5))), rowOf(float64(h.Quantile(0.9))), rowOf(float64(h.Quantile(0.99))), rowOf(float64(h.Max())); {
				case row > p50:
				case row >= p90:
					sign = '█'
				case row >= p99:
					sign = '▒'
				case row >= most:
					sign = '·'
				}
			}
			for range cells {
				grid[row] = append(grid[row], sign)
			}
		}
	}
	lines := make([]string, 0, rows+1)
	for row, signs := range grid {
		label := ""
		if row == 0 || row == rows/2 || row == rows-1 {
			label = plot.Brief(time.Duration(round2(low * math.Exp(step*(float64(rows-row)-1)))))
			if row == 0 {
				label = plot.Brief(time.Duration(high))
			}
		}
		lines = append(lines, fmt.Sprintf("%*s ", gutter-1, label)+v.colours(strings.TrimRight(string(signs), " ")))
	}
	return append(lines, v.axis(width))
}

// colours paints runs of the same sign.
func (v *View) colours(signs string) string {
	if !v.Colour {
		return signs
	}
	codes := map[rune]string{'█': green, '▒': yellow, '·': red}
	var b strings.Builder
	var run []rune
	flush := func() {
		if len(run) > 0 {
			if code, ok := codes[run[0]]; ok {
				b.WriteString(v.paint(code, string(run)))
			} else {
				b.WriteString(string(run))
			}
			run = run[:0]
		}
	}
	for _, r := range signs {
		if len(run) > 0 && run[0] != r {
			flush()
		}
		run = append(run, r)
	}
	flush()
	return b.String()
}

// axis names the ends of the run and the signs.
func (v *View) axis(width int) string {
	all := max(int((v.last.Length+v.width-1)/v.width), len(v.columns), 1)
	cells := width - gutter
	end := all * max(cells/all, 1)
	if all > cells {
		k := (all + cells - 1) / cells
		end = (all + k - 1) / k
	}
	length := clock(max(v.last.Length, v.last.Elapsed))
	legend := "█ p50 to p90  ▒ to p99  · to the slowest"
	left := "0:00 "
	room := end - len(left) - len(length)
	if room < len([]rune(legend))+1 {
		return strings.Repeat(" ", gutter) + v.paint(dim, left+strings.Repeat("─", max(room-1, 0))+" "+length)
	}
	rest := room - len([]rune(legend)) - 1
	return strings.Repeat(" ", gutter) + v.paint(dim, left) + legend + v.paint(dim, " "+strings.Repeat("─", max(rest-1, 0))+" "+length)
}

// roundDown and roundUp go to 1, 2 or 5 times a power of ten.
func roundDown(x float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(x)))
	for _, m := range []float64{5, 2} {
		if x >= m*p {
			return m * p
		}
	}
	return p
}

func roundUp(x float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(x)))
	for _, m := range []float64{1, 2, 5} {
		if x <= m*p {
			return m * p
		}
	}
	return 10 * p
}

// round2 rounds to two digits.
func round2(x float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(x))-1)
	return math.Round(x/p) * p
}
