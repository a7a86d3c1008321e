package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestRequest(t *testing.T) {
	var r Request
	text := "\r\nPOST /a?b HTTP/1.1\r\nHost: x\r\nCONTENT-length:  5 \r\nX-Empty:\r\nConnection: Keep-Alive, close\r\nVia:\ta b\t\r\n\r\nhello"
	n, err := r.Parse([]byte(text))
	if err != nil || text[n:] != "hello" {
		t.Fatalf("%d, %v", n, err)
	}
	if string(r.Method) != "POST" || string(r.Target) != "/a?b" || r.Minor != 1 || string(r.Host) != "x" || r.Length != 5 || !r.Close || !r.KeepAlive || r.Nominates {
		t.Errorf("%+v", r)
	}
	if f := r.Fields[4]; f.Known != Via || string(f.Value) != "a b" {
		t.Errorf("%+v", f)
	}
	for i := range n {
		if k, err := r.Parse([]byte(text[:i])); k != 0 || err != nil {
			t.Errorf("the first %d bytes: %d, %v", i, k, err)
		}
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = r.Parse([]byte(text)) }); n > 1 { // the conversion
		t.Errorf("%v allocations", n)
	}
}

func TestRejectedRequests(t *testing.T) {
	const ok = "GET / HTTP/1.1\r\nHost: x\r\n"
	for text, want := range map[string]*Error{
		"GET / HTTP/1.1\nHost: x\n\n":                                           ErrLine,
		ok + "A: b\n\r\n":                                                       ErrLine,
		ok + "A: b\rc\r\n\r\n":                                                  ErrField,
		ok + "A: b\r\n c\r\n\r\n":                                               ErrFold,
		" " + ok + "\r\n":                                                       ErrRequestLine,
		ok + "A : b\r\n\r\n":                                                    ErrField,
		ok + ": b\r\n\r\n":                                                      ErrField,
		ok + "A\r\n\r\n":                                                        ErrField,
		ok + "A: \x00\r\n\r\n":                                                  ErrField,
		ok + "Host: x\r\n\r\n":                                                  ErrHost,
		"GET / HTTP/1.1\r\n\r\n":                                                ErrHost,
		"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n":                                   ErrHost,
		ok + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n":                   ErrLength,
		ok + "Content-Length: +1\r\n\r\n":                                       ErrLength,
		ok + "Content-Length: 1,1\r\n\r\n":                                      ErrLength,
		ok + "Content-Length: 1234567890123456789\r\n\r\n":                      ErrLength,
		ok + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n":          ErrFraming,
		ok + "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n":          ErrFraming,
		"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n":                  ErrFraming,
		ok + "Transfer-Encoding: gzip, chunked\r\n\r\n":                         ErrCoding,
		ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n": ErrCoding,
		"GET / HTTP/2.0\r\nHost: x\r\n\r\n":                                     ErrVersion,
		"GET / HTTP/1.1x\r\nHost: x\r\n\r\n":                                    ErrRequestLine,
		"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n":                                  ErrRequestLine,
		ok + strings.Repeat("A: b\r\n", MaxFields) + "\r\n":                     ErrFields,
	} {
		var r Request
		if n, err := r.Parse([]byte(text)); err != want || n != 0 {
			t.Errorf("%.80q: %d, %v, want %v", text, n, err, want)
		}
	}
}

