package gateway

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/banyanhq/banyan/topology"
)

// rawH2 is a client of HTTP/2 that sends what frames it likes.
type rawH2 struct {
	net.Conn
	*http2.Framer
	t    *testing.T
	head bytes.Buffer
	pack *hpack.Encoder
}

func newRawH2(t *testing.T, c net.Conn) *rawH2 {
	t.Helper()
	h := &rawH2{Conn: c, Framer: http2.NewFramer(c, c), t: t}
	h.AllowIllegalWrites = true
	h.pack = hpack.NewEncoder(&h.head)
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, _ = io.WriteString(c, http2.ClientPreface) // where the connection is closed already, reading fails as well
	_ = h.WriteSettings()
	return h
}

func (h *rawH2) fields(extra ...hpack.HeaderField) []byte {
	h.head.Reset()
	for _, f := range append([]hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: "/"}, {Name: ":authority", Value: "x"}}, extra...) {
		_ = h.pack.WriteField(f)
	}
	return h.head.Bytes()
}

func (h *rawH2) ask(stream uint32, extra ...hpack.HeaderField) error {
	return h.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: h.fields(extra...), EndStream: true, EndHeaders: true})
}

// end reads until the connection is over, and returns with what code, if GOAWAY came.
func (h *rawH2) end() (code http2.ErrCode, went bool) {
	for {
		f, err := h.ReadFrame()
		var network net.Error
		if errors.As(err, &network) && network.Timeout() {
			h.t.Error("the connection stays open")
		}
		if err != nil {
			return code, went
		}
		if g, ok := f.(*http2.GoAwayFrame); ok && g.ErrCode != http2.ErrCodeNo {
			code, went = g.ErrCode, true
		}
	}
}

// Floods of frames end their connection, having cost little; clients beside it are served.
func TestHTTP2Floods(t *testing.T) {
	const enough = 200_000 // frames, and the test fails
	floods := []struct {
		name string
		send func(h *rawH2, i uint32) error
	}{
		{"requests that are reset at once", func(h *rawH2, i uint32) error {
			return errors.Join(h.ask(2*i+1), h.WriteRSTStream(2*i+1, http2.ErrCodeCancel))
		}},
		{"requests that the server resets", func(h *rawH2, i uint32) error {
			_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: h.fields(), EndHeaders: true})
			return h.WriteWindowUpdate(2*i+1, 1<<31-1) // beyond what a window may be
		}},
		{"continuations", func(h *rawH2, i uint32) error {
			if i == 0 {
				_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: h.fields(), EndStream: true})
			}
			return h.WriteContinuation(1, false, nil)
		}},
		{"settings", func(h *rawH2, _ uint32) error {
			return h.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		}},
		{"pings", func(h *rawH2, _ uint32) error { return h.WritePing(false, [8]byte{}) }},
		{"priorities", func(h *rawH2, i uint32) error {
			return h.WritePriority(2*i+1, http2.PriorityParam{StreamDep: 1<<20 + 1, Weight: 1})
		}},
		{"updates of the window", func(h *rawH2, _ uint32) error { return h.WriteWindowUpdate(0, 1) }},
		{"empty data", func(h *rawH2, i uint32) error {
			if i == 0 {
				_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: h.fields(), EndHeaders: true})
			}
			return h.WriteData(1, false, nil)
		}},
		{"frames that nobody knows", func(h *rawH2, _ uint32) error { return h.WriteRawFrame(0xfb, 0, 0, make([]byte, 1000)) }},
	}
	cfg, trust := secured(t, nil)
	r := start(t, cfg)
	var begun atomic.Int64
	r.serve("web", func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("X-Honest") == "" {
			begun.Add(1)
			_, _ = io.Copy(io.Discard, q.Body) // only then does the server look whether the client is there
			<-q.Context().Done()
		}
	})
	honest := func() {
		t.Helper()
		q := r.request("GET", "/", nil)
		q.Header.Set("X-Honest", "1")
		if a := r.do(q); a.status != 200 {
			t.Errorf("beside the flood: %d", a.status)
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i, flood := range floods {
		begun.Store(0)
		var c net.Conn
		var err error
		if i%2 == 0 {
			c, err = net.Dial("tcp", r.Addr().String())
		} else {
			config := trust(r)
			config.NextProtos = []string{"h2"}
			c, err = tls.Dial("tcp", r.TLSAddr().String(), config)
		}
		if err != nil {
			t.Fatal(err)
		}
		h := newRawH2(t, c)
		sent := make(chan int, 1)
		go func() {
			for i := range enough {
				if flood.send(h, uint32(i)) != nil {
					sent <- i
					return
				}
			}
			sent <- enough
		}()
		honest()
		code, went := h.end()
		h.Close()
		// Frames may go into the kernel's buffers after GOAWAY; where the connection was reset it may not have arrived.
		if n := <-sent; went && code != http2.ErrCodeEnhanceYourCalm || !went && n == enough {
			t.Errorf("%s: %d frames, GOAWAY %v with %v", flood.name, n, went, code)
		}
		if limit := int64(http2Limits.Resets.Burst + 2*maxStreams); begun.Load() > limit {
			t.Errorf("%s: %d calls to the backend were begun, want at most %d", flood.name, begun.Load(), limit)
		}
		honest()
	}
	until(t, "nothing is in flight", func() bool { return r.Stats().Routes[0].InFlight == 0 })
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("the floods left %d bytes", grown)
	}
	var calmed int64
	for i := range r.calmed {
		calmed += r.calmed[i].Load()
	}
	if calmed != int64(len(floods)) {
		t.Errorf("%d connections were calmed, want %d", calmed, len(floods))
	}
}

