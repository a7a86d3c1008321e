package httpcache

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

type counter = *atomic.Int64

// hitStatus is what Cache-Status says of an answer (RFC 9211).
type hitStatus struct {
	ttl     time.Duration
	forward string // parameters where the request went on to the origin; empty: a hit
	detail  string
}

// forward writes the parameters of a request that went on (RFC 9211, 2.2 to 2.6).
func forward(why string, status int, stored, collapsed bool) string {
	s := "fwd=" + why
	if status != 0 {
		s += "; fwd-status=" + itoa(int64(status))
	}
	if stored {
		s += "; stored"
	}
	if collapsed {
		s += "; collapsed"
	}
	return s
}

// forwarded is the same for a flight whose answer goes to its leader.
func (f *flight) forwarded(code int, why string, _ bool) string {
	if why == "" {
		why = "uri-miss"
		if f.fallback != nil {
			why = "stale"
		}
		if f.req.noCache || f.req.noStore {
			why = "request"
		}
	}
	s := forward(why, code, false, false)
	if f.why != stored {
		s += "; detail=" + string(f.why)
	}
	return s
}

// sign adds the cache's own member to Cache-Status, behind those of caches nearer the origin.
func (c *Cache) sign(h http.Header, parameters string) {
	member := c.cfg.Name + "; " + parameters
	if prior := h["Cache-Status"]; len(prior) > 0 {
		member = strings.Join(prior, ", ") + ", " + member
	}
	h["Cache-Status"] = []string{member}
}

// write returns the parameters.
func (s hitStatus) write() string {
	out := s.forward
	if out == "" {
		out = "hit"
	}
	out += "; ttl=" + itoa(int64(floorSeconds(s.ttl)))
	if s.detail != "" {
		out += "; detail=" + s.detail
	}
	return out
}

func floorSeconds(d time.Duration) time.Duration {
	if d < 0 {
		d -= time.Second - 1
	}
	return d / time.Second
}

// deliver answers with a stored object: whole, a part of it, or that the client has it already.
func (x *exchange) deliver(o *object, s hitStatus) Result {
	h := x.w.Header()
	now := x.now
	age := [1]string{seconds(o.fresh.age(now))}
	if o.status == http.StatusOK || o.status == http.StatusNotModified {
		if len(x.r.Header["If-None-Match"])+len(x.r.Header["If-Modified-Since"]) > 0 && notModified(x.r.Header, o.header, o.tag, now) {
			return x.deliverNotModified(o.header, age[:], s)
		}
		if len(x.r.Header["Range"]) > 0 && x.r.Method == http.MethodGet && o.status == http.StatusOK {
			if p := partsOf(x.r.Header, o, now); p != nil {
				return x.deliverParts(o, p, age[:], s)
			}
		}
	}
	for key, values := range o.header {
		h[key] = values
	}
	h["Age"] = age[:]
	x.z.cache.sign(h, s.write())
	bare(h)
	if bodyAllowed(o.status) {
		h["Content-Length"] = []string{itoa(int64(len(o.body)))}
	}
	x.w.WriteHeader(o.status)
	if x.r.Method == http.MethodHead || len(o.body) == 0 {
		return Result{Status: o.status}
	}
	n, err := x.w.Write(o.body)
	x.z.served.Add(int64(n))
	if err != nil {
		return Result{Status: o.status, Err: ErrClient}
	}
	return Result{Status: o.status}
}

// bare keeps the server from guessing a type.
func bare(h http.Header) {
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil
	}
}

func bodyAllowed(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified
}

// deliverNotModified answers 304 with the fields that it must have (RFC 9110, 15.4.5).
func (x *exchange) deliverNotModified(stored http.Header, age []string, s hitStatus) Result {
	h := x.w.Header()
	for _, key := range [...]string{"Cache-Control", "Content-Location", "Date", "Etag", "Expires", "Last-Modified", "Vary", "Cdn-Cache-Control", "Cache-Status"} {
		if values, ok := stored[key]; ok {
			h[key] = values
		}
	}
	if age != nil {
		h["Age"] = age
	}
	x.z.cache.sign(h, s.write())
	x.w.WriteHeader(http.StatusNotModified)
	return Result{Status: http.StatusNotModified}
}

// stream answers with what a flight brings, while it comes.
func (x *exchange) stream(ctx context.Context, f *flight, rd *reader, lead bool, parameters string) Result {
	s := hitStatus{forward: parameters}
	if len(x.r.Header["Range"]) > 0 {
		// A part is cut from the whole, once that is there.
		if err := f.await(ctx, func() bool { return f.over || f.overflow }); err != nil {
			return Result{Err: err}
		}
		f.mu.Lock()
		ok := f.whole
		o := newObject(f.resource, f.parts, f.request, f.status, f.kept, f.data, f.fresh)
		f.mu.Unlock()
		if ok {
			s.ttl = o.left(x.now)
			return x.deliver(o, s)
		}
	}
	f.mu.Lock()
	source, fresh, status := f.kept, f.fresh, f.status
	if lead {
		source = f.header
	}
	f.mu.Unlock()
	age := fresh.age(x.z.cache.now())
	s.ttl = fresh.lifetime - age
	if status == http.StatusOK && notModified(x.r.Header, source, etagOf(source), x.now) {
		return x.deliverNotModified(source, ageField(lead, f, age), s)
	}
	h := x.w.Header()
	for key, values := range source {
		h[key] = values[:len(values):len(values)]
	}
	if a := ageField(lead, f, age); a != nil {
		h["Age"] = a
	}
	x.z.cache.sign(h, s.write())
	bare(h)
	x.w.WriteHeader(status)
	return Result{Status: status, Err: x.copy(ctx, f, rd, lead), Fetched: lead}
}

// ageField is the Age of an answer that is just coming: the leader's is the origin's own.
func ageField(lead bool, f *flight, age time.Duration) []string {
	if lead && len(f.header["Age"]) == 0 {
		return nil
	}
	return []string{seconds(age)}
}

// copy writes the body of a flight to the client.
func (x *exchange) copy(ctx context.Context, f *flight, rd *reader, lead bool) error {
	for {
		chunk, err := f.next(ctx, rd)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := x.w.Write(chunk); err != nil {
			return ErrClient
		}
		if !lead {
			x.z.served.Add(int64(len(chunk)))
		}
		f.advance(rd, len(chunk))
		f.mu.Lock()
		pauses := !f.over && rd.off-f.base >= int64(len(f.data)) && len(f.header["Content-Length"]) == 0
		f.mu.Unlock()
		if pauses {
			flush(x.w)
		}
	}
}

// signer adds Cache-Status to an answer that passes.
type signer struct {
	http.ResponseWriter
	cache  *Cache
	why    string
	status int
	onHead func(code int, h http.Header)
}

func (s *signer) WriteHeader(code int) {
	if code >= 200 || code == http.StatusSwitchingProtocols {
		if s.status == 0 {
			s.status = code
			s.cache.sign(s.Header(), forward(s.why, code, false, false))
			if s.onHead != nil {
				s.onHead(code, s.Header())
			}
		}
	}
	s.ResponseWriter.WriteHeader(code)
}

func (s *signer) Write(p []byte) (int, error) {
	if s.status == 0 {
		s.WriteHeader(http.StatusOK)
	}
	return s.ResponseWriter.Write(p)
}
