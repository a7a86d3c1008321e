package gateway

import (
	"maps"
	"time"

	"github.com/banyanhq/banyan/policy"
)

// The headers that say how much time a request has left, in canonical form. The first is this system's own, in whole
// milliseconds; the second is gRPC's, and is only passed on where it came.
const (
	headerTimeLeft    = "X-Request-Timeout-Ms"
	headerGRPCTimeout = "Grpc-Timeout"
)

// settleDeadline takes the least of the target's time-out, what the request's headers allow, and, between services, what
// is left to the request from outside that the call is part of. It returns a fault where nothing is left.
func (c *walk) settleDeadline(p parts) fault {
	c.allowed = c.target.timeout
	if text, ok := p.Header(headerTimeLeft); ok {
		if left, ok := policy.ParseTimeLeft(text); ok {
			c.allowed = min(c.allowed, left)
		}
	}
	if text, ok := p.Header(headerGRPCTimeout); ok {
		if left, ok := policy.ParseGRPCTimeout(text); ok {
			c.allowed = min(c.allowed, left)
		}
	}
	if c.target.edge == nil {
		return fault{}
	}
	if part, ok := c.g.traces.entry(c.trace); ok && part.deadline > 0 {
		c.allowed = min(c.allowed, part.deadline-c.start)
	}
	if c.allowed <= 0 {
		return fault{kind: responseTimeout, detail: "the request that this call is part of has no time left"}
	}
	return fault{}
}

// timeout returns how long the call may take in all.
func (c *walk) timeout() time.Duration {
	if c.allowed > 0 {
		return c.allowed
	}
	return c.target.timeout
}

// tellDeadline puts into the header of a try how much time it has. What went before may still be looked at, so that later
// tries get a header of their own.
func (c *call) tellDeadline() {
	left := c.left()
	if t := c.target.tryTimeout; t > 0 {
		left = min(left, t)
	}
	h := c.header
	if c.attempts > 1 {
		h = maps.Clone(h)
		c.header, c.out.Header = h, h
	}
	h[headerTimeLeft] = []string{policy.FormatTimeLeft(left)}
	if p := c.target.priority; p != nil {
		h[p.header] = []string{c.class.String()}
	}
	if _, ok := h[headerGRPCTimeout]; ok {
		h[headerGRPCTimeout] = []string{policy.FormatGRPCTimeout(left)}
	}
}
