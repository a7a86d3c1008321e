package httpcache

import (
	"net/http"
	"time"
)

// conditions are the fields that make a request conditional or partial (RFC 9110, 13.1 and 14.2).
var conditions = [...]string{"If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "If-Range", "Range"}

// unconditional removes them.
func unconditional(h http.Header) {
	for _, key := range conditions {
		delete(h, key)
	}
}

// condition adds the stored answers' validators to a request (RFC 9111, 4.3.1): all entity tags, and the date of the
// first, which is the one that would be used.
func condition(h http.Header, candidates []*object) {
	var tags string
	for _, o := range candidates {
		if o.tag.opaque == "" {
			continue
		}
		if tags != "" {
			tags += ", "
		}
		if o.tag.weak {
			tags += "W/"
		}
		tags += o.tag.opaque
	}
	if tags != "" {
		h["If-None-Match"] = []string{tags}
	}
	if modified := candidates[0].header["Last-Modified"]; len(modified) == 1 {
		h["If-Modified-Since"] = modified
	}
}

// confirmed returns the stored answer that a 304 is about (RFC 9111, 4.3.4): of those that were asked about, the one
// that has its strong validator; else the most recent with its weak one; else, where it has none, the only one that was
// asked about. nil: none.
func confirmed(candidates []*object, h http.Header) *object {
	tag := etagOf(h)
	if tag.opaque != "" {
		for _, o := range candidates {
			if o.tag.matchStrong(tag) {
				return o
			}
		}
		if tag.weak {
			for _, o := range candidates {
				if o.tag.matchWeak(tag) {
					return o
				}
			}
		}
		return nil
	}
	if modified := h["Last-Modified"]; len(modified) == 1 {
		for _, o := range candidates {
			if m := o.header["Last-Modified"]; len(m) == 1 && m[0] == modified[0] {
				return o
			}
		}
		if len(candidates) > 1 {
			return nil
		}
	}
	if len(candidates) == 1 {
		return candidates[0]
	}
	return nil
}

// freshened returns stored fields updated by those of a 304 or a HEAD's answer (RFC 9111, 3.2): each that it has
// replaces the stored one, but for those that describe the stored body.
func freshened(old, update http.Header, drop []string) http.Header {
	out := old.Clone()
	for key, values := range storedHeader(update, drop) {
		switch key {
		case "Content-Length", "Content-Encoding", "Content-Type", "Content-Range", "Cache-Status":
			continue
		}
		out[key] = values
	}
	// What the update says must not be kept goes, if it was kept.
	d, _ := responseDirectives(update)
	for _, list := range [2][]string{d.noCacheFields, d.privateFields} {
		for _, key := range list {
			delete(out, key)
		}
	}
	return out
}

// headConfirms reports whether a HEAD's answer is about the stored one (RFC 9111, 4.3.5): the same validators and the
// same length, as far as it gives them.
func headConfirms(o *object, h http.Header) bool {
	if len(h["Etag"]) > 0 {
		tag := etagOf(h)
		if !tag.matchWeak(o.tag) || tag.weak != o.tag.weak {
			return false
		}
	}
	if m := h["Last-Modified"]; len(m) > 0 {
		if mine := o.header["Last-Modified"]; len(mine) == 0 || mine[0] != m[0] {
			return false
		}
	}
	if n := h["Content-Length"]; len(n) > 0 && n[0] != itoa(int64(len(o.body))) {
		return false
	}
	return true
}

// notModified reports whether a client that asks with conditions has what is stored already (RFC 9111, 4.3.2;
// RFC 9110, 13.2.2). If-Match and If-Unmodified-Since are not for caches.
func notModified(req, h http.Header, tag etag, now time.Time) bool {
	if lines := req["If-None-Match"]; len(lines) > 0 {
		return !noneMatch(lines, tag)
	}
	since, given, ok := dateField(req, "If-Modified-Since", now)
	if !given || !ok {
		return false
	}
	modified, _, ok := dateField(h, "Last-Modified", now)
	if !ok {
		if modified, _, ok = dateField(h, "Date", now); !ok {
			return false
		}
	}
	return !modified.After(since)
}
