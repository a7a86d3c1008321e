package gateway

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/banyanhq/banyan/reactor"
	"github.com/banyanhq/banyan/topology"
)

// The fast tier must equal the full tier request for request: what the client gets, whether its connection goes on,
// and what the backend sees. The exceptions, each because the fast tier is stricter or simpler, none of them a matter of
// what a request means:
//
//   - The order and the case of header names, and chunk boundaries, are the sender's instead of Go's.
//   - Trailers that were not announced are dropped from answers to HTTP/1.0, without a field Trailer that names them.
//   - The text of answers to what is no request. A connection that begins with a line that names no HTTP/1 is closed
//     without one (RFC 9113, 3.4).
//   - A client that sends more requests and then ends its side gets all answers; the full tier gives up the first.
//   - A client that has sent more than its last request is given a moment to read the answer; Go's server closes at once, which
//     may reset the connection.

// sighting is what a backend saw of a request.
type sighting struct {
	line   string
	header string
	body   string
}

// twins are two gateways, one with the fast tier and one without, in front of equal backends.
type twins struct {
	rigs  [2]*rig
	saw   [2]*observer
	edges [2]string
}

type observer struct {
	mu  sync.Mutex
	all []sighting
}

// ids are what differs from request to request by design.
func ids(h http.Header) {
	for _, key := range []string{"Traceparent", "X-Request-Id", "Date", "Age", headerTimeLeft} {
		if h.Get(key) != "" {
			h.Set(key, "(set)")
		}
	}
	for i, v := range h["Cache-Status"] {
		h["Cache-Status"][i] = secondsLeft.ReplaceAllString(v, "ttl=(set)")
	}
}

var secondsLeft = regexp.MustCompile(`ttl=\d+`)

func flat(h http.Header) string {
	ids(h)
	var b strings.Builder
	for _, key := range slices.Sorted(func(yield func(string) bool) {
		for key := range h {
			if !yield(key) {
				return
			}
		}
	}) {
		fmt.Fprintf(&b, "%s: %q\n", key, h[key])
	}
	return b.String()
}

func (o *observer) take() []sighting {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.all
	o.all = nil
	return all
}

// answering serves a backend that notes what it gets and answers as the path says, on bytes.
func (o *observer) answering(t testing.TB, r *rig, service string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); r.stop(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				br := bufio.NewReader(c)
				for {
					req, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					body, err := io.ReadAll(req.Body)
					if err != nil {
						return // what breaks off is no request; how much of one is sent on before that is known is a matter of time
					}
					header := req.Header.Clone()
					header.Set("Host", req.Host)
					if len(req.TransferEncoding) > 0 {
						header.Set("Content-Length", "(chunked)") // the same body in another framing
					}
					o.mu.Lock()
					o.all = append(o.all, sighting{req.Method + " " + req.RequestURI + " " + req.Proto, flat(header), string(body)})
					o.mu.Unlock()
					text, last := answerFor(req.URL.Query().Get("a"), req.Method)
					if _, err := io.WriteString(c, text); err != nil || last {
						return
					}
				}
			})
		}
	})
	r.ready(service, l.Addr().String())
}

const hi = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"

