package gateway

import (
	"net/http"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// What is above the bound is refused at once and reaches no backend; a place that is given back is used again; slow
// answers make the bound shrink. A stream without an end does not hold a place.
func TestAdaptiveBound(t *testing.T) {
	var clk clock
	s := eachInbound(shop(), func(in *topology.Inbound) {
		in.Adaptive = &topology.Adaptive{Initial: 12, Min: 2, Max: 12, Tolerance: 1.5}
	})
	r := start(t, Config{System: s}, func(g *Gateway) { g.now = clk.now })
	arrived, leave := make(chan struct{}, 12), make(chan struct{})
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/stream":
			w.Header().Set("Content-Type", "text/event-stream")
			w.(http.Flusher).Flush()
			<-req.Context().Done()
		case "/hold":
			arrived <- struct{}{}
			<-leave
		}
	})
	bound := r.table.Load().routes[0].lane.bound
	stream, err := r.client.Get(r.url + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	until(t, "the stream to leave the bound", func() bool { return bound.InFlight() == 0 })
	done := make(chan int, 12)
	hold := func(n int) {
		for range n {
			go func() {
				res, err := r.client.Get(r.url + "/hold")
				if err != nil {
					done <- 0
					return
				}
				res.Body.Close()
				done <- res.StatusCode
			}()
		}
		for range n {
			<-arrived
		}
	}
	free := func(n int) {
		for range n {
			leave <- struct{}{}
			if code := <-done; code != http.StatusOK {
				t.Errorf("a held request was answered %d", code)
			}
		}
		until(t, "all to leave the bound", func() bool { return bound.InFlight() == 0 })
	}
	hold(12)
	before := r.Stats().Backends[0].Requests
	r.wantFault(r.get("/"), http.StatusServiceUnavailable, "connection_limit_reached")
	if n := r.Stats().Backends[0].Requests; n != before {
		t.Error("a refused request reached the backend")
	}
	free(12)
	if a := r.get("/"); a.status != http.StatusOK {
		t.Errorf("after that: %d", a.status)
	}
	stream.Body.Close()
	r.settle()
	if n := bound.InFlight(); n != 0 {
		t.Fatalf("%d in flight after the end of the stream", n)
	}
	// A usual latency of 10 ms, then of 200 ms.
	for round := range 30 {
		held := int(bound.Limit())
		hold(held)
		if round < 15 {
			clk.advance(10 * time.Millisecond)
		} else {
			clk.advance(200 * time.Millisecond)
		}
		free(held)
		clk.advance(time.Second)
	}
	if n := bound.Limit(); n > 9 {
		t.Errorf("the bound is %d after fifteen rounds of slow answers", n)
	}
}

// What a service can hold does not depend on how often its callers try again; it is one bound, and counted once.
func TestRoutesShareTheAdaptiveBound(t *testing.T) {
	s := eachInbound(shop(), func(in *topology.Inbound) {
		in.Adaptive = &topology.Adaptive{Initial: 12, Min: 2, Max: 12, Tolerance: 1.5}
	})
	again := *s.Routes[0]
	again.Name, again.Path, again.Retry = "again", "/again", &topology.Retry{Attempts: 7}
	s.Routes = append(s.Routes, &again)
	r := start(t, Config{System: s}, func(*Gateway) {})
	routes := r.table.Load().routes
	home, other := routes[0].lane, routes[2].lane
	if home == other || home.bound != other.bound || home.bound == routes[1].lane.bound {
		t.Errorf("lanes %p and %p have bounds %p and %p; that of another service is %p", home, other, home.bound, other.bound, routes[1].lane.bound)
	}
	for _, d := range r.Stats().Services {
		if d.Service == "web" && d.Bound != 12 {
			t.Errorf("the bound of web is told as %d", d.Bound)
		}
	}
}
