package app

import (
	"log/slog"
	"math"
	"os"
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
	got := ratesOf(w, "web", 15*time.Second)
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
	// Half a core at 10 ms for each request, of which 60 % are to be used.
	if math.Abs(each-50) > 0.5 {
		t.Errorf("one replica holds %v/s, want 50", each)
	}
	if n := len(trace.Rates); n < seconds/15-2 || math.Abs(trace.Rates[10]-20) > 0.1 || math.Abs(trace.Rates[n-5]-40) > 0.1 {
		t.Errorf("%d steps, %v and %v", n, trace.Rates[10], trace.Rates[n-5])
	}
}

// The forecast starts from the file's history, and over it from what was recorded here.
func TestLearnFrom(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	csv := "time,rate\n"
	for m := range 60 { // an hour of 7/s, which ended an hour ago
		csv += now.Add(time.Duration(m-120)*time.Minute).UTC().Format(time.RFC3339Nano) + ",7\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "history.csv"), []byte(csv), 0o644); err != nil {
		t.Fatal(err)
	}
	sys := &topology.System{Name: "small", Dir: dir, Services: map[string]*topology.Service{"back": {Scale: &topology.Scale{History: "history.csv"}}}}
	a := &App{cfg: Config{System: sys, Dir: dir, Log: slog.New(slog.DiscardHandler)}}
	rates := a.learnFrom("back", 15*time.Second)
	if n := len(rates); n < 478 || n > 481 || rates[40] != 7 || !math.IsNaN(rates[n-100]) {
		t.Fatalf("%d rates of the file, %v", len(rates), rates)
	}

	o, err := observe.New(observe.Config{System: "small", Sample: func() observe.Sample { return observe.Sample{} }, Record: observe.RecordConfig{Dir: filepath.Join(dir, "samples")}})
	if err != nil {
		t.Fatal(err)
	}
	for s := range 1800 { // half an hour of 20/s, which ended half an hour ago
		o.Observe(observe.Sample{At: now.Add(time.Duration(s-3600) * time.Second), Since: now.Add(-time.Hour), Edges: []observe.CallCounters{{To: "back", Requests: int64(20 * s)}}})
	}
	rates = a.learnFrom("back", 15*time.Second)
	n := len(rates)
	if rates[40] != 7 || math.Abs(rates[n-180]-20) > 1 || !math.IsNaN(rates[n-50]) {
		t.Errorf("of the file %v, recorded %v, then %v", rates[40], rates[n-180], rates[n-50])
	}

	sys.Services["back"].Scale.History = "absent.csv" // said in the log; what was recorded still counts
	if rates = a.learnFrom("back", 15*time.Second); len(rates) == 0 || len(rates) > 250 {
		t.Errorf("%d rates that were recorded", len(rates))
	}
}