func TestRejectedResponses(t *testing.T) {
	for _, text := range []string{
		"HTTP/1.1 99 X\r\n\r\n", "HTTP/1.1 1000 X\r\n\r\n", "HTTP/1.1  200 X\r\n\r\n", "HTTP/1.1 +20 X\r\n\r\n", "HTTP/1.1\r\n\r\n",
		"ICY 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 200 O\x00K\r\n\r\n", "HTTP/1.1 200OK\r\n\r\n",
	} {
		var r Response
		if n, err := r.Parse([]byte(text)); err == nil || n != 0 {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
}

// read reads a body in chunks in pieces of the given size.
func read(text string, piece int) (body string, trailer Head, rest string, err *Error) {
	var c Chunks
	var b []byte
	for !c.Done() {
		n, data, err := c.Next(b, &trailer)
		if err != nil {
			return body, trailer, "", err
		}
		body += string(data)
		b = b[n:]
		if n == 0 && !c.Done() {
			if text == "" {
				return body, trailer, "", ErrChunk
			}
			k := min(piece, len(text))
			b = append(bytes.Clone(b), text[:k]...)
			text = text[k:]
		}
	}
	return body, trailer, string(b) + text, nil
}

func TestChunks(t *testing.T) {
	for piece := 1; piece < 60; piece++ {
		body, trailer, rest, err := read("5\r\nhello\r\n0006;a=\"b\" \r\n world\r\n0\r\nX-Sum: 1\r\n\r\nnext", piece)
		if err != nil || body != "hello world" || rest != "next" || len(trailer.Fields) != 1 || string(trailer.Fields[0].Value) != "1" {
			t.Errorf("in pieces of %d: %q, %q, %v", piece, body, rest, err)
		}
	}
	for _, text := range []string{
		"5\nhello\r\n0\r\n\r\n", "5\r\nhello0\r\n\r\n", "5\r\nhello\n0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", "\r\nhello\r\n0\r\n\r\n",
		"5 \r\nhello\r\n0\r\n\r\n", "fffffffffffffffff\r\n", "5;a\x00\r\nhello\r\n0\r\n\r\n", strings.Repeat("0", 20) + "\r\n\r\n", "5;" + strings.Repeat("x", 300) + "\r\nhello\r\n0\r\n\r\n",
		"0\r\nContent-Length: 5\r\n\r\n", "0\r\nA : b\r\n\r\n",
	} {
		if body, _, _, err := read(text, len(text)); err == nil {
			t.Errorf("%.80q: %q", text, body)
		}
	}
}

// A body of tiny chunks with long extensions is given up soon: what it costs is in no relation to what it brings.
func TestChunkBomb(t *testing.T) {
	bomb := strings.Repeat("1;"+strings.Repeat("x", 200)+"\r\na\r\n", 10_000)
	var c Chunks
	b := []byte(bomb)
	for len(b) > 0 {
		n, _, err := c.Next(b, nil)
		if err != nil {
			if used := len(bomb) - len(b); used > 2*maxOverhead {
				t.Errorf("given up after %d bytes", used)
			}
			return
		}
		b = b[n:]
	}
	t.Error("not given up")
}

// What this package takes, Go's server takes as well, and understands in the same way.
func FuzzRequest(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add([]byte("POST /a?b=c HTTP/1.0\r\nHost: x:80\r\nContent-Length: 3\r\nConnection: keep-alive, X\r\n\r\nabc"))
	f.Add([]byte("PUT /%20 HTTP/1.1\r\nhost: [::1]\r\nTransfer-Encoding: chunked\r\nVia: a\r\nvia: b\r\n\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Request
		n, err := r.Parse(b)
		if n == 0 {
			if err == nil && Whole(b, 0) && len(b) > 2 {
				t.Fatalf("%q: neither a head, nor none, nor a part of one", b)
			}
			return
		}
		for _, seen := range []int{0, n / 2, n - 1} {
			if !Whole(b[:n], seen) {
				t.Fatalf("%q: the head is not found after %d bytes", b, seen)
			}
		}
		if r.Target[0] != '/' || string(r.Method) == "CONNECT" || bytes.HasPrefix(b, []byte("\r\n")) {
			return // other forms of targets may be no URLs
		}
		req, gerr := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
		if gerr != nil {
			if bytes.ContainsAny(r.Target, "%") || bytes.ContainsFunc(r.Target, func(c rune) bool { return c > 0x7e }) {
				return
			}
			t.Fatalf("%q: Go says %v", b, gerr)
		}
		if req.Method != string(r.Method) || req.RequestURI != string(r.Target) || req.Host != string(r.Host) && req.URL.Host == "" {
			t.Fatalf("%q: %s %s %s, Go has %s %s %s", b, r.Method, r.Target, r.Host, req.Method, req.RequestURI, req.Host)
		}
		if want := max(r.Length, 0); !r.Chunked && req.ContentLength != want || r.Chunked != (len(req.TransferEncoding) == 1) {
			t.Fatalf("%q: length %d, chunked %v, Go has %d, %v", b, r.Length, r.Chunked, req.ContentLength, req.TransferEncoding)
		}
	})
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"))
	f.Add([]byte("HTTP/1.0 304\r\nA: b\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Response
		n, _ := r.Parse(b)
		if n == 0 {
			return
		}
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), &http.Request{Method: "GET"})
		if err != nil {
			t.Fatalf("%q: Go says %v", b, err)
		}
		if res.StatusCode != r.Status {
			t.Fatalf("%q: %d, Go has %d", b, r.Status, res.StatusCode)
		}
	})
}

func FuzzChunks(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\n"), uint8(3))
	f.Add([]byte("5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		body, _, rest, err := read(string(b), int(piece)+1)
		whole, _, restWhole, errWhole := read(string(b), len(b)+1)
		if (err == nil) != (errWhole == nil) {
			t.Fatalf("%q: %v in pieces, %v as a whole", b, err, errWhole)
		}
		if err != nil {
			return
		}
		if body != whole || rest != restWhole {
			t.Fatalf("%q: %q and %q", b, body, whole)
		}
		req, gerr := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"), bytes.NewReader(b))))
		if gerr != nil {
			t.Fatal(gerr)
		}
		got, gerr := io.ReadAll(req.Body)
		if gerr != nil || string(got) != body {
			t.Fatalf("%q: %q, Go has %q, %v", b, body, got, gerr)
		}
	})
}
