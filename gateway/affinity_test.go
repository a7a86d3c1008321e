package gateway

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// balanced starts the shop with four backends of the web service that answer with their own number.
func balanced(t *testing.T, cfg Config, change func(*topology.Inbound)) *rig {
	t.Helper()
	cfg.System = eachInbound(shop(), change)
	r := start(t, cfg)
	for i := range 4 {
		r.serve("web", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, i) })
	}
	return r
}

// ask sends one request and returns the backend's number, and the cookies that were set.
func (r *rig) ask(path string, edit func(*http.Request)) (who string, cookies []*http.Cookie) {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodGet, r.url+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if edit != nil {
		edit(req)
	}
	res, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		r.t.Fatalf("%d %q %v", res.StatusCode, body, err)
	}
	return string(body), res.Cookies()
}

// Equal values of what is hashed lead to equal backends, different ones to all of them.
func TestHashedOn(t *testing.T) {
	for name, c := range map[string]struct {
		on   topology.Hash
		edit func(req *http.Request, value string)
	}{
		"header": {topology.Hash{Header: "x-user"}, func(req *http.Request, v string) { req.Header.Set("X-User", v) }},
		"host":   {topology.Hash{Header: "host"}, func(req *http.Request, v string) { req.Host = v + ".example.com" }},
		"cookie": {topology.Hash{Cookie: "user"}, func(req *http.Request, v string) {
			req.AddCookie(&http.Cookie{Name: "other", Value: fmt.Sprint(time.Now().UnixNano())})
			req.AddCookie(&http.Cookie{Name: "user", Value: v})
		}},
		"query": {topology.Hash{Query: "the user"}, func(req *http.Request, v string) { req.URL.RawQuery = "a=1&the+user=" + v + "&b=2" }},
		"path": {topology.Hash{Path: true}, func(req *http.Request, v string) {
			req.URL.Path, req.URL.RawQuery = "/"+v, fmt.Sprint(time.Now().UnixNano())
		}},
		"client": {topology.Hash{Client: true}, func(req *http.Request, v string) { req.Header.Set("X-Forwarded-For", "10.0.0.1, 192.0.2."+v) }},
	} {
		t.Run(name, func(t *testing.T) {
			for _, balance := range []topology.Balance{topology.RingHash, topology.Maglev, topology.BoundedHash, topology.Rendezvous} {
				r := balanced(t, Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
					func(in *topology.Inbound) { in.Balance, in.Hash = balance, &c.on })
				seen := map[string]bool{}
				for v := range 40 {
					value := fmt.Sprint(v)
					first, _ := r.ask("/", func(req *http.Request) { c.edit(req, value) })
					second, _ := r.ask("/", func(req *http.Request) { c.edit(req, value) })
					if first != second {
						t.Errorf("%s: %q went to %s and to %s", balance, value, first, second)
					}
					seen[first] = true
				}
				if len(seen) != 4 {
					t.Errorf("%s: all went to %v", balance, seen)
				}
			}
		})
	}
}

// Requests without what is hashed do not crowd at one backend.
func TestNothingToHash(t *testing.T) {
	r := balanced(t, Config{}, func(in *topology.Inbound) { in.Balance, in.Hash = topology.Maglev, &topology.Hash{Header: "X-User"} })
	seen := map[string]bool{}
	for range 100 {
		who, _ := r.ask("/", nil)
		seen[who] = true
	}
	if len(seen) != 4 {
		t.Errorf("all went to %v", seen)
	}
}

