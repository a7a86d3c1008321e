package httpcache

import (
	"net/http"
)

// heuristicStatus reports whether answers of a status may be stored, and a lifetime be guessed, without their saying so
// (RFC 9110, 15.1). 206 is left out: parts are not stored.
func heuristicStatus(status int) bool {
	switch status {
	case 200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// understood reports whether a status' meaning for caching is known here (RFC 9111, 3). Unknown ones of a class are
// treated as its x00, but for must-understand they do not count.
func understood(status int) bool {
	if heuristicStatus(status) {
		return true
	}
	switch status {
	case 201, 202, 302, 303, 307, 400, 401, 402, 403, 406, 407, 408, 409, 411, 413, 415, 417, 421, 422, 426, 429, 431, 451,
		500, 502, 503, 504, 505, 511:
		return true
	}
	return false
}

// whyNot is the reason for which an answer is not stored; empty: it is.
type whyNot string

const (
	stored          whyNot = ""
	notMethod       whyNot = "method"
	notStatus       whyNot = "status"
	notAllowed      whyNot = "no-store"
	notAsked        whyNot = "request-no-store"
	notPrivate      whyNot = "private"
	notAuthorized   whyNot = "authorization"
	notCookie       whyNot = "set-cookie"
	notVary         whyNot = "vary"
	notLong         whyNot = "no-lifetime"
	notSmall        whyNot = "too-large"
	notWhole        whyNot = "incomplete"
	notStream       whyNot = "stream"
	notTrailers     whyNot = "trailers"
	notInvalidated  whyNot = "invalidated"
	notSameVariants whyNot = "variants"
)

// storable says whether the answer to a GET may be stored (RFC 9111, 3).
//
// An answer with Set-Cookie is stored only if it says of itself that it is for all, by public, s-maxage or a targeted
// field, or limits no-cache or private to that field: RFC 9111 (7.3) leaves it to the server to say private, and too many
// servers do not.
func (r *Rules) storable(req *directives, authorized bool, status int, h http.Header, f *freshness) whyNot {
	d, isTargeted := responseDirectives(h)
	switch {
	case status < 200 || status == http.StatusPartialContent || status == http.StatusNotModified || status > 599:
		return notStatus
	case d.mustUnderstand && !understood(status):
		return notStatus
	case d.noStore && !d.mustUnderstand:
		return notAllowed
	case req.noStore:
		return notAsked
	case d.private:
		return notPrivate
	case authorized && !d.public && !d.mustRevalidate && d.sMaxAge == absent:
		return notAuthorized // RFC 9111, 3.5
	case len(h["Set-Cookie"]) > 0 && !d.public && d.sMaxAge == absent && !isTargeted && !named(d, "Set-Cookie"):
		return notCookie
	case len(h["Trailer"]) > 0:
		return notTrailers
	}
	if names, ok := varyNames(h["Vary"]); !ok || len(names) > maxVary {
		return notVary
	}
	_, explicit := explicitLifetime(h, d, isTargeted, f.date, f.received)
	if !explicit && !d.public && !heuristicStatus(status) {
		return notStatus
	}
	if (f.lifetime <= 0 || f.noCache) && !validates(h) && f.swr <= 0 && f.sie <= 0 {
		return notLong // it could never be used
	}
	return stored
}

// named reports whether no-cache or private is limited to fields of which this is one.
func named(d directives, key string) bool {
	for _, list := range [2][]string{d.noCacheFields, d.privateFields} {
		for _, k := range list {
			if k == key {
				return true
			}
		}
	}
	return false
}

// validates reports whether an answer has a validator.
func validates(h http.Header) bool {
	return etagOf(h).opaque != "" || len(h["Last-Modified"]) == 1
}

// storedHeader returns the fields of an answer that are stored (RFC 9111, 3.1), without those that no-cache and private
// name: they are never served from the store, so that nothing needs to ask before (5.2.2.4, 5.2.2.7).
func storedHeader(h http.Header, drop []string) http.Header {
	out := make(http.Header, len(h)+1)
	for key, values := range h {
		if !hopByHop(key) && key != "Age" && len(values) > 0 {
			out[key] = values[:len(values):len(values)] // whoever appends gets a copy
		}
	}
	eachToken(h["Connection"], func(token string) { delete(out, http.CanonicalHeaderKey(token)) })
	for _, key := range drop {
		delete(out, key)
	}
	d, _ := responseDirectives(h)
	for _, list := range [2][]string{d.noCacheFields, d.privateFields} {
		for _, key := range list {
			delete(out, key)
		}
	}
	return out
}
