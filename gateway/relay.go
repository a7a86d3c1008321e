package gateway

import (
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/banyanhq/banyan/policy"
)

const (
	// holdSize is how much of an answer is read before its head is passed on: as long as nothing was, a backend's death
	// can be made good by another.
	holdSize = 32 << 10
	// writeBuffer is the buffer of net/http's servers, of both versions of HTTP. A piece of twice its size leaves nothing of
	// itself in there, since what does not fit goes past it.
	writeBuffer = 4 << 10
	// holdTime is how long an answer of unknown length may be held back until it is complete; holdDocument the same for
	// a document, which is of little use before it is whole, where another backend could make good for this one.
	holdTime     = 10 * time.Millisecond
	holdDocument = 100 * time.Millisecond
	// discardSize is how much of an unwanted answer is read so that its connection can be used again.
	discardSize = 16 << 10
	discardTime = 10 * time.Millisecond
	// writeGrace is added to the time in which a client must receive what is written.
	writeGrace = time.Second
)

var buffers = sync.Pool{New: func() any { return new([holdSize]byte) }}

// discard gives an answer up, and returns what it says about its backend: one that is not seen whole does not say that it did
// well. What is left of it is read only for as long as it comes quickly: the next try must not wait for it.
func discard(res *http.Response) policy.Outcome {
	late := time.AfterFunc(discardTime, func() { _ = res.Body.Close() }) // ends the reading too
	defer late.Stop()
	_, err := io.CopyN(io.Discard, res.Body, discardSize) // at worst the connection is not used again
	_ = res.Body.Close()
	o := policy.OutcomeOf(res.StatusCode)
	if o == policy.Success && err != io.EOF {
		return policy.Neutral
	}
	return o
}

// closeInfo lets no informational answer through any more.
func (c *call) closeInfo() {
	c.info.Lock()
	c.info.closed = true
	c.info.Unlock()
}

// maxInformational is how many informational answers are passed on for one request.
const maxInformational = 16

var errInformation = errors.New("more informational answers than allowed")

// passInformational passes an answer such as 103 (Early Hints) on (RFC 9110, 15.2). The server itself sends 100, when
// the transport asks for the body. It runs on the transport's goroutine, while the handler waits for the answer.
func (c *call) passInformational(code int, header textproto.MIMEHeader) error {
	c.info.Lock()
	defer c.info.Unlock()
	if c.info.n++; c.info.n > maxInformational {
		return errInformation // the transport leaves it to its hook to bound them
	}
	if c.info.closed || code == http.StatusContinue || c.r.ProtoMajor == 1 && c.r.ProtoMinor == 0 || c.r.Header.Get("Expect") != "" {
		return nil // the last: the server may be writing its 100 at this instant
	}
	c.writeWithin(c.left()) // or a client that does not read would hold the mutex for good
	h := c.w.Header()
	for key, values := range header {
		if !hopByHop(key) {
			h[key] = values
		}
	}
	c.w.WriteHeader(code)
	clear(h)
	return nil
}

// relay passes an answer on. It returns passed false if the backend died while nothing had been passed on, so that the
// client can still be given another answer.
func (c *call) relay(res *http.Response) (f fault, passed bool) {
	c.closeInfo()
	defer func() {
		if passed && res.ProtoMajor > 1 {
			c.cancel(errFinished) // or closing would wait for the end of a request body that nobody wants any more
		}
		_ = res.Body.Close()
	}()
	if c.tunnel() != nil && res.StatusCode >= 200 && res.StatusCode < 300 { // to the client it would mean that WebSocket begins
		return notSpoken, false
	}
	c.compress(res)
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols:
		return c.upgrade(res)
	case len(res.Trailer) > 0 && res.ContentLength > 0 && c.r.Method != http.MethodHead:
		// HTTP/2 has trailers after a body of known length; HTTP/1.1 has them only after one that is chunked.
		res.ContentLength = -1
		delete(res.Header, "Content-Length")
		if endless(res) || c.grpc {
			return c.relayEndless(res), true
		}
	case c.r.Method == http.MethodHead || res.ContentLength == 0 || res.Body == http.NoBody:
		c.writeHead(res)
		return fault{}, true
	case c.grpc || endless(res):
		return c.relayEndless(res), true
	case res.ContentLength > holdSize:
		c.writeHead(res)
		buf := buffers.Get().(*[holdSize]byte)
		defer buffers.Put(buf)
		return c.copyBody(res, buf[:], false), true
	case res.ContentLength > 0:
		return c.relaySmall(res)
	}
	return c.relayUnknown(res)
}

