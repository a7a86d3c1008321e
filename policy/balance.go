package policy

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Picker is a balancing policy: it chooses a backend for each try of each request. What it knows of a backend (a latency
// average, a probe's result) stands in its Member or Backend. It must be safe for concurrent use.
type Picker interface {
	// Pick returns the index of the chosen candidate of r, -1 if none is eligible.
	Pick(r *Request) int
	// Done tells how a call that Pick placed has ended: after which time, and what it said about the backend.
	Done(g Grant, latency time.Duration, outcome Outcome)
}

// NewPicker returns the balancing policy of the given name; empty means least-request.
func NewPicker(balance topology.Balance) (Picker, error) {
	switch balance {
	case topology.RoundRobin:
		return new(roundRobin), nil
	case topology.LeastRequest, "":
		return new(leastRequest), nil
	case topology.WeightedRoundRobin:
		return new(weightedRoundRobin), nil
	case topology.Random:
		return new(random), nil
	case topology.P2CEWMA:
		return new(p2cEWMA), nil
	case topology.Prequal:
		return new(prequal), nil
	case topology.RingHash:
		return new(ringHash), nil
	case topology.Maglev:
		return new(maglev), nil
	case topology.BoundedHash:
		return new(boundedHash), nil
	case topology.Rendezvous:
		return new(rendezvous), nil
	}
	return nil, fmt.Errorf("balance %q is not supported: want one of %v", balance, topology.Balances())
}

// hashes reports whether a policy maps requests to backends by their Hash.
func hashes(p Picker) bool {
	switch p.(type) {
	case *ringHash, *maglev, *boundedHash, *rendezvous:
		return true
	}
	return false
}

// roundRobin takes the eligible candidates in turn.
type roundRobin struct{ turn atomic.Uint64 }

func (p *roundRobin) Pick(r *Request) int {
	n := uint64(r.Len())
	if n == 0 {
		return -1
	}
	for range n {
		// Each candidate that is passed over takes up its turn, so that its neighbour does not get two.
		if i := int((p.turn.Add(1) - 1) % n); r.Eligible(i) {
			return i
		}
	}
	// Others took turns meanwhile, and may have taken just those of the eligible.
	for i := range int(n) {
		if r.Eligible(i) {
			return i
		}
	}
	return -1
}

func (p *roundRobin) Done(Grant, time.Duration, Outcome) {}

// leastRequest takes the eligible candidate with the fewest requests in flight for its weight, in turn among equals.
type leastRequest struct{ turn atomic.Uint64 }

func (p *leastRequest) Pick(r *Request) int {
	n := r.Len()
	if n == 0 {
		return -1
	}
	best, fewest := -1, int64(math.MaxInt64)
	i := int((p.turn.Add(1) - 1) % uint64(n))
	if !r.view.even || r.window > 0 {
		return pickLeast(r, i)
	}
	for range n {
		if load := r.members[i].inFlight.Load(); load < fewest && r.Eligible(i) {
			best, fewest = i, load
		}
		if i++; i == n {
			i = 0
		}
	}
	return best
}

// pickLeast is Pick where backends differ in weight.
func pickLeast(r *Request, from int) int {
	best, fewest := -1, math.Inf(1)
	for k, n := 0, r.Len(); k < n; k++ {
		i := (from + k) % n
		if load := float64(r.members[i].InFlight()) / r.weight(i); load < fewest && r.Eligible(i) {
			best, fewest = i, load
		}
	}
	return best
}

func (p *leastRequest) Done(Grant, time.Duration, Outcome) {}
