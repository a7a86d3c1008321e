package gateway

import (
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// The burst passes, the next is answered 429 with the time to wait, and after that time one passes again; nothing that
// was refused reaches a backend.
func TestRateLimit(t *testing.T) {
	for by, tell := range map[string]func(*http.Request, string){
		"route":  func(*http.Request, string) {},
		"client": func(req *http.Request, who string) { req.Header.Set("X-Forwarded-For", "192.0.2."+who) },
		"header": func(req *http.Request, who string) { req.Header.Set("X-Api-Key", who) },
	} {
		t.Run(by, func(t *testing.T) {
			var clk clock
			s := shop()
			s.Routes[0].Limit = &topology.Limit{Rate: 0.5, Burst: 3, By: by, Header: "x-api-key"}
			r := start(t, Config{System: s, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, func(g *Gateway) { g.now = clk.now })
			r.serve("web", func(http.ResponseWriter, *http.Request) {})
			r.serve("catalog", func(http.ResponseWriter, *http.Request) {})
			clk.advance(time.Hour)
			send := func(who string) answer {
				req := r.request("GET", "/", nil)
				tell(req, who)
				return r.do(req)
			}
			for range 3 {
				if a := send("1"); a.status != http.StatusOK {
					t.Fatalf("within the burst: %d", a.status)
				}
			}
			a := send("1")
			r.wantFault(a, http.StatusTooManyRequests, "http_request_denied")
			if a.header.Get("Retry-After") != "2" {
				t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
			}
			if a := send("2"); (a.status == http.StatusOK) != (by != "route") {
				t.Errorf("another: %d", a.status)
			}
			if a := r.get("/api/"); a.status != http.StatusOK {
				t.Errorf("another route: %d", a.status)
			}
			clk.advance(2 * time.Second)
			if a := send("1"); a.status != http.StatusOK {
				t.Errorf("after the wait: %d", a.status)
			}
			if a := send("1"); a.status != http.StatusTooManyRequests {
				t.Errorf("one more: %d", a.status)
			}
			r.settle()
			got := r.Stats().Routes[0]
			want := int64(2)
			if by == "route" {
				want = 3
			}
			if n := got.Errors["http_request_denied"]; n != want || r.Stats().Backends[1].Requests != got.Requests-n {
				t.Errorf("counted %+v, backend %+v", got.Traffic, r.Stats().Backends[1])
			}
		})
	}
}
