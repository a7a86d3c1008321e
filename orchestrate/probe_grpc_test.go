package orchestrate

import (
	"net"
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
	p := newProbes(l.Addr().String(), topology.Health{}, nil)
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