// document reports whether an answer is a page or a JSON value.
func document(res *http.Response) bool {
	ct := res.Header["Content-Type"]
	return len(ct) == 1 && (strings.HasPrefix(ct[0], "text/html") || strings.HasPrefix(ct[0], "application/json"))
}

// relayEndless passes a stream of events on until either side ends it or the gateway stops.
func (c *call) relayEndless(res *http.Response) fault {
	c.endless()
	c.timer.Stop()
	if c.outer != nil {
		c.outer.Stop()
	}
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{}) // that of the request's body
	stop := c.g.stopWith(c.cancel)
	defer stop()
	c.writeHead(res)
	c.flush()
	if c.outcome == policy.Success {
		pool, grant, at := c.target.lane.pool, c.grant, c.headAt
		c.proof = time.AfterFunc(c.unproven(), func() { pool.Report(grant, at, policy.Success) })
	}
	buf := buffers.Get().(*[holdSize]byte)
	defer buffers.Put(buf)
	return c.copyBody(res, buf[:], true)
}

// endless reports whether an answer is a stream of events, which has no end of its own: the time-out counts to its head,
// and each piece is passed on at once.
func endless(res *http.Response) bool {
	ct := res.Header["Content-Type"]
	return len(ct) == 1 && strings.HasPrefix(ct[0], "text/event-stream")
}

// writeHead passes the head on: from here on the answer is the client's. Trailers that the backend announced are
// announced.
func (c *call) writeHead(res *http.Response) { c.writeHeadWith(res, sortedKeys(res.Trailer)) }

// writeHeadWith is writeHead where the body is being read at the same time, at whose end the trailers come in: it is told which were
// announced.
func (c *call) writeHeadWith(res *http.Response, trailers []string) {
	c.headPassed()
	c.writeWithin(c.left())
	h := c.w.Header()
	c.copyAnswerHeader(h, res.Header)
	if c.last() {
		h["Connection"] = []string{"close"}
	}
	if res.StatusCode == http.StatusNoContent {
		delete(h, "Content-Length") // RFC 9110, 8.6; in HTTP/2 it would break the stream
	}
	c.bind(h)
	if len(trailers) > 0 {
		h["Trailer"] = []string{strings.Join(trailers, ", ")}
	}
	c.w.WriteHeader(res.StatusCode)
}

// writeTrailers passes on the trailers, which are known when the body has ended.
func (c *call) writeTrailers(res *http.Response, announced int) {
	if len(res.Trailer) == 0 {
		return
	}
	h := c.w.Header()
	for key, values := range res.Trailer {
		if announced != len(res.Trailer) {
			key = http.TrailerPrefix + key
		}
		h[key] = values
	}
}

// writeWithin bounds how long the client may take to receive what is written next, and a little longer so that an error
// can still reach it. The server lifts the bound after each request.
func (c *call) writeWithin(d time.Duration) { c.g.writeWithin(c.w, d) }

func (g *Gateway) writeWithin(w http.ResponseWriter, d time.Duration) {
	// It fails only where the next write does.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(max(d, 0) + g.writeGrace))
}

func (c *call) flush() {
	_ = http.NewResponseController(c.w).Flush() // an error is the next write's as well
}

// relaySmall reads a short answer of known length whole, and passes it on.
func (c *call) relaySmall(res *http.Response) (fault, bool) {
	buf := buffers.Get().(*[holdSize]byte)
	defer buffers.Put(buf)
	body := buf[:res.ContentLength]
	if _, err := io.ReadFull(res.Body, body); err != nil {
		f, _ := c.diagnose(err)
		return f, false
	}
	c.writeHead(res)
	if _, err := c.w.Write(body); err != nil {
		return fault{kind: clientClosed, detail: "the client went away"}, true
	}
	return fault{}, true
}

