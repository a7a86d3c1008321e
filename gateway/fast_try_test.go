//go:build linux && (amd64 || arm64)

package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// A request that cannot be repeated is not sent on a kept connection that its backend has just closed, though the loop has not
// heard of that yet: it would be lost.
func TestKeptConnectionThatWasJustClosed(t *testing.T) {
	if fullTierOnly {
		t.Skip("by the fast tier alone")
	}
	r := start(t, Config{})
	kept := make(chan net.Conn, 100)
	_, requests := r.raw("web", func(_ int, head string, c net.Conn) {
		if strings.HasPrefix(head, "POST") {
			_, _ = io.ReadFull(c, make([]byte, 1))
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		kept <- c
		if strings.HasPrefix(head, "GET") {
			_, _ = c.Read(make([]byte, 1)) // until the test closes it
		}
	})
	c := r.dial("")
	br := bufio.NewReader(c)
	ask := func(text string) {
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
	}
	answered := func(what string) {
		t.Helper()
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); res.StatusCode != 200 || string(body) != "ok" || err != nil {
			t.Fatalf("%s: %d %q, %v", what, res.StatusCode, body, err)
		}
	}
	const rounds = 20
	for range rounds {
		ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		answered("GET")
		upstream := <-kept
		// The loops stand still while the request comes, and then the end of the kept connection: the loop hears of them in this order.
		workers := r.fast.Load().workers
		var still, goOn sync.WaitGroup
		still.Add(len(workers))
		goOn.Add(1)
		for _, w := range workers {
			w.loop.Post(func() { still.Done(); goOn.Wait() })
		}
		still.Wait()
		ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
		upstream.Close()
		goOn.Done()
		answered("POST")
		(<-kept).Close()
	}
	if n := requests(); n != 2*rounds {
		t.Errorf("%d requests at the backend", n)
	}
}

// The time-out of a try is over with the head: an answer that takes longer comes whole.
func TestTryTimeoutEndsWithTheHead(t *testing.T) {
	const length = 100_000
	for _, small := range []bool{false, true} {
		patiently(t, func(timeout time.Duration) error {
			s := eachInbound(shop(), func(in *topology.Inbound) {
				in.TryTimeout, in.Balance = topology.Duration(timeout), topology.RoundRobin
			})
			r := start(t, Config{System: s})
			defer r.stop()
			over := make(chan struct{})
			defer close(over)
			r.raw("web", func(_ int, _ string, c net.Conn) {
				if small { // it is held back, and made good for by the other
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf ")
				} else {
					_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", length, strings.Repeat("x", length/2))
				}
				select {
				case <-time.After(2 * timeout):
				case <-over:
				}
				if !small {
					_, _ = io.WriteString(c, strings.Repeat("x", length/2))
				}
			})
			if small {
				r.serve("web", text("whole"))
			}
			for range 2 {
				a := r.get("/")
				if a.status != 200 {
					return fmt.Errorf("status %d", a.status)
				}
				if small && a.body != "whole" || !small && len(a.body) != length || a.err != nil {
					t.Errorf("small %v, %v: %d bytes, %v", small, timeout, len(a.body), a.err)
				}
			}
			return nil
		})
	}
}
