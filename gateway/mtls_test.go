package gateway

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/banyanhq/banyan/topology"
)

// authority issues certificates for tests.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newAuthority(t *testing.T, name string) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	a.cert, a.key = template, nil
	pair := a.issue("root", template)
	a.cert, a.key = pair.leaf, pair.key
	return a
}

// root is the file with the authority's certificate.
func (a *authority) root() string { return filepath.Join(a.dir, "root.pem") }

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// issued is a certificate with its key, in files and in memory.
type issued struct {
	cert, file string // PEM files: of the certificate, and of the key
	leaf       *x509.Certificate
	key        *ecdsa.PrivateKey
}

func (p issued) pair() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.leaf.Raw}, PrivateKey: p.key, Leaf: p.leaf}
}

// leaf issues a certificate for a name, for both servers and clients, that is valid from now-1h for a time.
func (a *authority) leaf(name string, validFor time.Duration) issued {
	return a.issue(name, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(validFor),
	})
}

func (a *authority) issue(file string, template *x509.Certificate) issued {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	signer := a.key
	if signer == nil {
		signer = key
	}
	a.n++
	template.SerialNumber = big.NewInt(a.n)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	p := issued{cert: filepath.Join(a.dir, file+".pem"), file: filepath.Join(a.dir, file+".key"), key: key}
	if p.leaf, err = x509.ParseCertificate(der); err != nil {
		a.t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{p.cert: {Type: "CERTIFICATE", Bytes: der}, p.file: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(b), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return p
}

// clientsCerts are what clients may show: each but the first must be refused where one is required.
func clientCerts(t *testing.T, a *authority) map[string]*tls.Certificate {
	other := newAuthority(t, "another authority")
	right, expired, wrong := a.leaf("client.test", time.Hour).pair(), a.leaf("late.test", -time.Minute).pair(), other.leaf("client.test", time.Hour).pair()
	server := a.issue("server-only", &x509.Certificate{
		Subject: pkix.Name{CommonName: "server-only"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}).pair()
	return map[string]*tls.Certificate{"right": &right, "missing": nil, "expired": &expired, "of another authority": &wrong, "of a server": &server}
}

// shows has a client show a certificate even where the server says that it will not accept it.
func shows(config *tls.Config, c *tls.Certificate) *tls.Config {
	config = config.Clone()
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if c == nil {
			return new(tls.Certificate), nil
		}
		return c, nil
	}
	return config
}

func TestClientCertificates(t *testing.T) {
	a := newAuthority(t, "clients")
	certs := clientCerts(t, a)
	for _, require := range []bool{true, false} {
		cfg, trust := secured(t, func(c *topology.TLS) { c.Clients = &topology.TLSClients{CA: a.root(), Require: require} })
		r := start(t, cfg)
		r.serve("web", text("web"))
		for name, cert := range certs {
			for _, h2 := range []bool{false, true} {
				transport := &http.Transport{TLSClientConfig: shows(trust(r), cert), ForceAttemptHTTP2: h2}
				res, err := (&http.Client{Transport: transport}).Get("https://" + r.TLSAddr().String() + "/")
				passed := err == nil && res.StatusCode == 200
				if err == nil {
					res.Body.Close()
				}
				if want := name == "right" || name == "missing" && !require; passed != want {
					t.Errorf("required %v, HTTP/2 %v: a certificate %s: passed %v, %v", require, h2, name, passed, err)
				}
				transport.CloseIdleConnections()
			}
		}
		r.stop()
	}
}

// A reload has the authorities of clients read again: whom the new ones do not vouch for gets in no more, by no resumed session
// either, and whoever has a connection keeps it. What cannot be read changes nothing.
func TestAuthoritiesOfClientsAreReloaded(t *testing.T) {
	old, now := newAuthority(t, "old"), newAuthority(t, "new")
	cfg, trust := secured(t, func(c *topology.TLS) { c.Clients = &topology.TLSClients{CA: old.root(), Require: true}; c.HTTP3 = true })
	r := start(t, cfg)
	r.serve("web", text("web"))
	of := func(a *authority) *tls.Config {
		pair := a.leaf("client.test", time.Hour).pair()
		config := shows(trust(r), &pair)
		config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
		return config
	}
	url := "https://" + r.TLSAddr().String() + "/"
	get := func(rt http.RoundTripper) error {
		res, err := (&http.Client{Transport: rt, Timeout: time.Minute}).Get(url)
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		return err
	}
	oldConfig, newConfig := of(old), of(now)
	once := func(config *tls.Config) error {
		transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
		defer transport.CloseIdleConnections()
		return get(transport)
	}
	quic := func(config *tls.Config) error {
		transport := quicClient(config.Clone())
		defer transport.Close()
		return get(transport)
	}
	kept, err := tls.Dial("tcp", r.TLSAddr().String(), oldConfig) // a client of net/http may close one whose writer was late, and dial anew
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	answers := bufio.NewReader(kept)
	stays := func() error {
		if _, err := io.WriteString(kept, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return err
		}
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	if err := stays(); err != nil {
		t.Fatal(err)
	}
	oldWorks := func(when string, want bool) {
		t.Helper()
		for name, err := range map[string]error{"TCP": once(oldConfig), "TCP anew": once(of(old)), "QUIC": quic(of(old))} {
			if (err == nil) != want {
				t.Errorf("%s: the old authority by %s: %v", when, name, err)
			}
		}
		for name, err := range map[string]error{"TCP": once(newConfig), "QUIC": quic(of(now))} {
			if (err == nil) == want {
				t.Errorf("%s: the new authority by %s: %v", when, name, err)
			}
		}
		if err := stays(); err != nil {
			t.Errorf("%s: the connection that was there: %v", when, err)
		}
	}
	oldWorks("before", true)
	pem, err := os.ReadFile(now.root())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(old.root(), []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Reload(cfg.System); err == nil {
		t.Error("authorities that cannot be read are accepted")
	}
	oldWorks("after a reload that failed", true)
	if err := os.WriteFile(old.root(), pem, 0o600); err != nil {
		t.Fatal(err)
	}
	r.reload(cfg.System)
	oldWorks("after the reload", false)
}

func TestMutualTLSWithBackends(t *testing.T) {
	clients, servers, other := newAuthority(t, "clients"), newAuthority(t, "servers"), newAuthority(t, "another authority")
	right, late, stranger := clients.leaf("gateway.test", time.Hour), clients.leaf("late.test", -time.Minute), other.leaf("gateway.test", time.Hour)
	good := servers.leaf("replica.test", time.Hour)
	for _, c := range []struct {
		name   string
		server issued
		shown  *issued
		sni    string
		kind   string // of the fault; empty: none
	}{
		{"both right", good, &right, "replica.test", ""},
		{"no certificate shown", good, nil, "replica.test", "tls_alert_received"},
		{"an expired one shown", good, &late, "replica.test", "tls_alert_received"},
		{"one of another authority shown", good, &stranger, "replica.test", "tls_alert_received"},
		{"the replica's is expired", servers.leaf("old.test", -time.Minute), &right, "old.test", "tls_certificate_error"},
		{"the replica's is of another authority", other.leaf("replica.test", time.Hour), &right, "replica.test", "tls_certificate_error"},
		{"the replica's has another name", good, &right, "another.test", "tls_certificate_error"},
	} {
		for _, protocol := range []string{topology.HTTP1, topology.H2C} {
			backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				fmt.Fprint(w, q.TLS.PeerCertificates[0].Subject.CommonName)
			}))
			backend.TLS = &tls.Config{Certificates: []tls.Certificate{c.server.pair()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients.pool()}
			backend.EnableHTTP2 = true
			backend.Config.ErrorLog = log.New(io.Discard, "", 0)
			backend.StartTLS()
			sys := eachInbound(shop(), func(in *topology.Inbound) { in.Retry = nil })
			sys.Services["web"].Protocol = protocol
			sys.Services["web"].TLS = &topology.BackendTLS{CA: servers.root(), ServerName: c.sni}
			if c.shown != nil {
				sys.Services["web"].TLS.Cert, sys.Services["web"].TLS.Key = c.shown.cert, c.shown.file
			}
			r := start(t, Config{System: sys})
			r.ready("web", backend.Listener.Addr().String())
			answer := r.get("/")
			if c.kind == "" {
				if answer.status != 200 || answer.body != "gateway.test" {
					t.Errorf("%s, %s: %d %q", c.name, protocol, answer.status, answer.body)
				}
			} else if late := "banyan; error=connection_terminated"; c.kind != "tls_alert_received" || answer.header.Get("Proxy-Status") != late {
				r.wantFault(answer, 502, c.kind) // an alert may be overtaken by the connection's end
			}
			r.stop()
			backend.Close()
		}
	}
}

// A reload has the authorities of replicas read again, though nothing else has changed.
func TestAuthoritiesOfReplicasAreReloaded(t *testing.T) {
	old, now := newAuthority(t, "old"), newAuthority(t, "new")
	pair := old.leaf("replica.test", time.Hour).pair()
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {}))
	backend.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	backend.Config.ErrorLog = log.New(io.Discard, "", 0)
	backend.StartTLS()
	defer backend.Close()
	sys := eachInbound(shop(), func(in *topology.Inbound) { in.Retry = nil })
	sys.Services["web"].TLS = &topology.BackendTLS{CA: old.root(), ServerName: "replica.test"}
	r := start(t, Config{System: sys})
	r.ready("web", backend.Listener.Addr().String())
	works := func(when string) {
		t.Helper()
		if a := r.get("/"); a.status != 200 {
			t.Fatalf("%s: %d %q", when, a.status, a.body)
		}
	}
	works("before")
	pem, err := os.ReadFile(now.root())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(old.root(), pem, 0o600); err != nil {
		t.Fatal(err)
	}
	works("before the reload")
	r.reload(sys)
	r.wantFault(r.get("/"), 502, "tls_certificate_error")
}

