package httpcache

import (
	"net/http"
	"strings"
	"testing"
)

// FuzzDirectives holds the parser against what no reading of a field may miss: a no-store that stands alone between
// commas outside any quotes, and lifetimes within their range.
func FuzzDirectives(f *testing.F) {
	for _, s := range []string{"max-age=60, no-store", `a="b, no-store`, `no-cache="x\",y", private=`, "max-age=99999999999", ",,=,\"", `x="\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d := parseCacheControl([]string{s})
		if d.maxAge < absent || d.maxAge > maxDelta || d.sMaxAge < absent || d.sMaxAge > maxDelta {
			t.Fatalf("%q: lifetimes %d, %d", s, d.maxAge, d.sMaxAge)
		}
		if !strings.Contains(s, `"`) {
			for _, m := range strings.Split(s, ",") {
				if strings.EqualFold(trimOWS(m), "no-store") && !d.noStore {
					t.Fatalf("%q: no-store is missed", s)
				}
			}
		}
		if both := parseCacheControl([]string{s, "no-store"}); !both.noStore {
			t.Fatalf("%q hides the no-store of another line", s)
		}
		parseTargeted([]string{s})
		parseRange(s, 100)
	})
}

// FuzzVary holds that a request always selects what was stored for it.
func FuzzVary(f *testing.F) {
	f.Add("Foo, Accept-Encoding", "a,b", "gzip , br", "x\"")
	f.Fuzz(func(t *testing.T, vary, a, b, c string) {
		names, ok := varyNames([]string{vary})
		if !ok {
			return
		}
		h := http.Header{"Foo": {a, b}, "Accept-Encoding": {b, c}, "Accept": {c}}
		o := newObject("h/", "", h, 200, http.Header{"Vary": {vary}}, nil, freshness{})
		if !o.matches(nil, h) {
			t.Fatalf("Vary %q %v: not selected by its own request", vary, names)
		}
	})
}
