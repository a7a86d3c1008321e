package liveview

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/stats/plot"
)

// Sizes of the picture.
const (
	gutter      = 9 // to the left of a chart
	leastWidth  = 30
	mostWidth   = 160
	latencyRows = 7
	rateRows    = 2
)

// Colours of ECMA-48, from what every terminal has.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (v *View) paint(code, text string) string {
	if !v.Colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Frame draws the run into at most height lines of at most width cells. Where there is little room the charts go first.
func (v *View) Frame(width, height int) []string {
	if !v.seen || width < 1 || height < 1 {
		return nil
	}
	width = min(width, mostWidth)
	// The head and what stands below the charts are always there.
	head := []string{v.title(width), v.bar(width)}
	foot := append(v.counts(), v.trouble(width)...)
	room := height - len(head) - len(foot)
	rates, latency := v.rates(), v.latencies()
	lines := head
	if gap := room >= 5; gap {
		lines, room = append(lines, ""), room-1
	}
	lines, room = append(lines, rates), room-2
	plotRoom := width >= leastWidth && len(v.columns) > 0
	if plotRoom && room >= rateRows+latencyRows-2 {
		lines, room = append(lines, v.rateChart(width)...), room-rateRows
	}
	lines = append(lines, latency)
	if plotRoom && room >= 5 { // three rows, the axis and a gap below
		lines = append(lines, v.latencyChart(width, min(latencyRows, room-2))...)
		lines = append(lines, "")
	}
	lines = append(lines, foot...)
	if len(lines) > height {
		lines = append(lines[:max(height-len(foot), 0)], foot...)
	}
	lines = lines[:min(len(lines), height)]
	for i := range lines {
		lines[i] = ansi.Truncate(lines[i], width, "…")
	}
	return lines
}

func (v *View) title(width int) string {
	p := &v.last
	phase := "measuring"
	switch {
	case p.Warming:
		phase = "warming up"
	case p.Elapsed >= p.Length:
		phase = "waiting for the last answers"
	}
	text := p.Target
	if p.Schedule != "" {
		text += ", " + p.Schedule
	}
	text = ansi.Truncate(text, max(width-len(phase)-2, 1), "…")
	gap := max(width-ansi.StringWidth(text)-len(phase), 1)
	code := bold
	if p.Warming {
		code = yellow
	}
	return v.paint(bold, text) + strings.Repeat(" ", gap) + v.paint(code, phase)
}

// bar is how far the run has come on its schedule.
func (v *View) bar(width int) string {
	p := &v.last
	at := min(p.Elapsed, p.Length)
	text := fmt.Sprintf(" %s of %s, %s left", clock(at), clock(p.Length), clock(p.Length-at))
	cells := min(max(width-ansi.StringWidth(text), 0), mostWidth)
	done := 0
	if p.Length > 0 {
		done = int(float64(cells) * float64(at) / float64(p.Length))
	}
	return v.paint(cyan, strings.Repeat("█", done)) + v.paint(dim, strings.Repeat("░", cells-done)) + text
}

