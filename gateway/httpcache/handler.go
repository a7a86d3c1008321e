package httpcache

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Result says how a request was answered.
type Result struct {
	// Status that was answered; 0 if nothing was written, so that the caller still can. Err says why then.
	Status int
	// Err is ErrIncomplete where the answer broke off, the cause of the request's context where that ended first, what the
	// fetch returned where its answer was passed on.
	Err error
	// Fetched is whether this request's own fetch was answered to the client: what the caller knows of it holds.
	Fetched bool
}

// ErrClient means that the client does not take its answer.
var ErrClient = errors.New("httpcache: the client does not take its answer")

// exchange is one request and its answer.
type exchange struct {
	z     *Zone
	w     http.ResponseWriter
	r     *http.Request
	fetch Fetch
	req   directives
	now   time.Time

	resource, parts []byte
	keyBuf          [256]byte
	partsBuf        [64]byte
	stored          *object // that the request selects
	all             []*object
}

// Serve answers a request from the store, or by fetch. What has no business in a cache (upgrades, requests with a body,
// methods other than GET and HEAD) is fetched; what is unsafe invalidates (see Invalidating).
func (z *Zone) Serve(w http.ResponseWriter, r *http.Request, fetch Fetch) Result {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return z.pass(z.cache.Invalidating(w, r), r, fetch, "method")
	case r.ContentLength != 0 && r.Body != nil && r.Body != http.NoBody || len(r.Header["Upgrade"]) > 0 || len(r.Header["Expect"]) > 0:
		return z.pass(w, r, fetch, "bypass")
	}
	x := &exchange{z: z, w: w, r: r, fetch: fetch, now: z.cache.now(), req: noDirectives()}
	if len(r.Header["Cache-Control"]) > 0 || len(r.Header["Pragma"]) > 0 {
		x.req = parseRequestDirectives(r.Header)
	}
	x.resource = z.rules.Key.appendResource(x.keyBuf[:0], r.Host, r.URL)
	x.parts = z.rules.Key.appendParts(x.partsBuf[:0], r.Header)
	x.look()
	if x.stored == nil {
		return x.miss()
	}
	switch x.stored.decide(&x.req, x.now, z.cache.cfg.Random()) {
	case useFresh:
		return x.hit(&z.hits, "")
	case useStale:
		return x.hit(&z.stale, "")
	case useRefresh:
		counter := &z.hits
		if x.stored.left(x.now) <= 0 {
			counter = &z.stale
		}
		x.refresh(x.stored)
		return x.hit(counter, "")
	}
	if x.req.onlyIfCached {
		return x.gatewayTimeout()
	}
	return x.ask("stale")
}

// Passing returns a writer for the answer to a request that the cache has no part in, but for what Invalidating does.
func (z *Zone) Passing(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	z.passed.Add(1)
	return &signer{ResponseWriter: z.cache.Invalidating(w, r), cache: z.cache, why: "method"}
}

// look finds what is stored for the request, in memory or on disk.
func (x *exchange) look() {
	c := x.z.cache
	x.stored, x.all = c.store.pick(x.resource, x.parts, x.r.Header)
	if x.stored == nil && c.disk != nil && c.disk.load(x.resource, x.parts, x.r.Header, func(o *object) {
		o.route = x.z
		c.store.put(o)
	}) {
		x.stored, x.all = c.store.pick(x.resource, x.parts, x.r.Header)
	}
}

// hit answers from the store.
func (x *exchange) hit(counter counter, detail string) Result {
	counter.Add(1)
	x.stored.Touch()
	return x.deliver(x.stored, hitStatus{ttl: x.stored.left(x.now), detail: detail})
}

func (x *exchange) miss() Result {
	if x.req.onlyIfCached {
		return x.gatewayTimeout()
	}
	why := "uri-miss"
	if len(x.all) > 0 {
		why = "vary-miss"
	}
	if len(x.r.Header["Range"]) > 0 && x.r.Method == http.MethodGet {
		return x.passRange(why)
	}
	return x.ask(why)
}

// gatewayTimeout refuses what may only be answered from the store and cannot be (RFC 9111, 5.2.1.7).
func (x *exchange) gatewayTimeout() Result {
	x.z.misses.Add(1)
	h := x.w.Header()
	h["Cache-Status"] = []string{x.z.cache.cfg.Name + "; detail=only-if-cached"}
	h["Content-Length"] = []string{"0"}
	h["Cache-Control"] = []string{"no-store"}
	x.w.WriteHeader(http.StatusGatewayTimeout)
	return Result{Status: http.StatusGatewayTimeout}
}

