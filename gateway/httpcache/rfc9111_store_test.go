package httpcache

import (
	"strings"
	"testing"
	"time"
)

func TestRFC9111Section3StoringResponses(t *testing.T) {
	cases := []testCase{
		reuse("max-age", "200 | Cache-Control: max-age=60", "cache"),
		reuse("no-store", "200 | Cache-Control: max-age=60, no-store", "origin"),
		reuse("private", "200 | Cache-Control: max-age=60, private", "origin"),
		reuse("expires", "200 | Expires: $60s", "cache"),
		reuse("nothing said", "200", "origin"),
		reuse("validator alone is validated", "200 | ETag: \"a\"", "valid"),
		reuse("must-understand with a known status", "200 | Cache-Control: max-age=60, no-store, must-understand", "cache"),
		reuse("must-understand with an unknown status", "299 | Cache-Control: max-age=60, must-understand", "origin"),
		reuse("unknown directive", "200 | Cache-Control: max-age=60, shiny=\"no-store\"", "cache"),
		reuse("set-cookie", "200 | Cache-Control: max-age=60 | Set-Cookie: a=b", "origin"),
		reuse("set-cookie and public", "200 | Cache-Control: public, max-age=60 | Set-Cookie: a=b", "cache"),
		reuse("part", "206 | Cache-Control: max-age=60 | Content-Range: bytes 0-3/10", "origin"),
		{name: "POST", steps: []step{
			{ask: "POST /", origin: "200 | Cache-Control: max-age=60", want: "origin"}, {ask: "POST /", want: "origin"}, {want: "origin"}}},
		{name: "request no-store", steps: []step{
			{ask: "GET / | Cache-Control: no-store", origin: "200 | Cache-Control: max-age=60", want: "origin"}, {want: "origin"}}},
		{name: "other path", steps: []step{{origin: "200 | Cache-Control: max-age=60", want: "origin"}, {ask: "GET /b", want: "origin"}}},
		{name: "other query", steps: []step{{origin: "200 | Cache-Control: max-age=60", want: "origin"}, {ask: "GET /?a", want: "origin"}, {ask: "GET /?a", want: "cache"}}},
		{name: "other host", steps: []step{{origin: "200 | Cache-Control: max-age=60", want: "origin"}, {ask: "GET http://b.test/", want: "origin"}}},
	}
	for _, status := range []string{"200", "203", "204", "299", "301", "302", "303", "307", "308", "400", "404", "410", "414", "499", "500", "501", "502", "503", "504", "599"} {
		cases = append(cases, reuse("status "+status+" with a lifetime", status+" | Cache-Control: max-age=60", "cache"))
	}
	play(t, cases)
}

func TestRFC9111Section3_1StoringHeaderFields(t *testing.T) {
	play(t, []testCase{
		{name: "all fields", steps: []step{
			{origin: "200 | Cache-Control: max-age=60 | X-A: 1 | X-A: 2 | Content-Language: de", want: "origin"},
			{want: "cache", fields: "X-A: 1, 2 | Content-Language: de | Cache-Control: max-age=60"}}},
		{name: "not those of the connection", steps: []step{
			{origin: "200 | Cache-Control: max-age=60 | Connection: X-Hop | X-Hop: 1 | Keep-Alive: timeout=5 | Proxy-Authenticate: Basic | Upgrade: h2c | TE: trailers", want: "origin"},
			{want: "cache", fields: "X-Hop: | Keep-Alive: | Proxy-Authenticate: | Upgrade: | TE: | Connection:"}}},
	})
}

