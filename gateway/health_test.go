package gateway

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// A backend that runs elsewhere gets no requests from its third failed check on, and gets them again after two that passed.
func TestBackendsElsewhereAreChecked(t *testing.T) {
	var sick atomic.Bool
	var checks atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			checks.Add(1)
			if sick.Load() {
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
	at := checks.Load()
	until(t, "the backend to be left alone", func() bool { return !ready() })
	if n := checks.Load() - at; n < 3 {
		t.Errorf("left alone after %d checks", n)
	}
	sick.Store(false)
	until(t, "the backend to be used again", ready)
}

func TestCheckByConnection(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	if err := ask(t.Context(), http.DefaultClient, address, topology.Check{}); err != nil {
		t.Error(err)
	}
	if err := ask(t.Context(), http.DefaultClient, address, topology.Check{Path: "/"}); err == nil {
		t.Error("a 404 passes")
	}
	if err := ask(t.Context(), http.DefaultClient, refusing(t), topology.Check{}); err == nil {
		t.Error("a connection that is refused passes")
	}
}
