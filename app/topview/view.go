package topview

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/banyanhq/banyan/observe"
)

// The screen from top to bottom: two lines of summary, the tabs, a rule, the titles, the rows, a rule, three lines on
// the selected row, the keys. A banner takes the place of the rule above the details.
const (
	above      = 5
	details    = 4
	below      = details + 1
	leastRoom  = 3 // rows; a lower terminal goes without the details
	margin     = 1 // cells at the left and the right
	leastWidth = 40
)

func (m *Model) hasDetails() bool { return m.height >= above+leastRoom+below }

// room returns how many rows fit.
func (m *Model) room() int {
	if m.hasDetails() {
		return m.height - above - below
	}
	return m.height - above - 2
}

// View implements tea.Model.
func (m Model) View() tea.View {
	v := tea.NewView(m.screen())
	v.AltScreen = true
	v.WindowTitle = "banyan top"
	if m.status.System != "" {
		v.WindowTitle += ": " + clean(m.status.System)
	}
	return v
}

// screen draws everything: height lines of at most width cells.
func (m *Model) screen() string {
	width := m.width - 2*margin
	if m.width < leastWidth || m.height < above+leastRoom {
		return fit("The terminal is too small.", max(m.width, 0), false)
	}
	var lines []string
	lines = append(lines, m.summary(width)...)
	lines = append(lines, m.tabs(width)...)
	if m.pane == picture {
		lines = append(lines, m.picture(width, m.height-above+1-2)...)
		lines = append(lines, m.banner(width))
	} else {
		rows := m.rows()
		lines = append(lines, m.table(rows, width)...)
		if m.hasDetails() {
			lines = append(lines, m.details(rows, width)...)
		} else {
			lines = append(lines, m.banner(width))
		}
	}
	lines = append(lines, m.keys(width))
	for i, l := range lines {
		lines[i] = strings.TrimRight(strings.Repeat(" ", margin)+ansi.Truncate(l, width, "…"), " ")
	}
	return strings.Join(lines, "\n")
}

// apart puts left and right at the two ends of a line; right gives way.
func apart(left, right string, width int) string {
	space := width - ansi.StringWidth(left) - ansi.StringWidth(right)
	if space < 2 {
		return left
	}
	return left + strings.Repeat(" ", space) + right
}

func (m *Model) summary(width int) []string {
	st := m.status
	name := strong.style().Render(systemName(st))
	if !m.fetched {
		return []string{name, dim.style().Render("waiting for the first figures")}
	}
	if st.At.IsZero() {
		return []string{name, dim.style().Render("nothing was observed yet")}
	}
	first := apart(name+"  "+dim.style().Render("up "+elapsed(st.Up)), dim.style().Render(machineFor(st, width-26)), width)
	t := st.Total
	figure := func(label, value string, tn tone) string {
		return dim.style().Render(label+" ") + tn.style().Render(value)
	}
	second := strong.style().Render(rate(t.Rate)) + dim.style().Render(" req/s   ") +
		figure("p50", latency(t.Latency.P50), strong) + "   " + figure("p99", latency(t.Latency.P99), strong) + "   " +
		figure("errors", percent(t.Errors), max(errorTone(t.Errors), plain)) + "   " +
		figure("in flight", fmt.Sprint(t.InFlight), plain)
	if trend := width - ansi.StringWidth(second) - 3; trend >= 10 && len(t.Trend.Rate) > 0 {
		second = apart(second, good.style().Render(sparkline(t.Trend.Rate, min(trend, observe.TrendLength), observe.TrendLength)), width)
	}
	return []string{first, second}
}

// machineFor leaves out the last parts of the machine's figures where they do not fit.
func machineFor(st observe.Status, width int) string {
	text := machine(st)
	for ansi.StringWidth(text) > width {
		i := strings.LastIndex(text, "   ")
		if i < 0 {
			return ""
		}
		text = text[:i]
	}
	return text
}

