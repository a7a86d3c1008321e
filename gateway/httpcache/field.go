package httpcache

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// parseDate reads an HTTP date in any of its three forms (RFC 9110, 5.6.7), without regard to case and with GMT or UTC
// as its zone (RFC 9111, 4.2). What is not exactly of one form is none.
func parseDate(s string, now time.Time) (time.Time, bool) {
	if len(s) < 20 || len(s) > 40 {
		return time.Time{}, false
	}
	if n := len(s); strings.EqualFold(s[n-4:], " UTC") || strings.EqualFold(s[n-4:], " GMT") {
		s = s[:n-3] + "GMT"
	}
	for _, layout := range [...]string{http.TimeFormat, time.ANSIC} {
		if t, err := time.Parse(layout, s); err == nil && strings.EqualFold(t.Format(layout), s) {
			return t.UTC(), true
		}
	}
	return parseRFC850(s, now)
}

// parseRFC850 reads the form with two digits of the year: one that seems to be more than 50 years ahead is past (RFC
// 9110, 5.6.7). The weekday is not held against the date, whose century it cannot tell.
func parseRFC850(s string, now time.Time) (time.Time, bool) {
	const layout = "02-Jan-06 15:04:05 GMT"
	day, rest, ok := strings.Cut(s, ", ")
	t, err := time.Parse(layout, rest)
	if !ok || err != nil || !strings.EqualFold(t.Format(layout), rest) || !weekday(day) {
		return time.Time{}, false
	}
	t = t.AddDate(now.Year()/100*100+t.Year()%100-t.Year(), 0, 0)
	if t.After(now.AddDate(50, 0, 0)) {
		t = t.AddDate(-100, 0, 0)
	}
	return t.UTC(), true
}

func weekday(s string) bool {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if strings.EqualFold(s, d.String()) {
			return true
		}
	}
	return false
}

// dateField reads a field that holds one date. given says whether the field is there at all. Several lines that differ
// make none.
func dateField(h http.Header, key string, now time.Time) (t time.Time, given, ok bool) {
	lines := h[key]
	if len(lines) == 0 {
		return time.Time{}, false, false
	}
	for _, l := range lines[1:] {
		if l != lines[0] {
			return time.Time{}, true, false
		}
	}
	t, ok = parseDate(trimOWS(lines[0]), now)
	return t, true, ok
}

// parseAge reads an Age field: of several members the first counts, and one that is no delta-seconds counts as none
// (RFC 9111, 5.1).
func parseAge(lines []string) time.Duration {
	if len(lines) == 0 {
		return 0
	}
	first, _, _ := strings.Cut(lines[0], ",")
	n, ok := parseDelta(trimOWS(first))
	if !ok {
		return 0
	}
	return time.Duration(n) * time.Second
}

// etag is an entity tag (RFC 9110, 8.8.3), quotes included; empty if there is none.
type etag struct {
	opaque string
	weak   bool
}

// parseETag reads the entity tag that s begins with.
func parseETag(s string) (tag etag, rest string, ok bool) {
	if strings.HasPrefix(s, "W/") {
		tag.weak = true
		s = s[2:]
	}
	if s == "" || s[0] != '"' {
		return etag{}, s, false
	}
	for i := 1; i < len(s); i++ {
		switch b := s[i]; {
		case b == '"':
			tag.opaque = s[:i+1]
			return tag, s[i+1:], true
		case b != 0x21 && (b < 0x23 || b == 0x7f):
			return etag{}, s, false
		}
	}
	return etag{}, s, false
}

// etagOf returns the entity tag of an answer; the zero one if there is none, or none that is right.
func etagOf(h http.Header) etag {
	lines := h["Etag"]
	if len(lines) != 1 {
		return etag{}
	}
	tag, rest, ok := parseETag(trimOWS(lines[0]))
	if !ok || rest != "" {
		return etag{}
	}
	return tag
}

// matchStrong is the strong comparison (RFC 9110, 8.8.3.2).
func (t etag) matchStrong(o etag) bool {
	return t.opaque != "" && !t.weak && !o.weak && t.opaque == o.opaque
}

// matchWeak is the weak comparison.
func (t etag) matchWeak(o etag) bool { return t.opaque != "" && t.opaque == o.opaque }

// noneMatch reports whether an If-None-Match field's condition holds for a stored tag: that none of its tags matches.
// What is malformed ends the list.
func noneMatch(lines []string, tag etag) bool {
	for _, line := range lines {
		line = strings.TrimLeft(line, " \t,")
		if trimOWS(line) == "*" {
			return false
		}
		for line != "" {
			t, rest, ok := parseETag(line)
			if !ok {
				break
			}
			if tag.matchWeak(t) {
				return false
			}
			line = strings.TrimLeft(rest, " \t,")
		}
	}
	return true
}

// eachToken calls f with each element of a comma-separated list.
func eachToken(lines []string, f func(token string)) {
	for _, l := range lines {
		for l != "" {
			var token string
			token, l, _ = strings.Cut(l, ",")
			if token = trimOWS(token); token != "" {
				f(token)
			}
		}
	}
}

// hopByHop reports whether a field concerns one connection only and is never stored (RFC 9111, 3.1).
func hopByHop(key string) bool {
	switch key {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authentication-Info",
		"Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }
