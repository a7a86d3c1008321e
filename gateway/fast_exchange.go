//go:build linux && (amd64 || arm64)

package gateway

import (
	"net/http"
	"strings"
	"syscall"

	h1 "github.com/banyanhq/banyan/gateway/http1"
	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/reactor"
)

// exchange is one request on its way through the fast tier: the same walk as call, taken step by step, as what it waits
// for comes. It belongs to its worker.
type exchange struct {
	walk
	w     *worker
	c     *client // nil once it is over
	state state

	method    string
	path      string // decoded
	plain     bool   // nothing of it is encoded
	query     string
	uri       string
	minor     int
	bodyLen   int64  // of the request's body
	req       []byte // the request to the backend, its body included; it can always be sent again
	head      int    // length of its head
	forAt     int    // where X-Forwarded-For stands in it
	forLen    int
	leftAt    int // the same for the time that is left
	idBytes   [32]byte
	trailers  bool // the client takes trailers
	encrypted bool
	keep      bool // the client wants to keep its connection
	entered   bool // it is in flight as far as traces and bounds are concerned
	refused   fault
	original  []byte // the head as the client wrote it, where the access log is on
	bytes     int64  // of the answer's body that were sent

	total  reactor.Timer // the time-out of the whole call
	step   reactor.Timer // what the state waits for
	waiter *waiter
	why    policy.Refusal // the last one while waiting
	token  uint64         // tells wake-ups that come too late apart; 0: waits for none

	conn *upstream
	sent int // of req, on conn

	reply
}

// state is what an exchange waits for.
type state uint8

const (
	readingBody state = iota
	droppingBody
	waiting // for a backend
	pausing // before the next try
	trying  // for a connection or the head of an answer
	holding // for the rest of an answer of which nothing was passed on
	passing // for more of an answer that is being passed on
)

// begin sets the exchange up for a request, whose body is still to be added.
func (x *exchange) begin(r *h1.Request) {
	x.start = x.g.now()
	x.method = methodName(r.Method)
	x.idempotent = policy.Idempotent(x.method)
	x.minor = r.Minor
	x.bodyLen = max(r.Length, 0)
	x.keep = persists(r)
	x.target.traffic.inFlight.Add(1)
	x.prepare(r)
	if x.refused = x.check(); x.refused.kind == noFault {
		x.refused = x.settle(x)
	}
	if x.refused.kind != noFault {
		return
	}
	x.enterTrace()
	x.entered = true
	x.w.loop.Set(&x.total, x.timeout())
	x.aim(x) // now: later the head is gone
	x.path, x.query, x.uri = "", "", ""
}

// persists reports whether the client wants to keep its connection.
func persists(r *h1.Request) bool { return !r.Close && (r.Minor > 0 || r.KeepAlive) }

// check refuses what must not go on, before anything else is done for it.
func (x *exchange) check() fault {
	switch {
	case x.target.lane == nil:
		return fault{kind: destinationNotFound, detail: "no route leads from this address to a service"}
	case dotSegments(x.path):
		return fault{kind: requestError, detail: "the path has a segment . or .. in it"}
	}
	return x.withinLimit(x)
}

// missing returns how much of the request's body has not come.
func (x *exchange) missing() int64 { return x.bodyLen - int64(len(x.req)-x.head) }

// run goes on once the head, and what came with it, has been taken in.
func (x *exchange) run() {
	switch {
	case x.refused.kind != noFault && x.missing() > 0:
		x.state = droppingBody
		x.w.loop.Set(&x.step, bodyGrace) // so that the client can come to read the answer
		x.readBody()
	case x.refused.kind != noFault:
		x.refuse(x.refused)
	case x.missing() > 0:
		x.state = readingBody
		x.readBody()
	default:
		x.carry()
	}
}

// readBody reads what has come of the request's body.
func (x *exchange) readBody() {
	c := x.c
	for x.missing() > 0 {
		if !c.conn.Readable {
			return
		}
		buf := x.w.fromClient[:min(x.missing(), readSize)]
		n, end, err := c.conn.Read(buf)
		if end || err != 0 {
			c.gone(err)
			return
		}
		if n == 0 {
			return
		}
		x.req = append(x.req, buf[:n]...)
	}
	if x.state == droppingBody {
		x.w.loop.Unset(&x.step)
		x.refuse(x.refused)
		return
	}
	x.carry()
}

// clientReady is called when the client's connection may be read from or written to.
func (x *exchange) clientReady() {
	c := x.c
	if x.state == readingBody || x.state == droppingBody {
		x.readBody()
		return
	}
	if c.conn.Ended && len(c.in) == 0 && !c.pending() {
		c.gone(syscall.EPIPE)
		return
	}
	if x.state == passing && len(c.out) == 0 {
		x.unblocked()
	}
}

