package policy

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Refusal says why no backend was picked.
type Refusal uint8

// The refusals.
const (
	Picked    Refusal = iota // none: a backend was picked
	NoBackend                // there is none
	AllBroken                // the breakers of all that remain are open
	AllFull                  // those that work are at their limit
)

// String returns the refusal in words.
func (r Refusal) String() string {
	switch r {
	case Picked:
		return "picked"
	case NoBackend:
		return "no backend is ready"
	case AllBroken:
		return "all backends are broken"
	case AllFull:
		return "all backends are at their limit"
	}
	return fmt.Sprintf("Refusal(%d)", uint8(r))
}

// Grant is a place at a backend for one try of one request.
type Grant struct {
	*Member
	ticket   Ticket
	inFlight int64         // requests at the backend when the place was taken, this one included
	at       time.Duration // when it was taken
}

// Probe reports whether the try tests a broken backend.
func (g Grant) Probe() bool { return g.ticket != 0 }

// Pool is the set of backends that can answer a request, with the policy that picks among them, a breaker for each of
// them and the limit of each. It is safe for concurrent use; calls of Set must be serialised by the caller.
type Pool struct {
	picker    Picker
	breaker   topology.Breaker
	slowStart time.Duration
	outliers  *outliers // nil: none is ejected
	zone      string    // that is preferred; empty: none
	locality  topology.Locality
	view      atomic.Pointer[view]
}

// view is a set of members with what the picker has prepared for it. It never changes.
type view struct {
	members []*Member
	even    bool          // all weights are equal
	weights int64         // their sum
	oldest  time.Duration // the earliest Since
	newest  time.Duration // the latest Since
	local   int           // members in the pool's zone

	cycle []uint16 // members in weighted turn
	ring  []point  // members on the circle of hashes, ascending
	table []uint16 // Maglev's
}

// preparer is a picker that needs a table for each set of members.
type preparer interface{ prepare(v *view) }

// MaxMembers is the number of members that one pool can hold.
const MaxMembers = 1<<16 - 1

// NewPool returns an empty pool with the given balancing policy. A nil breaker breaks nothing.
func NewPool(balance topology.Balance, breaker *topology.Breaker) (*Pool, error) {
	picker, err := NewPicker(balance)
	if err != nil {
		return nil, err
	}
	p := &Pool{picker: picker, breaker: topology.Breaker{Off: true}}
	if breaker != nil {
		p.breaker = *breaker
	}
	p.view.Store(new(view))
	return p, nil
}

// SetSlowStart makes the pool raise a new member's share over the given time, from a tenth to the whole. It is called
// before the first Set.
func (p *Pool) SetSlowStart(window time.Duration) { p.slowStart = max(window, 0) }

// NewMember returns b as a member for Set, its breaker closed.
func (p *Pool) NewMember(b *Backend) *Member {
	return &Member{Backend: b, Breaker: NewBreaker(p.breaker)}
}

// Set replaces the backends that may be picked; those beyond MaxMembers are not used. The caller gives the slice away.
// Policies that map by hash compute their tables here: a few milliseconds for a hundred backends.
func (p *Pool) Set(members []*Member) {
	if len(members) > MaxMembers {
		members = members[:MaxMembers]
	}
	v := &view{members: members, even: true}
	for i, m := range members {
		m.slot.Store(int32(i))
		v.weights += int64(m.weight())
		v.even = v.even && m.weight() == members[0].weight()
		if i == 0 {
			v.oldest, v.newest = m.Since, m.Since
		}
		if p.zone != "" && m.Zone == p.zone {
			v.local++
		}
		v.oldest, v.newest = min(v.oldest, m.Since), max(v.newest, m.Since)
	}
	if t, ok := p.picker.(preparer); ok && len(members) > 0 {
		t.prepare(v)
	}
	p.view.Store(v)
}

// Members returns the backends that may be picked; the slice must not be changed.
func (p *Pool) Members() []*Member { return p.view.Load().members }

// Utilization is how much of what the backends of a pool can hold would be in use with one request more, from 0 up: by the adaptive
// bound where there is one, otherwise by their own limits, those who wait included. UnknownUtilization where nothing says what they can hold.
func (p *Pool) Utilization(bound *Adaptive, waiting int) float64 {
	if bound != nil {
		return float64(bound.InFlight()+1) / float64(max(bound.Limit(), 1))
	}
	var inFlight, limit int64
	for _, m := range p.Members() {
		if m.Limit == 0 {
			return UnknownUtilization
		}
		limit += m.Limit
		inFlight += m.InFlight()
	}
	if limit == 0 {
		return UnknownUtilization
	}
	return float64(inFlight+int64(waiting)+1) / float64(limit)
}

// Has reports whether a backend of the given key may be picked, load and breakers aside.
func (p *Pool) Has(key uint64) bool { return p.view.Load().find(key) >= 0 }

