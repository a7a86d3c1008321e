//go:build linux && (amd64 || arm64)

package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func keepAll(s *topology.System) {
	s.Routes[1].HTTPCache = &topology.HTTPCache{TTL: topology.Duration(time.Hour), MaxObject: 16 << 20}
}

// inFast is how many clients' connections the fast tier has.
func (r *rig) inFast() (n int64) {
	for _, w := range r.fast.Load().workers {
		n += w.nClients.Load()
	}
	return n
}

// What the fast tier answers from the cache, and what it leaves to the full tier, equals what that answers alone.
func TestHitsOfFastTierEqualFullTier(t *testing.T) {
	tw := startTwins(t, keepAll)
	paths := []string{"kept", "keptvary", "kepttag", "keptbare", "keptsigned", "kept404", "keptbig", "empty"}
	for i, name := range paths {
		text := "GET /api/x?a=" + name + " HTTP/1.1\r\nHost: h\r\n\r\n"
		if !tw.compare(t, false, text, []string{"GET"}) {
			t.Fatal("not even the first answers are alike")
		}
		for _, r := range tw.rigs {
			await(t, name+" is stored", func() bool { return stored(r) == int64(i+1) })
		}
	}
	for _, name := range paths {
		for _, method := range []string{"GET", "HEAD"} {
			for _, fields := range []string{
				"", "Connection: close\r\n", "Connection: keep-alive, x\r\nX: y\r\n", "Cache-Control: max-age=0\r\n", "cache-control: no-store\r\n",
				"Cache-Control: only-if-cached\r\n", "Pragma: no-cache\r\n", "X-Request-Id: mine\r\n", "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
				"If-None-Match: \"one\"\r\n", "If-None-Match: \"two\"\r\n", "if-modified-since: Tue, 15 Nov 1994 08:12:31 GMT\r\n",
				"Range: bytes=1-2\r\n", "Range: bytes=9000000-\r\n", "Range: bytes=0-1\r\nIf-Range: \"two\"\r\n",
				"Accept-Language: de\r\n", "Accept-Language: en\r\nAccept-Language: fr\r\n", "Content-Length: 0\r\n", "Cookie: a=b\r\n",
			} {
				tw.compare(t, false, method+" /api/x?a="+name+" HTTP/1.1\r\nHost: h\r\n"+fields+"\r\n", []string{method})
			}
			tw.compare(t, false, method+" /api/x?a="+name+" HTTP/1.0\r\nHost: h\r\n\r\n", []string{method})
			tw.compare(t, false, method+" /api/x?a="+name+" HTTP/1.0\r\nHost: H:80\r\nConnection: keep-alive\r\n\r\n", []string{method})
		}
	}
	for _, uri := range []string{"/api/x?a=kept&", "/api/%78?a=kept", "/api/y/../x?a=kept", "/api/!x?", "/api/!x", "/api/x?a=kept#"} {
		text := "GET " + uri + " HTTP/1.1\r\nHost: h\r\n\r\n"
		tw.compare(t, false, text+text, []string{"GET", "GET"})
	}
	hit, miss := "GET /api/x?a=kept HTTP/1.1\r\nHost: h\r\n\r\n", "GET /api/x?a=kept&n=%d HTTP/1.1\r\nHost: h\r\n\r\n"
	post := "POST /api/x?a=kept HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody"
	tw.compare(t, false, hit+fmt.Sprintf(miss, 1)+hit+hit+fmt.Sprintf(miss, 2)+fmt.Sprintf(miss, 3)+hit, strings.Fields("GET GET GET GET GET GET GET"))
	tw.compare(t, false, hit+post+hit+post+post+hit, strings.Fields("GET POST GET POST POST GET"))
	tw.compare(t, false, "POST /api/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"+hit, strings.Fields("POST GET"))
	tw.compare(t, false, hit+"nonsense\r\n\r\n", strings.Fields("GET GET"))
}

// dialHTTP opens a connection and returns how to ask on it.
func dialHTTP(t *testing.T, r *rig) (conn net.Conn, ask func(text string) (*http.Response, string)) {
	t.Helper()
	conn, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	br := bufio.NewReader(conn)
	return conn, func(text string) (*http.Response, string) {
		t.Helper()
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res, string(body)
	}
}

// A connection comes back from the full tier when the request that it went there for is answered, and stays there if it
// asks for nothing else.
func TestConnectionsComeBack(t *testing.T) {
	s := cachedShop(topology.HTTPCache{TTL: topology.Duration(time.Hour)})
	r := startTier(t, Config{System: s}, false)
	if r.fast.Load() == nil || fullTierOnly {
		t.Skip("with the fast tier only")
	}
	r.serve("catalog", func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/api/never" {
			w.Header().Set("Cache-Control", "no-store")
		}
		fmt.Fprint(w, req.URL.Path)
	})
	_, ask := dialHTTP(t, r)
	get := func(path string) {
		t.Helper()
		if res, body := ask("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n"); res.StatusCode != 200 || body != path {
			t.Fatalf("%s: %d %q", path, res.StatusCode, body)
		}
	}
	for i := range 3 * firstCredit {
		get(fmt.Sprintf("/api/%d", i))
		await(t, "the answer is stored", func() bool { return stored(r) == int64(i+1) })
		await(t, "it is back", func() bool { return r.inFast() == 1 })
		get(fmt.Sprintf("/api/%d", i))
		if r.inFast() != 1 {
			t.Fatal("a hit was left to the full tier")
		}
	}
	for range 4 * firstCredit {
		get("/api/never")
	}
	if n := r.inFast(); n != 0 {
		t.Errorf("the fast tier has %d connections, of which all requests are for the full tier", n)
	}
	get("/api/0")
}

// A client that is slow to take a large stored answer gets it whole, and the requests behind it are answered.
func TestSlowClientOfLargeHit(t *testing.T) {
	s := cachedShop(topology.HTTPCache{TTL: topology.Duration(time.Hour), MaxObject: 32 << 20})
	r := startTier(t, Config{System: s}, false)
	large := strings.Repeat("0123456789abcdef", 20<<16) // more than the sockets' buffers hold
	r.serve("catalog", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, large) })
	conn, ask := dialHTTP(t, r)
	request := "GET /api/large HTTP/1.1\r\nHost: h\r\n\r\n"
	if _, body := ask(request); body != large {
		t.Fatal("the first answer is another")
	}
	await(t, "the answer is stored", func() bool { return stored(r) == 1 })
	if _, err := io.WriteString(conn, request+request); err != nil {
		t.Fatal(err)
	}
	await(t, "both are counted or wait", func() bool { return r.Stats().Routes[1].Cache.Hits >= 1 })
	for i := range 3 {
		more := ""
		if i == 0 {
			more = request
		}
		if _, body := ask(more); body != large {
			t.Fatalf("answer %d has %d bytes of %d, or others", i, len(body), len(large))
		}
	}
}
