package gateway

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"testing"
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
