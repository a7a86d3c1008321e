package plan

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// minRequests is how many requests of a route a calibration needs before it trusts their mean.
const minRequests = 30

// Calibrated is what a run says of the demands of a system.
type Calibrated struct {
	Demands     map[string]map[string]*topology.Demand
	Calibration *topology.Calibration
	// Tables with what operations on them cost, by name; the rest of their blocks is the file's, but for one replica.
	Tables map[string]*topology.Table
	// Notes on what could not be derived, and what was assumed instead.
	Notes []string
}

// Calibrate derives, from a run at a moderate load, what a request of each route asks of each service; of several runs at the same
// load from the one whose requests cost the median CPU time. It finds:
//
//   - visits: the calls counted by the gateway, attributed to routes by trace id;
//   - CPU: by the utilisation law, U = sum X D (Denning and Buzen 1978). A service's CPU, less what it uses idle, is
//     split over routes by how it varied from second to second with their requests (see regressCPU), and, as far as that
//     does not tell, by the time that their requests spent in the service itself, calls to others taken out;
//   - how times vary: from the latencies of calls, those of the calls that they make in turn taken out;
//   - wake: what a visit costs more after a long rest, from what a hop through the gateway costs (see wake.go);
//   - delay: what the measured latency has beyond the CPU time and the queueing that the model predicts for the very
//     same load. Where the CPU time alone is more than the latency, the excess was spent with nobody waiting, and is
//     recorded as async.
//
// By construction the model answers the measured means at the measured load; its worth shows at other loads.
//
// The system says which calls are made at the same time, and how many requests its services are given at once.
func Calibrate(sys *topology.System, runs ...*Measurement) (*Calibrated, error) {
	m, others, err := typical(runs)
	if err != nil {
		return nil, err
	}
	refused, err := m.refused()
	if err != nil {
		return nil, err
	}
	m = m.answered()
	c := &calibration{sys: sys, m: m, out: &Calibrated{Demands: map[string]map[string]*topology.Demand{}}}
	for name, r := range m.Routes {
		switch {
		case r.Requests < minRequests:
			c.out.Notes = append(c.out.Notes, fmt.Sprintf("%s: only %d requests, left out; at least %d are needed", name, r.Requests, minRequests))
		case float64(r.Errors) > 0.01*float64(r.Requests):
			c.out.Notes = append(c.out.Notes, fmt.Sprintf("%s: %d of %d requests failed; failures cost less than answers, so its demands are doubtful", name, r.Errors, r.Requests))
			fallthrough
		default:
			c.routes = append(c.routes, name)
		}
	}
	if len(c.routes) == 0 {
		return nil, fmt.Errorf("calibrating: no route has %d requests; run 'banyan load' longer or at a higher rate", minRequests)
	}
	sort.Strings(c.routes)
	for _, n := range []string{others, refused} {
		if n != "" {
			c.out.Notes = append(c.out.Notes, n)
		}
	}
	for _, d := range []string{m.disturbed(), m.filling()} {
		if d != "" {
			c.out.Notes = append(c.out.Notes, d+"; better calibrate anew")
		}
	}
	c.countVisits()
	c.findTables()
	c.splitCPU()
	if err := c.regressCPU(); err != nil {
		return nil, err
	}
	if err := c.findShapes(); err != nil {
		return nil, err
	}
	c.countEdges()
	c.findHits()
	c.noteWake()
	c.out.Calibration.Slice = topology.Duration(c.m.Slice)
	c.out.Calibration.Dispersion = dispersion(c.beats(), c.session())
	if err := c.fitDelays(); err != nil {
		return nil, err
	}
	slices.Sort(c.out.Notes)
	return c.out, nil
}

// calibration is the work in progress: by route, then by service, seconds for one request, all visits together.
type calibration struct {
	sys    *topology.System
	m      *Measurement
	routes []string
	visits map[string]map[string]float64
	own    map[string]map[string]float64            // time in the service itself
	made   map[string]map[string]float64            // calls that the service made
	asked  map[string]map[string]float64            // commands that the service sent to caches inside of the gateway's process
	edges  map[string]map[string]map[string]float64 // the same, by whom it called
	cpu    map[string]map[string]float64
	error  map[string]map[string]float64 // standard error of cpu, where it is known
	writes map[string]map[string]float64 // share of a table's operations that write
	out    *Calibrated
}

// countVisits fills visits and own. Calls whose route is unknown (a service that does not pass traceparent on) are
// spread over all routes alike.
func (c *calibration) countVisits() {
	c.visits, c.own, c.made, c.asked = grid(c.routes), grid(c.routes), grid(c.routes), grid(c.routes)
	c.edges = map[string]map[string]map[string]float64{}
	var total float64
	for _, name := range c.routes {
		total += float64(c.m.Routes[name].Requests)
	}
	var stray int64
	for _, call := range c.m.Calls {
		if _, known := c.visits[call.Route]; known {
			c.addCalls(call.Route, call, float64(c.m.Routes[call.Route].Requests))
			continue
		}
		if call.Route != "" {
			continue // a route that was left out, or not part of the load
		}
		stray += call.Count
		for _, name := range c.routes {
			c.addCalls(name, call, total)
		}
	}
	if stray > 0 {
		c.out.Notes = append(c.out.Notes, fmt.Sprintf("%d calls between services carried no traceparent of a request in flight: they are spread over all routes alike", stray))
	}
	for _, name := range c.routes {
		c.visits[name][Client] = 1
		hops := 0.0
		for svc, v := range c.visits[name] {
			if svc != Client {
				hops += v
			}
		}
		c.visits[name][Gateway] = hops
	}
	for name, n := range c.m.CacheCommands {
		c.spreadCommands("caches."+name, n/c.m.Seconds())
	}
}

