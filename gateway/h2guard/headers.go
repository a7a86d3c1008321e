package h2guard

import (
	"errors"

	"golang.org/x/net/http2/hpack"
)

// block is the header block that is coming.
type block struct {
	open          bool // its end is still to come
	stream        uint32
	continuations int
	size          int
	te            bool // was there
	malformed     bool
}

// check looks at a field for what only HTTP/1.1 has (RFC 9113, 8.2.2).
func (b *block) check(f hpack.HeaderField) {
	switch f.Name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		b.malformed = true
	case "te":
		b.malformed = b.malformed || b.te || f.Value != "trailers" && f.Value != ""
		b.te = true
	}
}

// headers looks at a HEADERS or CONTINUATION frame, all of which is in b.
func (c *Conn) headers(f frame, b []byte) error {
	k := &c.block
	fragment := b[frameHead:]
	if f.kind == kindHeaders {
		*k = block{open: true, stream: f.stream}
		var ok bool
		if fragment, ok = f.fragment(fragment); !ok {
			c.violate()
			return nil
		}
		c.worked.Add(1)
	} else if k.continuations++; f.stream != k.stream {
		return c.giveUp()
	}
	k.size += len(fragment)
	if k.continuations > c.cfg.Limits.Continuations || k.size > c.cfg.Limits.HeaderBlock {
		c.endFor(HeaderBlock)
		return nil
	}
	switch _, err := c.hpack.Write(fragment); {
	case errors.Is(err, hpack.ErrStringLength):
		c.endFor(HeaderBlock)
		return nil
	case err != nil:
		return c.giveUp() // the server finds the same
	}
	if k.open = !f.has(flagEndHeaders); k.open {
		c.accept(len(b))
		return nil
	}
	if c.hpack.Close() != nil {
		return c.giveUp()
	}
	if !k.malformed {
		c.accept(len(b))
		return nil
	}
	c.replace(len(b), spoil(f, b))
	return nil
}

// fragment returns the part of a HEADERS frame's payload that is of the header block (6.2).
func (f frame) fragment(p []byte) ([]byte, bool) {
	padding, before := 0, 0
	if f.has(flagPadded) {
		if len(p) == 0 {
			return nil, false
		}
		padding, before = int(p[0]), 1
	}
	if f.has(flagPriority) {
		before += 5
	}
	if before+padding > len(p) {
		return nil, false
	}
	return p[before : len(p)-padding], true
}

// nonsense is a field whose name has a capital in it, which makes any head malformed (8.2.1): a literal that does not go
// into the table of the compression.
const nonsense = "\x00\x01X\x00"

// spoil returns the last frame of a header block with another one behind it that the server takes for malformed, too.
func spoil(f frame, b []byte) []byte {
	more := frame{length: len(nonsense), kind: kindContinuation, flags: flagEndHeaders, stream: f.stream}
	f.flags &^= flagEndHeaders
	out := append(f.append(make([]byte, 0, len(b)+frameHead+len(nonsense))), b[frameHead:]...)
	return append(more.append(out), nonsense...)
}
