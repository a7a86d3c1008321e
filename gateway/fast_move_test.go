//go:build linux && (amd64 || arm64)

package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// Large answers come byte for byte, to quick clients and to slow ones, and leave the connection to the backend good for others.
func TestLargeAnswersAreMoved(t *testing.T) {
	if fullTierOnly {
		t.Skip("by the fast tier alone")
	}
	bodies := map[string][]byte{}
	for _, size := range []int{firstRead - 200, firstRead, holdSize + 1, 64 << 10, 64<<10 + 1, 300_000, 5 << 20} {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
		bodies[fmt.Sprint("/", size)] = b
	}
	r := start(t, Config{})
	var connections atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		b := bodies[q.URL.Path]
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		for len(b) > 0 { // in pieces that are no multiple of anything
			n := min(len(b), 1+rand.IntN(50_000))
			_, _ = w.Write(b[:n])
			b = b[n:]
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	r.ready("web", s.Listener.Addr().String())
	for _, slow := range []bool{false, true} {
		c := r.dial("")
		if slow {
			_ = c.(*net.TCPConn).SetReadBuffer(64 << 10)
		}
		br := bufio.NewReaderSize(c, 512)
		for path, want := range bodies {
			_, _ = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(res.Body)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s, slow %v: %d bytes, %v, equal %v", path, slow, len(got), err, bytes.Equal(got, want))
			}
		}
	}
	if n := connections.Load(); n > int64(2*len(r.fast.Load().workers)) {
		t.Errorf("%d connections to the backend", n)
	}
	until(t, "nothing is in flight", func() bool { return r.Stats().Routes[0].InFlight == 0 })
}

// A backend that dies in the middle of a large answer, and a client that leaves, end the exchange and nothing else.
func TestMovedAnswersThatBreakOff(t *testing.T) {
	if fullTierOnly {
		t.Skip("by the fast tier alone")
	}
	r := start(t, Config{})
	gone := make(chan struct{})
	r.raw("web", func(n int, _ string, c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
		_, _ = c.Write(make([]byte, 400_000))
		if n == 2 {
			<-gone
		}
	})
	res, err := r.client.Get(r.url + "/")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, res.Body); err == nil || n > 400_000 {
		t.Errorf("%d bytes, %v", n, err)
	}
	res.Body.Close()
	c := r.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := io.ReadFull(c, make([]byte, 100_000)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	until(t, "it is given up", func() bool { return r.Stats().Routes[0].InFlight == 0 })
	close(gone)
}

// A place that became free is not for an exchange that has stopped waiting meanwhile, nor for the next one in the same memory.
func TestLateWakeIsNobodys(t *testing.T) {
	x := new(exchange)
	x.woken(1)
	x.token = 2
	x.woken(1) // it would look at what it waits for, which is nothing
	if x.state != 0 || x.attempts != 0 {
		t.Errorf("state %d after %d attempts", x.state, x.attempts)
	}
}
