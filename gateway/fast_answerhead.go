//go:build linux && (amd64 || arm64)

package gateway

import (
	"fmt"
	"net/http"
	"strconv"

	h1 "github.com/banyanhq/banyan/gateway/http1"
)

// statusLines are what an answer begins with, for HTTP/1.1.
var statusLines = func() (lines [1000]string) {
	for code := range lines {
		phrase := http.StatusText(code)
		if phrase == "" {
			phrase = fmt.Sprintf("status code %d", code)
		}
		lines[code] = fmt.Sprintf("HTTP/1.1 %03d %s\r\n", code, phrase)
	}
	return lines
}()

func (x *exchange) appendStatus(b []byte, code int) []byte {
	at := len(b)
	b = append(b, statusLines[code]...)
	if x.minor == 0 {
		b[at+len("HTTP/1.")] = '0'
	}
	return b
}

// hop reports whether a field concerns one connection only: hopByHop for what the parser has recognised.
func hop(k h1.Known) bool {
	switch k {
	case h1.Connection, h1.KeepAlive, h1.TE, h1.Trailer, h1.TransferEncoding, h1.Upgrade:
		return true
	}
	return false
}

// appendFields appends the fields of an answer that concern the client, but for its framing.
func (x *exchange) appendFields(b []byte, res *h1.Response) (out []byte, id, date bool) {
	for i := range res.Fields {
		f := &res.Fields[i]
		switch {
		case hop(f.Known), f.Known == h1.ContentLength, res.Nominates && res.Nominated(f.Name):
			continue
		case f.Known == h1.RequestID:
			id = true
		case f.Known == h1.Date:
			date = true
		case f.Known == h1.ContentType && res.Status == http.StatusNotModified:
			continue // as the full tier's server does
		}
		b = appendAsIs(b, f)
	}
	return b, id, date
}

// writeTop writes the head for the client into b, up to what depends on how the body goes out.
func (x *exchange) writeTop(res *h1.Response, b []byte) {
	b = x.appendStatus(b, res.Status)
	b, id, date := x.appendFields(b, res)
	if !id {
		b = append(append(append(b, "X-Request-Id: "...), x.requestID...), "\r\n"...)
	}
	if x.target.sticky != nil {
		if cookie := x.bindingCookie(x); cookie != "" {
			b = append(append(append(b, "Set-Cookie: "...), cookie...), "\r\n"...)
		}
	}
	if !date {
		b = append(x.w.appendDate(append(b, "Date: "...)), "\r\n"...)
	}
	if x.declared = res.HasField(h1.Trailer) && res.Chunked; x.declared {
		for i := range res.Fields {
			if res.Fields[i].Known == h1.Trailer {
				b = appendAsIs(b, &res.Fields[i])
			}
		}
	}
	x.top = b
}

// finishHead completes the head: from here on the answer is the client's.
func (x *exchange) finishHead(done bool) []byte {
	x.headPassed()
	x.headOut = true
	b := x.top
	if len(b) > 0 && cap(x.w.scratch) > 0 && &b[:1][0] != &x.w.scratch[:1][0] {
		b = append(x.w.scratch[:0], b...)
		x.w.free(x.top)
	}
	x.top = nil
	bodyless := x.method == http.MethodHead || x.status == http.StatusNoContent || x.status == http.StatusNotModified
	ends := true // the end of the body can be seen from its framing
	switch {
	case x.length >= 0:
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), x.length, 10), "\r\n"...)
	case bodyless:
	case x.minor > 0:
		x.chunked = true
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	default:
		ends = false
	}
	return x.appendPersistence(b, ends)
}

// appendPersistence ends a head with what becomes of the connection. ends says that the end of the body can be seen.
func (x *exchange) appendPersistence(b []byte, ends bool) []byte {
	last := x.c.last || !x.keep || !ends || x.c.door.ending(x.w)
	x.c.last = last
	switch {
	case last && x.minor > 0:
		b = append(b, "Connection: close\r\n"...)
	case !last && x.minor == 0:
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	return append(b, "\r\n"...)
}

// isEvents and isDocument are endless and document of the full tier.
func isEvents(res *h1.Response) bool { return contentTypeIs(res, "text/event-stream") }

func isDocument(res *h1.Response) bool {
	return contentTypeIs(res, "text/html") || contentTypeIs(res, "application/json")
}

func contentTypeIs(res *h1.Response, prefix string) bool {
	if !res.HasField(h1.ContentType) {
		return false
	}
	value := only(&res.Head, h1.ContentType)
	return len(value) >= len(prefix) && string(value[:len(prefix)]) == prefix
}
