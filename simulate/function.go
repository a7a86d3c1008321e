package simulate

import (
	"fmt"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func (c *compiler) function(b *blockModel, station *serviceModel, f *topology.Function) error {
	if f.ColdStart < 0 || f.Idle < 0 || f.Instances < 0 || f.Concurrency < 0 || f.On.Every < 0 {
		return fmt.Errorf("cold_start, idle, instances, concurrency and every may not be negative")
	}
	b.places, b.most, b.idle, b.every = max(f.Concurrency, 1), f.Instances, int64(f.Idle), int64(f.On.Every)
	setDefault(&b.most, 1000)
	if f.Instances == 0 && f.Idle == 0 { // a file that was loaded has both
		b.idle = int64(10 * time.Minute)
	}
	if b.most > maxReplicas {
		return fmt.Errorf("%d instances: at most %d are simulated", b.most, maxReplicas)
	}
	station.replicas, station.start = 0, f.ColdStart.Std()
	if f.Work == nil {
		c.silent[b.name] = true
	}
	return nil
}

// functionBody compiles what one invocation does.
func (c *compiler) functionBody(i int32, name string) error {
	entry, err := c.expandWork("functions." + name)
	if err != nil {
		return err
	}
	b := &c.m.blocks[i]
	b.entry = entry
	if b.every > 0 {
		call, err := c.blockCall(none, "functions."+name, 1)
		if err != nil {
			return err
		}
		root, err := c.addNode(node{service: none, block: none, calls: []nodeCall{call}})
		if err != nil {
			return err
		}
		c.m.blocks[i].invoke = root
	}
	return nil
}

// timers makes sure that functions that the clock starts are there, whether or not something else leads to them.
func (c *compiler) timers() error {
	for _, name := range sortedKeys(c.sys.Functions) {
		if c.sys.Functions[name].On.Every > 0 {
			if _, err := c.block("functions." + name); err != nil {
				return err
			}
		}
	}
	return nil
}

// tick invokes a function because its time has come.
func (s *sim) timer(i int32) {
	b := &s.blocks[i]
	s.schedule(s.now+b.every, evTimer, i, 0)
	if s.tooMany() {
		return
	}
	v := s.visits.take()
	*s.visits.at(v) = visit{
		started: s.now, node: b.invoke, service: none, replica: none, call: none, child: none, request: none, message: none, group: none,
		phase: phaseCalling, stamp: s.visits.at(v).stamp,
	}
	s.proceed(v)
}

// invoke gives an invocation to an instance that has room, or waits for one. The first ones are preferred, so that the
// others can be let go.
func (s *sim) invoke(i int32, b *block) {
	sv := &s.services[b.service]
	starting, running := 0, 0
	for _, r := range sv.replicas {
		switch s.replicas[r].state {
		case replicaReady:
			running++
			if s.replicas[r].present < b.places && s.reachable(r) {
				s.visit(i, r, false)
				return
			}
		case replicaStarting:
			starting++
			running++
		}
	}
	s.joinLine(i)
	if sv.waiting.n > starting*b.places && running < b.most {
		s.launch(s.spare(b.service), 0)
		b.count.ColdStarts++
	}
}

// serveLine gives waiting invocations to an instance that has room.
func (s *sim) serveLine(i int32) {
	sv := &s.services[s.replicas[i].service]
	b := &s.blocks[s.m.services[s.replicas[i].service].block]
	for sv.waiting.n > 0 && s.replicas[i].state == replicaReady && s.replicas[i].present < b.places && s.err == nil {
		first := sv.waiting.first
		s.leaveLine(first)
		s.calls.at(first).state = callTrying
		s.visit(first, i, false)
	}
	r := &s.replicas[i]
	if r.present == 0 && r.state == replicaReady {
		r.idleFrom = s.now
		if !r.idling {
			r.idling = true
			s.schedule(s.now+b.idle, evIdle, i, r.stamp)
		}
	}
}

// idleOver lets an instance go that has had nothing to do for long enough.
func (s *sim) idleOver(i int32) {
	r := &s.replicas[i]
	b := &s.blocks[s.m.services[r.service].block]
	r.idling = false
	switch due := r.idleFrom + b.idle; {
	case r.present > 0:
	case due > s.now:
		r.idling = true
		s.schedule(due, evIdle, i, r.stamp)
	default:
		s.stop(i)
	}
}
