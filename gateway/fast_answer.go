//go:build linux && (amd64 || arm64)

package gateway

import (
	"io"
	"net/http"

	h1 "github.com/banyanhq/banyan/gateway/http1"
	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/reactor"
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
		if x.movable() {
			if !x.move() {
				return
			}
			continue
		}
		u := x.conn
		buf := x.w.fromBackend
		kept := copy(buf, u.in)
		size := readSize
		if !x.headed {
			size = firstRead
		}
		n, end, err := u.conn.Read(buf[kept:][:size])
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
		if x.state == passing {
			x.prove()
		}
		if !x.take(buf[:kept+n]) {
			return
		}
	}
}

const (
	// firstRead is what is read of an answer before it is known how long it is: what is left of a large one is not copied.
	firstRead = 16 << 10
	// moveFrom is from how much of a body on it is moved inside the kernel, which costs more for each piece and nothing for
	// each byte.
	moveFrom = 16 << 10
)

// movable reports whether what comes next of the answer can go to the client as it is, unseen.
func (x *exchange) movable() bool {
	return x.state == passing && x.framing == byLength && x.rest >= moveFrom && x.headOut && x.headAt == 0 && x.w.pipe != nil
}

// move has the kernel move what has come of the body to the client. It returns false where the exchange is over.
func (x *exchange) move() bool {
	c := x.c
	m := x.w.pipe.Move(&c.conn, &x.conn.conn, int(min(x.rest, reactor.MaxMove)), c.out)
	x.rest -= int64(m.N)
	x.bytes += int64(m.N)
	switch {
	case m.Write != 0:
		c.gone(m.Write)
		return false
	case m.Read != 0:
		x.connBroken(m.Read)
		return false
	case m.End:
		x.backendEnded()
		return false
	}
	c.out = m.Left
	if m.N > 0 {
		x.prove()
	}
	if x.rest > 0 {
		return true
	}
	// Unlike a read, what was moved does not tell whether more is there, which must not be where the next answer begins.
	if u := x.conn; x.reuse && !u.conn.Peek() {
		u.conn.Readable = false
	} else {
		x.reuse = false
	}
	x.write(nil, true)
	return false
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
	if x.target.tryTimeout > 0 { // from the head on, the time-out of the call counts
		x.w.loop.Unset(&x.step)
	}
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
			x.finish(x.outcome)
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
		x.w.loop.Set(&x.total, x.unproven()) // when it is over, the stream goes well
		x.w.streams[x] = struct{}{}
		if !x.write(nil, false) {
			return false
		}
		if x.g.streams.Err() != nil {
			x.broken(stopping)
			return false
		}
	case x.length > holdSize:
		x.state = passing
	default:
		x.state = holding
		x.held = x.w.buffer()
		if x.length < 0 {
			hold := x.g.holdTime
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
