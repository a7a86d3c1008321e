package policy

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func newPool(t testing.TB, balance topology.Balance, breaker *topology.Breaker, n int) *Pool {
	t.Helper()
	p, err := NewPool(balance, breaker)
	if err != nil {
		t.Fatal(err)
	}
	var members []*Member
	for i := range n {
		members = append(members, p.NewMember(&Backend{Key: uint64(i)}))
	}
	p.Set(members)
	return p
}

func indexOf(p *Pool, g Grant) int { return slices.Index(p.Members(), g.Member) }

func pick(t *testing.T, p *Pool, r *Request, now time.Duration) Grant {
	t.Helper()
	g, why := p.Pick(r, now)
	if why != Picked {
		t.Fatalf("at %v: %v", now, why)
	}
	return g
}

func TestUnknownBalance(t *testing.T) {
	if _, err := NewPool("fastest", nil); err == nil {
		t.Error("an unknown policy was accepted")
	}
}

func TestRoundRobinTakesTurns(t *testing.T) {
	p := newPool(t, topology.RoundRobin, nil, 3)
	var got []int
	for range 7 {
		got = append(got, indexOf(p, pick(t, p, new(Request), 0))) // never released: load does not matter
	}
	if want := []int{0, 1, 2, 0, 1, 2, 0}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRoundRobinIsFairAroundAFullBackend(t *testing.T) {
	p := newPool(t, topology.RoundRobin, nil, 4)
	p.Members()[1].Limit = 1
	pick(t, p, new(Request), 0)
	pick(t, p, new(Request), 0)
	counts := make([]int, 4)
	for range 300 {
		counts[indexOf(p, pick(t, p, new(Request), 0))]++
	}
	if counts[1] != 0 || counts[0] < 99 || counts[2] < 99 || counts[3] < 99 {
		t.Errorf("shares %v", counts)
	}
}

func TestLeastRequestRotatesAmongEquals(t *testing.T) {
	p := newPool(t, topology.LeastRequest, nil, 4)
	counts := make([]int, 4)
	for range 400 {
		g := pick(t, p, new(Request), 0)
		counts[indexOf(p, g)]++
		p.Release(g, 0, Success)
	}
	for _, n := range counts {
		if n != 100 {
			t.Fatalf("an idle set is not used evenly: %v", counts)
		}
	}
}

// With equal service (first in, first out), the loads never differ by more than one.
func TestLeastRequestImbalance(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		n := 1 + rng.IntN(9)
		p := newPool(t, topology.LeastRequest, nil, n)
		var queue []Grant
		for range 500 {
			if len(queue) > 0 && rng.IntN(2) == 0 {
				// The one that is due leaves from among the most loaded: equal service lets no backend fall behind.
				i := slices.IndexFunc(queue, func(g Grant) bool { return g.InFlight() == maxLoad(p) })
				p.Release(queue[i], 0, Success)
				queue = slices.Delete(queue, i, i+1)
			} else {
				queue = append(queue, pick(t, p, new(Request), 0))
			}
			least := slices.MinFunc(p.Members(), func(a, b *Member) int { return int(a.InFlight() - b.InFlight()) }).InFlight()
			if maxLoad(p)-least > 1 {
				t.Fatalf("%d backends: loads differ by %d", n, maxLoad(p)-least)
			}
		}
	}
}

func maxLoad(p *Pool) int64 {
	var most int64
	for _, m := range p.Members() {
		most = max(most, m.InFlight())
	}
	return most
}

func TestLimit(t *testing.T) {
	for _, balance := range topology.Balances() {
		p := newPool(t, balance, nil, 2)
		for _, m := range p.Members() {
			m.Limit = 2
		}
		var grants []Grant
		for range 4 {
			grants = append(grants, pick(t, p, new(Request), 0))
		}
		if _, why := p.Pick(new(Request), 0); why != AllFull {
			t.Errorf("%s: a fifth request got %v", balance, why)
		}
		p.Release(grants[2], 0, Success)
		if g := pick(t, p, new(Request), 0); g.Member != grants[2].Member {
			t.Errorf("%s: the free place was not taken", balance)
		}
	}
}

func TestExcludedBackendsAreTheLastResort(t *testing.T) {
	for _, balance := range topology.Balances() {
		p := newPool(t, balance, nil, 3)
		var r Request
		seen := map[int]bool{}
		for range 3 {
			g := pick(t, p, &r, 0)
			seen[indexOf(p, g)] = true
			p.Release(g, 0, Failure)
			r.Exclude(g.Member)
		}
		if len(seen) != 3 {
			t.Errorf("%s: three tries went to %v", balance, seen)
		}
		pick(t, p, &r, 0)
	}
}

