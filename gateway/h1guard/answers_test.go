package h1guard

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"

	"github.com/banyanhq/banyan/gateway/http1"
)

// answered returns what passes of in as the answer to a request, and whether the connection can be used for another one.
func answered(in []byte, piece, buffer int, method string) (out []byte, usable bool, err error) {
	a := Answering(&source{rest: in, piece: piece}, 8<<10)
	a.Ask(method)
	out, err = a.read(buffer)
	return out, err == nil, err
}

// read reads the answer to what was asked last.
func (a *Answers) read(buffer int) (out []byte, err error) {
	b := make([]byte, buffer)
	for a.asked.Load() != nothing || a.due || len(a.buf) > 0 {
		n, err := a.Read(b)
		if out = append(out, b[:n]...); err != nil {
			return out, err
		}
	}
	return out, nil
}

const answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

func TestAnswersThatPass(t *testing.T) {
	all := []struct{ method, answer string }{
		{"GET", answer}, {"POST", answer}, {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"}, {"HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"GET", "HTTP/1.1 204 No\r\n\r\n"}, {"GET", "HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n"}, {"PUT", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		{"GET", "HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + answer},
		{"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: v\r\n\r\n"},
		{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("b", 100_000)},
		{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: X, keep-alive\r\nX: for the proxy to see\r\n\r\nhello"},
	}
	for _, piece := range []int{1, 2, 7, 4096} {
		for _, buffer := range []int{1, 24, 4096} {
			s := &source{piece: piece}
			a := Answering(s, 8<<10)
			for _, x := range all {
				a.Ask(x.method)
				s.rest = []byte(x.answer)
				if out, err := a.read(buffer); string(out) != x.answer || err != nil {
					t.Fatalf("%.60q in pieces of %d, read by %d: %q passes, %v", x.answer, piece, buffer, out, err)
				}
			}
		}
	}
	// What ends with the connection, or is no HTTP any more, passes as it is.
	for _, in := range []string{"HTTP/1.1 200 OK\r\n\r\nuntil the end\n\n", "HTTP/1.1 101 Other\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n\x00\x01\n"} {
		if out, _, err := answered([]byte(in), 7, 24, "GET"); string(out) != in || err != io.EOF {
			t.Errorf("%q: %q passes, %v", in, out, err)
		}
	}
}

// In the place of a head that is not taken the client gets one that is none.
func TestAnswersThatAreRefused(t *testing.T) {
	const line = "HTTP/1.1 200 OK\r\n"
	for _, in := range []string{
		"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", line + "A: b\n\r\n", line + "A: b\r\n c\r\n\r\n", line + "A : b\r\n\r\n", line + "A: b\rc\r\n\r\n",
		line + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", line + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", line + "Transfer-Encoding: gzip\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n",
		"SMTP hello\r\n\r\n", line + strings.Repeat("A: b\r\n", http1.MaxFields+1) + "\r\n", line + "A: " + strings.Repeat("a", 8<<10) + "\r\n\r\n", strings.Repeat("x", 9<<10),
	} {
		for _, piece := range []int{1, 4096} {
			out, _, err := answered([]byte(in), piece, 4096, "GET")
			if string(out) != "refused\r\n\r\n" || err == nil {
				t.Errorf("%.60q in pieces of %d: %.60q passes, %v", in, piece, out, err)
			}
			if _, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(out)), nil); err == nil {
				t.Errorf("%q is taken for an answer", out)
			}
		}
	}
}

// What a connection names beside 'close' is taken out, for the client hides the names.
func TestNominatedFieldsOfALastAnswer(t *testing.T) {
	const in = "HTTP/1.1 200 OK\r\nX-One: 1\r\nConnection: close, X-One\r\nX-Two: 2\r\nx-one: 3\r\nConnection: x-THREE, Content-Length\r\nX-Three: 4\r\nContent-Length: 5\r\n\r\nhello"
	const want = "HTTP/1.1 200 OK\r\nConnection: close, X-One\r\nX-Two: 2\r\nConnection: x-THREE, Content-Length\r\nContent-Length: 5\r\n\r\nhello"
	for _, piece := range []int{1, 7, 4096} {
		for _, buffer := range []int{1, 4096, 8192} {
			if out, usable, err := answered([]byte(in), piece, buffer, "GET"); string(out) != want || !usable {
				t.Errorf("in pieces of %d, read by %d: %q, %v", piece, buffer, out, err)
			}
		}
	}
}

// What comes beyond the end of an answer is never passed on, and its end is told with the last bytes, so that no other
// request can be sent before the client knows.
func TestNothingFollowsAnAnswer(t *testing.T) {
	for _, in := range []string{answer, "HTTP/1.1 204 No\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"} {
		a := Answering(&source{rest: []byte(in + answer), piece: 1 << 20}, 8<<10)
		a.Ask("GET")
		b := make([]byte, 4096)
		n, err := a.Read(b)
		if string(b[:n]) != in || err != io.EOF {
			t.Errorf("%q: %q passes, %v", in, b[:n], err)
		}
		a.Ask("GET")
		if n, err := a.Read(b); n != 0 || err != io.EOF {
			t.Errorf("%q: then %q, %v", in, b[:n], err)
		}
	}
	a := Answering(&source{rest: []byte(answer), piece: 1 << 20}, 8<<10)
	if n, err := a.Read(make([]byte, 100)); n != 0 || err != io.EOF {
		t.Errorf("without a request: %d, %v", n, err)
	}
}

// Go's client never gives one request what a backend sent beyond the answer to another.
func TestAnswersAreNotTakenForOthers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				br := bufio.NewReader(c)
				for {
					if _, err := http.ReadRequest(br); err != nil {
						return
					}
					_, _ = io.WriteString(c, answer+"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen")
				}
			}()
		}
	}()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return Answering(c, 8<<10), nil
	}}}
	defer client.CloseIdleConnections()
	for range 100 {
		r, _ := http.NewRequest("GET", "http://"+l.Addr().String(), nil)
		reused := false
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
			reused = got.Reused
			got.Conn.(*Answers).Ask("GET")
		}}))
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if string(body) != "hello" || err != nil || reused {
			t.Fatalf("%q, %v, on a used connection: %v", body, err, reused)
		}
	}
}

