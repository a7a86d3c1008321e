package load

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

// read parses one answer as the client does, a few bytes at a time if asked.
func read(data []byte, method string, dribble bool) (x exchange, keep bool, err error) {
	x = exchange{method: method, capture: true}
	var in io.Reader = bytes.NewReader(data)
	if dribble {
		in = iotest.OneByteReader(in)
	}
	r := reader{from: in, buf: make([]byte, 64), limit: 1 << 20}
	keep, err = r.answer(&x)
	return x, keep, err
}

func TestAnswers(t *testing.T) {
	tests := []struct {
		name, method, raw string
		status            int
		body              string
		keep              bool
		err               error
	}{
		{name: "length", raw: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", status: 200, body: "hello", keep: true},
		{name: "no reason", raw: "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", status: 200, keep: true},
		{name: "chunked", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5;a=b\r\nhello\r\nA\r\n, everyone\r\n0\r\nX: y\r\n\r\n", status: 200, body: "hello, everyone", keep: true},
		{name: "to the end", raw: "HTTP/1.1 200 OK\r\n\r\nhello", status: 200, body: "hello"},
		{name: "close", raw: "HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nContent-Length: 1\r\n\r\nx", status: 200, body: "x"},
		{name: "1.0", raw: "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", status: 200, body: "x"},
		{name: "1.0 kept", raw: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", status: 200, body: "x", keep: true},
		{name: "head", method: "HEAD", raw: "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", status: 200, keep: true},
		{name: "204", raw: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, keep: true},
		{name: "304", raw: "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", status: 304, keep: true},
		{name: "100 first", raw: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", status: 201, keep: true},
		{name: "redirect", raw: "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", status: 302, keep: true},
		{name: "something after it", raw: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP", status: 200, body: "x"},
		{name: "same length twice", raw: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", status: 200, body: "x", keep: true},
		{name: "two lengths", raw: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy", err: errMalformed},
		{name: "list of lengths", raw: "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx", err: errMalformed},
		{name: "length and chunked", raw: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", err: errMalformed},
		{name: "other coding", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", err: errMalformed},
		{name: "negative length", raw: "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", err: errMalformed},
		{name: "plus", raw: "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx", err: errMalformed},
		{name: "huge length", raw: "HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\n", err: errMalformed},
		{name: "folded", raw: "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n", err: errMalformed},
		{name: "space before colon", raw: "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n", err: errMalformed},
		{name: "bare line feed", raw: "HTTP/1.1 200 OK\nContent-Length: 0\n\n\r\n\r\n", err: errMalformed},
		{name: "switching", raw: "HTTP/1.1 101 Switching Protocols\r\n\r\n", err: errMalformed},
		{name: "endless 100", raw: strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 50), err: errMalformed},
		{name: "status 999", raw: "HTTP/1.1 999 Odd\r\n\r\n", err: errMalformed},
		{name: "HTTP/2", raw: "HTTP/2 200\r\n\r\n", err: errMalformed},
		{name: "not HTTP", raw: "SSH-2.0-OpenSSH\r\n", err: errMalformed},
		{name: "only an end", raw: "\r\n\r\n", err: errMalformed},
		{name: "too short", raw: "HTTP/1.\r\n\r\n", err: errMalformed},
		{name: "nothing", raw: "", err: io.ErrUnexpectedEOF},
		{name: "half a head", raw: "HTTP/1.1 200 OK\r\nA: b", err: io.ErrUnexpectedEOF},
		{name: "half a body", raw: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", err: io.ErrUnexpectedEOF},
		{name: "half a chunk", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", err: io.ErrUnexpectedEOF},
		{name: "no last chunk", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", err: io.ErrUnexpectedEOF},
		{name: "chunk too long", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n", err: errMalformed},
		{name: "chunk size", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", err: errMalformed},
		{name: "chunk size overflow", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n", err: errMalformed},
		{name: "body too large", raw: "HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n", err: errTooLarge},
		{name: "chunks too large", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n", err: errTooLarge},
		{name: "endless body", raw: "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 2<<20), err: errTooLarge},
		{name: "endless head", raw: "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", 1<<20), err: errMalformed},
		{name: "endless chunk line", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + strings.Repeat("x", 1<<20), err: errMalformed},
		{name: "endless trailers", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("A: b\r\n", 1<<16), err: errMalformed},
	}
	for _, tt := range tests {
		for _, dribble := range []bool{false, true} {
			x, keep, err := read([]byte(tt.raw), tt.method, dribble)
			if tt.err != nil {
				if !errors.Is(err, tt.err) {
					t.Errorf("%s: error %v, want %v", tt.name, err, tt.err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
				continue
			}
			// Whether something follows is not seen where bytes come one at a time.
			if x.head.status != tt.status || string(x.body) != tt.body || keep != tt.keep && !(dribble && tt.name == "something after it") {
				t.Errorf("%s: status %d, body %q, kept %t (dribble %t)", tt.name, x.head.status, x.body, keep, dribble)
			}
		}
	}
}

// What we take, net/http takes as well, and finds the same status and body in it. It may take more.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\n\r\nno",
		"HTTP/1.1 204 No Content\r\nSet-Cookie: a=b\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, head bool) {
		method := "GET"
		if head {
			method = "HEAD"
		}
		x, _, err := read(data, method, false)
		slow, _, slowErr := read(data, method, true)
		if (err == nil) != (slowErr == nil) || err == nil && (x.head != slow.head || !bytes.Equal(x.body, slow.body)) {
			t.Fatalf("at once %v %+v, byte by byte %v %+v", err, x.head, slowErr, slow.head)
		}
		if err != nil {
			return
		}
		in := bufio.NewReader(bytes.NewReader(data))
		for {
			res, err := http.ReadResponse(in, &http.Request{Method: method})
			if err != nil {
				t.Fatalf("net/http refuses what was taken with status %d: %v", x.head.status, err)
			}
			if res.StatusCode < 200 {
				continue
			}
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatalf("net/http cannot read the body: %v", err)
			}
			if res.StatusCode != x.head.status || !bytes.Equal(body, x.body) {
				t.Fatalf("status %d, body %q; net/http: %d, %q", x.head.status, x.body, res.StatusCode, body)
			}
			return
		}
	})
}
