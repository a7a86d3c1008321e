package httpcache

import (
	"testing"
	"time"
)

// after is a stored answer, a pause, and a request.
func after(name, cc string, pause time.Duration, ask, want string) testCase {
	return testCase{name: name, steps: []step{{origin: "200 | Cache-Control: " + cc + " | ETag: \"a\"", want: "origin"}, {wait: pause, ask: ask, want: want}}}
}

const sec = time.Second

func TestRFC9111Section5_2_1_1RequestMaxAge(t *testing.T) {
	play(t, []testCase{
		after("younger", "max-age=600", 10*sec, "GET / | Cache-Control: max-age=60", "cache"),
		after("older", "max-age=600", 100*sec, "GET / | Cache-Control: max-age=60", "origin"),
		after("0", "max-age=600", 0, "GET / | Cache-Control: max-age=0", "origin"),
		after("no number", "max-age=600", 10*sec, "GET / | Cache-Control: max-age=x", "origin"),
	})
}

func TestRFC9111Section5_2_1_2RequestMaxStale(t *testing.T) {
	play(t, []testCase{
		after("within", "max-age=60", 70*sec, "GET / | Cache-Control: max-stale=20", "cache"),
		after("beyond", "max-age=60", 90*sec, "GET / | Cache-Control: max-stale=20", "origin"),
		after("no number", "max-age=60", 70*sec, "GET / | Cache-Control: max-stale=x", "origin"),
	})
}

func TestRFC9111Section5_2_1_3RequestMinFresh(t *testing.T) {
	play(t, []testCase{
		after("fresh enough", "max-age=60", 10*sec, "GET / | Cache-Control: min-fresh=30", "cache"),
		after("not for long enough", "max-age=60", 40*sec, "GET / | Cache-Control: min-fresh=30", "origin"),
	})
}

func TestRFC9111Section5_2_1_4RequestNoCache(t *testing.T) {
	play(t, []testCase{
		after("validates", "max-age=600", 0, "GET / | Cache-Control: no-cache", "valid"),
		after("with an argument", "max-age=600", 0, "GET / | Cache-Control: no-cache=\"a\"", "valid"),
	})
}

func TestRFC9111Section5_2_1_5RequestNoStore(t *testing.T) {
	play(t, []testCase{{name: "what is stored stays and serves", steps: []step{
		{origin: "200 | Cache-Control: max-age=600", want: "origin"}, {ask: "GET / | Cache-Control: no-store", want: "cache"}, {want: "cache"}}}})
}

func TestRFC9111Section5_2_1_7OnlyIfCached(t *testing.T) {
	play(t, []testCase{
		{name: "nothing stored", steps: []step{{ask: "GET / | Cache-Control: only-if-cached", origin: "200", want: "504"}}},
		{name: "stored", steps: []step{{origin: "200 | Cache-Control: max-age=60", want: "origin"}, {ask: "GET / | Cache-Control: only-if-cached", want: "cache"}}},
		{name: "stale", steps: []step{{origin: "200 | Cache-Control: max-age=60", want: "origin"}, {wait: 100 * sec, ask: "GET / | Cache-Control: only-if-cached", want: "504"}}},
	})
}

func TestRFC9111Section5_2_2_2MustRevalidate(t *testing.T) {
	play(t, []testCase{
		after("fresh", "max-age=60, must-revalidate", 10*sec, "GET /", "cache"),
		after("stale", "max-age=60, must-revalidate", 70*sec, "GET /", "valid"),
	})
}

func TestRFC9111Section5_2_2_4NoCache(t *testing.T) {
	play(t, []testCase{
		after("validates each time", "max-age=600, no-cache", 0, "GET /", "valid"),
		after("quoted name", "max-age=600, no-cache=\"X-A\"", 0, "GET /", "cache"),
		after("empty names", "max-age=600, no-cache=\"\"", 0, "GET /", "valid"),
		after("malformed names", "max-age=600, no-cache=\"X A\"", 0, "GET /", "valid"),
		{name: "named fields are not served from the store", steps: []step{
			{origin: "200 | Cache-Control: max-age=60, no-cache=\"X-A, Set-Cookie\" | X-A: 1 | Set-Cookie: a=b | X-B: 2", want: "origin", fields: "X-A: 1 | Set-Cookie: a=b"},
			{want: "cache", fields: "X-A: | Set-Cookie: | X-B: 2"}}},
	})
}

