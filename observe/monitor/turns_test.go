package monitor

import (
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/banyanhq/banyan/observe/rules"
)

// An alert is told of again and again; it turns when it begins to fire, and when it ends.
func TestTurns(t *testing.T) {
	begin := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	a := func(state rules.State, severity string, fired, resolved time.Time) rules.Alert {
		return rules.Alert{Labels: labels.FromStrings("alertname", "Burn", "severity", severity, "service", "web"), Annotations: labels.FromStrings("summary", "it burns"),
			State: state, Fired: fired, Resolved: resolved}
	}
	var m Monitor
	for range 3 {
		m.turns.note(a(rules.Pending, "page", time.Time{}, time.Time{}))
		m.turns.note(a(rules.Firing, "page", begin, time.Time{}))
		m.turns.note(a(rules.Firing, "none", begin, time.Time{}))
		m.turns.note(a(rules.Inactive, "page", begin, begin.Add(time.Minute)))
		m.turns.note(a(rules.Inactive, "page", time.Time{}, time.Time{})) // it never fired
	}
	all := m.Turns()
	if len(all) != 2 || all[0].Ended || !all[1].Ended || !all[0].At.Equal(begin) || !all[1].At.Equal(begin.Add(time.Minute)) {
		t.Fatalf("turns: %+v", all)
	}
	if first := all[0]; first.Name != "Burn" || first.Severity != "page" || first.Service != "web" || first.Summary != "it burns" {
		t.Errorf("the first: %+v", first)
	}
	for i := range 2 * maxTurns {
		m.turns.note(a(rules.Firing, "page", begin.Add(time.Duration(i)*time.Second), time.Time{}))
	}
	m.turns.note(a(rules.Firing, "page", begin, time.Time{}))
	if all = m.Turns(); len(all) != maxTurns || !all[0].At.Equal(begin.Add(maxTurns*time.Second)) {
		t.Errorf("%d are remembered, from %v on", len(all), all[0].At)
	}
}
