package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/banyanhq/banyan/gateway/certs"
	"github.com/banyanhq/banyan/topology"
)

// secured is a shop that speaks TLS by a local authority.
func secured(t *testing.T, change func(*topology.TLS)) (Config, func(*rig) *tls.Config) {
	sys := shop()
	sys.TLS = &topology.TLS{Listen: "127.0.0.1:0"}
	if change != nil {
		change(sys.TLS)
	}
	return Config{System: sys, StateDir: t.TempDir()}, func(r *rig) *tls.Config {
		pool, err := certs.Authorities(r.TLSRoot())
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{RootCAs: pool, ServerName: "localhost"}
	}
}

// over returns what a client says of the answer that it got by the protocol.
func over(t *testing.T, client *http.Client, url string) (*http.Response, string) {
	t.Helper()
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// quicClient is one for HTTP/3 whose handshakes may take their time.
func quicClient(config *tls.Config) *http3.Transport {
	return &http3.Transport{TLSClientConfig: config, QUICConfig: &quic.Config{HandshakeIdleTimeout: time.Minute, KeepAlivePeriod: 10 * time.Second}}
}

func TestProtocolsOfClients(t *testing.T) {
	cfg, trust := secured(t, func(c *topology.TLS) { c.HTTP3 = true })
	r := start(t, cfg)
	r.serve("web", func(w http.ResponseWriter, q *http.Request) {
		fmt.Fprint(w, q.Header.Get("Via"), " ", q.Header.Get("X-Forwarded-Proto"))
	})
	h2c := new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	h3 := quicClient(trust(r))
	defer h3.Close()
	for _, c := range []struct {
		name      string
		transport http.RoundTripper
		url, want string
	}{
		{"http/1.1", &http.Transport{}, "http://" + r.Addr().String(), "1.1 banyan http"},
		{"h2c", &http.Transport{Protocols: h2c}, "http://" + r.Addr().String(), "2.0 banyan http"},
		{"tls http/1.1", &http.Transport{TLSClientConfig: trust(r)}, "https://" + r.TLSAddr().String(), "1.1 banyan https"},
		{"tls h2", &http.Transport{TLSClientConfig: trust(r), ForceAttemptHTTP2: true}, "https://" + r.TLSAddr().String(), "2.0 banyan https"},
		{"h3", h3, "https://" + r.TLSAddr().String(), "3.0 banyan https"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if closer, ok := c.transport.(*http.Transport); ok {
				defer closer.CloseIdleConnections()
			}
			res, body := over(t, &http.Client{Transport: c.transport}, c.url+"/")
			if body != c.want {
				t.Errorf("backend saw %q, want %q", body, c.want)
			}
			alt := res.Header.Get("Alt-Svc")
			if want := strings.HasPrefix(c.name, "tls"); strings.HasPrefix(alt, `h3=":`) != want {
				t.Errorf("Alt-Svc %q", alt)
			}
		})
	}
}

// Where the kernel chooses the port for TCP, it may be one that is taken for UDP: then another one is.
func TestPortForHTTP3IsTaken(t *testing.T) {
	cfg, trust := secured(t, func(c *topology.TLS) { c.HTTP3 = true })
	var taken []string
	r := start(t, cfg, func(g *Gateway) {
		g.listenPacket = func(network, address string) (net.PacketConn, error) {
			if len(taken) < 3 {
				if other, err := net.ListenPacket(network, address); err == nil {
					t.Cleanup(func() { other.Close() })
				} // else it is taken indeed
				taken = append(taken, address)
			}
			return net.ListenPacket(network, address)
		}
	})
	r.serve("web", text("well"))
	h3 := &http3.Transport{TLSClientConfig: trust(r)}
	defer h3.Close()
	if _, body := over(t, &http.Client{Transport: h3}, "https://"+r.TLSAddr().String()+"/"); body != "well" {
		t.Errorf("HTTP/3: %q", body)
	}
	for _, address := range taken {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			t.Errorf("%s, where HTTP/3 could not be spoken, is listened on all the same", address)
		}
	}
	all, err := r.Sockets()
	if err != nil {
		t.Fatal(err)
	}
	defer CloseSockets(all)
	n := 0
	for _, s := range all {
		if s.Name == SocketTLS {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d sockets for TLS would be handed over", n)
	}
	// A port that the file names is that one or none.
	bound, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer bound.Close()
	cfg, _ = secured(t, func(c *topology.TLS) { c.HTTP3, c.Listen = true, bound.LocalAddr().String() })
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Listen(); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("on a port that is taken: %v", err)
	}
}

