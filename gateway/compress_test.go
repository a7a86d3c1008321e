package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/banyanhq/banyan/topology"
)

func TestNegotiate(t *testing.T) {
	offered := []string{"zstd", "br", "gzip"}
	for accept, want := range map[string]string{
		"": "", "gzip": "gzip", "gzip, br": "br", "gzip;q=1, br;q=0.5": "gzip", "*": "zstd", "zstd;q=0, *": "br", "identity, gzip;q=0.5": "",
		"gzip;q=0": "", "deflate": "", "x-gzip": "gzip", "GZIP ; q=0.3": "gzip", "gzip;q=7": "", "gzip;q=NaN": "", "gzip;level=1": "", "br;q=0.2,gzip;q=0.2": "br",
	} {
		if got := negotiate([]string{accept}, offered); got != want {
			t.Errorf("%q: %q, want %q", accept, got, want)
		}
	}
}

func unpack(t *testing.T, encoding string, body []byte) string {
	t.Helper()
	var r io.Reader = bytes.NewReader(body)
	var err error
	switch encoding {
	case "gzip":
		r, err = gzip.NewReader(r)
	case "br":
		r = brotli.NewReader(r)
	case "zstd":
		var d *zstd.Decoder
		if d, err = zstd.NewReader(r); err == nil {
			defer d.Close()
			r = d
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestCompress(t *testing.T) {
	long := strings.Repeat("the same again and again, ", 10000)
	sys := shop()
	sys.Routes[0].Compress = &topology.Compress{Encodings: []string{"zstd", "br", "gzip"}, Types: []string{"text/*"}, MinSize: 100}
	r := start(t, Config{System: sys})
	r.serve("web", func(w http.ResponseWriter, q *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("ETag", `"1"`)
		body := long
		switch q.URL.Path {
		case "/short":
			body = "short"
		case "/type":
			h.Set("Content-Type", "image/png")
		case "/already":
			h.Set("Content-Encoding", "gzip")
		case "/no-transform":
			h.Set("Cache-Control", "public, no-transform")
		}
		if q.URL.Path != "/streamed" {
			h.Set("Content-Length", fmt.Sprint(len(body)))
		}
		_, _ = io.WriteString(w, body)
	})
	for _, c := range []struct{ path, accept, want string }{
		{"/", "gzip", "gzip"}, {"/", "br", "br"}, {"/", "zstd", "zstd"}, {"/streamed", "gzip", "gzip"}, {"/", "", ""}, {"/", "gzip;q=0", ""},
		{"/short", "gzip", ""}, {"/type", "gzip", ""}, {"/already", "br", "gzip"}, {"/no-transform", "gzip", ""},
	} {
		t.Run(c.path+" "+c.accept, func(t *testing.T) {
			q, _ := http.NewRequest("GET", r.url+c.path, nil)
			q.Header.Set("Accept-Encoding", c.accept)
			res, err := r.client.Do(q)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			got := res.Header.Get("Content-Encoding")
			if got != c.want {
				t.Fatalf("encoding %q, want %q", got, c.want)
			}
			if vary := res.Header.Get("Vary") == "Accept-Encoding"; vary != (c.path != "/type") {
				t.Errorf("Vary %q", res.Header.Get("Vary"))
			}
			changed := got != "" && c.path != "/already"
			if weak := strings.HasPrefix(res.Header.Get("ETag"), "W/"); weak != changed {
				t.Errorf("ETag %s", res.Header.Get("ETag"))
			}
			if changed && (unpack(t, got, body) != long || len(body) > len(long)/10) {
				t.Errorf("%d bytes that are not the answer", len(body))
			}
		})
	}
}

func TestCompressedEventsAreFlushed(t *testing.T) {
	sys := shop()
	sys.Routes[0].Compress = &topology.Compress{Encodings: []string{"gzip"}, Types: []string{"text/*"}}
	r := start(t, Config{System: sys})
	next := make(chan struct{})
	r.serve("web", func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range 3 {
			_, _ = io.WriteString(w, "data: x\n\n")
			_ = http.NewResponseController(w).Flush()
			<-next
		}
	})
	q, _ := http.NewRequest("GET", r.url+"/", nil)
	q.Header.Set("Accept-Encoding", "gzip")
	res, err := r.client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	z, err := gzip.NewReader(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := io.ReadFull(z, make([]byte, 9)); err != nil {
			t.Fatal(err)
		}
		next <- struct{}{}
	}
}

// What the cache keeps is kept once, as it came, and compressed for each client that takes it so.
func TestCompressedFromTheCache(t *testing.T) {
	long := strings.Repeat("the same again and again, ", 10000)
	sys := cachedShop(topology.HTTPCache{})
	sys.Routes[1].Compress = &topology.Compress{Encodings: []string{"zstd", "br", "gzip"}, Types: []string{"text/*"}, MinSize: 100}
	r := start(t, Config{System: sys})
	var asked atomic.Int64
	r.serve("catalog", func(w http.ResponseWriter, q *http.Request) {
		asked.Add(1)
		h := w.Header()
		h.Set("Content-Type", "text/plain")
		h.Set("Cache-Control", "max-age=600")
		h.Set("ETag", `"1"`)
		body := long
		if q.URL.Path == "/api/short" {
			body = "short"
		}
		h.Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = io.WriteString(w, body)
	})
	for round := range 2 {
		for _, accept := range []string{"gzip", "br", "zstd", "identity", "gzip"} {
			body, _, res := r.fetch("/api/long", "Accept-Encoding: "+accept)
			got := res.Header.Get("Content-Encoding")
			if accept == "identity" && (got != "" || body != long || res.Header.Get("ETag") != `"1"`) ||
				accept != "identity" && (got != accept || unpack(t, got, []byte(body)) != long || res.Header.Get("ETag") != `W/"1"` || len(body) > len(long)/10) {
				t.Errorf("round %d, %s: %q, %d bytes, ETag %s", round, accept, got, len(body), res.Header.Get("ETag"))
			}
			if v := res.Header["Vary"]; len(v) != 1 || v[0] != "Accept-Encoding" {
				t.Errorf("round %d, %s: Vary %q", round, accept, v)
			}
		}
	}
	if body, _, res := r.fetch("/api/short", "Accept-Encoding: gzip"); body != "short" || res.Header.Get("Content-Encoding") != "" {
		t.Errorf("a short one: %q, %q", body, res.Header.Get("Content-Encoding"))
	}
	if n := asked.Load(); n > 3 { // one more where the second came while the first was being kept
		t.Errorf("the backend was asked %d times for two answers", n)
	}
	if _, _, res := r.fetch("/api/long", "Accept-Encoding: gzip", `If-None-Match: W/"1"`); res.StatusCode != http.StatusNotModified {
		t.Errorf("the ETag of a compressed answer is answered %d", res.StatusCode)
	}
	if body, _, res := r.fetch("/api/long", "Accept-Encoding: gzip", "Range: bytes=0-2"); res.StatusCode != http.StatusPartialContent || body != "the" || res.Header.Get("Content-Encoding") != "" {
		t.Errorf("a part: %d, %q", res.StatusCode, body)
	}
}
