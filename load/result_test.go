package load

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sampleResult is a result with something in every part of it.
func sampleResult() *Result {
	r := &Result{
		Version: resultVersion, Target: "http://127.0.0.1:8080", Start: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), End: time.Date(2026, 11, 1, 12, 0, 15, 0, time.UTC),
		Warmup: 5 * time.Second, Duration: 9 * time.Second, Planned: 10 * time.Second, CutShort: true, Seed: 7, Schedule: "Poisson at 200/s",
		Limits: Limits{Connections: 4096, MaxInFlight: 50000}, Workload: &topology.Workload{Rate: 200, Scenarios: map[string]*topology.Scenario{
			"s": {Steps: []*topology.Step{{Path: "/", JSON: map[string]any{"a": "b"}}}}}},
		Scenarios: ScenarioCounts{Started: 1795, Completed: 1780, Failed: 15, NotStarted: 3},
		Generator: Generator{CPU: 90 * time.Millisecond, Cores: 2, Connections: 12, Reconnects: 2},
		Warnings:  []string{"a word of warning"},
	}
	total := newStep("total")
	for i, name := range []string{"GET /", "POST /checkout"} {
		s := newStep(name)
		for k := range 1000 - 205*i {
			d := time.Duration(k*(i+1)) * 37 * time.Microsecond
			s.Latency.RecordDuration(d + time.Millisecond)
			s.Service.RecordDuration(d)
			s.Lateness.RecordDuration(time.Duration(k) * 200)
			s.Requests++
		}
		s.Rate = float64(s.Requests) / 9
		s.Statuses[200] = s.Requests
		if i == 1 {
			s.Statuses[503], s.Errors[BadStatus], s.Errors[Refused], s.NotSent, s.Unfinished, s.Skipped = 12, 12, 3, 3, 2, 1
			s.Requests += 15
		}
		r.Steps = append(r.Steps, &s)
		total.merge(&s)
	}
	r.Total = &total
	r.Timeline.Width = time.Second
	r.Trace = &TraceReplay{File: "traces/day.csv.gz", Start: time.Date(1998, 6, 10, 20, 0, 0, 0, time.UTC), Speed: 60, Timeline: Timeline{Width: time.Second}}
	for i := range 9 {
		r.Timeline.latency(time.Duration(i)*time.Second, time.Duration(i+1)*time.Millisecond)
		r.Trace.Timeline.latency(time.Duration(i)*time.Second, time.Duration(i+1)*time.Millisecond)
		p := r.Trace.Timeline.at(time.Duration(i) * time.Second)
		p.Offered, p.Sent, p.Completed, p.Errors = int64(1000+100*i), int64(1000+100*i), int64(1000+100*i-i), int64(i)
	}
	for _, text := range []string{"p99 < 200ms", "errors < 0.1%", "p99{POST /checkout} <= 50ms", "rate > 100/s", "max < 1s"} {
		t, err := ParseThreshold(text)
		if err != nil {
			panic(err)
		}
		r.Verdicts = append(r.Verdicts, t.Judge(r))
	}
	return r
}

func TestText(t *testing.T) {
	var got bytes.Buffer
	if err := sampleResult().WriteText(&got); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/report.txt"
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the report has changed; see -update. It is now:\n%s", &got)
	}
}

