package workqueue

import (
	"math"
	"testing"
	"time"
)

func TestOutlook(t *testing.T) {
	for _, c := range []struct {
		name               string
		seconds            int
		arrive, settle     float64 // a second
		ready, inFlight    int     // at first; ready changes as the rates say
		drained            time.Duration
		growing, needed    float64
		saturated, unknown bool
		text               string
	}{
		{name: "too soon", seconds: 5, arrive: 100, settle: 50, unknown: true},
		{name: "no backlog", seconds: 100, arrive: 120, settle: 120, inFlight: 3, text: "no backlog: 120/s come and are handled"},
		{name: "drains", seconds: 100, arrive: 1000, settle: 1900, ready: 306_000, inFlight: 20, saturated: true, drained: 240 * time.Second,
			text: "drained in 4 min; grows if more than 1900/s come"},
		{name: "drains within seconds", seconds: 60, arrive: 0, settle: 100, ready: 6500, saturated: true, drained: 5 * time.Second,
			text: "drained in 5s; grows if more than 100/s come"},
		{name: "drains for hours", seconds: 60, arrive: 100, settle: 120, ready: 145_200, saturated: true, drained: 2 * time.Hour,
			text: "drained in 2 h 00 min; grows if more than 120/s come"},
		{name: "grows", seconds: 100, arrive: 2100, settle: 1500, ready: 100, inFlight: 10, saturated: true, growing: 600, needed: 14,
			text: "grows by 600/s: 2100/s come, 1500/s are handled; it takes consumers that have 14 messages at once, now they have 10.0"},
		{name: "nobody handles anything", seconds: 20, arrive: 5, settle: 0, ready: 1, saturated: true, growing: 5, text: "grows by 5/s: nothing is handled"},
		{name: "chance", seconds: 100, arrive: 100, settle: 101, ready: 500, saturated: true, text: "steady: 101/s come and are handled"},
	} {
		var trend Trend
		for s := range c.seconds + 1 {
			at := float64(s)
			st := Stats{Ready: max(0, c.ready+int(at*(c.arrive-c.settle))), InFlight: c.inFlight}
			st.Put, st.Acked = uint64(at*c.arrive), uint64(at*c.settle)
			trend.Note(time.Duration(s)*time.Second, st)
			trend.Note(time.Duration(s)*time.Second+time.Millisecond, Stats{}) // too soon after the one before
		}
		o, ok := trend.Outlook()
		if ok == c.unknown {
			t.Errorf("%s: known %v", c.name, ok)
			continue
		}
		if !ok {
			continue
		}
		if d := o.Drained - c.drained; d < -time.Second || d > time.Second {
			t.Errorf("%s: drained in %v, want %v", c.name, o.Drained, c.drained)
		}
		if math.Abs(o.Growing-c.growing) > 1 || math.Abs(o.Needed-c.needed) > 0.1 || o.Saturated != c.saturated {
			t.Errorf("%s: %+v", c.name, o)
		}
		if got := o.String(); got != c.text {
			t.Errorf("%s: %q, want %q", c.name, got, c.text)
		}
	}
}
