package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// TestGainsComeFromTheModel has a service that its limit holds back: the model says what twice the limit saves, as a share of
// the measured latency.
func TestGainsComeFromTheModel(t *testing.T) {
	sys := shop()
	sys.Machine.Cores = 4
	sys.Services["catalog"].Limits.CPU = 0.5
	load := Load{Rates: map[string]float64{"api": 200}}
	found := []Finding{
		{Class: ClassQuota, Service: "catalog", Gain: time.Hour, Mean: 100 * time.Millisecond},
		{Class: ClassLock, Service: "catalog", Gain: 7, Mean: 100 * time.Millisecond},
		{Class: ClassCPU, Service: "catalog", Gain: 0, Mean: 100 * time.Millisecond},
	}
	if err := PredictGains(found, sys, load, Options{}); err != nil || found[0].Gain != time.Hour {
		t.Fatalf("without a calibration: %v, %v", found[0].Gain, err)
	}
	sys.Calibration = &topology.Calibration{}
	if err := PredictGains(found, sys, load, Options{}); err != nil {
		t.Fatal(err)
	}
	as, err := Predict(sys, load, Options{})
	if err != nil {
		t.Fatal(err)
	}
	twice, err := Predict(sys, load, Options{CPU: map[string]float64{"catalog": 1}})
	if err != nil {
		t.Fatal(err)
	}
	want := 0.1 * (1 - float64(twice.Routes[0].Mean)/float64(as.Routes[0].Mean))
	near(t, "the gain of twice the limit", found[0].Gain.Seconds(), want, 1e-3)
	if found[1].Gain != 7 || !strings.Contains(found[0].By, "twice the limit") || sys.Services["catalog"].Limits.CPU != 0.5 {
		t.Errorf("%+v", found)
	}
	if g := found[2].Gain; g <= 0 || g >= 100*time.Millisecond || sys.Services["catalog"].Work.CPU != ms(2) {
		t.Errorf("half the CPU time gains %v; catalog's is now %v", g, sys.Services["catalog"].Work.CPU)
	}
}

// TestWaitingForCoresOfOthersIsTheMachines: on a machine that others keep busy, time that a fifth of the tries is spared is the
// machine's; where all tries take it, it is a dependency's still.
func TestWaitingForCoresOfOthersIsTheMachines(t *testing.T) {
	o := func(p20 float64) *Observation {
		s := ObservedService{Name: "web", Replicas: []ObservedReplica{{Name: "web-0", Tries: 1000, Time: 20, StdDev: 0.02, P5: 0.001, P20: p20, P50: 0.015, P99: 0.09, CPU: 0.1}}}
		for range 10 {
			s.Slices = append(s.Slices, ObservedTimeline{Calls: 100, Time: 2, InFlight: 2})
		}
		call := ObservedCalls{Route: "get", To: "web", Calls: 1000, Time: 20, InFlight: 2}
		return &Observation{System: "shop", Seconds: 10, Cores: 2, Busy: 2, Routes: []ObservedCalls{call}, Edges: []ObservedCalls{call}, Services: []ObservedService{s}}
	}
	for p20, want := range map[float64]string{0.0015: Machine, 0.012: "web"} {
		found, err := Bottlenecks(o(p20))
		if err != nil || len(found) == 0 {
			t.Fatal(found, err)
		}
		if found[0].Service != want {
			t.Errorf("with a p20 of %v: %s at %s, want %s", p20, found[0].Class, found[0].Service, want)
		}
	}
}
