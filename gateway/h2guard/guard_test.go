package h2guard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// script is a connection from which comes what is given, piece bytes at a time, and that keeps what is written to it.
type script struct {
	net.Conn
	in       []byte
	piece    int
	out      bytes.Buffer
	deadline []bool // whether each call set one, or took it away
	late     bool   // the end of in is a client that is silent
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.in) == 0 {
		if s.late {
			return 0, errLate
		}
		return 0, io.EOF
	}
	n := copy(p, s.in[:min(s.piece, len(s.in))])
	s.in = s.in[n:]
	return n, nil
}

var errLate = errors.New("late")

func (s *script) Write(p []byte) (int, error) { return s.out.Write(p) }
func (s *script) SetReadDeadline(t time.Time) error {
	s.deadline = append(s.deadline, !t.IsZero())
	return nil
}
func (s *script) Close() error { return nil }

// limits are small, so that tests need few frames.
var limits = Limits{Resets: Rate{10, 1}, Control: Rate{20, 1}, Continuations: 3, HeaderBlock: 40 << 10, FrameTime: time.Second}

// run gives a guard the bytes of a client, and returns what the server gets and why the connection was ended.
func run(t testing.TB, in []byte, piece int, l Limits) ([]byte, Reason) {
	t.Helper()
	var why Reason
	c := Guard(&script{in: in, piece: piece}, Config{Limits: l, Now: func() time.Duration { return 0 }, Calmed: func(r Reason) { why = r }})
	out, err := io.ReadAll(c)
	if err != nil && why == fine && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, errEnded) {
		t.Fatalf("reading: %v", err)
	}
	c.Close()
	return out, why
}

// client writes frames.
type client struct {
	bytes.Buffer
	*http2.Framer
	heads  bytes.Buffer
	packer *hpack.Encoder
}

func newClient() *client {
	c := &client{}
	c.Framer = http2.NewFramer(&c.Buffer, nil)
	c.AllowIllegalWrites = true
	c.packer = hpack.NewEncoder(&c.heads)
	return c
}

// head packs a request's fields, and others.
func (c *client) head(fields ...string) []byte {
	c.heads.Reset()
	for _, f := range append([]string{":method=GET", ":scheme=http", ":path=/", ":authority=x"}, fields...) {
		at := strings.LastIndexByte(f, '=')
		_ = c.packer.WriteField(hpack.HeaderField{Name: f[:at], Value: f[at+1:]})
	}
	return bytes.Clone(c.heads.Bytes())
}

func (c *client) ask(stream uint32, fields ...string) {
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.head(fields...), EndStream: true, EndHeaders: true})
}

// answers reads frames as a server does, and says of each head whether it is in order.
func answers(b []byte) (out []string) {
	f := http2.NewFramer(io.Discard, bytes.NewReader(b))
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := f.ReadFrame()
		var stream http2.StreamError
		var conn http2.ConnectionError
		switch {
		case errors.As(err, &stream):
			out = append(out, "stream error "+stream.Code.String())
			continue
		case errors.As(err, &conn):
			return append(out, "connection error "+http2.ErrCode(conn).String())
		case err != nil:
			return out
		}
		out = append(out, frame.Header().Type.String())
	}
}

func TestForbiddenFieldsAreStreamErrors(t *testing.T) {
	for _, c := range []struct {
		fields []string
		want   string
	}{
		{nil, "HEADERS"},
		{[]string{"te=trailers"}, "HEADERS"},
		{[]string{"te=trailers", "te=trailers"}, "stream error PROTOCOL_ERROR"},
		{[]string{"te=trailers, deflate"}, "stream error PROTOCOL_ERROR"},
		{[]string{"connection=keep-alive"}, "stream error PROTOCOL_ERROR"},
		{[]string{"keep-alive=1"}, "stream error PROTOCOL_ERROR"},
		{[]string{"proxy-connection=x"}, "stream error PROTOCOL_ERROR"},
		{[]string{"transfer-encoding=chunked"}, "stream error PROTOCOL_ERROR"},
		{[]string{"upgrade=x"}, "stream error PROTOCOL_ERROR"},
		{[]string{"connections=x"}, "HEADERS"},
	} {
		for _, piece := range []int{1, 7, 1 << 20} {
			k := newClient()
			k.ask(1, c.fields...)
			k.ask(3, "x-then=1") // the compression goes on with the same tables
			out, why := run(t, k.Bytes(), piece, limits)
			if got := strings.Join(answers(out), "; "); got != c.want+"; HEADERS" || why != fine {
				t.Errorf("%v in pieces of %d: %s (%v), want %s", c.fields, piece, got, why, c.want)
			}
		}
	}
}