// clock writes a time as a watch would.
func clock(d time.Duration) string {
	s := int(d.Round(time.Second) / time.Second)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

func (v *View) rates() string {
	p := &v.last
	text := "rates    "
	if p.Offered > 0 {
		text += fmt.Sprintf("due %s/s   ", plot.Number(p.Offered))
	}
	text += fmt.Sprintf("sent %s/s   ", plot.Number(p.Sent)) + v.paint(green, fmt.Sprintf("ended well %s/s", plot.Number(p.Completed))) + "   "
	failed := fmt.Sprintf("errors %s/s", plot.Number(p.Failed))
	if p.Failed > 0 {
		failed = v.paint(red, failed)
	}
	return text + failed
}

func (v *View) latencies() string {
	p := &v.last
	if p.Recent == nil || p.Recent.Count() == 0 {
		return "latency  no answer in the last second"
	}
	return fmt.Sprintf("latency  %s   %s   %s   slowest %s", v.paint(green, "p50 "+plot.Brief(p.P50)), "p90 "+plot.Brief(p.P90), v.paint(yellow, "p99 "+plot.Brief(p.P99)), plot.Brief(p.Max))
}

// counts are what the run holds at this moment.
func (v *View) counts() []string {
	p := &v.last
	now := fmt.Sprintf("now      %s in flight   %s connections   backlog %s", plot.Count(p.InFlight), plot.Count(p.Connections), plot.Count(p.Waiting+p.Behind))
	if p.Behind > 0 {
		now += fmt.Sprintf(" (%s for the client)", plot.Count(p.Behind))
	}
	cpu := 0.0
	if p.Cores > 0 {
		cpu = p.CPU / float64(p.Cores)
	}
	const cells = 20
	used := min(int(math.Round(cells*cpu)), cells)
	code := green
	switch {
	case cpu > 0.9:
		code = red
	case cpu > 0.7:
		code = yellow
	}
	generator := fmt.Sprintf("client   CPU %.2f of %d cores ", p.CPU, p.Cores) + v.paint(code, strings.Repeat("█", used)) + v.paint(dim, strings.Repeat("░", cells-used))
	return []string{now, generator}
}

// trouble is what went wrong: errors by kind, the most frequent first, and what the generator itself is the cause of.
func (v *View) trouble(width int) (out []string) {
	p := &v.last
	share := 0.0
	if p.TotalSent > 0 {
		share = float64(p.TotalFailed) / float64(p.TotalSent)
	}
	text := fmt.Sprintf("errors   %s of %s sent (%s)", plot.Count(p.TotalFailed), plot.Count(p.TotalSent), percent(share))
	if p.NotSent > 0 {
		text += fmt.Sprintf(", %s due and not sent", plot.Count(p.NotSent))
	}
	if p.TotalFailed > 0 || p.NotSent > 0 {
		text = v.paint(red, text)
	}
	out = append(out, text)
	if kinds := byCount(p.Errors); len(kinds) > 0 {
		line := strings.Repeat(" ", gutter)
		for i, k := range kinds {
			one := fmt.Sprintf("%s %s", plot.Count(p.Errors[k]), k)
			if i > 0 {
				one = ", " + one
			}
			if rest := len(kinds) - i; ansi.StringWidth(line+one)+10 > width && i > 0 {
				line += fmt.Sprintf(", and %d more", rest)
				break
			}
			line += one
		}
		out = append(out, v.paint(red, line))
	}
	if text := p.Bottleneck(); text != "" {
		out = append(out, v.paint(bold+";"+yellow, "! "+text))
	} else if p.Full && p.Behind > 0 {
		out = append(out, v.paint(bold+";"+yellow, "! as many scenarios are under way as are allowed: arrivals wait, and the wait counts"))
	}
	return out
}

func byCount(errors map[load.Kind]int64) []load.Kind {
	return slices.SortedFunc(maps.Keys(errors), func(a, b load.Kind) int {
		if errors[a] != errors[b] {
			return int(max(min(errors[b]-errors[a], 1), -1))
		}
		return strings.Compare(string(a), string(b))
	})
}

func percent(x float64) string {
	switch {
	case x == 0:
		return "0%"
	case x < 0.0001:
		return "<0.01%"
	}
	return fmt.Sprintf("%.2f%%", 100*x)
}

// Line is the last look in one line.
func (v *View) Line() string {
	p := &v.last
	phase := ""
	if p.Warming {
		phase = " warming up"
	}
	text := fmt.Sprintf("%s of %s%s: ", clock(p.Elapsed), clock(p.Length), phase)
	if p.Offered > 0 {
		text += fmt.Sprintf("due %s/s, ", plot.Number(p.Offered))
	}
	text += fmt.Sprintf("ended well %s/s, p50 %s, p99 %s, %s in flight, %s waiting, %s connections, %s of %s failed, client %.1f of %d cores",
		plot.Number(p.Completed), plot.Brief(p.P50), plot.Brief(p.P99), plot.Count(p.InFlight), plot.Count(p.Waiting+p.Behind), plot.Count(p.Connections), plot.Count(p.TotalFailed), plot.Count(p.TotalSent), p.CPU, p.Cores)
	if b := p.Bottleneck(); b != "" {
		text += "; " + b
	}
	return text
}