// tabs draws the names of the panes and a rule that is heavy below the one that is shown.
func (m *Model) tabs(width int) []string {
	counts := [picture]int{len(m.status.Services), len(m.status.Routes), len(m.status.Edges)}
	var names, rule strings.Builder
	for p := range m.shown() {
		label := fmt.Sprintf(" %s ", p)
		if p < picture {
			label = fmt.Sprintf(" %s %d ", p, counts[p])
		}
		if p == m.pane {
			names.WriteString(strong.style().Render(label))
			rule.WriteString(good.style().Render(strings.Repeat("━", ansi.StringWidth(label))))
		} else {
			names.WriteString(dim.style().Render(label))
			rule.WriteString(dim.style().Render(strings.Repeat("─", ansi.StringWidth(label))))
		}
		names.WriteString(" ")
		rule.WriteString(dim.style().Render("─"))
	}
	left := ansi.StringWidth(names.String())
	note := ""
	if m.status.Window > 0 {
		note = dim.style().Render("over the last " + elapsed(m.status.Window))
	}
	rule.WriteString(dim.style().Render(strings.Repeat("─", max(width-left, 0))))
	return []string{apart(names.String(), note, width), rule.String()}
}

// table draws the titles and the rows that are in sight, and fills up with empty lines.
func (m *Model) table(rows []row, width int) []string {
	columns := columnsOf(m.pane)
	widths := layout(columns, width-2) // two for the cursor
	lines := []string{"  " + heading(columns, widths)}
	room, first := m.room(), m.offset[m.pane]
	selected := m.cursor(rows)
	for i := first; i < min(first+room, len(rows)); i++ {
		mark := "  "
		if i == selected {
			mark = good.style().Render("❯ ")
		}
		lines = append(lines, mark+line(columns, widths, rows[i].cells, m.err != nil))
	}
	if len(rows) == 0 && m.fetched {
		lines = append(lines, "  "+dim.style().Render("none"))
	}
	for len(lines) < room+1 {
		lines = append(lines, "")
	}
	return lines
}

// details draws the trends of the selected row in full, and what there is to say of it.
func (m *Model) details(rows []row, width int) []string {
	lines := []string{m.banner(width)}
	if len(rows) == 0 {
		return append(lines, "", "", "")
	}
	r := rows[m.cursor(rows)]
	title := strong.style().Render(r.title)
	if r.note != "" {
		tn := dim
		if r.expandable {
			tn = warn // a service's note says what is wrong
		}
		title += "  " + tn.style().Render(r.note)
	}
	lines = append(lines, title)
	if len(r.trend.Rate) == 0 {
		return append(lines, "", "")
	}
	const label = 7
	spark := min(width-label-14, observe.TrendLength)
	draw := func(name string, values []float64, write func(float64) string) string {
		top := 0.0
		for _, v := range values {
			top = max(top, v)
		}
		return dim.style().Render(fit(name, label, false)) + good.style().Render(sparkline(values, spark, observe.TrendLength)) +
			dim.style().Render("  max "+write(top))
	}
	return append(lines, draw("req/s", r.trend.Rate, rate),
		draw("p99", durations(r.trend.P99), func(v float64) string { return latency(asDuration(v)) }))
}

// banner draws the rule above the details, or what is wrong instead.
func (m *Model) banner(width int) string {
	trouble := m.trouble()
	if trouble == "" {
		return dim.style().Render(strings.Repeat("─", width))
	}
	style := lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true).Reverse(true)
	return style.Render(fit(" ! "+clean(trouble), width, false))
}

func (m *Model) keys(width int) string {
	var b strings.Builder
	add := func(key, what string) {
		part := key + dim.style().Render(" "+what)
		if b.Len() > 0 {
			part = "   " + part
		}
		if ansi.StringWidth(b.String())+ansi.StringWidth(part) <= width {
			b.WriteString(part)
		}
	}
	add("q", "quit")
	if m.pane == picture {
		add("←↑↓→", "move")
		add("tab", "next table")
		return b.String()
	}
	add("↑↓", "select")
	if m.pane == services {
		add("enter", "replicas")
	}
	add("tab", "next table")
	add("s", "sort: "+m.order.String())
	if m.pane == services {
		add("e", "all replicas")
	}
	return b.String()
}
