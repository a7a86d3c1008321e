package gateway

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// A backend that runs elsewhere gets no requests from its third failed check on, and gets them again after two that passed.
func TestBackendsElsewhereAreChecked(t *testing.T) {
	var sick atomic.Bool
	var checks, failed atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			checks.Add(1)
			if sick.Load() {
				failed.Add(1)
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}
	}))
	t.Cleanup(server.Close)
	address := strings.TrimPrefix(server.URL, "http://")
	s := shop()
	s.Services["web"].Backends = []topology.Backend{{Address: address}}
	s.Services["web"].Health.Ready = &topology.Check{Path: "/healthz", Interval: topology.Duration(time.Millisecond), Timeout: topology.Duration(time.Minute), Failures: 3}
	r := start(t, Config{System: s})
	r.ready("web", address)
	ready := func() bool { return r.Stats().Backends[0].Ready }
	until(t, "checks", func() bool { return checks.Load() > 5 })
	if !ready() {
		t.Fatal("a healthy backend is not used")
	}
	sick.Store(true)
	until(t, "the backend to be left alone", func() bool { return !ready() })
	if n := failed.Load(); n < 3 {
		t.Errorf("left alone after %d checks", n)
	}
	sick.Store(false)
	until(t, "the backend to be used again", ready)
}

// A backend that was left alone when a reload replaced it is used again once its checks pass.
func TestBackendsAreUsedAgainAfterAReload(t *testing.T) {
	var sick atomic.Bool
	sick.Store(true)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sick.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	address := strings.TrimPrefix(server.URL, "http://")
	file := func(concurrency int) *topology.System {
		s := shop()
		s.Services["web"].Concurrency = concurrency
		s.Services["web"].Backends = []topology.Backend{{Address: address}}
		s.Services["web"].Health.Ready = &topology.Check{Path: "/healthz", Interval: topology.Duration(time.Millisecond), Timeout: topology.Duration(time.Minute), Failures: 3}
		return s
	}
	r := start(t, Config{System: file(100)})
	r.ready("web", address)
	ready := func() bool { return r.Stats().Backends[0].Ready }
	until(t, "the backend to be left alone", func() bool { return !ready() })
	if err := r.Reload(file(200)); err != nil {
		t.Fatal(err)
	}
	sick.Store(false)
	until(t, "the backend to be used again", ready)
}

// A backend elsewhere that speaks TLS is asked over TLS, and trusted as its service says.
func TestBackendsElsewhereAreCheckedOverTLS(t *testing.T) {
	var asked atomic.Bool
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" && r.TLS != nil {
			asked.Store(true)
		}
	}))
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	address := server.Listener.Addr().String()
	s := shop()
	s.Services["web"].Backends = []topology.Backend{{Address: address}}
	s.Services["web"].TLS = &topology.BackendTLS{CA: ca}
	s.Services["web"].Health.Ready = &topology.Check{Path: "/healthz", Interval: topology.Duration(time.Millisecond), Timeout: topology.Duration(time.Minute), Failures: 1}
	r := start(t, Config{System: s})
	r.Add("web", Backend{ID: address, Address: address}) // not ready: only a check makes it so
	until(t, "the backend to be used", func() bool { return r.Stats().Backends[0].Ready && asked.Load() })
}
