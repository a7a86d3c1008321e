package gateway

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/banyanhq/banyan/policy"
)

// walk is what both tiers know of a request on its way, and the steps that are the same for both: what is asked of
// package policy, and what is counted. How bytes come and go is each tier's own.
type walk struct {
	g      *Gateway
	target *target
	start  time.Duration
	rules  *rules // of the route; nil: none
	tested bool   // the route's canary serves it

	allowed  time.Duration // for the whole call; 0: as long as the target allows
	class    policy.Class
	met      int64         // requests at the door when it was let in, itself included; 0: it is not within
	admitted time.Duration // when that was

	idempotent bool
	requestID  string
	trace      traceID
	traced     bool // its trace was entered
	route      int  // of a call on an edge: the id of the route that it serves, -1 if that is not known

	search   policy.Request
	grant    policy.Grant   // the place at the backend of the current try
	began    time.Duration  // when it began
	outcome  policy.Outcome // what its answer says about the backend, by what has come of it
	told     bool           // and the policy knows
	attempts int
	upstream time.Duration // spent with backends
	headAt   time.Duration // when the head of a stream without an end came; 0: count to the end
	bounded  time.Duration // when it was let in by the service's adaptive bound
	inBound  bool

	story *story // nil: nothing of it is remembered so far
}

// parts is what decisions look at in a request.
type parts interface {
	// Header returns the first value of a field, whose name is in canonical form. Host is one too.
	Header(name string) (value string, ok bool)
	// Cookie returns the first cookie of the name.
	Cookie(name string) (value string, ok bool)
	// Query returns the first parameter of the name.
	Query(name string) (value string, ok bool)
	// decodedPath is the path that the router saw.
	decodedPath() string
	// chain is X-Forwarded-For as the backend gets it: it ends with the address that the connection came from.
	chain() string
	// secure reports whether the client's connection is said to be encrypted.
	secure() bool
}

// settleTrace continues the trace of a traceparent header, or begins one; fresh says so.
func (c *walk) settleTrace(parent string) (flags byte, fresh bool) {
	var ok bool
	if c.trace, flags, ok = parseTraceparent(parent); ok {
		return flags, false
	}
	c.trace = newTraceID()
	return 1, true // sampled: whether anything is recorded is for the services to say
}

// settle finds out how much time the request has, and what it is worth.
func (c *walk) settle(p parts) fault {
	if c.target.lane == nil {
		return fault{} // a redirect
	}
	f := c.settleDeadline(p)
	if c.target.priority != nil {
		c.class = c.classOf(p)
	}
	return f
}

// enterTrace makes calls between services that are part of this request known as such; on an edge, it looks whose part
// this call is.
func (c *walk) enterTrace() {
	if c.target.edge != nil {
		c.route = c.g.traces.route(c.trace)
		return
	}
	c.traced = c.g.traces.enter(c.trace, traceEntry{
		route: int32(c.target.route), deadline: c.start + c.timeout(), classed: c.target.priority != nil, class: c.class,
	})
}

// leaveTrace is called when a request that entered is over.
func (c *walk) leaveTrace() {
	if c.target.edge != nil {
		c.target.attribute(c.route, c.g.now()-c.start)
	} else if c.traced {
		c.traced = false
		c.g.traces.leave(c.trace)
	}
}

// enter begins the search for a backend.
func (c *walk) enter(replayable bool) {
	c.target.lane.retrier.Begin(c.start)
	c.search.Repeatable = c.idempotent && replayable && c.target.lane.retrier.Enabled()
}

// enterBound takes a place within the service's adaptive bound, if it has one.
func (c *walk) enterBound() fault {
	bound := c.target.lane.bound
	if bound == nil {
		return fault{}
	}
	if !bound.Acquire() {
		return fault{kind: connectionLimit, detail: "the service has as many requests as it can handle, try again shortly"}
	}
	c.bounded = c.g.now()
	c.inBound = true
	return fault{}
}

// countsForBound reports whether a call that ended with f tells the adaptive bound something.
func (c *walk) countsForBound(f fault) bool {
	return f.kind == responseTimeout || f.kind == noFault && c.outcome == policy.Success
}

// leaveBound gives the place within the service's adaptive bound back, once. A stream without an end does so when its
// head has come: what it occupies is a connection.
func (c *walk) leaveBound(counts bool) {
	if c.inBound {
		c.inBound = false
		now := c.g.now()
		c.target.lane.bound.Release(now, now-c.bounded, counts)
	}
}