// answers of the backend, by name. Those that end with "!" close the connection.
var answers = map[string]string{
	"":             hi + "Content-Length: 5\r\n\r\nhello",
	"empty":        hi + "Content-Length: 0\r\n\r\n",
	"big":          hi + "Content-Length: 100000\r\n\r\n" + strings.Repeat("big ", 25000),
	"edge":         hi + "Content-Length: 32768\r\n\r\n" + strings.Repeat("x", 32768),
	"edge1":        hi + "Content-Length: 32769\r\n\r\n" + strings.Repeat("x", 32769),
	"chunked":      hi + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;ext=\"x\"\r\n world\r\n0\r\n\r\n",
	"chunked0":     hi + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"chunkedbig":   hi + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("2710\r\n"+strings.Repeat("y", 10000)+"\r\n", 10) + "0\r\n\r\n",
	"trailers":     hi + "Trailer: X-Other, X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n",
	"trailersbig":  hi + "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("2710\r\n"+strings.Repeat("y", 10000)+"\r\n", 10) + "0\r\nX-Sum: 1\r\n\r\n",
	"unannounced":  hi + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
	"close!":       hi + "\r\nuntil the end",
	"closebig!":    hi + "\r\n" + strings.Repeat("z", 70000),
	"close0!":      hi + "\r\n",
	"http10!":      "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
	"http10keep":   "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
	"lastone!":     hi + "Connection: close\r\nContent-Length: 2\r\n\r\nhi",
	"204":          "HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n",
	"204length":    "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
	"304":          "HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\nContent-Length: 77\r\nContent-Type: text/plain\r\n\r\n",
	"404":          "HTTP/1.1 404 Nope\r\nContent-Length: 4\r\n\r\nnope",
	"500":          "HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\noops",
	"503":          "HTTP/1.1 503 Busy\r\nRetry-After: 9\r\nContent-Length: 4\r\n\r\nbusy",
	"299":          "HTTP/1.1 299\r\nContent-Length: 2\r\n\r\nhi",
	"799":          "HTTP/1.1 799 Odd Number\r\nContent-Length: 2\r\n\r\nhi",
	"302":          "HTTP/1.1 302 Found\r\nLocation: /x?y=%20z\r\nContent-Length: 0\r\n\r\n",
	"103":          "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n" + hi + "Content-Length: 2\r\n\r\nhi",
	"100":          "HTTP/1.1 100 Continue\r\n\r\n" + hi + "Content-Length: 2\r\n\r\nhi",
	"headers":      "HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\nX-Empty:\r\nX-Space:   a  b   \r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nServer: s\r\nVia: 1.1 other\r\nX-Request-Id: own\r\nContent-Length: 2\r\n\r\nhi",
	"extra!":       hi + "Content-Length: 2\r\n\r\nhiEXTRA",
	"bigextra!":    hi + "Content-Length: 100000\r\n\r\n" + strings.Repeat("big ", 25000) + "EXTRA",
	"short!":       hi + "Content-Length: 20\r\n\r\nhi",
	"shortbig!":    hi + "Content-Length: 200000\r\n\r\n" + strings.Repeat("x", 50000),
	"brokenchunk!": hi + "Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
	"cutchunk!":    hi + "Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
	"nothing!":     "",
	"garbage!":     "SMTP hello there\r\n\r\n",
	"101!":         "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
	"nominated!":   hi + "Connection: close, X-Gone\r\nX-Gone: 1\r\nX-Stays: 2\r\nContent-Length: 2\r\n\r\nhi",
	"nominated":    hi + "x-gone: 1\r\nConnection: keep-alive, X-Gone\r\nX-Stays: 2\r\nContent-Length: 2\r\n\r\nhi",
	"surplus":      hi + "Content-Length: 2\r\n\r\nhi" + hi + "Content-Length: 6\r\n\r\nstolen",
	"surplus204":   "HTTP/1.1 204 No Content\r\n\r\n" + hi + "Content-Length: 6\r\n\r\nstolen",
	"surpluschunk": hi + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n" + hi + "Content-Length: 6\r\n\r\nstolen",
	"surplusbig":   hi + "Content-Length: 100000\r\n\r\n" + strings.Repeat("big ", 25000) + hi + "Content-Length: 6\r\n\r\nstolen",
	"both!":        hi + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
	"lines!":       "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
	"folded!":      hi + "X-A: b\r\n c\r\nContent-Length: 2\r\n\r\nhi",
	"space!":       hi + "X-A : b\r\nContent-Length: 2\r\n\r\nhi",
	"cr!":          hi + "X-A: b\rc\r\nContent-Length: 2\r\n\r\nhi",
	"samelengths!": hi + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
	"http10chunk!": "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
	"chunkline!":   hi + "Transfer-Encoding: chunked\r\n\r\n2\nhi\r\n0\r\n\r\n",
	"lengths!":     hi + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
	"negative!":    hi + "Content-Length: -2\r\n\r\nhi!",
	"gzip!":        hi + "Transfer-Encoding: gzip\r\n\r\nhi",
	"bighead":      hi + "X-Large: " + strings.Repeat("h", 50<<10) + "\r\nContent-Length: 2\r\n\r\nhi",
	"hugehead!":    hi + "X-Large: " + strings.Repeat("h", 100<<10) + "\r\nContent-Length: 2\r\n\r\nhi",
	"events!":      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\ndata: 2\n\n",
	"eventschunks": "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n0\r\n\r\n",
	"kept":         hi + "Cache-Control: max-age=3600\r\nContent-Length: 5\r\n\r\nhello",
	"keptvary":     hi + "Cache-Control: max-age=3600\r\nVary: Accept-Language, Cookie\r\nContent-Length: 5\r\n\r\nhello",
	"kepttag":      hi + "Cache-Control: max-age=3600\r\nEtag: \"one\"\r\nLast-Modified: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Length: 5\r\n\r\nhello",
	"keptbare":     "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nX-Two: 1\r\nX-Two: 2\r\nX-Empty:\r\nContent-Length: 5\r\n\r\nhello",
	"keptsigned":   hi + "Age: 7\r\nCache-Status: inner; hit\r\nCache-Control: max-age=3600\r\nContent-Length: 5\r\n\r\nhello",
	"kept404":      "HTTP/1.1 404 Nope\r\nCache-Control: max-age=3600\r\nContent-Length: 4\r\n\r\nnope",
	"keptbig":      hi + "Cache-Control: max-age=3600\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("big ", 25000),
	"json":         "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
}

