package h2guard

import "encoding/binary"

// outgoing follows the frames that the server writes, in whatever pieces they come.
type outgoing struct {
	head [frameHead]byte
	got  int // bytes of head
	frame
	at   int // in the payload
	code [4]byte
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	if s := c.follow(p); s != nil {
		p = s
	}
	return c.Conn.Write(p)
}

// follow looks at what the server writes. Where that must be changed it returns a copy, otherwise nil.
func (c *Conn) follow(p []byte) (changed []byte) {
	o := &c.out
	for i := 0; i < len(p); {
		if o.got < frameHead {
			n := copy(o.head[o.got:], p[i:])
			i += n
			if o.got += n; o.got < frameHead {
				break
			}
			o.frame, o.at = parseFrame(o.head[:]), 0
			c.saw(o.frame)
		}
		n := min(len(p)-i, o.length-o.at)
		switch o.kind {
		case kindReset:
			copy(o.code[min(o.at, len(o.code)):], p[i:i+n])
		case kindGoAway:
			if Reason(c.calm.Load()) != fine {
				if changed == nil {
					changed = append([]byte(nil), p...)
				}
				calm(changed[i:i+n], o.at)
			}
		}
		i += n
		if o.at += n; o.at == o.length {
			c.ended(o)
			o.got = 0
		}
	}
	return changed
}

// saw counts a frame that the server writes.
func (c *Conn) saw(f frame) {
	if f.kind != kindData && f.kind != kindHeaders {
		return
	}
	c.worked.Add(1)
	if f.kind == kindHeaders {
		c.answered.Add(1)
	}
}

// ended looks at a frame that was written whole.
func (c *Conn) ended(o *outgoing) {
	if o.kind != kindReset {
		return
	}
	switch binary.BigEndian.Uint32(o.code[:]) {
	case codeProtocol, codeFlowControl, codeStreamClosed, codeFrameSize, codeRefused: // what the client did wrong
		c.blamed.Add(1)
	}
}

// calm puts ENHANCE_YOUR_CALM into a piece of the payload of GOAWAY that begins at a place in it (RFC 9113, 6.8).
func calm(piece []byte, at int) {
	for i := range piece {
		switch at + i {
		case 4, 5, 6:
			piece[i] = 0
		case 7:
			piece[i] = codeCalm
		}
	}
}