// A head in several frames, with padding and a priority, is followed as one in a single frame is.
func TestHeadInSeveralFrames(t *testing.T) {
	k := newClient()
	head := k.head("x-long="+strings.Repeat("l", 300), "connection=close")
	_ = k.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head[:100], EndStream: true, PadLength: 20, Priority: http2.PriorityParam{Weight: 3}})
	_ = k.WriteContinuation(1, false, head[100:101])
	_ = k.WriteContinuation(1, true, head[101:])
	k.ask(3)
	out, why := run(t, k.Bytes(), 50, limits)
	if got := strings.Join(answers(out), "; "); got != "stream error PROTOCOL_ERROR; HEADERS" || why != fine {
		t.Errorf("%s, %v", got, why)
	}
}

func TestSettingsGivenTwice(t *testing.T) {
	type set = http2.Setting
	const window, table, push = http2.SettingInitialWindowSize, http2.SettingHeaderTableSize, http2.SettingEnablePush
	for _, c := range []struct{ in, want []set }{
		{[]set{{ID: window, Val: 100}}, []set{{ID: window, Val: 100}}},
		{[]set{{ID: window, Val: 100}, {ID: push, Val: 0}, {ID: window, Val: 1}}, []set{{ID: window, Val: 1}, {ID: push, Val: 0}}},
		{[]set{{ID: table, Val: 0}, {ID: table, Val: 4096}}, []set{{ID: table, Val: 0}}},
		// An error is the server's to find.
		{[]set{{ID: push, Val: 2}, {ID: push, Val: 0}}, []set{{ID: push, Val: 2}, {ID: push, Val: 0}}},
		{[]set{{ID: window, Val: 1 << 31}, {ID: window, Val: 1}}, []set{{ID: window, Val: 1 << 31}, {ID: window, Val: 1}}},
	} {
		k, want := newClient(), newClient()
		_ = k.WriteSettings(c.in...)
		_ = k.WritePing(false, [8]byte{1})
		_ = want.WriteSettings(c.want...)
		_ = want.WritePing(false, [8]byte{1})
		if out, why := run(t, k.Bytes(), 5, limits); !bytes.Equal(out, want.Bytes()) || why != fine {
			t.Errorf("%v: %x, %v, want %x", c.in, out, why, want.Bytes())
		}
	}
}

// Each kind of flood ends the connection; as many frames beside as much work do not.
func TestFloods(t *testing.T) {
	for _, c := range []struct {
		name string
		send func(k *client, i uint32)
		want Reason
	}{
		{"requests reset", func(k *client, i uint32) { k.ask(2*i + 1); _ = k.WriteRSTStream(2*i+1, http2.ErrCodeCancel) }, Resets},
		{"requests", func(k *client, i uint32) { k.ask(2*i + 1) }, fine},
		{"pings", func(k *client, _ uint32) { _ = k.WritePing(false, [8]byte{}) }, Control},
		{"answers to pings", func(k *client, _ uint32) { _ = k.WritePing(true, [8]byte{}) }, fine},
		{"pings with requests", func(k *client, i uint32) { k.ask(2*i + 1); _ = k.WritePing(false, [8]byte{}) }, fine},
		{"settings", func(k *client, _ uint32) { _ = k.WriteSettings() }, Control},
		{"priorities", func(k *client, _ uint32) { _ = k.WritePriority(1, http2.PriorityParam{}) }, Control},
		{"windows", func(k *client, _ uint32) { _ = k.WriteWindowUpdate(0, 1) }, Control},
		{"empty data", func(k *client, _ uint32) { _ = k.WriteData(1, false, nil) }, Control},
		{"padding only", func(k *client, _ uint32) { _ = k.WriteDataPadded(1, false, nil, make([]byte, 200)) }, Control},
		{"data", func(k *client, _ uint32) { _ = k.WriteData(1, false, []byte("d")) }, fine},
		{"unknown kinds", func(k *client, _ uint32) { _ = k.WriteRawFrame(0xfa, 0, 0, make([]byte, 100)) }, Control},
		{"goaways", func(k *client, _ uint32) { _ = k.WriteGoAway(0, 0, nil) }, Control},
		{"continuations", func(k *client, i uint32) {
			if i == 0 {
				_ = k.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: k.head()})
			}
			_ = k.WriteContinuation(1, false, nil)
		}, HeaderBlock},
	} {
		k := newClient()
		for i := range uint32(100) {
			c.send(k, i)
		}
		out, why := run(t, k.Bytes(), 1000, limits)
		if why != c.want {
			t.Errorf("%s: ended for %v, want %v", c.name, why, c.want)
		}
		if c.want != fine && !bytes.HasSuffix(out, make([]byte, frameHead)) {
			t.Errorf("%s: the server is not made to end it: % x", c.name, out[max(0, len(out)-20):])
		}
		if c.want == fine && !bytes.Equal(out, k.Bytes()) {
			t.Errorf("%s: changed", c.name)
		}
	}
}