func answerFor(name, method string) (text string, last bool) {
	text, ok := answers[name]
	if !ok {
		text = answers[""] // what nobody answers would only be waited for
	}
	if method == "HEAD" {
		if head, _, ok := strings.Cut(text, "\r\n\r\n"); ok && !strings.HasPrefix(name, "10") {
			text = head + "\r\n\r\n"
		}
	}
	return text, strings.HasSuffix(name, "!")
}

func startTwins(t testing.TB, change ...func(*topology.System)) *twins {
	if !reactor.Supported {
		t.Skip("there is no fast tier on this platform")
	}
	if fullTierOnly {
		t.Skip("done once, whichever the tests run with")
	}
	tw := &twins{}
	for i := range tw.rigs {
		s := eachInbound(shop(), func(in *topology.Inbound) { in.Breaker = nil; in.Retry.Budget = 10 })
		for _, f := range change {
			f(s)
		}
		tw.saw[i] = &observer{}
		r := &rig{}
		*r = *startTier(t, Config{System: s, DrainTimeout: 5 * time.Second, Secret: []byte("0123456789abcdef")}, i == 1)
		tw.rigs[i] = r
		tw.saw[i].answering(t, r, "web")
		tw.saw[i].answering(t, r, "catalog")
		tw.edges[i] = strings.TrimPrefix(r.EdgeURL("web", "catalog"), "http://")
	}
	return tw
}

// startTier starts a gateway of one tier, whichever the tests run with.
func startTier(t testing.TB, cfg Config, full bool) *rig {
	before := fullTierOnly
	fullTierOnly = full
	defer func() { fullTierOnly = before }()
	return start(t, cfg)
}

// conversation is what a client gets on one connection.
type conversation struct {
	answers []string
	closed  bool // the gateway closes the connection afterwards
}