// decide asks the policy whether the try is repeated.
func (c *walk) decide(t policy.Try) (pause time.Duration, again bool) {
	t.Idempotent = c.idempotent
	t.Attempts = c.attempts
	t.Left = c.left()
	t.Random = rand.Float64()
	verdict, pause := c.target.lane.retrier.Decide(c.g.now(), t)
	c.target.lane.service.verdicts[verdict].Add(1)
	c.judged(verdict, pause)
	return pause, verdict == policy.Repeat
}

func (c *walk) left() time.Duration { return c.timeout() - (c.g.now() - c.start) }

// endless is called when the head of a stream without an end has come: what it occupies from here on is a connection, and
// what is called on its behalf is not bound by its time-out.
func (c *walk) endless() {
	c.headAt = c.g.now()
	c.leaveBound(c.outcome == policy.Success)
	c.leaveDoor(c.outcome == policy.Success)
	if c.traced {
		c.g.traces.unbind(c.trace)
	}
}

// try begins a try at a backend.
func (c *walk) try(g policy.Grant) {
	c.attempts++
	c.grant, c.began, c.told = g, c.g.now(), false
}

// tell tells the policy the outcome of the current try, once. The instant is that of the outcome.
func (c *walk) tell(at time.Duration, o policy.Outcome) {
	if !c.told {
		c.told = true
		c.target.lane.pool.Report(c.grant, at, o)
	}
}

// headPassed is called when the head of an answer is passed on. That the backend failed is known now; whether it did well is
// known when the answer is whole.
func (c *walk) headPassed() {
	if c.outcome == policy.Failure {
		c.tell(c.g.now(), c.outcome)
	}
}

// passed settles the outcome of an answer whose head was passed on, and which has ended with f.
func (c *walk) passed(f fault) {
	switch {
	case f.kind == noFault || c.outcome == policy.Failure: // the head has said what there is to say
	case f.blameless():
		c.outcome = policy.Neutral
	default:
		c.outcome = policy.Failure
	}
}

// prove is called when more of an answer has come: a probe that has gone on for long enough has shown that the backend works.
func (c *walk) prove() {
	if c.grant.Probe() && !c.told && c.headAt == 0 && c.outcome == policy.Success {
		if now := c.g.now(); now-c.began >= c.target.lane.pool.ProbeTime() {
			c.tell(now, c.outcome)
		}
	}
}

// unproven is for how much longer a stream must go on to be told as a success before its end: until its call has taken as long
// as one with an end may, or, as a probe, as long as that takes.
func (c *walk) unproven() time.Duration {
	left := c.left()
	if c.grant.Probe() {
		left = min(left, c.began+c.target.lane.pool.ProbeTime()-c.g.now())
	}
	return max(left, 0)
}

// countRetry counts a repetition, which goes to another backend if there is one.
func (c *walk) countRetry() {
	c.search.Exclude(c.grant.Member)
	c.target.traffic.retries.Add(1)
}

// answeredBy is until when a call that is over now is measured. How long a stream without an end goes on is its client's choice.
func (c *walk) answeredBy(now time.Duration) time.Duration {
	if c.headAt != 0 {
		return c.headAt
	}
	return now
}

// finish tells the outcome of the try unless that has been done, gives the place at the backend back, and counts the try.
func (c *walk) finish(o policy.Outcome) {
	b := c.grant.Owner.(*backend)
	now := c.g.now()
	end := c.answeredBy(now)
	c.upstream += now - c.began
	b.requests.Add(1)
	if o == policy.Failure {
		b.failures.Add(1)
		c.tell(now, o)
	} else {
		c.tell(end, o)
	}
	b.latency.Record(end - c.began)
	c.target.lane.release(c.grant, end-c.began, o)
}

// count counts the request when it is over, which was begun by adding to those in flight, and returns how long it took.
func (c *walk) count(code int, f fault, method, path string) (took time.Duration) {
	end := c.answeredBy(c.g.now())
	c.target.traffic.record(code, f.kind, end-c.start, c.upstream)
	c.target.traffic.inFlight.Add(-1)
	if c.g.cfg.Log.Enabled(context.Background(), slog.LevelDebug) {
		c.g.cfg.Log.Debug("request", "method", method, "path", path, "target", c.target.traffic.name, "code", code,
			"fault", f.kind.String(), "detail", f.detail, "attempts", c.attempts, "duration", end-c.start, "request_id", c.requestID)
	}
	c.remember(code, f, method, path, end-c.start)
	return end - c.start
}

func unavailable(why policy.Refusal) fault {
	if why == policy.AllFull {
		return fault{kind: connectionLimit, detail: "all backends of the service are busy, try again shortly"}
	}
	return fault{kind: destinationUnavailable, detail: "no backend of the service is ready, try again shortly"}
}
