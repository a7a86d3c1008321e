package httpcache

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// phase of a flight.
type phase uint8

const (
	waiting  phase = iota // for the answer's head
	filling               // the answer is read into memory, and served from there while it comes
	passing               // the answer goes to the leader alone, as it comes
	standing              // a stored answer serves
	failed                // there is nothing to serve
)

// errAgain means that the origin confirmed an answer that it was not asked about.
var errAgain = errors.New("the origin confirmed what is not stored")

// flight is one request on its way to the origin, and those who wait for its answer. The fetch runs on a goroutine of
// its own, so that no client's pace or end holds up the others.
type flight struct {
	z         *Zone
	key       string // under which others find it; empty: it is alone
	resource  string
	parts     string
	request   http.Header // as the leader sent it
	req       directives
	stale     *object // that is validated; nil: nothing is
	fallback  *object // that may serve where the origin fails
	head      bool    // a HEAD
	requested time.Time
	cancel    context.CancelFunc
	done      chan struct{} // closed when the fetch has returned

	mu       sync.Mutex
	wake     chan struct{} // closed, and replaced, when anything below changes
	phase    phase
	readers  map[*reader]struct{}
	leader   http.ResponseWriter // nil: there is none (any more)
	doomed   bool                // what comes may be outdated already
	status   int
	header   http.Header // all fields of the answer
	fresh    freshness
	kept     http.Header // fields that are stored
	data     []byte
	base     int64 // offset of data in the body
	overflow bool  // the body is larger than is stored: data is a window
	whole    bool  // the body has come, all of it
	over     bool  // the fetch has returned
	err      error
	result   *object
	onError  bool // result serves because the origin failed
	why      whyNot
	panicked any
}

// reader is one who waits for a flight, and then reads its body.
type reader struct {
	off    int64
	leader bool
}

func (f *flight) changed() {
	close(f.wake)
	f.wake = make(chan struct{})
}

