//go:build linux && (amd64 || arm64)

package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	h1 "github.com/banyanhq/banyan/gateway/http1"
	"github.com/banyanhq/banyan/policy"
)

// reply is what is known of a backend's answer so far.
type reply struct {
	status   int
	begun    bool // something of it has come
	headed   bool // its head has come
	framing  framing
	rest     int64 // of a body whose length is known
	length   int64 // that the client is told; -1: not known
	chunks   h1.Chunks
	trailer  h1.Head
	declared bool // trailers are announced
	reuse    bool // the connection can carry another request afterwards
	infos    int  // informational answers of all tries

	top     []byte // the head for the client, as far as it can be written; in a buffer of the worker's
	held    []byte // what of the body is held back; the same
	headOut bool   // the head is on its way to the client
	chunked bool   // the body goes out in chunks
	graced  bool   // the client has been given its last moment
}

// framing is how the end of a body is known.
type framing uint8

const (
	byLength framing = iota
	byChunks
	byClose
)

// reset forgets what a try has brought.
func (a *reply) reset() {
	*a = reply{infos: a.infos, trailer: h1.Head{Fields: a.trailer.Fields[:0]}}
}

func (x *exchange) dropHeld() {
	x.w.free(x.top)
	x.w.free(x.held)
	x.top, x.held = nil, nil
}

// receive reads what has come of the answer.
func (x *exchange) receive() {
	for x.conn != nil && x.conn.conn.Readable {
		if x.state == passing && len(x.c.out) > 0 {
			return // until the client has taken what there is
		}
		u := x.conn
		buf := x.w.fromBackend
		kept := copy(buf, u.in)
		n, end, err := u.conn.Read(buf[kept:][:readSize])
		switch {
		case err != 0:
			x.connBroken(err)
			return
		case end:
			x.backendEnded()
			return
		case n == 0:
			return
		}
		if !x.take(buf[:kept+n]) {
			return
		}
	}
}

// backendEnded is called when the backend sends no more.
func (x *exchange) backendEnded() {
	if x.headed && x.framing == byClose {
		x.pass(nil, true)
		return
	}
	x.connBroken(io.EOF)
}

// take looks at b, which is all that has come and was not used. It returns false where the exchange is over, or
// on another try.
func (x *exchange) take(b []byte) bool {
	u := x.conn
	for !x.headed {
		if len(u.in) > 0 && !h1.Whole(b, u.seen) {
			return x.keepPart(b)
		}
		res := &x.w.response
		n, err := res.Parse(b)
		switch {
		case err != nil, n > maxHeader:
			return x.malformed()
		case n == 0:
			return x.keepPart(b)
		}
		x.begun = true
		if res.Status >= 200 {
			x.w.free(u.in)
			u.in = nil
			return x.takeHead(b[n:])
		}
		if res.Status == http.StatusSwitchingProtocols {
			x.failed(fault{kind: protocolError, detail: "the backend went over to another protocol unasked"}, true)
			return false
		}
		if x.infos++; x.infos > maxInformational {
			return x.malformed()
		}
		if !x.inform(res) {
			return false
		}
		x.w.free(u.in)
		u.in = nil
		if b = b[n:]; len(b) == 0 {
			return true
		}
	}
	return x.takeBody(b)
}

// keepPart stores what has come of a head or between chunks; b starts with what is stored.
func (x *exchange) keepPart(b []byte) bool {
	u := x.conn
	if len(b) > maxHeader {
		return x.malformed()
	}
	u.seen = len(b)
	if u.in == nil {
		u.in = x.w.buffer()
	}
	u.in = append(u.in[:0], b...)
	return true
}

// malformed ends the try with an answer that is no HTTP.
func (x *exchange) malformed() bool {
	f := fault{kind: protocolError, detail: "the backend's answer is not valid HTTP"}
	x.dropConn()
	if x.state == passing {
		x.incomplete(f)
	} else {
		x.failed(f, true)
	}
	return false
}

// inform passes an informational answer on (RFC 9110, 15.2).
func (x *exchange) inform(res *h1.Response) bool {
	if res.Status == http.StatusContinue || x.minor == 0 {
		return true
	}
	b := x.appendStatus(x.w.scratch[:0], res.Status)
	b, _, _ = x.appendFields(b, res)
	b = append(b, "\r\n"...)
	x.w.scratch = b[:0]
	return x.c.write(b, nil, nil)
}

