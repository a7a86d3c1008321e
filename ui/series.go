package ui

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/ui/layout"
)

// Values of a series, one for each step; NaN is written as null: nothing is known.
type Values []float64

// MarshalJSON implements json.Marshaler.
func (v Values) MarshalJSON() ([]byte, error) {
	out := make([]*float64, len(v))
	for i := range v {
		if !math.IsNaN(v[i]) && !math.IsInf(v[i], 0) {
			out[i] = &v[i]
		}
	}
	return json.Marshal(out)
}

// Series is the past of one node or route, and beside it what the plan expected at the load of each step.
type Series struct {
	// Step in seconds. At is the end of each step, in milliseconds since 1970, oldest first.
	Step float64 `json:"step_s"`
	At   []int64 `json:"at"`
	Rate Values  `json:"rate"`
	// Errors as a share of the calls.
	Errors   Values `json:"errors"`
	Mean     Values `json:"mean_ms"`
	P50      Values `json:"p50_ms"`
	P99      Values `json:"p99_ms"`
	InFlight Values `json:"in_flight"`
	Cores    Values `json:"cores"`
	Memory   Values `json:"memory_bytes"`
	Replicas Values `json:"replicas"`
	Expected struct {
		Rate  Values `json:"rate"`
		Cores Values `json:"cores"`
		P50   Values `json:"p50_ms"`
		P99   Values `json:"p99_ms"`
	} `json:"expected"`
	// LatencyBand and UseBand are the relative widths to either side within which measured figures are as expected.
	LatencyBand float64 `json:"latency_band"`
	UseBand     float64 `json:"use_band"`
	// Why nothing is expected, where that is so.
	Why string `json:"why,omitempty"`
}

// spans of a series that can be asked for. The history has seconds for ten minutes and ten seconds each for six hours.
var spans = map[string]time.Duration{"5m": 5 * time.Second, "30m": 30 * time.Second, "6h": 6 * time.Minute}

// steps is how many steps a series has.
const steps = 60

// chunk is what happened in one step.
type chunk struct {
	nodes  map[string]point
	routes map[string]point
	expect expectation
}

// point is one value of each series.
type point struct {
	rate, errors, mean, p50, p99, inFlight, cores, memory, replicas float64
}

var noPoint = point{math.NaN(), math.NaN(), math.NaN(), math.NaN(), math.NaN(), math.NaN(), math.NaN(), math.NaN(), math.NaN()}

// past keeps chunks, so that each is reckoned once however many charts are looked at.
type past struct {
	mu     sync.Mutex
	chunks map[time.Duration]map[int64]*chunk
}

// series of a node (by its ID) or of a route, over the latest whole steps before now.
func (s *Server) series(node, route, span string, now time.Time) (*Series, error) {
	step, ok := spans[span]
	if !ok {
		return nil, wrongf("range %q: want 5m, 30m or 6h", span)
	}
	if (node == "") == (route == "") {
		return nil, wrongf("name a node or a route")
	}
	sys := s.cfg.System.Topology()
	if route != "" && sys.RouteByName(route) == nil {
		return nil, missingf("there is no route %.128q", route)
	}
	if node != "" && !slices.ContainsFunc(layout.Of(sys).Nodes, func(n layout.Node) bool { return n.ID == node }) {
		return nil, missingf("there is no %.128q in this system", node)
	}
	out := &Series{Step: step.Seconds()}
	last := now.UnixNano() / int64(step) // the step under way
	s.past.mu.Lock()
	defer s.past.mu.Unlock()
	for i := last - steps; i < last; i++ {
		c, err := s.chunk(step, i)
		if err != nil {
			return nil, err
		}
		out.add(time.Unix(0, (i+1)*int64(step)), c, node, route)
	}
	return out, nil
}

