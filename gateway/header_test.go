package gateway

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
)

func readAnswer(t testing.TB, c net.Conn, method string) answer {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(body), res.Trailer, err}
}

// seen returns what a backend saw of a request.
func seen(r *rig, service string, req *http.Request) (*http.Request, answer) {
	r.t.Helper()
	got := make(chan *http.Request, 1)
	id := r.serve(service, func(w http.ResponseWriter, r *http.Request) {
		got <- r.Clone(r.Context())
		w.Header().Set("Keep-Alive", "timeout=5")
		w.Header().Set("X-Plain", "2")
	})
	a := r.do(req)
	r.Remove(service, id)
	return <-got, a
}

func TestHeaders(t *testing.T) {
	r := start(t, Config{})
	req := r.request("GET", "/a%2Fb/c?x=1&y", nil)
	req.Host = "shop.example.com"
	for k, v := range map[string]string{
		"Connection": "keep-alive, X-Hop", "X-Hop": "1", "Keep-Alive": "5", "Proxy-Authorization": "secret", "Te": "gzip, trailers",
		"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": "https", "Forwarded": "for=1.2.3.4", "X-Real-Ip": "1.2.3.4",
		"Via": "1.1 other", "X-App": "kept", "User-Agent": "", "X-Request-Id": "abc-123",
	} {
		req.Header.Set(k, v)
	}
	got, a := seen(r, "web", req)
	if got.Host != "shop.example.com" || got.RequestURI != "/a%2Fb/c?x=1&y" {
		t.Errorf("host %q, target %q", got.Host, got.RequestURI)
	}
	for k, want := range map[string]string{
		"X-Hop": "", "Keep-Alive": "", "Proxy-Authorization": "", "Te": "trailers", "X-Forwarded-For": "127.0.0.1",
		"X-Forwarded-Host": "shop.example.com", "X-Forwarded-Proto": "http", "Forwarded": "", "X-Real-Ip": "", "Via": "1.1 other, 1.1 banyan",
		"X-App": "kept", "User-Agent": "", "X-Request-Id": "abc-123", "Accept-Encoding": "",
	} {
		if v := strings.Join(got.Header[k], "|"); v != want {
			t.Errorf("request %s: %q, want %q", k, v, want)
		}
	}
	for k, want := range map[string]string{"Keep-Alive": "", "X-Plain": "2", "Connection": "", "X-Request-Id": "abc-123", "Content-Type": ""} {
		if v := strings.Join(a.header[k], "|"); v != want {
			t.Errorf("answer %s: %q, want %q", k, v, want)
		}
	}
}

// To CGI and its heirs a header with _ in its name is the same as one with -: nobody from outside gets such a one past the
// gateway, while others of the kind pass, and those of other services.
func TestForgedHeaders(t *testing.T) {
	r := start(t, Config{})
	forged := []string{"X_Forwarded_For", "x-forwarded_proto", "X_Real_Ip", "X_Request_Id", "X_Request_Timeout_Ms", "Transfer_Encoding", "Proxy_Authorization", "X_Banyan_Mirror"}
	for url, pass := range map[string]bool{r.url + "/": false, r.EdgeURL("web", "catalog"): true} {
		service := "web"
		if pass {
			service = "catalog"
		}
		req := r.request("GET", url, nil)
		for _, name := range append(forged, "X_App") {
			req.Header[name] = []string{"chunked"}
		}
		got, _ := seen(r, service, req)
		for _, name := range forged {
			if _, there := got.Header[http.CanonicalHeaderKey(name)]; there != pass {
				t.Errorf("%s: %s passes: %v", service, name, there)
			}
		}
		if got.Header.Get("X_App") == "" {
			t.Errorf("%s: X_App is gone", service)
		}
	}
}

func TestHeadersThatTheAnswerNominates(t *testing.T) {
	r := start(t, Config{})
	r.raw("web", func(n int, head string, c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: X-Secret\r\nX-Secret: 1\r\nContent-Length: 2\r\n\r\nok")
	})
	if a := r.get("/"); a.body != "ok" || a.header.Get("X-Secret") != "" || a.header.Get("Connection") != "" {
		t.Errorf("%+v", a)
	}
}

func TestForwardedHeadersFromTrustedPeers(t *testing.T) {
	r := start(t, Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	for _, url := range []string{"/", r.EdgeURL("web", "catalog") + "/"} {
		req := r.request("GET", url, nil)
		req.Header.Set("X-Forwarded-For", "1.2.3.4")
		req.Header.Set("X-Forwarded-Proto", "https")
		service := "web"
		if url != "/" {
			service = "catalog"
		}
		got, _ := seen(r, service, req)
		if v := got.Header.Get("X-Forwarded-For"); v != "1.2.3.4, 127.0.0.1" || got.Header.Get("X-Forwarded-Proto") != "https" {
			t.Errorf("%s: %q %q", url, v, got.Header.Get("X-Forwarded-Proto"))
		}
	}
}

func TestRequestIDs(t *testing.T) {
	r := start(t, Config{})
	for id, keep := range map[string]bool{
		"a": true, "A-b_c.d:e/f+g=h@i~": true, strings.Repeat("x", 128): true, strings.Repeat("x", 129): false, "a b": false,
		"": false, "a,b": false, "é": false, "<script>": false,
	} {
		req := r.request("GET", "/", nil)
		req.Header.Set("X-Request-Id", id)
		got, a := seen(r, "web", req)
		v := got.Header.Get("X-Request-Id")
		if (v == id) != keep || v == "" || a.header.Get("X-Request-Id") != v {
			t.Errorf("%q: backend got %q, client %q", id, v, a.header.Get("X-Request-Id"))
		}
		if !keep && v != got.Header.Get("Traceparent")[3:35] {
			t.Errorf("a new id %q is not the trace's", v)
		}
	}
}

// The transport would repeat a POST with this header.
func TestIdempotencyKeyDoesNotRepeat(t *testing.T) {
	r := start(t, Config{})
	var posts atomic.Int64
	_, requests := r.raw("web", func(n int, head string, c net.Conn) {
		for i := 0; ; i++ {
			if strings.HasPrefix(head, "POST") {
				if !strings.Contains(strings.ToLower(head), "\r\nidempotency-key: k\r\n") {
					t.Errorf("the backend did not get the header: %q", head)
				}
				posts.Add(1)
				return // a connection that was used before is closed after the request was read
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			var err error
			if head, err = readHead(c); err != nil {
				return
			}
		}
	})
	if a := r.get("/"); a.status != 200 {
		t.Fatal(a)
	}
	req := r.request("POST", "/", nil)
	req.Header.Set("Idempotency-Key", "k")
	r.wantFault(r.do(req), 502, "connection_terminated")
	if posts.Load() != 1 || requests() != 1 {
		t.Errorf("the POST was sent %d times, on %d connections", posts.Load(), requests())
	}
}