// takeHead goes on with an answer whose head has come; rest is what came with it.
func (x *exchange) takeHead(rest []byte) bool {
	res := &x.w.response
	x.headed, x.status, x.length = true, res.Status, -1
	x.outcome = policy.OutcomeOf(res.Status)
	bodyless := x.method == http.MethodHead || res.Status == http.StatusNoContent || res.Status == http.StatusNotModified
	switch {
	case bodyless:
		x.framing, x.rest = byLength, 0
		if x.method == http.MethodHead && res.Status != http.StatusNoContent && res.Status != http.StatusNotModified {
			x.length = res.Length
		}
	case res.Chunked:
		x.framing = byChunks
	case res.Length >= 0:
		x.framing, x.rest, x.length = byLength, res.Length, res.Length
	default:
		x.framing = byClose
	}
	x.reuse = (res.Minor > 0 && !res.Close || res.Minor == 0 && res.KeepAlive && !res.Close) && x.framing != byClose
	if x.outcome == policy.Failure {
		if pause, again := x.decide(policy.Try{Sent: true, Status: res.Status, Replayable: true}); again {
			x.reuse = x.reuse && x.framing == byLength && int64(len(rest)) == x.rest
			x.releaseConn()
			x.target.lane.pool.Report(x.grant, x.g.now(), x.outcome)
			x.finish(x.began, x.outcome)
			x.pause(pause)
			return false
		}
	}
	return x.relay(res, rest)
}

// relay decides how the answer is passed on.
func (x *exchange) relay(res *h1.Response, rest []byte) bool {
	if x.framing == byLength && x.rest <= int64(len(rest)) && (x.rest <= holdSize || !isEvents(res)) {
		// The usual: it has all come at once.
		x.writeTop(res, x.w.scratch[:0])
		x.reuse = x.reuse && x.rest == int64(len(rest))
		rest = rest[:x.rest]
		x.rest = 0
		x.write(rest, true)
		return false
	}
	x.writeTop(res, x.w.buffer())
	switch {
	case isEvents(res):
		x.state = passing
		x.endless()
		x.w.loop.Unset(&x.total)
		x.w.streams[x] = struct{}{}
		if !x.write(nil, false) {
			return false
		}
		if x.g.streams.Err() != nil {
			x.broken(fault{kind: responseIncomplete, detail: "the gateway is stopping"}, errStopping)
			return false
		}
	case x.length > holdSize:
		x.state = passing
	default:
		x.state = holding
		x.held = x.w.buffer()
		if x.length < 0 {
			hold := holdTime
			if x.idempotent && isDocument(res) {
				hold = x.g.holdDocument
			}
			x.w.loop.Set(&x.step, hold)
		}
	}
	if len(rest) == 0 && x.length != 0 {
		if x.length > holdSize {
			return x.write(nil, false) // the head is not to wait
		}
		return true
	}
	return x.takeBody(rest)
}

// takeBody goes on with more of the body. b is all that has come and was not used.
func (x *exchange) takeBody(b []byte) bool {
	var data []byte
	done := false
	switch x.framing {
	case byLength:
		data = b[:min(x.rest, int64(len(b)))]
		if x.rest -= int64(len(data)); x.rest == 0 {
			done = true
			x.reuse = x.reuse && len(data) == len(b)
		}
	case byClose:
		data = b
	case byChunks:
		data = b[:0] // the data moves together, over what stood between
		for {
			n, piece, err := x.chunks.Next(b, &x.trailer)
			if err != nil {
				return x.malformed()
			}
			data = append(data, piece...)
			b = b[n:]
			if x.chunks.Done() {
				done = true
				x.reuse = x.reuse && len(b) == 0
				break
			}
			if n == 0 {
				break
			}
		}
		x.w.free(x.conn.in)
		x.conn.in = nil
		if !done && len(b) > 0 && !x.keepPart(b) {
			return false
		}
	}
	return x.pass(data, done)
}

// pass takes data in, and passes it on as far as it is not held back. It returns false where the exchange is over.
func (x *exchange) pass(data []byte, done bool) bool {
	if x.state == holding {
		switch {
		case done && len(x.held)+len(data) <= holdSize:
			x.held = append(x.held, data...)
			if !x.declared && len(x.trailer.Fields) == 0 {
				x.length = int64(len(x.held))
			}
			x.write(nil, true)
			return false
		case len(x.held)+len(data) < holdSize:
			x.held = append(x.held, data...)
			return true
		}
		if !x.passHeld() {
			return false
		}
	}
	if len(data) == 0 && !done {
		return true
	}
	return x.write(data, done)
}

