package load

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/banyanhq/banyan/topology"
)

// scripted answers every connection by talk, which is done when it returns.
func scripted(t *testing.T, talk func(c net.Conn, in *bufio.Reader)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				talk(c, bufio.NewReader(c))
			}()
		}
	}()
	return l.Addr().String()
}

// badly runs one step against a target that answers badly, for a moment, and returns the kinds that were counted.
func badly(t *testing.T, target string, timeout time.Duration, step *topology.Step) map[Kind]int64 {
	t.Helper()
	s := *step
	s.Name, s.Weight = "x", 1
	if timeout == 0 {
		timeout = 20 * time.Second
	}
	w := &topology.Workload{Users: 1, Think: topology.Duration(5 * time.Millisecond), ThinkTimes: "constant", Duration: topology.Duration(30 * time.Millisecond), Timeout: topology.Duration(timeout), Scenarios: map[string]*topology.Scenario{"s": {Steps: []*topology.Step{&s}}}}
	for { // until the machine comes to a request in that time
		r, err := Run(t.Context(), Config{Target: target, MaxBody: 64 << 10, Workload: w, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Step("x"); got.Requests > 0 {
			return got.Errors
		}
	}
}

func wantKind(t *testing.T, name string, got map[Kind]int64, want Kind) {
	t.Helper()
	if len(got) != 1 || got[want] == 0 {
		t.Errorf("%s: %v, want %q", name, got, want)
	}
}

// flood writes text again and again until the other side is gone.
func flood(c net.Conn, text string) {
	block := []byte(strings.Repeat(text, 1+4096/len(text)))
	for {
		if _, err := c.Write(block); err != nil {
			return
		}
	}
}

// hold keeps the connection open and silent until the other side is gone.
func hold(in *bufio.Reader) { _, _ = io.Copy(io.Discard, in) }

func TestBadRedis(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name, answer string
		endless      bool
		want         Kind
	}{
		{"not RESP", "hello\r\n", false, Malformed},
		{"HTTP", "HTTP/1.1 400 Bad Request\r\n\r\n", false, Malformed},
		{"an empty line", "\r\n", false, Malformed},
		{"a length that is no number", "$x\r\n", false, Malformed},
		{"a negative length", "$-2\r\n", false, Malformed},
		{"a longer string than its length", "$2\r\nabcd\r\n", false, Malformed},
		{"cut in a line", "+O", false, ClosedEarly},
		{"cut in a string", "$10\r\nabc", false, ClosedEarly},
		{"cut in an array", "*3\r\n:1\r\n", false, ClosedEarly},
		{"nothing", "", false, ClosedEarly},
		{"a string without end", "$1099511627776\r\n", true, TooLarge},
		{"a line without end", "+", true, Malformed},
		{"an array of too many", "*1073741824\r\n", true, Malformed},
		{"an array in an array in an array", strings.Repeat("*1\r\n", 100), false, Malformed},
		{"pushes without end", strings.Repeat(">1\r\n+x\r\n", 600), true, Malformed},
		{"an unknown error", "-WHATEVER it is\r\n", false, "redis other error"},
		{"a known error", "-OOM no memory\r\n", false, "redis OOM"},
		{"a bulk error", "!8\r\nBUSY now\r\n", false, "redis BUSY"},
	} {
		addr := scripted(t, func(c net.Conn, in *bufio.Reader) {
			// An error ends no connection: who closes it may meet the next command on its way, and cut off the answers before.
			for errors := strings.HasPrefix(string(x.want), "redis"); ; {
				for range 3 { // lines of PING
					if _, err := in.ReadString('\n'); err != nil {
						return
					}
				}
				_, _ = io.WriteString(c, x.answer)
				if !errors {
					break
				}
			}
			if x.endless {
				flood(c, "x")
			}
		})
		wantKind(t, x.name, badly(t, "redis://"+addr, 0, &topology.Step{Redis: []string{"PING"}}), x.want)
	}
	silent := scripted(t, func(_ net.Conn, in *bufio.Reader) { hold(in) })
	for scheme, step := range map[string]*topology.Step{
		"redis": {Redis: []string{"PING"}}, "tcp": {TCP: &topology.TCPCall{Send: "x", Length: 1}}, "nats": {NATS: &topology.NATSCall{Subject: "s"}},
		"ws": {WebSocket: &topology.WebSocketCall{}}, "h2c": {Path: "/"}, "grpc": {GRPC: &topology.GRPCCall{Method: "a.B/C", Hex: "00"}}, "dynamodb": {DynamoDB: "ListTables"},
	} {
		wantKind(t, scheme+" that is silent", badly(t, scheme+"://"+silent, 50*time.Millisecond, step), Timeout)
	}
}

func TestBadTCP(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name, answer string
		endless      bool
		step         *topology.TCPCall
		want         Kind
	}{
		{"cut before its length", "abc", false, &topology.TCPCall{Send: "x\n", Length: 10}, ClosedEarly},
		{"cut before its end", "abc", false, &topology.TCPCall{Send: "x\n", Until: "\r\n"}, ClosedEarly},
		{"never its end", "", true, &topology.TCPCall{Send: "x\n", Until: "\r\n"}, TooLarge},
		{"never a match", "", true, &topology.TCPCall{Send: "x\n", Match: "^never$"}, TooLarge},
		{"longer than is read", "", true, &topology.TCPCall{Send: "x\n", Length: 1 << 20}, TooLarge},
	} {
		addr := scripted(t, func(c net.Conn, in *bufio.Reader) {
			if _, err := in.ReadString('\n'); err != nil {
				return
			}
			_, _ = io.WriteString(c, x.answer)
			if x.endless {
				flood(c, "x")
			}
		})
		wantKind(t, x.name, badly(t, "tcp://"+addr, 0, &topology.Step{TCP: x.step}), x.want)
	}
}

