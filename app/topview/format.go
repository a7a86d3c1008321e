package topview

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
)

// none stands where there is no figure.
const none = "–"

// rate writes a number of requests a second in at most 5 cells.
func rate(v float64) string {
	switch {
	case v <= 0:
		return "0"
	case v < 0.1:
		return "<0.1"
	case v < 9.95:
		return fmt.Sprintf("%.1f", v)
	case v < 9999.5:
		return fmt.Sprintf("%.0f", v)
	case v < 999.5e3:
		return fmt.Sprintf("%.0fk", v/1e3)
	}
	return fmt.Sprintf("%.1fM", v/1e6)
}

// latency writes a duration in at most 6 cells; none for 0, which means that there was no request.
func latency(d time.Duration) string {
	switch {
	case d <= 0:
		return none
	case d < 999500*time.Nanosecond:
		return fmt.Sprintf("%.0fµs", float64(d)/1e3)
	case d < 9950*time.Microsecond:
		return fmt.Sprintf("%.1fms", float64(d)/1e6)
	case d < 999500*time.Microsecond:
		return fmt.Sprintf("%.0fms", float64(d)/1e6)
	case d < 9950*time.Millisecond:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d < 1000*time.Second:
		return fmt.Sprintf("%.0fs", d.Seconds())
	}
	return fmt.Sprintf("%.0fm", d.Minutes())
}

// percent writes a share in at most 5 cells. A share that is not zero never reads 0.
func percent(v float64) string {
	switch {
	case v <= 0:
		return "0%"
	case v < 0.0005:
		return "<0.1%"
	case v < 0.0995:
		return fmt.Sprintf("%.1f%%", 100*v)
	}
	return fmt.Sprintf("%.0f%%", 100*v)
}

// cores writes a number of CPU cores in at most 5 cells.
func cores(v float64) string {
	switch {
	case v <= 0:
		return "0"
	case v < 9.995:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.1f", v)
}

// size writes bytes in at most 7 cells.
func size(n int64) string {
	v := float64(n)
	switch {
	case n <= 0:
		return none
	case v < 1023.5*1024:
		return fmt.Sprintf("%.0f KiB", math.Ceil(v/1024))
	case v < 1023.5*(1<<20):
		return fmt.Sprintf("%.0f MiB", v/(1<<20))
	case v < 99.95*(1<<30):
		return fmt.Sprintf("%.1f GiB", v/(1<<30))
	}
	return fmt.Sprintf("%.0f GiB", v/(1<<30))
}

// elapsed writes how long something has lasted.
func elapsed(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm %02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh %02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd %02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// sparkline draws the last values in width cells, the latest at the right; a space where there was nothing yet or no
// value. Several values share a cell where there are more than fit: their maximum, so that no peak is hidden.
func sparkline(values []float64, width, full int) string {
	if width <= 0 {
		return ""
	}
	bars := []rune("▁▂▃▄▅▆▇█")
	perCell := max(1, (full+width-1)/width)
	top := 0.0
	for _, v := range values {
		top = max(top, v)
	}
	cells := make([]rune, width)
	for i := range cells {
		end := len(values) - (width-1-i)*perCell
		peak := 0.0
		for j := max(0, end-perCell); j < end; j++ {
			peak = max(peak, values[j])
		}
		cells[i] = ' '
		if peak > 0 {
			cells[i] = bars[min(max(int(math.Ceil(peak/top*float64(len(bars))))-1, 0), len(bars)-1)]
		}
	}
	return string(cells)
}

// asDuration turns nanoseconds into a duration.
func asDuration(ns float64) time.Duration { return time.Duration(ns) }

func durations(d []time.Duration) []float64 {
	v := make([]float64, len(d))
	for i := range d {
		v[i] = float64(d[i])
	}
	return v
}

// clean makes a name safe to draw: no control characters, no escape sequences.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, ansi.Strip(s))
}

// fit cuts or fills s to exactly width cells, at the left or at the right end.
func fit(s string, width int, right bool) string {
	if width <= 0 {
		return ""
	}
	if w := ansi.StringWidth(s); w > width {
		return ansi.Truncate(s, width, "…")
	} else if right {
		return strings.Repeat(" ", width-w) + s
	} else {
		return s + strings.Repeat(" ", width-w)
	}
}
