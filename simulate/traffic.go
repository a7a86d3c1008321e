package simulate

import (
	"fmt"
	"strings"
	"time"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// trafficModel is what a route does with its requests besides leading them to one service.
type trafficModel struct {
	ways     []wayModel // of a split; none: all go to the route's root
	canary   *topology.Canary
	tested   int32 // root of requests that the canary gets
	mirror   *topology.Mirror
	copied   int32 // root of copies
	fault    *topology.Fault
	answered int32 // root of requests that the gateway answers itself: a redirect's and an aborted one's
}

// wayModel is one of the services that a route is split between.
type wayModel struct {
	root  int32
	below float64 // the end of its part of the numbers from 0 to 1
}

// traffic is a trafficModel at work.
type traffic struct {
	*trafficModel
	draws  *stream
	trial  *policy.Canary
	copies int // on their way
}

// traffic compiles what a route does with its requests; nil where that is nothing. compile makes the root of requests that
// go to a service.
func (c *compiler) traffic(route *topology.Route, compile func(service string) (node, error)) (*trafficModel, error) {
	if len(route.Split) == 0 && route.Canary == nil && route.Mirror == nil && route.Fault == nil {
		return nil, nil
	}
	t := &trafficModel{canary: route.Canary, mirror: route.Mirror, fault: route.Fault, tested: none, copied: none, answered: none}
	add := func(service string) (int32, error) {
		if c.sys.Services[service] == nil {
			return none, fmt.Errorf("it leads to service %q, which does not exist", service)
		}
		root, err := compile(service)
		if err != nil {
			return none, err
		}
		return c.addNode(root)
	}
	sum := 0.0
	if len(route.Split) > 0 {
		for _, s := range route.Shares(false) {
			i, err := add(s.Service)
			if err != nil {
				return nil, err
			}
			sum += s.Share
			t.ways = append(t.ways, wayModel{i, sum})
		}
	}
	var err error
	if t.canary != nil {
		if t.tested, err = add(t.canary.To); err != nil {
			return nil, fmt.Errorf("canary: %w", err)
		}
	}
	if t.mirror != nil {
		// A copy is the gateway's own: it costs the client nothing, and is sent once.
		whole, err := compile(t.mirror.To)
		if err != nil {
			return nil, fmt.Errorf("mirror: %w", err)
		}
		copied := node{service: none, block: none}
		for _, call := range whole.calls {
			if name := c.nameOf(call.node); name == t.mirror.To {
				copied.calls = append(copied.calls, call)
			}
		}
		if t.copied, err = c.addNode(copied); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// onlyGateway is the root of requests that the gateway answers itself.
func (c *compiler) onlyGateway(root *node) (int32, error) { return c.hitRoot(root) }

func (s *sim) newTraffic(m *trafficModel, route string) traffic {
	t := traffic{trafficModel: m}
	if m == nil {
		return t
	}
	t.draws = s.stream("ways of " + route)
	if m.canary != nil {
		t.trial = policy.NewCanary(*m.canary, 0)
	}
	return t
}

// choose takes one of the services that the route leads to, as the gateway does.
func (t *traffic) choose(r *request, v *visit) {
	if t.trial == nil && len(t.ways) == 0 {
		return
	}
	draw := t.draws.uniform()
	switch {
	case t.trial != nil && t.trial.Takes(draw):
		v.node, r.tested = t.tested, true
	case len(t.ways) > 0:
		for _, w := range t.ways {
			if v.node = w.root; draw < w.below {
				return
			}
		}
	}
}

// inject hurts a request where its route asks for that; true where it is to wait first.
func (s *sim) inject(t *traffic, r *request, v *visit) bool {
	if t.fault == nil || t.draws.uniform() >= float64(t.fault.Share) {
		return false
	}
	if t.fault.Abort > 0 {
		v.node = t.answered
		r.aborted = t.fault.Abort
	}
	r.delayed = int64(t.fault.Delay)
	if r.delayed <= 0 {
		return false
	}
	v.phase = phaseDelay
	s.schedule(s.now+r.delayed, evDelay, r.root, v.stamp)
	return true
}

// judge tells the route's canary how a request has ended.
func (s *sim) judge(r *request, latency int64, outcome Outcome) {
	t := &s.traffic[r.route]
	if t.trial == nil || outcome == ClientTimeout {
		return
	}
	of := policy.Failure
	switch outcome {
	case OK:
		of = policy.Success
	case Limited:
		of = policy.Neutral
	}
	t.trial.Observe(r.tested, time.Duration(latency), of)
	if e, changed := t.trial.Tick(s.instant()); changed {
		s.trace.note(s, s.visits.at(r.root).trace, none, none, "canary", e.State.String())
	}
}

// copyOf sends a copy of a request to the service of its route's mirror.
func (s *sim) copyOf(r *request, of *visit) {
	t := &s.traffic[r.route]
	if t.mirror == nil || t.draws.uniform() >= float64(t.mirror.Share) {
		return
	}
	if t.copies >= max(t.mirror.Concurrency, 1) || s.tooMany() {
		s.tally.routes[r.route].dropped++
		return
	}
	t.copies++
	s.tally.routes[r.route].copied++
	route := r.route
	v := s.visits.take()
	at := s.visits.at(v)
	*at = visit{
		started: s.now, node: t.copied, service: none, replica: none, call: none, child: none, request: none, phase: phaseCalling,
		idempotent: of.idempotent, safe: of.safe, message: none, group: none, aside: route + 1, stamp: at.stamp, client: of.client, about: of.about,
	}
	s.proceed(v)
}

// sendAside makes the call of a copy: to a replica that can be had at once, without another try.
func (s *sim) sendAside(i int32) {
	c := s.calls.at(i)
	e := &s.edges[c.edge]
	c.due = s.now + int64(s.m.timeouts[e.timeout])
	c.search.Reset()
	c.search.Random = s.balance.Uint64()
	c.search.Hash = c.search.Random
	s.setDeadline(e.timeout, i, c.stamp)
	grant, why := s.pick(c)
	if why != policy.Picked {
		s.refuse(i, why)
		return
	}
	s.send(i, grant)
}

// priorityOf is the class of a call: the edge's, or that of the request from outside that it is part of.
func (s *sim) priorityOf(e *edge, from *visit) policy.Class {
	class := e.class
	if e.from != none {
		if from.classed {
			class = from.class
		}
		return class
	}
	if said, ok := s.saidClass(e, from); ok && said.Below(class) {
		class = said
	}
	from.class, from.classed = class, true
	return class
}

// saidClass is the class that a request's header names, as far as that is plain text.
func (s *sim) saidClass(e *edge, from *visit) (policy.Class, bool) {
	if from.request == none {
		return 0, false
	}
	st := s.stepOf(from)
	if st == nil || st.sent == nil {
		return 0, false
	}
	for name, value := range st.sent.Headers {
		if strings.EqualFold(name, e.header) {
			return policy.ParseClass(value)
		}
	}
	return 0, false
}

// utilization is how much of what a lane can hold is in use; see policy.Pool.
func (s *sim) utilization(e *edge) float64 {
	l := &s.lanes[e.lane]
	return l.pool.Utilization(l.bound, int(s.services[e.to].waiting.n))
}

// admit refuses what is not worth its place while the service is busy, and what cannot finish in its time.
func (s *sim) admit(c *call, e *edge, from *visit) bool {
	count := &s.services[e.to].count
	if e.priority != nil {
		class := s.priorityOf(e, from)
		if policy.Shed(class, s.utilization(e), from.draw) {
			count.Shed++
			return false
		}
	}
	l := &s.lanes[e.lane]
	if l.feasible == nil {
		return true
	}
	l.atDoor++
	if _, ok := l.feasible.Admit(s.instant(), s.left(c), l.atDoor); !ok {
		l.atDoor--
		count.Infeasible++
		return false
	}
	c.met, c.admitted = l.atDoor, s.now
	return true
}

// leaveDoor takes a call that was let in out again, once. Only those count that were answered well, or too late.
func (s *sim) leaveDoor(c *call, counts bool) {
	if c.met == 0 {
		return
	}
	l := &s.lanes[s.edges[c.edge].lane]
	l.atDoor--
	if counts {
		// One that was ended on the dot of its time-out would have taken longer.
		l.feasible.Observe(s.instant(), c.met, time.Duration(s.now-c.admitted)+1)
	}
	c.met = 0
}