func TestResultRoundTrip(t *testing.T) {
	t.Parallel()
	r := sampleResult()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Read(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(back)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, again) {
		t.Errorf("it comes back as\n%s\nand was\n%s", again, data)
	}
	if !reflect.DeepEqual(back.Verdicts, r.Verdicts) || back.Total.Latency.Quantile(0.99) != r.Total.Latency.Quantile(0.99) || back.OK() {
		t.Error("verdicts or percentiles have changed on the way")
	}
	for name, change := range map[string]func(*Result){
		"version":  func(r *Result) { r.Version = 9 },
		"total":    func(r *Result) { r.Total = nil },
		"workload": func(r *Result) { r.Workload = nil },
		"step":     func(r *Result) { r.Steps[0].Latency = nil },
		"nil step": func(r *Result) { r.Steps[0] = nil },
		"width":    func(r *Result) { r.Timeline.Width = 0 },
		"digits":   func(r *Result) { r.Timeline.Points[0].Latency = stats.NewHistogram(3) },
		"speed":    func(r *Result) { r.Trace.Speed = 0 },
	} {
		r := sampleResult()
		change(r)
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Read(bytes.NewReader(data)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := Read(strings.NewReader("{")); err == nil {
		t.Error("half a file is taken")
	}
}

func TestThresholds(t *testing.T) {
	s := newStep("total")
	for i := range 1000 {
		s.Latency.RecordDuration(time.Duration(i+1) * time.Millisecond)
	}
	s.Requests, s.Rate, s.Errors[Timeout] = 1000, 50, 5
	few := newStep("few")
	few.NotSent = 1
	none := newStep("none")
	r := &Result{Total: &s, Steps: []*Step{&few, &none}}
	for text, want := range map[string]bool{
		"p99 < 200ms": false, "p99<1s": true, "p50 <= 501ms": true, "p50 > 501ms": false, "p99.8 < 1s": true, "p100 < 1s": false, "max <= 1s": true,
		"mean < 501ms": true, "min >= 1ms": true, "errors < 0.5%": false, "errors <= 0.5%": true, "errors < 0.006": true,
		"rate > 49.9/s": true, "rate >= 3000/min": true, "rate < 180000/h": false,
		"errors{few} < 99%": false, "p50{few} < 1h": false, "p50{few} > 1h": true, "max{few} < 1h": false, "p50{none} < 1h": false, "rate{none} < 1/s": false,
	} {
		th, err := ParseThreshold(text)
		if err != nil {
			t.Error(err)
			continue
		}
		if v := th.Judge(r); v.OK != want || v.Value == "" || v.Threshold != text {
			t.Errorf("%s: %+v, want %t", text, v, want)
		}
	}
	for _, bad := range []string{"", "p99", "p99 200ms", "p99 = 200ms", "p101 < 1s", "p < 1s", "speed < 1s", "p99 < 5", "p99 < -5ms", "errors < 1s", "errors < 200%", "rate > fast",
		"p99{a < 1s", "p99 < 1s and more", "p9.9.9 < 1s", "errors < NaN"} {
		if _, err := ParseThreshold(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	th, err := ParseThreshold("p99{GET /a{b}} < 1s")
	if err != nil || th.step != "GET /a{b}" {
		t.Errorf("step %q, %v", th.step, err)
	}
}

func FuzzParseThreshold(f *testing.F) {
	f.Add("p99{POST /checkout} < 300ms")
	f.Add("errors <= 0.1%")
	f.Fuzz(func(t *testing.T, text string) {
		if th, err := ParseThreshold(text); err == nil {
			th.Judge(sampleStepResult())
		}
	})
}

func sampleStepResult() *Result {
	s := newStep("total")
	return &Result{Total: &s}
}

func TestAdHoc(t *testing.T) {
	tests := []struct {
		address, target, path string
		options               AdHocOptions
		err                   bool
	}{
		{address: "http://h:1/a/b?c=${user}#d", target: "http://h:1", path: "/a/b?c=${user}"},
		{address: "h:8080", target: "http://h:8080", path: "/"},
		{address: "https://h?x=1", target: "https://h", path: "/?x=1", options: AdHocOptions{Rate: 5}},
		{address: "http://h/", target: "http://h", path: "/", options: AdHocOptions{Rate: 5, Connections: 3}},
		{address: "http://h/", options: AdHocOptions{Users: 5, Connections: 3}, err: true},
		{address: "http://h/", options: AdHocOptions{Users: 5, Rate: 3}, err: true},
		{address: "http://h:99999", err: true},
		{address: "http://h:0", err: true},
		{address: "ftp://h/", err: true},
		{address: "http://", err: true},
	}
	for _, tt := range tests {
		w, target, err := AdHoc(tt.address, tt.options)
		if tt.err {
			if err == nil {
				t.Errorf("%s %+v: taken", tt.address, tt.options)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.address, err)
			continue
		}
		if st := w.Scenarios["request"].Steps[0]; target != tt.target || st.Path != tt.path || st.Method != "GET" {
			t.Errorf("%s: target %s, %s %s", tt.address, target, st.Method, st.Path)
		}
		if _, _, err := prepare(Config{Target: target, Workload: w}); err != nil {
			t.Errorf("%s: %v", tt.address, err)
		}
	}
	w, _, _ := AdHoc("h", AdHocOptions{Body: "x"})
	if w.Scenarios["request"].Steps[0].Method != "POST" || w.Users != 10 {
		t.Errorf("a body without a method: %+v, %d users", w.Scenarios["request"].Steps[0], w.Users)
	}
}
