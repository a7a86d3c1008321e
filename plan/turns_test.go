package plan

import (
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// hops is a chain of services on two cores, a fifth of a millisecond each, with one service that has long pieces of work.
func hops(t *testing.T, slice time.Duration) *topology.System {
	t.Helper()
	sys, err := topology.Parse(topology.Source{Name: "banyan.yaml", Data: []byte(`
version: 1
system: hops
services:
  a: {run: x, uses: [b]}
  b: {run: x, uses: [c]}
  c: {run: x}
  long: {run: x}
routes:
  - {name: short, path: /short, to: a}
  - {name: long, path: /long, to: long}
workload:
  rate: 1/s
  scenarios: {short: {steps: [{path: /short}]}, long: {steps: [{path: /long}]}}
demands:
  short:
    a: {visits: 1, cpu: 200us, calls: {b: 1}}
    b: {visits: 1, cpu: 200us, calls: {c: 1}}
    c: {visits: 1, cpu: 200us}
  long:
    long: {visits: 1, cpu: 3ms}
`)})
	if err != nil {
		t.Fatal(err)
	}
	sys.Calibration = &topology.Calibration{Cores: 2, Dispersion: 2, Slice: topology.Duration(slice)}
	return sys
}

func TestShortWorkWaitsForTurnsOnABusyMachine(t *testing.T) {
	latency := func(slice time.Duration, rate float64, users int) (short, long time.Duration) {
		load := Load{Rates: map[string]float64{"short": rate / 2, "long": rate / 2}}
		if users > 0 {
			load = Load{Users: users, Mix: map[string]float64{"short": 0.5, "long": 0.5}}
		}
		p, err := Predict(hops(t, slice), load, Options{Cores: 2})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range p.Routes {
			if r.Route == "short" {
				short = r.Mean
			} else {
				long = r.Mean
			}
		}
		return short, long
	}
	equal, equalLong := latency(0, 900, 0) // 1.62 of 2 cores
	turns, turnsLong := latency(1400*time.Microsecond, 900, 0)
	if turns < 2*equal {
		t.Errorf("at 81%% a request of three short hops takes %v, and %v where cores are shared equally: want it to wait for turns", turns, equal)
	}
	if turnsLong != equalLong {
		t.Errorf("a piece longer than a slice takes %v, want %v as by equal shares", turnsLong, equalLong)
	}
	if longer, _ := latency(2800*time.Microsecond, 900, 0); longer < turns {
		t.Errorf("with a slice twice as long %v, want %v or more", longer, turns)
	}
	equal, _ = latency(0, 300, 0)
	if turns, _ = latency(1400*time.Microsecond, 300, 0); turns > equal+equal/20 {
		t.Errorf("at 27%%, where a thread that wakes up goes first, %v, want about %v", turns, equal)
	}
	equal, _ = latency(0, 0, 20)
	if turns, _ = latency(1400*time.Microsecond, 0, 20); turns != equal {
		t.Errorf("20 users without a pause: %v, want %v: their number bounds what waits", turns, equal)
	}
}
