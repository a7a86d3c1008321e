package httpcache

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

type (
	httpWriter  = http.ResponseWriter
	httpRequest = http.Request
)

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

func TestRFC9111Section4_2_1FreshnessLifetime(t *testing.T) {
	play(t, []testCase{
		reuse("s-maxage over max-age", "200 | Cache-Control: max-age=0, s-maxage=60", "cache"),
		reuse("s-maxage of 0 over max-age", "200 | Cache-Control: max-age=60, s-maxage=0", "origin"),
		reuse("max-age over Expires", "200 | Cache-Control: max-age=60 | Expires: $-60s", "cache"),
		reuse("max-age of 0 over Expires", "200 | Cache-Control: max-age=0 | Expires: $60s", "origin"),
		reuse("Expires by Date, both fast", "200 | Date: $3600s | Expires: $3660s", "cache"),
		reuse("Expires before Date", "200 | Date: $0s | Expires: $-1s", "origin"),
		reuse("max-age no number", "200 | Cache-Control: max-age=soon", "origin"),
		reuse("max-age negative", "200 | Cache-Control: max-age=-60", "origin"),
		reuse("max-age decimal", "200 | Cache-Control: max-age=60.5", "origin"),
		reuse("max-age empty", "200 | Cache-Control: max-age", "origin"),
		reuse("max-age in quotes", "200 | Cache-Control: max-age=\"60\"", "cache"),
		reuse("max-age in single quotes", "200 | Cache-Control: max-age='60'", "origin"),
		reuse("max-age with zeros", "200 | Cache-Control: max-age=000060", "cache"),
		reuse("max-age beyond 2^31", "200 | Cache-Control: max-age=99999999999999999999", "cache"),
		reuse("max-age after a space", "200 | Cache-Control: max-age= 60", "origin"),
		reuse("max-age before a space", "200 | Cache-Control: max-age =60", "origin"),
		reuse("max-age twice, different", "200 | Cache-Control: max-age=60, max-age=600", "origin"),
		reuse("max-age twice, the same", "200 | Cache-Control: max-age=60 | Cache-Control: max-age=60", "cache"),
		reuse("max-age in capitals", "200 | Cache-Control: MaX-aGe=60", "cache"),
		reuse("max-age inside a quoted string", "200 | Cache-Control: ext=\"a, max-age=60\"", "origin"),
		reuse("no-store inside a quoted string", "200 | Cache-Control: ext=\"no-store\", max-age=60", "cache"),
		reuse("no-store behind a quote that does not end", "200 | Cache-Control: max-age=60, ext=\"a, no-store", "origin"),
		reuse("commas alone", "200 | Cache-Control: ,,, max-age=60 ,,", "cache"),
		reuse("no-store with an argument", "200 | Cache-Control: max-age=60, no-store=1", "origin"),
		reuse("junk behind no-store", "200 | Cache-Control: max-age=60, no-store junk", "origin"),
		reuse("semicolons are no commas", "200 | Cache-Control: max-age=60; no-store", "origin"),
	})
}

func TestRFC9111Section4_2_2HeuristicFreshness(t *testing.T) {
	old := func(status string) string { return status + " | Last-Modified: $-864000s" } // ten days
	heuristic := Rules{Heuristic: true}
	var cases []testCase
	for _, status := range []string{"200", "203", "204", "301", "308", "404", "405", "410", "414", "501"} {
		cases = append(cases, testCase{name: status, rules: heuristic, steps: []step{{origin: old(status), want: "origin"}, {wait: time.Hour, want: "cache"}}})
	}
	for _, status := range []string{"201", "302", "307", "400", "403", "500", "502", "503", "504", "599"} {
		cases = append(cases, testCase{name: status + " not", rules: heuristic, steps: []step{{origin: old(status), want: "origin"}, {wait: time.Hour, want: "origin"}}})
	}
	cases = append(cases,
		testCase{name: "a tenth", rules: heuristic, steps: []step{{origin: "200 | Last-Modified: $-1000s", want: "origin"}, {wait: 99 * time.Second, want: "cache"}, {wait: 2 * time.Second, origin: "304", want: "valid"}}},
		testCase{name: "a day at most", rules: heuristic, steps: []step{{origin: "200 | Last-Modified: $-86400000s", want: "origin"}, {wait: 23 * time.Hour, want: "cache"}, {wait: 2 * time.Hour, want: "origin"}}},
		testCase{name: "public makes any status do", rules: heuristic, steps: []step{{origin: "599 | Cache-Control: public | Last-Modified: $-864000s", want: "origin"}, {wait: time.Hour, want: "cache"}}},
		testCase{name: "not with an explicit lifetime", rules: heuristic, steps: []step{{origin: "200 | Cache-Control: max-age=1 | Last-Modified: $-864000s", want: "origin"}, {wait: time.Hour, want: "origin"}}},
		testCase{name: "off", steps: []step{{origin: old("200"), want: "origin"}, {want: "valid", origin: "304"}}},
		testCase{name: "the route's own lifetime", rules: Rules{TTL: time.Minute}, steps: []step{{origin: "200", want: "origin"}, {wait: 59 * time.Second, want: "cache"}, {wait: 2 * time.Second, want: "origin"}}},
	)
	play(t, cases)
}

