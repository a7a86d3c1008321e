package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// everything is a gateway with all the kinds of listeners that can be taken over, and a cache on disk.
const everything = `
system: everything
listen: 127.0.0.1:0
admin: 127.0.0.1:0
tls: {listen: 127.0.0.1:0}
tcp: [{name: raw, listen: 127.0.0.1:0, to: echo}]
http_cache: {dir: kept}
services:
  web:  {backends: ["WEB"]}
  echo: {backends: ["ECHO"]}
routes:
  - {path: /, to: web}
  - {path: /kept/, to: web, http_cache: {ttl: 10m}}
`

// origin answers anything; /kept/ with the number of the request, /events with a stream that goes on as it is told.
func origin(t *testing.T, tick <-chan string) (address string, kept *atomic.Int64) {
	kept = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/kept/a":
			w.Header().Set("Cache-Control", "max-age=600")
			fmt.Fprint(w, "kept ", kept.Add(1))
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			_ = http.NewResponseController(w).Flush()
			for line := range tick {
				fmt.Fprintf(w, "data: %s\n\n", line)
				_ = http.NewResponseController(w).Flush()
			}
		default:
			fmt.Fprint(w, "ok")
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), kept
}

// echo sends back what it gets, on any number of connections.
func echo(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return l.Addr().String()
}

// endpoints returns the addresses of TLS and TCP that a running gateway names.
func endpoints(s statusAnswer) (secure, raw string) {
	for _, e := range s.Info.Endpoints {
		if rest, ok := strings.CutPrefix(e, "TLS on https://"); ok {
			secure, _, _ = strings.Cut(rest, " ")
		}
		if rest, ok := strings.CutPrefix(e, "tcp raw on "); ok {
			raw = rest
		}
	}
	return secure, raw
}

// repeat calls do on n goroutines without pause until the returned function is called, which returns the failures.
func repeat(n int, do func() error) (stop func() (done int64, failed []string)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed []string
	var count atomic.Int64
	for range n {
		wg.Go(func() {
			for ctx.Err() == nil {
				count.Add(1)
				if err := do(); err != nil {
					mu.Lock()
					failed = append(failed, err.Error())
					mu.Unlock()
				}
			}
		})
	}
	return func() (int64, []string) { cancel(); wg.Wait(); return count.Load(), failed }
}

// asks returns a function that requests a URL by the client and wants 200.
func asks(c *http.Client, url string) func() error {
	return func() error {
		resp, err := c.Get(url)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err := io.ReadAll(resp.Body); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", resp.Status)
		}
		return nil
	}
}

// says sends a line over a connection to an echo and wants it back.
func says(c net.Conn, line string) error {
	if _, err := fmt.Fprintln(c, line); err != nil {
		return err
	}
	got, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || got != line+"\n" {
		return fmt.Errorf("%q %w", got, err)
	}
	return nil
}

