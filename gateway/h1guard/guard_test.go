package h1guard

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/gateway/http1"
)

// source is a connection from which pieces of a size come, and then an end.
type source struct {
	net.Conn
	rest     []byte
	piece    int
	deadline time.Time
}

func (s *source) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.rest[:min(s.piece, len(s.rest))])
	s.rest = s.rest[n:]
	return n, nil
}

func (s *source) SetReadDeadline(t time.Time) error { s.deadline = t; return nil }

var config = Config{HTTP2: true, MaxHeader: 64 << 10, HeadTime: 10 * time.Second}

// through returns what passes of in, which comes in pieces and is read into a buffer of a size.
func through(in []byte, piece, buffer int, cfg Config) ([]byte, error) {
	c := Guard(&source{rest: in, piece: piece}, cfg)
	var out bytes.Buffer
	_, err := io.CopyBuffer(struct{ io.Writer }{&out}, struct{ io.Reader }{c}, make([]byte, buffer))
	return out.Bytes(), err
}

const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

func TestWhatPasses(t *testing.T) {
	big := fmt.Sprintf("PUT /big HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n%s", strings.Repeat("b", 100_000))
	for _, in := range []string{
		get, get + get, big + get, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello" + get,
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: v\r\n\r\n" + get,
		"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("l", 50<<10) + "\r\n\r\n" + get,
		preface + "\x00\x00\x00 anything", "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n",
	} {
		for _, piece := range []int{1, 2, 7, 4096, 1 << 20} {
			for _, buffer := range []int{1, 24, 4096} {
				if out, err := through([]byte(in), piece, buffer, config); string(out) != in || err != nil {
					t.Fatalf("%.60q in pieces of %d, read by %d: %d of %d bytes pass, %v", in, piece, buffer, len(out), len(in), err)
				}
			}
		}
	}
	if out, _ := through([]byte(get+"\r\n"+get), 3, 4096, config); string(out) != get+get {
		t.Errorf("an empty line before a request: %q", out)
	}
}

// What is refused: the server sees a head of the same status, and nothing of what follows.
func TestWhatIsRefused(t *testing.T) {
	const line = "GET / HTTP/1.1\r\nHost: x\r\n"
	for in, status := range map[string]int{
		"GET / HTTP/1.1\nHost: x\n\n": 400, line + "A: b\n\r\n": 400, line + "A: b\r\n c\r\n\r\n": 400, line + "A : b\r\n\r\n": 400, line + "A: b\rc\r\n\r\n": 400,
		line + "Host: x\r\n\r\n": 400, "GET / HTTP/1.1\r\n\r\n": 400, "x\r\n\r\n": 400, "GET /\r\n\r\n": 400,
		line + "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx": 400, line + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": 400,
		"POST / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": 400,
		line + "Transfer-Encoding: gzip\r\n\r\n": 501, "GET / HTTP/2.0\r\nHost: x\r\n\r\n": 505,
		line + strings.Repeat("A: b\r\n", http1.MaxFields+1) + "\r\n": 431, line + "A: " + strings.Repeat("a", 64<<10) + "\r\n\r\n": 431, strings.Repeat("x", 80<<10): 431,
	} {
		for _, before := range []string{"", get} {
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/smuggled" {
					t.Errorf("%.60q: what follows was taken for a request", in)
				}
			}), MaxHeaderBytes: 64 << 10}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go server.Serve(listener{l})
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			go io.WriteString(c, before+in+"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
			br := bufio.NewReader(c)
			statuses := []int{}
			for {
				res, err := http.ReadResponse(br, nil)
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("%.60q: the connection stays open", in)
				}
				if err != nil {
					break
				}
				statuses = append(statuses, res.StatusCode)
			}
			want := []int{status}
			if before != "" {
				want = []int{200, status}
			}
			// The refusal may be lost where the connection is reset by what was not read.
			if got := fmt.Sprint(statuses); got != fmt.Sprint(want) && got != fmt.Sprint(want[:len(want)-1]) {
				t.Errorf("%.60q after %q: answered %v, want %v", in, before, got, want)
			}
			c.Close()
			server.Close()
		}
	}
}

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return Guard(c, config), nil
}

func TestBrokenBodies(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, body := range []string{"zz\r\n", "5\nhello\r\n0\r\n\r\n", "5\r\nhello0\r\n\r\n", "0\r\nHost: y\r\n\r\n", "1;" + strings.Repeat("x", 300)} {
		for _, piece := range []int{1, 1000} {
			out, err := through([]byte(head+body+get), piece, 4096, config)
			if err == nil || !bytes.HasPrefix(out, []byte(head)) || bytes.Contains(out, []byte("GET /")) {
				t.Errorf("%q: %q passes, %v", body, out, err)
			}
			// Go's server must see that it is broken.
			req, e := http.ReadRequest(bufio.NewReader(bytes.NewReader(out)))
			if e != nil {
				t.Fatal(e)
			}
			if b, e := io.ReadAll(req.Body); e == nil {
				t.Errorf("%q: taken for the body %q", body, b)
			}
		}
	}
}

