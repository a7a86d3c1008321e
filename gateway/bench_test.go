package gateway

import (
	"bytes"
	"io"
	"log"
	"net"
	"net/http"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/banyanhq/banyan/topology"
)

// BenchmarkProxy is a request over keep-alive connections through the gateway to a backend and back, the client's and
// the backend's own work included; 'direct' is the same without the gateway.
func BenchmarkProxy(b *testing.B) {
	log.SetOutput(io.Discard)
	body := bytes.Repeat([]byte("x"), 1024)
	handler := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Write(body)
	}
	run := func(b *testing.B, r *rig, url string, parallel bool) {
		one := func() {
			res, err := r.client.Get(url)
			if err != nil {
				b.Error(err)
				return
			}
			n, err := io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if n != 1024 || err != nil {
				b.Errorf("%d bytes, %v", n, err)
			}
		}
		b.ReportAllocs()
		if !parallel {
			for b.Loop() {
				one()
			}
			return
		}
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				one()
			}
		})
	}
	r := start(b, Config{})
	r.serve("web", handler)
	direct := "http://" + r.Stats().Backends[0].Address + "/"
	b.Run("direct", func(b *testing.B) { run(b, r, direct, false) })
	b.Run("gateway", func(b *testing.B) { run(b, r, r.url+"/", false) })
	b.Run("direct-parallel", func(b *testing.B) { run(b, r, direct, true) })
	b.Run("gateway-parallel", func(b *testing.B) { run(b, r, r.url+"/", true) })
}

// cpu is the processor time that the process has used.
func cpu(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkHTTP2 is what guards cost: requests over HTTP/2 and calls of gRPC through the gateway, with and without them. The
// client's and the backend's work are in it, which are the same; cpu-ns/op is all three's processor time.
func BenchmarkHTTP2(b *testing.B) {
	h2c := new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	for _, unguarded := range []bool{true, false} {
		name := map[bool]string{true: "unguarded", false: "guarded"}[unguarded]
		measured := func(b *testing.B, one func() error) {
			b.ReportAllocs()
			b.SetParallelism(16)
			before := cpu(b)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := one(); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
		}
		b.Run("requests/"+name, func(b *testing.B) {
			r := start(b, Config{}, func(g *Gateway) { g.unguarded = unguarded })
			body := bytes.Repeat([]byte("x"), 1024)
			r.serve("web", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
			client := &http.Client{Transport: &http.Transport{Protocols: h2c}}
			defer client.CloseIdleConnections()
			measured(b, func() error {
				res, err := client.Get(r.url + "/")
				if err != nil {
					return err
				}
				defer res.Body.Close()
				_, err = io.Copy(io.Discard, res.Body)
				return err
			})
		})
		b.Run("calls/"+name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			s := grpc.NewServer()
			healthpb.RegisterHealthServer(s, health.NewServer())
			go s.Serve(l)
			defer s.Stop()
			sys := shop()
			sys.Services["web"].Protocol = topology.GRPC
			r := start(b, Config{System: sys}, func(g *Gateway) { g.unguarded = unguarded })
			r.ready("web", l.Addr().String())
			conn, err := grpc.NewClient("passthrough:///"+r.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			client := healthpb.NewHealthClient(conn)
			measured(b, func() error {
				_, err := client.Check(b.Context(), &healthpb.HealthCheckRequest{})
				return err
			})
		})
	}
}