// pending reports whether the client has sent something beyond its request, which ends at the end of the connection or
// later.
func (c *client) pending() bool {
	var one [1]byte
	n, _, err := syscall.Recvfrom(c.conn.FD(), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return err == nil && n > 0
}

// carry begins the search for a backend, once the request is whole.
func (x *exchange) carry() {
	x.enter(true)
	if f := x.admit(); f.kind != noFault {
		x.refuse(f)
		return
	}
	if f := x.enterBound(); f.kind != noFault {
		x.refuse(f)
		return
	}
	x.acquire()
}

// refuse answers with the gateway's own error.
func (x *exchange) refuse(f fault) {
	f = x.relieved(f)
	last := !x.keep || x.missing() > 0 || x.c.door.ending(x.w)
	b := x.appendStatus(x.w.scratch[:0], f.code())
	body := f.answer(x.requestID, last && x.minor > 0, func(name, value string) {
		b = append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
	})
	b = append(x.w.appendDate(append(b, "Date: "...)), "\r\n"...)
	if !last && x.minor == 0 {
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	b = append(b, "\r\n"...)
	if x.method == http.MethodHead {
		body = nil
	}
	x.w.scratch = b[:0]
	c := x.c
	x.bytes += int64(len(body))
	c.last = c.last || last
	c.unread = x.missing() > 0
	x.end(f.code(), f)
	c.write(b, body, nil)
	if len(c.out) > 0 {
		c.w.loop.Set(&c.timer, c.w.g.writeGrace)
	}
	c.done()
}

// end counts the request and frees the exchange. What is left of the answer is the client's.
func (x *exchange) end(code int, f fault) {
	x.leaveLine()
	x.w.loop.Unset(&x.total)
	x.w.loop.Unset(&x.step)
	x.dropConn()
	x.dropHeld()
	delete(x.w.streams, x)
	if x.entered {
		x.leaveBound(x.countsForBound(f))
		x.leaveDoor(x.countsForBound(f))
		x.leaveTrace()
	}
	path := x.loggedPath()
	if x.story != nil || f.kind != noFault || code >= 500 {
		// It is remembered, and must not change with the buffers.
		path, x.requestID = strings.Clone(path), strings.Clone(x.requestID)
	}
	took := x.count(code, f, x.method, path)
	if len(x.original) > 0 {
		x.logAccess(code, f, took)
	}
	x.c.x = nil
	x.c = nil
	x.w.put(x)
}

// loggedPath returns the path of the request that was sent.
func (x *exchange) loggedPath() string {
	line := x.req[min(len(x.method)+1, len(x.req)):]
	for i, c := range line {
		if c == ' ' || c == '?' {
			return str(line[:i])
		}
	}
	return ""
}

// clientGone ends the walk of a client that is not there any more.
func (x *exchange) clientGone() {
	f := fault{kind: clientClosed, detail: "the client went away"}
	code := f.code()
	switch x.state {
	case trying, holding:
		x.dropConn()
		x.finish(policy.Neutral)
	case passing:
		code = x.status
		x.dropConn()
		x.passed(f)
		x.finish(x.outcome)
	}
	x.end(code, f)
}

// totalTimer is an exchange as the owner of its time-out.
type totalTimer exchange

// Expired implements reactor.Expirer.
func (t *totalTimer) Expired(*reactor.Timer) {
	x := (*exchange)(t)
	f := fault{kind: responseTimeout, detail: "the call took longer than its time-out allows"}
	switch x.state {
	case readingBody:
		x.refuse(fault{kind: requestTimeout, detail: "the request's body did not arrive in time"})
	case waiting, pausing:
		x.refuse(f)
	case trying, holding:
		x.failed(f, true)
	case passing:
		if x.headAt != 0 {
			if x.outcome == policy.Success {
				x.tell(x.headAt, x.outcome)
			}
			return
		}
		if len(x.c.out) > 0 && !x.graced {
			x.graced = true
			x.w.loop.Set(&x.total, x.g.writeGrace)
			return
		}
		if len(x.c.out) > 0 {
			x.c.gone(nil)
			return
		}
		f.own = x.graced // the client was waited for when the time was over
		x.incomplete(f)
	}
}

// stepTimer is an exchange as the owner of the timer of its state.
type stepTimer exchange

// Expired implements reactor.Expirer.
func (t *stepTimer) Expired(*reactor.Timer) {
	x := (*exchange)(t)
	switch x.state {
	case droppingBody:
		x.refuse(x.refused)
	case waiting:
		x.refuse(unavailable(x.why))
	case pausing:
		x.acquire()
	case trying:
		x.failed(lateTry, true)
	case holding:
		x.passHeld()
	case passing:
		x.c.gone(nil) // it does not take the next piece of a stream
	}
}