// converse sends bytes, and reads the answers to requests of the given methods. Then it waits so long for the connection
// to be closed.
func converse(t testing.TB, address, text string, methods []string, patience time.Duration) (c conversation) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	go io.WriteString(conn, text) // it ends with the connection
	br := bufio.NewReader(conn)
	for _, method := range methods {
		for {
			res, err := http.ReadResponse(br, &http.Request{Method: method})
			if err != nil {
				c.answers = append(c.answers, "no answer")
				c.closed = true
				return c
			}
			body, err := io.ReadAll(res.Body)
			text := fmt.Sprintf("%s %s\n%s", res.Proto, res.Status, flat(res.Header))
			if res.StatusCode == 400 && res.Header.Get("Proxy-Status") == "" && res.Header.Get("X-Request-Id") == "" {
				text, body = "not a request", nil // the text is the server's own
			}
			if strings.Contains(text, "problem+json") {
				body = withoutID(body)
				text = strings.ReplaceAll(text, strconv.Itoa(int(res.ContentLength)), "(length)")
			}
			text += fmt.Sprintf("close %v, trailer %v\n%s", res.Close, res.Trailer, shortened(body))
			if err != nil {
				text += "\nbroken off"
			}
			c.answers = append(c.answers, text)
			if res.StatusCode >= 200 {
				if res.Close || err != nil {
					c.closed = true
					return c
				}
				break
			}
		}
	}
	// Nothing more is due: either the connection is closed now, or it waits for the next request.
	conn.SetDeadline(time.Now().Add(patience))
	_, err = br.ReadByte()
	c.closed = err == io.EOF
	return c
}

func withoutID(body []byte) []byte {
	if i := bytes.Index(body, []byte(`"request_id":"`)); i >= 0 {
		return body[:i]
	}
	return body
}

func shortened(body []byte) string {
	if len(body) > 200 {
		return fmt.Sprintf("%d bytes, %x", len(body), bytes.Count(body, []byte("x")))
	}
	return string(body)
}

// patiences are how long connections are watched for their end. Most stay open, so that the first is short; where the two
// differ that may be because the machine is busy, and they are compared again.
var patiences = []time.Duration{5 * time.Millisecond, 200 * time.Millisecond, longPatience}

// longPatience is for a connection that must be closed: it is waited for no longer than that takes.
const longPatience = time.Minute

// compare sends the same to both and reports what differs.
func (tw *twins) compare(t testing.TB, edge bool, text string, methods []string) bool {
	t.Helper()
	var difference string
	for _, patience := range patiences {
		if difference = tw.differ(t, edge, text, methods, patience); difference == "" {
			return true
		}
	}
	t.Errorf("%q: %s", head(text), difference)
	return false
}

// differ says in what the two differ, if they do.
func (tw *twins) differ(t testing.TB, edge bool, text string, methods []string, patience time.Duration) string {
	t.Helper()
	var got [2]conversation
	var saw [2][]sighting
	for i, r := range tw.rigs {
		address := r.Addr().String()
		if edge {
			address = tw.edges[i]
		}
		got[i] = converse(t, address, text, methods, patience)
		saw[i] = tw.saw[i].take()
		sort.SliceStable(saw[i], func(a, b int) bool { return saw[i][a].line < saw[i][b].line })
		// How often a request is tried depends on which connections to the backend were there, too.
		saw[i] = slices.Compact(saw[i])
		for k := range saw[i] { // ports of their own
			saw[i][k].header = strings.ReplaceAll(saw[i][k].header, address, "(gateway)")
		}
	}
	if fmt.Sprintf("%+v", got[0]) != fmt.Sprintf("%+v", got[1]) {
		return fmt.Sprintf("\nfast: closed %v\n%s\nfull: closed %v\n%s", got[0].closed, strings.Join(got[0].answers, "\n--\n"), got[1].closed, strings.Join(got[1].answers, "\n--\n"))
	}
	if fmt.Sprint(saw[0]) != fmt.Sprint(saw[1]) {
		return fmt.Sprintf("the backend saw\nfast: %s\nfull: %s", saw[0], saw[1])
	}
	return ""
}

func head(s string) string { return s[:min(len(s), 300)] }