func TestMinimalVersionOfTLS(t *testing.T) {
	for least, want := range map[string]map[uint16]bool{
		"":       {tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true},
		"tls1.2": {tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true},
		"tls1.3": {tls.VersionTLS11: false, tls.VersionTLS12: false, tls.VersionTLS13: true},
	} {
		cfg, trust := secured(t, func(c *topology.TLS) { c.MinVersion = least })
		r := start(t, cfg)
		for version, ok := range want {
			config := trust(r)
			config.MinVersion, config.MaxVersion = tls.VersionTLS10, version
			c, err := tls.Dial("tcp", r.TLSAddr().String(), config)
			if (err == nil) != ok {
				t.Errorf("min_version %q: %s: %v", least, tls.VersionName(version), err)
			}
			if err == nil {
				if got := c.ConnectionState().Version; got != version {
					t.Errorf("min_version %q: %s was spoken, %s offered", least, tls.VersionName(got), tls.VersionName(version))
				}
				c.Close()
			}
		}
		r.stop()
	}
}

// New files are used by handshakes that come after them; connections that are there go on, and no request fails.
func TestCertificatesAreReplacedUnderTraffic(t *testing.T) {
	a := newAuthority(t, "servers")
	first := a.leaf("site.test", time.Hour)
	cfg, _ := secured(t, func(c *topology.TLS) { c.Certificates = []topology.Certificate{{Cert: first.cert, Key: first.file}} })
	r := start(t, cfg)
	r.serve("web", text("web"))
	config := &tls.Config{RootCAs: a.pool(), ServerName: "site.test"}
	get := func(client *http.Client) (serial int64) {
		res, err := client.Get("https://" + r.TLSAddr().String() + "/")
		if err != nil {
			t.Error(err)
			return 0
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		if res.StatusCode != 200 {
			t.Errorf("answered %d", res.StatusCode)
		}
		return res.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	// Its one connection is HTTP/2's: a request that comes before the client has put that where others find it waits, instead of dialling.
	kept := &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true, MaxConnsPerHost: 1}
	defer kept.CloseIdleConnections()
	before := get(&http.Client{Transport: kept})
	second := a.leaf("site.test", time.Hour) // into the same files
	fresh := &http.Client{Transport: &http.Transport{TLSClientConfig: config.Clone(), DisableKeepAlives: true}}
	until(t, "the new certificate is used", func() bool {
		if now := get(&http.Client{Transport: kept}); now != before {
			t.Errorf("a connection that was kept shows %d", now)
		}
		return get(fresh) == second.leaf.SerialNumber.Int64()
	})
}

func TestUpgradeOverTLS(t *testing.T) {
	cfg, trust := secured(t, nil)
	r := start(t, cfg)
	echo(r)
	config := trust(r)
	config.NextProtos = []string{"http/1.1"}
	c, err := tls.Dial("tcp", r.TLSAddr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, _ = io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly ")
	head, err := readHead(c)
	if err != nil || !strings.HasPrefix(head, "HTTP/1.1 101") {
		t.Fatalf("%q, %v", head, err)
	}
	buf := make([]byte, 6)
	for _, word := range []string{"", "hello ", "there "} {
		_, _ = io.WriteString(c, word)
		if word == "" {
			word = "early "
		}
		if _, err := io.ReadFull(c, buf); string(buf) != word {
			t.Fatalf("%q, %v", buf, err)
		}
	}
	// The client's end of the stream reaches the backend, whose end then comes back.
	_, _ = io.WriteString(c, "last")
	_ = c.CloseWrite()
	if rest, err := io.ReadAll(c); string(rest) != "last" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
}

// Each event comes when it was sent, and not with the next, whatever the client speaks.
func TestEventsByEveryProtocol(t *testing.T) {
	cfg, trust := secured(t, nil)
	cfg.System = eachInbound(cfg.System, func(in *topology.Inbound) { in.Timeout = topology.Duration(time.Minute) })
	r := start(t, cfg)
	next := make(chan string)
	var over sync.WaitGroup
	r.serve("web", func(w http.ResponseWriter, q *http.Request) {
		over.Add(1)
		defer over.Done()
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		for {
			select {
			case <-q.Context().Done():
				return
			case e := <-next:
				_, _ = io.WriteString(w, e)
				w.(http.Flusher).Flush()
			}
		}
	})
	h2c := new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	for name, c := range map[string]struct {
		transport *http.Transport
		url       string
	}{
		"http/1.1":     {&http.Transport{}, r.url},
		"h2c":          {&http.Transport{Protocols: h2c}, r.url},
		"tls http/1.1": {&http.Transport{TLSClientConfig: trust(r)}, "https://" + r.TLSAddr().String()},
		"tls h2":       {&http.Transport{TLSClientConfig: trust(r), ForceAttemptHTTP2: true}, "https://" + r.TLSAddr().String()},
	} {
		res, err := c.transport.RoundTrip(r.request("GET", c.url+"/", nil))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		lines := bufio.NewReader(res.Body)
		for i := range 5 {
			want := fmt.Sprintf("data: %d\n", i)
			next <- want
			if got, err := lines.ReadString('\n'); got != want {
				t.Fatalf("%s: %q, %v", name, got, err)
			}
		}
		res.Body.Close()
		c.transport.CloseIdleConnections()
		over.Wait() // for the backend to see that the client is gone
	}
}

// Trailers, errors and deadlines of gRPC over TLS, as the client's library sees them.
func TestGRPCOverTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	deadlines := make(chan time.Duration, 10)
	s := grpc.NewServer()
	service := grpc.ServiceDesc{ServiceName: "test.Trailers", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{
		{StreamName: "Talk", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
			if d, ok := s.Context().Deadline(); ok {
				deadlines <- time.Until(d)
			}
			s.SetTrailer(metadata.Pairs("x-sum", "42", "x-raw-bin", "\x00\xff"))
			var m healthpb.HealthCheckRequest
			for s.RecvMsg(&m) == nil {
				if m.Service == "wait" {
					<-s.Context().Done()
					return status.FromContextError(s.Context().Err()).Err()
				}
				if err := s.SendMsg(&m); err != nil {
					return err
				}
			}
			return status.Error(codes.FailedPrecondition, "with a reason: ü")
		}},
	}}
	s.RegisterService(&service, struct{}{})
	go s.Serve(l)
	defer s.Stop()
	cfg, trust := secured(t, nil)
	cfg.System.Services["web"].Protocol = topology.GRPC
	r := start(t, cfg)
	r.ready("web", l.Addr().String())
	conn, err := grpc.NewClient("passthrough:///"+r.TLSAddr().String(), grpc.WithTransportCredentials(credentials.NewTLS(trust(r))))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	talk := func(ctx context.Context, word string) (metadata.MD, error) {
		s, err := conn.NewStream(ctx, &service.Streams[0], "/test.Trailers/Talk")
		if err != nil {
			return nil, err
		}
		if err := s.SendMsg(&healthpb.HealthCheckRequest{Service: word}); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		_ = s.CloseSend()
		for err == nil {
			err = s.RecvMsg(new(healthpb.HealthCheckRequest))
		}
		return s.Trailer(), err
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	trailer, err := talk(ctx, "hello")
	if got := status.Convert(err); got.Code() != codes.FailedPrecondition || got.Message() != "with a reason: ü" {
		t.Errorf("status %v", got)
	}
	if len(trailer["x-sum"]) != 1 || trailer["x-sum"][0] != "42" || len(trailer["x-raw-bin"]) != 1 || trailer["x-raw-bin"][0] != "\x00\xff" {
		t.Errorf("trailers %q", trailer)
	}
	if d := <-deadlines; d <= 0 || d > time.Minute {
		t.Errorf("the backend's deadline is in %v", d)
	}
	short, end := context.WithTimeout(ctx, 100*time.Millisecond)
	defer end()
	if _, err := talk(short, "wait"); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("deadline: %v", err)
	}
	until(t, "the backend's call is over", func() bool { return r.Stats().Backends[0].InFlight == 0 })
}
