package gateway

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func (r *rig) reload(sys *topology.System) {
	r.t.Helper()
	if err := r.Reload(sys); err != nil {
		r.t.Fatal(err)
	}
}

func TestReloadDropsNoRequest(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", text("web"))
	r.serve("catalog", text("catalog"))
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var failed, sent atomic.Int64
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				res, err := r.client.Get(r.url + "/api/x")
				sent.Add(1)
				if err != nil {
					failed.Add(1)
					continue
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				if res.StatusCode != http.StatusOK {
					failed.Add(1)
				}
			}
		})
	}
	for i := range 50 {
		sys := shop()
		sys.Routes[1].Balance = topology.Balances()[i%10] // another lane each time
		sys.Services["catalog"].Concurrency = 100 + i%2   // other backends each time
		if i%3 == 0 {
			sys.Routes[0], sys.Routes[1] = sys.Routes[1], sys.Routes[0]
		}
		r.reload(sys)
		for n := sent.Load(); sent.Load() < n+8; {
			time.Sleep(time.Millisecond) // a while under this version
		}
	}
	close(stop)
	clients.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests failed", failed.Load(), sent.Load())
	}
	r.settle()
	for _, s := range r.Stats().Routes {
		if s.Route == "api" && s.Requests != sent.Load() {
			t.Errorf("%d requests are counted, %d were sent", s.Requests, sent.Load())
		}
	}
}

func TestReloadLeadsElsewhereAtOnce(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", text("web"))
	r.serve("catalog", text("catalog"))
	if a := r.get("/api/"); a.body != "catalog" {
		t.Fatalf("before: %q", a.body)
	}
	sys := shop()
	sys.Routes[1].To = "web"
	r.reload(sys)
	if a := r.get("/api/"); a.body != "web" {
		t.Errorf("after: %q", a.body)
	}
}

func TestReloadAddsAndRemovesServices(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", text("web"))
	old := r.serve("catalog", text("catalog"))
	edge := r.EdgeURL("web", "catalog")

	sys := shop()
	delete(sys.Services, "catalog")
	sys.Services["search"] = &topology.Service{Inbound: inbound()}
	sys.Services["web"].Uses = []string{"search"}
	sys.Routes[1].To = "search"
	r.reload(sys)
	r.serve("search", text("search"))
	if a := r.get("/api/"); a.body != "search" {
		t.Errorf("the new service: %d %q", a.status, a.body)
	}
	if url := r.EdgeURL("web", "search"); url == "" {
		t.Error("there is no way from web to search")
	} else if res, err := r.client.Get(url + "/"); err != nil {
		t.Error(err)
	} else {
		res.Body.Close()
	}
	if r.EdgeURL("web", "catalog") != "" {
		t.Error("there is a way to a service that is gone")
	}
	until(t, "the old way is closed", func() bool {
		res, err := r.client.Get(edge + "/")
		if err == nil {
			res.Body.Close()
		}
		return err != nil
	})
	// What is gone from the file still has replicas, which are drained like any other.
	if err := r.Drain(t.Context(), "catalog", old); err != nil {
		t.Errorf("draining a replica of a service that is gone: %v", err)
	}
	r.Remove("catalog", old)
	r.reload(shop())
	r.serve("catalog", text("catalog again"))
	if a := r.get("/api/"); a.body != "catalog again" {
		t.Errorf("the service is back: %d %q", a.status, a.body)
	}
}

func TestReloadRefusesAsAWhole(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", text("web"))
	r.serve("catalog", text("catalog"))
	for want, change := range map[string]func(*topology.System){
		"no service":      func(s *topology.System) { s.Routes[1].To = "nobody" },
		"not supported":   func(s *topology.System) { s.Routes[1].Balance = "dice" },
		"time-out":        func(s *topology.System) { s.Services["catalog"].Inbound.Timeout = 0 },
		"takes a restart": func(s *topology.System) { s.Listen = "127.0.0.1:1" },
	} {
		sys := shop()
		sys.Routes[0].To = "catalog"
		change(sys)
		if err := r.Reload(sys); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if a := r.get("/"); a.body != "web" {
			t.Errorf("%s: half of what was refused is in force: %q", want, a.body)
		}
	}
}

func TestReloadKeepsWhatDidNotChange(t *testing.T) {
	sys := shop()
	sys.Routes[1].Limit = &topology.Limit{Rate: 0.001, Burst: 2, By: "route"}
	r := start(t, Config{System: sys})
	r.serve("web", text("web"))
	r.serve("catalog", text("catalog"))
	before := r.table.Load()
	r.get("/api/")
	again := shop()
	again.Routes[1].Limit = &topology.Limit{Rate: 0.001, Burst: 2, By: "route"}
	again.Routes[0].Timeout = topology.Duration(time.Minute)
	r.reload(again)
	after := r.table.Load()
	if before.routes[1].lane != after.routes[1].lane || before.edges[0] != after.edges[0] {
		t.Error("a lane or an edge was made anew though nothing of it changed")
	}
	if n := len(after.services["catalog"].retired); n != 0 {
		t.Errorf("%d lanes are retired, none should be", n)
	}
	r.get("/api/")
	if a := r.get("/api/"); a.status != http.StatusTooManyRequests {
		t.Errorf("third request within a burst of 2: status %d; the reload has filled the bucket", a.status)
	}
}

