package httpcache

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxRanges is how many parts one request may ask for; who asks for more gets the whole (RFC 9110, 17.15).
const maxRanges = 16

// span is a part of a body: from, inclusive, to, exclusive.
type span struct{ from, to int64 }

// parseRange reads a Range field for a body of a size (RFC 9110, 14.1.2). ok is false where it is to be ignored: another
// unit, malformed, or more parts than are served. No spans: none can be satisfied.
func parseRange(s string, size int64) (spans []span, ok bool) {
	unit, set, found := strings.Cut(s, "=")
	if !found || !strings.EqualFold(unit, "bytes") {
		return nil, false
	}
	n := 0
	for _, part := range strings.Split(set, ",") {
		part = trimOWS(part)
		if part == "" {
			continue
		}
		if n++; n > maxRanges {
			return nil, false
		}
		first, last, dash := strings.Cut(part, "-")
		if !dash {
			return nil, false
		}
		if first == "" {
			length, ok := parsePosition(last)
			if !ok {
				return nil, false
			}
			if length > 0 && size > 0 {
				spans = append(spans, span{max(0, size-length), size})
			}
			continue
		}
		from, ok := parsePosition(first)
		if !ok {
			return nil, false
		}
		to := size
		if last != "" {
			if to, ok = parsePosition(last); !ok || to < from {
				return nil, false
			}
			to = min(to+1, size)
		}
		if from < size {
			spans = append(spans, span{from, to})
		}
	}
	return merged(spans), n > 0
}

func parsePosition(s string) (int64, bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	for i := range len(s) {
		if !digit(s[i]) {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// merged joins parts that overlap or touch, so that none is sent twice.
func merged(spans []span) []span {
	if len(spans) < 2 {
		return spans
	}
	sorted := slices.Clone(spans)
	slices.SortFunc(sorted, func(a, b span) int { return int(min(max(a.from-b.from, -1), 1)) })
	out := sorted[:1]
	for _, s := range sorted[1:] {
		if last := &out[len(out)-1]; s.from <= last.to {
			last.to = max(last.to, s.to)
		} else {
			out = append(out, s)
		}
	}
	if len(out) == len(spans) {
		return spans // nothing to join: in the order that was asked for
	}
	return out
}

// partsOf returns the parts of a stored answer that a request asks for; nil: it gets the whole. An empty list: none can be
// satisfied.
func partsOf(req http.Header, o *object, now time.Time) []span {
	if len(req["Range"]) != 1 || !ifRange(req, o, now) {
		return nil
	}
	spans, ok := parseRange(trimOWS(req["Range"][0]), int64(len(o.body)))
	if !ok {
		return nil
	}
	if spans == nil {
		return []span{}
	}
	return spans
}

// ifRange reports whether a Range counts: its If-Range names exactly what is stored (RFC 9110, 13.1.5).
func ifRange(req http.Header, o *object, now time.Time) bool {
	lines := req["If-Range"]
	if len(lines) == 0 {
		return true
	}
	if len(lines) > 1 {
		return false
	}
	v := trimOWS(lines[0])
	if tag, rest, ok := parseETag(v); ok && rest == "" {
		return tag.matchStrong(o.tag)
	}
	want, ok := parseDate(v, now)
	modified, _, dated := dateField(o.header, "Last-Modified", now)
	date, _, received := dateField(o.header, "Date", now)
	// A date is a strong validator if the answer was made a second after it or more (RFC 9110, 8.8.2.2).
	return ok && dated && received && want.Equal(modified) && date.Sub(modified) >= time.Second
}

// completeLength reads the whole's length from a Content-Range.
func completeLength(lines []string) (int64, bool) {
	if len(lines) != 1 {
		return 0, false
	}
	_, size, ok := strings.Cut(lines[0], "/")
	if !ok {
		return 0, false
	}
	return parsePosition(size)
}

func (s span) contentRange(size int) string {
	return "bytes " + itoa(s.from) + "-" + itoa(s.to-1) + "/" + strconv.Itoa(size)
}

// deliverParts answers with parts of a stored object (RFC 9110, 15.3.7).
func (x *exchange) deliverParts(o *object, spans []span, age []string, s hitStatus) Result {
	h := x.w.Header()
	for key, values := range o.header {
		h[key] = values
	}
	h["Age"] = age
	x.z.cache.sign(h, s.write())
	bare(h)
	size := len(o.body)
	var body []byte
	status := http.StatusPartialContent
	switch len(spans) {
	case 0:
		status = http.StatusRequestedRangeNotSatisfiable
		h["Content-Range"] = []string{"bytes */" + strconv.Itoa(size)}
		for _, key := range [...]string{"Content-Type", "Content-Encoding", "Etag", "Last-Modified"} {
			delete(h, key)
		}
		bare(h)
	case 1:
		h["Content-Range"] = []string{spans[0].contentRange(size)}
		body = o.body[spans[0].from:spans[0].to]
	default:
		var mark [15]byte
		_, _ = rand.Read(mark[:]) // never fails
		boundary := hex.EncodeToString(mark[:])
		for _, part := range spans {
			body = append(body, "\r\n--"+boundary+"\r\n"...)
			if ct := o.header["Content-Type"]; len(ct) == 1 {
				body = append(body, "Content-Type: "+ct[0]+"\r\n"...)
			}
			body = append(body, "Content-Range: "+part.contentRange(size)+"\r\n\r\n"...)
			body = append(body, o.body[part.from:part.to]...)
		}
		body = append(body, "\r\n--"+boundary+"--\r\n"...)
		h["Content-Type"] = []string{"multipart/byteranges; boundary=" + boundary}
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	x.w.WriteHeader(status)
	n, err := x.w.Write(body)
	x.z.served.Add(int64(n))
	if err != nil {
		return Result{Status: status, Err: ErrClient}
	}
	return Result{Status: status}
}
