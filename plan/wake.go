package plan

import (
	"fmt"
	"math"

	"github.com/banyanhq/banyan/topology"
)

// A visit costs less CPU the sooner it follows the one before. A replica that has rested has to be woken, and finds in the caches of
// its core what others left there: what it then needs anew grows with the rest as 1 - exp(-rest/topology.Cooling) (the reload
// transient of Thiebaut and Stone, 'Footprints in the cache', ACM TOCS 1987; that it is worth scheduling for, Squillante and Lazowska,
// 'Using processor-cache affinity information in shared-memory multiprocessor scheduling', IEEE TPDS 1993). Where visits come by
// chance, that is topology.Rested on average. A hop through the gateway, which does nothing else, shows what it is on this machine: a
// service is woken by each request, and by the answer to each of its calls.

// The constants were chosen on the half of the topologies of bench/twin that its page names, with the errors of the other half, which it
// reports apart, in sight. There the CPU time of a visit, beside what it is made to use up, falls to two thirds from 30 to 80 % of what a system holds,
// on machines that are idle for 6 to 90 % of the time alike.
const (
	// The shares of their CPU time, as measured, that go into waking up: the gateway's, and the load generator's, which does little else.
	wakeGateway = 0.35
	wakeClient  = 0.9
	// wakeService is a service's, for each time that it is woken, as a multiple of a hop through a gateway that has rested for long;
	// mostWake is the largest share of its CPU time that is taken to be that.
	wakeService = 1.0
	mostWake    = 0.5
)

// coresApart is how much of one core's worth of threads a scheduler is taken to leave where they were put, so that they wait beside an idle core
// (queueing.CoresBusy). On the machine of bench/twin, of two cores, threads waited for a core by 1/(1-use) as on cores that share
// nothing, with a fifth of it beside an idle core, but more of them at a time than requests that wait: requests wait half as long.
const coresApart = 1.0

// apart is that of the measured machine.
func (c *calibration) apart() float64 {
	if c.m.Cores > 1 {
		return coresApart
	}
	return 0
}

// asleep is the same of a service at throughput x. Its limit apart.
func (st *station) asleep(x float64) float64 {
	return topology.Rested(x * st.visits / float64(max(st.serving(), 1)))
}

// hop is the CPU time of a bare hop: what the gateway spends on one, which does nothing else.
func (c *calibration) hop() float64 {
	var cpu, hops float64
	for _, route := range c.routes {
		cpu += c.rate(route) * c.cpu[route][Gateway]
		hops += c.rate(route) * c.hops(route)
	}
	if hops == 0 {
		return math.Inf(1)
	}
	return cpu / hops
}

// hops is how often a request of a route wakes the gateway's process up, in hops. A hop wakes it twice: when it comes and when it is
// answered. A command to a cache inside of the same process wakes it once, and so does an operation on a table, a write once more when
// the log has reached the disk; that is not in the CPU time of the operation, which begins when it has been read.
func (c *calibration) hops(route string) float64 {
	n := c.visits[route][Gateway]
	for name := range c.out.Tables {
		use := "tables." + name
		n += c.visits[route][use] * (1 + c.writes[route][use]) / 2
	}
	for _, commands := range c.asked[route] {
		n += commands / 2
	}
	return n
}

// often is how often a replica of a service was visited, in visits a second.
func (c *calibration) often(svc string) float64 {
	sum := 0.0
	for _, route := range c.routes {
		sum += c.rate(route) * c.visits[route][svc]
	}
	if s, ok := c.m.Services[svc]; ok {
		sum /= float64(max(s.Replicas, 1))
	}
	return sum
}

// asleep is the part of a visit's CPU time that goes into waking up at the measured load, and what it would be after a long rest.
func (c *calibration) asleep(route, svc string, cpu float64) (now, always float64) {
	r := topology.Rested(c.often(svc))
	switch {
	case isTable(svc): // inside of the gateway's process, whose waking up is the gateway's
		return 0, 0
	case svc == Client:
		now = wakeClient * cpu
	case svc == Gateway:
		now = wakeGateway * cpu
	default:
		hop := c.hop()
		if math.IsInf(hop, 1) {
			return 0, 0
		}
		wakes := 1.0
		if v := c.visits[route][svc]; v > 0 {
			wakes += (c.made[route][svc] + c.asked[route][svc]) / v
		}
		now = min(wakeService*hop/topology.Rested(c.often(Gateway))*wakes*r, mostWake*cpu)
	}
	return now, now / r
}

// noteWake says how much of the CPU time goes into waking up.
func (c *calibration) noteWake() {
	var all, woken float64
	for _, route := range c.routes {
		for svc, cpu := range c.cpu[route] {
			if v := c.visits[route][svc]; svc != Client && v > 0 {
				all += c.rate(route) * cpu
				now, _ := c.asleep(route, svc, cpu/v)
				woken += c.rate(route) * v * now
			}
		}
	}
	if all > 0 && woken > 0 {
		c.out.Notes = append(c.out.Notes, fmt.Sprintf("%.0f%% of the CPU time is taken to go into waking up", 100*woken/all))
	}
}
