package httpcache

import (
	"math"
	"net/http"
	"strings"
)

// absent is a delta that a field does not give.
const absent int64 = -1

// maxDelta is what a delta-seconds that is too large counts as (RFC 9111, 1.2.2).
const maxDelta int64 = math.MaxInt32

// directives are the cache directives of one message. Deltas are seconds, absent where not given. Where the text is
// malformed or contradicts itself, they hold the most restrictive reading (RFC 9111, 4.2.1).
type directives struct {
	maxAge, sMaxAge, staleWhileRevalidate, staleIfError int64

	maxStale, minFresh int64 // of a request; maxStale without a value is maxDelta

	noStore, noCache, private, public, mustRevalidate, proxyRevalidate, mustUnderstand, onlyIfCached bool

	noCacheFields, privateFields []string // canonical names of the fields that no-cache and private are limited to
}

func noDirectives() directives {
	return directives{maxAge: absent, sMaxAge: absent, staleWhileRevalidate: absent, staleIfError: absent, maxStale: absent, minFresh: absent}
}

// parseCacheControl reads the lines of a Cache-Control field (RFC 9111, 5.2).
func parseCacheControl(lines []string) directives {
	d := noDirectives()
	for _, line := range lines {
		eachMember(line, func(name, value string, hasValue, good bool) { d.add(name, value, hasValue, good) })
	}
	return d
}

// parseRequestDirectives reads the directives of a request. Pragma counts where there is no Cache-Control (RFC 9111,
// 5.4).
func parseRequestDirectives(h http.Header) directives {
	lines := h["Cache-Control"]
	if len(lines) == 0 {
		d := noDirectives()
		for _, line := range h["Pragma"] {
			eachMember(line, func(name, _ string, _, _ bool) { d.noCache = d.noCache || strings.EqualFold(name, "no-cache") })
		}
		return d
	}
	d := parseCacheControl(lines)
	d.noCache = d.noCache || len(d.noCacheFields) > 0 // a request has no use for field names
	return d
}

// add takes one directive in. good is false where its text is malformed: what restricts then counts, what permits does
// not.
func (d *directives) add(name, value string, hasValue, good bool) {
	switch strings.ToLower(name) {
	case "no-store":
		d.noStore = true
	case "no-cache":
		d.limited(&d.noCache, &d.noCacheFields, value, hasValue && good)
	case "private":
		d.limited(&d.private, &d.privateFields, value, hasValue && good)
	case "must-revalidate":
		d.mustRevalidate = true
	case "proxy-revalidate":
		d.proxyRevalidate = true
	case "public":
		d.public = d.public || good && !hasValue
	case "must-understand":
		d.mustUnderstand = d.mustUnderstand || good && !hasValue
	case "only-if-cached":
		d.onlyIfCached = d.onlyIfCached || good
	case "max-age":
		lifetime(&d.maxAge, value, good)
	case "s-maxage":
		lifetime(&d.sMaxAge, value, good)
	case "min-fresh":
		if n, ok := parseDelta(value); ok && good {
			d.minFresh = max(d.minFresh, n)
		}
	case "max-stale":
		if !hasValue && good {
			value = "2147483647"
		}
		permission(&d.maxStale, value, good)
	case "stale-while-revalidate":
		permission(&d.staleWhileRevalidate, value, good)
	case "stale-if-error":
		permission(&d.staleIfError, value, good)
	}
}

// limited takes no-cache or private in, which may be limited to fields (RFC 9111, 5.2.2.4 and 5.2.2.7); both forms are
// accepted for their value, as recipients ought to (5.2).
func (d *directives) limited(whole *bool, fields *[]string, value string, named bool) {
	if !named {
		*whole = true
		return
	}
	found := false
	for _, f := range strings.Split(value, ",") {
		f = trimOWS(f)
		if f == "" {
			continue
		}
		if !isToken(f) {
			*whole = true
			return
		}
		found = true
		*fields = append(*fields, http.CanonicalHeaderKey(f))
	}
	if !found {
		*whole = true
	}
}

// lifetime takes a freshness lifetime in. What is no delta-seconds makes an answer stale, and so do two values that
// differ (RFC 9111, 4.2.1).
func lifetime(dst *int64, value string, good bool) {
	n, ok := parseDelta(value)
	if !ok || !good || *dst != absent && *dst != n {
		n = 0
	}
	*dst = n
}

// permission takes in how long a stale answer may serve; the shorter of two.
func permission(dst *int64, value string, good bool) {
	n, ok := parseDelta(value)
	if !ok || !good {
		return
	}
	if *dst == absent || n < *dst {
		*dst = n
	}
}

// parseDelta reads a delta-seconds: digits only (RFC 9111, 1.2.2).
func parseDelta(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = min(n*10+int64(s[i]-'0'), maxDelta)
	}
	return n, true
}

// eachMember calls f with each member of a comma-separated list of directives: a token, or a token with a token or a
// quoted string as its value. good is false where a member is anything else; name is then the token that it begins
// with. A quoted string that does not end hides nothing: what stands behind its quote is read as if it were not quoted.
func eachMember(line string, f func(name, value string, hasValue, good bool)) {
	for line != "" {
		line = strings.TrimLeft(line, " \t,")
		if line == "" {
			return
		}
		n := tokenLength(line)
		name, rest := line[:n], line[n:]
		var value string
		hasValue, good := false, n > 0
		if n > 0 && strings.HasPrefix(rest, "=") {
			hasValue = true
			rest = rest[1:]
			if strings.HasPrefix(rest, `"`) {
				if text, after, ok := unquote(rest); ok {
					value, rest = text, after
				} else {
					good, rest = false, rest[1:]
				}
			} else {
				m := tokenLength(rest)
				value, rest = rest[:m], rest[m:]
				good = m > 0
			}
		}
		tail := rest
		if i := memberEnd(rest); i >= 0 {
			tail, line = rest[:i], rest[i:]
		} else {
			line = ""
		}
		if trimOWS(tail) != "" {
			good = false
		}
		if name != "" {
			f(name, value, hasValue, good)
		}
	}
}

// memberEnd is where the comma stands that ends a member, outside quotes that close; -1 if there is none.
func memberEnd(s string) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ',':
			return i
		case '"':
			if _, after, ok := unquote(s[i:]); ok {
				i = len(s) - len(after) - 1
			}
		}
	}
	return -1
}

// unquote reads the quoted string that s begins with (RFC 9110, 5.6.4).
func unquote(s string) (text, rest string, ok bool) {
	end := strings.IndexByte(s[1:], '"')
	if end < 0 {
		return "", s, false
	}
	if !strings.Contains(s[1:1+end], `\`) {
		return s[1 : 1+end], s[end+2:], true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			i++
			if i == len(s) {
				return "", s, false
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return "", s, false
}

// tokenLength is the length of the token that s begins with (RFC 9110, 5.6.2).
func tokenLength(s string) int {
	for i := range len(s) {
		if !tokenByte(s[i]) {
			return i
		}
	}
	return len(s)
}

func tokenByte(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0 && b != 0
}

func isToken(s string) bool { return s != "" && tokenLength(s) == len(s) }

func trimOWS(s string) string { return strings.Trim(s, " \t") }
