package topview

import (
	"fmt"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/banyanhq/banyan/observe"
)

func press(m Model, keys ...tea.KeyPressMsg) Model {
	for _, k := range keys {
		next, _ := m.Update(k)
		m = next.(Model)
	}
	return m
}

func TestMapPane(t *testing.T) {
	draw := func(st observe.Status) (lines []string) {
		for i := range 60 {
			lines = append(lines, fmt.Sprintf("%s line %02d %s end", st.System, i, strings.Repeat("─", 150)))
		}
		return lines
	}
	m := New(nil, 0)
	next, _ := m.Update(fetchedMsg{status: observe.Status{System: "shop"}})
	m = next.(Model)
	four := tea.KeyPressMsg{Code: '4', Text: "4"}
	if m = press(m, four); m.pane != services || strings.Contains(ansi.Strip(m.screen()), "Map") {
		t.Error("there is a map where none can be drawn")
	}
	m = press(m.WithMap(draw), four)
	screen := func() string { return ansi.Strip(m.screen()) }
	if got := screen(); !strings.Contains(got, "shop line 00") || strings.Contains(got, "end") || strings.Count(got, "\n")+1 != m.height {
		t.Errorf("the map's top left is not what is seen:\n%s", got)
	}
	for _, l := range strings.Split(screen(), "\n") {
		if ansi.StringWidth(l) > m.width {
			t.Errorf("a line is wider than the terminal: %q", l)
		}
	}
	down, right := tea.KeyPressMsg{Code: tea.KeyDown}, tea.KeyPressMsg{Code: tea.KeyRight}
	for range 100 { // never beyond the end
		m = press(m, down, right)
	}
	if got := screen(); !strings.Contains(got, "end") || !strings.Contains(got, "end\n") || strings.Contains(got, "line 00") {
		t.Errorf("the map's bottom right is not what is seen:\n%s", got)
	}
	if m = press(m, tea.KeyPressMsg{Code: tea.KeyHome}); !strings.Contains(screen(), "shop line 00") {
		t.Error("home does not lead back")
	}
	if m = press(m, tea.KeyPressMsg{Code: tea.KeyTab}); m.pane != services {
		t.Errorf("after the map comes %v", m.pane)
	}
}
