package gateway

import (
	"errors"
	"net/http"

	"github.com/banyanhq/banyan/gateway/httpcache"
)

// quickHits reports whether hits on the target may be answered before the request is prepared for a backend: nothing that
// the route asks for looks at more of it than the cache does.
func (t *target) quickHits() bool {
	return t.zone != nil && t.edge == nil && t.lane != nil && t.rules == nil && t.limit == nil && t.sticky == nil && t.compress == nil
}

// rewritten reports whether backends get other values of a field than clients send, so that answers that vary by it need
// the request as it is prepared for them.
func rewritten(name string) bool {
	switch name {
	case headerVia, headerTraceparent, headerTracestate, headerRequestID, headerMirror, "User-Agent", "Http2-Settings":
		return true
	}
	return hopByHop(name) || fromProxy(name)
}

// serveHit answers a request with a fresh answer from memory, without what only asking a backend needs; false where it
// cannot, and then nothing has happened.
func (g *Gateway) serveHit(w http.ResponseWriter, r *http.Request, to *target) bool {
	if !to.quickHits() || g.access.on() || dotSegments(r.URL.Path) {
		return false
	}
	if c := r.Header["Connection"]; len(c) > 1 || len(c) == 1 && c[0] != "keep-alive" {
		return false // it may name fields that are not for backends
	}
	var found httpcache.Found
	if !to.zone.Find(&found, r, rewritten) {
		return false
	}
	c := walk{g: g, target: to, start: g.now()}
	to.traffic.inFlight.Add(1)
	c.requestID = hitID(&c, r.Header)
	w.Header()[headerRequestID] = []string{c.requestID}
	g.writeWithin(w, c.timeout())
	res := found.Serve(w)
	var f fault
	if errors.Is(res.Err, httpcache.ErrClient) {
		f = fault{kind: clientClosed, detail: "the client went away"}
	}
	c.count(res.Status, f, r.Method, r.URL.Path)
	return true
}

// hitID is the id of a request as prepareTrace would settle it.
func hitID(c *walk, h http.Header) string {
	prior := ""
	if parents := h[headerTraceparent]; len(parents) == 1 {
		prior = parents[0]
	}
	flags, _ := c.settleTrace(prior)
	if ids := h[headerRequestID]; len(ids) == 1 && validRequestID(ids[0]) {
		return ids[0]
	}
	return traceparent(c.trace, flags)[3:35]
}
