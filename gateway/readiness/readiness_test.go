package readiness_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/banyanhq/banyan/gateway/grpchealth"
	"github.com/banyanhq/banyan/gateway/readiness"
	"github.com/banyanhq/banyan/internal/loopback"
	"github.com/banyanhq/banyan/topology"
)

// patience is how long a check may take on a busy machine.
const patience = topology.Duration(time.Minute)

// refusing returns an address that nobody listens on.
func refusing() string { return net.JoinHostPort(loopback.Host(), "4711") }

func TestCheckByConnection(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	if err := readiness.Ask(t.Context(), readiness.Way{}, address, topology.Check{Timeout: patience}); err != nil {
		t.Error(err)
	}
	if err := readiness.Ask(t.Context(), readiness.Way{}, address, topology.Check{Path: "/", Timeout: patience}); err == nil {
		t.Error("a 404 passes")
	}
	if err := readiness.Ask(t.Context(), readiness.Way{}, refusing(), topology.Check{Timeout: patience}); !errors.Is(err, readiness.ErrRefused) {
		t.Error("a connection that is refused passes")
	}
}

// Backends that speak TLS, HTTP/2 or gRPC are asked by these.
func TestChecksGoByTheBackendsProtocol(t *testing.T) {
	both := new(http.Protocols)
	both.SetHTTP1(true)
	both.SetHTTP2(true)
	both.SetUnencryptedHTTP2(true)
	var asked atomic.Pointer[http.Request]
	answer, status := []byte{0, 0, 0, 0, 2, 8, 1}, "0"
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r)
		if r.URL.Path != grpchealth.Method {
			return
		}
		w.Header().Set("Content-Type", "application/grpc")
		_, _ = w.Write(answer)
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", status)
	})
	plain := httptest.NewUnstartedServer(handler)
	plain.Config.Protocols = both
	plain.Start()
	defer plain.Close()
	secure := httptest.NewUnstartedServer(handler)
	secure.Config.Protocols, secure.EnableHTTP2 = both, true
	secure.StartTLS()
	defer secure.Close()
	pool := x509.NewCertPool()
	pool.AddCert(secure.Certificate())
	trust := &tls.Config{RootCAs: pool, ServerName: "example.com"}
	path, grpc := topology.Check{Path: "/healthz", Timeout: patience}, topology.Check{GRPC: true, Timeout: patience}
	for name, c := range map[string]struct {
		to     readiness.Way
		check  topology.Check
		major  int
		secure bool
	}{
		"http1": {readiness.Way{}, path, 1, false}, "h2c": {readiness.Way{Protocol: topology.H2C}, path, 2, false},
		"grpc": {readiness.Way{Protocol: topology.GRPC}, grpc, 2, false}, "gRPC's question to a service of HTTP/1": {readiness.Way{}, grpc, 2, false},
		"TLS": {readiness.Way{TLS: trust}, path, 1, true}, "HTTP/2 over TLS": {readiness.Way{Protocol: topology.H2C, TLS: trust}, path, 2, true},
		"gRPC over TLS": {readiness.Way{Protocol: topology.GRPC, TLS: trust}, grpc, 2, true},
	} {
		server := plain
		if c.secure {
			server = secure
		}
		c.check.Timeout = patience
		if err := readiness.Ask(t.Context(), c.to, server.Listener.Addr().String(), c.check); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if r := asked.Load(); r.ProtoMajor != c.major || (r.TLS != nil) != c.secure {
			t.Errorf("%s: asked by %s, over TLS %v", name, r.Proto, r.TLS != nil)
		}
	}
	if err := readiness.Ask(t.Context(), readiness.Way{TLS: &tls.Config{RootCAs: x509.NewCertPool()}}, secure.Listener.Addr().String(), path); err == nil {
		t.Error("a certificate that nobody vouches for passes")
	}
	status = "12"
	if err := readiness.Ask(t.Context(), readiness.Way{Protocol: topology.GRPC}, plain.Listener.Addr().String(), grpc); err == nil {
		t.Error("a call that failed passes")
	}
	status = "0"
	answer = []byte{0, 0, 0, 0, 2, 8, 2}
	if err := readiness.Ask(t.Context(), readiness.Way{Protocol: topology.GRPC}, plain.Listener.Addr().String(), grpc); err == nil {
		t.Error("NOT_SERVING passes")
	}
}

// What is said of a check that failed is short, and names what to look for.
func TestWhatIsSaidOfFailedChecks(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-r.Context().Done()
			return
		}
		http.Error(w, "the ledger is locked\nmore", http.StatusServiceUnavailable)
	}))
	defer server.Close()
	address := server.Listener.Addr().String()
	over := readiness.Way{TLS: &tls.Config{}}
	for _, c := range []struct {
		way     readiness.Way
		address string
		check   topology.Check
		want    string
	}{
		{readiness.Way{}, address, topology.Check{Path: "/x", Timeout: patience}, "GET /x answered 503: the ledger is locked"},
		{readiness.Way{}, address, topology.Check{Path: "/slow", Timeout: topology.Duration(10 * time.Millisecond)}, "GET /slow: no answer within 10ms"},
		{readiness.Way{}, refusing(), topology.Check{Path: "/x", Timeout: patience}, "GET /x: connection refused"},
		{readiness.Way{}, refusing(), topology.Check{GRPC: true, Timeout: patience}, grpchealth.Method + ": connection refused"},
		{over, address, topology.Check{Path: "/x", Timeout: patience}, "GET /x: http: server gave HTTP response to HTTPS client"},
	} {
		if err := readiness.Ask(t.Context(), c.way, c.address, c.check); err == nil || err.Error() != c.want {
			t.Errorf("%+v: %v, want %s", c.check, err, c.want)
		}
	}
}