func TestRFC9111Section3_2UpdatingStoredHeaderFields(t *testing.T) {
	play(t, []testCase{
		{name: "304 replaces", steps: []step{
			{origin: "200 | Cache-Control: max-age=1 | ETag: \"a\" | X-A: 1 | X-B: 1", want: "origin"},
			{wait: 5 * time.Second, origin: "304 | Cache-Control: max-age=60 | ETag: \"a\" | X-A: 2 | X-C: 3", want: "valid", body: "answer 1", fields: "X-A: 2 | X-B: 1 | X-C: 3"},
			{wait: 5 * time.Second, want: "cache", body: "answer 1", fields: "X-A: 2 | X-B: 1 | X-C: 3 | Cache-Control: max-age=60"}}},
		{name: "304 leaves what describes the body", steps: []step{
			{origin: "200 | Cache-Control: max-age=1 | ETag: \"a\" | Content-Type: text/plain", want: "origin"},
			{wait: 5 * time.Second, origin: "304 | Cache-Control: max-age=60 | ETag: \"a\" | Content-Type: a/b | Content-Encoding: gzip | Content-Length: 7 | Content-Range: bytes 1-2/3", want: "valid",
				fields: "Content-Type: text/plain | Content-Encoding: | Content-Range: | Content-Length: 8"}}},
		{name: "304 with fields of the connection", steps: []step{
			{origin: "200 | Cache-Control: max-age=1 | ETag: \"a\"", want: "origin"},
			{wait: 5 * time.Second, origin: "304 | Cache-Control: max-age=60 | ETag: \"a\" | Connection: X-Hop | X-Hop: 1", want: "valid", fields: "X-Hop: | Connection:"}}},
	})
}

func TestRFC9111Section3_3StoringIncompleteResponses(t *testing.T) {
	g := newRig(t, Rules{})
	for _, want := range []int{1, 2} { // shorter than it says: not stored
		g.origin = g.answer("200 | Cache-Control: max-age=60 | Content-Length: 1000")
		r := newRequest("GET /")
		w := newRecorder()
		if res := g.zone.Serve(w, r, g.fetch); res.Err == nil {
			t.Errorf("an answer that broke off: no error")
		}
		if g.count() != want {
			t.Errorf("origin asked %d times, want %d", g.count(), want)
		}
	}
}

func TestRFC9111Section3_5AuthenticatedRequests(t *testing.T) {
	authorized := func(name, cc, want string) testCase {
		return testCase{name: name, steps: []step{
			{ask: "GET / | Authorization: Basic YTpi", origin: "200 | Cache-Control: " + cc, want: "origin"}, {want: want}}}
	}
	play(t, []testCase{
		authorized("max-age", "max-age=60", "origin"),
		authorized("public", "max-age=60, public", "cache"),
		authorized("s-maxage", "s-maxage=60", "cache"),
		authorized("must-revalidate", "max-age=60, must-revalidate", "cache"),
		{name: "stored without", steps: []step{{origin: "200 | Cache-Control: max-age=60", want: "origin"}, {ask: "GET / | Authorization: Basic YTpi", want: "cache"}}},
	})
}

func TestRFC9111Section4ConstructingResponses(t *testing.T) {
	play(t, []testCase{
		{name: "HEAD from a stored GET", steps: []step{
			{origin: "200 | Cache-Control: max-age=60 | X-A: 1", want: "origin"}, {ask: "HEAD /", want: "cache", fields: "X-A: 1 | Content-Length: 8"}}},
		{name: "GET not from a HEAD", steps: []step{{ask: "HEAD /", origin: "200 | Cache-Control: max-age=60", want: "origin"}, {want: "origin", body: "answer 2"}}},
		{name: "fresh until its end", steps: []step{
			{origin: "200 | Cache-Control: max-age=60", want: "origin"}, {wait: 59 * time.Second, want: "cache"}, {wait: time.Second, want: "origin"}}},
		{name: "write-through", steps: []step{{ask: "DELETE /", origin: "204", want: "origin"}, {ask: "DELETE /", want: "origin"}}},
		{name: "the client's Date", steps: []step{{origin: "200 | Cache-Control: max-age=60 | Date: $-5s", want: "origin"}, {want: "cache", fields: "Age: 5 | Date: Tue, 06 May 2031 11:59:55 GMT"}}},
		{name: "a Date where there was none", steps: []step{{origin: "200 | Cache-Control: max-age=60", want: "origin"}, {wait: 7 * time.Second, want: "cache", fields: "Age: 7 | Date: Tue, 06 May 2031 12:00:00 GMT"}}},
		{name: "ranges from the whole", steps: []step{
			{origin: "200 | Cache-Control: max-age=60 | body: 0123456789", want: "origin"},
			{ask: "GET / | Range: bytes=2-4", want: "cache", body: "234", fields: "Content-Range: bytes 2-4/10 | Content-Length: 3"},
			{ask: "GET / | Range: bytes=-3", want: "cache", body: "789"},
			{ask: "GET / | Range: bytes=8-", want: "206", body: "89"},
			{ask: "GET / | Range: bytes=0-1,2-5", want: "206", body: "012345"},
			{ask: "GET / | Range: bytes=20-", want: "416", fields: "Content-Range: bytes */10"},
			{ask: "GET / | Range: bytes=5-2", want: "200", body: "0123456789"},
			{ask: "GET / | Range: lines=1-2", want: "200"},
			{ask: "HEAD / | Range: bytes=2-4", want: "200"}}},
	})
}

