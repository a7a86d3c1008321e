package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// What is fast is not sent twice, however busy the machine is: no request takes as long as a hedge waits here.
func TestNoHedgeOfFastRequests(t *testing.T) {
	s := eachInbound(shop(), func(in *topology.Inbound) {
		in.Hedge = &topology.Hedge{Quantile: 0.5, MinDelay: topology.Duration(time.Minute), Budget: 0.5, MaxUtilization: 1}
	})
	r := start(t, Config{System: s})
	r.serve("web", text("first"))
	for range 100 {
		r.get("/")
	}
	if n := r.Stats().Routes[0].Hedges; n > 0 {
		t.Errorf("%d of 100 fast requests hedged", n)
	}
	if got := r.Spent()["web"]; got.Hedges != 0 || got.Hedged != 100 {
		t.Errorf("spent %+v", got)
	}
}

// Of two copies of a request the first good answer counts, and the other one is cancelled, whichever of the two it is.
func TestHedging(t *testing.T) {
	s := eachInbound(shop(), func(in *topology.Inbound) {
		in.Balance = topology.RoundRobin
		// The budget has one for each request: where the machine is busy, quick ones are sent twice as well.
		in.Hedge = &topology.Hedge{Quantile: 0.5, MinDelay: topology.Duration(5 * time.Millisecond), Budget: 1, MaxUtilization: 1}
	})
	r := start(t, Config{System: s})
	var slow atomic.Int32          // the backend that does not answer
	var cancelled [2]chan struct{} // of each backend: a call was
	for i := range int32(2) {
		cancelled[i] = make(chan struct{}, 1000)
		r.serve("web", func(w http.ResponseWriter, req *http.Request) {
			if slow.Load() == i+1 {
				<-req.Context().Done()
				cancelled[i] <- struct{}{}
				return
			}
			fmt.Fprint(w, i+1)
		})
	}
	for range 100 {
		r.get("/")
	}
	for _, which := range []int32{1, 2} {
		slow.Store(which)
		before := r.Stats().Routes[0].Hedges
		until(t, "the slow one has had two", func() bool { // half of the requests go to it first
			if a := r.get("/"); a.body != fmt.Sprint(3-which) {
				t.Errorf("backend %d does not answer: %+v", which, a)
			}
			return len(cancelled[which-1]) >= 2
		})
		if n := r.Stats().Routes[0].Hedges - before; n < 2 {
			t.Errorf("%d hedges for two slow requests", n)
		}
	}
	slow.Store(0)
	nothingInFlight(t, r)
	if a := r.get("/"); a.status != 200 {
		t.Errorf("%+v", a)
	}
}

// Many slow requests at once, of which either copy may be the first: each gets one whole answer, and no place at a backend
// is lost or given back twice.
func TestHedgesRace(t *testing.T) {
	s := eachInbound(shop(), func(in *topology.Inbound) {
		in.Hedge = &topology.Hedge{Quantile: 0.5, MinDelay: 1, Budget: 1, MaxUtilization: 1}
		in.Breaker = nil
	})
	s.Services["web"].Concurrency = 64
	r := start(t, Config{System: s})
	body := strings.Repeat("x", 10_000)
	for i := range 3 {
		var n atomic.Int64
		r.serve("web", func(w http.ResponseWriter, req *http.Request) {
			switch turn := n.Add(1); {
			case turn%7 == int64(i):
				select { // about as long as a hedge waits
				case <-req.Context().Done():
					return
				case <-time.After(time.Duration(turn%13) * 100 * time.Microsecond):
				}
			case turn%31 == 0:
				w.WriteHeader(http.StatusServiceUnavailable) // the other copy may do better
				return
			}
			io.WriteString(w, body)
		})
	}
	var all sync.WaitGroup
	var good, bad atomic.Int64
	const clients, each = 16, 60
	for range clients {
		all.Go(func() {
			for range each {
				switch a := r.get("/"); {
				case a.status == 200 && a.body == body:
					good.Add(1)
				case a.status == 503:
					bad.Add(1)
				default:
					t.Errorf("%d with %d bytes", a.status, len(a.body))
				}
			}
		})
	}
	all.Wait()
	if good.Load()+bad.Load() != clients*each || good.Load() < clients*each*8/10 {
		t.Errorf("%d good, %d refused of %d", good.Load(), bad.Load(), clients*each)
	}
	nothingInFlight(t, r)
	r.settle() // an answer is counted a moment after its place at the backend is free
	st := r.Stats().Routes[0]
	if st.Requests != clients*each || st.Hedges == 0 {
		t.Errorf("%d requests, %d hedges", st.Requests, st.Hedges)
	}
	if spent := r.Spent()["web"]; spent.Hedges > spent.Hedged {
		t.Errorf("spent %+v: more hedges than requests", spent)
	}
	t.Logf("%d hedges", st.Hedges)
}

// nothingInFlight waits until no backend has a request.
func nothingInFlight(t *testing.T, r *rig) {
	t.Helper()
	until(t, "nothing to be in flight", func() bool {
		for _, b := range r.Stats().Backends {
			if b.InFlight != 0 {
				return false
			}
		}
		return true
	})
}

// Where both copies fail, the client gets the answer of the first, and no place is lost.
func TestHedgeOfAFailingService(t *testing.T) {
	s := eachInbound(shop(), func(in *topology.Inbound) {
		in.Retry, in.Breaker = nil, nil
		in.Hedge = &topology.Hedge{Quantile: 0.5, MinDelay: topology.Duration(time.Millisecond), Budget: 0.5, MaxUtilization: 1}
	})
	r := start(t, Config{System: s})
	var pause atomic.Int64
	for range 2 {
		r.serve("web", func(w http.ResponseWriter, req *http.Request) {
			time.Sleep(time.Duration(pause.Load()))
			w.WriteHeader(int(500 + pause.Load()/int64(10*time.Millisecond)))
		})
	}
	for range 100 {
		r.get("/")
	}
	pause.Store(int64(10 * time.Millisecond))
	for range 10 {
		if a := r.get("/"); a.status != 501 {
			t.Errorf("%+v", a)
		}
	}
	nothingInFlight(t, r)
}
