package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/gateway/httpcache"
	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// maxReplay is the largest request body that is kept so that it can be sent again.
const maxReplay = 64 << 10

// target is where a request goes, and under which names it is counted.
type target struct {
	lane    *lane
	timeout time.Duration
	traffic *traffic
	route   int                          // id of the route, -1 on an edge
	edge    *edge                        // nil on a route
	calls   []atomic.Pointer[attributed] // of an edge: by the route's id, the last one for calls of no known route
	hash    *topology.Hash               // nil where the policy does not hash
	sticky  *sticky                      // nil where clients are not bound
	limit   *limit                       // nil where there is none
	rules   *rules                       // what else the route asks for; nil: nothing
	maxBody int64                        // 0: as the gateway's
	to      string                       // name of the service

	tryTimeout time.Duration  // 0: as long as the call
	hedger     *policy.Hedger // nil: nothing is hedged
	hedging    topology.Hedge
	priority   *priority          // nil: all are worth the same
	mirrors    *mirrorStats       // of a mirror's target
	compress   *topology.Compress // nil: answers are left as they are
	before     *target            // the target that this one replaces, while a table is built
	zone       *httpcache.Zone    // nil where answers are not kept
	// invalidates has answers to unsafe requests drop what other routes keep.
	invalidates bool
	full        bool // asks for something that only the full tier, on net/http, can do
}

// fullFor reports whether only the full tier can carry a request to the target, if it is not a hit in a cache.
func (t *target) fullFor(method string) bool {
	return t.full || t.zone != nil || t.invalidates && method != http.MethodGet && method != http.MethodHead
}

// call is one request on its way: the walk from the client to a backend and back. It belongs to the goroutine of its
// handler; only what info guards is touched by others.
type call struct {
	walk
	w *meter
	r *http.Request

	header    http.Header
	values    [8]string // behind the header's new values
	nValues   int
	grpc      bool          // a call of gRPC, to be answered as one
	until     time.Duration // when its client's deadline is; 0: it has none
	upgrading string        // protocol that the client asks to go over to

	kept   []byte      // the body, if it was read in advance
	stream *clientBody // the body, if it is passed on as it comes

	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	outer  *time.Timer // of the call on whose behalf the cache makes this one
	proof  *time.Timer // tells that the stream goes well; nil: it is none
	out    *http.Request
	url    url.URL
	hooks  httptrace.ClientTrace

	info struct {
		sync.Mutex
		n      int  // informational answers of all tries
		closed bool // the head of the answer is due: nothing more may come before it
	}
}

// serveOutside handles a request from outside.
func (g *Gateway) serveOutside(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "" && r.URL.Scheme != "" && r.URL.Host != "" {
		r.URL.Path = "/" // the absolute form of a request for the root (RFC 9112, 3.2.2)
	}
	if g.parting.Load() && r.ProtoMajor <= 2 {
		w.Header()["Connection"] = []string{"close"} // of which HTTP/2 makes a GOAWAY; HTTP/3 is told in another way
	}
	r = asUpgrade(r)
	if g.answersChallenge(w, r) || g.redirects(w, r) {
		return
	}
	t := g.table.Load()
	to := t.unmatched
	if route := t.router.Match(r.Method, r.Host, r.URL.Path, requestParts{r}); route != nil {
		to = t.targets[route]
	}
	if to.zone != nil && g.serveHit(w, r, to) {
		return
	}
	g.serve(w, r, to)
}

// serve carries one request to its target and the answer back.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request, to *target) {
	c := &call{walk: walk{g: g, target: to, rules: to.rules, start: g.now(), idempotent: policy.Idempotent(r.Method)}, w: &meter{ResponseWriter: w, bare: r.Method == http.MethodHead}, r: r}
	to.traffic.inFlight.Add(1)
	code, f := c.run()
	c.judge(code, f)
	took := c.count(code, f, r.Method, r.URL.Path)
	if to.edge == nil && g.access.on() {
		c.log(c, access{
			duration: took, method: r.Method, host: r.Host, uri: r.RequestURI, protocol: r.Proto, status: code, bytes: c.w.n,
		}, f)
	}
	switch {
	case c.bodyPending():
		c.abandonBody()
	case c.bodyUnread():
		drainBody(c.w, c.r)
	}
	if f.kind == clientClosed || f.kind == responseIncomplete && !c.endGRPC(f) {
		// The only way to tell the client that the answer is not whole. One that is taken to be gone may still read: the server
		// would end what it has for it as if it were all. In HTTP/1.0 that does not do, where the end of the connection may be
		// that of the answer.
		if r.ProtoMajor == 1 && r.ProtoMinor == 0 {
			resetAtEnd(r.Context())
		}
		panic(http.ErrAbortHandler)
	}
}