// spreadCommands gives each visit to a service that uses a cache as many commands as any other.
func (c *calibration) spreadCommands(use string, rate float64) {
	users := map[string]bool{}
	var visits float64
	for svc, v := range c.sys.Services {
		if users[svc] = slices.Contains(v.Uses, use); users[svc] {
			for _, route := range c.routes {
				visits += c.rate(route) * c.visits[route][svc]
			}
		}
	}
	if visits == 0 {
		return
	}
	for _, route := range c.routes {
		for svc, v := range c.visits[route] {
			if users[svc] {
				c.asked[route][svc] += v * rate / visits
			}
		}
	}
}

func (c *calibration) addCalls(route string, call CallMeasurement, requests float64) {
	n, t := float64(call.Count)/requests, call.Time.Seconds()/requests
	c.visits[route][call.To] += n
	c.own[route][call.To] += t
	if call.From != "" {
		c.own[route][call.From] -= t
		c.made[route][call.From] += n
		if c.edges[route] == nil {
			c.edges[route] = map[string]map[string]float64{}
		}
		if c.edges[route][call.From] == nil {
			c.edges[route][call.From] = map[string]float64{}
		}
		c.edges[route][call.From][call.To] += n
	}
}

func grid(routes []string) map[string]map[string]float64 {
	g := map[string]map[string]float64{}
	for _, r := range routes {
		g[r] = map[string]float64{}
	}
	return g
}

// splitCPU applies the utilisation law to each service.
func (c *calibration) splitCPU() {
	c.cpu = grid(c.routes)
	c.out.Calibration = &topology.Calibration{
		Source: c.m.Source, At: c.m.End.UTC().Format(time.RFC3339), Cores: topology.CPU(c.m.Cores), Apart: c.apart(), Idle: map[string]float64{},
	}
	c.out.Calibration.Rates = map[string]float64{}
	for _, name := range c.routes {
		c.out.Calibration.Throughput += c.rate(name)
		c.out.Calibration.Rates[name] = c.rate(name)
	}
	c.splitTables()
	for svc, sm := range c.m.Services {
		if isTable(svc) {
			continue
		}
		busy := sm.CPU - sm.Idle
		if busy < 0 {
			busy = 0
		}
		weights, sum := map[string]float64{}, 0.0
		for _, route := range c.routes {
			v := c.visits[route][svc]
			if v == 0 {
				continue
			}
			// The gateway and the client handle every hop alike; a service's own time says how much a route asks.
			w := v
			if svc != Gateway && svc != Client {
				w = max(c.own[route][svc], 1e-3*v*c.meanOwn(svc), 1e-9*v)
			}
			weights[route] = w
			sum += w * c.rate(route)
		}
		c.out.Calibration.Idle[svc] = sm.Idle
		if sum <= 0 {
			if busy > 0.01 {
				c.out.Calibration.Idle[svc] = sm.CPU
				c.out.Notes = append(c.out.Notes, fmt.Sprintf("%s used %.2f cores without being called: counted as idle use", svc, busy))
			}
			continue
		}
		for route, w := range weights {
			c.cpu[route][svc] = busy * w / sum
		}
	}
}

// meanOwn is the mean own time of one visit to a service, over all routes.
func (c *calibration) meanOwn(svc string) float64 {
	var time, visits float64
	for _, route := range c.routes {
		time += c.rate(route) * max(0, c.own[route][svc])
		visits += c.rate(route) * c.visits[route][svc]
	}
	if visits == 0 {
		return 0
	}
	return time / visits
}

func (c *calibration) rate(route string) float64 {
	return float64(c.m.Routes[route].Requests) / c.m.Seconds()
}

// beats are the CPU seconds used in each pulse with requests that cost any, without what idle processes use.
func (c *calibration) beats() []float64 {
	var idle float64
	for svc, cores := range c.out.Calibration.Idle {
		if svc != Client {
			idle += cores
		}
	}
	var beats []float64
	for _, p := range c.m.Pulses {
		if p.Seconds <= 0 || p.CPU < 0 {
			continue
		}
		offered := 0.0
		for route, n := range p.Requests {
			for svc, cpu := range c.cpu[route] {
				if svc != Client {
					offered += n * cpu
				}
			}
		}
		if offered > 0 {
			beats = append(beats, max(0, p.CPU-idle*p.Seconds))
		}
	}
	return beats
}