// What follows a request for another protocol is held back until it is known whether the server speaks that.
func TestUpgrades(t *testing.T) {
	const ask = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: y\r\n\r\n"
	for _, hijacked := range []bool{true, false} {
		c := Guard(&source{rest: []byte(ask + "\x00binary\n" + get), piece: 1000}, config).(*Conn)
		b := make([]byte, 4096)
		n, err := c.Read(b)
		if string(b[:n]) != ask || err != nil {
			t.Fatalf("%q %v", b[:n], err)
		}
		c.Answered(hijacked)
		rest, _ := io.ReadAll(struct{ io.Reader }{c})
		if got := strings.HasPrefix(string(rest), "\x00binary\n"+get); got != hijacked {
			t.Errorf("taken over %v: %q", hijacked, rest)
		}
	}
	// Where the server does not speak it, what follows is a request like any other.
	c := Guard(&source{rest: []byte(ask + get), piece: 1000}, config).(*Conn)
	b := make([]byte, 4096)
	_, _ = c.Read(b)
	c.Answered(false)
	if n, err := c.Read(b); string(b[:n]) != get || err != nil {
		t.Errorf("after a refusal: %q, %v", b[:n], err)
	}
	// One that Connection does not name asks for nothing (RFC 9110, 7.8), and what follows is not held back.
	const idle = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: y\r\n\r\n"
	in := idle + "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + strings.Repeat("b", 200_000)
	if out, err := through([]byte(in), 1000, 4096, config); string(out) != in || err != nil {
		t.Errorf("after an Upgrade that is not asked for: %d of %d bytes pass, %v", len(out), len(in), err)
	}
	c = Guard(&source{rest: []byte(ask + strings.Repeat("x", 1<<20)), piece: 1 << 20}, config).(*Conn)
	all, err := io.ReadAll(struct{ io.Reader }{c})
	if string(all) != ask || !errors.Is(err, errPiled) {
		t.Errorf("%d bytes, %v", len(all), err)
	}
}

// A head that has begun has its time from its first byte, once the request before it is answered; the deadline of the server
// is kept besides.
func TestHeadsHaveTheirTime(t *testing.T) {
	s := &source{rest: []byte(get + "GET "), piece: 1000}
	c := Guard(s, config).(*Conn)
	idle := time.Now().Add(time.Hour)
	b := make([]byte, 4096)
	if n, _ := c.Read(b); n != len(get) {
		t.Fatalf("%q", b[:n])
	}
	if n, err := c.Read(b[:1]); n != 0 || err != io.EOF || !s.deadline.IsZero() {
		t.Errorf("while it is answered: %d %v, deadline %v", n, err, s.deadline)
	}
	c.Answered(false)
	_ = c.SetReadDeadline(idle)
	_, _ = c.Read(b)
	if s.deadline.IsZero() || !s.deadline.Before(idle) {
		t.Errorf("the deadline is %v", s.deadline)
	}
	s.rest = []byte("/ HTTP/1.1\r\nHost: x\r\n\r\n")
	if n, err := c.Read(b); string(b[:n]) != get || err != nil || !s.deadline.Equal(idle) {
		t.Errorf("%q %v, deadline %v", b[:n], err, s.deadline)
	}
	// Between heads the server's deadline holds alone; within one the earlier of the two does.
	c.Answered(false)
	for _, at := range []time.Time{idle.Add(time.Hour), time.Now().Add(time.Second)} {
		if _ = c.SetReadDeadline(at); !s.deadline.Equal(at) {
			t.Errorf("between heads: the deadline is %v, and was set to %v", s.deadline, at)
		}
	}
	s.rest = []byte("GET ")
	_, _ = c.Read(b)
	soon := time.Now().Add(time.Second)
	if _ = c.SetReadDeadline(soon); !s.deadline.Equal(soon) {
		t.Errorf("within a head: the deadline is %v, and was set to %v", s.deadline, soon)
	}
	if _ = c.SetReadDeadline(idle); !s.deadline.Before(idle) {
		t.Errorf("within a head: the deadline is %v", s.deadline)
	}
}

// Without HTTP/2 its preface is a request of a version that is not taken.
func TestPrefaceWithoutHTTP2(t *testing.T) {
	cfg := config
	cfg.HTTP2 = false
	for _, piece := range []int{1, 1000} {
		if out, _ := through([]byte(preface+get), piece, 4096, cfg); string(out) != "GET / HTTP/9.9\r\nHost: refused\r\n\r\n" {
			t.Errorf("in pieces of %d: %q", piece, out)
		}
	}
	// And one that does not come first is none.
	if out, _ := through([]byte(get+preface), 1000, 4096, config); string(out) != get+"GET / HTTP/9.9\r\nHost: refused\r\n\r\n" {
		t.Errorf("after a request: %q", out)
	}
}

