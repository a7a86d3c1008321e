package plan

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
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

// Calibrate derives, from one run at a moderate load, what a request of each route asks of each service:
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
func Calibrate(sys *topology.System, m *Measurement) (*Calibrated, error) {
	if m.Seconds() <= 0 || m.Cores <= 0 {
		return nil, errors.New("calibrating: the measurement has no length or no cores")
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
	if refused != "" {
		c.out.Notes = append(c.out.Notes, refused)
	}
	if d := m.disturbed(); d != "" {
		c.out.Notes = append(c.out.Notes, d+"; better calibrate anew")
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

// fitDelays predicts the latency at the measured load from CPU alone, and turns the difference into delays or, where
// it is negative, into CPU that nobody waited for. The client's own CPU is mostly spent before it sends and after it
// has stopped its watch, so that none of it counts as waited for.
func (c *calibration) fitDelays() error {
	rates := map[string]float64{}
	for _, route := range c.routes {
		rates[route] = c.rate(route)
		for svc, v := range c.visits[route] {
			if v <= 0 {
				continue
			}
			d := &topology.Demand{Visits: v}
			if isTable(svc) {
				writes := topology.Percent(c.writes[route][svc])
				d.Writes = &writes
				c.put(route, svc, d)
				continue
			}
			cpu := c.cpu[route][svc] / v
			asleep, always := c.asleep(route, svc, cpu)
			d.Wake = topology.Duration(seconds(always))
			d.CPUError = topology.Duration(seconds(c.error[route][svc] / v))
			if s := c.out.Calibration.Services[svc]; s != nil && c.mostlyCPU(svc) {
				d.SCV = &s.SCV
			}
			busy := topology.Duration(seconds(cpu - asleep))
			if svc == Client {
				d.Async = busy
			} else {
				d.CPU = busy
			}
			for to, n := range c.edges[route][svc] {
				if d.Calls == nil {
					d.Calls = map[string]float64{}
				}
				d.Calls[to] = n / v
			}
			c.put(route, svc, d)
		}
	}
	// CPU that turns out to be async leaves less to wait for, and no less CPU to share: one pass settles it.
	mean, variance, err := c.fitSCV(rates)
	if err != nil {
		return err
	}
	for i, route := range c.routes {
		c.settle(route, mean[i], variance[i])
	}
	return c.balance(rates)
}

// balance corrects the delays where they do not add up, since calls are made at the same time or wait for places: until the
// model answers the measured means. What is missing goes to the client, what is too much is taken off all alike.
func (c *calibration) balance(rates map[string]float64) error {
	for range 20 {
		mean, _, err := c.solve(rates)
		if err != nil {
			return err
		}
		worst := 0.0
		for i, route := range c.routes {
			measured := c.m.Routes[route].Mean.Seconds()
			missing := measured - mean[i]
			if worst = max(worst, math.Abs(missing)/max(measured, 1e-9)); math.Abs(missing) < 1e-4*measured {
				continue
			}
			var delays float64
			for _, d := range c.out.Demands[route] {
				delays += d.Visits * d.Delay.Std().Seconds()
			}
			client := c.out.Demands[route][Client]
			if after := missing; client != nil {
				if after += client.Delay.Std().Seconds(); after >= 0 {
					client.Delay = topology.Duration(seconds(after))
					continue
				}
			}
			for _, d := range c.out.Demands[route] {
				d.Delay = topology.Duration(float64(d.Delay) * max(0, 1+missing/max(delays, 1e-9)))
			}
		}
		if worst < 1e-3 {
			break
		}
	}
	return nil
}

// fitSCV finds how much CPU times vary where their shapes do not tell, the same for all services of a route: at the measured load most of a latency's spread
// is theirs. It is the coefficient with which the model has the measured 95th percentile: beyond that, stalls of the machine
// and the like show more. It is 1 at most, as of exponential times; where even constant times spread too much, 0. What the
// demands say already stands. It returns the model's answer with it.
func (c *calibration) fitSCV(rates map[string]float64) (mean, variance []float64, err error) {
	lo, hi := make([]float64, len(c.routes)), make([]float64, len(c.routes))
	open := make([][]*topology.Demand, len(c.routes))
	for i, route := range c.routes {
		hi[i] = 1
		for svc, d := range c.out.Demands[route] {
			if svc != Client && !isTable(svc) && d.SCV == nil {
				open[i] = append(open[i], d)
			}
		}
	}
	for range 12 {
		for i := range c.routes {
			mid := math.Round((lo[i]+hi[i])/2*1e4) / 1e4
			for _, d := range open[i] {
				d.SCV = &mid
			}
		}
		if mean, variance, err = c.solve(rates); err != nil {
			return nil, nil, err
		}
		for i, route := range c.routes {
			r := c.m.Routes[route]
			p95, err := quantile(r.Mean.Seconds(), variance[i], 0.95)
			if err != nil {
				return nil, nil, fmt.Errorf("calibrating: route %s: %w", route, err)
			}
			mid := (lo[i] + hi[i]) / 2
			if p95 < r.P95.Seconds() || r.P95 == 0 {
				lo[i] = mid
			} else {
				hi[i] = mid
			}
		}
	}
	return mean, variance, nil
}

// solve is the planner's answer to what was derived so far: mean and variance of each route's latency.
func (c *calibration) solve(rates map[string]float64) (mean, variance []float64, err error) {
	m := c.model()
	load := Load{Rates: rates}
	s, err := m.compile(c.sys, m.mixOf(load))
	if err != nil {
		return nil, nil, fmt.Errorf("calibrating: %w", err)
	}
	ok, err := s.solve(load.Total())
	if err != nil {
		return nil, nil, fmt.Errorf("calibrating: %w", err)
	}
	if !ok {
		return nil, nil, errors.New("calibrating: the machine was saturated during the run; calibrate at a moderate load, about 30% of what it holds")
	}
	return s.mean, s.variance, nil
}

func (c *calibration) put(route, svc string, d *topology.Demand) {
	if c.out.Demands[route] == nil {
		c.out.Demands[route] = map[string]*topology.Demand{}
	}
	c.out.Demands[route][svc] = d
}

// model is the planner's model of what was derived so far.
func (c *calibration) model() *model {
	m := &model{cores: c.m.Cores, burst: burstOf(c.out.Calibration), apart: c.out.Calibration.Apart, idle: c.out.Calibration.Idle, routes: c.routes, demands: map[string]map[string]demand{}}
	for _, route := range c.routes {
		m.demands[route] = map[string]demand{}
		for svc, d := range c.out.Demands[route] {
			m.demands[route][svc] = demand{visits: d.Visits, cpu: d.CPU.Std().Seconds(), async: d.Async.Std().Seconds(),
				wake: d.Wake.Std().Seconds(), scv: scvOf(d.SCV), delay: d.Delay.Std().Seconds(), delaySCV: scvOf(d.DelaySCV), calls: d.Calls}
			if v := c.out.Tables[strings.TrimPrefix(svc, "tables.")]; v != nil && isTable(svc) {
				m.keepCalibrated(svc, v)
				m.demands[route][svc] = m.tables[svc].demandOf(demand{visits: d.Visits, writes: float64(*d.Writes)})
			}
		}
	}
	for svc, sm := range c.m.Services {
		at := service{name: svc, replicas: max(1, int(math.Round(sm.Replicas))), limit: sm.Limit}
		if f := c.sys.Services[svc]; f != nil {
			at.places = f.Concurrency
		}
		m.services = append(m.services, at)
	}
	return m
}

// settle closes the gap between the measured latency of a route and the one that CPU alone explains.
func (c *calibration) settle(route string, mean, variance float64) {
	r := c.m.Routes[route]
	gap := r.Mean.Seconds() - mean
	if gap < 0 {
		share := max(0, r.Mean.Seconds()/mean)
		for svc, d := range c.out.Demands[route] {
			if svc != Client {
				waited := topology.Duration(float64(d.CPU) * share)
				d.Async, d.CPU = d.Async+d.CPU-waited, waited
			}
		}
		variance *= share * share
		gap = 0
	}
	// The delay goes where the time was spent: to each service by its own time beyond its CPU time, and what is left
	// to the client, whose network and scheduling nobody else accounts for.
	scv := 1.0
	if gap > 0 {
		scv = min(max(0, c.variance(route)-variance)/(gap*gap), 1e6)
	}
	excess, sum := map[string]float64{}, 0.0
	for svc := range c.out.Demands[route] {
		if svc != Gateway && svc != Client {
			excess[svc] = max(0, c.own[route][svc]-c.cpu[route][svc])
			sum += excess[svc]
		}
	}
	scale := 1.0
	if sum > gap {
		scale = gap / sum
	}
	left := gap
	for svc, e := range excess {
		if e*scale <= 0 {
			continue
		}
		d := c.out.Demands[route][svc]
		d.Delay = topology.Duration(seconds(e * scale / d.Visits))
		d.DelaySCV = spread(scv, gap, e*scale, d.Visits)
		left -= e * scale
	}
	if d := c.out.Demands[route][Client]; d != nil && left > 1e-9 {
		d.Delay, d.DelaySCV = topology.Duration(seconds(left)), spread(scv, gap, left, 1)
	}
}

// variance of a route's latency as its 99th percentile tells it: the one with which the fitted distribution has just that.
// The measured variance is moved by a few requests that met a stall of the machine; it stands where there is no percentile.
func (c *calibration) variance(route string) float64 {
	r := c.m.Routes[route]
	mean, p99 := r.Mean.Seconds(), r.P99.Seconds()
	sd := r.StdDev.Seconds()
	if p99 <= mean || mean <= 0 {
		return sd * sd
	}
	lo, hi := 0.0, 4.0 // of the squared coefficient of variation; beyond that the percentile hardly grows
	for range 40 {
		mid := (lo + hi) / 2
		if v, err := quantile(mean, mid*mean*mean, 0.99); err != nil {
			return sd * sd
		} else if v < p99 {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo * mean * mean
}

// spread gives a part of a delay its share of the whole's variance, in proportion to its mean: the parts then add up
// to the variance that was measured.
func spread(scv, whole, part, visits float64) *float64 {
	v := scv * whole * whole * (part / whole)     // variance of this part, all visits
	one := part / visits                          // mean of one visit
	r := math.Round(v/visits/(one*one)*1e4) / 1e4 // four decimals are plenty in a file
	return &r
}
