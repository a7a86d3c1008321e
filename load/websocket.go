package load

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	mathrand "math/rand/v2"
	"regexp"
	"unicode/utf8"

	"github.com/banyanhq/banyan/topology"
)

// wsCall is a message over a WebSocket and what it waits for. What it builds is the path and the headers of the handshake,
// a zero byte, and the message.
type wsCall struct {
	handshake template
	send      template
	sends     bool
	await     *regexp.Regexp
	close     bool
}

var _ call = (*wsCall)(nil)

func (c *compiler) compileWebSocket(s *topology.Step, sc *scope, to *target) (*wsCall, error) {
	w := s.WebSocket
	out := &wsCall{sends: w.Send != "", close: w.Close}
	path := to.path + w.Path
	if path == "" {
		path = "/"
	}
	t, err := sc.parse(path, inPath)
	if err != nil {
		return nil, fmt.Errorf("websocket: path: %w", err)
	}
	for i := range t {
		t[i].literal = escapeTarget(t[i].literal)
	}
	out.handshake = append(append(template{{literal: "GET "}}, t...), segment{literal: " HTTP/1.1\r\nHost: " + to.host + "\r\n"})
	for _, k := range sortedKeys(s.Headers) {
		if !isToken(k) || reserved[canonical(k)] || canonical(k) == "Connection" || canonical(k) == "Host" {
			return nil, fmt.Errorf("header %q: not one that the file may set", k)
		}
		v, err := sc.parse(s.Headers[k], always(escapeHeader))
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", k, err)
		}
		out.handshake = append(append(append(out.handshake, segment{literal: k + ": "}), v...), segment{literal: "\r\n"})
	}
	out.handshake = out.handshake.joined()
	if out.send, err = sc.parse(w.Send, always(escapeNone)); err != nil {
		return nil, fmt.Errorf("websocket: send: %w", err)
	}
	if w.Await != "" {
		if out.await, err = regexp.Compile(w.Await); err != nil {
			return nil, fmt.Errorf("websocket: await: %w", err)
		}
	}
	return out, nil
}

func (c *wsCall) build(dst []byte, v *values) ([]byte, bool) {
	dst, ok := c.handshake.append(dst, v)
	if !ok {
		return dst, false
	}
	return c.send.append(append(dst, 0), v)
}

// The kinds of WebSocket errors: the handshake was answered with another status, or the peer has closed.
const (
	wsRefused Kind = "websocket refused"
	wsClosed  Kind = "websocket closed"
)

// webSocket speaks RFC 6455, without extensions.
type webSocket struct {
	target *target
	dialogue
	frame []byte
}

func (c *webSocket) close() { c.dialogue.close(c.target.to) }

func (c *webSocket) do(ctx context.Context, x *exchange) error {
	handshake, message, _ := bytes.Cut(x.request, []byte{0})
	// Messages that the server has sent meanwhile are no sign of a stale connection: the dialogue is only opened where
	// there is none.
	var before int64
	if c.nc == nil {
		if err := c.open(ctx, c.target.to, x, func() error { return c.shake(x, handshake) }); err != nil {
			return err
		}
	} else {
		x.connected, x.reconnects, x.bytesIn, x.body, x.head = 0, 0, 0, x.body[:0], head{}
		if err := c.nc.SetDeadline(deadlineOf(x)); err != nil {
			c.close()
			return err
		}
		before = c.reader.total
	}
	w := x.call.(*wsCall)
	err := c.talk(x, w, message)
	x.bytesIn += c.reader.total - before
	if err != nil {
		c.close()
		return err
	}
	if w.close {
		_ = c.write(0x8, []byte{0x03, 0xe8}) // 1000: a normal end
		c.close()
	}
	return nil
}

// shake is the opening handshake.
func (c *webSocket) shake(x *exchange, handshake []byte) error {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:])
	key := base64.StdEncoding.EncodeToString(nonce[:])
	request := append([]byte(nil), handshake...)
	request = append(request, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+key+"\r\n\r\n"...)
	if _, err := c.nc.Write(request); err != nil {
		return err
	}
	n, err := c.reader.head()
	if err != nil {
		return err
	}
	accept := ""
	var h head
	err = parseHead(c.reader.buf[c.reader.pos:c.reader.pos+n], &h, func(name, value []byte) {
		if equalFold(name, "sec-websocket-accept") {
			accept = string(value)
		}
	})
	if err != nil {
		return err
	}
	c.reader.pos += n
	if h.status != 101 {
		return &failed{wsRefused, fmt.Sprintf("status %d", h.status)}
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if accept != base64.StdEncoding.EncodeToString(sum[:]) {
		return malformed("the handshake's Sec-WebSocket-Accept is %.60q", accept)
	}
	return nil
}

