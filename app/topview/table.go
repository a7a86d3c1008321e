package topview

import (
	"fmt"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/banyanhq/banyan/observe"
)

const gap = 2 // cells between columns

// style of a tone, in the terminal's own sixteen colours, so that it suits light and dark themes alike.
func (t tone) style() lipgloss.Style {
	s := lipgloss.NewStyle()
	switch t {
	case dim:
		return s.Faint(true)
	case good:
		return s.Foreground(lipgloss.Green)
	case warn:
		return s.Foreground(lipgloss.Yellow)
	case bad:
		return s.Foreground(lipgloss.Red)
	case strong:
		return s.Bold(true)
	}
	return s
}

// layout returns the width of each column, 0 for those that have no room.
func layout(columns []column, width int) []int {
	widths := make([]int, len(columns))
	used := -gap
	for i, c := range columns {
		widths[i] = c.width
		used += c.width + gap
	}
	for used > width {
		out := -1
		for i, c := range columns {
			if widths[i] > 0 && c.drop > 0 && (out < 0 || c.drop > columns[out].drop) {
				out = i
			}
		}
		if out < 0 {
			break
		}
		used -= widths[out] + gap
		widths[out] = 0
	}
	grow(columns, widths, width-used)
	return widths
}

// grow shares out the spare width, cell by cell, among the flexible columns that may still grow.
func grow(columns []column, widths []int, spare int) {
	for spare > 0 {
		grown := false
		for i, c := range columns {
			for range c.flex {
				if spare > 0 && widths[i] > 0 && (c.most == 0 || widths[i] < c.most) {
					widths[i]++
					spare--
					grown = true
				}
			}
		}
		if !grown {
			return
		}
	}
}

// heading draws the titles of the columns.
func heading(columns []column, widths []int) string {
	var parts []string
	for i, c := range columns {
		if widths[i] > 0 {
			parts = append(parts, fit(c.title, widths[i], c.right))
		}
	}
	return dim.style().Render(strings.Join(parts, strings.Repeat(" ", gap)))
}

// line draws one row. A faded one is all dim.
func line(columns []column, widths []int, cells []cell, faded bool) string {
	var parts []string
	for i, c := range columns {
		if widths[i] <= 0 {
			continue
		}
		text, t := cells[i].text, cells[i].tone
		if cells[i].spark != nil {
			text = sparkline(cells[i].spark, widths[i], observe.TrendLength)
		}
		if faded {
			t = dim
		}
		text = fit(text, widths[i], c.right)
		if t != plain {
			text = t.style().Render(text)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, strings.Repeat(" ", gap))
}

// RenderTable draws the status once, as plain text without colours or escape sequences: a summary, then a table for each
// of services (with all their replicas), routes and edges. Every line ends in a line feed; no width is assumed.
func RenderTable(st observe.Status) string {
	var b strings.Builder
	if st.At.IsZero() {
		fmt.Fprintf(&b, "%s: nothing was observed yet\n", systemName(st))
		return b.String()
	}
	fmt.Fprintf(&b, "%s  up %s  (rates and latencies over the last %s)\n", systemName(st), elapsed(st.Up), elapsed(st.Window))
	fmt.Fprintln(&b, totals(st))
	fmt.Fprintln(&b, machine(st))
	everything := func(string) bool { return true }
	for p := range panes {
		rows := rowsOf(st, p, byName, everything)
		if len(rows) == 0 {
			continue
		}
		fmt.Fprintln(&b)
		renderPlain(&b, columnsOf(p), rows)
	}
	notes := false
	for _, s := range st.Services {
		if s.Message == "" {
			continue
		}
		if !notes {
			fmt.Fprintln(&b)
			notes = true
		}
		fmt.Fprintf(&b, "%s: %s\n", clean(s.Service), clean(s.Message))
	}
	return b.String()
}

// renderPlain draws a table whose columns are as wide as what is in them, without trends and marks for opening.
func renderPlain(b *strings.Builder, columns []column, rows []row) {
	columns = slices.Clone(columns)
	widths := make([]int, len(columns))
	for i := range columns {
		if columns[i].title == "LAST MINUTE" {
			continue
		}
		widths[i] = ansi.StringWidth(columns[i].title)
		for _, r := range rows {
			if r.expandable && i == 0 {
				r.cells[0].text = r.title
			}
			widths[i] = max(widths[i], ansi.StringWidth(r.cells[i].text))
		}
	}
	write := func(text func(i int) string) {
		var parts []string
		for i, c := range columns {
			if widths[i] > 0 {
				parts = append(parts, fit(text(i), widths[i], c.right))
			}
		}
		fmt.Fprintln(b, strings.TrimRight(strings.Join(parts, strings.Repeat(" ", gap)), " "))
	}
	write(func(i int) string { return columns[i].title })
	for _, r := range rows {
		write(func(i int) string { return r.cells[i].text })
	}
}

func systemName(st observe.Status) string {
	if st.System == "" {
		return "banyan"
	}
	return clean(st.System)
}

func totals(st observe.Status) string {
	t := st.Total
	return fmt.Sprintf("%s req/s   p50 %s   p99 %s   errors %s   %d in flight",
		rate(t.Rate), latency(t.Latency.P50), latency(t.Latency.P99), percent(t.Errors), t.InFlight)
}

func machine(st observe.Status) string {
	m := st.Machine
	var parts []string
	if m.Cores > 0 {
		parts = append(parts, fmt.Sprintf("cpu %s of %d cores", cores(m.Busy), m.Cores),
			fmt.Sprintf("memory %s of %s", size(m.MemoryUsed), size(m.MemoryTotal)), fmt.Sprintf("load %.2f", m.Load1))
	}
	if st.Gateway.Memory > 0 {
		parts = append(parts, fmt.Sprintf("banyan %s cpu, %s", cores(st.Gateway.Cores), size(st.Gateway.Memory)))
	}
	return strings.Join(parts, "   ")
}