// run returns the status that the client was answered with, and the gateway's own error if there was one.
func (c *call) run() (code int, f fault) {
	c.grpc = isGRPC(c.r)
	c.prepareHeader()
	switch {
	case c.target.lane == nil && (c.rules == nil || c.rules.redirect == nil):
		return c.refuse(fault{kind: destinationNotFound, detail: "no route leads from this address to a service"})
	case c.r.Method == http.MethodConnect:
		return c.refuse(fault{kind: requestError, status: http.StatusNotImplemented, detail: "this is no tunnel: CONNECT is not supported"})
	case dotSegments(c.r.URL.Path):
		return c.refuse(fault{kind: requestError, detail: "the path has a segment . or .. in it"})
	case strings.IndexByte(c.r.RequestURI, '#') >= 0: // one that came over HTTP/1 has been refused before
		return c.refuse(fault{kind: requestError, detail: "the request's target has a fragment (#) in it"})
	case c.tunnel() != nil && c.upgrading == "" && c.target.lane != nil:
		return c.refuse(noUpgrades)
	}
	if c.headTooLarge() {
		return c.refuse(tooLarge)
	}
	if f := c.withinLimit(c); f.kind != noFault {
		return c.refuse(f)
	}
	c.choose()
	if f := c.settle(c); f.kind != noFault {
		return c.refuse(f)
	}
	c.enterTrace()
	defer c.leaveTrace()

	c.ctx, c.cancel = context.WithCancelCause(c.r.Context())
	defer c.cancel(errFinished)
	c.timer = time.AfterFunc(c.timeout(), c.expire)
	defer c.timer.Stop()
	defer c.startGRPC()()

	if f, hurt := c.inject(); hurt {
		return c.refuse(f)
	}
	if c.rules != nil && c.rules.redirect != nil {
		return c.sendElsewhere()
	}
	if f := c.prepareBody(); f.kind != noFault {
		return c.refuse(f)
	}
	if c.cacheable() {
		return c.fromCache()
	}
	c.aim(c)
	c.enter(c.stream == nil)
	if f := c.admit(); f.kind != noFault {
		return c.refuse(f)
	}
	defer func() { c.leaveDoor(c.countsForBound(f)) }()
	if f := c.enterBound(); f.kind != noFault {
		return c.refuse(f)
	}
	if c.rules != nil {
		c.rules.mirror.copyOf(c)
	}
	code, f = c.carry()
	c.leaveBound(c.countsForBound(f))
	return code, f
}

// expire ends a call whose time is over. Where the client is waited for at this moment, it is not the backend that is late.
func (c *call) expire() {
	if c.w.busy.Load() {
		c.cancel(errClientSlow)
	} else {
		c.cancel(errTimeout)
	}
}

// carry tries backends until one has answered or the policy gives up.
func (c *call) carry() (code int, f fault) {
	for {
		grant, f := c.acquire()
		if f.kind != noFault {
			return c.refuse(f)
		}
		c.try(grant)
		res, f, try := c.send()
		if res != nil {
			c.outcome = policy.OutcomeOf(res.StatusCode)
			if pause, again := c.decideStatus(res); again {
				discard(res)
				c.finish(c.outcome)
				if f := c.pause(pause); f.kind != noFault {
					return c.refuse(f)
				}
				continue
			}
			if c.grpc && c.outcome != policy.Failure {
				c.outcome = outcomeGRPC(res.Header)
			}
			var passed bool
			if f, passed = c.relay(res); passed {
				if c.grpc && f.kind == noFault && c.outcome == policy.Success {
					c.outcome = outcomeGRPC(res.Trailer)
				}
				c.passed(f)
				if c.proof != nil && !c.proof.Stop() {
					c.told = true
				}
				c.finish(c.outcome)
				return res.StatusCode, f
			}
			try = policy.Try{Sent: true}
		}
		// Nothing of an answer has been passed on, so that there can still be another.
		outcome := policy.Failure
		if f.blameless() {
			outcome = policy.Neutral
		}
		c.finish(outcome)
		if outcome == policy.Neutral || f.kind == responseTimeout && !f.late {
			return c.refuse(f)
		}
		pause, again := c.decide(try)
		if !again {
			return c.refuse(f)
		}
		if f := c.pause(pause); f.kind != noFault {
			return c.refuse(f)
		}
	}
}

// decideStatus asks the policy whether an answer is given up for another try.
func (c *call) decideStatus(res *http.Response) (pause time.Duration, again bool) {
	if c.outcome != policy.Failure || c.upgrading != "" {
		return 0, false
	}
	return c.decide(policy.Try{Sent: true, Status: res.StatusCode})
}

// decide asks the policy whether the try is repeated.
func (c *call) decide(t policy.Try) (pause time.Duration, again bool) {
	t.Replayable = c.stream == nil || c.stream.untouched()
	pause, again = c.walk.decide(t)
	return pause, again && c.ctx.Err() == nil
}

