package gateway

import (
	"encoding/binary"
	"net/http"
	"time"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// headerPriority names the class of a request, where the file does not name another header.
const headerPriority = "X-Banyan-Priority"

// priority is what a target's requests are worth.
type priority struct {
	class  policy.Class
	header string
}

func newPriority(cfg *topology.Priority) *priority {
	if cfg == nil {
		return nil
	}
	p := &priority{header: http.CanonicalHeaderKey(cfg.Header)}
	p.class, _ = policy.ParseClass(cfg.Class)
	if p.header == "" {
		p.header = headerPriority
	}
	return p
}

// classOf returns the class of a request: the target's, or that of the request from outside that a call is part of, or
// what the header says. From outside that can only lower it.
func (c *walk) classOf(p parts) policy.Class {
	class := c.target.priority.class
	inner := c.target.edge != nil
	if inner {
		if part, ok := c.g.traces.entry(c.trace); ok && part.classed {
			class = part.class
		}
	}
	if text, ok := p.Header(c.target.priority.header); ok {
		if said, ok := policy.ParseClass(text); ok && (inner || said.Below(class)) {
			class = said
		}
	}
	return class
}

// utilization returns how much of what the lane can hold is in use; see policy.Pool.
func (l *lane) utilization() float64 {
	return l.pool.Utilization(l.bound, l.service.waiting.len())
}

// admit refuses what is not worth its place while the service is busy, and what cannot finish in its time.
func (c *walk) admit() fault {
	lane := c.target.lane
	if c.target.priority != nil && policy.Shed(c.class, lane.utilization(), policy.Draw(binary.BigEndian.Uint64(c.trace[:8]))) {
		return fault{kind: shed, detail: "the service is busy, and answers what matters more first"}
	}
	if lane.feasible == nil {
		return fault{}
	}
	c.met = lane.inFlight.Add(1)
	now := c.g.now()
	if retry, ok := lane.feasible.Admit(now, c.left(), c.met); !ok {
		lane.inFlight.Add(-1)
		c.met = 0
		return fault{kind: infeasible, retry: retry, detail: "the service is busy, and would not answer within the request's time"}
	}
	c.admitted = now
	return fault{}
}

// mostRelief bounds for how long a client is told to stay away.
const mostRelief = 10 * time.Minute

// Expect says when more of a service will serve, as far as is known: clients that are refused for want of it are told to
// come again then. An instant that has passed says nothing.
func (g *Gateway) Expect(service string, at time.Time) {
	if s := g.table.Load().service(service); s != nil {
		s.relief.Store(int64(g.now() + min(time.Until(at), mostRelief)))
	}
}

// relieved has a client that is refused come again when more of the service is expected.
func (c *walk) relieved(f fault) fault {
	switch f.kind {
	case connectionLimit, shed, infeasible, destinationUnavailable:
		if c.target.lane != nil {
			f.retry = max(f.retry, time.Duration(c.target.lane.service.relief.Load())-c.g.now())
		}
	}
	return f
}

// leaveDoor takes a request that was let in out again, once.
func (c *walk) leaveDoor(counts bool) {
	if c.met == 0 {
		return
	}
	lane, now := c.target.lane, c.g.now()
	lane.inFlight.Add(-1)
	if counts {
		lane.feasible.Observe(now, c.met, now-c.admitted)
	}
	c.met = 0
}