func TestBadNATS(t *testing.T) {
	t.Parallel()
	const info = "INFO {\"headers\":true,\"max_payload\":1000}\r\n"
	for _, x := range []struct {
		name, greeting, answer string
		endless                bool
		headers                map[string]string
		want                   Kind
	}{
		{"not NATS", "220 mail ready\r\n", "", false, nil, Malformed},
		{"INFO that is not JSON", "INFO {\r\n", "", false, nil, Malformed},
		{"closed at once", "", "", false, nil, ClosedEarly},
		{"a greeting without end", "INFO ", "", true, nil, Malformed},
		{"TLS", "INFO {\"tls_required\":true}\r\n", "", false, nil, TLS},
		{"a wrong password", info, "-ERR 'Authorization Violation'\r\n", false, nil, natsAuth},
		{"a subject that is forbidden", info, "PONG\r\n-ERR 'Permissions Violation for Publish to \"s\"'\r\n", false, nil, natsDenied},
		{"an unknown error", info, "PONG\r\n-ERR 'Whatever'\r\n", false, nil, natsOther},
		{"an unknown word", info, "PONG\r\nWHAT is this\r\n", false, nil, Malformed},
		{"a message without length", info, "PONG\r\nMSG a 1\r\n", false, nil, Malformed},
		{"a negative length", info, "PONG\r\nMSG a 1 -5\r\n", false, nil, Malformed},
		{"headers longer than the message", info, "PONG\r\nHMSG a 1 10 5\r\n", false, nil, Malformed},
		{"a message cut in the middle", info, "PONG\r\nMSG a 1 100\r\nabc", false, nil, ClosedEarly},
		{"a message longer than its length", info, "PONG\r\nMSG a 1 2\r\nabcdef\r\n", false, nil, Malformed},
		{"a message without end", info, "PONG\r\nMSG a 1 99999999999\r\n", true, nil, TooLarge},
		{"headers to a server that takes none", "INFO {}\r\n", "PONG\r\n", false, map[string]string{"A": "b"}, natsOther},
	} {
		addr := scripted(t, func(c net.Conn, in *bufio.Reader) {
			_, _ = io.WriteString(c, x.greeting)
			if x.answer == "" && x.endless {
				flood(c, "x")
			}
			if x.answer == "" {
				return
			}
			for { // what it says comes up to the PING
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if strings.HasPrefix(line, "PING") {
					break
				}
			}
			answer, greeted := strings.CutPrefix(x.answer, "PONG\r\n")
			if greeted { // the request is read, so that closing is no reset
				_, _ = io.WriteString(c, "PONG\r\n")
				for range 2 {
					if _, err := in.ReadString('\n'); err != nil {
						return
					}
				}
			}
			_, _ = io.WriteString(c, answer)
			if x.endless {
				flood(c, "x")
			}
		})
		wantKind(t, x.name, badly(t, "nats://"+addr, 0, &topology.Step{NATS: &topology.NATSCall{Subject: "s"}, Headers: x.headers}), x.want)
	}
}