// A head that is too long is answered, if its client keeps the rules, or ends its connection; many small fields are as a
// few long ones.
func TestHTTP2LongHeads(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", text("web"))
	for name, fields := range map[string][]hpack.HeaderField{
		"long":  {{Name: "x-long", Value: strings.Repeat("l", 60<<10)}, {Name: "x-longer", Value: strings.Repeat("m", 20<<10)}},
		"many":  manyFields(3000),
		"bombs": bombs(3000),
	} {
		c, err := net.Dial("tcp", r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		h := newRawH2(t, c)
		block := bytes.Clone(h.fields(fields...))
		first := min(len(block), 16<<10)
		_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:first], EndStream: true, EndHeaders: first == len(block)})
		for block = block[first:]; len(block) > 0; {
			n := min(len(block), 16<<10)
			_ = h.WriteContinuation(1, n == len(block), block[:n])
			block = block[n:]
		}
		h.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		for {
			f, err := h.ReadFrame()
			if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
			if m, ok := f.(*http2.MetaHeadersFrame); ok {
				if got := m.PseudoValue("status"); got != "431" {
					t.Errorf("%s: answered %s", name, got)
				}
				break
			}
			if g, ok := f.(*http2.GoAwayFrame); ok {
				if g.ErrCode == http2.ErrCodeNo {
					t.Errorf("%s: GOAWAY without an error", name)
				}
				break
			}
		}
	}
}

func manyFields(n int) (out []hpack.HeaderField) {
	for i := range n {
		out = append(out, hpack.HeaderField{Name: fmt.Sprint("x-", i), Value: "v", Sensitive: true}) // not into the table
	}
	return out
}

// bombs are fields of one byte each, once compressed, that are long when they are not.
func bombs(n int) (out []hpack.HeaderField) {
	for range n {
		out = append(out, hpack.HeaderField{Name: "x-bomb", Value: strings.Repeat("b", 3000)})
	}
	return out
}

// Extended CONNECT (RFC 8441) is refused as that says: the setting is not sent, and who asks all the same has its stream reset,
// beside others that go on.
func TestExtendedConnectIsRefused(t *testing.T) {
	if takesExtendedConnect() {
		t.Skip("the process was started to take it")
	}
	r := start(t, Config{})
	r.serve("web", text("web"))
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	h := newRawH2(t, c)
	h.head.Reset()
	for _, f := range [][2]string{{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "http"}, {":path", "/"}, {":authority", "x"}} {
		_ = h.pack.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: h.head.Bytes(), EndHeaders: true})
	_ = h.ask(3)
	for reset, answered := false, false; !reset || !answered; {
		f, err := h.ReadFrame()
		if err != nil {
			t.Fatalf("reset %v, answered %v, then %v", reset, answered, err)
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if v, there := f.Value(http2.SettingEnableConnectProtocol); there {
				t.Errorf("the setting is %d", v)
			}
		case *http2.RSTStreamFrame:
			reset = f.StreamID == 1 && f.ErrCode == http2.ErrCodeProtocol
		case *http2.HeadersFrame:
			answered = f.StreamID == 3
		}
	}
}

// A client that takes nothing of an answer has its stream ended in the request's time, and the connection goes on.
func TestHTTP2StalledStreams(t *testing.T) {
	r := start(t, Config{System: eachInbound(shop(), func(in *topology.Inbound) { in.Timeout = topology.Duration(300 * time.Millisecond) })}, letsGoSoon)
	r.serve("web", func(w http.ResponseWriter, q *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) })
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	h := newRawH2(t, c)
	_ = h.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	const streams = 20
	for i := range uint32(streams) {
		_ = h.ask(2*i + 1)
	}
	for reset := 0; reset < streams; {
		f, err := h.ReadFrame()
		if err != nil {
			t.Fatalf("%d streams were reset, then %v", reset, err)
		}
		switch f.(type) {
		case *http2.RSTStreamFrame:
			reset++
		case *http2.GoAwayFrame:
			t.Fatalf("%d streams were reset, then the connection ended", reset)
		}
	}
	until(t, "nothing is in flight", func() bool { return r.Stats().Routes[0].InFlight == 0 })
	_ = h.WritePing(false, [8]byte{7})
	for {
		f, err := h.ReadFrame()
		if err != nil {
			t.Fatalf("the connection is gone: %v", err)
		}
		if p, ok := f.(*http2.PingFrame); ok && p.IsAck() {
			return
		}
	}
}