// TestAllOfAGatewayIsTakenOver replaces a gateway twice under traffic of all kinds: nothing fails, streams go on, and
// what the cache holds on disk is there at once.
func TestAllOfAGatewayIsTakenOver(t *testing.T) {
	t.Parallel()
	tick := make(chan string)
	web, kept := origin(t, tick)
	p := newPlace(t, strings.NewReplacer("WEB", web, "ECHO", echo(t)).Replace(everything))
	p.must("gateway", "-d")
	var s statusAnswer
	p.ask(&s, "status")
	secure, raw := endpoints(s)
	pem, err := os.ReadFile(filepath.Join(p.dir, ".banyan", "ca", "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := func(h2 bool) *http.Client {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, Protocols: new(http.Protocols)}
		tr.Protocols.SetHTTP1(!h2)
		tr.Protocols.SetHTTP2(h2)
		t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr}
	}
	plain := client(false)
	keptIs := func(when string) {
		t.Helper()
		if _, body, err := get("http://" + s.Info.Address + "/kept/a"); err != nil || body != "kept 1" {
			t.Errorf("%s: the cache answers %q %v", when, body, err)
		}
	}
	keptIs("at first")
	stream, err := plain.Get("http://" + s.Info.Address + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	defer close(tick)
	events := bufio.NewReader(stream.Body)
	long, err := net.Dial("tcp", raw)
	if err != nil {
		t.Fatal(err)
	}
	defer long.Close()
	goesOn := func(when string) {
		t.Helper()
		tick <- when
		if line, err := events.ReadString('\n'); err != nil || line != "data: "+when+"\n" {
			t.Errorf("%s: the event stream: %q %v", when, line, err)
		}
		_, _ = events.ReadString('\n')
		if err := says(long, when); err != nil {
			t.Errorf("%s: the TCP connection: %v", when, err)
		}
	}
	goesOn("at first")
	traffic := map[string]func() (int64, []string){
		"plain":       repeat(2, asks(plain, "http://"+s.Info.Address+"/")),
		"HTTP/1, TLS": repeat(1, asks(client(false), "https://"+secure+"/")),
		"HTTP/2, TLS": repeat(1, asks(client(true), "https://"+secure+"/")),
		"cached":      repeat(1, asks(client(false), "http://"+s.Info.Address+"/kept/a")),
		"TCP": repeat(1, func() error {
			c, err := net.Dial("tcp", raw)
			if err != nil {
				return err
			}
			defer c.Close()
			return says(c, "hello")
		}),
	}
	var others sync.WaitGroup
	defer others.Wait()
	pid := s.Info.PID
	for _, when := range []string{"once", "twice"} {
		others.Go(func() {
			if out, errs, code := p.process("gateway", "--take-over"); code != 0 {
				t.Errorf("taking over %s: %d %s%s", when, code, out, errs)
			}
		})
		var now statusAnswer
		eventually(t, "another process serves", func() bool {
			out, _, code := p.run("status", "--json")
			return code == 0 && json.Unmarshal([]byte(out), &now) == nil && now.Info.PID != pid && now.Info.State == "serving"
		})
		if a, b := endpoints(now); a != secure || b != raw || now.Info.Address != s.Info.Address || now.Info.Metrics != s.Info.Metrics {
			t.Errorf("taken over %s: it serves on %v and %v", when, now.Info, now.Info.Endpoints)
		}
		pid = now.Info.PID
		goesOn(when)
		keptIs(when)
	}
	for name, stop := range traffic {
		if n, failed := stop(); len(failed) > 0 || n == 0 {
			t.Errorf("%s: %d of %d failed, the first: %v", name, len(failed), n, failed[:min(len(failed), 1)])
		}
	}
	if n := kept.Load(); n != 1 {
		t.Errorf("the origin was asked %d times for what is kept", n)
	}
	long.Close()
	stream.Body.Close()
	p.must("down")
}

// TestHTTP3IsTakenOver replaces a gateway that speaks HTTP/3: a request that is on its way by it is answered, TCP is served all the
// time, and the new process speaks HTTP/3 in the end.
func TestHTTP3IsTakenOver(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(arrived)
			<-release
		}
		fmt.Fprint(w, "ok")
	}))
	t.Cleanup(web.Close)
	p := newPlace(t, strings.Replace(`
system: three
listen: 127.0.0.1:0
tls: {listen: 127.0.0.1:0, http3: true}
services: {web: {backends: ["WEB"]}}
routes: [{path: /, to: web}]
`, "WEB", web.Listener.Addr().String(), 1))
	p.must("gateway", "-d")
	var s statusAnswer
	p.ask(&s, "status")
	secure, _ := endpoints(s)
	pem, err := os.ReadFile(filepath.Join(p.dir, ".banyan", "ca", "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	quic := func() *http.Client {
		tr := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
		t.Cleanup(func() { _ = tr.Close() })
		return &http.Client{Transport: tr, Timeout: time.Minute}
	}
	slow := make(chan error, 1)
	go func() { slow <- asks(quic(), "https://"+secure+"/slow")() }()
	<-arrived
	tcp := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(tcp.CloseIdleConnections)
	stop := repeat(1, asks(&http.Client{Transport: tcp}, "https://"+secure+"/"))
	var other sync.WaitGroup
	defer other.Wait()
	other.Go(func() {
		if out, errs, code := p.process("gateway", "--take-over"); code != 0 {
			t.Errorf("taking over: %d %s%s", code, out, errs)
		}
	})
	eventually(t, "another process serves", func() bool {
		var now statusAnswer
		out, _, code := p.run("status", "--json")
		return code == 0 && json.Unmarshal([]byte(out), &now) == nil && now.Info.PID != s.Info.PID && now.Info.State == "serving"
	})
	close(release)
	if err := <-slow; err != nil {
		t.Errorf("the request that was on its way: %v", err)
	}
	eventually(t, "HTTP/3 is answered by the new one", func() bool {
		tr := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
		defer tr.Close()
		return asks(&http.Client{Transport: tr, Timeout: 2 * time.Second}, "https://"+secure+"/")() == nil
	})
	if n, failed := stop(); len(failed) > 0 || n == 0 {
		t.Errorf("over TCP %d of %d failed, the first: %v", len(failed), n, failed[:min(len(failed), 1)])
	}
	p.must("down")
}
