package httpcache

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/policy"
)

// object is one stored answer. It does not change: what freshens it makes another that shares its body.
type object struct {
	policy.Cached

	resource string // host, path and query
	parts    string // values of the key's headers and cookies
	names    []string
	values   []string // the request's values of the fields in names

	status int
	header http.Header
	body   []byte
	tag    etag
	fresh  freshness
	tags   []string // by which it can be purged
	route  *Zone

	written atomic.Pointer[[]byte] // what lines returns, once that was asked for

	expired bool // purged softly: stale, whatever its lifetime says
}

const (
	objectOverhead = 700 // bytes of memory beside the body and the fields' text, measured roughly
	maxTags        = 64
)

// newObject makes an object of an answer, whose header is already that which is stored.
func newObject(resource, parts string, req http.Header, status int, h http.Header, body []byte, f freshness) *object {
	o := &object{resource: resource, parts: parts, status: status, header: h, body: body, fresh: f, tag: etagOf(h)}
	o.names, _ = varyNames(h["Vary"])
	o.values = varyValues(o.names, req)
	o.tags = tagsOf(h)
	o.weigh()
	return o
}

func (o *object) weigh() {
	n := objectOverhead + len(o.body) + 2*len(o.resource) + len(o.parts)
	for key, values := range o.header {
		n += len(key) + 64
		for _, v := range values {
			n += len(v) + 16 + len(key) + len(v) + 4 // the second time in lines
		}
	}
	for _, v := range o.values {
		n += len(v) + 16
	}
	o.Size = int64(n)
	o.Key = policy.HashString(o.resource + "\x00" + o.parts + "\x00" + strings.Join(o.values, "\x00"))
	o.Owner = o
}

// tagsOf reads what an answer may be purged by: Cache-Tag (commas) and Surrogate-Key (spaces).
func tagsOf(h http.Header) []string {
	var tags []string
	eachToken(h["Cache-Tag"], func(t string) { tags = append(tags, t) })
	for _, line := range h["Surrogate-Key"] {
		tags = append(tags, strings.Fields(line)...)
	}
	slices.Sort(tags)
	tags = slices.Compact(tags)
	return tags[:min(len(tags), maxTags)]
}

// matches reports whether the object was stored for requests such as this one (RFC 9111, 4.1).
func (o *object) matches(parts []byte, h http.Header) bool {
	if o.parts != string(parts) {
		return false
	}
	for i, name := range o.names {
		if normalised(name, h[name]) != o.values[i] {
			return false
		}
	}
	return true
}

// sameVariant reports whether two objects are chosen by the same requests, so that one replaces the other.
func (o *object) sameVariant(p *object) bool {
	return o.parts == p.parts && slices.Equal(o.names, p.names) && slices.Equal(o.values, p.values)
}

// newest returns the one whose Date is the most recent (RFC 9111, 4.1), or that came last.
func newest(a, b *object) *object {
	if a == nil || b.fresh.date.After(a.fresh.date) || b.fresh.date.Equal(a.fresh.date) && b.fresh.received.After(a.fresh.received) {
		return b
	}
	return a
}

// left is for how long it is still fresh.
func (o *object) left(now time.Time) time.Duration {
	if o.expired {
		return 0
	}
	return o.fresh.lifetime - o.fresh.age(now)
}

// decide is what may be done with it for a request. One that was purged softly is stale from then on.
func (o *object) decide(req *directives, now time.Time, random float64) use {
	f := o.fresh
	if o.expired {
		f.lifetime = min(f.lifetime, f.age(now))
	}
	return f.decide(req, now, random)
}

// replace makes the object that takes its place, with other fields and the same body.
func (o *object) replace(h http.Header, f freshness) *object {
	n := &object{resource: o.resource, parts: o.parts, names: o.names, values: o.values, status: o.status, header: h, body: o.body,
		fresh: f, tag: etagOf(h), tags: tagsOf(h), route: o.route}
	n.weigh()
	return n
}