func TestCurlSpeaksEveryProtocol(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	cfg, trust := secured(t, nil)
	r := start(t, cfg)
	trust(r)
	r.serve("web", func(w http.ResponseWriter, q *http.Request) { fmt.Fprint(w, q.Header.Get("Via")) })
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--http2-prior-knowledge", r.url + "/"}, "2.0 banyan 2"},
		{[]string{"--http2", "--cacert", r.TLSRoot(), "https://" + r.TLSAddr().String() + "/"}, "2.0 banyan 2"},
		{[]string{"--http1.1", "--cacert", r.TLSRoot(), "https://" + r.TLSAddr().String() + "/"}, "1.1 banyan 1.1"},
	} {
		out, err := exec.Command(curl, append([]string{"-sS", "-m", "60", "-w", " %{http_version}"}, c.args...)...).CombinedOutput()
		if err != nil || string(out) != c.want {
			t.Errorf("curl %v: %q, %v, want %q", c.args, out, err, c.want)
		}
	}
}

// A 204 has no body, whatever its backend says, and a client of HTTP/2 is not told of one.
func TestNoContentWithALength(t *testing.T) {
	cfg, trust := secured(t, nil)
	r := start(t, cfg)
	r.raw("web", func(_ int, _ string, c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello")
	})
	for _, h2 := range []bool{false, true} {
		transport := &http.Transport{TLSClientConfig: trust(r), ForceAttemptHTTP2: h2}
		res, body := over(t, &http.Client{Transport: transport}, "https://"+r.TLSAddr().String()+"/")
		if res.StatusCode != 204 || body != "" || res.Header.Get("Content-Length") != "" {
			t.Errorf("HTTP/2 %v: %d %q %v", h2, res.StatusCode, body, res.Header)
		}
		transport.CloseIdleConnections()
	}
}

// Who speaks HTTP in clear to the TLS address is told so, in that; who says nothing holds up neither others nor the end.
func TestWhoDoesNotShakeHands(t *testing.T) {
	cfg, trust := secured(t, nil)
	r := start(t, cfg)
	r.serve("web", text("web"))
	dial := func() net.Conn {
		c, err := net.Dial("tcp", r.TLSAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		return c
	}
	silent := dial()
	c := dial()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if all, _ := io.ReadAll(c); !strings.HasPrefix(string(all), "HTTP/1.0 400 ") || !strings.Contains(string(all), "https") {
		t.Errorf("answered %q", all)
	}
	transport := &http.Transport{TLSClientConfig: trust(r)}
	res, body := over(t, &http.Client{Transport: transport}, "https://"+r.TLSAddr().String()+"/")
	if res.StatusCode != 200 || body != "web" {
		t.Errorf("%d %q", res.StatusCode, body)
	}
	transport.CloseIdleConnections()
	r.stop()
	if _, err := io.ReadAll(silent); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a connection without a handshake outlives the gateway")
	}
}

func TestRedirectToTLS(t *testing.T) {
	cfg, _ := secured(t, func(c *topology.TLS) { c.Redirect = true })
	r := start(t, cfg)
	res, err := r.client.Get(r.url + "/a?b=c")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	want := "https://" + r.TLSAddr().String() + "/a?b=c"
	if res.StatusCode != 308 || res.Header.Get("Location") != want {
		t.Errorf("answered %d to %q, want 308 to %q", res.StatusCode, res.Header.Get("Location"), want)
	}
	// A body that nobody wants must not have the answer reset.
	all, err := io.ReadAll(r.dial("POST /a HTTP/1.0\r\nHost: x\r\nContent-Length: 40000\r\n\r\n" + strings.Repeat("b", 40000)))
	if err != nil || !strings.Contains(string(all), " 308 ") {
		t.Errorf("a client with a body reads %q, then %v", all, err)
	}
}

func TestBackendsOverHTTP2AndMutualTLS(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("tls ", secure), func(t *testing.T) {
			sys := shop()
			sys.Services["web"].Protocol = topology.H2C
			backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				w.Header().Set("Trailer", "X-Sum")
				_, _ = io.Copy(io.Discard, q.Body)
				fmt.Fprint(w, q.Proto, " ", q.Trailer.Get("X-Up"))
				w.Header().Set("X-Sum", "42")
			}))
			p := new(http.Protocols)
			p.SetHTTP2(true)
			p.SetUnencryptedHTTP2(!secure)
			backend.Config.Protocols = p
			if secure {
				local, err := certs.OpenLocal(t.TempDir(), time.Now)
				if err != nil {
					t.Fatal(err)
				}
				backend.TLS = &tls.Config{GetCertificate: local.Get, NextProtos: []string{"h2"}}
				backend.EnableHTTP2 = true
				sys.Services["web"].TLS = &topology.BackendTLS{CA: local.Root(), ServerName: "replica.test"}
				backend.StartTLS()
			} else {
				backend.Start()
			}
			defer backend.Close()
			r := start(t, Config{System: sys})
			r.ready("web", backend.Listener.Addr().String())
			if secure {
				backend.TLS.Certificates = nil
			}
			q, err := http.NewRequest("POST", r.url+"/", io.NopCloser(strings.NewReader("body")))
			if err != nil {
				t.Fatal(err)
			}
			q.Trailer = http.Header{"X-Up": {"7"}}
			res, err := r.client.Do(q)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			if string(body) != "HTTP/2.0 7" || res.Trailer.Get("X-Sum") != "42" {
				t.Errorf("%d %q, trailers %v", res.StatusCode, body, res.Trailer)
			}
		})
	}
}

