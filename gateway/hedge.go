package gateway

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/banyanhq/banyan/policy"
)

// errHedged ends a try whose answer is not wanted, because the other copy was faster.
var errHedged = errors.New("the other copy of the request was faster")

// errTryTimeout ends a try that took too long, while the call has time left; lateTry is what that means.
var (
	errTryTimeout = errors.New("time-out of the try")
	lateTry       = fault{kind: responseTimeout, late: true, detail: "the backend took longer than a try may"}
)

// second is a copy of a request that is sent where the first is slow. The first runs on the goroutine of its handler, the
// second on that of its timer, which the handler waits for.
type second struct {
	c       *call
	out     *http.Request // as the first, with a context of its own
	search  policy.Request
	first   *policy.Member
	began   time.Duration
	timer   *time.Timer
	stop    context.CancelCauseFunc // ends the second
	yield   context.CancelCauseFunc // ends the first
	done    chan struct{}           // closed when the second has come back, or was not sent
	mu      sync.Mutex
	over    bool // the first has come back: the second is not wanted any more
	won     bool // the second has an answer, and the first is not wanted any more
	sent    bool
	grant   policy.Grant
	res     *http.Response
	outcome policy.Outcome
}

// hedged reports whether a try may be sent a second time, and when.
func (c *call) hedged() (after time.Duration, ok bool) {
	if c.target.hedger == nil || c.attempts > 1 {
		return 0, false
	}
	return c.target.hedger.Delay(c.g.now(), c.idempotent && c.stream == nil && c.upgrading == "", c.target.lane.utilization())
}

// sendHedged is send with a second copy after a while.
func (c *call) sendHedged(after time.Duration) (*http.Response, fault, policy.Try) {
	ctx, yield := context.WithCancelCause(c.ctx)
	other, stop := context.WithCancelCause(c.ctx)
	s := &second{c: c, search: c.search, first: c.grant.Member, stop: stop, yield: yield, done: make(chan struct{})}
	s.out = c.prepareTry(other)
	out := c.prepareTry(ctx)
	began := c.g.now()
	s.timer = time.AfterFunc(after, s.send)
	res, f, try := c.exchange(out, c.grant)
	c.target.hedger.Observe(c.g.now(), c.g.now()-began)
	return s.settle(res, f, try, began)
}

// send sends the second copy, if the first has not come back and the policy allows it.
func (s *second) send() {
	defer close(s.done)
	c := s.c
	lane, now := c.target.lane, c.g.now()
	s.mu.Lock()
	over := s.over
	s.mu.Unlock()
	if over || !c.target.hedger.Send(now, lane.utilization()) {
		return
	}
	s.search.Exclude(s.first)
	grant, why := lane.pick(&s.search, now)
	if why != policy.Picked {
		return
	}
	if grant.Member == s.first { // there is no other
		lane.pool.Report(grant, now, policy.Neutral)
		lane.release(grant, 0, policy.Neutral)
		return
	}
	s.began, s.grant, s.sent = now, grant, true
	c.target.traffic.hedges.Add(1)
	b := grant.Owner.(*backend)
	s.out.URL.Host = b.address
	res, err := b.transport.RoundTrip(s.out)
	s.outcome = policy.Failure
	if err == nil {
		s.res, s.outcome = res, policy.OutcomeOf(res.StatusCode)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over && err != nil:
		s.outcome = policy.Neutral
	case !s.over && s.outcome != policy.Failure:
		s.won = true
		s.yield(errHedged)
	}
}

// settle takes one of the two and gives the other one up.
func (s *second) settle(res *http.Response, f fault, try policy.Try, began time.Duration) (*http.Response, fault, policy.Try) {
	c := s.c
	good := res != nil && policy.OutcomeOf(res.StatusCode) != policy.Failure
	notSent := s.timer.Stop()
	s.mu.Lock()
	if good && !s.won {
		s.over = true
		s.stop(errHedged)
	}
	s.mu.Unlock()
	if notSent {
		s.stop(errHedged)
		return res, f, try
	}
	if !good && c.ctx.Err() != nil {
		s.stop(context.Cause(c.ctx))
	}
	<-s.done // soon, if it was stopped; and else it may make good for the first, without another try
	if !s.sent {
		s.stop(errHedged)
		return res, f, try
	}
	now := c.g.now()
	if !s.won {
		if s.res != nil {
			s.outcome = discard(s.res)
		}
		s.stop(errHedged)
		c.target.lane.finish(s.grant, s.began, now, s.outcome)
		return res, f, try
	}
	outcome := policy.Neutral // it was only slow
	if res != nil {
		outcome = discard(res)
	} else if f.kind != noFault && !errors.Is(s.cause(), errHedged) {
		outcome = policy.Failure
	}
	s.yield(errHedged)
	c.target.lane.finish(c.grant, began, now, outcome)
	c.search = s.search
	c.grant, c.began = s.grant, s.began
	return s.res, fault{}, policy.Try{}
}

// cause says why the first was ended.
func (s *second) cause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.won {
		return errHedged
	}
	return nil
}
