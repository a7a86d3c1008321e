package simulate

import "time"

// TraceEvent is one thing that happened to one request.
type TraceEvent struct {
	At time.Duration `json:"at_ns"` // since the start of the run
	// Request is its number, from 1.
	Request int `json:"request"`
	// Service that it happened at or on the way to, and its replica, from 0; -1 where there is none.
	Service string `json:"service,omitempty"`
	Replica int    `json:"replica"`
	// What happened: start, call, wait, work, try again, answer, failed, orphaned, killed, end.
	What string `json:"what"`
	// Detail of an answer, a failure or an end: its outcome. Of a start: its route.
	Detail string `json:"detail,omitempty"`
}

// tracer records what happens to the first requests of a replication. A nil tracer records nothing.
type tracer struct {
	requests int32 // begun so far
	most     int32
	events   []TraceEvent
}

// maxTraceEvents bounds what is kept of requests that make very many calls.
const maxTraceEvents = 2_000_000

// begin returns the number of a request that is traced, 0 for one that is not.
func (t *tracer) begin(s *sim, route int32) int32 {
	if t == nil || t.requests >= t.most {
		return 0
	}
	t.requests++
	t.note(s, t.requests, none, none, "start", s.m.routes[route].name)
	return t.requests
}

func (t *tracer) note(s *sim, request, service, replica int32, what, detail string) {
	if request == 0 || len(t.events) >= maxTraceEvents {
		return
	}
	e := TraceEvent{At: s.instant(), Request: int(request), Replica: -1, What: what, Detail: detail}
	if service != none {
		e.Service = s.m.services[service].name
	}
	if replica != none {
		for i, r := range s.services[service].replicas {
			if r == replica {
				e.Replica = i
			}
		}
	}
	t.events = append(t.events, e)
}
