package policy

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Picker is a balancing policy: it chooses a backend for each try of each request. An implementation may keep state
// for a backend (a latency average, a probe result), keyed by its Member. It must be safe for concurrent use.
type Picker interface {
	// Pick returns the index of the chosen candidate of r, -1 if none is eligible.
	Pick(r *Request) int
	// Done tells how a call that Pick placed has ended: after which time, and what it said about the backend.
	Done(m *Member, latency time.Duration, outcome Outcome)
}

// NewPicker returns the balancing policy of the given name; empty means least-request.
func NewPicker(balance topology.Balance) (Picker, error) {
	switch balance {
	case topology.RoundRobin:
		return new(roundRobin), nil
	case topology.LeastRequest, "":
		return new(leastRequest), nil
	}
	return nil, fmt.Errorf("balance %q is not supported: want %s or %s", balance, topology.RoundRobin, topology.LeastRequest)
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

func (p *roundRobin) Done(*Member, time.Duration, Outcome) {}

// leastRequest takes the eligible candidate with the fewest requests in flight, in turn among equals.
type leastRequest struct{ turn atomic.Uint64 }

func (p *leastRequest) Pick(r *Request) int {
	n := r.Len()
	if n == 0 {
		return -1
	}
	best, fewest := -1, int64(math.MaxInt64)
	i := int((p.turn.Add(1) - 1) % uint64(n))
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

func (p *leastRequest) Done(*Member, time.Duration, Outcome) {}