// passHeld sends the head and what was held back: from here on the answer is the client's.
func (x *exchange) passHeld() bool {
	x.w.loop.Unset(&x.step)
	x.state = passing
	return x.write(nil, false)
}

// write sends what is held back and data to the client, the head before it if that is still to be sent, and the end if
// it is done. It returns false where the exchange is over.
func (x *exchange) write(data []byte, done bool) bool {
	c, w := x.c, x.w
	if len(x.held) > 0 && len(data) > 0 {
		x.held = append(x.held, data...)
		data = nil
	}
	held := x.held
	x.held = nil
	if len(held) > 0 {
		data = held
	}
	b := w.scratch[:0]
	if !x.headOut {
		b = x.finishHead(done)
	}
	x.bytes += int64(len(data))
	var tail []byte
	if x.chunked {
		b, tail = x.frame(b, w.tail[:0], len(data), done)
		w.tail = tail[:0]
	}
	w.scratch = b[:0]
	if !done {
		ok := c.write(b, data, tail)
		w.free(held)
		if ok && len(c.out) > 0 && x.headAt != 0 {
			w.loop.Set(&x.step, x.timeout()+writeGrace)
		}
		return ok && c.x == x
	}
	left := x.left()
	if x.headAt != 0 {
		left = x.timeout()
	}
	x.releaseConn()
	x.finish(x.began, x.outcome)
	x.end(x.status, fault{})
	if c.write(b, data, tail) && len(c.out) > 0 {
		w.loop.Set(&c.timer, max(left, 0)+writeGrace)
	}
	w.free(held)
	c.done()
	return false
}

// frame puts data of a chunked body into a chunk: what goes before it is appended to b, what goes behind it to tail.
func (x *exchange) frame(b, tail []byte, n int, done bool) ([]byte, []byte) {
	if n > 0 {
		b = append(strconv.AppendInt(b, int64(n), 16), "\r\n"...)
		tail = append(tail, "\r\n"...)
	}
	if !done {
		return b, tail
	}
	tail = append(tail, "0\r\n"...)
	if x.framing == byChunks {
		for i := range x.trailer.Fields {
			if f := &x.trailer.Fields[i]; !hop(f.Known) {
				tail = appendAsIs(tail, f)
			}
		}
	}
	return b, append(tail, "\r\n"...)
}

// unblocked is called when the client has taken all that was sent.
func (x *exchange) unblocked() {
	if x.headAt != 0 {
		x.w.loop.Unset(&x.step)
	}
	if x.conn != nil && x.conn.conn.Readable {
		x.receive()
	}
}

// releaseConn lets go of the connection to the backend, for others to use if it can be used again.
func (x *exchange) releaseConn() {
	u := x.conn
	if u == nil {
		return
	}
	x.conn = nil
	if x.reuse && x.sent == len(x.req) && u.in == nil {
		u.pool.put(u)
	} else {
		u.close()
	}
}

// incomplete ends an answer that broke off after its head was passed on.
func (x *exchange) incomplete(f fault) {
	f.detail = "the answer broke off: " + f.detail
	f.kind = responseIncomplete
	x.broken(f, nil)
}

// broken ends an answer of which not all is passed on; the client must not take it for whole. It is the backend's fault
// unless the gateway is stopping.
func (x *exchange) broken(f fault, cause error) {
	if !errors.Is(cause, errStopping) {
		x.outcome = policy.Failure
		x.target.lane.pool.Report(x.grant, x.g.now(), x.outcome)
	}
	x.dropConn()
	x.finish(x.began, x.outcome)
	c := x.c
	x.end(x.status, f)
	c.close()
}

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

// nominated reports whether the head's Connection names a field.
func nominated(h *h1.Head, name []byte) (yes bool) {
	for i := range h.Fields {
		if h.Fields[i].Known == h1.Connection {
			h1.Tokens(h.Fields[i].Value, func(token []byte) bool {
				yes = len(token) == len(name) && equalFold(token, str(name))
				return !yes
			})
			if yes {
				return true
			}
		}
	}
	return false
}

// appendFields appends the fields of an answer that concern the client, but for its framing.
func (x *exchange) appendFields(b []byte, res *h1.Response) (out []byte, id, date bool) {
	for i := range res.Fields {
		f := &res.Fields[i]
		switch {
		case hop(f.Known), f.Known == h1.ContentLength, res.Nominates && nominated(&res.Head, f.Name):
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
	x.target.lane.pool.Report(x.grant, x.g.now(), x.outcome)
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
