//go:build linux && (amd64 || arm64)

package gateway

import "strconv"

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
			w.loop.Set(&x.step, x.timeout()+w.g.writeGrace)
		}
		return ok && c.x == x
	}
	left := x.left()
	if x.headAt != 0 {
		left = x.timeout()
	}
	x.releaseConn()
	x.finish(x.outcome)
	x.end(x.status, fault{})
	if c.write(b, data, tail) && len(c.out) > 0 {
		w.loop.Set(&c.timer, max(left, 0)+w.g.writeGrace)
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

// incomplete ends an answer that broke off after its head was passed on.
func (x *exchange) incomplete(f fault) {
	f.detail = "the answer broke off: " + f.detail
	f.kind = responseIncomplete
	x.broken(f)
}

// broken ends an answer of which not all is passed on; the client must not take it for whole.
func (x *exchange) broken(f fault) {
	x.dropConn()
	x.passed(f)
	x.finish(x.outcome)
	c := x.c
	x.resetAtEnd()
	x.end(x.status, f)
	c.close()
}

// resetAtEnd has the client's connection be reset when it is closed, where its end would be taken for that of the answer.
func (x *exchange) resetAtEnd() {
	if x.headOut && !x.chunked && x.length < 0 {
		x.c.conn.Reset()
	}
}