// pass fetches without looking at the store.
func (z *Zone) pass(w http.ResponseWriter, r *http.Request, fetch Fetch, why string) Result {
	z.passed.Add(1)
	t := &signer{ResponseWriter: w, cache: z.cache, why: why}
	err := fetch(t, r)
	return Result{Status: t.status, Err: err, Fetched: true}
}

// passRange passes on a request for a part of what is not stored. Where the answer says that the whole may be stored and
// is not too large, the whole is fetched behind the client's back.
func (x *exchange) passRange(why string) Result {
	x.z.misses.Add(1)
	t := &signer{ResponseWriter: x.w, cache: x.z.cache, why: why}
	began := x.z.cache.now()
	t.onHead = func(code int, h http.Header) {
		if code != http.StatusPartialContent || x.req.noStore {
			return
		}
		f := x.z.rules.assess(http.StatusOK, h, began, x.z.cache.now())
		size, ok := completeLength(h["Content-Range"])
		if ok && size <= x.z.rules.MaxObject && x.z.rules.storable(&x.req, len(x.r.Header["Authorization"]) > 0, http.StatusOK, h, &f) == stored {
			x.refresh(nil)
		}
	}
	err := x.fetch(t, x.r)
	return Result{Status: t.status, Err: err, Fetched: true}
}

// maxTurns is how often a request waits for others' flights before it goes alone.
const maxTurns = 3

// ask gets an answer from the origin: by a flight of its own, or one that is under way.
func (x *exchange) ask(why string) Result {
	c := x.z.cache
	for turn := 0; ; turn++ {
		f := x.flight()
		if !x.shareable() || turn >= maxTurns || c.store.marked(x.resource, x.now) {
			f.key = ""
		}
		f.leader = x.w
		in, rd, found, err := c.join(f, x.mayJoin, x.fresh)
		if err != nil {
			return Result{Err: err}
		}
		if found != nil {
			x.stored = found
			return x.hit(&x.z.hits, "")
		}
		lead := in == f
		if lead {
			x.z.misses.Add(1)
			c.launch(f, x.outgoing(f), x.fetch, false)
		}
		res, again := x.attend(in, rd, lead, why)
		if !again {
			return res
		}
		x.now = c.now()
		x.look()
		if x.stored != nil {
			if u := x.stored.decide(&x.req, x.now, 1); u != useValidate {
				return x.hit(&x.z.hits, "")
			}
		}
	}
}

// fresh returns a stored answer that came while the request was on its way here.
func (x *exchange) fresh() *object {
	o, _ := x.z.cache.store.pick(x.resource, x.parts, x.r.Header)
	if o == nil || o.decide(&x.req, x.now, 1) == useValidate {
		return nil
	}
	return o
}

// shareable reports whether the request may wait for another's answer: it wants nothing special.
func (x *exchange) shareable() bool {
	return x.r.Method == http.MethodGet && !x.req.noStore && !x.req.noCache && x.req.maxAge == absent && x.req.minFresh == absent
}

// mayJoin reports whether a flight's answer may serve this request, as far as that is known. The flight is locked.
func (x *exchange) mayJoin(f *flight) bool {
	if f.doomed || f.overflow {
		return false
	}
	switch f.phase {
	case waiting:
		return !f.over
	case filling:
		return x.usable(f)
	}
	return false
}

// usable reports whether the answer that a flight brings may be used for this request as if it were stored already.
func (x *exchange) usable(f *flight) bool {
	names, ok := varyNames(f.kept["Vary"])
	if !ok || f.fresh.decide(&x.req, x.now, 1) == useValidate {
		return false
	}
	for _, name := range names {
		if normalised(name, f.request[name]) != normalised(name, x.r.Header[name]) {
			return false
		}
	}
	return true
}

// flight prepares a flight for the request.
func (x *exchange) flight() *flight {
	f := &flight{
		z: x.z, resource: string(x.resource), parts: string(x.parts), request: x.r.Header, req: x.req,
		done: make(chan struct{}), wake: make(chan struct{}), readers: map[*reader]struct{}{},
		head: x.r.Method == http.MethodHead, fallback: x.stored,
	}
	if !f.head {
		f.key = flightKey(x.resource, x.parts, x.all, x.r.Header)
		if x.stored != nil && validates(x.stored.header) {
			f.stale = x.stored
		}
	}
	return f
}

