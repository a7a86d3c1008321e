package topology

import (
	"fmt"
	"strings"
	"testing"
)

func TestRouterPicksTheMostSpecificRoute(t *testing.T) {
	routes := []*Route{
		{Name: "all", Path: "/"},
		{Name: "home", Path: "/", Exact: true, Method: "GET"},
		{Name: "api", Path: "/api/"},
		{Name: "api-post", Path: "/api/", Method: "POST"},
		{Name: "api-admin", Path: "/api/", Host: "admin.example.com"},
		{Name: "api-any-sub", Path: "/api/", Host: "*.example.com"},
		{Name: "cart", Path: "/cart"},
		{Name: "cart-get", Path: "/cart", Method: "GET"},
		{Name: "cart-head", Path: "/cart", Method: "HEAD"},
		{Name: "long", Path: "/api/orders/"},
	}
	r := NewRouter(routes)
	for _, c := range []struct{ method, host, path, want string }{
		{"GET", "", "/", "home"},
		{"HEAD", "", "/", "home"},
		{"POST", "", "/", "all"},
		{"GET", "", "/other", "all"},
		{"GET", "", "/api/x", "api"},
		{"GET", "", "/api", "all"},
		{"POST", "", "/api/x", "api-post"},
		{"POST", "admin.example.com:8080", "/api/x", "api-admin"},
		{"GET", "Shop.Example.com", "/api/x", "api-any-sub"},
		{"GET", "a.b.example.com", "/api/x", "api"},
		{"GET", "example.com", "/api/x", "api"},
		{"POST", "", "/cart", "cart"},
		{"GET", "", "/cart", "cart-get"},
		{"HEAD", "", "/cart", "cart-head"},
		{"GET", "", "/cart/", "all"},
		{"GET", "admin.example.com", "/api/orders/1", "long"},
	} {
		got := r.Match(c.method, c.host, c.path, nil)
		if got == nil || got.Name != c.want {
			t.Errorf("%s %s%s: got %v, want %s", c.method, c.host, c.path, got, c.want)
		}
	}
	if got := NewRouter(routes[2:3]).Match("GET", "", "/", nil); got != nil {
		t.Errorf("unmatched request got %v", got)
	}
}

func TestRouterLooksAtTheRestOfTheRequest(t *testing.T) {
	r := NewRouter([]*Route{
		{Name: "plain", Path: "/"},
		{Name: "beta", Path: "/", Match: &Match{Headers: map[string]string{"X-Beta": "yes"}}},
		{Name: "beta-b", Path: "/", Match: &Match{Headers: map[string]string{"x-beta": "yes"}, Cookies: map[string]string{"group": "b*"}}},
		{Name: "debug", Path: "/", Match: &Match{Query: map[string]string{"debug": "*"}}},
		{Name: "deeper", Path: "/a/"},
		{Name: "get", Path: "/", Method: "GET"},
	})
	if !r.Looks() || NewRouter([]*Route{{Path: "/"}}).Looks() {
		t.Error("a router looks where a route does, and only there")
	}
	for _, c := range []struct {
		path    string
		headers map[string]string
		method  string
		want    string
	}{
		{"/", nil, "POST", "plain"},
		{"/", map[string]string{"x-BETA": "yes"}, "POST", "beta"},
		{"/", map[string]string{"X-Beta": "yes!"}, "POST", "plain"},
		{"/", map[string]string{"X-Beta": "yes", "Cookie": "a=1; group=b2"}, "POST", "beta-b"},
		{"/", map[string]string{"X-Beta": "yes", "Cookie": "a=1; group=a2"}, "POST", "beta"},
		{"/?x=1&debug=", nil, "POST", "debug"},
		{"/?%64ebug=1", nil, "POST", "debug"},
		{"/?x=debug", nil, "POST", "plain"},
		{"/a/?debug=1", nil, "POST", "deeper"},
		{"/", map[string]string{"X-Beta": "yes"}, "GET", "get"},
	} {
		path, _, _ := strings.Cut(c.path, "?")
		if got := r.Match(c.method, "", path, (&Step{Path: c.path, Headers: c.headers}).Parts()); got == nil || got.Name != c.want {
			t.Errorf("%s %s %v: got %v, want %s", c.method, c.path, c.headers, got, c.want)
		}
	}
}

func TestPathRewrite(t *testing.T) {
	for _, c := range []struct{ from, to, path, want string }{
		{"/shop/{c}/{item}", "/items/{item}", "/shop/toys/12", "/items/12"},
		{"/shop/{c}/{item}", "/items/{item}", "/shop/toys/a%2Fb", "/items/a%2Fb"},
		{"/shop/{c}/{item}", "/items/{item}", "/shop/toys", ""},
		{"/shop/{c}/{item}", "/items/{item}", "/shop/toys/12/x", ""},
		{"/shop/{c}/{item}", "/items/{item}", "/shop//12", ""},
		{"/{a}/{b}", "/{b}/{a}", "/x/y", "/y/x"},
		{"/v1/{rest...}", "/v2/{rest...}", "/v1/a/b/", "/v2/a/b/"},
		{"/v1/{rest...}", "/v2/{rest...}", "/v1/", "/v2/"},
		{"/v1/{rest...}", "/v2", "/v1/a", "/v2"},
		{"/a/", "/b", "/a/", "/b"},
		{"/a/", "/b", "/a", ""},
	} {
		p, err := NewPathRewrite(c.from, c.to)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := p.Apply(c.path); got != c.want || ok != (c.want != "") {
			t.Errorf("%s -> %s: %s became %q, %v, want %q", c.from, c.to, c.path, got, ok, c.want)
		}
	}
}

func FuzzPathRewrite(f *testing.F) {
	f.Add("/a/{b}/{c...}", "/{c...}", "/a/x/y/z")
	f.Fuzz(func(t *testing.T, from, to, path string) {
		p, err := NewPathRewrite(from, to)
		if err != nil {
			return
		}
		if out, ok := p.Apply(path); ok && !strings.HasPrefix(out, "/") {
			t.Errorf("%q is no path", out)
		}
	})
}

func TestShares(t *testing.T) {
	r := Route{To: "a", Canary: &Canary{To: "b", Steps: []Percent{0.05, 0.25}}}
	for _, c := range []struct {
		got  []Share
		want string
	}{
		{r.Shares(false), "[{a 1}]"},
		{r.Shares(true), "[{a 0.75} {b 0.25}]"},
		{(&Route{To: "x", Split: map[string]float64{"y": 1, "x": 3, "z": 0}}).Shares(true), "[{x 0.75} {y 0.25}]"},
		{(&Route{Redirect: &Redirect{Host: "h"}}).Shares(true), "[]"},
	} {
		if got := fmt.Sprint(c.got); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}