// pause waits before the next try, which goes to another backend if there is one.
func (c *call) pause(d time.Duration) fault {
	c.countRetry()
	if d <= 0 {
		return fault{}
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return fault{}
	case <-c.ctx.Done():
		return c.ended()
	}
}

// acquire takes a place at a backend, and waits for one a little where that can help.
func (c *call) acquire() (policy.Grant, fault) {
	lane := c.target.lane
	grant, why := c.pick()
	if why == policy.Picked {
		return grant, fault{}
	}
	list := &lane.service.waiting
	admission := policy.Admission{Wait: c.g.cfg.Wait, MaxWaiting: c.g.cfg.MaxWaiting}
	var patience time.Duration
	waiter := list.join(func(waiting int) bool {
		patience, why = admission.Decide(why, c.left(), waiting)
		return why == policy.Picked
	})
	if waiter == nil {
		return grant, unavailable(why)
	}
	defer list.leave(waiter)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		if grant, why = c.pick(); why == policy.Picked {
			return grant, fault{}
		}
		select {
		case <-waiter.wake:
		case <-timer.C:
			return grant, unavailable(why)
		case <-c.ctx.Done():
			return grant, c.ended()
		}
	}
}

// ended says why the call's context has ended.
func (c *call) ended() fault {
	switch cause := context.Cause(c.ctx); {
	case errors.Is(cause, errTimeout):
		return fault{kind: responseTimeout, own: errors.Is(cause, errClientSlow), detail: "the call took longer than its time-out allows"}
	case errors.Is(cause, errStopping):
		return stopping
	}
	return fault{kind: clientClosed, detail: "the client went away"}
}

// last reports whether the client's connection ends with this answer: where its next request begins is not known, or
// another gateway takes over. In HTTP/2 and 3 connections end in another way.
func (c *call) last() bool {
	return c.r.ProtoMajor == 1 && (c.bodyPending() || c.target.edge == nil && c.g.parting.Load())
}

// refuse answers with the gateway's own error.
func (c *call) refuse(f fault) (int, fault) {
	if f.kind != clientClosed {
		f = c.relieved(f)
		c.closeInfo()
		var before time.Duration
		if c.bodyUnread() {
			before = bodyGrace // the server reads what is left of the body before it answers
			c.readWithin(before)
		}
		c.writeWithin(before)
		if c.grpc {
			f.writeGRPC(c.w, c.requestID)
		} else {
			f.write(c.w, c.requestID, c.last())
		}
	}
	return f.code(), f
}

// prepareBody reads a small body in advance, so that it can be sent again and does not occupy a backend while the
// client is slow; a large one is passed on as it comes.
func (c *call) prepareBody() fault {
	n, limit := c.r.ContentLength, c.bodyLimit()
	if n == 0 || c.r.Body == nil || c.r.Body == http.NoBody {
		return fault{}
	}
	if limit > 0 && n > limit {
		return c.clientFault(errBodyTooLarge)
	}
	c.readWithin(c.timeout())
	if n > 0 && n <= maxReplay && c.r.Header.Get("Expect") == "" {
		c.kept = make([]byte, n)
		if _, err := io.ReadFull(c.r.Body, c.kept); err != nil {
			return c.clientFault(err)
		}
		return fault{}
	}
	_ = http.NewResponseController(c.w).EnableFullDuplex() // without it, the answer waits for the body's end
	c.stream = &clientBody{body: c.r.Body, length: n, max: limit}
	return fault{}
}

// bodyGrace is how long a client may still send of a body that is not wanted, so that it can come to read the answer:
// closing on bytes that were not received resets the connection.
const bodyGrace = 500 * time.Millisecond

// bodyPending reports whether the client's body is passed on and has not come to its end. Where the next request begins
// is not known then, so that the connection must close after the answer (RFC 9112, 9.3); the server itself sees to that
// only for bodies that it does not read and write at the same time.
func (c *call) bodyPending() bool { return c.stream != nil && !c.stream.complete() }

// abandonBody frees a transport that is still waiting for the client's body when the call is over, and reads what the
// client sends of it for a moment. When it returns nobody reads any more and the deadline is past: otherwise the server
// would lift the deadline, and wait for the rest for as long as the client likes.
func (c *call) abandonBody() {
	if c.r.ProtoMajor > 1 { // the stream's end says that no more is wanted
		c.stream.drop()
		return
	}
	c.readWithin(bodyGrace)
	c.flush()
	c.stream.abandon()
	c.readWithin(0)
}

// bodyUnread reports whether the call was answered without a look at the body that its client sends.
func (c *call) bodyUnread() bool {
	return c.r.ProtoMajor == 1 && c.kept == nil && c.stream == nil && c.r.ContentLength != 0
}