// outgoing is the request to the origin: without the client's conditions, for its answer is to be stored, and with those
// of what is stored. Where answers have lately not been for storing, the client's own conditions stay.
func (x *exchange) outgoing(f *flight) *http.Request {
	r := *x.r
	r.Header = x.r.Header.Clone()
	if f.stale != nil || !x.z.cache.store.marked(x.resource, x.now) {
		unconditional(r.Header)
	}
	if f.stale != nil {
		condition(r.Header, []*object{f.stale})
	}
	r.Body = http.NoBody
	return &r
}

// refresh fetches behind the client's back, once at a time for each key, and only as many as the bound allows.
func (x *exchange) refresh(stale *object) {
	c := x.z.cache
	c.mu.Lock()
	ok := !c.closed && c.inBack < c.cfg.MaxBackground
	if ok {
		c.inBack++
	}
	c.mu.Unlock()
	if !ok {
		return
	}
	b := &exchange{z: x.z, r: x.r, fetch: x.fetch, req: noDirectives(), now: x.now, resource: x.resource, parts: x.parts, stored: stale, all: x.all}
	if b.r.Method != http.MethodGet {
		get := *b.r
		get.Method = http.MethodGet
		b.r = &get
	}
	f := b.flight()
	in, rd, _, err := c.join(f, func(*flight) bool { return true }, func() *object { return nil })
	if err != nil || in != f || f.key == "" {
		if in != nil {
			in.mu.Lock()
			delete(in.readers, rd)
			in.changed()
			in.mu.Unlock()
		}
		c.mu.Lock()
		c.inBack--
		c.mu.Unlock()
		return
	}
	x.z.background.Add(1)
	out := b.outgoing(f)
	unconditional(out.Header)
	if f.stale != nil {
		condition(out.Header, []*object{f.stale})
	}
	c.launch(f, out, x.fetch, true)
	f.leave(rd)
}

// attend waits for a flight and answers by it. again says that its answer is not for this request.
func (x *exchange) attend(f *flight, rd *reader, lead bool, why string) (res Result, again bool) {
	ctx := x.r.Context()
	defer f.leave(rd)
	if err := f.await(ctx, func() bool { return f.phase != waiting || f.over && f.err != errAgain }); err != nil {
		return Result{Err: err}, false
	}
	f.mu.Lock()
	phase, status, whyNot, object, onError := f.phase, f.status, f.why, f.result, f.onError
	f.mu.Unlock()
	switch {
	case phase == passing && lead:
		return x.attendPassing(ctx, f, status)
	case phase == standing:
		x.count(f, lead, onError)
		return x.deliver(object, hitStatus{ttl: object.left(x.now), forward: forward(why, f.status, !onError && !f.doomed, !lead), detail: onErrorDetail(onError)}), false
	case phase == filling && (lead || x.joined(f)):
		x.count(f, lead, false)
		return x.stream(ctx, f, rd, lead, forward(why, status, whyNot == stored, !lead)), false
	case lead:
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.panicked != nil {
			panic(f.panicked)
		}
		return Result{Err: orIncomplete(f.err), Fetched: true}, false
	}
	return Result{}, true
}

func orIncomplete(err error) error {
	if err == nil {
		return ErrIncomplete
	}
	return err
}

func onErrorDetail(on bool) string {
	if on {
		return "stale-if-error"
	}
	return ""
}

func (x *exchange) joined(f *flight) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	x.now = x.z.cache.now()
	return x.usable(f)
}

func (x *exchange) count(f *flight, lead, onError bool) {
	switch {
	case onError:
		x.z.stale.Add(1)
	case !lead:
		x.z.coalesced.Add(1)
	}
}

// attendPassing waits while the fetch writes to the client.
func (x *exchange) attendPassing(ctx context.Context, f *flight, status int) (Result, bool) {
	select {
	case <-f.done:
	case <-ctx.Done():
		f.cancel()
		<-f.done
	}
	x.z.unstored.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panicked != nil {
		panic(f.panicked)
	}
	return Result{Status: status, Err: f.err, Fetched: true}, false
}
