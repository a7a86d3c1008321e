package gateway

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// A replica that fails half of its requests is left alone after the interval, comes back after its time, and is left
// alone for longer the next time; its clients see its errors only in between.
func TestOutlierIsEjected(t *testing.T) {
	var clk clock
	s := eachInbound(shop(), func(in *topology.Inbound) {
		in.Balance, in.Retry, in.Breaker = topology.RoundRobin, nil, nil
		in.Outliers = &topology.Outliers{
			Interval: topology.Duration(10 * time.Second), Eject: topology.Duration(30 * time.Second), MaxEject: topology.Duration(5 * time.Minute),
			MaxEjected: 0.1, MinReplicas: 5, MinRequests: 20, Deviations: 1.9, Panic: 0.5,
		}
	})
	r := start(t, Config{System: s}, func(g *Gateway) { g.now = clk.now })
	var bad atomic.Int64
	r.serve("web", func(w http.ResponseWriter, _ *http.Request) {
		if bad.Add(1)%2 == 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	for range 5 {
		r.serve("web", func(http.ResponseWriter, *http.Request) {})
	}
	errors := func(requests int) (n int) {
		for range requests {
			res, err := r.client.Get(r.url + "/")
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode >= 500 {
				n++
			}
		}
		r.settle()
		return n
	}
	ejected := func() bool { return r.Stats().Backends[0].Ejected }
	seconds := func(n int64) { clk.advance(time.Duration(n) * time.Second) }
	if n := errors(120); n != 10 || ejected() {
		t.Fatalf("%d of 120 failed, ejected %v", n, ejected())
	}
	seconds(10)
	errors(1) // ends the interval
	if !ejected() {
		t.Fatal("it is not ejected")
	}
	seconds(10)
	if n := errors(60); n != 0 {
		t.Errorf("%d of 60 failed though it is ejected", n)
	}
	seconds(20)
	if ejected() {
		t.Error("it is ejected for more than 30 s")
	}
	if n := errors(120); n == 0 {
		t.Error("it does not come back")
	}
	seconds(10)
	errors(1)
	seconds(29)
	if !ejected() {
		t.Error("its second ejection is over too soon")
	}
}

// settle returns when the gateway is done with all requests: it counts them after their answers are out.
func (r *rig) settle() {
	r.t.Helper()
	until(r.t, "the end of all requests", func() bool {
		for _, route := range r.table.Load().routes {
			if route.traffic.inFlight.Load() > 0 {
				return false
			}
		}
		return true
	})
}
