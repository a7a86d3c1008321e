package gateway

import (
	"net/http"
	"net/netip"
	"net/textproto"
	"strings"
)

// The headers that the gateway reads or writes, in canonical form.
const (
	headerRequestID   = "X-Request-Id"
	headerTraceparent = "Traceparent"
	headerTracestate  = "Tracestate"
	headerVia         = "Via"
	headerFor         = "X-Forwarded-For"
	headerHost        = "X-Forwarded-Host"
	headerProto       = "X-Forwarded-Proto"
)

// maxRequestID bounds a request id that comes from outside.
const maxRequestID = 128

// hopByHop reports whether a header concerns one connection only (RFC 9110, 7.6.1), with the two that RFC 2616 named.
func hopByHop(key string) bool {
	switch key {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// fromProxy reports whether a header tells where a request came from, which only a trusted proxy may.
func fromProxy(key string) bool {
	switch key {
	case headerFor, headerHost, headerProto, "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Server", "Forwarded", "X-Real-Ip":
		return true
	}
	return false
}

// forged reports whether a header looks to some backends like one of those that only the gateway, or a trusted proxy, sends:
// by CGI's rules, which WSGI, Rack and PHP have taken over, _ in a name is the same as -.
func forged(name string) bool {
	if strings.IndexByte(name, '_') < 0 {
		return false
	}
	switch key := textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-")); key {
	case headerRequestID, headerTimeLeft, headerMirror, headerPriority:
		return true
	default:
		return fromProxy(key) || hopByHop(key)
	}
}

// eachToken calls f with each element of a comma-separated header.
func eachToken(values []string, f func(token string)) {
	for _, v := range values {
		for v != "" {
			var token string
			token, v, _ = strings.Cut(v, ",")
			if token = textproto.TrimString(token); token != "" {
				f(token)
			}
		}
	}
}

func hasToken(values []string, want string) bool {
	found := false
	eachToken(values, func(token string) { found = found || strings.EqualFold(token, want) })
	return found
}

// removeNominated drops the headers that Connection names.
func removeNominated(h http.Header, connection []string) {
	eachToken(connection, func(token string) { delete(h, textproto.CanonicalMIMEHeaderKey(token)) })
}

// upgradeOf returns the protocol that a message asks to go over to, empty if none.
func upgradeOf(h http.Header) string {
	if len(h["Upgrade"]) != 1 || !hasToken(h["Connection"], "upgrade") {
		return ""
	}
	return h["Upgrade"][0]
}

// validRequestID reports whether an id from outside can be passed on: printable, without spaces, not too long.
func validRequestID(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_.:/+=@~", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// clientIP returns the address part of host:port.
func clientIP(remote string) string {
	i := strings.LastIndexByte(remote, ':')
	if i < 0 {
		return remote
	}
	return strings.TrimSuffix(strings.TrimPrefix(remote[:i], "["), "]")
}

func (g *Gateway) trusts(ip string) bool {
	if len(g.cfg.TrustedProxies) == 0 {
		return false
	}
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	addr = addr.Unmap().WithZone("")
	for _, p := range g.cfg.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// dotSegments reports whether a decoded path has a segment . or .. in it. Backends would resolve it after the route was
// chosen, and so leave the route's path.
func dotSegments(path string) bool {
	for i := strings.Index(path, "/."); i >= 0; {
		rest := strings.TrimPrefix(path[i+2:], ".")
		if rest == "" || rest[0] == '/' {
			return true
		}
		path = path[i+2:]
		i = strings.Index(path, "/.")
	}
	return false
}

// prepareHeader writes the head of the request to the backend, and settles its ids. What stays as it is shares its
// values with the client's request, so values are replaced and never appended to.
func (c *call) prepareHeader() {
	in := c.r.Header
	trusted := c.target.edge != nil
	ip := clientIP(c.r.RemoteAddr)
	if !trusted {
		trusted = c.g.trusts(ip)
	}
	h := make(http.Header, len(in)+8)
	for key, values := range in {
		if !hopByHop(key) && (trusted || !fromProxy(key) && !forged(key)) {
			h[key] = values
		}
	}
	if connection := in["Connection"]; len(connection) > 0 {
		removeNominated(h, connection)
	}
	if hasToken(in["Te"], "trailers") {
		h["Te"] = []string{"trailers"}
	}
	delete(h, "Http2-Settings")
	if protocol := upgradeOf(in); protocol != "" && c.canUpgrade() && !hasToken(in["Upgrade"], "h2c") {
		// Not to h2c: requests inside it would pass the routes by, and RFC 9113 has done away with it.
		c.upgrading = protocol
		h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{protocol}
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = []string{""} // or the transport adds its own
	}

	c.prepareTrace(h)
	if prior := h[headerFor]; len(prior) > 0 {
		ip = strings.Join(prior, ", ") + ", " + ip
	}
	c.set(h, headerFor, ip)
	if len(h[headerHost]) == 0 {
		c.set(h, headerHost, c.r.Host)
	}
	if len(h[headerProto]) == 0 {
		c.set(h, headerProto, c.scheme())
	}
	via := c.via()
	if prior := h[headerVia]; len(prior) > 0 {
		via = strings.Join(prior, ", ") + ", " + via
	}
	c.set(h, headerVia, via)

	// The transport takes this header for leave to repeat a POST. It is the application's, and means nothing to us; in
	// lower case the transport does not see it, and the backend does.
	if !c.idempotent {
		for _, key := range [...]string{"Idempotency-Key", "X-Idempotency-Key"} {
			if values, ok := h[key]; ok {
				delete(h, key)
				h[strings.ToLower(key)] = values
			}
		}
	}
	if !trusted {
		delete(h, headerMirror)
	}
	if c.rules != nil {
		c.rules.request.apply(h)
	}
	c.header = h
}

// prepareTrace continues the client's trace, or begins one.
func (c *call) prepareTrace(h http.Header) {
	prior := ""
	if parents := h[headerTraceparent]; len(parents) == 1 {
		prior = parents[0]
	}
	flags, fresh := c.settleTrace(prior)
	if fresh {
		delete(h, headerTracestate)
	}
	parent := traceparent(c.trace, flags)
	c.set(h, headerTraceparent, parent)
	if ids := h[headerRequestID]; len(ids) == 1 && validRequestID(ids[0]) {
		c.requestID = ids[0]
	} else {
		c.requestID = parent[3:35]
		c.set(h, headerRequestID, c.requestID)
	}
}

// set writes one value without allocating a slice for it.
func (c *call) set(h http.Header, key, value string) {
	if c.nValues == len(c.values) {
		h[key] = []string{value}
		return
	}
	c.values[c.nValues] = value
	h[key] = c.values[c.nValues : c.nValues+1 : c.nValues+1]
	c.nValues++
}

// copyAnswerHeader writes the head of a backend's answer to the client's.
func (c *call) copyAnswerHeader(dst, src http.Header) {
	for key, values := range src {
		if !hopByHop(key) {
			dst[key] = values
		}
	}
	if connection := src["Connection"]; len(connection) > 0 {
		removeNominated(dst, connection)
	}
	defer c.editAnswer(dst)
	if _, ok := src["Content-Type"]; !ok {
		dst["Content-Type"] = nil // or the server guesses one
	}
	if _, ok := src[headerRequestID]; !ok {
		c.set(dst, headerRequestID, c.requestID)
	}
}
