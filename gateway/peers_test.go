package gateway

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// several starts gateways of one system that know of each other.
func several(t *testing.T, n int, change func(*topology.System), prepare ...func(*Gateway)) (all []*rig) {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("sixteen bytes or more"), 0o600); err != nil {
		t.Fatal(err)
	}
	var sockets []Socket
	var addresses []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		addresses = append(addresses, l.Addr().String())
		sockets = append(sockets, Socket{SocketPeers, l.Addr().String(), f})
	}
	for i := range n {
		s := shop()
		s.Gateways = &topology.Gateways{Listen: addresses[i], Peers: addresses, SecretFile: secret, Every: topology.Duration(10 * time.Millisecond)}
		change(s)
		r := start(t, Config{System: s}, append(prepare, func(g *Gateway) { g.Inherit(sockets[i : i+1]) })...)
		r.serve("web", text("web"))
		all = append(all, r)
	}
	until(t, "all to hear of all", func() bool {
		for _, r := range all {
			for _, p := range r.Peers() {
				if !p.Self && !(p.Hears && p.Reports) {
					return false
				}
			}
		}
		return true
	})
	return all
}

// What one lets in counts against the limit of all; each client has its own, whichever gateway it asks.
func TestGatewaysKeepALimitTogether(t *testing.T) {
	all := several(t, 3, func(s *topology.System) {
		s.Routes[0].Limit = &topology.Limit{Rate: 0.001, Burst: 6, By: "header", Header: "X-Client", Shared: true}
	})
	ask := func(r *rig, client string) int {
		req := r.request("GET", "/", nil)
		req.Header.Set("X-Client", client)
		return r.do(req).status
	}
	charged := func(r *rig) (n int64) {
		for _, l := range r.table.Load().shared {
			n += l.shared.Charged()
		}
		return n
	}
	for i, r := range all { // each in its turn lets two of six in, and has heard of those before
		until(t, "the others to be heard", func() bool { return charged(r) == int64(2*i) })
		for range 2 {
			if code := ask(r, "a"); code != 200 {
				t.Errorf("gateway %d refuses what is within the limit: %d", i, code)
			}
		}
	}
	for i, r := range all {
		until(t, "the others to be heard", func() bool { return charged(r) >= 4 })
		if code := ask(r, "a"); code != 429 {
			t.Errorf("gateway %d lets in what is above the limit: %d", i, code)
		}
	}
	if code := ask(all[0], "b"); code != 200 {
		t.Errorf("another client: %d", code)
	}
	// A reload of the same file forgets nothing.
	sys := *all[0].table.Load().system
	all[0].reload(&sys)
	if code := ask(all[0], "a"); code != 429 {
		t.Errorf("after a reload: %d", code)
	}
}

// Without others a shared limit is a limit.
func TestSharedLimitOfOneGateway(t *testing.T) {
	s := shop()
	s.Routes[0].Limit = &topology.Limit{Rate: 0.001, Burst: 2, By: "route", Shared: true}
	r := start(t, Config{System: s})
	r.serve("web", text("web"))
	for i, want := range []int{200, 200, 429} {
		if a := r.get("/"); a.status != want {
			t.Errorf("request %d: %d, want %d", i, a.status, want)
		}
	}
}

// The retries of one count against the budget of the others.
func TestGatewaysTellEachOtherTheirRetries(t *testing.T) {
	var clk clock // which stands still, or what was spent would be forgotten while this machine is busy
	all := several(t, 2, func(s *topology.System) {
		eachInbound(s, func(in *topology.Inbound) { in.Breaker = nil })
	}, func(g *Gateway) { g.now = clk.now })
	all[0].serve("web", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	for range 20 {
		all[0].get("/")
	}
	spent := all[0].Spent()["web"]
	if spent.Requests != 20 || spent.Retries == 0 {
		t.Fatalf("spent %+v", spent)
	}
	until(t, "the other one to count them", func() bool {
		s := all[1].table.Load().services["web"]
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, l := range s.lanes {
			if _, n := l.retrier.Budget().Allowed(all[1].now()); n == spent.Retries {
				return true
			}
		}
		return false
	})
}