// drainBody reads what the client sends of an unread body for a moment. The server has done so by itself where another request
// may follow, but not where the connection ends with the answer: it would be reset, and this answer and the ones before it be
// lost to a client that has not read them. One that awaits leave to send its body does not send it.
func drainBody(w http.ResponseWriter, r *http.Request) {
	if !r.Close && w.Header().Get("Connection") != "close" || r.Header.Get("Expect") != "" {
		return // where the connection goes on, a read that is cut short would end its next request
	}
	readWithin(w, bodyGrace)
	_ = http.NewResponseController(w).Flush()         // an error is the next read's as well
	_, _ = io.CopyN(io.Discard, r.Body, maxAbandoned) // where it fails nobody waits for it
	readWithin(w, 0)
}

// readWithin bounds how long the client may take to send the rest of its body.
func (c *call) readWithin(d time.Duration) { readWithin(c.w, d) }

func readWithin(w http.ResponseWriter, d time.Duration) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(d)) // without it, only the total time-out holds
}

// send sends the request to the backend, and returns its answer, or what went wrong.
func (c *call) send() (*http.Response, fault, policy.Try) {
	if c.out == nil {
		c.prepareRequest()
	}
	c.tellDeadline()
	if after, ok := c.hedged(); ok {
		return c.sendHedged(after)
	}
	res, f, try := c.exchange(c.prepareTry(c.ctx), c.grant)
	if h := c.target.hedger; h != nil && res != nil {
		now := c.g.now()
		h.Observe(now, now-c.began)
	}
	return res, f, try
}

// prepareTry returns the request for one try. A transport may still look at the one before.
func (c *call) prepareTry(ctx context.Context) *http.Request {
	out := c.out.WithContext(httptrace.WithClientTrace(ctx, &c.hooks))
	address := c.url
	out.URL = &address
	switch {
	case c.stream != nil:
		out.Body = c.stream
	case c.kept != nil:
		out.Body, _ = c.replay()
		out.GetBody = c.replay
	default:
		out.Body = nil
	}
	return out
}

// exchange sends a try to a backend, and waits for the head of its answer.
func (c *call) exchange(out *http.Request, grant policy.Grant) (*http.Response, fault, policy.Try) {
	b := grant.Owner.(*backend)
	out.URL.Host = b.address
	var timer *time.Timer
	if t := c.target.tryTimeout; t > 0 && c.upgrading == "" {
		ctx, cancel := context.WithCancelCause(out.Context())
		timer = time.AfterFunc(t, func() { cancel(errTryTimeout) })
		out = out.WithContext(ctx)
	}
	res, err := b.transport.RoundTrip(out)
	if timer != nil && !timer.Stop() && err == nil { // from the head on, the time-out of the call counts
		_ = res.Body.Close()
		err = errTryTimeout
	}
	if err == nil && (res.StatusCode < 100 || res.StatusCode > 999) {
		// The transport takes any three characters that make a number, the server panics on what is no status.
		_ = res.Body.Close()
		err = errNoStatus
	}
	if err == nil {
		return res, fault{}, policy.Try{}
	}
	if c.ctx.Err() == nil && errors.Is(context.Cause(out.Context()), errTryTimeout) {
		return nil, lateTry, policy.Try{Sent: true}
	}
	f, sent := c.diagnose(err)
	return nil, f, policy.Try{Sent: sent}
}

func (c *call) replay() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(c.kept)), nil }

func (c *call) prepareRequest() {
	c.hooks.GotConn = asking(c.r.Method)
	c.hooks.Got1xxResponse = c.passInformational
	c.out = c.r.WithContext(c.ctx)
	c.out.Header = c.header
	c.out.RequestURI = ""
	c.out.TransferEncoding = nil
	c.out.Close = false
	c.url = c.address()
	if c.rules != nil && c.rules.rewrite != nil && c.rules.rewrite.host != "" {
		c.out.Host = c.rules.rewrite.host
	}
}

// address is that of the request at its backend, whose host is not known yet.
func (c *call) address() url.URL {
	u := c.r.URL
	address := url.URL{Scheme: c.target.lane.service.scheme(), Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery, ForceQuery: u.ForceQuery}
	if c.rules != nil && c.rules.rewrite != nil {
		c.rules.rewrite.apply(&address)
	}
	return address
}

// diagnose tells whose fault an error is, and whether anything may have reached the backend.
func (c *call) diagnose(err error) (f fault, sent bool) {
	if c.stream != nil {
		if err := c.stream.failure(); err != nil {
			return c.clientFault(err), true
		}
	}
	c.lateGRPC()
	if c.ctx.Err() != nil {
		return c.ended(), true
	}
	return upstreamFault(err)
}