// await blocks until ok holds, which is called with the mutex held, or ctx ends.
func (f *flight) await(ctx context.Context, ok func() bool) error {
	for {
		f.mu.Lock()
		if ok() {
			f.mu.Unlock()
			return nil
		}
		wake := f.wake
		f.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// leave ends a reader's interest. A leader to whom the answer is being passed waits for its end.
func (f *flight) leave(rd *reader) {
	f.mu.Lock()
	if rd.leader && f.phase == passing {
		f.mu.Unlock()
		f.cancel()
		<-f.done
		return
	}
	if rd.leader {
		f.leader = nil
	}
	delete(f.readers, rd)
	unwanted := len(f.readers) == 0 && (f.phase == waiting && f.key == "" || f.overflow)
	f.changed()
	f.mu.Unlock()
	if unwanted {
		f.cancel()
	}
}

// run fetches. It asks again without condition where the origin's 304 is about something else.
func (f *flight) run(ctx context.Context, r *http.Request, fetch Fetch) {
	defer close(f.done)
	defer f.cancel()
	f.try(ctx, r, fetch)
	f.mu.Lock()
	again := f.err == errAgain
	f.mu.Unlock()
	if again {
		unconditional(r.Header)
		f.mu.Lock()
		f.stale, f.err = nil, nil
		f.mu.Unlock()
		f.try(ctx, r, fetch)
	}
	f.z.cache.land(f)
}

func (f *flight) try(ctx context.Context, r *http.Request, fetch Fetch) {
	w := &fillWriter{f: f, ctx: ctx, header: http.Header{}}
	defer func() {
		if p := recover(); p != nil {
			f.mu.Lock()
			f.panicked, f.err, f.over = p, http.ErrAbortHandler, true
			f.changed()
			f.mu.Unlock()
		}
	}()
	f.requested = f.z.cache.now()
	err := fetch(w, r)
	if err == nil && !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
	f.whole = f.phase == filling && f.err == nil && !f.overflow && rightLength(f.header, len(f.data))
	if f.phase == filling && f.err == nil && !f.whole && !f.overflow {
		f.err = ErrIncomplete
	}
	f.over = f.err != errAgain
	f.changed()
}

// rightLength reports whether a body has the length that its head says.
func rightLength(h http.Header, n int) bool {
	l := h["Content-Length"]
	return len(l) == 0 || l[0] == strconv.Itoa(n)
}

// fillWriter takes the origin's answer. It is used by the fetch's goroutine alone.
type fillWriter struct {
	f      *flight
	ctx    context.Context
	header http.Header
	wrote  bool
	mode   phase
}

func (w *fillWriter) Header() http.Header { return w.header }

// WriteHeader decides what becomes of the answer.
func (w *fillWriter) WriteHeader(code int) {
	switch {
	case w.wrote:
		return
	case code < 200 && code != http.StatusSwitchingProtocols:
		w.inform(code)
		return
	}
	w.wrote = true
	w.f.mu.Lock()
	w.f.status = code
	w.mode = w.f.judge(code, w.header)
	leader := w.f.leader
	if w.mode == passing && leader == nil {
		w.mode = failed
	}
	if w.f.err != errAgain {
		w.f.phase = w.mode
	}
	if w.mode == filling && len(w.header["Content-Length"]) == 1 {
		if n, err := strconv.Atoi(w.header["Content-Length"][0]); err == nil && n > 0 {
			w.f.data = make([]byte, 0, n) // bounded by judge
		}
	}
	f := w.f
	if w.mode != passing {
		f.changed()
		f.mu.Unlock()
		return
	}
	f.changed()
	f.mu.Unlock()
	h := leader.Header()
	for key, values := range w.header {
		h[key] = values
	}
	f.z.cache.sign(h, f.forwarded(code, "", false))
	leader.WriteHeader(code)
	w.header = h // trailers go there
}

// judge says what becomes of an answer. The caller holds the mutex.
func (f *flight) judge(code int, h http.Header) phase {
	z, now := f.z, f.z.cache.now()
	if code == http.StatusNotModified && f.stale != nil {
		if confirmed([]*object{f.stale}, h) == nil {
			f.err = errAgain
			return waiting
		}
		f.result = f.update(f.stale, h, now)
		header := f.result.header
		f.result.names, _ = varyNames(header["Vary"])
		f.result.values = varyValues(f.result.names, f.request)
		f.result.weigh()
		z.revalidated.Add(1)
		z.cache.keep(f, f.result)
		return standing
	}
	if o := f.fallback; o != nil && serverFailed(code) && o.fresh.mayServeOnError(&f.req, now) {
		f.result, f.onError = o, true
		return standing
	}
	f.header = h
	f.fresh = z.rules.assess(code, h, f.requested, now)
	if f.head {
		f.confirmByHead(code, h, now)
		return passing
	}
	f.why = z.rules.storable(&f.req, len(f.request["Authorization"]) > 0, code, h, &f.fresh)
	switch n := h["Content-Length"]; {
	case f.why != stored:
	case f.doomed:
		f.why = notInvalidated
	case len(n) == 1 && tooLong(n[0], z.rules.MaxObject):
		f.why = notSmall
	case eventStream(h):
		f.why = notStream
	}
	if f.why != stored {
		z.cache.store.mark(f.resource, now)
		if f.fallback != nil && !serverFailed(code) && f.why != notAsked && code != http.StatusNotModified {
			z.cache.remove(f.fallback) // a newer one took its place, which is not for storing
		}
		return passing
	}
	f.kept = storedHeader(h, z.cache.cfg.Drop)
	if len(f.kept["Date"]) == 0 {
		f.kept["Date"] = []string{f.fresh.date.UTC().Format(http.TimeFormat)}
	}
	return filling
}

// update freshens a stored answer by a 304 or a HEAD's answer.
func (f *flight) update(o *object, h http.Header, now time.Time) *object {
	header := freshened(o.header, h, f.z.cache.cfg.Drop)
	if len(h["Date"]) == 0 {
		header["Date"] = []string{now.UTC().Format(http.TimeFormat)} // when it came (RFC 9110, 6.6.1)
	}
	return o.replace(header, f.z.rules.assess(o.status, withAge(header, h), f.requested, now))
}

// withAge gives the fields from which a freshened answer's age is reckoned: the Age is the update's.
func withAge(h, update http.Header) http.Header {
	if len(update["Age"]) == 0 {
		return h
	}
	h = h.Clone()
	h["Age"] = update["Age"]
	return h
}

// serverFailed reports whether an answer counts as the origin's failing (RFC 5861, 4).
func serverFailed(code int) bool {
	return code == 500 || code == 502 || code == 503 || code == 504
}

func tooLong(length string, most int64) bool {
	n, err := strconv.ParseInt(length, 10, 64)
	return err != nil || n > most
}

// eventStream reports whether an answer has no end of its own.
func eventStream(h http.Header) bool {
	ct := h["Content-Type"]
	return len(ct) > 0 && strings.HasPrefix(strings.ToLower(ct[0]), "text/event-stream")
}

// confirmByHead freshens what is stored by a HEAD's answer, or drops it (RFC 9111, 4.3.5).
func (f *flight) confirmByHead(code int, h http.Header, now time.Time) {
	o := f.fallback
	if o == nil || code != http.StatusOK {
		return
	}
	if !headConfirms(o, h) {
		f.z.cache.remove(o)
		return
	}
	f.z.cache.keep(f, f.update(o, h, now))
}

// inform passes an informational answer to the leader, if it is still there.
func (w *fillWriter) inform(code int) {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	leader := w.f.leader
	if leader == nil || w.f.phase != waiting {
		clear(w.header)
		return
	}
	h := leader.Header()
	saved := h.Clone()
	clear(h)
	for key, values := range w.header {
		h[key] = values
	}
	leader.WriteHeader(code)
	clear(h)
	for key, values := range saved {
		h[key] = values
	}
	clear(w.header)
}

var errUnwanted = errors.New("nobody waits for the answer")

func (w *fillWriter) Write(p []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	switch w.mode {
	case passing:
		return w.f.leader.Write(p)
	case filling:
		return w.f.fill(w.ctx, p)
	case failed:
		return 0, errUnwanted
	}
	return len(p), nil // what came with an answer that is not used
}

// fill takes a piece of the body into memory; where that is larger than is stored, it waits for those who read.
func (f *flight) fill(ctx context.Context, p []byte) (int, error) {
	most := f.z.rules.MaxObject
	f.mu.Lock()
	for {
		if !f.overflow && int64(len(f.data)+len(p)) > most {
			f.overflow, f.why = true, notSmall // nobody joins any more
			f.z.cache.store.mark(f.resource, f.z.cache.now())
		}
		if f.overflow {
			if len(f.readers) == 0 {
				f.mu.Unlock()
				return 0, errUnwanted
			}
			low := f.base + int64(len(f.data))
			for rd := range f.readers {
				low = min(low, rd.off)
			}
			f.data, f.base = f.data[low-f.base:], low
		}
		if !f.overflow || len(f.data) == 0 || int64(len(f.data)+len(p)) <= most {
			f.data = append(f.data, p...)
			f.changed()
			f.mu.Unlock()
			return len(p), nil
		}
		f.changed()
		wake := f.wake
		f.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		f.mu.Lock()
	}
}

// next returns the next piece of the body, io.EOF at its end.
func (f *flight) next(ctx context.Context, rd *reader) (chunk []byte, err error) {
	if err := f.await(ctx, func() bool {
		if at := rd.off - f.base; at < int64(len(f.data)) {
			chunk = f.data[at:len(f.data):len(f.data)]
			return true
		}
		return f.over
	}); err != nil {
		return nil, err
	}
	if chunk != nil {
		return chunk, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, ErrIncomplete
	}
	return nil, io.EOF
}

// advance says that a reader is done with n bytes.
func (f *flight) advance(rd *reader, n int) {
	f.mu.Lock()
	rd.off += int64(n)
	if f.overflow {
		f.changed() // the fetch may be waiting
	}
	f.mu.Unlock()
}

// Flush passes on what was written, where it goes to the leader as it comes.
func (w *fillWriter) Flush() {
	if w.mode != passing || !w.wrote {
		return
	}
	flush(w.f.leader)
}

// SetWriteDeadline bounds how long the leader may take, where the answer goes to it as it comes.
func (w *fillWriter) SetWriteDeadline(t time.Time) error {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	if w.f.leader == nil {
		return nil
	}
	return http.NewResponseController(w.f.leader).SetWriteDeadline(t)
}

// SetReadDeadline does nothing: what has a body does not come here.
func (w *fillWriter) SetReadDeadline(time.Time) error { return nil }
