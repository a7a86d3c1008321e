package plan

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/banyanhq/banyan/topology"
)

// The second half of a calibration: what requests waited for beside the CPU time that is known by now, so that the model answers what
// was measured at the very same load.

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