// echoService has one method of each kind, without generated code: messages are those of grpc.health.v1.
var echoService = grpc.ServiceDesc{
	ServiceName: "test.Echo", HandlerType: (*any)(nil),
	Streams: []grpc.StreamDesc{
		{StreamName: "Echo", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
			for {
				var m healthpb.HealthCheckRequest
				if err := s.RecvMsg(&m); errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
				if m.Service == "fail" {
					return status.Error(codes.Unavailable, "as asked: 100 %")
				}
				if err := s.SendMsg(&m); err != nil {
					return err
				}
			}
		}},
	},
}

func grpcRig(t *testing.T, ready bool) (*rig, *grpc.ClientConn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	s.RegisterService(&echoService, struct{}{})
	healthpb.RegisterHealthServer(s, health.NewServer())
	go s.Serve(l)
	t.Cleanup(s.Stop)
	sys := shop()
	sys.Services["web"].Protocol = topology.GRPC
	r := start(t, Config{System: sys, Wait: -1})
	if ready {
		r.ready("web", l.Addr().String())
	}
	conn, err := grpc.NewClient("passthrough:///"+r.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return r, conn
}

func TestGRPC(t *testing.T) {
	r, conn := grpcRig(t, true)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	res, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil || res.Status != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("unary: %v, %v", res, err)
	}
	stream := func(ctx context.Context) grpc.ClientStream {
		t.Helper()
		s, err := conn.NewStream(ctx, &echoService.Streams[0], "/test.Echo/Echo")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	say := func(s grpc.ClientStream, text string) error {
		m := healthpb.HealthCheckRequest{Service: text}
		if err := s.SendMsg(&m); err != nil {
			return err
		}
		m.Reset()
		if err := s.RecvMsg(&m); err != nil {
			return err
		}
		if m.Service != text {
			return fmt.Errorf("got %q", m.Service)
		}
		return nil
	}
	s := stream(ctx)
	for i := range 10 {
		if err := say(s, fmt.Sprint(i)); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	_ = s.CloseSend()
	if err := s.RecvMsg(new(healthpb.HealthCheckRequest)); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
	// An error with the client's side still open, after a message.
	s = stream(ctx)
	if err := say(s, "one"); err != nil {
		t.Fatal(err)
	}
	if got := status.Convert(say(s, "fail")); got.Code() != codes.Unavailable || got.Message() != "as asked: 100 %" {
		t.Errorf("failure: %v", got)
	}
	// The deadline of the client is one of the gateway's.
	patiently(t, func(timeout time.Duration) error {
		short, end := context.WithTimeout(ctx, timeout)
		defer end()
		s, err := conn.NewStream(short, &echoService.Streams[0], "/test.Echo/Echo")
		if err != nil {
			return err
		}
		if err := say(s, "one"); err != nil {
			return err
		}
		if got := status.Code(s.RecvMsg(new(healthpb.HealthCheckRequest))); got != codes.DeadlineExceeded {
			t.Errorf("deadline: %v", got)
		}
		return nil
	})
	until(t, "a failure counts against the backend", func() bool { return r.Stats().Backends[0].Failures > 0 })
}

func TestGRPCErrorsOfTheGateway(t *testing.T) {
	_, conn := grpcRig(t, false)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "no backend") {
		t.Errorf("got %v", err)
	}
}

func TestGRPCTimeout(t *testing.T) {
	for in, want := range map[string]time.Duration{"1H": time.Hour, "5S": 5 * time.Second, "100m": 100 * time.Millisecond, "99999999n": 99999999, "99999999H": 1<<63 - 1} {
		if got, ok := parseGRPCTimeout(in); !ok || got != want {
			t.Errorf("%s: %v %v", in, got, ok)
		}
	}
	for _, in := range []string{"", "S", "1", "1s", "-1S", "+1S", "123456789S", "1.5S"} {
		if got, ok := parseGRPCTimeout(in); ok {
			t.Errorf("%s: %v", in, got)
		}
	}
}
