package plan

import (
	"strings"
	"testing"
)

func TestMeasurementSaysWhatTheHostTook(t *testing.T) {
	m := &Measurement{MachineCPU: 1, PerSecond: []Second{{Seconds: 1, Stolen: 0.04}, {Seconds: 3}}}
	if got := m.Stolen(); got != 0.01 {
		t.Errorf("stolen: %v cores, want 0.01", got)
	}
	if m.disturbed() != "" {
		t.Errorf("1%% is not much: %s", m.disturbed())
	}
	m.MachineCPU = 0.5
	if d := m.disturbed(); !strings.Contains(d, "took 2.0%") {
		t.Errorf("2%%: %q", d)
	}
	if (&Measurement{}).disturbed() != "" {
		t.Error("where nothing was observed, nothing is said")
	}
}