// Whoever asks is told of each refusal, once, and why.
func TestRefusalsAreTold(t *testing.T) {
	for in, want := range map[string]*http1.Error{get: nil, "GET / HTTP/1.1\nHost: x\n\n": http1.ErrLine, "GET / HTTP/1.1\r\n\r\n": http1.ErrHost} {
		var told []*http1.Error
		cfg := config
		cfg.Refused = func(why *http1.Error) { told = append(told, why) }
		_, _ = through([]byte(in+get), 7, 4096, cfg)
		if want == nil && len(told) > 0 || want != nil && (len(told) != 1 || told[0] != want) {
			t.Errorf("%q: told of %v, want %v", in, told, want)
		}
	}
}

// told is a connection that wants to know what becomes of its requests.
type told struct {
	source
	answered []bool
}

func (t *told) Answered(hijacked bool) { t.answered = append(t.answered, hijacked) }

// The connection below is told what the guard is told.
func TestConnectionBelowIsTold(t *testing.T) {
	below := &told{source: source{rest: []byte(get), piece: 1000}}
	c := Guard(below, config).(*Conn)
	_, _ = c.Read(make([]byte, 4096))
	c.Answered(false)
	c.Answered(true)
	if fmt.Sprint(below.answered) != "[false true]" {
		t.Errorf("it was told %v", below.answered)
	}
	if c.Beneath() != net.Conn(below) {
		t.Error("it is not what lies beneath")
	}
}

// Lines that are none are refused as they come, not when the head is whole.
func TestBadLinesAreRefusedAtOnce(t *testing.T) {
	for _, in := range []string{"GET /\r\n", "GET / HTTP/1.1\r\nHost: x\r\nX : y\r\n", "GET / HTTP/1.1\n"} {
		for _, piece := range []int{1, 1000} {
			if out, _ := through([]byte(in), piece, 4096, config); !isPoison(string(out)) || len(out) == 0 {
				t.Errorf("%q in pieces of %d: %q", in, piece, out)
			}
		}
	}
}

// What passes is the same in whatever pieces it comes, and all of it is requests as package http1 takes them, but for the
// one in the place of what is refused.
func FuzzGuard(f *testing.F) {
	f.Add([]byte(get+get), uint16(3), uint16(1))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\r\n"+get+"GET / HTTP/1.1\nHost: x\n\n"), uint16(1), uint16(24))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: y\r\n\r\n\x00\x01"), uint16(9), uint16(4096))
	f.Add([]byte(preface), uint16(9), uint16(14))
	f.Fuzz(func(t *testing.T, in []byte, piece, buffer uint16) {
		cfg := config
		cfg.HTTP2, cfg.MaxHeader = len(in)%2 == 0, 8<<10
		whole, err := through(bytes.Clone(in), len(in)+1, len(in)+readSize, cfg)
		cut, err2 := through(bytes.Clone(in), int(piece)+1, int(buffer)+1, cfg)
		if !bytes.Equal(whole, cut) || (err == nil) != (err2 == nil) {
			t.Fatalf("%q: in one piece %q (%v), in pieces of %d %q (%v)", in, whole, err, piece+1, cut, err2)
		}
		if cfg.HTTP2 && bytes.HasPrefix(in, []byte(preface)) {
			return
		}
		for b := whole; len(b) > 0; {
			var r http1.Request
			n, e := r.Parse(b)
			if e != nil || n == 0 {
				if isPoison(string(b)) {
					return
				}
				t.Fatalf("%q: %q passes: %v", in, b, e)
			}
			if b = b[n:]; !r.Chunked {
				b = b[min(int64(len(b)), max(r.Length, 0)):]
				continue
			}
			var chunks http1.Chunks
			for !chunks.Done() {
				n, _, e := chunks.Next(b, nil)
				if b = b[n:]; string(b) == "\x00\x00\r\n\r\n" {
					return // in the place of a chunk
				}
				if e != nil || n == 0 && len(b) > 0 && !chunks.Done() && err == nil {
					t.Fatalf("%q: chunks pass that are none: %v", in, e)
				}
				if n == 0 {
					break
				}
			}
			if !chunks.Done() {
				return
			}
		}
	})
}

// isPoison reports whether the server is given this in the place of a head that is refused.
func isPoison(b string) bool {
	switch b {
	case "refused refused refused\r\n\r\n", "GET / HTTP/9.9\r\nHost: refused\r\n\r\n", "GET / HTTP/1.1\r\nHost: refused\r\nTransfer-Encoding: refused\r\n\r\n":
		return true
	}
	return strings.Trim(b, "x") == ""
}
