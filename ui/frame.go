package ui

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/orchestrate"
	"github.com/banyanhq/banyan/topology"
	"github.com/banyanhq/banyan/ui/layout"
)

// frameWindow is what the rates and latencies of a frame are taken over.
const frameWindow = 5 * time.Second

// Health is how a node is doing; a word, so that colour need not say it.
type Health string

// The healths, from best to worst.
const (
	Idle    Health = "idle" // nothing is asked of it
	OK      Health = "ok"
	Warning Health = "warning"
	Failing Health = "failing"
)

// Frame is the present of the system, as the page shows it. Times are in milliseconds, memory in bytes, shares from 0 to 1.
type Frame struct {
	// Seq grows from frame to frame.
	Seq int64 `json:"seq"`
	// At is the instant of the sample, in milliseconds since 1970.
	At     int64  `json:"at"`
	System string `json:"system"`
	State  string `json:"state"`
	// Map names the version of the map: when it changes, GET /v1/map has another picture.
	Map string `json:"map"`
	// UpSeconds since the start, and WindowSeconds that rates and latencies are taken over.
	UpSeconds     float64                `json:"up_s"`
	WindowSeconds float64                `json:"window_s"`
	Total         Calls                  `json:"total"`
	Machine       observe.MachineStatus  `json:"machine"`
	Nodes         map[string]NodeFigures `json:"nodes"`
	// Edges by 'FROM>TO', the IDs of the map; those of which no figures are known are left out.
	Edges  map[string]Calls `json:"edges"`
	Routes []RouteFigures   `json:"routes"`
	// Expected says what the plan expects at the present load.
	Expected Expectation `json:"expected"`
	// Events since the frame before, oldest first.
	Events []Event `json:"events"`
	// Load is the load test that was started from here; nil if there was none.
	Load *LoadState `json:"load,omitempty"`
}

