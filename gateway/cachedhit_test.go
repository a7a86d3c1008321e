package gateway

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Hits that are answered before the request is prepared and those that are not are answered alike, counted alike, and no
// request that wants more than the store has is answered early.
func TestEarlyHitsAreLikeOthers(t *testing.T) {
	r := start(t, Config{System: cachedShop(topology.HTTPCache{TTL: topology.Duration(time.Hour)})})
	var asked atomic.Int64
	r.serve("catalog", func(w http.ResponseWriter, req *http.Request) {
		n := asked.Add(1)
		if req.URL.Path == "/api/vary" {
			w.Header().Set("Vary", "User-Agent, X-Forwarded-For")
		}
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprintf(w, "%s %d", req.URL.Path, n)
	})
	get := func(path string, fields ...string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequest("GET", r.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(fields); i += 2 {
			req.Header.Set(fields[i], fields[i+1])
		}
		res, err := r.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res, string(body)
	}
	first, body := get("/api/a")
	if first.Header.Get("Cache-Status") == "" || asked.Load() != 1 {
		t.Fatalf("%v, asked %d times", first.Header, asked.Load())
	}
	await(t, "the answer is stored", func() bool { return stored(r) > 0 }) // a client has it a moment before
	early, b1 := get("/api/a", "X-Request-Id", "mine")
	late, b2 := get("/api/a", "X-Request-Id", "mine", "Connection", "keep-alive, x-nothing") // names a field: the long way
	if b1 != body || b2 != body || asked.Load() != 1 {
		t.Errorf("%q, %q, %q, asked %d times", body, b1, b2, asked.Load())
	}
	early.Header.Del("Date")
	late.Header.Del("Date")
	for key := range late.Header {
		if key != "Age" && key != "Cache-Status" && fmt.Sprint(early.Header[key]) != fmt.Sprint(late.Header[key]) {
			t.Errorf("%s: %q, %q the long way", key, early.Header[key], late.Header[key])
		}
	}
	if len(early.Header) != len(late.Header) || early.Header.Get("X-Request-Id") != "mine" {
		t.Errorf("%v\n%v the long way", early.Header, late.Header)
	}
	if res, _ := get("/api/a", "Cache-Control", "no-cache"); res.StatusCode != 200 || asked.Load() != 2 {
		t.Errorf("no-cache: asked %d times", asked.Load())
	}
	// What backends see of these fields is not what clients send.
	get("/api/vary", "User-Agent", "a", "X-Forwarded-For", "1.2.3.4")
	get("/api/vary", "User-Agent", "a", "X-Forwarded-For", "5.6.7.8")
	if asked.Load() != 3 {
		t.Errorf("X-Forwarded-For of an untrusted client told answers apart: asked %d times", asked.Load())
	}
	get("/api/vary", "User-Agent", "b")
	if asked.Load() != 4 {
		t.Errorf("User-Agent did not tell answers apart: asked %d times", asked.Load())
	}
	for _, s := range r.Stats().Routes {
		if s.Cache != nil && (s.Cache.Hits+s.Cache.Coalesced != 3 || s.Cache.Misses != 4) {
			t.Errorf("%+v, want 3 hits and 4 misses", *s.Cache)
		}
	}
}

// await waits until a condition holds that others are about to make true.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// stored is how many answers the caches of all routes hold.
func stored(r *rig) (n int64) {
	for _, s := range r.Stats().Routes {
		if s.Cache != nil {
			n += s.Cache.Objects
		}
	}
	return n
}