func TestRFC9110Section14_6MultipartRanges(t *testing.T) {
	g := newRig(t, Rules{})
	g.origin = g.answer("200 | Cache-Control: max-age=60 | Content-Type: text/plain | body: 0123456789")
	g.do("GET /")
	res := g.do("GET /", "Range: bytes=0-1, 5-6")
	if res.StatusCode != 206 || !strings.HasPrefix(res.Header.Get("Content-Type"), "multipart/byteranges; boundary=") {
		t.Fatalf("got %d %v", res.StatusCode, res.Header)
	}
	body := readBody(t, res)
	for _, want := range []string{"Content-Range: bytes 0-1/10\r\n\r\n01\r\n", "Content-Range: bytes 5-6/10\r\n\r\n56\r\n", "Content-Type: text/plain\r\n"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in %q", want, body)
		}
	}
}

func TestRFC9110Section13_1_5IfRange(t *testing.T) {
	play(t, []testCase{{name: "tags and dates", steps: []step{
		{origin: "200 | Cache-Control: max-age=60 | ETag: \"a\" | Last-Modified: $-60s | Date: $0s | body: 0123456789", want: "origin"},
		{ask: "GET / | Range: bytes=2-4 | If-Range: \"a\"", want: "206"},
		{ask: "GET / | Range: bytes=2-4 | If-Range: W/\"a\"", want: "200"},
		{ask: "GET / | Range: bytes=2-4 | If-Range: \"b\"", want: "200"},
		{ask: "GET / | Range: bytes=2-4 | If-Range: Tue, 06 May 2031 11:59:00 GMT", want: "206"},
		{ask: "GET / | Range: bytes=2-4 | If-Range: Tue, 06 May 2031 11:59:01 GMT", want: "200"},
	}}})
}

func TestRFC9110Section14_2RangeOfWhatIsNotStored(t *testing.T) {
	g := newRig(t, Rules{})
	g.origin = func(w httpWriter, r *httpRequest) {
		if r.Header.Get("Range") != "" {
			g.answer("206 | Cache-Control: max-age=60 | Content-Range: bytes 2-4/10 | body: 234")(w, r)
			return
		}
		g.answer("200 | Cache-Control: max-age=60 | body: 0123456789")(w, r)
	}
	g.playStep(0, step{ask: "GET / | Range: bytes=2-4", want: "206", body: "234"})
	g.settle()
	if g.count() != 2 {
		t.Fatalf("origin asked %d times: want the part, and the whole behind it", g.count())
	}
	g.playStep(1, step{ask: "GET / | Range: bytes=0-1", want: "cache", body: "01"})
	g.playStep(2, step{want: "cache", body: "0123456789"})
}

