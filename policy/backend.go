package policy

import (
	"sync/atomic"
	"time"
)

// Backend is the load on one backend: what all pools that use it share. It is safe for concurrent use.
type Backend struct {
	// Owner is the caller's own; this package never looks at it.
	Owner any
	// Key is a stable hash of the backend's identity, for policies that map requests to backends by key.
	Key uint64
	// Limit is the number of requests that it is given at once; 0: no limit.
	Limit int64
	// Weight is its share of the work in relation to others', for policies that weigh; 0 counts as 1.
	Weight int
	// Zone that it runs in, for pools that prefer one.
	Zone string

	inFlight atomic.Int64
	recent   latencies
}

// weight returns the weight that counts.
func (b *Backend) weight() int { return min(max(b.Weight, 1), maxWeight) }

// maxWeight bounds weights: beyond it a backend would take nearly all in any case.
const maxWeight = 10_000

// InFlight returns the number of requests that the backend is handling now.
func (b *Backend) InFlight() int64 { return b.inFlight.Load() }

func (b *Backend) full() bool { return b.Limit > 0 && b.inFlight.Load() >= b.Limit }

// acquire takes a place, unless all are taken. A place that is given back at the same moment may be missed.
func (b *Backend) acquire() (inFlight int64, ok bool) {
	n := b.inFlight.Add(1)
	if b.Limit > 0 && n > b.Limit {
		b.inFlight.Add(-1)
		return 0, false
	}
	return n, true
}

// Member is a backend as one pool sees it.
type Member struct {
	*Backend
	Breaker *Breaker // nil where the pool breaks nothing
	// Since is the instant from which it serves, for slow start. It is set before the member is given to Pool.Set.
	Since time.Duration

	slot   atomic.Int32 // its index in the pool's newest set; a hint that must be verified
	cost   peakEWMA
	record record
}

// Outcome is what a call said about the backend that handled it.
type Outcome uint8

// The outcomes of a call.
const (
	// Neutral says nothing: the caller went away, or the request itself was bad.
	Neutral Outcome = iota
	// Success is an answer that a working backend gives, refusals of bad requests included.
	Success
	// Failure is no answer, a late one, or one that says that the backend is at fault.
	Failure
)

// OutcomeOf tells what an answer's status says about its backend: errors of the server count against it, but not its
// saying that it does not do such a thing at all (501, 505; RFC 9110, 15.6).
func OutcomeOf(status int) Outcome {
	if status >= 500 && status != 501 && status != 505 {
		return Failure
	}
	return Success
}

// maxTried is the number of backends that one request keeps in mind as tried: the most attempts that a file may ask for.
const maxTried = 10

// Request is the search of one request for its backend, over all its tries. Its fields are set before the first try.
// It belongs to one goroutine at a time, and may be reused after Reset.
type Request struct {
	// Hash of what should lead equal requests to equal backends, for policies that map by key. Any 64 bits do, for they
	// are mixed again.
	Hash uint64
	// Random is drawn afresh for each request, for policies that sample.
	Random uint64
	// Prefer is the Key of the backend that the request is bound to, if Bound is set: it is picked if it can be.
	Prefer uint64
	Bound  bool
	// Repeatable says that the request can be tried once more if this try fails. Only such requests test a broken
	// backend, unless none has come for a while.
	Repeatable bool

	tried  [maxTried]*Member
	nTried int

	draws uint64 // random numbers used up
	total uint64 // requests in flight at all candidates, this one included, where the policy wants to know

	// the view of the current pick
	view    *view
	members []*Member
	now     time.Duration
	panic   bool          // so many are broken that the breakers are ignored
	again   bool          // all others are out: tried and new ones may be used as well
	window  time.Duration // of slow start; 0 if nothing is new
	coin    uint64        // decides whether this request may go to a new backend
	warmest float64       // the share that the oldest backend may take
	judged  bool          // ejected backends are left alone
	near    string        // the zone that the request stays in; empty: any
}

// rand returns the next number of a SplitMix64 sequence (G. Steele, D. Lea, C. Flood, Fast Splittable Pseudorandom
// Number Generators, 2014) that Random is the seed of.
func (r *Request) rand() uint64 {
	r.draws++
	return mix(r.Random + r.draws*golden)
}

// Reset forgets everything, so that r can serve another request.
func (r *Request) Reset() { *r = Request{} }

// Exclude keeps the request's further tries away from m while any other backend can be used.
func (r *Request) Exclude(m *Member) {
	if r.nTried < maxTried && !r.hasTried(m) {
		r.tried[r.nTried] = m
		r.nTried++
	}
}

func (r *Request) hasTried(m *Member) bool {
	for _, t := range r.tried[:r.nTried] {
		if t == m {
			return true
		}
	}
	return false
}

// Len returns the number of candidates of the current pick.
func (r *Request) Len() int { return len(r.members) }

// Member returns candidate i.
func (r *Request) Member(i int) *Member { return r.members[i] }

// Now returns the instant of the current pick.
func (r *Request) Now() time.Duration { return r.now }

// Eligible reports whether candidate i may be picked: not tried yet, not broken, not ejected, not full.
func (r *Request) Eligible(i int) bool {
	m := r.members[i]
	if m.full() {
		return false
	}
	if m.Breaker != nil && !r.panic && !m.Breaker.Admits(r.now, r.Repeatable) {
		return false
	}
	if r.judged && m.record.ejected(r.now) {
		return false
	}
	if r.near != "" && m.Zone != r.near {
		return false
	}
	return r.again || (r.nTried == 0 || !r.hasTried(m)) && (r.window == 0 || r.mayWarm(m))
}
