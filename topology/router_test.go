package topology

import "testing"

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
		got := r.Match(c.method, c.host, c.path)
		if got == nil || got.Name != c.want {
			t.Errorf("%s %s%s: got %v, want %s", c.method, c.host, c.path, got, c.want)
		}
	}
	if got := NewRouter(routes[2:3]).Match("GET", "", "/"); got != nil {
		t.Errorf("unmatched request got %v", got)
	}
}