func TestFastTierEqualsFullTier(t *testing.T) {
	tw := startTwins(t)
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range answers {
			if !yield(name) {
				return
			}
		}
	}) {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			for _, proto := range []string{"1.1", "1.0", "1.0k", "1.1c"} {
				if method != "GET" && proto != "1.1" || name == "unannounced" && proto[:3] == "1.0" {
					continue
				}
				request := method + " /p?a=" + name + " HTTP/" + proto[:3] + "\r\nHost: x\r\n"
				switch proto[3:] {
				case "k":
					request += "Connection: keep-alive\r\n"
				case "c":
					request += "Connection: close\r\n"
				}
				if method == "POST" {
					request += "Content-Length: 3\r\n\r\nabc"
				} else {
					request += "\r\n"
				}
				tw.compare(t, false, request, []string{method})
				if name == "" || name == "big" || name == "chunked" {
					tw.compare(t, true, request, []string{method})
				}
			}
		}
	}
}

// Forms that are rare, one after another on a connection.
func TestOddRequestsOnBothTiers(t *testing.T) {
	tw := startTwins(t)
	const next = "GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, c := range []struct {
		text    string
		methods string
	}{
		{"GET http://other/p HTTP/1.1\r\nHost: x\r\n\r\n" + next, "GET GET"},
		{"GET http://other:81 HTTP/1.1\r\nHost: x\r\n\r\n" + next, "GET GET"},
		{"GET http://user@other/p HTTP/1.1\r\nHost: x\r\n\r\n" + next, "GET GET"},
		{"GET HTTPS://other/p HTTP/1.1\r\nHost: other\r\n\r\n" + next, "GET GET"},
		{"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n" + next, "OPTIONS GET"},
		{"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n" + next, "CONNECT"},
		{"TRACE /p HTTP/1.1\r\nHost: x\r\n\r\n" + next, "TRACE GET"},
		{"GET /p HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\nGET /p HTTP/1.0\r\nHost: x\r\n\r\n" + next, "GET GET"},
		{"GET /p HTTP/1.0\r\nConnection: Keep-Alive\r\nHost: x\r\n\r\n" + next, "GET GET"},
		{"HEAD /p?a=big HTTP/1.1\r\nHost: x\r\n\r\n" + next, "HEAD GET"},
		{"HEAD /p?a=chunkedbig HTTP/1.1\r\nHost: x\r\n\r\n" + next, "HEAD GET"},
		{"GET /p?a=304 HTTP/1.1\r\nHost: x\r\n\r\n" + next, "GET GET"},
		{"GET /p?a=204length HTTP/1.1\r\nHost: x\r\n\r\n" + next, "GET GET"},
		{"GET /p?a=103 HTTP/1.1\r\nHost: x\r\n\r\n" + next, "GET GET"},
		{"POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc" + next, "POST GET"},
		{"POST /p HTTP/1.1\r\nHost: x\r\nExpect: nothing\r\nContent-Length: 3\r\n\r\nabc" + next, "POST"},
		{"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n" + next, "POST GET"},
		{"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n" + next, "POST"},
		{"GET /p HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + next, "GET"},
		{next + "GET /p HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\n" + next, "GET GET"},
		{"GET /p HTTP/1.1\r\nHost: x\r\nConnection: Host, Content-Length\r\nContent-Length: 3\r\n\r\nabc" + next, "GET GET"},
		{"\r\nGET /p HTTP/1.1\r\nHost: x\r\n\r\n\r\n" + next, "GET GET"},
	} {
		tw.compare(t, false, c.text, strings.Fields(c.methods))
	}
}

