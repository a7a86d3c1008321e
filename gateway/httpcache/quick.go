package httpcache

import "net/http"

// Found is a fresh answer in memory, which Serve would give as it is.
type Found struct{ x exchange }

// rareDraw is below all but one in a billion draws: an answer that it would have refreshed early is left to Serve.
const rareDraw = 1e-9

// Find returns the answer to a request where that is fresh and in memory, so that nothing has to be prepared that only
// asking the origin needs; nil otherwise, and then nothing was counted. r is the request as the client sent it: rewritten
// tells of which fields the one given to Serve has, or may have, other values; an answer that depends on one is not found.
func (z *Zone) Find(r *http.Request, rewritten func(name string) bool) *Found {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.ContentLength != 0 || len(r.Header["Upgrade"]) > 0 || len(r.Header["Expect"]) > 0 {
		return nil
	}
	for _, name := range z.rules.Key.Headers {
		if rewritten(name) {
			return nil
		}
	}
	f := &Found{x: exchange{z: z, r: r, now: z.cache.now(), req: noDirectives()}}
	x := &f.x
	if len(r.Header["Cache-Control"]) > 0 || len(r.Header["Pragma"]) > 0 {
		x.req = parseRequestDirectives(r.Header)
	}
	x.resource = z.rules.Key.appendResource(x.keyBuf[:0], r.Host, r.URL)
	x.parts = z.rules.Key.appendParts(x.partsBuf[:0], r.Header)
	x.stored, x.all = z.cache.store.pick(x.resource, x.parts, r.Header)
	if x.stored == nil || x.stored.decide(&x.req, x.now, rareDraw) != useFresh {
		return nil
	}
	for _, o := range x.all {
		for _, name := range o.names {
			if rewritten(name) {
				return nil
			}
		}
	}
	return f
}

// Serve answers with what was found, once.
func (f *Found) Serve(w http.ResponseWriter) Result {
	f.x.w = w
	return f.x.hit(&f.x.z.hits, "")
}