func TestRFC9111Section4_1Vary(t *testing.T) {
	vary := func(name, vary, first, second, want string) testCase {
		return testCase{name: name, steps: []step{
			{ask: "GET / | " + first, origin: "200 | Cache-Control: max-age=60 | Vary: " + vary, want: "origin"}, {ask: "GET / | " + second, want: want}}}
	}
	play(t, []testCase{
		vary("same value", "Foo", "Foo: 1", "Foo: 1", "cache"),
		vary("other value", "Foo", "Foo: 1", "Foo: 2", "origin"),
		vary("now missing", "Foo", "Foo: 1", "X: 1", "origin"),
		vary("was missing", "Foo", "X: 1", "Foo: 1", "origin"),
		vary("empty is not missing", "Foo", "X: 1", "Foo: ", "origin"),
		vary("two, same", "Foo, Bar", "Foo: 1 | Bar: 2", "Bar: 2 | Foo: 1", "cache"),
		vary("two, one differs", "Foo, Bar", "Foo: 1 | Bar: 2", "Foo: 1 | Bar: 3", "origin"),
		vary("case of names", "fOO", "Foo: 1", "foo: 1", "cache"),
		vary("lines joined", "Foo", "Foo: 1 | Foo: 2", "Foo: 1, 2", "cache"),
		vary("white space", "Foo", "Foo: 1,2", "Foo: 1 ,  2", "cache"),
		vary("order matters", "Foo", "Foo: 1, 2", "Foo: 2, 1", "origin"),
		vary("order of codings does not", "Accept-Encoding", "Accept-Encoding: gzip, br", "Accept-Encoding: BR,gzip", "cache"),
		vary("star", "*", "Foo: 1", "Foo: 1", "origin"),
		vary("star in a list", "Foo, *", "Foo: 1", "Foo: 1", "origin"),
		vary("star twice", "*, *", "Foo: 1", "Foo: 1", "origin"),
		vary("empty members", ", Foo,", "Foo: 1", "Foo: 1", "cache"),
		{name: "variants beside each other", steps: []step{
			{ask: "GET / | Foo: 1", origin: "200 | Cache-Control: max-age=60 | Vary: Foo", want: "origin"},
			{ask: "GET / | Foo: 2", want: "origin"}, {ask: "GET / | Foo: 1", want: "cache", body: "answer 1"}, {ask: "GET / | Foo: 2", want: "cache", body: "answer 2"}}},
		{name: "the most recent of several", steps: []step{
			{ask: "GET / | Foo: 1", origin: "200 | Cache-Control: max-age=600 | Vary: Foo", want: "origin"},
			{wait: time.Second, ask: "GET / | Foo: 2", origin: "200 | Cache-Control: max-age=600", want: "origin"},
			{wait: time.Second, ask: "GET / | Foo: 1", want: "cache", body: "answer 2"}}},
	})
}

func TestRFC9111Section4_4Invalidation(t *testing.T) {
	fresh := step{origin: "200 | Cache-Control: max-age=600", want: "origin"}
	at := func(path string) step {
		return step{ask: "GET " + path, origin: "200 | Cache-Control: max-age=600", want: "origin"}
	}
	var cases []testCase
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "M-SEARCH"} {
		cases = append(cases, testCase{name: method, steps: []step{fresh, {ask: method + " /", origin: "204", want: "origin"}, {origin: "200", want: "origin"}}})
		cases = append(cases, testCase{name: method + " refused", steps: []step{fresh, {ask: method + " /", origin: "403", want: "origin"}, {want: "cache"}}})
		cases = append(cases, testCase{name: method + " failed", steps: []step{fresh, {ask: method + " /", origin: "500", want: "origin"}, {want: "cache"}}})
	}
	for _, field := range []string{"Location", "Content-Location"} {
		cases = append(cases,
			testCase{name: field, steps: []step{at("/b"), {ask: "POST /", origin: "201 | " + field + ": /b", want: "origin"}, {ask: "GET /b", origin: "200", want: "origin"}}},
			testCase{name: field + " absolute", steps: []step{at("/b"), {ask: "POST /", origin: "201 | " + field + ": http://example.com/b", want: "origin"}, {ask: "GET /b", origin: "200", want: "origin"}}},
			testCase{name: field + " of another host", steps: []step{at("/b"), {ask: "POST /", origin: "201 | " + field + ": http://evil.test/b", want: "origin"}, {ask: "GET /b", want: "cache"}}})
	}
	cases = append(cases,
		testCase{name: "safe methods do not", steps: []step{fresh, {ask: "OPTIONS /", origin: "204", want: "origin"}, {want: "cache"}}},
		testCase{name: "all variants", steps: []step{
			{ask: "GET / | Foo: 1", origin: "200 | Cache-Control: max-age=600 | Vary: Foo", want: "origin"}, {ask: "GET / | Foo: 2", want: "origin"},
			{ask: "POST /", origin: "303 | Location: /elsewhere", want: "origin"},
			{ask: "GET / | Foo: 1", origin: "200", want: "origin"}, {ask: "GET / | Foo: 2", want: "origin"}}},
	)
	play(t, cases)
}