func TestRFC9111Section4_2_3Age(t *testing.T) {
	play(t, []testCase{
		{name: "Age received", steps: []step{{origin: "200 | Cache-Control: max-age=60 | Age: 50", want: "origin"}, {wait: 9 * time.Second, want: "cache", fields: "Age: 59"}, {wait: time.Second, want: "origin"}}},
		{name: "apparent age", steps: []step{{origin: "200 | Cache-Control: max-age=60 | Date: $-50s", want: "origin"}, {wait: 9 * time.Second, want: "cache", fields: "Age: 59"}, {wait: time.Second, want: "origin"}}},
		{name: "the greater of both", steps: []step{{origin: "200 | Cache-Control: max-age=60 | Date: $-10s | Age: 30", want: "origin"}, {want: "cache", fields: "Age: 30"}}},
		{name: "a clock ahead", steps: []step{{origin: "200 | Cache-Control: max-age=60 | Date: $3600s", want: "origin"}, {wait: 5 * time.Second, want: "cache", fields: "Age: 5"}}},
		reuse("older than its lifetime", "200 | Cache-Control: max-age=60 | Age: 60", "origin"),
	})
	t.Run("response delay", func(t *testing.T) {
		g := newRig(t, Rules{})
		g.origin = func(w httpWriter, r *httpRequest) {
			g.advance(5 * time.Second)
			g.answer("200 | Cache-Control: max-age=60 | Age: 10")(w, r)
		}
		g.do("GET /")
		g.playStep(1, step{want: "cache", fields: "Age: 15"})
	})
}

func TestRFC9111Section4_2_4ServingStaleResponses(t *testing.T) {
	down := "503 | body: down"
	stale := func(name, cc, ask, want string) testCase {
		return testCase{name: name, steps: []step{
			{origin: "200 | Cache-Control: " + cc, want: "origin"}, {wait: 10 * time.Second, ask: ask, origin: down, want: want}}}
	}
	play(t, []testCase{
		stale("not by itself", "max-age=1", "GET /", "503"),
		stale("max-stale", "max-age=1", "GET / | Cache-Control: max-stale=100", "cache"),
		stale("max-stale too short", "max-age=1", "GET / | Cache-Control: max-stale=5", "503"),
		stale("any max-stale", "max-age=1", "GET / | Cache-Control: max-stale", "cache"),
		stale("must-revalidate over max-stale", "max-age=1, must-revalidate", "GET / | Cache-Control: max-stale", "503"),
		stale("proxy-revalidate over max-stale", "max-age=1, proxy-revalidate", "GET / | Cache-Control: max-stale", "503"),
		stale("s-maxage over max-stale", "s-maxage=1", "GET / | Cache-Control: max-stale", "503"),
		stale("no-cache over max-stale", "no-cache, stale-if-error=100", "GET / | Cache-Control: max-stale", "503"),
	})
}

func TestRFC5861Section3StaleWhileRevalidate(t *testing.T) {
	for _, c := range []struct{ name, cc, want string }{
		{"within", "max-age=1, stale-while-revalidate=60", "cache"},
		{"beyond", "max-age=1, stale-while-revalidate=5", "origin"},
		{"must-revalidate", "max-age=1, must-revalidate, stale-while-revalidate=60", "origin"},
		{"s-maxage prohibits what is permitted beside it", "s-maxage=1, stale-while-revalidate=60", "origin"},
		{"proxy-revalidate does too", "max-age=1, proxy-revalidate, stale-while-revalidate=60", "origin"},
		{"a targeted field takes the place of s-maxage", "s-maxage=1 | CDN-Cache-Control: max-age=1, stale-while-revalidate=60", "cache"},
		{"malformed", "max-age=1, stale-while-revalidate=-1", "origin"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newRig(t, Rules{})
			g.origin = g.answer("200 | Cache-Control: " + c.cc)
			g.do("GET /")
			g.advance(10 * time.Second)
			body := readBody(t, g.do("GET /"))
			if fromCache := body == "answer 1"; fromCache != (c.want == "cache") {
				t.Fatalf("got %q, want it from %s", body, c.want)
			}
			g.settle()
			if g.count() != 2 {
				t.Fatalf("origin asked %d times, want 2", g.count())
			}
			g.playStep(2, step{want: "cache", body: "answer 2"})
		})
	}
	t.Run("the route's default", func(t *testing.T) {
		g := newRig(t, Rules{StaleWhileRevalidate: time.Minute})
		g.origin = g.answer("200 | Cache-Control: max-age=1")
		g.do("GET /")
		g.advance(10 * time.Second)
		if body := readBody(t, g.do("GET /")); body != "answer 1" {
			t.Errorf("got %q", body)
		}
		g.settle()
	})
}

