package load

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/banyanhq/banyan/topology"
)

// tcpCall is some bytes, and what says that their answer is whole.
type tcpCall struct {
	send   template
	length int
	until  []byte
	match  *regexp.Regexp
}

var _ call = (*tcpCall)(nil)

func compileTCP(t *topology.TCPCall, sc *scope) (*tcpCall, error) {
	c := &tcpCall{length: t.Length, until: []byte(t.Until)}
	ends := 0
	for _, set := range []bool{t.Length > 0, t.Until != "", t.Match != ""} {
		if set {
			ends++
		}
	}
	if ends > 1 || t.Send != "" && t.Hex != "" || t.Length < 0 {
		return nil, errors.New("tcp: want at most one of length, until and match, and of send and hex")
	}
	var err error
	if t.Match != "" {
		if c.match, err = regexp.Compile(t.Match); err != nil {
			return nil, fmt.Errorf("tcp: match: %w", err)
		}
	}
	if t.Hex != "" {
		raw, err := unhex(t.Hex)
		if err != nil {
			return nil, fmt.Errorf("tcp: %w", err)
		}
		c.send = template{{literal: string(raw)}}
		return c, nil
	}
	if c.send, err = sc.parse(t.Send, always(escapeNone)); err != nil {
		return nil, fmt.Errorf("tcp: send: %w", err)
	}
	return c, nil
}

// unhex reads hexadecimal digits, with spaces anywhere between two of them.
func unhex(text string) ([]byte, error) {
	raw, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return nil, fmt.Errorf("hex %.40q: %w", text, err)
	}
	return raw, nil
}

func (c *tcpCall) build(dst []byte, v *values) ([]byte, bool) { return c.send.append(dst, v) }

// tcpCaller sends bytes and reads bytes.
type tcpCaller struct {
	target *target
	dialogue
}

func (c *tcpCaller) close() { c.dialogue.close(c.target.to) }

// do sends the bytes and reads until the answer is whole. What comes after it belongs to the next one.
func (c *tcpCaller) do(ctx context.Context, x *exchange) error {
	if err := c.open(ctx, c.target.to, x, nil); err != nil {
		return err
	}
	before := c.reader.total
	err := c.talk(x, x.call.(*tcpCall))
	x.bytesIn += c.reader.total - before
	if err != nil {
		c.close()
	}
	return err
}

func (c *tcpCaller) talk(x *exchange, want *tcpCall) error {
	if len(x.request) > 0 {
		if _, err := c.nc.Write(x.request); err != nil {
			return err
		}
	}
	r := &c.reader
	switch {
	case want.length > 0:
		return c.exactly(x, int64(want.length))
	case len(want.until) == 0 && want.match == nil:
		return nil
	}
	for searched := 0; ; {
		have := r.buf[r.pos:r.end]
		if want.match != nil {
			if at := want.match.FindIndex(have); at != nil {
				r.keep(x, at[1])
				return nil
			}
		} else if i := bytes.Index(have[searched:], want.until); i >= 0 {
			r.keep(x, searched+i+len(want.until))
			return nil
		}
		searched = max(len(have)-len(want.until)+1, 0)
		if len(have) > maxCapture || int64(len(have)) > r.limit {
			return errTooLarge
		}
		if err := c.more(); err != nil {
			return err
		}
	}
}