// What is no request is refused by both, and nothing of it reaches a backend.
func TestMalformedRequestsOnBothTiers(t *testing.T) {
	tw := startTwins(t)
	for _, text := range []string{
		"GET /\r\n\r\n", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1 \r\nHost: x\r\n\r\n", " GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"G@T / HTTP/1.1\r\nHost: x\r\n\r\n", "GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "GET / HTTP/1.1\r\nHost : x\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nX-A : b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nnothing\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nX: a\x7fb\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
		"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\nx",
		"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\nx", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x1\r\n\r\nx",
		"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n",
		"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", "GET /?a#b HTTP/1.1\r\nHost: x\r\n\r\n", "GET http://x/#b HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET % HTTP/1.1\r\nHost: x\r\n\r\n", "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\nHost: x\n\n", "GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nX: a\nY: b\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET / HTTP/2.0\r\nHost: x\r\n\r\n", "GET / HTTP/0.9\r\nHost: x\r\n\r\n", "GET / HTTP/1.11\r\nHost: x\r\n\r\n", "GET / http/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1\r\nHost: x\r\n\r\n",
	} {
		var statuses [2]string
		for i, r := range tw.rigs {
			c := converse(t, r.Addr().String(), text+"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", []string{"GET"}, longPatience)
			statuses[i] = strings.Join(c.answers, "\n")
			if !c.closed {
				t.Errorf("%q: tier %d keeps the connection", text, i)
			}
			if s := tw.saw[i].take(); len(s) != 0 {
				t.Errorf("%q: tier %d: the backend saw %q", text, i, s)
			}
			statuses[i], _, _ = strings.Cut(statuses[i], "\n")
			statuses[i], _, _ = strings.Cut(statuses[i], ": ") // the text is the server's own
		}
		if statuses[0] != statuses[1] {
			t.Errorf("%q: fast %q, full %q", text, statuses[0], statuses[1])
		}
	}
}

// What Go's server takes and RFC 9112 lets a server refuse, or demands that it does, is refused whoever carries it: over TLS as
// well, and on a connection that has gone over to the full tier. Nothing of it reaches a backend, nor does what follows it.
func TestDoubtfulRequestsAreRefused(t *testing.T) {
	cfg, trust := secured(t, nil)
	r := start(t, cfg)
	saw := &observer{}
	saw.answering(t, r, "web")
	refused := 0
	const chunked = "POST /first HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
	for name, dial := range map[string]func() (net.Conn, error){
		"plain":    func() (net.Conn, error) { return net.Dial("tcp", r.Addr().String()) },
		"over TLS": func() (net.Conn, error) { return tls.Dial("tcp", r.TLSAddr().String(), trust(r)) },
	} {
		for _, text := range []string{
			"GET / HTTP/1.1\nHost: x\n\n",
			"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: x\r\nX: a\nY: b\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
			"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			"POST / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		} {
			for _, before := range []string{"", chunked} {
				c, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				refused++
				_ = c.SetDeadline(time.Now().Add(time.Minute))
				go io.WriteString(c, before+text+"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n") // it ends with the connection
				all, err := io.ReadAll(c)
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s, %q after %q: the connection stays open", name, text, before)
				}
				if n := strings.Count(string(all), "HTTP/1.1 200"); n > 0 && before == "" || n > 1 {
					t.Errorf("%s, %q after %q: answered %q", name, text, before, all)
				}
				for _, s := range saw.take() {
					if before == "" || !strings.HasPrefix(s.line, "POST /first ") {
						t.Errorf("%s, %q after %q: the backend saw %q", name, text, before, s)
					}
				}
				c.Close()
			}
		}
	}
	until(t, "all refusals are counted", func() bool { return int(r.malformed[0].Load()) >= refused })
	if n := int(r.malformed[0].Load()); n != refused {
		t.Errorf("%d refusals are counted of %d", n, refused)
	}
}

