package load

import (
	"strings"
	"testing"
	"time"
)

func TestThresholdsOverWindows(t *testing.T) {
	r := sampleStepResult()
	r.Total.Requests, r.Duration, r.Timeline.Width = 240, 24*time.Second, time.Second
	for i := range 24 {
		at := time.Duration(i) * time.Second
		for k := range 10 {
			d := 10 * time.Millisecond
			if i == 7 && k < 5 {
				d = 400 * time.Millisecond // one bad second
			}
			r.Timeline.latency(at, d)
			r.Total.Latency.RecordDuration(d)
		}
		p := r.Timeline.at(at)
		p.Offered, p.Completed = 10, 10
		if i == 15 {
			p.Completed, p.Errors = 8, 2
		}
	}
	before := r.Timeline.Points[5].Latency.Count()
	for text, want := range map[string]string{
		"p95 < 200ms":       "ok",
		"p95[5s] < 200ms":   "from 5s on; 1 broken",
		"p95[1s] < 200ms":   "400ms in the worst of 24 windows, from 7s on; 1 broken",
		"p50[5s] < 200ms":   "ok",
		"max[5s] < 1s":      "ok",
		"mean[10s] > 200ms": "broken",
		"errors[5s] < 1%":   "4% in the worst of 5 windows, from 15s on; 1 broken",
		"errors[24s] < 1%":  "ok",
		"rate[5s] > 9.5/s":  "9.6/s in the worst of 5 windows, from 15s on; 0 broken",
		"rate[2s] > 9.5/s":  "9/s in the worst of 12 windows, from 14s on; 1 broken",
		"p99[1m] < 1s":      "1 windows",
	} {
		th, err := ParseThreshold(text)
		if err != nil {
			t.Fatal(err)
		}
		v := th.Judge(r)
		if v.OK != (want == "ok" || strings.Contains(want, "; 0 broken") || want == "1 windows") || want != "ok" && !strings.Contains(v.Value, want) {
			t.Errorf("%s: %+v, want %s", text, v, want)
		}
	}
	if r.Timeline.Points[5].Latency.Count() != before {
		t.Error("judging changed the timeline")
	}
	stalled := r.Timeline.at(9 * time.Second)
	stalled.Latency, stalled.Completed = nil, 0
	th, _ := ParseThreshold("p50[1s] < 1h")
	if v := th.Judge(r); v.OK || !strings.Contains(v.Value, "no answer") {
		t.Errorf("a stalled second: %+v", v)
	}
	errors, _ := ParseThreshold("errors[1s] < 50%")
	if v := errors.Judge(r); v.OK || !strings.Contains(v.Value, "nothing ended in the worst of 24 windows, from 9s on; 1 broken") {
		t.Errorf("errors in a stalled second: %+v", v)
	}
	r.Timeline.Width = 2 * time.Second
	if v := th.Judge(r); v.OK || !strings.Contains(v.Value, "unknown") {
		t.Errorf("a timeline that is too coarse: %+v", v)
	}
}