// Calls are figures of what was called.
type Calls struct {
	Rate     float64 `json:"rate"`
	Errors   float64 `json:"errors"`
	InFlight int64   `json:"in_flight"`
	Mean     float64 `json:"mean_ms"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
}

// NodeFigures are those of one node of the map; what does not apply to its kind is left out.
type NodeFigures struct {
	Calls
	Health Health `json:"health"`
	// Why it is not well, in words.
	Why string `json:"why,omitempty"`
	// Replicas wanted and ready, and the state of each, in order: ready, starting, unready, draining, waiting, stopping.
	Wanted   int      `json:"wanted,omitempty"`
	Ready    int      `json:"ready,omitempty"`
	Replicas []string `json:"replicas,omitempty"`
	// Breakers that are not closed.
	BreakersOpen     int `json:"breakers_open,omitempty"`
	BreakersHalfOpen int `json:"breakers_half_open,omitempty"`
	// Cores in use, and the limit of all replicas together; 0: none.
	Cores     float64 `json:"cores,omitempty"`
	Limit     float64 `json:"limit_cores,omitempty"`
	Memory    int64   `json:"memory_bytes,omitempty"`
	Throttled float64 `json:"throttled,omitempty"`
	// Scaled says that the autoscaler scales it.
	Scaled bool `json:"scaled,omitempty"`
	// Expected of a service at the present load; nil where the plan does not say.
	Expected *ExpectedUse `json:"expected,omitempty"`
	// Store of a cache, a queue or a topic, with what came and went a second.
	Store *StoreFigures `json:"store,omitempty"`
}

// StoreFigures are a store with rates.
type StoreFigures struct {
	Store
	In  float64 `json:"in_rate"`  // messages stored, or lookups
	Out float64 `json:"out_rate"` // messages handled
}

// RouteFigures are those of one route, with what is expected of it.
type RouteFigures struct {
	Route   string `json:"route"`
	Service string `json:"service"`
	Calls
	Expected *ExpectedLatency `json:"expected,omitempty"`
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func callsOf(c observe.CallStatus) Calls {
	return Calls{Rate: c.Rate, Errors: c.Errors, InFlight: c.InFlight, Mean: ms(c.Latency.Mean), P50: ms(c.Latency.P50), P99: ms(c.Latency.P99)}
}

// EdgeKey is how an edge is named in a frame.
func EdgeKey(from, to string) string { return from + ">" + to }

// frameOf joins what is known of this instant. stores are those of the frame before and of now.
func frameOf(sys *topology.System, st observe.Status, replicas []orchestrate.ServiceStatus, scaled []string, e expectation) *Frame {
	f := &Frame{
		At: st.At.UnixMilli(), System: st.System, UpSeconds: st.Up.Seconds(), WindowSeconds: st.Window.Seconds(), Total: callsOf(st.Total), Machine: st.Machine,
		Nodes: map[string]NodeFigures{}, Edges: map[string]Calls{}, Routes: []RouteFigures{}, Expected: e.Expectation, Events: []Event{},
	}
	f.Edges[EdgeKey(layout.ClientsID, layout.GatewayID)] = f.Total
	f.Nodes[layout.ClientsID] = NodeFigures{Calls: f.Total, Health: healthOfCalls(f.Total)}
	g := NodeFigures{Calls: f.Total, Cores: st.Gateway.Cores, Memory: st.Gateway.Memory, Throttled: st.Gateway.Throttled}
	g.Health, g.Why = healthOfCalls(f.Total), troubleOfCalls(f.Total)
	f.Nodes[layout.GatewayID] = g
	for _, c := range st.Edges {
		from := c.From
		if from == observe.Outside {
			from = layout.GatewayID
		}
		f.Edges[EdgeKey(from, c.To)] = callsOf(c)
	}
	for _, c := range st.Routes {
		r := RouteFigures{Route: c.Route, Calls: callsOf(c), Expected: e.routes[c.Route]}
		if route := sys.RouteByName(c.Route); route != nil {
			r.Service = route.To
		}
		f.Routes = append(f.Routes, r)
	}
	limits := map[string]orchestrate.ServiceStatus{}
	for _, r := range replicas {
		limits[r.Service] = r
	}
	for _, s := range st.Services {
		f.Nodes[s.Service] = serviceFigures(s, limits[s.Service], slices.Contains(scaled, s.Service), e.services[s.Service])
	}
	return f
}

func serviceFigures(s observe.ServiceStatus, o orchestrate.ServiceStatus, scaled bool, expected *ExpectedUse) NodeFigures {
	n := NodeFigures{
		Calls: callsOf(s.CallStatus), Wanted: s.Wanted, Ready: s.Ready, BreakersOpen: s.Breakers.Open, BreakersHalfOpen: s.Breakers.HalfOpen,
		Cores: s.Cores, Memory: s.Memory, Throttled: s.Throttled, Limit: float64(o.CPU) * float64(o.Ready), Scaled: scaled, Expected: expected,
	}
	for _, r := range s.Replicas {
		n.Replicas = append(n.Replicas, stateOf(r))
	}
	if n.Wanted == 0 && o.Service == "" { // it runs elsewhere: all that is known are its backends
		n.Wanted = len(s.Replicas)
		for _, r := range s.Replicas {
			if r.Healthy {
				n.Ready++
			}
		}
	}
	n.Health, n.Why = healthOf(n, s.Message)
	return n
}

// stateOf a replica in one word.
func stateOf(r observe.ReplicaStatus) string {
	switch {
	case r.Draining:
		return "draining"
	case r.State != "":
		return string(r.State)
	case r.Healthy:
		return "ready"
	}
	return "unready"
}

// The shares of failed calls, and of time held back by a CPU limit, from which on a node is not well.
const (
	someErrors    = 0.01
	manyErrors    = 0.05
	muchThrottled = 0.25
)

func healthOfCalls(c Calls) Health {
	switch {
	case c.Errors >= manyErrors:
		return Failing
	case c.Errors >= someErrors:
		return Warning
	case c.Rate == 0 && c.InFlight == 0:
		return Idle
	}
	return OK
}

func troubleOfCalls(c Calls) string {
	if c.Errors < someErrors {
		return ""
	}
	return fmt.Sprintf("%.3g %% of the calls fail", 100*c.Errors)
}

// healthOf says how a service is, and the most pressing reason.
func healthOf(n NodeFigures, message string) (Health, string) {
	switch {
	case n.Wanted > 0 && n.Ready == 0 && message == "" && slices.Contains(n.Replicas, "starting"):
		return Warning, "its replicas are starting"
	case n.Wanted > 0 && n.Ready == 0:
		return Failing, cmp.Or(message, "no replica is ready")
	case n.Errors >= manyErrors:
		return Failing, troubleOfCalls(n.Calls)
	case n.Ready < n.Wanted:
		return Warning, cmp.Or(message, fmt.Sprintf("%d of %d replicas ready", n.Ready, n.Wanted))
	case n.BreakersOpen > 0:
		return Warning, fmt.Sprintf("%d breakers open", n.BreakersOpen)
	case n.Errors >= someErrors:
		return Warning, troubleOfCalls(n.Calls)
	case n.Throttled >= muchThrottled:
		return Warning, fmt.Sprintf("held back by its CPU limit for %.0f %% of the time", 100*n.Throttled)
	case message != "":
		return Warning, message
	}
	return healthOfCalls(n.Calls), ""
}

// addStores adds what stores hold. before are their counts of the frame before, elapsed ago.
func (f *Frame) addStores(stores []Store, before map[string]Store, elapsed time.Duration) {
	for _, s := range stores {
		n := NodeFigures{Store: &StoreFigures{Store: s}, Health: Idle}
		if b, ok := before[s.ID]; ok && elapsed > 0 {
			n.Store.In = float64(max(0, s.Stored-b.Stored)+max(0, s.Lookups-b.Lookups)) / elapsed.Seconds()
			n.Store.Out = float64(max(0, s.Handled-b.Handled)) / elapsed.Seconds()
		}
		if n.Store.In > 0 || n.Store.Out > 0 || s.InFlight > 0 || s.Waiting > 0 {
			n.Health = OK
		}
		n.Rate, n.InFlight = n.Store.In, s.InFlight
		if s.Dead > 0 {
			n.Health, n.Why = Warning, fmt.Sprintf("%d dead messages", s.Dead)
		}
		f.Nodes[s.ID] = n
	}
}

// coresHere is how many cores this machine has, for where the file does not say.
func coresHere() float64 { return float64(runtime.NumCPU()) }