func TestLongHeaderBlock(t *testing.T) {
	k := newClient()
	head := k.head("x-long=" + strings.Repeat("\x01", 45<<10)) // does not compress
	_ = k.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head[:maxFrame]})
	_ = k.WriteContinuation(1, false, head[maxFrame:2*maxFrame])
	_ = k.WriteContinuation(1, true, head[2*maxFrame:])
	l := limits
	if _, why := run(t, k.Bytes(), 1<<20, l); why != HeaderBlock {
		t.Errorf("ended for %v", why)
	}
	l.HeaderBlock *= 2
	if out, why := run(t, k.Bytes(), 1<<20, l); why != fine || !bytes.Equal(out, k.Bytes()) {
		t.Errorf("ended for %v", why)
	}
}

// What was answered makes up for what is reset, and time does.
func TestResetsAreMadeUpFor(t *testing.T) {
	var now time.Duration
	k := newClient()
	for i := range uint32(12) {
		_ = k.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
	}
	one := k.Len() / 12
	calls := 0
	s := &script{in: k.Bytes(), piece: one}
	c := Guard(s, Config{Limits: limits, Now: func() time.Duration { return now }, Calmed: func(Reason) { calls++ }})
	buf := make([]byte, one)
	for i := range 12 {
		if i == 5 {
			now += time.Second
			answer := newClient()
			_ = answer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x88}, EndHeaders: true})
			if _, err := c.Write(answer.Bytes()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.ReadFull(c, buf); err != nil || calls != 0 {
			t.Fatalf("reset %d: %v, ended %d times", i, err, calls)
		}
	}
}

// A client that makes the server reset streams is one that resets them.
func TestServerResetsForTheClientsFault(t *testing.T) {
	for code, want := range map[http2.ErrCode]Reason{http2.ErrCodeProtocol: Resets, http2.ErrCodeStreamClosed: Resets, http2.ErrCodeNo: fine, http2.ErrCodeInternal: fine} {
		var why Reason
		k := newClient()
		k.ask(1)
		c := Guard(&script{in: k.Bytes(), piece: 1 << 20}, Config{Limits: limits, Now: func() time.Duration { return 0 }, Calmed: func(r Reason) { why = r }})
		server := newClient()
		for i := range uint32(20) {
			_ = server.WriteRSTStream(2*i+1, code)
		}
		for _, b := range server.Bytes() { // in pieces
			if _, err := c.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = io.ReadAll(c)
		if why != want {
			t.Errorf("%v: ended for %v, want %v", code, why, want)
		}
		c.Close()
	}
}

// The server's GOAWAY says what the connection was ended for, however it is cut into pieces.
func TestGoAwaySaysCalm(t *testing.T) {
	k := newClient()
	for range 30 {
		_ = k.WritePing(false, [8]byte{})
	}
	s := &script{in: k.Bytes(), piece: 1 << 20}
	c := Guard(s, Config{Limits: limits, Now: func() time.Duration { return 0 }})
	server := newClient()
	_ = server.WriteGoAway(7, http2.ErrCodeNo, nil)
	_, _ = c.Write(server.Bytes())
	if !bytes.Equal(s.out.Bytes(), server.Bytes()) {
		t.Errorf("without a flood GOAWAY is changed: %x", s.out.Bytes())
	}
	_, _ = io.ReadAll(c)
	for cut := range server.Len() {
		s.out.Reset()
		b := bytes.Clone(server.Bytes())
		_, _ = c.Write(b[:cut])
		_, _ = c.Write(b[cut:])
		f, err := http2.NewFramer(nil, &s.out).ReadFrame()
		if g, ok := f.(*http2.GoAwayFrame); err != nil || !ok || g.ErrCode != http2.ErrCodeEnhanceYourCalm || g.LastStreamID != 7 {
			t.Errorf("cut at %d: %v, %v", cut, f, err)
		}
		if !bytes.Equal(b, server.Bytes()) {
			t.Error("what the server wrote was changed in its own buffer")
		}
	}
	c.Close()
}

// A head that is not whole has a deadline, from its first byte to the end of its last frame; between frames, and for data,
// there is none.
func TestHeadsMustComeInTime(t *testing.T) {
	k := newClient()
	head := k.head()
	_ = k.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head[:2]})
	_ = k.WriteContinuation(1, true, head[2:])
	s := &script{in: k.Bytes(), piece: 4}
	c := Guard(s, Config{Limits: limits, Now: func() time.Duration { return 0 }})
	if _, err := io.ReadAll(c); err != nil || len(s.deadline) != 2 || !s.deadline[0] || s.deadline[1] {
		t.Errorf("deadlines %v, %v", s.deadline, err)
	}
	data := newClient()
	_ = data.WriteData(1, false, make([]byte, 1000))
	s = &script{in: data.Bytes(), piece: 9}
	c = Guard(s, Config{Limits: limits, Now: func() time.Duration { return 0 }})
	if _, err := io.ReadAll(c); err != nil || len(s.deadline) != 0 {
		t.Errorf("data: deadlines %v, %v", s.deadline, err)
	}
	s = &script{in: k.Bytes()[:12], piece: 1, late: true}
	c = Guard(s, Config{Limits: limits, Now: func() time.Duration { return 0 }})
	if _, err := io.ReadAll(c); !errors.Is(err, errLate) || len(s.deadline) != 1 {
		t.Errorf("deadlines %v, %v", s.deadline, err)
	}
}