// generated returns some requests in a row, as bytes, and their methods. The seed decides.
func generated(r *rand.Rand) (text string, methods []string) {
	pick := func(options ...string) string { return options[r.IntN(len(options))] }
	names := make([]string, 0, len(answers))
	for _, name := range slices.Sorted(maps.Keys(answers)) { // in an order of their own, so that a seed gives the same again
		if !strings.HasSuffix(name, "!") || r.IntN(4) == 0 {
			names = append(names, name)
		}
	}
	// Only the last one may end the connection: closing on what was not read may reset it, sooner or later.
	n := 1 + r.IntN(4)
	for i := range n {
		last := i == n-1
		names := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !last && strings.HasSuffix(name, "!") })
		minor := "1"
		if last {
			if minor = pick("1", "1", "0"); minor == "0" {
				names = slices.DeleteFunc(names, func(name string) bool { return name == "unannounced" })
			}
		}
		method := pick("GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW")
		target := pick("/", "/p", "/api/x", "/api", "//double", "/a%20b", "/a%2fb", "/%c3%a9", "/a\"b", "/x;y=1", "/é", "/a/../b", "/..", "/a/%2e%2e/b", "/p/") +
			"?a=" + pick(names...) + pick("", "&q=%zz", "&x=a+b", "&é", "&?")
		text += method + " " + target + " HTTP/1." + minor + "\r\nHost: " + pick("x", "shop.example:80", "[::1]:80", "X.EXAMPLE") + "\r\n"
		for range r.IntN(5) {
			name := pick("User-Agent: me", "Accept: */*", "Cookie: a=1; b=2", "cookie: c=3", "X-Request-Id: abc", "x-request-id: b a d", "Via: 1.0 fred", "Via: 1.1 x",
				"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Traceparent: nonsense", "Tracestate: a=b", "TE: trailers", "Te: gzip", "Keep-Alive: 5",
				"X-Forwarded-For: 1.2.3.4", "X-Forwarded-Host: h", "X-Forwarded-Proto: https", "Forwarded: for=x", "X-Real-IP: 1.1.1.1", "Proxy-Authorization: x", "X-Empty:", "X-Pad:   a\tb  ",
				"Connection: keep-alive", "Connection: close", "Connection: X-A, keep-alive", "X-A: 1", "x-lower: 2", "Trailer: X", "Proxy-Connection: keep-alive", "Expect: 100-continue",
				"Idempotency-Key: k", "Accept-Encoding: gzip", "If-None-Match: \"x\"", "Range: bytes=0-1", "X-Banyan-Priority: bulk", "x-banyan-priority: critical", "X-Banyan-Priority: odd",
				"X-Request-Timeout-Ms: 5000", "X-Banyan-Mirror: x", "Upgrade: h2c", "HTTP2-Settings: x")
			if last || name != "Connection: close" {
				text += name + "\r\n"
			}
		}
		switch body := strings.Repeat("b", r.IntN(3)*r.IntN(40000)); {
		case method == "GET" && r.IntN(8) > 0, method == "HEAD" && r.IntN(8) > 0:
			text += "\r\n"
		case r.IntN(3) == 0 && minor == "1":
			text += "Transfer-Encoding: chunked\r\n\r\n"
			if body != "" {
				text += strconv.FormatInt(int64(len(body)), 16) + "\r\n" + body + "\r\n"
			}
			text += "0\r\n\r\n"
		default:
			text += "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
		}
		methods = append(methods, method)
	}
	return text, methods
}

func TestGeneratedTrafficOnBothTiers(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 15
	}
	startTwins(t).compareGenerated(t, rounds)
}

// The same where routes ask for more.
func TestGeneratedTrafficOnBothTiersWithDeadlines(t *testing.T) {
	startTwins(t, func(s *topology.System) {
		eachInbound(s, func(in *topology.Inbound) {
			in.TryTimeout, in.Admission = topology.Duration(9*time.Second), &topology.Admission{Margin: 2}
			in.Priority, in.Adaptive = &topology.Priority{Class: "degraded"}, &topology.Adaptive{Initial: 100, Min: 100, Max: 100, Tolerance: 1.5}
		})
	}).compareGenerated(t, 10)
}

func (tw *twins) compareGenerated(t *testing.T, rounds int) {
	seed := rand.Uint64()
	for n := range rounds {
		text, methods := generated(rand.New(rand.NewPCG(seed, uint64(n))))
		if !tw.compare(t, n%2 == 1, text, methods) {
			t.Fatalf("seed %d, round %d", seed, n)
		}
	}
}
