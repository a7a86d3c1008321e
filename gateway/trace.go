package gateway

import (
	"encoding/hex"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/banyanhq/banyan/policy"
)

// traceID names a request on its whole way through the system (W3C Trace Context).
type traceID [16]byte

// parseTraceparent reads a traceparent header (W3C Trace Context, 3.2). Versions above 00 are read as far as 00 goes, as
// the recommendation asks.
func parseTraceparent(s string) (id traceID, flags byte, ok bool) {
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return id, 0, false
	}
	version, ok := lowerHex(s[0], s[1])
	if !ok || version == 0xff || (version == 0 && len(s) != 55) || (len(s) > 55 && s[55] != '-') {
		return id, 0, false
	}
	var any, parent byte
	for i := range id {
		if id[i], ok = lowerHex(s[3+2*i], s[4+2*i]); !ok {
			return traceID{}, 0, false
		}
		any |= id[i]
	}
	for i := 36; i < 52; i += 2 {
		b, ok := lowerHex(s[i], s[i+1])
		if !ok {
			return traceID{}, 0, false
		}
		parent |= b
	}
	flags, ok = lowerHex(s[53], s[54])
	if !ok || any == 0 || parent == 0 {
		return traceID{}, 0, false
	}
	return id, flags, true
}

func lowerHex(hi, lo byte) (byte, bool) {
	h, ok1 := hexDigit(hi)
	l, ok2 := hexDigit(lo)
	return h<<4 | l, ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

// newTraceID returns a random id that is not zero.
func newTraceID() (id traceID) {
	putUint64(id[:8], rand.Uint64())
	putUint64(id[8:], rand.Uint64()|1)
	return id
}

func putUint64(b []byte, v uint64) {
	for i := range 8 {
		b[i] = byte(v >> (56 - 8*i))
	}
}

// traceparent writes the header for the next hop, with a parent id of its own. The trace id stands at [3:35].
func traceparent(id traceID, flags byte) string {
	var b [55]byte
	putTraceparent(&b, id, flags)
	return string(b[:])
}

func putTraceparent(b *[55]byte, id traceID, flags byte) {
	var parent [8]byte
	putUint64(parent[:], rand.Uint64()|1)
	copy(b[:], "00-")
	hex.Encode(b[3:35], id[:])
	b[35] = '-'
	hex.Encode(b[36:52], parent[:])
	b[52] = '-'
	hex.Encode(b[53:], []byte{flags})
}

const (
	traceShards = 64
	// tracesPerShard bounds the memory; requests beyond it are served, and their inner calls not attributed.
	tracesPerShard = 2048
)

// inFlightTraces knows the route of each request from outside that is in flight, by its trace id, so that calls between
// services can be attributed. Two requests may carry the same id, by a client's mistake or malice: then the later one's
// route counts for both, and the id is forgotten with the last of them.
type inFlightTraces struct {
	shards [traceShards]struct {
		mu sync.Mutex
		m  map[traceID]traceEntry
	}
}

type traceEntry struct {
	route    int32
	refs     int32
	deadline time.Duration // instant by which the request must be answered; 0: none
	classed  bool          // its class is known
	class    policy.Class
}

// enter notes a request; false if there is no room. Of two with the same id the later deadline and the higher class count.
func (t *inFlightTraces) enter(id traceID, n traceEntry) bool {
	s := &t.shards[id[7]%traceShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	e, known := s.m[id]
	if !known && len(s.m) >= tracesPerShard {
		return false
	}
	if s.m == nil {
		s.m = map[traceID]traceEntry{}
	}
	if n.refs = e.refs + 1; known {
		if n.deadline = max(n.deadline, e.deadline); e.deadline == 0 {
			n.deadline = 0
		}
		if e.classed && (!n.classed || n.class.Below(e.class)) {
			n.classed, n.class = true, e.class
		}
	}
	s.m[id] = n
	return true
}

// unbind takes away the deadline of a request that entered.
func (t *inFlightTraces) unbind(id traceID) {
	s := &t.shards[id[7]%traceShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.m[id]; ok {
		e.deadline = 0
		s.m[id] = e
	}
}

// entry returns what is known of the request that carries id.
func (t *inFlightTraces) entry(id traceID) (traceEntry, bool) {
	s := &t.shards[id[7]%traceShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.m[id]
	return e, ok
}

// leave forgets a request that entered.
func (t *inFlightTraces) leave(id traceID) {
	s := &t.shards[id[7]%traceShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.m[id]; e.refs > 1 {
		e.refs--
		s.m[id] = e
	} else {
		delete(s.m, id)
	}
}

// route returns the route of the request that carries id, -1 if none does.
func (t *inFlightTraces) route(id traceID) int {
	s := &t.shards[id[7]%traceShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.m[id]; ok {
		return int(e.route)
	}
	return -1
}
