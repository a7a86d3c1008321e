//go:build linux && (amd64 || arm64)

package gateway

import (
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unsafe"

	h1 "github.com/banyanhq/banyan/gateway/http1"
	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// str returns b as a string that is good for as long as b is not changed.
func str(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// fastRequest reports whether the fast tier carries such requests. The rest are rare, or open-ended: tunnels, other
// protocols, bodies that are large or of unknown length, hosts and targets of other forms than the usual.
func fastRequest(r *h1.Request) bool {
	const special = 1<<h1.Upgrade | 1<<h1.Expect | 1<<h1.TransferEncoding
	for i := range r.Fields {
		if named(&r.Fields[i], headerGRPCTimeout) {
			return false
		}
	}
	return r.Has&special == 0 && !r.Nominates && r.Length <= maxReplay && len(r.Host) > 0 && r.Target[0] == '/' &&
		string(r.Method) != http.MethodConnect
}

// named reports whether a field that the parser does not know has the name.
func named(f *h1.Field, name string) bool {
	return f.Known == h1.Other && len(f.Name) == len(name) && equalFold(f.Name, name)
}

// plainPath has the bytes that stand for themselves in a path, in every encoding of it.
var plainPath = func() (t [256]bool) {
	for c := range t {
		t[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
	}
	for _, c := range "/-_.~!$&'()*+,;=:@[]" {
		t[c] = true
	}
	return t
}()

// readTarget takes the request's target apart; false if it is malformed. One with encoded or odd bytes in its path is
// read and written as the full tier does.
func (x *exchange) readTarget(target []byte) bool {
	x.plain = true
	for i, b := range target {
		if b == '?' {
			x.path, x.query, x.uri = str(target[:i]), str(target[i+1:]), str(target)
			return true
		}
		if !plainPath[b] {
			x.plain = false
			u, err := url.ParseRequestURI(string(target))
			if err != nil {
				return false
			}
			x.path, x.query = u.Path, u.RawQuery
			x.uri = (&url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery, ForceQuery: u.ForceQuery}).RequestURI()
			return true
		}
	}
	x.path, x.query, x.uri = str(target), "", str(target)
	return true
}

func appendField(b []byte, name string, value []byte) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

func appendAsIs(b []byte, f *h1.Field) []byte {
	b = append(b, f.Name...)
	b = append(b, ": "...)
	b = append(b, f.Value...)
	return append(b, "\r\n"...)
}

// only returns the value of a known field, if there is exactly one of it.
func only(h *h1.Head, k h1.Known) []byte {
	var value []byte
	n := 0
	for i := range h.Fields {
		if h.Fields[i].Known == k {
			value = h.Fields[i].Value
			n++
		}
	}
	if n != 1 {
		return nil
	}
	return value
}

// appendJoined appends the values of a known field, each followed by a comma.
func appendJoined(b []byte, h *h1.Head, k h1.Known) []byte {
	for i := range h.Fields {
		if h.Fields[i].Known == k {
			b = append(append(b, h.Fields[i].Value...), ", "...)
		}
	}
	return b
}

// prepare writes the head of the request to the backend, and settles its ids: prepareHeader of the full tier for this
// one.
func (x *exchange) prepare(r *h1.Request) {
	trusted := x.c.trusted
	b := x.req[:0]
	b = append(b, r.Method...)
	b = append(b, ' ')
	b = append(b, x.uri...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, r.Host...)
	b = append(b, "\r\n"...)

	flags, fresh := x.settleIDs(r)
	agent, class := false, x.target.priority
	for i := range r.Fields {
		f := &r.Fields[i]
		switch f.Known {
		case h1.Other:
			if named(f, headerTimeLeft) || class != nil && named(f, class.header) || !trusted && (named(f, headerMirror) || forged(str(f.Name))) {
				continue
			}
		case h1.Cookie, h1.ContentType, h1.Date:
		case h1.UserAgent:
			if agent {
				continue // one is enough, as Go's client has it
			}
			agent = true
		case h1.Forwarded, h1.ForwardedHost, h1.ForwardedProto:
			if !trusted {
				continue
			}
		case h1.Tracestate:
			if fresh {
				continue
			}
		case h1.TE:
			h1.Tokens(f.Value, func(token []byte) bool {
				if h1.EqualFold(token, "trailers") {
					x.trailers = true
				}
				return true
			})
			continue
		default:
			continue
		}
		b = appendAsIs(b, f)
	}
	if x.trailers {
		b = append(b, "TE: trailers\r\n"...)
	}
	var own [55]byte
	putTraceparent(&own, x.trace, flags)
	b = appendField(b, "Traceparent", own[:])
	b = append(b, "X-Request-Id: "...)
	b = append(b, x.requestID...)
	b = append(b, "\r\nX-Forwarded-For: "...)
	b = append(x.appendChain(b, r), "\r\n"...)
	if !trusted || !r.HasField(h1.ForwardedHost) {
		b = appendField(b, "X-Forwarded-Host", r.Host)
	}
	if !trusted || !r.HasField(h1.ForwardedProto) {
		b = append(b, "X-Forwarded-Proto: http\r\n"...)
	}
	x.settleScheme(r)
	b = append(b, "Via: "...)
	if r.HasField(h1.Via) {
		b = appendJoined(b, &r.Head, h1.Via)
	}
	b = append(b, '1', '.', byte('0'+r.Minor))
	b = append(b, " banyan\r\n"...)
	switch {
	case r.Length > 0:
		b = strconv.AppendInt(append(b, "Content-Length: "...), r.Length, 10)
		b = append(b, "\r\n"...)
	case x.method == http.MethodPost, x.method == http.MethodPut, x.method == http.MethodPatch:
		b = append(b, "Content-Length: 0\r\n"...)
	}
	if class != nil {
		b = append(append(append(append(b, class.header...), ": "...), x.classOf(x).String()...), "\r\n"...)
	}
	b = append(b, headerTimeLeft+": "...)
	x.leftAt = len(b)
	b = append(b, "              \r\n\r\n"...) // tellDeadline writes over the spaces
	x.req, x.head = b, len(b)
}

// settleIDs settles the request's trace and its id.
func (x *exchange) settleIDs(r *h1.Request) (flags byte, fresh bool) {
	var parent []byte
	if r.HasField(h1.Traceparent) {
		parent = only(&r.Head, h1.Traceparent)
	}
	flags, fresh = x.settleTrace(str(parent))
	if r.HasField(h1.RequestID) {
		if id := only(&r.Head, h1.RequestID); validRequestID(str(id)) {
			x.requestID = string(id)
			return flags, fresh
		}
	}
	hex.Encode(x.idBytes[:], x.trace[:])
	x.requestID = str(x.idBytes[:])
	return flags, fresh
}

// appendChain appends what X-Forwarded-For says to the backend.
func (x *exchange) appendChain(b []byte, r *h1.Request) []byte {
	at := len(b)
	if x.c.trusted && r.HasField(h1.ForwardedFor) {
		b = appendJoined(b, &r.Head, h1.ForwardedFor)
	}
	b = append(b, x.c.ip...)
	x.forAt, x.forLen = at, len(b)-at
	return b
}

// settleScheme finds out whether the client's connection is said to be encrypted.
func (x *exchange) settleScheme(r *h1.Request) {
	x.encrypted = x.c.trusted && r.HasField(h1.ForwardedProto) && firstIs(&r.Head, h1.ForwardedProto, "https")
}

// maxTimeLeft is the width of the field for the time that is left.
const maxTimeLeft = 14

// tellDeadline puts into the head how much time the try has.
func (x *exchange) tellDeadline() {
	field := x.req[x.leftAt:][:maxTimeLeft]
	left := x.left()
	if t := x.target.tryTimeout; t > 0 {
		left = min(left, t)
	}
	n := copy(field, policy.FormatTimeLeft(left))
	for i := range field[n:] {
		field[n+i] = ' ' // white space behind a value is no part of it (RFC 9110, 5.5)
	}
}

func firstIs(h *h1.Head, k h1.Known, value string) bool {
	for i := range h.Fields {
		if h.Fields[i].Known == k {
			return string(h.Fields[i].Value) == value
		}
	}
	return false
}

// The parts of the request that decisions look at. They are good while the head is in the worker's hands.

// Header implements parts.
func (x *exchange) Header(name string) (value string, ok bool) {
	return headerOf(&x.w.request, name)
}

// Cookie implements parts.
func (x *exchange) Cookie(name string) (value string, ok bool) {
	r := &x.w.request
	for i := range r.Fields {
		if r.Fields[i].Known == h1.Cookie {
			if value, ok := topology.CookieValue(str(r.Fields[i].Value), name); ok {
				return value, true
			}
		}
	}
	return "", false
}

func headerOf(r *h1.Request, name string) (value string, ok bool) {
	if name == "Host" {
		return str(r.Host), true
	}
	for i := range r.Fields {
		f := &r.Fields[i]
		if len(f.Name) == len(name) && equalFold(f.Name, name) {
			return str(f.Value), true
		}
	}
	return "", false
}

func equalFold(b []byte, s string) bool {
	for i := range len(s) {
		if lower(b[i]) != lower(s[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// loggedParts is an exchange whose head is parsed once more, for the access log.
type loggedParts struct{ *exchange }

// Header implements parts.
func (p loggedParts) Header(name string) (value string, ok bool) {
	return headerOf(&p.w.logged, name)
}

// logAccess has the access log say of the request what there is to say.
func (x *exchange) logAccess(code int, f fault, took time.Duration) {
	r := &x.w.logged
	if _, err := r.Parse(x.original); err != nil {
		return // it was a head when it came
	}
	protocol := "HTTP/1.1"
	if r.Minor == 0 {
		protocol = "HTTP/1.0"
	}
	x.log(loggedParts{x}, access{
		duration: took, method: x.method, host: str(r.Host), uri: str(r.Target), protocol: protocol, status: code, bytes: x.bytes,
	}, f)
}

// Query implements parts.
func (x *exchange) Query(name string) (value string, ok bool) {
	return topology.QueryValue(x.query, name)
}

func (x *exchange) decodedPath() string { return x.path }

func (x *exchange) chain() string { return str(x.req[x.forAt : x.forAt+x.forLen]) }

func (x *exchange) secure() bool { return x.encrypted }

// methodName returns a method without allocating for the usual ones.
func methodName(b []byte) string {
	switch string(b) {
	case http.MethodGet:
		return http.MethodGet
	case http.MethodHead:
		return http.MethodHead
	case http.MethodPost:
		return http.MethodPost
	case http.MethodPut:
		return http.MethodPut
	case http.MethodDelete:
		return http.MethodDelete
	case http.MethodPatch:
		return http.MethodPatch
	case http.MethodOptions:
		return http.MethodOptions
	}
	return string(b)
}
