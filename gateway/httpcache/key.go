package httpcache

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Key says what of a request, besides its host and path, tells answers apart before any Vary does. The zero Key takes the
// whole query as it stands.
type Key struct {
	// NoQuery leaves the query out.
	NoQuery bool
	// Query names the parameters that count; all others are left out. Empty: all count.
	Query []string
	// IgnoreQuery names parameters that do not count, such as those of campaigns.
	IgnoreQuery []string
	// Headers and Cookies whose values count, as if every answer varied by them.
	Headers, Cookies []string
}

// appendResource appends the part of the key that the URI decides: host, path, query. Where parameters are chosen, they
// are put in order.
func (k *Key) appendResource(b []byte, host string, u *url.URL) []byte {
	b = appendHost(b, host)
	if u.RawPath == "" {
		b = append(b, u.EscapedPath()...)
	} else {
		b = append(b, u.RawPath...)
	}
	if k.NoQuery || u.RawQuery == "" && !u.ForceQuery {
		return b
	}
	if len(k.Query) == 0 && len(k.IgnoreQuery) == 0 {
		b = append(b, '?')
		return append(b, u.RawQuery...)
	}
	var kept []string
	for query := u.RawQuery; query != ""; {
		var part string
		part, query, _ = strings.Cut(query, "&")
		name, _, _ := strings.Cut(part, "=")
		if clear, err := url.QueryUnescape(name); err == nil {
			name = clear
		}
		if part != "" && (len(k.Query) == 0 || slices.Contains(k.Query, name)) && !slices.Contains(k.IgnoreQuery, name) {
			kept = append(kept, part)
		}
	}
	if len(kept) == 0 {
		return b
	}
	slices.SortStableFunc(kept, func(a, b string) int {
		a, _, _ = strings.Cut(a, "=")
		b, _, _ = strings.Cut(b, "=")
		return strings.Compare(a, b)
	})
	b = append(b, '?')
	return append(b, strings.Join(kept, "&")...)
}

// appendHost appends a host in lower case, without the port that it would have anyway.
func appendHost(b []byte, host string) []byte {
	host = strings.TrimSuffix(host, ":80")
	for i := range len(host) {
		c := host[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		b = append(b, c)
	}
	return b
}

// appendParts appends the values of the headers and cookies that the key names. They tell variants of one resource
// apart, so that invalidating the resource reaches all.
func (k *Key) appendParts(b []byte, h http.Header) []byte {
	for _, name := range k.Headers {
		b = appendValue(b, normalised(name, h[name]))
	}
	for _, name := range k.Cookies {
		b = appendValue(b, cookieValue(h["Cookie"], name))
	}
	return b
}

// appendValue appends a value such that no two lists of values come out the same.
func appendValue(b []byte, value string) []byte {
	b = append(b, itoa(int64(len(value)))...)
	b = append(b, ':')
	return append(b, value...)
}

// cookieValue returns the value of a cookie, with a mark that tells an empty one from none.
func cookieValue(lines []string, name string) string {
	for _, line := range lines {
		for line != "" {
			var part string
			part, line, _ = strings.Cut(line, ";")
			if k, v, ok := strings.Cut(strings.TrimSpace(part), "="); ok && k == name {
				return "=" + v
			}
		}
	}
	return ""
}

// maxVary is how many fields an answer may vary by and still be stored.
const maxVary = 16

// varyNames returns the fields that an answer varies by, canonical, sorted, each once; ok is false where they include
// '*' or what is no field's name: no request matches then (RFC 9111, 4.1).
func varyNames(lines []string) (names []string, ok bool) {
	ok = true
	eachToken(lines, func(token string) {
		if token == "*" || !isToken(token) {
			ok = false
			return
		}
		names = append(names, http.CanonicalHeaderKey(token))
	})
	slices.Sort(names)
	return slices.Compact(names), ok
}

// normalised returns a request field's lines as one value in a form that is the same for values that mean the same, as
// far as RFC 9111 (4.1) allows: lines joined, white space around commas removed; for codings and languages, whose order
// has no meaning, also in lower case and in order.
func normalised(name string, lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	if len(lines) == 1 && !strings.ContainsAny(lines[0], ",; \t") && name != "Accept-Encoding" && name != "Accept-Language" {
		return "=" + lines[0]
	}
	var members []string
	for _, l := range lines {
		members = append(members, splitList(l)...)
	}
	if name == "Accept-Encoding" || name == "Accept-Language" {
		for i, m := range members {
			members[i] = strings.ToLower(strings.NewReplacer(" ", "", "\t", "").Replace(m))
		}
		slices.Sort(members)
	}
	return "=" + strings.Join(members, ",")
}

// splitList splits at the commas outside quoted strings, and drops white space and empty members.
func splitList(s string) []string {
	var out []string
	for {
		end := memberEnd(s)
		part := s
		if end >= 0 {
			part = s[:end]
		}
		if part = trimOWS(part); part != "" {
			out = append(out, part)
		}
		if end < 0 {
			return out
		}
		s = s[end+1:]
	}
}

// varyValues returns the request's values of the fields that an answer varies by.
func varyValues(names []string, h http.Header) []string {
	if len(names) == 0 {
		return nil
	}
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = normalised(name, h[name])
	}
	return out
}
