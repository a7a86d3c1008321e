package app

import (
	"math"
	"path/filepath"
	"testing"
	"time"

	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/topology"
)

func TestRatesOfARecording(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := &observe.Window{}
	add := func(after, length time.Duration, requests int64) {
		w.Intervals = append(w.Intervals, observe.Interval{Start: start.Add(after), End: start.Add(after + length),
			Edges: []observe.CallSums{{To: "web", Requests: requests / 2}, {From: "front", To: "web", Requests: requests - requests/2}, {To: "other", Requests: 99}}})
	}
	for s := range 15 {
		add(time.Duration(s)*time.Second, time.Second, 10)
	}
	add(15*time.Second, 10*time.Second, 50)  // a coarse one, and five seconds that are missing
	add(45*time.Second, 5*time.Second, 1000) // too little of a step
	add(60*time.Second, 10*time.Second, 0)
	want := []float64{10, 5, math.NaN(), math.NaN(), 0}
	got := ratesOf(w, "web")
	if len(got) != len(want) {
		t.Fatalf("%v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] && !(math.IsNaN(got[i]) && math.IsNaN(want[i])) {
			t.Errorf("step %d: %v, want %v", i, got[i], want[i])
		}
	}
}

func TestScaleHistoryRefuses(t *testing.T) {
	sys := &topology.System{Name: "small", Services: map[string]*topology.Service{"web": {}, "back": {Scale: &topology.Scale{}}}}
	for _, service := range []string{"absent", "web", "back"} {
		if _, _, err := ScaleHistory(t.TempDir(), sys, service); err == nil {
			t.Errorf("%s: no error", service)
		}
	}
}

// What was recorded while the system ran is what a policy is proved on.
func TestScaleHistory(t *testing.T) {
	dir := t.TempDir()
	o, err := observe.New(observe.Config{System: "small", Sample: func() observe.Sample { return observe.Sample{} }, Record: observe.RecordConfig{Dir: filepath.Join(dir, "samples")}})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	total := int64(0)
	const seconds = 2 * 3600
	for s := range seconds {
		total += 20 + int64(s/3600)*20
		o.Observe(observe.Sample{At: start.Add(time.Duration(s) * time.Second), Since: start,
			Edges:     []observe.CallCounters{{To: "back", Requests: total}},
			Processes: []observe.ProcessCounters{{Service: "back", Replica: "back-0", CPU: time.Duration(total) * 10 * time.Millisecond}}})
	}
	sys := &topology.System{Name: "small", Services: map[string]*topology.Service{"back": {Limits: topology.Limits{CPU: 0.5},
		Scale: &topology.Scale{Target: topology.ScaleTarget{Requests: 40, CPU: 0.6}}}}}
	trace, each, err := ScaleHistory(dir, sys, "back")
	if err != nil {
		t.Fatal(err)
	}
	// Half a core, of which 60 % are to be used, at 10 ms for each request.
	if math.Abs(each-30) > 0.5 {
		t.Errorf("one replica takes %v/s at its target, want 30", each)
	}
	if n := len(trace.Rates); n < seconds/15-2 || math.Abs(trace.Rates[10]-20) > 0.1 || math.Abs(trace.Rates[n-5]-40) > 0.1 {
		t.Errorf("%d steps, %v and %v", n, trace.Rates[10], trace.Rates[n-5])
	}
}