func TestRFC9111Section5_2_2_7Private(t *testing.T) {
	play(t, []testCase{
		reuse("whole", "200 | Cache-Control: private, max-age=60", "origin"),
		reuse("beside s-maxage", "200 | Cache-Control: private, s-maxage=60", "origin"),
		reuse("beside public", "200 | Cache-Control: private, public, max-age=60", "origin"),
		reuse("with an empty list", "200 | Cache-Control: private=\"\", max-age=60", "origin"),
		{name: "named fields are not stored", steps: []step{
			{origin: "200 | Cache-Control: max-age=60, private=\"Set-Cookie\" | Set-Cookie: a=b | X-B: 2", want: "origin", fields: "Set-Cookie: a=b"},
			{want: "cache", fields: "Set-Cookie: | X-B: 2"}}},
		{name: "as a token", steps: []step{
			{origin: "200 | Cache-Control: max-age=60, private=X-A | X-A: 1", want: "origin"}, {want: "cache", fields: "X-A:"}}},
	})
}

func TestRFC9111Section5_2_2_8ProxyRevalidate(t *testing.T) {
	play(t, []testCase{
		after("fresh", "max-age=60, proxy-revalidate", 10*sec, "GET /", "cache"),
		after("stale", "max-age=60, proxy-revalidate", 70*sec, "GET / | Cache-Control: max-stale", "valid"),
	})
}

func TestRFC9111Section5_2_2_10SMaxage(t *testing.T) {
	play(t, []testCase{
		after("over max-age", "max-age=1, s-maxage=60", 10*sec, "GET /", "cache"),
		after("no number", "max-age=600, s-maxage=x", 10*sec, "GET /", "origin"),
		after("never stale", "s-maxage=1", 10*sec, "GET / | Cache-Control: max-stale", "valid"),
	})
}

func TestRFC9111Section4_3_1SendingValidation(t *testing.T) {
	g := newRig(t, Rules{})
	g.origin = g.answer("200 | Cache-Control: max-age=1 | ETag: W/\"a\" | Last-Modified: Mon, 05 May 2031 12:00:00 GMT")
	g.do("GET /")
	g.advance(10 * sec)
	g.do("GET /", "If-None-Match: \"other\"", "Range: bytes=1-2", "If-Modified-Since: Tue, 06 May 2031 12:00:00 GMT")
	h := g.last().Header
	if h.Get("If-None-Match") != `W/"a"` || h.Get("If-Modified-Since") != "Mon, 05 May 2031 12:00:00 GMT" || h.Get("Range") != "" {
		t.Errorf("asked with %v", h)
	}
}

