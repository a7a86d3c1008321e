package load

import (
	"bytes"
	"context"
	"io"
	"net"
	"regexp"
	"testing"
	"time"
)

// script is a connection whose other side says what it says, in pieces of one size, whatever is sent to it, and ends.
type script struct {
	net.Conn
	says  []byte
	piece int
}

func (s *script) Read(b []byte) (int, error) {
	if len(s.says) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), s.piece)], s.says)
	s.says = s.says[n:]
	return n, nil
}
func (s *script) Write(b []byte) (int, error)      { return len(b), nil }
func (s *script) Close() error                     { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// fuzzCaller feeds what is fuzzed to a caller of the scheme as what its target says. Whatever comes, it ends, has a name
// of a bounded set where it fails, and keeps no more than it may.
func fuzzCaller(f *testing.F, address string, x exchange, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, says []byte, piece uint8) {
		target, err := newTarget(&Config{Connections: 1, Streams: 1, MaxBody: 1 << 16, Dial: func(context.Context, string, string) (net.Conn, error) {
			return &script{says: bytes.Clone(says), piece: int(piece) + 1}, nil
		}}, address)
		if err != nil {
			t.Fatal(err)
		}
		c := target.newCaller()
		defer target.close()
		defer c.close()
		for range 2 { // the second time over what the first has left
			x := x
			err := c.do(t.Context(), &x)
			if kind := exchangeKind(err); err != nil && (kind == "" || kind == OtherError) {
				t.Errorf("%v has the kind %q", err, kind)
			}
			if len(x.body) > 1<<17 {
				t.Errorf("%d bytes were kept", len(x.body))
			}
		}
	})
}

func FuzzRESP(f *testing.F) {
	x := exchange{request: []byte("*1\r\n$4\r\nPING\r\n"), call: &redisCall{commands: make([][]template, 1)}, capture: true, timeout: time.Minute}
	fuzzCaller(f, "redis://shop", x, "+OK\r\n", "$5\r\nhello\r\n", "*2\r\n:1\r\n$-1\r\n", "-ERR no\r\n", "%1\r\n+a\r\n_\r\n", "|1\r\n+a\r\n+b\r\n#t\r\n",
		">1\r\n+x\r\n,1.5\r\n", "!3\r\nBAD\r\n", "=7\r\ntxt:abc\r\n", "*-1\r\n", "$99999999999\r\n", "*1048577\r\n")
}

func FuzzNATS(f *testing.F) {
	info := "INFO {\"max_payload\":1024}\r\nPONG\r\n"
	x := exchange{request: []byte("a.b\nhello"), call: &natsCall{}, capture: true, timeout: time.Minute}
	fuzzCaller(f, "nats://shop", x, info, info+"MSG x 1 2\r\nhi\r\n", info+"HMSG x 1 4 6\r\nNATS42\r\n", info+"PING\r\n-ERR 'Permissions Violation'\r\n",
		"INFO {\"tls_required\":true}\r\n", info+"MSG x 1 -1\r\n", info+"MSG x 1 99999999\r\n", "+OK\r\n")
}

func FuzzWebSocketFrames(f *testing.F) {
	for _, s := range []string{"\x81\x02hi", "\x01\x01a\x80\x01b", "\x89\x01p\x81\x00", "\x88\x02\x03\xe8", "\x82\x7e\x00\x03abc", "\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00", "\x81\x82", "\xc1\x00", "\x81\x01\xff"} {
		f.Add([]byte(s), uint8(2))
	}
	await := regexp.MustCompile("hi")
	f.Fuzz(func(t *testing.T, says []byte, piece uint8) {
		c := &webSocket{target: &target{to: &endpoint{maxBody: 1 << 16, open: map[net.Conn]struct{}{}}}}
		nc := &script{says: says, piece: int(piece) + 1}
		c.nc, c.reader = nc, reader{from: nc, buf: make([]byte, 64), limit: 1 << 16}
		x := exchange{timeout: time.Minute}
		err := c.talk(&x, &wsCall{sends: true, await: await}, []byte("hello"))
		if err == nil && !await.Match(x.body) {
			t.Errorf("%q was taken for the answer", x.body)
		}
		if kind := exchangeKind(err); err != nil && (kind == "" || kind == OtherError) {
			t.Errorf("%v has the kind %q", err, kind)
		}
		if len(x.body) > 1<<16 {
			t.Errorf("%d bytes were kept", len(x.body))
		}
	})
}
