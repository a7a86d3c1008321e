//go:build linux && (amd64 || arm64)

package gateway

import (
	"net/url"
	"testing"

	h1 "github.com/banyanhq/banyan/gateway/http1"
)

// The fast tier reads a target as Go's server does.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/", "/a?b", "/a%20b?c=%zz", "//x/y?", "/é", "/a?b?c#d", "/%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var r h1.Request
		if n, _ := r.Parse([]byte("GET " + s + " HTTP/1.1\r\nHost: x\r\n\r\n")); n == 0 || string(r.Target) != s || s[0] != '/' {
			return
		}
		var x exchange
		ok := x.readTarget(r.Target)
		u, err := url.ParseRequestURI(s)
		if ok != (err == nil) {
			t.Fatalf("%q: taken %v, Go says %v", s, ok, err)
		}
		if ok && (x.path != u.Path || x.query != u.RawQuery) {
			t.Fatalf("%q: %q and %q, Go has %q and %q", s, x.path, x.query, u.Path, u.RawQuery)
		}
	})
}
