package dynamo_test

import (
	"bufio"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/store/dynamo"
)

// serve runs a server and returns its address.
func serve(t testing.TB, clients int) string {
	t.Helper()
	a := open(t)
	must(t, a, "CreateTable", simpleTable)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- dynamo.NewServer(a, clients).Serve(ctx, l, time.Second) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func dial(t testing.TB, address string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, bufio.NewReader(c)
}

func answerOf(t *testing.T, r *bufio.Reader) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

const getRequest = `{"TableName":"things","Key":{"id":{"S":"a"}}}`

func post(operation, body string) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: DynamoDB_20120810.%s\r\nContent-Length: %d\r\n\r\n%s", operation, len(body), body)
}

func TestRequestsInPiecesAndInARow(t *testing.T) {
	c, r := dial(t, serve(t, 10))
	big := `{"TableName":"things","Item":{"id":{"S":"a"},"v":{"S":"` + strings.Repeat("x", 300_000) + `"}}}`
	text := post("PutItem", big) + post("GetItem", getRequest) + post("GetItem", getRequest) + "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	go func() {
		for i := 0; i < len(text); {
			n := min(1+i%7777, len(text)-i)
			if i > 1000 && i < 300_000 {
				n = min(40_000, len(text)-i)
			}
			if _, err := io.WriteString(c, text[i:i+n]); err != nil {
				t.Error(err)
				return
			}
			i += n
		}
	}()
	for i := range 4 {
		resp, body := answerOf(t, r)
		if resp.StatusCode != 200 {
			t.Fatalf("answer %d: %s %s", i, resp.Status, body)
		}
		if want := strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(body))), 10); resp.Header.Get("x-amz-crc32") != want {
			t.Errorf("answer %d: crc32 %s, want %s", i, resp.Header.Get("x-amz-crc32"), want)
		}
		if len(resp.Header.Get("x-amzn-RequestId")) != 52 || resp.Header.Get("Date") == "" {
			t.Errorf("answer %d: %v", i, resp.Header)
		}
		if (i == 1 || i == 2) && len(body) < 300_000 {
			t.Errorf("answer %d has %d bytes", i, len(body))
		}
	}
}

func TestWhatIsNoRequest(t *testing.T) {
	address := serve(t, 10)
	for text, want := range map[string]int{
		"\r\n\r\n": 400, "GET\r\n\r\n": 400, "POST / HTTP/2.0\r\n\r\n": 505, "POST http://x/ HTTP/1.1\r\n\r\n": 400, "POST / HTTP/1.1\r\nHost : x\r\n\r\n": 400,
		"POST / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n": 400, "POST / HTTP/1.1\r\nHost: x\r\n\r\n": 411, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n": 411,
		"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na": 400, "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n": 400, "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n": 400,
		"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n": 400, "POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n": 413,
		"POST / HTTP/1.1\r\nX: a\x00b\r\n\r\n": 400, "POST / HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", 200) + "\r\n": 400,
		"POST / HTTP/1.1\r\nX: " + strings.Repeat("x", 70<<10): 431, "PATCH / HTTP/1.1\r\nHost: x\r\n\r\n": 404,
	} {
		c, r := dial(t, address)
		go io.WriteString(c, text) // the server may close before it has read all
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Errorf("%.60q: %v", text, err)
		} else if resp.StatusCode != want {
			t.Errorf("%.60q: %s, want %d", text, resp.Status, want)
		}
	}
}

func TestConnectionsEnd(t *testing.T) {
	address := serve(t, 2)
	c, r := dial(t, address)
	io.WriteString(c, "POST / HTTP/1.1\r\nConnection: close\r\nExpect: 100-continue\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\nContent-Length: "+strconv.Itoa(len(getRequest))+"\r\n\r\n")
	if line, err := r.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	r.ReadString('\n')
	io.WriteString(c, getRequest)
	if resp, body := answerOf(t, r); resp.StatusCode != 200 || body != "{}" || !resp.Close {
		t.Errorf("%s %s", resp.Status, body)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after the last answer: %v", err)
	}
	for range 2 { // these two stay, so that a third one is too many
		for answered := false; !answered; { // the place of the one that has ended is free a moment later
			c, r := dial(t, address)
			io.WriteString(c, post("GetItem", getRequest))
			_, err := http.ReadResponse(r, nil)
			answered = err == nil
		}
	}
	c, r = dial(t, address)
	io.WriteString(c, post("GetItem", getRequest))
	if _, err := r.ReadByte(); err == nil {
		t.Error("a connection too many is answered")
	}
}
