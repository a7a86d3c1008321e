package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/banyanhq/banyan/gateway/certs/acmetest"
)

// site answers for a's names: handshakes, and plain requests.
func site(t *testing.T, a func() *ACME) (tlsPort, httpPort int) {
	t.Helper()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a().ServeChallenge(w, r) {
			http.NotFound(w, r)
		}
	})}
	go s.Serve(plain)
	t.Cleanup(func() { s.Close() })
	secure, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		GetCertificate:     func(h *tls.ClientHelloInfo) (*tls.Certificate, error) { return a().Get(h) },
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) { return a().ForHandshake(h) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { secure.Close() })
	go func() {
		for {
			c, err := secure.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = c.(*tls.Conn).Handshake()
			}()
		}
	}()
	return secure.Addr().(*net.TCPAddr).Port, plain.Addr().(*net.TCPAddr).Port
}

func open(t *testing.T, server *acmetest.Server, challenge, storage string, now func() time.Time) *ACME {
	t.Helper()
	a, err := OpenACME(ACMEConfig{
		Directory: server.Directory, Domains: []string{"one.test", "two.test"}, Email: "ops@one.test", Roots: server.Roots(), Challenge: challenge,
		Storage: storage, Log: slog.New(slog.DiscardHandler), Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func serialOf(t *testing.T, a *ACME, name string) string {
	t.Helper()
	c, err := a.Get(&tls.ClientHelloInfo{ServerName: name})
	if err != nil {
		t.Fatal(err)
	}
	return c.Leaf.SerialNumber.String()
}

// A certificate is obtained by both challenges, kept over a restart, and renewed when two thirds of its life are over.
func TestACMEObtainsAndRenews(t *testing.T) {
	for _, challenge := range []string{"tls-alpn-01", "http-01"} {
		t.Run(challenge, func(t *testing.T) {
			var a atomic.Pointer[ACME]
			var shift atomic.Int64
			now := func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }
			tlsPort, httpPort := site(t, a.Load)
			server := acmetest.Start(t)
			server.Reach(tlsPort, httpPort)
			storage := t.TempDir()
			a.Store(open(t, server, challenge, storage, now))
			if _, err := a.Load().Get(&tls.ClientHelloInfo{ServerName: "one.test"}); err == nil {
				t.Error("a certificate before one was issued")
			}
			due, err := a.Load().keep(t.Context(), "one.test", time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			first := serialOf(t, a.Load(), "one.test")
			cert, _ := a.Load().Get(&tls.ClientHelloInfo{ServerName: "ONE.test."})
			if _, err := cert.Leaf.Verify(x509.VerifyOptions{DNSName: "one.test", Roots: server.Issuers(t), Intermediates: chain(cert)}); err != nil {
				t.Errorf("the certificate: %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(storage, "*", "challenges", "*")); len(left) != 0 {
				t.Errorf("answers to challenges are left: %v", left)
			}
			// Another one with the same storage has it, and asks for nothing.
			a.Store(open(t, server, challenge, storage, now))
			if got := serialOf(t, a.Load(), "one.test"); got != first {
				t.Errorf("after a restart: %s, want %s", got, first)
			}
			shift.Store(int64(time.Until(due) - time.Minute))
			if _, err := a.Load().keep(t.Context(), "one.test", time.Time{}); err != nil || serialOf(t, a.Load(), "one.test") != first {
				t.Errorf("renewed before it is due, %v", err)
			}
			shift.Store(int64(time.Until(due) + time.Minute))
			if _, err := a.Load().keep(t.Context(), "one.test", time.Time{}); err != nil || serialOf(t, a.Load(), "one.test") == first {
				t.Errorf("not renewed when due, %v", err)
			}
		})
	}
}

func chain(c *tls.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, der := range c.Certificate[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			p.AddCert(cert)
		}
	}
	return p
}

// Two gateways with one storage answer each other's challenges.
func TestACMEIsAnsweredByAnother(t *testing.T) {
	for _, challenge := range []string{"tls-alpn-01", "http-01"} {
		var other atomic.Pointer[ACME]
		tlsPort, httpPort := site(t, other.Load)
		server := acmetest.Start(t)
		server.Reach(tlsPort, httpPort)
		storage := t.TempDir()
		other.Store(open(t, server, challenge, storage, time.Now))
		a := open(t, server, challenge, storage, time.Now)
		if _, err := a.keep(t.Context(), "one.test", time.Time{}); err != nil {
			t.Errorf("%s: %v", challenge, err)
		}
	}
}

// A name that is not ours fails, is tried again later and not at once, and does not keep others from theirs.
func TestACMEFailures(t *testing.T) {
	server := acmetest.Start(t)
	var a atomic.Pointer[ACME]
	tlsPort, _ := site(t, a.Load)
	server.Reach(tlsPort, 1) // http-01 goes nowhere
	a.Store(open(t, server, "http-01", t.TempDir(), time.Now))
	if _, err := a.Load().keep(t.Context(), "one.test", time.Time{}); err == nil || !strings.Contains(err.Error(), "name is ours") {
		t.Errorf("got %v", err)
	}
	later := time.Now().Add(time.Hour)
	if due, err := a.Load().keep(t.Context(), "one.test", later); err != nil || !due.Equal(later) {
		t.Errorf("again at %v, %v", due, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.Load().Run(ctx) // ends
}

func TestRetryAfter(t *testing.T) {
	for n, want := range map[int]time.Duration{1: time.Minute, 2: 2 * time.Minute, 9: 256 * time.Minute, 10: retryMost, 1000: retryMost} {
		if got := retryAfter(n, 0); got != want {
			t.Errorf("after %d failures: %v, want %v", n, got, want)
		}
		if got := retryAfter(n, 1); got != want-want/10 {
			t.Errorf("after %d failures, at most: %v", n, got)
		}
	}
}

func TestACMEStorage(t *testing.T) {
	server := acmetest.Start(t)
	storage := t.TempDir()
	open(t, server, "http-01", storage, time.Now)
	files, _ := filepath.Glob(filepath.Join(storage, "*", "account.key"))
	if len(files) != 1 {
		t.Fatalf("keys: %v", files)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the account's key: %v, %v", info.Mode(), err)
	}
	// What is broken there is not used, and no reason not to start; but for the key, without which the account is lost.
	if err := os.WriteFile(filepath.Join(filepath.Dir(files[0]), "one.test.pem"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, server, "http-01", storage, time.Now)
	if err := os.WriteFile(files[0], []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenACME(ACMEConfig{Directory: server.Directory, Domains: []string{"one.test"}, Storage: storage, Log: slog.New(slog.DiscardHandler), Now: time.Now}); err == nil {
		t.Error("opened with a broken key")
	}
	if _, err := OpenACME(ACMEConfig{Directory: "http://plain.test/", Storage: storage}); err == nil {
		t.Error("opened with a directory without TLS")
	}
}
