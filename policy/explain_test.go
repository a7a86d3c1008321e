package policy

import (
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// A candidate's state and its eligibility are two words for one thing.
func TestCandidatesAgreeWithEligible(t *testing.T) {
	for _, balance := range topology.Balances() {
		p, err := NewPool(balance, &topology.Breaker{Failures: 1, Open: topology.Duration(time.Minute), MaxOpen: topology.Duration(time.Minute), MaxEjected: 0.5})
		if err != nil {
			t.Fatal(err)
		}
		p.SetSlowStart(time.Second)
		var members []*Member
		for i := range 6 {
			m := p.NewMember(&Backend{Key: uint64(i) * golden, Limit: 2})
			m.Since = -time.Minute
			members = append(members, m)
		}
		members[5].Since = time.Minute // brand new
		p.Set(members)
		now := time.Minute
		members[0].Breaker.Trip(now)
		members[1].inFlight.Store(2)
		var r Request
		r.Exclude(members[2])
		got, all := p.Candidates(&r, now, make([]Candidate, 0, 16))
		if all != 6 || len(got) != 6 {
			t.Fatalf("%s: %d of %d candidates", balance, len(got), all)
		}
		look := r
		p.begin(&look, now)
		for i, c := range got {
			if (c.State == Usable) != look.Eligible(i) {
				t.Errorf("%s: candidate %d is %v, but eligible: %v", balance, i, c.State, look.Eligible(i))
			}
		}
		for i, want := range []CandidateState{Broken, Full, Tried, Usable, Usable} {
			if got[i].State != want {
				t.Errorf("%s: candidate %d is %v, want %v", balance, i, got[i].State, want)
			}
		}
		if got, all := p.Candidates(&r, now, make([]Candidate, 0, 2)); len(got) != 2 || all != 6 {
			t.Errorf("%s: with room for two: %d of %d", balance, len(got), all)
		}
	}
}

func TestCandidatesShowWhatThePolicyCompares(t *testing.T) {
	p, err := NewPool(topology.LeastRequest, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, b := p.NewMember(&Backend{Weight: 2}), p.NewMember(&Backend{})
	a.inFlight.Store(3)
	b.inFlight.Store(1)
	p.Set([]*Member{a, b})
	got, _ := p.Candidates(new(Request), 0, make([]Candidate, 0, 2))
	if got[0].Score != 1.5 || got[1].Score != 1 || got[0].Pending != 3 {
		t.Errorf("got %+v", got)
	}
}
