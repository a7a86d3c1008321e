package plan

import (
	"math"
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

// A machine that becomes faster within a run, as virtual ones do without a word, is said; a load that changes is not that.
func TestMeasurementSaysThatTheMachineChanged(t *testing.T) {
	run := func(cost, rate func(second int) float64) *Measurement {
		m := &Measurement{MachineCPU: 1}
		for i := range 12 {
			n := rate(i)
			m.PerSecond = append(m.PerSecond, Second{
				Seconds: 1, Requests: map[string]float64{"a": n / 4, "b": 3 * n / 4}, CPU: map[string]float64{"web": n * cost(i) / 2, "gateway": n * cost(i) / 2},
			})
		}
		return m
	}
	steady := func(int) float64 { return 0.001 }
	hundred := func(int) float64 { return 100 }
	faster := func(i int) float64 {
		if i < 6 {
			return 0.0012
		}
		return 0.0008
	}
	for name, c := range map[string]struct {
		m    *Measurement
		want float64
	}{
		"steady":                   {run(steady, hundred), 0},
		"faster":                   {run(faster, hundred), -0.4},
		"slower":                   {run(func(i int) float64 { return faster(11 - i) }, hundred), 0.4},
		"the load grows":           {run(faster, func(i int) float64 { return 100 + 10*float64(i) }), 0},
		"nothing was asked":        {run(steady, func(int) float64 { return 0 }), 0},
		"little was observed":      {&Measurement{PerSecond: run(faster, hundred).PerSecond[:8]}, 0},
		"nothing was observed yet": {&Measurement{}, 0},
	} {
		if got := c.m.Unsteady(); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if d := c.m.disturbed(); (d != "") != (c.want != 0) {
			t.Errorf("%s: %q", name, d)
		}
	}
	if d := run(faster, hundred).disturbed(); !strings.Contains(d, "fell by 40% within the run") {
		t.Error(d)
	}
}
