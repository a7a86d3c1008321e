package simulate

import (
	"fmt"
	"time"
)

// fault is a Fault made ready.
type fault struct {
	Fault
	at, end  int64 // end is never where it lasts
	services []int32
	edges    []int32 // cut by a partition
}

func (c *compiler) compileFaults(faults []Fault) ([]fault, error) {
	var out []fault
	if len(faults) > 100_000 {
		return nil, fmt.Errorf("%d faults: at most 100 000 are simulated", len(faults))
	}
	for i, f := range faults {
		compiled, err := c.compileFault(f)
		if err != nil {
			return nil, fmt.Errorf("fault %d (%s): %w", i+1, f.Kind, err)
		}
		out = append(out, compiled)
	}
	return out, nil
}

func (c *compiler) compileFault(f Fault) (fault, error) {
	if f.Service == "*" && f.Kind != FaultPartition {
		return c.checkFault(f, c.everyService())
	}
	if _, ok := c.index[f.Service]; !ok || f.Service == Gateway && c.sys.Services[Gateway] == nil || f.Service == Client && c.sys.Services[Client] == nil {
		return fault{}, fmt.Errorf("service %q does not exist", f.Service)
	}
	return c.checkFault(f, []int32{c.index[f.Service]})
}

// everyService are the services of the file.
func (c *compiler) everyService() (all []int32) {
	for _, name := range c.sys.SortedServices() {
		all = append(all, c.index[name])
	}
	return all
}

func (c *compiler) checkFault(f Fault, services []int32) (fault, error) {
	if f.Zone < 0 || f.Zone > c.m.o.Zones {
		return fault{}, fmt.Errorf("zone %d of %d: say into how many zones replicas are spread (Options.Zones)", f.Zone, c.m.o.Zones)
	}
	if f.At < 0 || f.Replicas < 0 || f.For > maxHorizon || (f.For < 0 && f.Kind != FaultKill) {
		return fault{}, fmt.Errorf("at %v for %v, %d replicas: want no negative numbers", f.At, f.For, f.Replicas)
	}
	out := fault{Fault: f, at: int64(f.At), end: never, services: services}
	if f.For > 0 && f.Kind != FaultKill {
		out.end = int64(f.At + f.For)
	}
	switch f.Kind {
	case FaultKill, FaultStall, FaultIsolate:
	case FaultSlow:
		if !(f.Factor > 0 && f.Factor <= 1e6) {
			return fault{}, fmt.Errorf("factor of %v: want a number above 0, at most a million", f.Factor)
		}
	case FaultErrors:
		if !(f.Factor >= 0 && f.Factor <= 1) {
			return fault{}, fmt.Errorf("share of %v: want a number from 0 to 1", f.Factor)
		}
	case FaultPartition:
		return out, c.cutEdges(&out)
	default:
		return fault{}, fmt.Errorf("unknown kind: want %s, %s, %s, %s, %s or %s", FaultKill, FaultSlow, FaultStall, FaultErrors, FaultIsolate, FaultPartition)
	}
	return out, nil
}

func (c *compiler) cutEdges(f *fault) error {
	from := none
	if f.From != "" {
		i, ok := c.index[f.From]
		if !ok {
			return fmt.Errorf("caller %q does not exist", f.From)
		}
		from = i
	}
	for i, e := range c.m.edges {
		if e.from == from && e.to == f.services[0] && e.lane != none {
			f.edges = append(f.edges, int32(i))
		}
	}
	if len(f.edges) == 0 {
		return fmt.Errorf("no request of the load goes from %q to %s", f.From, f.Service)
	}
	return nil
}

// strike lets a fault happen.
func (s *sim) strike(i int32) {
	f := &s.m.faults[i]
	for _, e := range f.edges {
		s.edges[e].cuts++
	}
	if f.Kind != FaultPartition {
		s.hit[i] = s.victims(f)
	}
	for _, r := range s.hit[i] {
		switch f.Kind {
		case FaultKill:
			s.kill(r, f.For)
		case FaultSlow:
			s.slowDown(r, f.Factor)
		case FaultErrors:
			s.replicas[r].errors = f.Factor
		case FaultStall:
			s.replicas[r].stalled = f.end
			s.cpu.setFrozen(s.now, r, stalled, true)
		case FaultIsolate:
			s.replicas[r].cuts++
		}
	}
	if f.end != never {
		s.schedule(f.end, evRepair, i, 0)
	}
}

// victims are the replicas that a fault hits.
func (s *sim) victims(f *fault) []int32 {
	var out []int32
	for _, service := range f.services {
		n := 0
		for place, i := range s.services[service].replicas {
			if s.replicas[i].state == replicaStopped || (f.Kind == FaultKill && s.replicas[i].state == replicaDown) {
				continue
			}
			if f.Zone > 0 && place%s.m.o.Zones != f.Zone-1 {
				continue
			}
			out = append(out, i)
			if n++; n == f.Replicas {
				break
			}
		}
	}
	return out
}

// fail ends a replica by itself.
func (s *sim) fail(i int32) {
	service := s.replicas[i].service
	down := time.Duration(0)
	if mttr := s.m.services[service].failures.MTTR; mttr > 0 {
		down = time.Duration(max(1, nanoseconds(mttr.Seconds()*s.services[service].disturbances.ExpFloat64())))
	}
	s.kill(i, down)
}

func (s *sim) kill(i int32, down time.Duration) {
	r := &s.replicas[i]
	draining := r.state == replicaDraining
	ran := time.Duration(s.now - r.began)
	if r.state == replicaStarting {
		ran = 0
	}
	if draining {
		s.halt(i, replicaStopped)
		return
	}
	s.halt(i, replicaDown)
	switch {
	case down < 0:
	case down > 0:
		s.launch(i, int64(down))
	default:
		s.launch(i, int64(r.restart.Exited(ran)))
	}
}

func (s *sim) slowDown(i int32, factor float64) {
	s.replicas[i].slow = factor
	s.cpu.setSpeed(s.now, i, 1/factor)
}

// repair ends a fault. Where several of a kind overlap on a replica, the first repair ends them all.
func (s *sim) repair(i int32) {
	f := &s.m.faults[i]
	for _, e := range f.edges {
		s.edges[e].cuts--
	}
	for _, r := range s.hit[i] {
		switch f.Kind {
		case FaultSlow:
			s.slowDown(r, 1)
		case FaultErrors:
			s.replicas[r].errors = 0
		case FaultStall:
			s.replicas[r].stalled = 0
			s.cpu.setFrozen(s.now, r, stalled, false)
		case FaultIsolate:
			s.replicas[r].cuts--
			for _, g := range s.m.services[s.replicas[r].service].groups {
				s.feed(g)
			}
		}
	}
}