func TestRetiredLanesAreForgotten(t *testing.T) {
	r := start(t, Config{})
	r.serve("catalog", text("catalog"))
	sys := shop()
	eachInbound(sys, func(in *topology.Inbound) { in.Balance = topology.Random })
	r.reload(sys)
	s := r.table.Load().services["catalog"]
	s.mu.Lock()
	if len(s.retired) != 1 {
		t.Errorf("%d lanes are retired, want 1", len(s.retired))
	}
	for _, l := range s.retired {
		l.until = 0 // as if its longest call had ended
	}
	s.mu.Unlock()
	r.serve("catalog", text("catalog"))
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.retired) != 0 {
		t.Error("a lane whose calls have all ended is kept")
	}
	for _, b := range s.backends {
		if len(b.members) != 1 {
			t.Errorf("backend %s is a member of %d lanes, want 1", b.id, len(b.members))
		}
	}
}

func TestCallsThatBeganBeforeAReloadFinish(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", text("web"))
	arrived, finish := make(chan struct{}), make(chan struct{})
	old := r.serve("catalog", func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-finish
		_, _ = io.WriteString(w, "late")
	})
	got := make(chan string, 1)
	go func() {
		got <- r.get("/api/").body
	}()
	<-arrived
	sys := shop()
	delete(sys.Services, "catalog")
	sys.Services["web"].Uses = nil
	sys.Routes = sys.Routes[:1]
	r.reload(sys)
	drained := make(chan error, 1)
	go func() { drained <- r.Drain(context.Background(), "catalog", old) }()
	close(finish)
	if body := <-got; body != "late" {
		t.Errorf("the call was answered %q", body)
	}
	if err := <-drained; err != nil {
		t.Errorf("draining: %v", err)
	}
}

func TestStreamsOutliveReloads(t *testing.T) {
	r := start(t, Config{})
	echo(r)
	r.serve("catalog", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			if _, err := io.WriteString(w, "data: x\n\n"); err != nil || http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-req.Context().Done():
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	c := upgraded(t, r)
	if _, err := io.ReadFull(c, make([]byte, len("early "))); err != nil {
		t.Fatal(err)
	}
	res, err := r.client.Get(r.url + "/api/events")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for i := range 20 {
		sys := shop()
		eachInbound(sys, func(in *topology.Inbound) { in.Balance = topology.Balances()[i%10] })
		sys.Services["catalog"].Concurrency = 1 + i%2 // its backends are made anew
		r.reload(sys)
		word := make([]byte, 4)
		if _, err := io.WriteString(c, "word"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, word); err != nil || string(word) != "word" {
			t.Fatalf("after %d reloads the upgraded connection gives %q, %v", i+1, word, err)
		}
		if _, err := io.ReadFull(res.Body, make([]byte, 4*len("data: x\n\n"))); err != nil {
			t.Fatalf("after %d reloads the stream of events broke off: %v", i+1, err)
		}
	}
}

func TestReloadAmongChangesOfBackends(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", text("web"))
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			id := "catalog-x"
			r.Add("catalog", Backend{ID: id, Address: "127.0.0.1:1"})
			r.SetReady("catalog", id, i%2 == 0)
			_ = r.Drain(t.Context(), "catalog", id)
			r.Remove("catalog", id)
		}
	})
	all.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				r.Stats()
				r.Why("x")
				r.EdgeURL("web", "catalog")
				r.get("/")
			}
		}
	})
	for i := range 30 { // each policy three times, with and without the service
		sys := shop()
		eachInbound(sys, func(in *topology.Inbound) { in.Balance = topology.Balances()[i%10] })
		if i%3 == 0 {
			delete(sys.Services, "catalog")
			sys.Services["web"].Uses = nil
			sys.Routes = sys.Routes[:1]
		}
		r.reload(sys)
	}
	close(stop)
	all.Wait()
}

// A gateway that another one takes over from answers what still comes, and lets each client go with its answer.
func TestPartingClosesConnectionsWithTheirNextAnswer(t *testing.T) {
	r := start(t, Config{})
	r.serve("web", text("web"))
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func() answer {
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		return readAnswer(t, c, "GET")
	}
	if a := ask(); a.body != "web" || a.header.Get("Connection") != "" {
		t.Fatalf("before: %+v", a)
	}
	r.Part()
	if a := ask(); a.body != "web" {
		t.Errorf("after: %+v", a)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the connection goes on: %d, %v", n, err)
	}
}
