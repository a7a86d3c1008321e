package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const limited = `
system: edge
listen: 127.0.0.1:0
services:
  one: {backends: [ONE]}
routes:
  - {path: /, to: one, limit: {rate: 0.001/s, burst: 10, shared: true}}
`

// TestTwoGatewaysShareALimit starts two processes from one file, of which the first tells the second what it lets in.
func TestTwoGatewaysShareALimit(t *testing.T) {
	t.Parallel()
	p := newPlace(t, strings.ReplaceAll(limited, "ONE", backend(t, "one")))
	if err := os.WriteFile(filepath.Join(p.dir, "secret"), []byte("sixteen bytes or more"), 0o600); err != nil {
		t.Fatal(err)
	}
	const nobody = "127.0.0.1:1"
	peer := func(state, address string) (s statusAnswer) {
		p.must("gateway", "-d", "--state", state, "--peer-listen", "127.0.0.1:0", "--peer", address, "--peer-secret", "secret")
		t.Cleanup(func() { p.run("down", "--state", state) })
		p.ask(&s, "status", "--state", state)
		return s
	}
	listens := func(s statusAnswer) string {
		for _, e := range s.Info.Endpoints {
			if address, ok := strings.CutPrefix(e, "other gateways on "); ok {
				return address
			}
		}
		t.Fatalf("no address for other gateways: %v", s.Info.Endpoints)
		return ""
	}
	second := peer("second", nobody)
	first := peer("first", listens(second))
	eventually(t, "the second hears of the first", func() bool {
		var s statusAnswer
		p.ask(&s, "status", "--state", "second")
		return len(s.Gateways) == 2 && s.Gateways[1].Reports
	})
	for i := range 10 {
		if code, _, err := get("http://" + first.Info.Address + "/"); code != 200 || err != nil {
			t.Errorf("request %d within the limit: %d %v", i, code, err)
		}
	}
	eventually(t, "the second has counted what the first let in", func() bool {
		_, page, err := get(second.Info.Metrics)
		return err == nil && regexp.MustCompile(`(?m)^banyan_gateway_shared_limit_peer_requests_total({.*})? 10$`).MatchString(page)
	})
	if code, _, err := get("http://" + second.Info.Address + "/"); code != http.StatusTooManyRequests || err != nil {
		t.Errorf("above the limit: %d %v", code, err)
	}
	if out := p.must("status", "--state", "first"); !strings.Contains(out, "HEARS OF THIS ONE") || !strings.Contains(out, listens(second)) {
		t.Errorf("status: %s", out)
	}
}

const zoned = `
system: edge
listen: 127.0.0.1:0
services:
  web: {backends: [{address: "ONE", zone: a}, {address: "TWO", zone: b}]}
routes:
  - {path: /, to: web, locality: {}}
`

// TestGatewayKeepsToItsZone starts the gateway of one file in another zone each time.
func TestGatewayKeepsToItsZone(t *testing.T) {
	t.Parallel()
	for zone, want := range map[string]string{"a": "one", "b": "two"} {
		p := newPlace(t, strings.NewReplacer("ONE", backend(t, "one"), "TWO", backend(t, "two")).Replace(zoned))
		p.must("gateway", "-d", "--zone", zone)
		var s statusAnswer
		p.ask(&s, "status")
		for range 10 {
			if code, body, err := get("http://" + s.Info.Address + "/"); code != 200 || body != want || err != nil {
				t.Errorf("in zone %s: %d %q %v, want %s", zone, code, body, err, want)
			}
		}
	}
}

const tested = `
system: shop
listen: 127.0.0.1:0
services:
  web:      {backends: ["ONE"]}
  web-next: {backends: ["TWO"]}
routes:
  - {path: /, name: front, to: web, retry: {attempts: 1}, breaker: {failures: 100000},
     canary: {to: web-next, steps: [50%], interval: 1s, min_requests: 20}}
`

// TestCanaryIsShown has a service under test that fails: status and events say what became of it, and why.
func TestCanaryIsShown(t *testing.T) {
	t.Parallel()
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) }))
	t.Cleanup(bad.Close)
	p := newPlace(t, strings.NewReplacer("ONE", backend(t, "one"), "TWO", bad.Listener.Addr().String()).Replace(tested))
	p.must("gateway", "-d")
	var s statusAnswer
	p.ask(&s, "status")
	if len(s.Canaries) != 1 || s.Canaries[0].State != "running" || s.Canaries[0].Verdict != "undecided" || s.Canaries[0].Share != 0.5 {
		t.Errorf("at first: %+v", s.Canaries)
	}
	eventually(t, "it is rolled back", func() bool {
		for range 50 {
			_, _, _ = get("http://" + s.Info.Address + "/")
		}
		p.ask(&s, "status")
		return s.Canaries[0].State == "rolled back"
	})
	if c := s.Canaries[0]; c.Verdict != "failed" || !strings.Contains(c.Reason, "% of its requests fail, against 0.00 %") || c.Share != 0 ||
		c.Newcomer.Failures == 0 || c.Baseline.Requests == 0 {
		t.Errorf("after it failed: %+v", c)
	}
	out := p.must("status", "--events")
	for _, want := range []string{"CANARY", "canary rolled back", "route front: it is given 0 % of the requests", "% of its requests fail"} {
		if !strings.Contains(out, want) {
			t.Errorf("status does not say %q:\n%s", want, out)
		}
	}
}