func (v *view) find(key uint64) int {
	for i, m := range v.members {
		if m.Key == key {
			return i
		}
	}
	return -1
}

// Pick finds a backend for the next try of r, and takes a place at it: every Grant must be followed by a Report and
// one Release. Backends that r excludes are picked only where no other is left.
func (p *Pool) Pick(r *Request, now time.Duration) (Grant, Refusal) {
	p.begin(r, now)
	g, why := p.pick(r)
	r.members, r.view = nil, nil
	return g, why
}

func (p *Pool) pick(r *Request) (Grant, Refusal) {
	if len(r.members) == 0 {
		return Grant{}, NoBackend
	}
	r.panic = !p.breaker.Off && p.ejected(r.members) > p.allowance(len(r.members))
	if r.Bound {
		if g, ok := p.bound(r); ok {
			return g, Picked
		}
	}
	if p.zone != "" && p.nearby(r) {
		r.near = p.zone
	}
	// A round is lost only to another request that took the place at the same moment; so many losses mean a full pool.
	for range 2*len(r.members) + 8 {
		i := p.picker.Pick(r)
		if i < 0 {
			if r.near != "" {
				r.near = "" // nobody of the zone can take it
				continue
			}
			if r.again || r.nTried == 0 && r.window == 0 {
				break
			}
			r.again = true
			continue
		}
		if g, ok := admit(r, r.members[i]); ok {
			return g, Picked
		}
	}
	for _, m := range r.members {
		if m.full() {
			return Grant{}, AllFull
		}
	}
	return Grant{}, AllBroken
}

// begin sets up what r sees of the pool.
func (p *Pool) begin(r *Request, now time.Duration) {
	r.view = p.view.Load()
	r.members, r.now, r.panic, r.again, r.window, r.near = r.view.members, now, false, false, 0, ""
	if p.slowStart > 0 && now < r.view.newest+p.slowStart {
		r.startSlowly(p.slowStart, hashes(p.picker))
	}
	r.judged = p.outliers != nil && !p.outliers.pardon(r.members, now)
}

// bound takes a place at the backend that r is bound to, if it can.
func (p *Pool) bound(r *Request) (Grant, bool) {
	i := r.view.find(r.Prefer)
	if i < 0 || r.hasTried(r.members[i]) {
		return Grant{}, false
	}
	r.again = true // slow start is for those who are free to choose
	defer func() { r.again = false }()
	if !r.Eligible(i) {
		return Grant{}, false
	}
	return admit(r, r.members[i])
}

func admit(r *Request, m *Member) (Grant, bool) {
	n, ok := m.acquire()
	if !ok {
		return Grant{}, false
	}
	g := Grant{Member: m, inFlight: n, at: r.now}
	if m.Breaker != nil {
		var ok bool
		if g.ticket, ok = m.Breaker.Admit(r.now, r.Repeatable); !ok && !r.panic {
			m.Backend.inFlight.Add(-1)
			return Grant{}, false
		}
	}
	return g, true
}

// Report tells breaker and outlier detection what the call said about its backend, once. A failure is told as soon as it is
// known. A success is told when the answer is whole, for the head says nothing of the body: a success for each head would take
// back what is told of each body that breaks off, and nothing would ever open. Streams, which have no end of their own, and
// probes that take longer than ProbeTime are told before their end; what becomes of them then is not told. The latency is
// counted from the grant to now: of a stream that goes well, now is the instant of its head.
func (p *Pool) Report(g Grant, now time.Duration, o Outcome) {
	if p.outliers != nil {
		g.record.count(now-g.at, o)
		if p.outliers.due(now) {
			p.outliers.judge(p.Members(), now)
		}
	}
	if g.Breaker == nil || !g.Breaker.Report(now, g.ticket, o) {
		return
	}
	if members := p.Members(); p.ejected(members) < p.allowance(len(members)) {
		g.Breaker.Trip(now)
	}
}

// ProbeTime is after how long a probe whose answer comes without fault is told as a success before that has ended, for a probe
// of which nothing is heard is given up, and so would be all that take as long: the breaker's first pause, or half of the longest.
func (p *Pool) ProbeTime() time.Duration { return min(p.breaker.Open.Std(), p.breaker.MaxOpen.Std()/2) }

// Release gives the place back when the call is over, its body included.
func (p *Pool) Release(g Grant, latency time.Duration, o Outcome) {
	g.Backend.inFlight.Add(-1)
	p.picker.Done(g, latency, o)
}

// ejected returns how many members have a breaker that is not closed.
func (p *Pool) ejected(members []*Member) int {
	n := 0
	for _, m := range members {
		if m.Breaker != nil && m.Breaker.State() != BreakerClosed {
			n++
		}
	}
	return n
}

// allowance returns how many of n members may be ejected at once. Rounding down, half of three is one; the smallest
// share below that is lost in the representation of fractions is added first.
func (p *Pool) allowance(n int) int { return int(float64(p.breaker.MaxEjected)*float64(n) + 1e-9) }
