//go:build linux && (amd64 || arm64)

package gateway

import (
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/banyanhq/banyan/policy"
)

// acquire takes a place at a backend, and waits for one a little where that can help.
func (x *exchange) acquire() {
	lane := x.target.lane
	grant, why := x.pick()
	if why == policy.Picked {
		x.granted(grant)
		return
	}
	admission := policy.Admission{Wait: x.g.cfg.Wait, MaxWaiting: x.g.cfg.MaxWaiting}
	var patience time.Duration
	w := lane.service.waiting.join(func(waiting int) bool {
		patience, why = admission.Decide(why, x.left(), waiting)
		return why == policy.Picked
	})
	if w == nil {
		x.refuse(unavailable(why))
		return
	}
	x.token = rand.Uint64() | 1
	token, loop := x.token, x.w.loop
	lane.service.waiting.notify(w, func() { loop.Post(func() { x.woken(token) }) })
	x.waiter, x.why = w, why
	x.state = waiting
	x.w.loop.Set(&x.step, patience)
	x.look()
}

// look tries again to take a place while waiting.
func (x *exchange) look() {
	grant, why := x.pick()
	if why != policy.Picked {
		x.why = why
		return
	}
	x.leaveLine()
	x.granted(grant)
}

// leaveLine ends the waiting for a backend.
func (x *exchange) leaveLine() {
	if x.waiter != nil {
		x.target.lane.service.waiting.leave(x.waiter)
		x.waiter, x.token = nil, 0
		x.w.loop.Unset(&x.step)
	}
}

// woken is called when a place may have become free.
func (x *exchange) woken(token uint64) {
	if x.token != token {
		return // it is another's by now
	}
	select {
	case <-x.waiter.wake:
	default:
	}
	x.look()
}

// granted begins a try.
func (x *exchange) granted(grant policy.Grant) {
	x.try(grant)
	x.state = trying
	if t := x.target.tryTimeout; t > 0 {
		x.w.loop.Set(&x.step, t)
	}
	x.send(false)
}

// send sends the request to the backend; anew on a connection of its own, or on any.
func (x *exchange) send(anew bool) {
	x.sent = 0
	x.reply.reset()
	x.tellDeadline()
	p := x.w.pool(x.grant.Owner.(*backend))
	if !anew {
		if u := p.take(!x.repeatable()); u != nil {
			x.conn = u
			u.x = x
			x.flush()
			return
		}
	}
	if err := p.dial(x); err != nil {
		x.dialFailed(err)
	}
}

// repeatable reports whether the request may go out once more where a kept connection turns out to be closed: what Go's
// HTTP client does, and the full tier with it.
func (x *exchange) repeatable() bool {
	switch x.method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

func (x *exchange) connected() { x.flush() }

func (x *exchange) dialFailed(err error) {
	x.conn = nil
	f, sent := upstreamFault(&dialError{err})
	x.failed(f, sent)
}

// flush sends what the backend takes of the request.
func (x *exchange) flush() {
	u := x.conn
	for x.sent < len(x.req) && u.conn.Writable {
		n, err := u.conn.Write(x.req[x.sent:])
		if err != 0 {
			// It may have answered, and closed on what it did not read.
			if u.conn.Readable || u.conn.Ended {
				break
			}
			x.connBroken(err)
			return
		}
		x.sent += n
	}
	if u.conn.Readable {
		x.receive()
	}
}

// ready is called when the backend's connection may be read from or written to.
func (x *exchange) ready() {
	if x.sent < len(x.req) && x.conn.conn.Writable {
		x.flush()
		return
	}
	if x.conn.conn.Readable {
		x.receive()
	}
}

// connBroken is called when the connection to the backend has ended before its time.
func (x *exchange) connBroken(err error) {
	u := x.conn
	stale := u.reused && !x.begun && u.in == nil
	x.dropConn()
	if stale && (x.sent == 0 || x.repeatable()) {
		x.send(true)
		return
	}
	f := brokenFault(err)
	if x.state == passing {
		x.incomplete(f)
		return
	}
	x.failed(f, true)
}

// dropConn closes the connection to the backend.
func (x *exchange) dropConn() {
	if u := x.conn; u != nil {
		x.conn = nil
		u.close()
	}
}

// failed ends a try of which nothing has been passed on, so that there can still be another.
func (x *exchange) failed(f fault, sent bool) {
	x.dropConn()
	x.w.loop.Unset(&x.step)
	x.dropHeld()
	outcome := policy.Failure
	if f.blameless() {
		outcome = policy.Neutral
	}
	x.finish(outcome)
	if outcome == policy.Neutral || f.kind == responseTimeout && !f.late {
		x.refuse(f)
		return
	}
	pause, again := x.decide(policy.Try{Sent: sent, Replayable: true})
	if !again {
		x.refuse(f)
		return
	}
	x.pause(pause)
}

// pause waits before the next try.
func (x *exchange) pause(d time.Duration) {
	x.countRetry()
	x.state = pausing
	x.w.loop.Set(&x.step, d) // of 0 as well, so that tries do not nest
}
