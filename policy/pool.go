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
	ticket Ticket
}

// Probe reports whether the try tests a broken backend.
func (g Grant) Probe() bool { return g.ticket != 0 }

// Pool is the set of backends that can answer a request, with the policy that picks among them, a breaker for each of
// them and the limit of each. It is safe for concurrent use; calls of Set must be serialised by the caller.
type Pool struct {
	picker  Picker
	breaker topology.Breaker
	members atomic.Pointer[[]*Member]
}

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
	p.members.Store(new([]*Member))
	return p, nil
}

// NewMember returns b as a member for Set, its breaker closed.
func (p *Pool) NewMember(b *Backend) *Member {
	return &Member{Backend: b, Breaker: NewBreaker(p.breaker)}
}

// Set replaces the backends that may be picked. The caller gives the slice away.
func (p *Pool) Set(members []*Member) { p.members.Store(&members) }

// Members returns the backends that may be picked; the slice must not be changed.
func (p *Pool) Members() []*Member { return *p.members.Load() }

// Pick finds a backend for the next try of r, and takes a place at it: every Grant must be followed by a Report and
// one Release. Backends that r excludes are picked only where no other is left.
func (p *Pool) Pick(r *Request, now time.Duration) (Grant, Refusal) {
	r.members, r.now, r.panic, r.again = p.Members(), now, false, false
	defer func() { r.members = nil }()
	if len(r.members) == 0 {
		return Grant{}, NoBackend
	}
	r.panic = !p.breaker.Off && p.ejected(r.members) > p.allowance(len(r.members))
	// A round is lost only to another request that took the place at the same moment; so many losses mean a full pool.
	for range 2*len(r.members) + 8 {
		i := p.picker.Pick(r)
		if i < 0 {
			if r.nTried == 0 || r.again {
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

func admit(r *Request, m *Member) (Grant, bool) {
	if !m.acquire() {
		return Grant{}, false
	}
	g := Grant{Member: m}
	if m.Breaker != nil {
		var ok bool
		if g.ticket, ok = m.Breaker.Admit(r.now, r.Repeatable); !ok && !r.panic {
			m.inFlight.Add(-1)
			return Grant{}, false
		}
	}
	return g, true
}

// Report tells what the call said about its backend, as soon as that is known: when the head of an answer has come, or
// the call has failed. A call whose answer broke off after that may be reported again, as a failure.
func (p *Pool) Report(g Grant, now time.Duration, o Outcome) {
	if g.Breaker == nil || !g.Breaker.Report(now, g.ticket, o) {
		return
	}
	if members := p.Members(); p.ejected(members) < p.allowance(len(members)) {
		g.Breaker.Trip(now)
	}
}

// Release gives the place back when the call is over, its body included.
func (p *Pool) Release(g Grant, latency time.Duration, o Outcome) {
	g.inFlight.Add(-1)
	p.picker.Done(g.Member, latency, o)
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