func TestEmptyPool(t *testing.T) {
	for _, balance := range topology.Balances() {
		if _, why := newPool(t, balance, nil, 0).Pick(new(Request), 0); why != NoBackend {
			t.Errorf("%s: %v", balance, why)
		}
	}
}

// stubborn picks the first candidate, eligible or not, as a race would have it.
type stubborn struct{}

func (stubborn) Pick(*Request) int                  { return 0 }
func (stubborn) Done(Grant, time.Duration, Outcome) {}

func TestPlaceIsGivenBackWhenTheBreakerRefuses(t *testing.T) {
	p := newPool(t, topology.LeastRequest, &topology.Breaker{Open: topology.Duration(time.Second), MaxEjected: 1}, 2)
	p.picker = stubborn{}
	m := p.Members()[0]
	m.Breaker.Trip(0)
	if _, why := p.Pick(new(Request), 0); why != AllBroken || m.InFlight() != 0 {
		t.Errorf("%v, %d in flight", why, m.InFlight())
	}
	p = newPool(t, topology.LeastRequest, nil, 2)
	p.picker = stubborn{}
	m = p.Members()[0]
	m.Limit = 1
	pick(t, p, new(Request), 0)
	if _, why := p.Pick(new(Request), 0); why != AllFull || m.InFlight() != 1 {
		t.Errorf("%v, %d in flight", why, m.InFlight())
	}
}

func TestUtilization(t *testing.T) {
	p := newPool(t, topology.RoundRobin, nil, 2)
	want := func(what string, bound *Adaptive, waiting int, want float64) {
		t.Helper()
		if got := p.Utilization(bound, waiting); got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	want("nothing says what one of them can hold", nil, 5, UnknownUtilization)
	p.Members()[0].Limit, p.Members()[1].Limit = 4, 6
	want("nobody is there", nil, 0, 0.1)
	pick(t, p, new(Request), 0)
	pick(t, p, new(Request), 0)
	want("two are, and two wait", nil, 2, 0.5)
	bound := NewAdaptive(topology.Adaptive{Initial: 5, Min: 2, Max: 9, Tolerance: 1.5})
	bound.Acquire()
	want("an adaptive bound", bound, 100, 0.4)
	p.Set(nil)
	want("there are none", nil, 0, UnknownUtilization)
}

// Under concurrency, limits hold and every place comes back.
func TestPoolConcurrently(t *testing.T) {
	for _, balance := range topology.Balances() {
		t.Run(string(balance), func(t *testing.T) { poolConcurrently(t, balance) })
	}
}

func poolConcurrently(t *testing.T, balance topology.Balance) {
	p := newPool(t, balance, &topology.Breaker{Failures: 3, MaxEjected: 0.5}, 4)
	all := p.Members()
	for _, m := range all {
		m.Limit = 3
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 5))
			for i := range 2000 {
				now := time.Duration(i) * time.Millisecond
				if w == 0 && i%100 == 0 {
					p.Set(slices.Clone(all[i/100%3:])) // the set changes meanwhile
				}
				r := Request{Repeatable: true, Hash: rng.Uint64(), Random: rng.Uint64()}
				g, why := p.Pick(&r, now)
				if why != Picked {
					continue
				}
				if n := g.InFlight(); n > 3+8 { // others may be looking, but not hold
					t.Errorf("%d in flight", n)
				}
				var targets [ProbesPerCall]*Member
				for _, m := range targets[:p.ProbeTargets(&r, &targets)] {
					p.Feed(m, m.Load(), now)
				}
				o := Outcome(rng.IntN(3))
				p.Report(g, now, o)
				p.Release(g, 0, o)
			}
		})
	}
	wg.Wait()
	for i, m := range all {
		if m.InFlight() != 0 {
			t.Errorf("backend %d: %d in flight at the end", i, m.InFlight())
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, balance := range topology.Balances() {
		for _, c := range []struct {
			name string
			n    int
		}{{"2", 2}, {"10", 10}, {"100", 100}} {
			b.Run(string(balance)+"/"+c.name, func(b *testing.B) {
				p := newPool(b, balance, &topology.Breaker{Failures: 5, MaxEjected: 0.5}, c.n)
				b.ReportAllocs()
				var r Request
				for b.Loop() {
					r.Hash, r.Random = r.Hash+1, r.Random+1
					g, _ := p.Pick(&r, 0)
					var targets [ProbesPerCall]*Member
					for _, m := range targets[:p.ProbeTargets(&r, &targets)] {
						p.Feed(m, m.Load(), 0)
					}
					p.Report(g, 0, Success)
					p.Release(g, 0, Success)
				}
			})
		}
	}
}
