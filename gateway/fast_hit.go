//go:build linux && (amd64 || arm64)

package gateway

import (
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	h1 "github.com/banyanhq/banyan/gateway/http1"
	"github.com/banyanhq/banyan/gateway/httpcache"
)

// hits is what a worker asks the cache with: the request as the full tier would have it. All of it is used again, and good
// for as long as the request's head is.
type hits struct {
	found   httpcache.Found
	request http.Request
	url     url.URL
	header  http.Header
	values  []string // behind the header's
}

// hit answers the request from the cache of its route, with what is fresh and in memory there: serveHit of the full tier
// for this one. Where there is no such answer it returns false, and nothing has happened. head is the request's as the
// client wrote it.
func (x *exchange) hit(req *h1.Request, head []byte) bool {
	to, h := x.target, &x.w.hits
	if !to.quickHits() || req.Nominates || req.Length > 0 || !x.plain || dotSegments(x.path) {
		return false
	}
	x.method = methodName(req.Method)
	if x.method != http.MethodGet && x.method != http.MethodHead {
		return false
	}
	if !h.take(req, x) || !to.zone.Find(&h.found, &h.request, rewritten) {
		return false
	}
	x.g = x.w.g
	x.start = x.g.now()
	x.minor, x.keep = req.Minor, persists(req)
	to.traffic.inFlight.Add(1)
	x.settleIDs(req)
	b, body, code := x.appendHit(x.w.scratch[:0])
	x.w.scratch = b[:0]
	x.bytes = int64(len(body))
	path := x.path
	if code >= 500 { // it is remembered, and must not change with the buffers
		path, x.requestID = strings.Clone(path), strings.Clone(x.requestID)
	}
	took := x.count(code, fault{}, x.method, path)
	if x.g.access.on() {
		x.original = append(x.original[:0], head...)
		x.req = x.appendChain(x.req[:0], req)
		x.settleScheme(req)
		x.logAccess(code, fault{}, took)
	}
	if c := x.c; c.writeStored(b, body) && len(c.out) > 0 {
		x.w.loop.Set(&c.timer, x.timeout()+x.g.writeGrace)
	}
	return true
}

// take makes h.request of a request; false where only the full tier knows what it means.
func (h *hits) take(req *h1.Request, x *exchange) bool {
	if h.header == nil {
		h.header, h.values = http.Header{}, make([]string, 0, h1.MaxFields)
	}
	clear(h.header)
	h.values = h.values[:0]
	for i := range req.Fields {
		f := &req.Fields[i]
		if f.Known == h1.Host {
			continue
		}
		name := textproto.CanonicalMIMEHeaderKey(str(f.Name))
		if name == "Pragma" {
			return false // net/http makes a Cache-Control of it
		}
		h.values = append(h.values, str(f.Value))
		if n := len(h.values); h.header[name] == nil {
			h.header[name] = h.values[n-1 : n : n]
		} else {
			h.header[name] = append(h.header[name], h.values[n-1])
		}
	}
	// What is asked for is kept under the path as the client wrote it.
	h.url = url.URL{Path: x.path, RawPath: x.path, RawQuery: x.query, ForceQuery: x.query == "" && len(x.uri) > len(x.path)}
	h.request = http.Request{Method: x.method, URL: &h.url, Host: str(req.Host), Header: h.header}
	return true
}

// appendHit appends the head of the answer that was found to b, and returns the body that goes behind it.
func (x *exchange) appendHit(b []byte) (head, body []byte, code int) {
	found := &x.w.hits.found
	var dated bool
	if status, whole := found.Whole(); whole {
		code = status
		b, body, dated = found.Append(x.appendStatus(b, code))
	} else {
		w := storedAnswer{header: http.Header{}}
		found.Serve(&w)
		code, body = w.status, w.body
		dated = len(w.header["Date"]) > 0
		b = w.appendFields(x.appendStatus(b, code))
	}
	b = append(append(append(b, "X-Request-Id: "...), x.requestID...), "\r\n"...)
	if !dated {
		b = append(x.w.appendDate(append(b, "Date: "...)), "\r\n"...)
	}
	return x.appendPersistence(b, true), body, code
}

// storedAnswer takes an answer of the cache that is not the whole of what is stored.
type storedAnswer struct {
	header http.Header
	status int
	body   []byte
}

// Header implements http.ResponseWriter.
func (a *storedAnswer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *storedAnswer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *storedAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.body = append(a.body, p...)
	return len(p), nil
}

// appendFields appends the fields as lines, but for those that net/http's server keeps back for the status.
func (a *storedAnswer) appendFields(b []byte) []byte {
	names := make([]string, 0, len(a.header))
	for name := range a.header {
		switch {
		case name == "Content-Length" && (a.status == http.StatusNoContent || a.status == http.StatusNotModified):
		case name == "Content-Type" && a.status == http.StatusNotModified:
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range a.header[name] {
			b = append(append(append(append(b, name...), ": "...), v...), "\r\n"...)
		}
	}
	return b
}
