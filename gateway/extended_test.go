package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/banyanhq/banyan/topology"
)

// takesExtendedConnect reports whether Go's server does, in this process.
func takesExtendedConnect() bool { return strings.Contains(os.Getenv("GODEBUG"), "http2xconnect=1") }

// Where the process was started for it, WebSocket over HTTP/2 (RFC 8441) is led to backends as an upgrade.
func TestExtendedConnect(t *testing.T) {
	if takesExtendedConnect() {
		t.Skip("by a process of its own")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestWebSocketOverHTTP2", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG=http2xconnect=1")
	if fullTierOnly {
		t.Skip("that process tries both tiers")
	}
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestWebSocketOverHTTP2")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// webSocketRig is a gateway whose service web goes over to WebSocket, but at /plain and /wrong; replicas of catalog are called by
// HTTP/2.
func webSocketRig(t *testing.T) (*rig, *rawH2) {
	if !takesExtendedConnect() {
		t.Skip("it takes GODEBUG=http2xconnect=1")
	}
	sys := shop()
	sys.Services["catalog"].Protocol = topology.H2C
	r := start(t, Config{System: sys})
	r.serve("catalog", text("catalog"))
	r.serve("web", func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/plain" {
			fmt.Fprint(w, "a page")
			return
		}
		key := q.Header.Get("Sec-WebSocket-Key")
		if q.Method != "GET" || q.Header.Get("Upgrade") != "websocket" || q.Header.Get("Connection") != "Upgrade" || len(key) != 24 || q.Header.Get("Sec-WebSocket-Version") != "13" {
			w.WriteHeader(400)
			return
		}
		if q.URL.Path == "/wrong" {
			key = "another"
		}
		conn, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: chat\r\n\r\n", acceptOf(key))
		_, _ = io.Copy(conn, brw)
	})
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	h := newRawH2(t, c)
	h.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return r, h
}

// connect asks for a protocol at a path, on a stream that stays open.
func (h *rawH2) connect(stream uint32, protocol, path string) {
	h.head.Reset()
	for _, f := range [][2]string{{":method", "CONNECT"}, {":protocol", protocol}, {":scheme", "http"}, {":path", path}, {":authority", "x"}, {"sec-websocket-version", "13"}} {
		_ = h.pack.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: h.head.Bytes(), EndHeaders: true})
}

// on reads until there is a head, or data, or the end of a stream.
func (h *rawH2) on(stream uint32) (head *http2.MetaHeadersFrame, data string, end bool) {
	h.t.Helper()
	for {
		f, err := h.ReadFrame()
		if err != nil {
			h.t.Fatalf("stream %d: %v", stream, err)
		}
		if f.Header().StreamID != stream {
			continue
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			return f, "", f.StreamEnded()
		case *http2.DataFrame:
			return nil, string(f.Data()), f.StreamEnded()
		case *http2.RSTStreamFrame:
			return nil, f.ErrCode.String(), true
		}
	}
}

func fieldOf(f *http2.MetaHeadersFrame, name string) string {
	for _, field := range f.RegularFields() {
		if field.Name == name {
			return field.Value
		}
	}
	return ""
}

func TestWebSocketOverHTTP2(t *testing.T) {
	r, h := webSocketRig(t)
	h.connect(1, "websocket", "/chat")
	head, _, end := h.on(1)
	if head == nil || head.PseudoValue("status") != "200" || end || fieldOf(head, "sec-websocket-protocol") != "chat" || fieldOf(head, "sec-websocket-accept") != "" {
		t.Fatalf("%v, ended %v", head, end)
	}
	for _, word := range []string{"hello", "there"} {
		_ = h.WriteData(1, false, []byte(word))
		if _, data, _ := h.on(1); data != word {
			t.Errorf("%q, want %q", data, word)
		}
	}
	if n := r.Stats().Backends[1].InFlight; n != 1 {
		t.Errorf("%d in flight", n)
	}
	// Our end of the stream reaches the backend, whose end then reaches us.
	_ = h.WriteData(1, true, []byte("last"))
	text := ""
	for end := false; !end; {
		var data string
		_, data, end = h.on(1)
		text += data
	}
	if text != "last" {
		t.Errorf("%q before the end", text)
	}
	until(t, "done", func() bool { return r.Stats().Backends[1].InFlight == 0 && r.Stats().Routes[0].InFlight == 0 })
}

// A client that resets its stream, and a gateway that stops, end the conversation.
func TestWebSocketOverHTTP2IsCutOff(t *testing.T) {
	r, h := webSocketRig(t)
	for _, stream := range []uint32{1, 3} {
		h.connect(stream, "websocket", "/chat")
		h.on(stream)
	}
	_ = h.WriteRSTStream(1, http2.ErrCodeCancel)
	until(t, "one is gone", func() bool { return r.Stats().Backends[1].InFlight == 1 })
	r.stop() // or it would wait for the other
}

func TestWebSocketOverHTTP2Refused(t *testing.T) {
	r, h := webSocketRig(t)
	for i, c := range []struct{ protocol, path, status, kind string }{
		{"websocket", "/plain", "501", "http_request_error"},
		{"websocket", "/wrong", "502", "http_protocol_error"},
		{"websocket", "/api/", "501", "http_request_error"},
		{"connect-udp", "/chat", "501", "http_request_error"},
		{"websocket", "/../x", "400", "http_request_error"},
	} {
		stream := uint32(2*i + 1)
		h.connect(stream, c.protocol, c.path)
		head, data, _ := h.on(stream)
		if head == nil || head.PseudoValue("status") != c.status || fieldOf(head, "proxy-status") != "banyan; error="+c.kind {
			t.Errorf("%+v: %v %q", c, head, data)
		}
		if n := r.Stats().Backends[1].Failures; i == 0 && n != 0 {
			t.Errorf("who asks for WebSocket where there is none costs the backend %d failures", n)
		}
	}
}