func TestWrongPaddingIsAConnectionError(t *testing.T) {
	k := newClient()
	_ = k.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersPadded|http2.FlagHeadersEndHeaders, 1, []byte{200, 0x82})
	out, why := run(t, k.Bytes(), 100, limits)
	if got := strings.Join(answers(out), "; "); got != "connection error PROTOCOL_ERROR" || why != fine {
		t.Errorf("%s, %v", got, why)
	}
}

// Whatever comes: the same in whatever pieces it comes; unchanged unless a rule says so; and no head that HTTP/2 forbids.
func FuzzGuard(f *testing.F) {
	k := newClient()
	_ = k.WriteSettings(http2.Setting{ID: 4, Val: 1}, http2.Setting{ID: 4, Val: 2})
	k.ask(1, "te=x")
	_ = k.WriteData(1, true, []byte("data"))
	_ = k.WriteRSTStream(1, 8)
	f.Add(k.Bytes(), uint16(3))
	long := newClient()
	_ = long.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: long.head("a=" + strings.Repeat("\x02", 9000)), EndHeaders: true})
	_ = long.WriteWindowUpdate(0, 5)
	f.Add(long.Bytes(), uint16(100))
	f.Add([]byte{0, 0, 2, 1, 0xc, 0, 0, 0, 1, 9, 9}, uint16(1))
	f.Fuzz(func(t *testing.T, in []byte, piece uint16) {
		whole, why := run(t, bytes.Clone(in), 1<<20, limits)
		cut, why2 := run(t, bytes.Clone(in), int(piece)+1, limits)
		// What the server has of an unfinished frame may differ: it can do nothing with it.
		if a, b := finished(whole), finished(cut); !bytes.Equal(a, b) || why != why2 {
			t.Fatalf("in one piece %x (%v), in pieces of %d %x (%v)", a, why, piece+1, b, why2)
		}
		fr := http2.NewFramer(io.Discard, bytes.NewReader(whole))
		fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		for {
			frame, err := fr.ReadFrame()
			var stream http2.StreamError
			if err != nil && !errors.As(err, &stream) {
				return
			}
			switch frame := frame.(type) {
			case *http2.MetaHeadersFrame:
				var b block
				for _, field := range frame.Fields {
					b.check(field)
				}
				if b.malformed {
					t.Fatalf("passed on: %v", frame.Fields)
				}
			case *http2.SettingsFrame:
				if frame.HasDuplicates() && frame.NumSettings() <= maxSettings {
					valid := true
					_ = frame.ForeachSetting(func(s http2.Setting) error { valid = valid && s.Valid() == nil; return nil })
					if valid {
						t.Fatal("a setting is given twice")
					}
				}
			}
		}
	})
}

// finished returns the frames that are whole.
func finished(b []byte) []byte {
	at := 0
	for len(b)-at >= frameHead {
		n := int(binary.BigEndian.Uint32(append([]byte{0}, b[at:at+3]...))) + frameHead
		if n > len(b)-at {
			break
		}
		at += n
	}
	return b[:at]
}