func TestBadWebSocket(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name, handshake, frames string
		flood                   string
		timeout                 time.Duration
		want                    Kind
	}{
		{name: "another status", handshake: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", want: wsRefused},
		{name: "not HTTP", handshake: "hello\r\n\r\n", want: Malformed},
		{name: "a wrong key", handshake: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n", want: Malformed},
		{name: "a handshake cut in the middle", handshake: "HTTP/1.1 101 Swit", want: ClosedEarly},
		{name: "masked", frames: "\x81\x81abcdx", want: Malformed},
		{name: "reserved bits", frames: "\xc1\x01x", want: Malformed},
		{name: "an unknown opcode", frames: "\x83\x01x", want: Malformed},
		{name: "a continuation of nothing", frames: "\x80\x01x", want: Malformed},
		{name: "a long ping", frames: "\x89\x7e\x01\x00", flood: "x", want: Malformed},
		{name: "not UTF-8", frames: "\x81\x01\xff", want: Malformed},
		{name: "more than 2^63 bytes", frames: "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", want: Malformed},
		{name: "cut in a frame", frames: "\x81\x10abc", want: ClosedEarly},
		{name: "cut in a length", frames: "\x81\x7e\x01", want: ClosedEarly},
		{name: "closed", frames: "\x88\x02\x03\xe8", want: wsClosed},
		{name: "a long message", frames: "\x82\x7f\x00\x00\x01\x00\x00\x00\x00\x00", flood: "x", want: TooLarge},
		{name: "a message in pieces without end", frames: "\x02\x01x", flood: "\x00\x01x", want: TooLarge},
		{name: "empty pieces without end", frames: "\x02\x00", flood: "\x00\x00", timeout: 100 * time.Millisecond, want: Timeout},
		{name: "pings without end", flood: "\x89\x00", timeout: 100 * time.Millisecond, want: Timeout},
		{name: "messages without end, never the awaited one", flood: "\x81\x01x", timeout: 100 * time.Millisecond, want: Timeout},
	} {
		addr := scripted(t, func(c net.Conn, in *bufio.Reader) {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			handshake := x.handshake
			if handshake == "" {
				sum := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
				handshake = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"
			}
			go hold(in) // pongs must not fill the line
			_, _ = io.WriteString(c, handshake+x.frames)
			if x.flood != "" {
				flood(c, x.flood)
			}
		})
		wantKind(t, x.name, badly(t, "ws://"+addr, x.timeout, &topology.Step{WebSocket: &topology.WebSocketCall{Path: "/", Await: "^never$"}}), x.want)
	}
}

func TestBadDynamoDB(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name, answer string
		endless      bool
		want         Kind
	}{
		{"not HTTP", "hello\r\n\r\n", false, Malformed},
		{"not JSON", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, Malformed},
		{"nothing", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, Malformed},
		{"cut in the body", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", false, ClosedEarly},
		{"cut in the head", "HTTP/1.1 200 OK\r\nContent-Type: x\r\n", false, ClosedEarly},
		{"cut in a header's name, which may be one", "HTTP/1.1 200 OK\r\nContent-", false, Malformed},
		{"closed at once", "", false, ClosedEarly},
		{"a body without end", "HTTP/1.1 200 OK\r\n\r\n{", true, TooLarge},
		{"an error that is no JSON", "HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nhello", false, "dynamodb other error"},
		{"an error page", "HTTP/1.1 503 Busy\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>", false, "dynamodb other error"},
		{"a redirect", "HTTP/1.1 302 Found\r\nLocation: http://else/\r\nContent-Length: 0\r\n\r\n", false, "dynamodb other error"},
		{"an error of a made-up name", "HTTP/1.1 400 Bad\r\nContent-Length: 17\r\n\r\n{\"__type\":\"Oops\"}", false, "dynamodb other error"},
		{"a throttled call", "HTTP/1.1 400 Bad\r\nContent-Length: 34\r\n\r\n{\"__type\":\"a#ThrottlingException\"}", false, "dynamodb ThrottlingException"},
	} {
		addr := scripted(t, func(c net.Conn, in *bufio.Reader) {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			// A server that closes says so, or the next request may meet the end of the connection.
			_, _ = io.WriteString(c, strings.Replace(x.answer, "Content-Length", "Connection: close\r\nContent-Length", 1))
			if x.endless {
				flood(c, "x")
			}
		})
		wantKind(t, x.name, badly(t, "dynamodb://"+addr, 0, &topology.Step{DynamoDB: "ListTables"}), x.want)
	}
}

// requested reads the preface of HTTP/2 and frames up to the first that begins a request. What is answered before it is met by
// nobody's request: the client finds the connection of no use, and that is all it can say.
func requested(in *bufio.Reader) bool {
	if _, err := in.Discard(len(http2.ClientPreface)); err != nil {
		return false
	}
	frames := http2.NewFramer(io.Discard, in)
	for {
		frame, err := frames.ReadFrame()
		if err != nil {
			return false
		}
		if frame.Header().Type == http2.FrameHeaders {
			return true
		}
	}
}

func TestBadHTTP2AndGRPC(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name, answer string
		want         Kind
	}{
		{"HTTP/1.1", "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", Malformed},
		{"a frame that is too long", "\xff\xff\xff\x04\x00\x00\x00\x00\x00", Malformed},
		{"settings cut in the middle", "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x01", ClosedEarly},
		{"closed at once", "", ClosedEarly},
	} {
		addr := scripted(t, func(c net.Conn, in *bufio.Reader) {
			if !requested(in) {
				return
			}
			_, _ = io.WriteString(c, x.answer)
			_ = c.(*net.TCPConn).CloseWrite()
			hold(in)
		})
		for scheme, step := range map[string]*topology.Step{"h2c": {Path: "/"}, "grpc": {GRPC: &topology.GRPCCall{Method: "a.B/C", Hex: "00"}}} {
			wantKind(t, x.name+", "+scheme, badly(t, scheme+"://"+addr, 0, step), x.want)
		}
	}
	answers := map[string]func(w http.ResponseWriter){
		"/a.A/ContentType": func(w http.ResponseWriter) { w.Header().Set("Content-Type", "text/html"); fmt.Fprint(w, "<html>") },
		"/a.A/Status":      func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) },
		"/a.A/NoStatus":    func(w http.ResponseWriter) { _, _ = w.Write([]byte{0, 0, 0, 0, 0}) },
		"/a.A/Unknown":     func(w http.ResponseWriter) { w.Header().Set("Grpc-Status", "99") },
		"/a.A/Compressed":  func(w http.ResponseWriter) { _, _ = w.Write([]byte{1, 0, 0, 0, 1, 0}) },
		"/a.A/Cut":         func(w http.ResponseWriter) { _, _ = w.Write([]byte{0, 0, 0, 0, 100, 1, 2, 3}) },
		"/a.A/CutPrefix":   func(w http.ResponseWriter) { _, _ = w.Write([]byte{0, 0, 0}) },
		"/a.A/Reset":       func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"/a.A/Long":        func(w http.ResponseWriter) { _, _ = w.Write([]byte{0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3}) },
		"/a.A/Endless": func(w http.ResponseWriter) {
			for {
				if _, err := w.Write([]byte("\x00\x00\x00\x00\x05hello")); err != nil {
					return
				}
			}
		},
		"/a.A/Down": func(w http.ResponseWriter) {
			w.Header().Set("Grpc-Status", "14")
			w.Header().Set("Grpc-Message", "down")
		},
	}
	p := &http.Protocols{}
	p.SetUnencryptedHTTP2(true)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/grpc")
		answers[r.URL.Path](w)
	}))
	s.Config.Protocols = p
	s.Start()
	t.Cleanup(s.Close)
	for method, want := range map[string]Kind{"ContentType": Malformed, "Status": Malformed, "NoStatus": Malformed, "Unknown": Malformed, "Compressed": Malformed,
		"Cut": ClosedEarly, "CutPrefix": ClosedEarly, "Reset": StreamReset, "Long": TooLarge, "Endless": TooLarge, "Down": "grpc unavailable"} {
		target := s.Listener.Addr().String()
		wantKind(t, method, badly(t, "grpc://"+target, 0, &topology.Step{GRPC: &topology.GRPCCall{Method: "a.A/" + method, Hex: "00"}}), want)
	}
	wantKind(t, "an endless body", badly(t, "h2c://"+s.Listener.Addr().String(), 0, &topology.Step{Path: "/a.A/Endless"}), TooLarge)
}