// What a client says of its own address counts only if the gateway trusts it.
func TestClientAddress(t *testing.T) {
	g, err := New(Config{System: shop(), TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	inner := &target{edge: &edge{}}
	for _, c := range []struct {
		remote, chain string
		to            *target
		want          string
	}{
		{"192.0.2.1:99", "192.0.2.1", &target{}, "192.0.2.1"},
		{"10.1.1.1:99", "192.0.2.1, 10.1.1.1", &target{}, "192.0.2.1"},
		{"10.1.1.1:99", "203.0.113.9, 192.0.2.1,10.2.2.2, 10.1.1.1", &target{}, "192.0.2.1"},
		{"10.1.1.1:99", "10.2.2.2, 10.1.1.1", &target{}, "10.2.2.2"},
		{"127.0.0.1:99", "192.0.2.1, 127.0.0.1", inner, "192.0.2.1"},
		{"127.0.0.1:99", "127.0.0.1", inner, "127.0.0.1"},
	} {
		call := &call{walk: walk{g: g, target: c.to}, r: &http.Request{RemoteAddr: c.remote}, header: http.Header{headerFor: {c.chain}}}
		if got := call.client(call.chain()); got != c.want {
			t.Errorf("%s, %q: %q, want %q", c.remote, c.chain, got, c.want)
		}
	}
}

func TestStickySessions(t *testing.T) {
	r := balanced(t, Config{}, func(in *topology.Inbound) {
		in.Balance, in.Sticky = topology.RoundRobin, &topology.Sticky{TTL: topology.Duration(time.Hour)}
	})
	home, cookies := r.ask("/", nil)
	if len(cookies) != 1 {
		t.Fatalf("cookies %v", cookies)
	}
	c := cookies[0]
	if c.Name != "banyan_web" || c.MaxAge != 3600 || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Secure {
		t.Errorf("cookie %+v", c)
	}
	withCookie := func(value string) func(*http.Request) {
		return func(req *http.Request) { req.AddCookie(&http.Cookie{Name: c.Name, Value: value}) }
	}
	for range 8 {
		if who, again := r.ask("/", withCookie(c.Value)); who != home || len(again) != 0 {
			t.Errorf("bound to %s: went to %s, cookies %v", home, who, again)
		}
	}
	// A forged one binds to nothing, and is replaced.
	forged := []byte(c.Value)
	forged[3] ^= 1
	for _, value := range []string{string(forged), "x", "", strings.Repeat("A", 32), strings.Repeat("A", 4000)} {
		seen := map[string]bool{}
		for range 8 {
			who, fresh := r.ask("/", withCookie(value))
			seen[who] = true
			if len(fresh) != 1 {
				t.Errorf("forged %q: cookies %v", value, fresh)
			}
		}
		if len(seen) != 4 {
			t.Errorf("forged %q: went to %v", value, seen)
		}
	}
	// Once the backend is gone, the client is bound to another.
	for i, id := range []string{"web-1", "web-2", "web-3", "web-4"} {
		if fmt.Sprint(i) == home {
			r.SetReady("web", id, false)
		}
	}
	next, cookies := r.ask("/", withCookie(c.Value))
	if next == home || len(cookies) != 1 {
		t.Fatalf("went to %s, cookies %v", next, cookies)
	}
	if who, _ := r.ask("/", withCookie(cookies[0].Value)); who != next {
		t.Errorf("bound to %s: went to %s", next, who)
	}
}

// A cookie is good for the service and the secret that it was made with.
func TestStickyCookies(t *testing.T) {
	secret := []byte("0123456789abcdef")
	s := newSticky("web", topology.Sticky{}, secret)
	value := s.seal(42)
	if key, ok := s.open(value); !ok || key != 42 {
		t.Errorf("%v, %v", key, ok)
	}
	for _, other := range []*sticky{newSticky("api", topology.Sticky{}, secret), newSticky("web", topology.Sticky{}, []byte("0123456789abcdeF"))} {
		if _, ok := other.open(value); ok {
			t.Error("a foreign cookie was taken")
		}
	}
	if _, err := New(Config{System: shop(), Secret: []byte("short")}); err == nil {
		t.Error("a short secret was taken")
	}
}

// Retries leave the backend that a client is bound to, where that fails.
func TestStickyDoesNotHoldRetries(t *testing.T) {
	s := eachInbound(shop(), func(in *topology.Inbound) { in.Sticky = &topology.Sticky{} })
	r := start(t, Config{System: s})
	r.serve("web", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	r.serve("web", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "well") })
	broken := r.table.Load().routes[0].sticky.seal(r.table.Load().services["web"].backends["web-1"].Key)
	if who, fresh := r.ask("/", func(req *http.Request) { req.AddCookie(&http.Cookie{Name: "banyan_web", Value: broken}) }); who != "well" || len(fresh) != 0 {
		t.Errorf("got %q, cookies %v", who, fresh)
	}
}

// Every policy serves, and weights count where they should.
func TestEveryBalance(t *testing.T) {
	for _, balance := range topology.Balances() {
		r := balanced(t, Config{}, func(in *topology.Inbound) {
			in.Balance, in.Hash, in.SlowStart = balance, &topology.Hash{Query: "k"}, topology.Duration(time.Minute)
		})
		seen := map[string]bool{}
		for k := range 80 {
			who, _ := r.ask("/?"+url.Values{"k": {fmt.Sprint(k)}}.Encode(), nil)
			seen[who] = true
		}
		if len(seen) < 2 {
			t.Errorf("%s: only %v was used", balance, seen)
		}
	}
}

func TestBackendWeights(t *testing.T) {
	r := start(t, Config{System: eachInbound(shop(), func(in *topology.Inbound) { in.Balance = topology.WeightedRoundRobin })})
	counts := [2]int{}
	for i := range counts {
		id := r.serve("web", func(http.ResponseWriter, *http.Request) { counts[i]++ })
		address := r.table.Load().services["web"].backends[id].address
		r.Add("web", Backend{ID: id, Address: address, Weight: 1 + 2*i})
		r.SetReady("web", id, true)
	}
	for range 40 {
		r.ask("/", nil)
	}
	if counts != [2]int{10, 30} {
		t.Errorf("weights 1 and 3 got %v", counts)
	}
}

func FuzzAffinity(f *testing.F) {
	f.Add("a=b; user=1", "user", "user=1&b=%zz+")
	f.Fuzz(func(t *testing.T, cookies, name, query string) {
		cookieValue([]string{cookies}, name)
		topology.QueryValue(query, name)
		newSticky("web", topology.Sticky{}, make([]byte, 16)).open(cookies)
	})
}
