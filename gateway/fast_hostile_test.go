package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Heads that trickle in byte by byte, and such as never end, cost a bounded amount of memory and are answered or cut off;
// other clients are served meanwhile.
func TestSlowAndEndlessHeads(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", text("web"))
	var slow []net.Conn
	for i := range 200 {
		c := r.dial("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
		io.WriteString(c, strings.Repeat("s", i))
		slow = append(slow, c)
	}
	for range 20 {
		if a := r.get("/"); a.status != 200 {
			t.Fatalf("beside slow clients: %d", a.status)
		}
	}
	for _, c := range slow[:20] {
		io.WriteString(c, "\r\n\r\n")
		if a := readAnswer(t, c, "GET"); a.status != 200 {
			t.Errorf("a slow head: %d", a.status)
		}
	}
	c := r.dial("GET / HTTP/1.1\r\nHost: x\r\n")
	go func() { // until the gateway has had enough
		line := "X-More: " + strings.Repeat("m", 1000) + "\r\n"
		for range 1024 {
			if _, err := io.WriteString(c, line); err != nil {
				return
			}
		}
	}()
	if a := readAnswer(t, c, "GET"); a.status != 431 {
		t.Errorf("a head of a megabyte: %d", a.status)
	}
}

// A backend that answers in tiny chunks with long extensions, or with a trailer without end, is given up.
func TestChunkBombsOfBackends(t *testing.T) {
	for name, bomb := range map[string]string{
		"extensions": strings.Repeat("1;"+strings.Repeat("x", 200)+"\r\na\r\n", 5000),
		"trailer":    "1\r\na\r\n0\r\n" + strings.Repeat("X-T: "+strings.Repeat("t", 1000)+"\r\n", 1000),
		"chunk line": strings.Repeat("0", 1<<20),
	} {
		r := start(t, Config{System: eachInbound(shop(), func(in *topology.Inbound) { in.Retry = nil })})
		r.raw("web", func(_ int, _ string, c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+bomb)
			io.Copy(io.Discard, c)
		})
		res, err := r.client.Get(r.url + "/")
		if err != nil {
			continue // cut off
		}
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode == 200 && err == nil {
			t.Errorf("%s: taken for a whole answer", name)
		}
	}
}

// Clients that read slowly do not make the gateway read ahead: what it holds for each is bounded.
func TestSlowReadersAreBounded(t *testing.T) {
	r := start(t, Config{})
	const size = 64 << 20
	r.serve("web", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(size))
		chunk := make([]byte, 64<<10)
		for range size / len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var slow []net.Conn
	for range 8 {
		slow = append(slow, r.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	}
	for _, c := range slow {
		if _, err := io.ReadFull(c, make([]byte, 1024)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all eight are in flight", func() bool { return r.Stats().Routes[0].InFlight == 8 })
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("eight slow readers hold %d bytes", grown)
	}
	for _, c := range slow {
		c.Close()
	}
	until(t, "all are given up", func() bool { return r.Stats().Routes[0].InFlight == 0 })
}

// A connection goes through the fast tier as long as it may, and on to the full tier when it must.
func TestHandOver(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		n, _ := io.Copy(io.Discard, req.Body)
		fmt.Fprintf(w, "%s %d", req.Method, n)
	})
	plain := "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	chunked := "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
	big := fmt.Sprintf("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", 2*maxReplay, strings.Repeat("b", 2*maxReplay))
	c := r.dial(plain + plain + chunked + plain + big + plain)
	all := make(chan string, 1)
	go func() {
		c.SetReadDeadline(time.Now().Add(time.Minute))
		var b strings.Builder
		buf := make([]byte, 4096)
		for strings.Count(b.String(), "HTTP/1.1 200") < 6 || !strings.HasSuffix(b.String(), "GET 0") {
			n, err := c.Read(buf)
			b.Write(buf[:n])
			if err != nil {
				break
			}
		}
		all <- b.String()
	}()
	got := <-all
	for _, want := range []string{"GET 0", "POST 3", fmt.Sprintf("PUT %d", 2*maxReplay)} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
}

// A last answer comes whole, though the client has sent more that nobody reads: closing on that would reset the connection.
func TestLastAnswersComeWhole(t *testing.T) {
	if fullTierOnly {
		t.Skip("Go's server resets the connection")
	}
	const size = 200_000
	r := start(t, Config{})
	asked, sent := make(chan struct{}), make(chan struct{})
	r.serve("web", func(w http.ResponseWriter, q *http.Request) {
		close(asked)
		<-sent
		_, _ = w.Write(make([]byte, size))
	})
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	<-asked
	_, _ = io.WriteString(c, strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1000))
	close(sent)
	until(t, "all of the answer is on its way", func() bool { return r.Stats().Routes[0].Requests == 1 })
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, res.Body); n != size || err != nil {
		t.Errorf("%d bytes of %d: %v", n, size, err)
	}
	if n := r.Stats().Routes[0].Requests; n != 1 {
		t.Errorf("%d requests were carried", n)
	}
}
