package policy

import (
	"fmt"
	"time"
)

// CandidateState says whether a backend may be picked for a request, and if not, why.
type CandidateState uint8

// The states of candidates.
const (
	// Usable candidates may be picked.
	Usable CandidateState = iota
	// Tried by this request before: picked only where no other is left.
	Tried
	// Full: at its limit of requests.
	Full
	// Broken: its breaker lets nothing through.
	Broken
	// Ejected because it is worse than its peers.
	Ejected
	// Warming: it is new, and not for this request yet.
	Warming
)

// String returns the state in a word.
func (s CandidateState) String() string {
	switch s {
	case Usable:
		return "usable"
	case Tried:
		return "tried"
	case Full:
		return "full"
	case Broken:
		return "broken"
	case Ejected:
		return "ejected"
	case Warming:
		return "warming"
	}
	return fmt.Sprintf("CandidateState(%d)", uint8(s))
}

// Candidate is what a pool knows of one backend at one moment.
type Candidate struct {
	*Member
	State CandidateState
	// Pending are the requests in flight at it.
	Pending int64
	// Latency that is expected of it, by its peak-sensitive moving average; 0: the policy keeps none.
	Latency time.Duration
	// Score is what the policy compares, less being better; -1 where it compares nothing.
	Score float64
}

// scorer is a picker that compares candidates by a number.
type scorer interface {
	score(r *Request, i int) float64
}

func (p *leastRequest) score(r *Request, i int) float64 {
	return float64(r.members[i].InFlight()) / r.weight(i)
}

func (p *p2cEWMA) score(r *Request, i int) float64 { return r.ewmaLoad(i) }

// Candidates appends to into what the next Pick for r has to choose from, as far as its capacity goes, and returns how
// many candidates there are in all. It changes nothing, and is for explaining a choice to people.
func (p *Pool) Candidates(r *Request, now time.Duration, into []Candidate) (out []Candidate, all int) {
	look := *r
	p.begin(&look, now)
	look.panic = !p.breaker.Off && p.ejected(look.members) > p.allowance(len(look.members))
	s, scored := p.picker.(scorer)
	for i, m := range look.members {
		if len(into) == cap(into) {
			break
		}
		c := Candidate{Member: m, State: look.stateOf(m), Pending: m.InFlight(), Latency: time.Duration(m.cost.at(now)), Score: -1}
		if scored {
			c.Score = s.score(&look, i)
		}
		into = append(into, c)
	}
	return into, len(look.members)
}

// stateOf says the same as Eligible, with its reason.
func (r *Request) stateOf(m *Member) CandidateState {
	switch {
	case m.full():
		return Full
	case m.Breaker != nil && !r.panic && !m.Breaker.Admits(r.now, r.Repeatable):
		return Broken
	case r.judged && m.record.ejected(r.now):
		return Ejected
	case r.hasTried(m):
		return Tried
	case r.window > 0 && !r.mayWarm(m):
		return Warming
	}
	return Usable
}
