package plan

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/banyanhq/banyan/topology"
)

// TestTheRunInTheMiddleCounts has four runs of one load on machines of different speed.
func TestTheRunInTheMiddleCounts(t *testing.T) {
	run := func(source string, speed float64) *Measurement {
		r := aRun(7)
		for _, by := range r.costs {
			for route := range by {
				by[route] *= speed
			}
		}
		m := r.measure(t)
		m.Source = source
		return m
	}
	dear, cheap, usual, dearer := run("dear", 1.3), run("cheap", 0.8), run("usual", 1), run("dearer", 1.4)
	want, err := Calibrate(&topology.System{}, usual)
	if err != nil {
		t.Fatal(err)
	}
	for _, runs := range [][]*Measurement{{dear, cheap, usual}, {usual, dearer, cheap}, {dearer, usual}} {
		got, err := Calibrate(&topology.System{}, runs...)
		if err != nil {
			t.Fatal(err)
		}
		if got.Calibration.Source != "usual" || !reflect.DeepEqual(got.Demands, want.Demands) {
			t.Errorf("of %d runs %s was taken", len(runs), got.Calibration.Source)
		}
		if !slices.ContainsFunc(got.Notes, func(n string) bool { return strings.Contains(n, "usual is the one in the middle") }) {
			t.Errorf("no note of the other runs: %q", got.Notes)
		}
	}
}

// TestRunsOfOtherLoadsAreNotMixed has a run at the same rate in all, but of other requests.
func TestRunsOfOtherLoadsAreNotMixed(t *testing.T) {
	one := aRun(7).measure(t)
	r := aRun(8)
	r.rates = map[string]float64{"list": 45, "find": 55}
	other := r.measure(t)
	other.Source = "other"
	if _, err := Calibrate(&topology.System{}, one, other); err == nil || !strings.Contains(err.Error(), "the loads of drawn and other differ by ") {
		t.Errorf("runs of different loads: %v", err)
	}
	if _, err := Calibrate(&topology.System{}, one, aRun(8).measure(t)); err != nil {
		t.Errorf("runs of one load: %v", err)
	}
	if _, err := Calibrate(&topology.System{}); err == nil {
		t.Error("no run at all: no error")
	}
}

// TestWhatChanceDoesIsNoOtherLoad has pairs of runs at one rate, of a second and of three, as long as there are thirty, and then
// one at twice the rate.
func TestWhatChanceDoesIsNoOtherLoad(t *testing.T) {
	short := func(seed uint64, seconds int, times float64) *Measurement {
		r := aRun(seed)
		r.seconds = seconds
		for route := range r.rates {
			r.rates[route] *= times
		}
		return r.measure(t)
	}
	for seed := range uint64(200) {
		if d := short(2*seed, 3, 1).otherLoad(short(2*seed+1, 1, 1)); d > alikeLoads {
			t.Errorf("seed %d: runs at one rate differ by %.0f%%", seed, 100*d)
		}
	}
	if d := short(1, 3, 1).otherLoad(short(2, 3, 2)); d < alikeLoads {
		t.Errorf("twice the rate differs by %.0f%%", 100*d)
	}
}
