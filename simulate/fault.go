package simulate

import (
	"fmt"
	"time"
)

// fault is a Fault made ready.
type fault struct {
	Fault
	at, end int64 // end is never where it lasts
	service int32
	edges   []int32 // cut by a partition
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
	if _, ok := c.index[f.Service]; !ok || f.Service == Gateway && c.sys.Services[Gateway] == nil || f.Service == Client && c.sys.Services[Client] == nil {
		return fault{}, fmt.Errorf("service %q does not exist", f.Service)
	}
	if f.At < 0 || f.Replicas < 0 || f.For > maxHorizon || (f.For < 0 && f.Kind != FaultKill) {
		return fault{}, fmt.Errorf("at %v for %v, %d replicas: want no negative numbers", f.At, f.For, f.Replicas)
	}
	out := fault{Fault: f, at: int64(f.At), end: never, service: c.index[f.Service]}
	if f.For > 0 && f.Kind != FaultKill {
		out.end = int64(f.At + f.For)
	}
	switch f.Kind {
	case FaultKill:
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
		return fault{}, fmt.Errorf("unknown kind: want %s, %s, %s or %s", FaultKill, FaultSlow, FaultErrors, FaultPartition)
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
		if e.from == from && e.to == f.service && e.lane != none {
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
	switch f.Kind {
	case FaultPartition:
		for _, e := range f.edges {
			s.edges[e].cuts++
		}
	case FaultKill:
		for _, r := range s.victims(f) {
			s.kill(r, f.For)
		}
	case FaultSlow:
		for _, r := range s.victims(f) {
			s.slowDown(r, f.Factor)
		}
	case FaultErrors:
		for _, r := range s.victims(f) {
			s.replicas[r].errors = f.Factor
		}
	}
	if f.end != never {
		s.schedule(f.end, evRepair, i, 0)
	}
}

// victims are the replicas that a fault hits.
func (s *sim) victims(f *fault) []int32 {
	var out []int32
	for _, i := range s.services[f.service].replicas {
		if s.replicas[i].state == replicaStopped || (f.Kind == FaultKill && s.replicas[i].state == replicaDown) {
			continue
		}
		if out = append(out, i); len(out) == f.Replicas {
			break
		}
	}
	return out
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
	switch f.Kind {
	case FaultPartition:
		for _, e := range f.edges {
			s.edges[e].cuts--
		}
	case FaultSlow:
		for _, r := range s.services[f.service].replicas {
			s.slowDown(r, 1)
		}
	case FaultErrors:
		for _, r := range s.services[f.service].replicas {
			s.replicas[r].errors = 0
		}
	}
}