func TestRFC5861Section4StaleIfError(t *testing.T) {
	c := func(name, cc, ask, status, want string) testCase {
		return testCase{name: name, steps: []step{
			{origin: "200 | Cache-Control: " + cc, want: "origin"}, {wait: 10 * time.Second, ask: ask, origin: status, want: want}}}
	}
	play(t, []testCase{
		c("503", "max-age=1, stale-if-error=60", "GET /", "503", "200"),
		c("500", "max-age=1, stale-if-error=60", "GET /", "500", "200"),
		c("502", "max-age=1, stale-if-error=60", "GET /", "502", "200"),
		c("504", "max-age=1, stale-if-error=60", "GET /", "504", "200"),
		c("404 is no error", "max-age=1, stale-if-error=60", "GET /", "404", "404"),
		c("501 is no error", "max-age=1, stale-if-error=60", "GET /", "501", "501"),
		c("too old", "max-age=1, stale-if-error=5", "GET /", "503", "503"),
		c("must-revalidate", "max-age=1, must-revalidate, stale-if-error=60", "GET /", "503", "503"),
		c("by the request", "max-age=1", "GET / | Cache-Control: stale-if-error=60", "503", "200"),
		{name: "the route's default", rules: Rules{StaleIfError: time.Minute}, steps: []step{
			{origin: "200 | Cache-Control: max-age=1", want: "origin"}, {wait: 10 * time.Second, origin: "503", want: "200", body: "answer 1",
				fields: "Cache-Status: banyan; fwd=stale; fwd-status=503; ttl=-9; detail=stale-if-error"}}},
		c("s-maxage", "s-maxage=1, stale-if-error=60", "GET /", "503", "503"),
		c("proxy-revalidate", "max-age=1, proxy-revalidate, stale-if-error=60", "GET /", "503", "503"),
		c("s-maxage over the request's", "s-maxage=1", "GET / | Cache-Control: stale-if-error=60", "503", "503"),
		c("a targeted field in place of s-maxage", "s-maxage=1 | CDN-Cache-Control: max-age=1, stale-if-error=60", "GET /", "503", "200"),
		{name: "the route's default yields to s-maxage", rules: Rules{StaleIfError: time.Minute}, steps: []step{
			{origin: "200 | Cache-Control: s-maxage=1", want: "origin"}, {wait: 10 * time.Second, origin: "503", want: "503"}}},
	})
}

func TestRFC9111Section5_1Age(t *testing.T) {
	play(t, []testCase{
		reuse("the first of a list, small", "200 | Cache-Control: max-age=60 | Age: 0, 7200", "cache"),
		reuse("the first of a list, large", "200 | Cache-Control: max-age=60 | Age: 7200, 0", "origin"),
		reuse("the first of two lines", "200 | Cache-Control: max-age=60 | Age: 7200 | Age: 0", "origin"),
		reuse("no number", "200 | Cache-Control: max-age=60 | Age: abc", "cache"),
		reuse("negative", "200 | Cache-Control: max-age=60 | Age: -7200", "cache"),
		reuse("decimal", "200 | Cache-Control: max-age=60 | Age: 7200.0", "cache"),
		reuse("beyond 2^31", "200 | Cache-Control: max-age=3600 | Age: 99999999999", "origin"),
	})
}

func TestRFC9111Section5_3Expires(t *testing.T) {
	expires := func(name, value, want string) testCase {
		return reuse(name, "200 | Expires: "+value, want)
	}
	play(t, []testCase{
		expires("in the future", "Thu, 06 May 2032 12:00:00 GMT", "cache"),
		expires("0", "0", "origin"),
		expires("RFC 850", "Thursday, 06-May-32 12:00:00 GMT", "cache"),
		expires("asctime", "Thu May  6 12:00:00 2032", "cache"),
		expires("lower case", "thu, 06 may 2032 12:00:00 gmt", "cache"),
		expires("UTC", "Thu, 06 May 2032 12:00:00 UTC", "cache"),
		expires("another zone", "Thu, 06 May 2032 12:00:00 AEST", "origin"),
		expires("an offset", "Thu, 06 May 2032 12:00:00 +0000", "origin"),
		expires("a short hour", "Thu, 06 May 2032 2:00:00 GMT", "origin"),
		expires("a wrong weekday", "Mon, 06 May 2032 12:00:00 GMT", "origin"),
		expires("two digits of the year", "Thu, 06 May 32 12:00:00 GMT", "origin"),
		expires("50 years ahead is past", "Saturday, 06-May-84 12:00:00 GMT", "origin"),
		expires("a space too many", "Thu,  06 May 2032 12:00:00 GMT", "origin"),
		reuse("twice, different", "200 | Expires: Thu, 06 May 2032 12:00:00 GMT | Expires: Fri, 06 May 2033 12:00:00 GMT", "origin"),
	})
}

func TestRFC9111Section5_4Pragma(t *testing.T) {
	play(t, []testCase{
		{name: "without Cache-Control", steps: []step{{origin: "200 | Cache-Control: max-age=60", want: "origin"}, {ask: "GET / | Pragma: no-cache", want: "origin"}}},
		{name: "Cache-Control wins", steps: []step{{origin: "200 | Cache-Control: max-age=60", want: "origin"}, {ask: "GET / | Pragma: no-cache | Cache-Control: max-stale=1", want: "cache"}}},
	})
}
