package gateway

import (
	"bytes"
	"context"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// headerMirror marks copies of requests, with the name of the route that they were copied from.
const headerMirror = "X-Banyan-Mirror"

// maxMirrored is how much of the answer to a copy is read, so that its connection can be used again.
const maxMirrored = 64 << 10

// mirror sends copies of requests to another service. Requests do not wait for it: where as many copies as allowed are
// on their way, the next is not sent.
type mirror struct {
	g      *Gateway
	target *target
	share  float64
	route  string
	places chan struct{}
}

func newMirror(g *Gateway, cfg topology.Mirror, to *target, route string) *mirror {
	return &mirror{g: g, target: to, share: float64(cfg.Share), route: route, places: make(chan struct{}, max(cfg.Concurrency, 1))}
}

// mirrorStats counts the copies.
type mirrorStats struct{ sent, dropped atomic.Int64 }

// copyOf sends a copy of the call's request, whose body, if it has one, was kept.
func (m *mirror) copyOf(c *call) {
	if m == nil || c.stream != nil || c.upgrading != "" || rand.Float64() >= m.share {
		return
	}
	select {
	case m.places <- struct{}{}:
	default:
		m.target.mirrors.dropped.Add(1)
		return
	}
	if !m.g.background.begin() {
		<-m.places
		return
	}
	m.target.mirrors.sent.Add(1)
	h := maps.Clone(c.header)
	h[headerMirror] = []string{m.route}
	// A trace of its own: what the copy causes is not part of the request.
	h[headerTraceparent] = []string{traceparent(newTraceID(), 0)}
	delete(h, headerTracestate)
	u := c.address()
	u.Scheme = m.target.lane.service.scheme()
	req := &http.Request{Method: c.r.Method, URL: &u, Host: c.r.Host, Header: h, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	body := c.kept
	go func() {
		defer m.g.background.all.Done()
		defer func() { <-m.places }()
		m.send(req, body)
	}()
}

// send carries one copy to a replica, and throws the answer away.
func (m *mirror) send(req *http.Request, body []byte) {
	ctx, cancel := context.WithTimeout(m.g.streams, m.target.timeout)
	defer cancel()
	lane, began := m.target.lane, m.g.now()
	search := policy.Request{Random: rand.Uint64()}
	search.Hash = search.Random
	grant, why := lane.pick(&search, began)
	if why != policy.Picked {
		return
	}
	b := grant.Owner.(*backend)
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: asking(req.Method)}))
	req.URL.Host = b.address
	if body != nil {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	outcome := policy.Failure
	res, err := b.transport.RoundTrip(req)
	if err == nil {
		_, err = io.CopyN(io.Discard, res.Body, maxMirrored) // nobody waits for it
		_ = res.Body.Close()
		if err == nil || err == io.EOF || endless(res) && ctx.Err() != nil {
			outcome = policy.OutcomeOf(res.StatusCode) // by as much of it as is looked at
		}
	}
	if outcome == policy.Failure && m.g.streams.Err() != nil {
		outcome = policy.Neutral
	}
	lane.finish(grant, began, m.g.now(), outcome)
}

// finish reports and counts a try that no client waits for, and gives its place back.
func (l *lane) finish(grant policy.Grant, began, now time.Duration, o policy.Outcome) {
	b := grant.Owner.(*backend)
	l.pool.Report(grant, now, o)
	b.requests.Add(1)
	if o == policy.Failure {
		b.failures.Add(1)
	}
	b.latency.Record(now - began)
	l.release(grant, now-began, o)
}