// What passes is the same in whatever pieces it comes, all of it is an answer as package http1 takes it, and Go's client reads
// the same.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(answer), uint16(3), uint16(1), false)
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nX"), uint16(1), uint16(24), false)
	f.Add([]byte("HTTP/1.1 103 OK\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close, X\r\nX: y\r\nContent-Length: 1\r\n\r\na"), uint16(9), uint16(4096), false)
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"), uint16(9), uint16(14), true)
	f.Fuzz(func(t *testing.T, in []byte, piece, buffer uint16, bare bool) {
		method := map[bool]string{false: "GET", true: "HEAD"}[bare]
		whole, usable, err := answered(bytes.Clone(in), len(in)+1, len(in)+readSize, method)
		cut, _, err2 := answered(bytes.Clone(in), int(piece)+1, int(buffer)+1, method)
		if !bytes.Equal(whole, cut) || err2 == nil && err != nil && len(in) <= int(piece)+1 {
			t.Fatalf("%q: in one piece %q (%v), in pieces of %d %q (%v)", in, whole, err, piece+1, cut, err2)
		}
		var r http1.Response
		rest := whole
		for {
			n, e := r.Parse(rest)
			if n == 0 {
				if e != nil && string(rest) != "refused\r\n\r\n" {
					t.Fatalf("%q: %q passes: %v", in, rest, e)
				}
				if usable {
					t.Fatalf("%q: %q passes, and the connection is taken to be usable", in, whole)
				}
				return
			}
			if r.Close {
				for _, field := range r.Fields {
					if field.Known == http1.Other && r.Nominated(field.Name) {
						t.Fatalf("%q: the field %q passes", in, field.Name)
					}
				}
			}
			if rest = rest[n:]; r.Status >= 200 || r.Status == 101 {
				break
			}
		}
		if r.Status == 101 {
			return
		}
		br := bufio.NewReader(bytes.NewReader(whole))
		for {
			res, e := http.ReadResponse(br, &http.Request{Method: method})
			if e != nil {
				t.Fatalf("%q: Go's client does not take %q: %v", in, whole, e)
			}
			if res.StatusCode < 200 {
				continue
			}
			if res.StatusCode != r.Status {
				t.Fatalf("%q: Go's client reads %d, http1 %d", in, res.StatusCode, r.Status)
			}
			body, e := io.ReadAll(res.Body)
			if usable && (e != nil || br.Buffered() > 0) {
				t.Fatalf("%q: of %q Go's client reads %q, and leaves %d bytes: %v", in, whole, body, br.Buffered(), e)
			}
			return
		}
	})
}

func ExampleAnswering() {
	a := Answering(&source{rest: []byte(answer + "more than was asked for"), piece: 1000}, 8<<10)
	a.Ask("GET")
	b := make([]byte, 1000)
	n, err := a.Read(b)
	fmt.Printf("%q %v", b[n-5:n], err)
	// Output: "hello" EOF
}