func (out *Series) add(at time.Time, c *chunk, node, route string) {
	out.At = append(out.At, at.UnixMilli())
	p, expected, latency := noPoint, (*ExpectedUse)(nil), (*ExpectedLatency)(nil)
	if c != nil {
		known := false
		if route != "" {
			p, known = c.routes[route]
			latency = c.expect.routes[route]
		} else {
			p, known = c.nodes[node]
			expected = c.expect.services[node]
			if use := c.expect.services[observe.Gateway]; node == layout.GatewayID && use != nil {
				// Every call between services goes through it as well: its own rate is not that of the requests from outside.
				expected = &ExpectedUse{Rate: math.NaN(), Cores: use.Cores}
			}
		}
		if !known { // it was watched, and nothing happened
			p = point{mean: math.NaN(), p50: math.NaN(), p99: math.NaN(), cores: math.NaN(), memory: math.NaN(), replicas: math.NaN()}
		}
		out.LatencyBand, out.UseBand, out.Why = c.expect.LatencyBand, c.expect.UseBand, c.expect.Why
	}
	for _, v := range []struct {
		to    *Values
		value float64
	}{{&out.Rate, p.rate}, {&out.Errors, p.errors}, {&out.Mean, p.mean}, {&out.P50, p.p50}, {&out.P99, p.p99}, {&out.InFlight, p.inFlight},
		{&out.Cores, p.cores}, {&out.Memory, p.memory}, {&out.Replicas, p.replicas}} {
		*v.to = append(*v.to, v.value)
	}
	rate, cores, p50, p99 := math.NaN(), math.NaN(), math.NaN(), math.NaN()
	if expected != nil {
		rate, cores = expected.Rate, expected.Cores
	}
	if latency != nil {
		p50, p99 = latency.P50, latency.P99
	}
	out.Expected.Rate = append(out.Expected.Rate, rate)
	out.Expected.Cores = append(out.Expected.Cores, cores)
	out.Expected.P50 = append(out.Expected.P50, p50)
	out.Expected.P99 = append(out.Expected.P99, p99)
}

// chunk returns a step that is over, nil where nothing is known of it; s.past.mu is held.
func (s *Server) chunk(step time.Duration, i int64) (*chunk, error) {
	kept := s.past.chunks[step]
	if c, ok := kept[i]; ok {
		return c, nil
	}
	from := time.Unix(0, i*int64(step))
	w, err := s.cfg.System.Window(from, from.Add(step))
	if err != nil && !errors.Is(err, observe.ErrNoData) {
		return nil, fmt.Errorf("reading the history: %w", err)
	}
	var c *chunk
	if err == nil {
		c = s.chunkOf(w)
	}
	if kept == nil {
		kept = map[int64]*chunk{}
		s.past.chunks[step] = kept
	}
	kept[i] = c
	for old := range kept {
		if old < i-2*steps {
			delete(kept, old)
		}
	}
	return c, nil
}

// chunkOf sums a window up for every node and route, with what the plan expects at its load.
func (s *Server) chunkOf(w *observe.Window) *chunk {
	c := &chunk{nodes: map[string]point{}, routes: map[string]point{}}
	rates := map[string]float64{}
	all := &callSum{}
	for i := range w.Routes {
		one := &callSum{}
		one.add(&w.Routes[i])
		all.add(&w.Routes[i])
		c.routes[w.Routes[i].Route] = one.point(w)
		rates[w.Routes[i].Route] = w.Rate(w.Routes[i].Requests)
	}
	services := map[string]*callSum{}
	for i := range w.Edges {
		e := &w.Edges[i]
		if services[e.To] == nil {
			services[e.To] = &callSum{}
		}
		services[e.To].add(e)
	}
	for name, sum := range services {
		c.nodes[name] = sum.point(w)
	}
	c.nodes[layout.ClientsID] = all.point(w)
	c.nodes[layout.GatewayID] = all.point(w)
	for _, u := range w.Services {
		id := u.Service
		if id == observe.Gateway {
			id = layout.GatewayID
		}
		p, ok := c.nodes[id]
		if !ok {
			p = (&callSum{}).point(w)
		}
		p.cores, p.memory, p.replicas = u.Cores, float64(u.Memory), u.Running
		c.nodes[id] = p
	}
	if sys, err := s.cfg.System.Planned(); err != nil {
		c.expect.Why = err.Error()
	} else {
		c.expect = expect(asItRuns(sys, s.cfg.System.Replicas()), rates)
	}
	return c
}

// callSum adds calls of several callers up.
type callSum struct {
	requests, errors int64
	sum              time.Duration
	inFlight         float64
	latency          *stats.Histogram
}

func (s *callSum) add(c *observe.CallSums) {
	s.requests += c.Requests
	s.errors += c.Errors
	s.sum += c.Sum
	s.inFlight += c.InFlight
	if c.Latency == nil {
		return
	}
	if s.latency == nil {
		s.latency = c.Latency.Clone()
	} else if err := s.latency.Merge(c.Latency); err != nil {
		panic("latencies of one window differ in precision: " + err.Error())
	}
}

func (s *callSum) point(w *observe.Window) point {
	p := point{rate: w.Rate(s.requests), inFlight: s.inFlight, mean: math.NaN(), p50: math.NaN(), p99: math.NaN(), cores: math.NaN(), memory: math.NaN(), replicas: math.NaN()}
	if s.requests > 0 {
		p.errors = float64(s.errors) / float64(s.requests)
		p.mean = ms(s.sum) / float64(s.requests)
	}
	if s.latency != nil && s.latency.Count() > 0 {
		p.p50, p.p99 = ms(s.latency.QuantileDuration(0.5)), ms(s.latency.QuantileDuration(0.99))
	}
	return p
}
