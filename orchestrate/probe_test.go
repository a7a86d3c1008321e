package orchestrate

import (
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/banyanhq/banyan/topology"
)

func TestGRPCHealthCheck(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, h := grpc.NewServer(), health.NewServer()
	healthpb.RegisterHealthServer(s, h)
	go s.Serve(l)
	defer s.Stop()
	p := &probes{address: l.Addr().String(), svc: &topology.Service{}}
	check := topology.Check{GRPC: true, Timeout: topology.Duration(30 * time.Second)}
	if err := p.once(t.Context(), check); err != nil {
		t.Errorf("serving: %v", err)
	}
	h.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	if err := p.once(t.Context(), check); err == nil {
		t.Error("not serving: it passed")
	}
	h.Shutdown()
	s.Stop()
	if err := p.once(t.Context(), check); err == nil {
		t.Error("stopped: it passed")
	}
}

// A replica that speaks TLS, as its service says, is asked over TLS; its authorities are those of the file as it is now.
func TestHealthCheckOverTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || r.URL.Path != "/healthz" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	dir := t.TempDir()
	p := &probes{address: server.Listener.Addr().String(), root: dir, svc: &topology.Service{TLS: &topology.BackendTLS{CA: "ca.pem"}}}
	check := topology.Check{Path: "/healthz", Timeout: topology.Duration(30 * time.Second)}
	if err := p.once(t.Context(), check); err == nil {
		t.Error("without authorities it passes")
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.once(t.Context(), check); err != nil {
		t.Error(err)
	}
	p.svc.TLS = nil
	if err := p.once(t.Context(), check); err == nil {
		t.Error("in clear it passes")
	}
}