// A connection that the server closes to new requests, as nginx does after keepalive_requests, costs none of them: they go
// over another.
func TestGoAwayIsNoError(t *testing.T) {
	t.Parallel()
	const answer = "\x88\x0f\x10\x10application/grpc\x00\x0bgrpc-status\x010" // 200, by HPACK (RFC 7541)
	for scheme, step := range map[string]*topology.Step{"h2c": {Path: "/"}, "grpc": {GRPC: &topology.GRPCCall{Method: "a.B/C", Hex: "00"}}} {
		var conns atomic.Int64
		addr := scripted(t, func(c net.Conn, in *bufio.Reader) {
			closing := conns.Add(1) == 1
			_, _ = io.ReadFull(in, make([]byte, 24))                         // the preface
			_, _ = io.WriteString(c, "\x00\x00\x00\x04\x00\x00\x00\x00\x00") // SETTINGS
			for {
				var frame [9]byte
				if _, err := io.ReadFull(in, frame[:]); err != nil {
					return
				}
				_, _ = io.CopyN(io.Discard, in, int64(frame[0])<<16|int64(frame[1])<<8|int64(frame[2]))
				switch {
				case frame[3] == 4 && frame[4] == 0:
					_, _ = io.WriteString(c, "\x00\x00\x00\x04\x01\x00\x00\x00\x00")
				case frame[3] == 1 && closing: // GOAWAY: no request was begun
					_, _ = io.WriteString(c, "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
				case frame[3] == 1: // HEADERS, at whose end the stream ends
					_, _ = c.Write(append([]byte{0, 0, byte(len(answer)), 1, 5}, append(frame[5:9:9], answer...)...))
				}
			}
		})
		if got := badly(t, scheme+"://"+addr, 0, step); len(got) > 0 || conns.Load() < 2 {
			t.Errorf("%s: errors %v, %d connections", scheme, got, conns.Load())
		}
	}
}
