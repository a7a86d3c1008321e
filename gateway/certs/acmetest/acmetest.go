// Package acmetest runs an authority that speaks ACME (pebble) inside a test: on the loopback interface, with a name server
// of its own by which every name is this machine.
package acmetest

import (
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// Server is an authority.
type Server struct {
	// Directory is its URL.
	Directory string

	t         testing.TB
	server    *httptest.Server
	names     string // address of the name server
	authority *ca.CAImpl
	store     *db.MemoryStore
	handler   atomic.Pointer[http.Handler]
}

// Start starts an authority, which lasts as long as the test. Nothing is issued before Reach.
func Start(t testing.TB) *Server {
	t.Helper()
	// Pebble waits at random before it looks at challenges, and refuses some nonces, unless it is told not to.
	for name, value := range map[string]string{"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"} {
		t.Setenv(name, value)
	}
	s := &Server{t: t, store: db.NewMemoryStore()}
	s.authority = ca.New(log.New(io.Discard, "", 0), s.store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {}})
	s.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := s.handler.Load()
		if h == nil {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		(*h).ServeHTTP(w, r)
	}))
	t.Cleanup(s.server.Close)
	s.Directory = s.server.URL + wfe.DirectoryPath
	s.names = nameServer(t)
	return s
}

// Reach has the authority look for challenges at these ports, rather than at 443 and 80.
func (s *Server) Reach(tlsPort, httpPort int) {
	quiet := log.New(io.Discard, "", 0)
	front := wfe.New(quiet, s.store, va.New(quiet, httpPort, tlsPort, true, s.names, s.store), s.authority, []string{"acme.test"}, true, false, 1, 1)
	h := front.Handler()
	s.handler.Store(&h)
}

// Certificate is that of the directory's own server.
func (s *Server) Certificate() *x509.Certificate { return s.server.Certificate() }

// Roots vouch for the directory's own server.
func (s *Server) Roots() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(s.server.Certificate())
	return p
}

// Issuers vouch for what the authority issues.
func (s *Server) Issuers(t testing.TB) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	if root := s.authority.GetRootCert(0); root == nil || !p.AppendCertsFromPEM(root.PEM()) {
		t.Fatal("the authority has no root")
	}
	return p
}

// nameServer answers that every name is 127.0.0.1.
func nameServer(t testing.TB) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // pebble asks over TCP
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if len(q.Question) == 1 && q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1)}}
		}
		_ = w.WriteMsg(m)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ActivateAndServe()
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}