func TestRFC9111Section4_3_2HandlingConditionals(t *testing.T) {
	stored := step{origin: "200 | Cache-Control: max-age=60 | ETag: \"a\" | Last-Modified: Mon, 05 May 2031 12:00:00 GMT | X-A: 1", want: "origin"}
	ask := func(name, fields, want string) testCase {
		return testCase{name: name, steps: []step{stored, {ask: "GET / | " + fields, want: want}}}
	}
	play(t, []testCase{
		ask("tag matches", "If-None-Match: \"a\"", "304"),
		ask("weakly", "If-None-Match: W/\"a\"", "304"),
		ask("in a list", "If-None-Match: \"x\", \"a\"", "304"),
		ask("in a second line", "If-None-Match: \"x\" | If-None-Match: \"a\"", "304"),
		ask("a comma in a tag", "If-None-Match: \"x, \\\"a\"", "200"),
		ask("star", "If-None-Match: *", "304"),
		ask("other", "If-None-Match: \"b\"", "200"),
		ask("without quotes", "If-None-Match: a", "200"),
		ask("tag before date", "If-None-Match: \"b\" | If-Modified-Since: Tue, 06 May 2031 12:00:00 GMT", "200"),
		ask("not modified since", "If-Modified-Since: Mon, 05 May 2031 12:00:00 GMT", "304"),
		ask("modified since", "If-Modified-Since: Sun, 04 May 2031 12:00:00 GMT", "200"),
		ask("no date", "If-Modified-Since: yesterday", "200"),
		{name: "fields of a 304", steps: []step{stored, {ask: "GET / | If-None-Match: \"a\"", want: "304", body: "", fields: "Etag: \"a\" | Cache-Control: max-age=60 | Age: 0 | X-A: | Content-Length:"}}},
		{name: "HEAD", steps: []step{stored, {ask: "HEAD / | If-None-Match: \"a\"", want: "304"}}},
		{name: "by Date without Last-Modified", steps: []step{{origin: "200 | Cache-Control: max-age=60 | Date: $0s", want: "origin"}, {ask: "GET / | If-Modified-Since: Tue, 06 May 2031 12:00:00 GMT", want: "304"}}},
		{name: "of what just came", steps: []step{{ask: "GET / | If-None-Match: \"a\"", origin: stored.origin, want: "304"}, {want: "cache", body: "answer 1"}}},
	})
}

func TestRFC9111Section4_3_3HandlingValidationResponses(t *testing.T) {
	stored := step{origin: "200 | Cache-Control: max-age=1 | ETag: \"a\"", want: "origin"}
	play(t, []testCase{
		{name: "304", steps: []step{stored, {wait: 5 * sec, origin: "304 | ETag: \"a\" | Cache-Control: max-age=60", want: "valid", body: "answer 1", fields: "Cache-Status: banyan; fwd=stale; fwd-status=304; stored; ttl=60"}, {wait: sec, want: "cache", fields: "Age: 1"}}},
		{name: "200 takes its place", steps: []step{stored, {wait: 5 * sec, origin: "200 | ETag: \"b\" | Cache-Control: max-age=60", want: "origin", body: "answer 2"}, {want: "cache", body: "answer 2"}}},
		{name: "200 that is not for storing ends the old", steps: []step{stored, {wait: 5 * sec, origin: "200 | Cache-Control: no-store", want: "origin", body: "answer 2"},
			{ask: "GET / | Cache-Control: max-stale", want: "origin", body: "answer 3"}}},
		{name: "5xx is passed on", steps: []step{stored, {wait: 5 * sec, origin: "503", want: "503"}, {origin: "304 | ETag: \"a\"", want: "valid", body: "answer 1"}}},
		{name: "the client's own condition after a 304", steps: []step{stored, {wait: 5 * sec, ask: "GET / | If-None-Match: \"a\"", origin: "304 | ETag: \"a\"", want: "304"}}},
	})
}

func TestRFC9111Section4_3_4Freshening(t *testing.T) {
	g := newRig(t, Rules{})
	g.origin = g.answer("200 | Cache-Control: max-age=1 | ETag: \"a\"")
	g.do("GET /")
	g.advance(5 * sec)
	g.origin = func(w httpWriter, r *httpRequest) {
		if r.Header.Get("If-None-Match") != "" {
			g.answer("304 | ETag: \"other\"")(w, r) // about what was not asked for
			return
		}
		g.answer("200 | Cache-Control: max-age=60 | ETag: \"b\"")(w, r)
	}
	g.playStep(1, step{want: "200", body: "answer 3"})
	if g.count() != 3 {
		t.Errorf("origin asked %d times, want 3: once more without condition", g.count())
	}
}

