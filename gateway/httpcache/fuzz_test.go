package httpcache

import (
	"bytes"
	"crypto/sha256"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
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

// FuzzRange holds that parts lie within the body, do not overlap where any do, and that one part is what it was asked to be.
func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-5", "bytes=5-, 0-0,1-1", "bytes=0-0,0-9,-1", "items=0-1", "bytes=999999999999999999-", "bytes=,,1-2,"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, s string, size int64) {
		size = max(0, size)
		spans, ok := parseRange(s, size)
		if !ok {
			return
		}
		total := int64(0)
		for _, p := range spans {
			if p.from < 0 || p.from >= p.to || p.to > size {
				t.Fatalf("%q of %d: %v", s, size, spans)
			}
			total += p.to - p.from
		}
		if total > size {
			t.Fatalf("%q of %d: %v are more than there is", s, size, spans)
		}
		completeLength([]string{s})
	})
}

// FuzzTags holds that a list of entity tags matches a tag that was put into it, and that what is read as one is one.
func FuzzTags(f *testing.F) {
	f.Add(`"a", W/"b"`, `x`)
	f.Add(`*`, `W/`)
	f.Fuzz(func(t *testing.T, list, name string) {
		stored, rest, ok := parseETag(`"` + name + `"`)
		if tag, _, ok := parseETag(list); ok && (len(tag.opaque) < 2 || tag.opaque[0] != '"' || !strings.HasSuffix(tag.opaque, `"`)) {
			t.Fatalf("%q begins with the tag %q", list, tag.opaque)
		}
		if !ok || rest != "" {
			return
		}
		if noneMatch([]string{stored.opaque + ", " + list}, stored) || noneMatch([]string{list, stored.opaque}, stored) {
			t.Fatalf("%q beside %q is not found", stored.opaque, list)
		}
		notModified(http.Header{"If-None-Match": {list}}, http.Header{"Etag": {name}}, stored, epoch)
	})
}

// FuzzFreshness holds that an answer's age never falls as time goes by, and that what is stale is never fresh again.
func FuzzFreshness(f *testing.F) {
	f.Add("Tue, 06 May 2031 12:00:00 GMT", "Tue, 06 May 2031 13:00:00 GMT", "7", "max-age=60", "max-stale=5")
	f.Add("Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "99999999999", "s-maxage=99999999999, stale-while-revalidate=99999999999", "min-fresh=99999999999")
	f.Add("Tuesday, 06-May-31 12:00:00 GMT", "Tue May  6 12:00:00 2031", "1, 2", "public", "max-stale")
	f.Fuzz(func(t *testing.T, date, other, age, control, asks string) {
		h := http.Header{"Date": {date}, "Expires": {other}, "Last-Modified": {other}, "Age": {age}, "Cache-Control": {control}}
		rules := Rules{Heuristic: true}
		req := parseRequestDirectives(http.Header{"Cache-Control": {asks}})
		for _, h := range []http.Header{h, {"Date": {date}, "Last-Modified": {other}, "Age": {age}}, {"Date": {date}, "Expires": {other}}} {
			fresh := rules.assess(200, h, epoch, epoch.Add(time.Second))
			before, stale := time.Duration(0), false
			for _, later := range []time.Duration{time.Second, 2 * time.Second, time.Minute, time.Hour, 1000 * time.Hour, 90 * 365 * 24 * time.Hour} {
				now := epoch.Add(later)
				if got := fresh.age(now); got < before {
					t.Fatalf("%v: after %v it is %v old, and was %v", h, later, got, before)
				} else {
					before = got
				}
				what := fresh.decide(&req, now, 1)
				if stale && what == useFresh {
					t.Fatalf("%v: after %v it is fresh, and was stale", h, later)
				}
				stale = stale || fresh.lifetime <= before
				if stale && what == useFresh {
					t.Fatalf("%v: after %v it is %v old, lives for %v, and is fresh", h, later, before, fresh.lifetime)
				}
				fresh.mayServeOnError(&req, now)
			}
		}
	})
}

// FuzzTargeted holds that a dictionary that is read is read the same when it is written by its own rules.
func FuzzTargeted(f *testing.F) {
	for _, s := range []string{"max-age=60, no-store", `a="b\"c";x=1, b=?0, c=:YQ==:, d=(1 2);y, e=1.5`, "max-age=-1", "*a=tok/en:x", "a=?2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		members, err := parseDictionary(s)
		if err != nil {
			return
		}
		var text []string
		for _, m := range members {
			switch m.kind {
			case sfTrue:
				text = append(text, m.key)
			case sfFalse:
				text = append(text, m.key+"=?0")
			case sfString:
				text = append(text, m.key+`="`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(m.text)+`"`)
			case sfOther:
				text = append(text, m.key+"=()")
			default:
				text = append(text, m.key+"="+m.text)
			}
		}
		again, err := parseDictionary(strings.Join(text, ", "))
		if err != nil || !reflect.DeepEqual(members, again) {
			t.Fatalf("%q is %v; written and read again %v, %v", s, members, again, err)
		}
		parseTargeted([]string{s})
	})
}

// FuzzDisk holds that what is read from a file is what would be written, whatever is in it.
func FuzzDisk(f *testing.F) {
	o := newObject("h/", "p", http.Header{"Foo": {"a"}}, 200, http.Header{"Vary": {"Foo"}, "Etag": {`"x"`}}, []byte("body"), freshness{received: epoch, lifetime: time.Hour})
	b, err := encode(o)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(sealed(b[:40]))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, sealed(b)} {
			o, ok := decode(b)
			if !ok {
				continue
			}
			again, err := encode(o)
			if err != nil {
				continue
			}
			p, ok := decode(again)
			if !ok || p.resource != o.resource || p.status != o.status || !bytes.Equal(p.body, o.body) || p.variant() != o.variant() {
				t.Fatalf("%q became %+v", b, p)
			}
			o.decide(&directives{maxAge: absent, minFresh: absent, maxStale: absent}, epoch, 0.5)
		}
	})
}

// sealed makes bytes a file's content with the right checksum, for parsers behind it.
func sealed(b []byte) []byte {
	content := append([]byte(diskMagic), b...)
	sum := sha256.Sum256(content)
	return append(content, sum[:]...)
}
