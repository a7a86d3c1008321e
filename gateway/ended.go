package gateway

import (
	"strings"
	"time"
)

// Ended is a request that is over, as traces tell of it.
type Ended struct {
	TraceID, RequestID string
	// From is the service that called; empty: it came from outside. To is the service that was called.
	From, To string
	// Route that matched, or 'from -> to'.
	Route        string
	Method, Path string
	Status       int
	// Error of the gateway's own, if it was one, with its detail.
	Error, Detail string
	Start         time.Time
	Took          time.Duration
	Attempts      int
	Tries         []EndedTry
}

// EndedTry is one try of a request.
type EndedTry struct {
	After   time.Duration // since the request's start
	Backend string        // empty: there was none
	Verdict string        // of one that failed
}

// Cursor says how far a reader of Ended has come. The zero Cursor is the beginning.
type Cursor struct{ ordinary, notable int64 }

// Ended returns what is remembered (see Why) of requests that ended since the cursor, up to limit of them, those that did not go well
// first, and the cursor to go on with. What did not fit, or was forgotten meanwhile, is passed over. It costs the requests
// themselves nothing.
func (g *Gateway) Ended(since Cursor, limit int) ([]Ended, Cursor) {
	m := &g.memory
	m.mu.Lock()
	stories := append(m.notable.latest(since.notable, limit), m.ordinary.latest(since.ordinary, limit)...)
	now := Cursor{m.ordinary.total, m.notable.total}
	m.mu.Unlock()
	stories = stories[:min(len(stories), limit)]
	out := make([]Ended, 0, len(stories))
	for _, s := range stories { // nobody writes to a story that has ended
		path, _, _ := strings.Cut(s.path, "?") // what follows may be secret
		e := Ended{
			TraceID: traceparent(s.trace, 0)[3:35], RequestID: s.id, To: s.target.to, Route: s.target.traffic.name, Method: s.method, Path: path,
			Status: s.status, Detail: s.fault.detail, Start: g.origin.Add(s.start), Took: s.took, Attempts: s.attempts,
		}
		if s.target.edge != nil {
			e.From = s.target.edge.from
		}
		if s.fault.kind != noFault {
			e.Error = s.fault.kind.String()
		}
		for _, t := range s.tries {
			n := EndedTry{After: t.at - s.start}
			if t.backend != nil {
				n.Backend = t.backend.id
			}
			if t.decided {
				n.Verdict = t.verdict.String()
			}
			e.Tries = append(e.Tries, n)
		}
		out = append(out, e)
	}
	return out, now
}

// latest returns up to limit of the stories that were put after the first since, oldest first.
func (r *ring) latest(since int64, limit int) []*story {
	n := int(min(r.total-since, int64(len(r.all)), int64(limit)))
	out := make([]*story, 0, max(n, 0))
	for i := n; i > 0; i-- {
		out = append(out, r.all[(r.next+len(r.all)-i)%len(r.all)])
	}
	return out
}