func TestRFC9111Section4_3_5FresheningWithHEAD(t *testing.T) {
	stored := step{origin: "200 | Cache-Control: max-age=10 | ETag: \"a\" | X-A: 1", want: "origin"}
	play(t, []testCase{
		{name: "freshens", steps: []step{stored, {wait: 20 * sec, ask: "HEAD /", origin: "200 | Cache-Control: max-age=60 | ETag: \"a\" | X-A: 2 | Content-Length: 8", want: "origin"}, {want: "cache", body: "answer 1", fields: "X-A: 2"}}},
		{name: "another tag ends it", steps: []step{stored, {ask: "HEAD / | Cache-Control: no-cache", origin: "200 | ETag: \"b\" | Content-Length: 8", want: "origin"}, {want: "origin"}}},
		{name: "another length ends it", steps: []step{stored, {ask: "HEAD / | Cache-Control: no-cache", origin: "200 | ETag: \"a\" | Content-Length: 9", want: "origin"}, {want: "origin"}}},
		{name: "404 says nothing", steps: []step{stored, {ask: "HEAD / | Cache-Control: no-cache", origin: "404", want: "404"}, {want: "cache"}}},
	})
}

func TestRFC9213TargetedCacheControl(t *testing.T) {
	play(t, []testCase{
		reuse("lifetime", "200 | CDN-Cache-Control: max-age=60", "cache"),
		reuse("over Cache-Control", "200 | CDN-Cache-Control: max-age=60 | Cache-Control: no-store", "cache"),
		reuse("over Expires", "200 | CDN-Cache-Control: max-age=0 | Expires: $600s", "origin"),
		reuse("no-store", "200 | CDN-Cache-Control: no-store | Cache-Control: max-age=60", "origin"),
		reuse("private", "200 | CDN-Cache-Control: private, max-age=60 | Cache-Control: max-age=60", "origin"),
		reuse("malformed is ignored", "200 | CDN-Cache-Control: max-age=60, | Cache-Control: max-age=60", "cache"),
		reuse("malformed does not permit", "200 | CDN-Cache-Control: max-age=60; =1 | Cache-Control: no-store", "origin"),
		reuse("empty is ignored", "200 | CDN-Cache-Control: | Cache-Control: max-age=60", "cache"),
		reuse("capitals are malformed", "200 | CDN-Cache-Control: Max-Age=60 | Cache-Control: no-store", "origin"),
		reuse("a string is no lifetime", "200 | CDN-Cache-Control: max-age=\"60\"", "origin"),
		reuse("a decimal is no lifetime", "200 | CDN-Cache-Control: max-age=60.0", "origin"),
		reuse("negative", "200 | CDN-Cache-Control: max-age=-60", "origin"),
		reuse("parameters are ignored", "200 | CDN-Cache-Control: max-age=60;a=b", "cache"),
		reuse("the last of two", "200 | CDN-Cache-Control: max-age=0, max-age=60", "cache"),
		reuse("false", "200 | CDN-Cache-Control: no-store=?0, max-age=60", "cache"),
		reuse("this cache's own first", "200 | Banyan-Cache-Control: max-age=60 | CDN-Cache-Control: no-store", "cache"),
		reuse("unknown directive", "200 | CDN-Cache-Control: max-age=60, foo=(a b);c", "cache"),
	})
}

func TestRFC9211CacheStatus(t *testing.T) {
	play(t, []testCase{{name: "members", steps: []step{
		{origin: "200 | Cache-Control: max-age=60 | Vary: Foo", want: "origin", fields: "Cache-Status: banyan; fwd=uri-miss; fwd-status=200; stored; ttl=60"},
		{wait: sec, want: "cache", fields: "Cache-Status: banyan; hit; ttl=59"},
		{ask: "GET / | Foo: 1", want: "origin", fields: "Cache-Status: banyan; fwd=vary-miss; fwd-status=200; stored; ttl=60"},
		{ask: "GET /b", origin: "200 | Cache-Status: inner; hit | Cache-Control: no-store", want: "origin", fields: "Cache-Status: inner; hit, banyan; fwd=uri-miss; fwd-status=200; detail=no-store"},
		{ask: "OPTIONS /b", origin: "204", want: "origin", fields: "Cache-Status: banyan; fwd=method; fwd-status=204"},
	}}})
}
