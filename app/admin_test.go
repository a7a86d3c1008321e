package app

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// What listens on loopback answers to loopback's names alone; what is open to others answers to any.
func TestOwnNames(t *testing.T) {
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for _, c := range []struct {
		listens, host string
		want          int
	}{
		{"127.0.0.1", "127.0.0.1:9000", 200},
		{"127.0.0.1", "localhost:9000", 200},
		{"127.0.0.1", "LOCALHOST", 200},
		{"127.0.0.1", "[::1]:9000", 200},
		{"::1", "[::1]", 200},
		{"127.0.0.1", "evil.example:9000", 421},
		{"127.0.0.1", "localhost.evil.example", 421},
		{"127.0.0.1", "10.0.0.1:9000", 421},
		{"127.0.0.1", "", 421},
		{"0.0.0.0", "metrics.internal:9000", 200},
		{"10.0.0.1", "metrics.internal", 200},
	} {
		r := httptest.NewRequest("GET", "http://x/metrics", nil)
		r.Host = c.host
		w := httptest.NewRecorder()
		ownNames(&net.TCPAddr{IP: net.ParseIP(c.listens)}, ok).ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("on %s, asked for as %q: %d, want %d", c.listens, c.host, w.Code, c.want)
		}
	}
}
