package app

import (
	"testing"
	"time"

	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/stats"
)

// What the gateway turned away for lack of room is told apart from other errors on the whole way to what plan asks of a run: with the
// bound's level where it is looked for what limits the system, and out of the rates where demands are derived.
func TestWhatIsRefusedIsTold(t *testing.T) {
	h := stats.NewHistogram(observe.Digits)
	h.RecordN(int64(10*time.Millisecond), 100)
	traffic := gateway.Traffic{Requests: 100, Codes: map[int]int64{200: 60, 503: 40}, Errors: map[string]int64{"connection_limit_reached": 30, "destination_unavailable": 10}, Latency: h}
	if c := counters(traffic); c.Refused != 30 || c.Errors != 40 {
		t.Fatalf("%d refused of %d errors, want 30 of 40", c.Refused, c.Errors)
	}
	start := time.Unix(1000, 0)
	sums := observe.CallSums{Requests: 100, Errors: 40, Refused: 30, Sum: time.Second}
	route, edge := sums, sums
	route.Route, edge.To = "/", "web"
	w := &observe.Window{Covered: 10 * time.Second, Interval: observe.Interval{
		Start: start, End: start.Add(10 * time.Second), Routes: []observe.CallSums{route}, Edges: []observe.CallSums{edge},
		Bounds: []observe.BoundMean{{Service: "web", Limit: 120}}, Machine: observe.MachineSums{Cores: 2}}}
	w.Intervals = []observe.Interval{w.Interval}
	sys := parse(t, twoServices)
	o := Observation(sys, w)
	if o.Routes[0].Refused != 30 || o.Edges[0].Refused != 30 {
		t.Errorf("refused on the route %v, on the edge %v, want 30", o.Routes[0].Refused, o.Edges[0].Refused)
	}
	for _, s := range o.Services {
		if want := map[string]float64{"web": 120}[s.Name]; s.Bound != want {
			t.Errorf("%s has a bound of %v, want %v", s.Name, s.Bound, want)
		}
		if s.Name == "web" && s.Slices[0].Calls != 70 {
			t.Errorf("a slice has %v calls, want those that were let in: 70", s.Slices[0].Calls)
		}
	}
	m := Measurement(sys, ClientSide{Start: start, End: start.Add(20 * time.Second), Latency: map[string]*stats.Histogram{"/": h}, Errors: map[string]int64{"/": 80}}, w, nil)
	if got := m.Routes["/"].Refused; got != 60 { // of twice the window
		t.Errorf("%d refused in the measurement, want 60", got)
	}
	if got := m.Edges[0].Refused; got != 30 {
		t.Errorf("%d refused on the edge, want 30", got)
	}
	if s := m.PerSecond[0]; s.Requests["/"] != 70 || s.Calls[plan.EdgeName("", "web")] != 70 {
		t.Errorf("a second has %v requests and %v calls, want 70 that were not refused", s.Requests, s.Calls)
	}
}
