package gateway

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/gateway/proxyproto"
	"github.com/banyanhq/banyan/topology"
)

// listening serves each connection to an address of its own by f, and closes it.
func listening(t testing.TB, f func(*net.TCPConn)) (address string) {
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
				f(c.(*net.TCPConn))
			}()
		}
	}()
	return l.Addr().String()
}

// tcpRig leads TCP connections to a backend that f serves.
func tcpRig(t *testing.T, change func(*topology.TCP), f func(*net.TCPConn)) *rig {
	backend := listening(t, f)
	sys := shop()
	cfg := &topology.TCP{Name: "raw", Listen: "127.0.0.1:0", To: "web", Idle: topology.Duration(time.Minute), MaxConnections: 2}
	if change != nil {
		change(cfg)
	}
	sys.TCP = []*topology.TCP{cfg}
	r := start(t, Config{System: sys})
	r.ready("web", backend)
	return r
}

func (r *rig) dialTCP() *net.TCPConn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.TCPAddr("raw").String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c.(*net.TCPConn)
}

func TestTCPPassesBothDirectionsAndHalfClose(t *testing.T) {
	r := tcpRig(t, nil, func(c *net.TCPConn) {
		n, _ := io.Copy(io.Discard, c) // until the client's end
		if n == 3<<20 {
			_, _ = io.WriteString(c, "all of it")
		}
	})
	c := r.dialTCP()
	if _, err := c.Write(make([]byte, 3<<20)); err != nil { // a multiple of what is moved at once
		t.Fatal(err)
	}
	_ = c.CloseWrite()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "all of it" {
		t.Fatalf("got %q, %v", got, err)
	}
	eventually(t, func() bool {
		s := r.Stats().TCP[0]
		return s.Open == 0 && s.Accepted == 1 && s.Received == 3<<20 && s.Sent == 9
	})
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come to pass")
		}
	}
}

func TestTCPBoundsConnections(t *testing.T) {
	r := tcpRig(t, nil, func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
	for range 2 {
		c := r.dialTCP()
		if _, err := io.WriteString(c, "x"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := r.dialTCP().Read(make([]byte, 1)); err == nil {
		t.Errorf("the third connection got %d bytes", n)
	}
	if s := r.Stats().TCP[0]; s.Refused != 1 || s.Open != 2 {
		t.Errorf("counted %+v", s)
	}
}

func TestTCPClosesIdleConnections(t *testing.T) {
	r := tcpRig(t, func(c *topology.TCP) { c.Idle = topology.Duration(20 * time.Millisecond) }, func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
	if _, err := io.ReadAll(r.dialTCP()); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("reading: %v", err)
	}
}

func TestTCPProxyProtocol(t *testing.T) {
	for _, version := range []string{"v1", "v2"} {
		t.Run(version, func(t *testing.T) {
			r := tcpRig(t, func(c *topology.TCP) {
				c.ProxyProtocol, c.AcceptProxy, c.Trusted = version, true, []string{"127.0.0.0/8"}
			}, func(c *net.TCPConn) {
				if h, err := proxyproto.Read(c); err == nil {
					_, _ = io.WriteString(c, h.Source.String()+" ")
				}
				_, _ = io.Copy(c, c)
			})
			c := r.dialTCP()
			_, _ = io.WriteString(c, "PROXY TCP4 192.0.2.9 192.0.2.1 999 80\r\nhello")
			_ = c.CloseWrite()
			got, err := io.ReadAll(c)
			if err != nil || string(got) != "192.0.2.9:999 hello" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestTCPRefusesProxiesThatAreNotTrusted(t *testing.T) {
	r := tcpRig(t, func(c *topology.TCP) { c.AcceptProxy, c.Trusted = true, []string{"192.0.2.0/24"} }, func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
	c := r.dialTCP()
	_, _ = io.WriteString(c, "PROXY TCP4 192.0.2.9 192.0.2.1 999 80\r\nhello")
	if got, _ := io.ReadAll(c); len(got) > 0 {
		t.Errorf("got %q", got)
	}
	eventually(t, func() bool { return r.Stats().TCP[0].Refused == 1 })
}
