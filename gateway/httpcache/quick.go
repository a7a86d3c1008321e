package httpcache

import (
	"net/http"
	"slices"
)

// Found is a fresh answer in memory, which Serve would give as it is. It can be used for one Find after the other.
type Found struct{ x exchange }

// rareDraw is below all but one in a billion draws: an answer that it would have refreshed early is left to Serve.
const rareDraw = 1e-9

// Find looks for the answer to a request where that is fresh and in memory, so that nothing has to be prepared that only
// asking the origin needs; false where there is none, and then nothing was counted. r is the request as the client sent
// it, and is not used any more once f has answered: rewritten tells of which fields the one given to Serve has, or may
// have, other values; an answer that depends on one is not found.
func (z *Zone) Find(f *Found, r *http.Request, rewritten func(name string) bool) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.ContentLength != 0 || len(r.Header["Upgrade"]) > 0 || len(r.Header["Expect"]) > 0 {
		return false
	}
	for _, name := range z.rules.Key.Headers {
		if rewritten(name) {
			return false
		}
	}
	f.x = exchange{z: z, r: r, now: z.cache.now(), req: noDirectives()}
	x := &f.x
	if len(r.Header["Cache-Control"]) > 0 || len(r.Header["Pragma"]) > 0 {
		x.req = parseRequestDirectives(r.Header)
	}
	x.resource = z.rules.Key.appendResource(x.keyBuf[:0], r.Host, r.URL)
	x.parts = z.rules.Key.appendParts(x.partsBuf[:0], r.Header)
	x.stored, x.all = z.cache.store.pick(x.resource, x.parts, r.Header)
	if x.stored == nil || x.stored.decide(&x.req, x.now, rareDraw) != useFresh {
		return false
	}
	for _, o := range x.all {
		for _, name := range o.names {
			if rewritten(name) {
				return false
			}
		}
	}
	return true
}

// Serve answers with what was found, once.
func (f *Found) Serve(w http.ResponseWriter) Result {
	f.x.w = w
	return f.x.hit(&f.x.z.hits, "")
}

// Whole returns the status of the answer, and whether it is all of what is stored, rather than a part of it, or that the
// client has it already: then Append may be called instead of Serve.
func (f *Found) Whole() (status int, whole bool) {
	h := f.x.r.Header
	return f.x.stored.status, bodyAllowed(f.x.stored.status) && len(h["If-None-Match"])+len(h["If-Modified-Since"])+len(h["Range"]) == 0
}

// Append is Serve for who writes HTTP/1.1 himself. It appends the answer's fields to b as lines, and returns them with the
// body, which must not be changed; dated is whether a Date is among them.
func (f *Found) Append(b []byte) (fields, body []byte, dated bool) {
	x, o := &f.x, f.x.stored
	x.z.hits.Add(1)
	o.Touch()
	b = append(b, o.lines()...)
	b = append(b, "Age: "...)
	b = append(b, seconds(o.fresh.age(x.now))...)
	b = append(b, "\r\nCache-Status: "...)
	for _, prior := range o.header["Cache-Status"] {
		b = append(append(b, prior...), ", "...)
	}
	b = append(append(b, x.z.cache.cfg.Name...), "; "...)
	b = append(b, hitStatus{ttl: o.left(x.now)}.write()...)
	b = append(b, "\r\nContent-Length: "...)
	b = append(append(b, itoa(int64(len(o.body)))...), "\r\n"...)
	if x.r.Method != http.MethodHead {
		body = o.body
		x.z.served.Add(int64(len(body)))
	}
	return b, body, len(o.header["Date"]) > 0
}

// lines are the object's fields as they stand in an answer, but for those that are other in each.
func (o *object) lines() []byte {
	if l := o.written.Load(); l != nil {
		return *l
	}
	var b []byte
	for _, key := range sortedFields(o.header) {
		if key == "Age" || key == "Cache-Status" || key == "Content-Length" {
			continue
		}
		for _, v := range o.header[key] {
			b = append(append(append(append(b, key...), ": "...), v...), "\r\n"...)
		}
	}
	b = slices.Clip(b)
	o.written.Store(&b)
	return b
}

func sortedFields(h http.Header) []string {
	keys := make([]string, 0, len(h))
	for key := range h {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