// copyBody passes the rest of a body on, piece by piece. Where flush is false, large pieces may share a packet with what follows;
// small ones do not wait for it, since a slow backend may take its time.
func (c *call) copyBody(res *http.Response, buf []byte, flush bool) fault {
	announced := len(res.Trailer)
	for {
		n, err := res.Body.Read(buf)
		if n > 0 {
			if c.headAt != 0 {
				c.writeWithin(c.target.timeout) // each piece of a stream without an end
			}
			c.prove()
			if _, werr := c.w.Write(buf[:n]); werr != nil {
				return fault{kind: clientClosed, detail: "the client does not take its answer"}
			}
			if flush || n < 2*writeBuffer {
				c.flush()
			}
		}
		switch err {
		case nil:
		case io.EOF:
			c.writeTrailers(res, announced)
			return fault{}
		default:
			return c.incomplete(err)
		}
	}
}

// incomplete is the fault of an answer that broke off after its head was passed on.
func (c *call) incomplete(err error) fault {
	f, _ := c.diagnose(err)
	if f.kind != clientClosed {
		f.own = f.blameless()
		f.detail = "the answer broke off: " + f.detail
		f.kind = responseIncomplete
	}
	return f
}

// held is an answer of unknown length that is held back until it is complete, the buffer is full or a while has
// passed, whichever comes first. The last is found by a timer, whose goroutine then passes on what there is
// while the handler is still waiting for the backend; hence the mutex.
type held struct {
	c        *call
	res      *http.Response
	trailers []string // that the head announced
	buf      *[holdSize]byte

	mu     sync.Mutex
	n      int  // bytes held
	passed bool // the head is out, and all that was held
	ended  bool // the timer has come too late
	failed bool // the client does not take it
}

// pass sends the head, with these trailers announced, and what is held. The caller holds the mutex.
func (h *held) pass(trailers []string) {
	h.passed = true
	h.c.writeHeadWith(h.res, trailers)
	if _, err := h.c.w.Write(h.buf[:h.n]); err != nil {
		h.failed = true
	}
}

func (h *held) onTimer() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended || h.passed {
		return
	}
	h.pass(h.trailers)
	h.c.flush()
}

func (c *call) relayUnknown(res *http.Response) (fault, bool) {
	h := &held{c: c, res: res, trailers: sortedKeys(res.Trailer), buf: buffers.Get().(*[holdSize]byte)}
	defer buffers.Put(h.buf)
	announced := len(h.trailers)
	hold := c.g.holdTime
	if c.idempotent && document(res) {
		hold = c.g.holdDocument
	}
	timer := time.AfterFunc(hold, h.onTimer)
	defer timer.Stop()
	for {
		n, err := res.Body.Read(h.buf[h.n:])
		h.mu.Lock()
		wasPassed := h.passed
		if !wasPassed {
			h.n += n
			switch {
			case err == io.EOF:
				h.ended = true
				h.complete()
			case err != nil:
				h.ended = true
				h.mu.Unlock()
				f, _ := c.diagnose(err)
				return f, false
			case h.n == holdSize:
				h.pass(h.trailers)
			}
		}
		passed, failed := h.passed, h.failed
		h.mu.Unlock()
		switch {
		case failed:
			return fault{kind: clientClosed, detail: "the client went away"}, true
		case wasPassed:
			// The timer's goroutine is done with the answer for good: the rest is passed on here.
			if n > 0 {
				if _, werr := c.w.Write(h.buf[h.n : h.n+n]); werr != nil {
					return fault{kind: clientClosed, detail: "the client went away"}, true
				}
				c.flush()
			}
			if err == io.EOF {
				c.writeTrailers(res, announced)
				return fault{}, true
			}
			if err != nil {
				return c.incomplete(err), true
			}
			return c.copyBody(res, h.buf[:], true), true
		case err == io.EOF:
			return fault{}, true
		case passed:
			return c.copyBody(res, h.buf[:], true), true
		}
	}
}

// complete passes on an answer whose end has come while it was held: its length is known now.
func (h *held) complete() {
	trailers := sortedKeys(h.res.Trailer)
	if len(trailers) == 0 {
		h.res.Header["Content-Length"] = []string{strconv.Itoa(h.n)}
	}
	h.pass(trailers)
	if len(trailers) > 0 {
		h.c.flush() // so that the answer is chunked, and can have trailers
		h.c.writeTrailers(h.res, len(trailers))
	}
}