func (c *webSocket) talk(x *exchange, w *wsCall, message []byte) error {
	if w.sends {
		if err := c.write(0x1, message); err != nil {
			return err
		}
	}
	if w.await == nil {
		return nil
	}
	for {
		if err := c.message(x); err != nil {
			return err
		}
		if w.await.Match(x.body) {
			return nil
		}
	}
}

// write sends one masked frame.
func (c *webSocket) write(opcode byte, payload []byte) error {
	c.frame = append(c.frame[:0], 0x80|opcode)
	switch n := len(payload); {
	case n < 126:
		c.frame = append(c.frame, 0x80|byte(n))
	case n < 1<<16:
		c.frame = binary.BigEndian.AppendUint16(append(c.frame, 0x80|126), uint16(n))
	default:
		c.frame = binary.BigEndian.AppendUint64(append(c.frame, 0x80|127), uint64(n))
	}
	var mask [4]byte
	binary.LittleEndian.PutUint32(mask[:], mathrand.Uint32())
	c.frame = append(c.frame, mask[:]...)
	for i, b := range payload {
		c.frame = append(c.frame, b^mask[i&3])
	}
	_, err := c.nc.Write(c.frame)
	return err
}

// message reads the next text or binary message into x.body, and answers pings on the way.
func (c *webSocket) message(x *exchange) error {
	x.body = x.body[:0]
	capture := x.capture
	x.capture = true
	defer func() { x.capture = capture }()
	text, begun, total := false, false, int64(0)
	for {
		fin, opcode, n, err := c.frameHead()
		if err != nil {
			return err
		}
		if opcode >= 0x8 {
			if err := c.control(fin, opcode, n); err != nil {
				return err
			}
			continue
		}
		if (opcode == 0) != begun || opcode > 2 {
			return malformed("opcode %d out of turn", opcode)
		}
		if !begun {
			text = opcode == 1
		}
		begun = true
		if total += n; total > c.reader.limit {
			return errTooLarge
		}
		if err := c.exactly(x, n); err != nil {
			return err
		}
		if fin {
			if text && total <= maxCapture && !utf8.Valid(x.body) {
				return malformed("a text message that is not UTF-8")
			}
			return nil
		}
	}
}

// control deals with a ping, a pong or a close.
func (c *webSocket) control(fin bool, opcode byte, n int64) error {
	if n > 125 || !fin {
		return malformed("a control frame of %d bytes, or in pieces", n)
	}
	inner := exchange{capture: true}
	if err := c.exactly(&inner, n); err != nil {
		return err
	}
	switch opcode {
	case 0x8:
		code := 1005
		if len(inner.body) >= 2 {
			code = int(binary.BigEndian.Uint16(inner.body))
		}
		_ = c.write(0x8, inner.body)
		return &failed{wsClosed, fmt.Sprintf("code %d", code)}
	case 0x9:
		return c.write(0xa, inner.body)
	case 0xa:
		return nil
	}
	return malformed("opcode %d", opcode)
}

// bytes reads n bytes, valid until the next read.
func (c *webSocket) bytes(n int) ([]byte, error) {
	r := &c.reader
	for r.end-r.pos < n {
		if err := c.more(); err != nil {
			return nil, err
		}
	}
	b := r.buf[r.pos : r.pos+n]
	r.pos += n
	return b, nil
}

func (c *webSocket) frameHead() (fin bool, opcode byte, n int64, err error) {
	b, err := c.bytes(2)
	if err != nil {
		return false, 0, 0, err
	}
	fin, opcode = b[0]&0x80 != 0, b[0]&0xf
	if b[0]&0x70 != 0 || b[1]&0x80 != 0 {
		return false, 0, 0, malformed("a frame with reserved bits, or masked by the server")
	}
	switch n = int64(b[1]); n {
	case 126:
		if b, err = c.bytes(2); err == nil {
			n = int64(binary.BigEndian.Uint16(b))
		}
	case 127:
		if b, err = c.bytes(8); err == nil {
			if n = int64(binary.BigEndian.Uint64(b)); n < 0 {
				err = malformed("a frame of more than 2^63 bytes")
			}
		}
	}
	return fin, opcode, n, err
}
