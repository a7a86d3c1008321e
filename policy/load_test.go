package policy

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Over a cycle, shares are exactly those of the weights, and as smooth as nginx's: 5, 1, 1 gives a a b a c a a.
func TestWeightedRoundRobinIsExact(t *testing.T) {
	p := newPool(t, topology.WeightedRoundRobin, nil, 3)
	p.Members()[0].Weight = 5
	p.Set(p.Members())
	var order []int
	for range 7 {
		order = append(order, indexOf(p, pick(t, p, new(Request), 0)))
	}
	if want := []int{0, 0, 1, 0, 2, 0, 0}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 100 {
		n := 1 + rng.IntN(20)
		p := newPool(t, topology.WeightedRoundRobin, nil, n)
		factor := 1 + rng.IntN(5)
		for _, m := range p.Members() {
			m.Weight = factor * (1 + rng.IntN(30))
		}
		p.Set(p.Members())
		cycle := len(p.view.Load().cycle)
		counts, common := make([]int, n), 0
		for range cycle {
			g := pick(t, p, new(Request), 0)
			counts[indexOf(p, g)]++
			p.Release(g, 0, Success)
		}
		for i, m := range p.Members() {
			common = int(gcd(int64(common), int64(m.Weight)))
			if counts[i]*p.Members()[0].Weight != m.Weight*counts[0] {
				t.Fatalf("weight %d has %d turns, weight %d %d", m.Weight, counts[i], p.Members()[0].Weight, counts[0])
			}
		}
	}
}

// A set whose weights have nothing in common is scaled rather than given a table without bound.
func TestCycleIsBounded(t *testing.T) {
	p := newPool(t, topology.WeightedRoundRobin, nil, 3000)
	for i, m := range p.Members() {
		m.Weight = 1 + i*3
	}
	p.Set(p.Members())
	if n := len(p.view.Load().cycle); n < 3000 || n*3000 > 4*maxCycleWork {
		t.Errorf("a cycle of %d for 3,000 members", n)
	}
}

func TestRandomFollowsWeights(t *testing.T) {
	p := newPool(t, topology.Random, nil, 3)
	p.Members()[2].Weight = 2
	p.Set(p.Members())
	counts := make([]int, 3)
	for i := range 40_000 {
		g := pick(t, p, &Request{Random: mix(uint64(i))}, 0)
		counts[indexOf(p, g)]++
		p.Release(g, 0, Success)
	}
	for i, want := range []float64{10_000, 10_000, 20_000} {
		if math.Abs(float64(counts[i])-want) > 500 {
			t.Errorf("shares %v", counts)
		}
	}
}

func TestPeakEWMA(t *testing.T) {
	var e peakEWMA
	if e.at(0) != 0 {
		t.Error("something is known of nothing")
	}
	ms := func(now time.Duration) float64 { return e.at(now) / 1e6 }
	near := func(got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 0.01*want {
			t.Errorf("got %.2f ms, want %.2f", got, want)
		}
	}
	e.observe(time.Second, 10*time.Millisecond)
	near(ms(time.Second), 10)
	e.observe(time.Second, 100*time.Millisecond) // a peak counts at once
	near(ms(time.Second), 100)
	e.observe(11*time.Second, 10*time.Millisecond) // and is forgotten by 1/e in ten seconds
	near(ms(11*time.Second), 100/math.E+10*(1-1/math.E))
	near(ms(21*time.Second), (100/math.E+10*(1-1/math.E))/math.E)
	near(ms(5*time.Second), ms(11*time.Second)) // an instant from before does no harm
}

// fleet is a simulation: requests arrive at random at backends with their own latency, each serving any number at once.
func fleet(t *testing.T, balance topology.Balance, latency func(backend int, now time.Duration) (time.Duration, Outcome), n, requests int) []int {
	t.Helper()
	p := newPool(t, balance, nil, n)
	rng := rand.New(rand.NewPCG(5, uint64(n)))
	type flight struct {
		g    Grant
		ends time.Duration
		took time.Duration
		o    Outcome
	}
	var flights []flight
	counts := make([]int, n)
	now := time.Duration(0)
	for range requests {
		now += time.Duration(rng.ExpFloat64() * float64(time.Millisecond))
		for i := len(flights) - 1; i >= 0; i-- {
			if f := flights[i]; f.ends <= now {
				p.Release(f.g, f.took, f.o)
				flights = slices.Delete(flights, i, i+1)
			}
		}
		r := Request{Random: rng.Uint64()}
		g := pick(t, p, &r, now)
		var targets [ProbesPerCall]*Member
		for _, m := range targets[:p.ProbeTargets(&r, &targets)] {
			p.Feed(m, m.Load(), now)
		}
		i := indexOf(p, g)
		counts[i]++
		took, o := latency(i, now)
		flights = append(flights, flight{g, now + took, took, o})
	}
	return counts
}

// A backend ten times as slow as the others gets far less than its tenth of the requests.
func TestSlowBackendIsAvoided(t *testing.T) {
	for _, n := range []int{2, 10, 100} {
		for balance, most := range map[topology.Balance]float64{topology.P2CEWMA: 0.25, topology.Prequal: 0.25} {
			counts := fleet(t, balance, func(i int, _ time.Duration) (time.Duration, Outcome) {
				if i == 0 {
					return 50 * time.Millisecond, Success
				}
				return 5 * time.Millisecond, Success
			}, n, 200*n)
			if share := float64(counts[0]) / 200; share > most {
				t.Errorf("%s, %d backends: the slow one got %.2f of a fair share", balance, n, share)
			}
			for i, c := range counts[1:] {
				if c == 0 {
					t.Errorf("%s, %d backends: %d got nothing", balance, n, i+1)
				}
			}
		}
	}
}

// One that fails at once looks fast, and must not draw the requests of all.
func TestFailingFastAttractsNothing(t *testing.T) {
	for _, balance := range []topology.Balance{topology.P2CEWMA, topology.Prequal} {
		counts := fleet(t, balance, func(i int, _ time.Duration) (time.Duration, Outcome) {
			if i == 0 {
				return 100 * time.Microsecond, Failure
			}
			return 5 * time.Millisecond, Success
		}, 10, 5000)
		if counts[0] > 500 {
			t.Errorf("%s: the failing one of ten got %d of 5,000", balance, counts[0])
		}
	}
}

// A backend that recovers is found out.
func TestRecoveryIsNoticed(t *testing.T) {
	for _, balance := range []topology.Balance{topology.P2CEWMA, topology.Prequal} {
		late := 0
		counts := fleet(t, balance, func(i int, now time.Duration) (time.Duration, Outcome) {
			if i == 0 && now < 10*time.Second {
				return 50 * time.Millisecond, Success
			}
			if i == 0 && now > 50*time.Second {
				late++
			}
			return 5 * time.Millisecond, Success
		}, 4, 60_000)
		if late < 1000 {
			t.Errorf("%s: %d of about 10,000 requests after its recovery; in all %v", balance, late, counts)
		}
	}
}

func TestProbesAgeAndLeave(t *testing.T) {
	p := newPool(t, topology.Prequal, nil, 4)
	q := p.picker.(*prequal)
	for i, m := range p.Members() {
		p.Feed(m, Load{InFlight: int64(i), Latency: time.Duration(4-i) * time.Millisecond}, 0)
	}
	if q.n != 4 {
		t.Fatalf("%d probes", q.n)
	}
	p.Feed(p.Members()[0], Load{}, 0)
	if q.n != 4 {
		t.Fatalf("a second answer of one backend makes %d probes", q.n)
	}
	p.Set(p.Members()[:3])
	pick(t, p, new(Request), 0)
	for _, pr := range q.probes[:q.n] {
		if pr.member == nil || indexOf(p, Grant{Member: pr.member}) < 0 {
			t.Error("a probe of one that left is kept")
		}
	}
	pick(t, p, new(Request), 2*time.Second)
	if q.n != 0 {
		t.Errorf("%d probes after two seconds", q.n)
	}
}

// The rule: cold before hot, the least latency among the cold, the least load among the hot.
func TestHotAndCold(t *testing.T) {
	q := &prequal{hotFrom: 5}
	for _, c := range []struct {
		a, b probe
		less bool
	}{
		{probe{rif: 5, latency: 9}, probe{rif: 6, latency: 1}, true},
		{probe{rif: 6, latency: 1}, probe{rif: 0, latency: 9}, false},
		{probe{rif: 4, latency: 1}, probe{rif: 0, latency: 2}, true},
		{probe{rif: 0, latency: 2}, probe{rif: 4, latency: 1}, false},
		{probe{rif: 8, latency: 9}, probe{rif: 9, latency: 1}, true},
	} {
		if q.less(&c.a, &c.b) != c.less {
			t.Errorf("%+v before %+v: want %v", c.a, c.b, c.less)
		}
	}
	if got := []int{reuse(10), reuse(16), reuse(24), reuse(100), reuse(1000)}; !slices.Equal(got, []int{math.MaxInt, math.MaxInt, math.MaxInt, 1, 1}) {
		t.Errorf("uses of a probe among 10, 16, 24, 100, 1000: %v", got)
	}
}

// A new backend's share rises from a tenth to the whole, under every policy; and where all are new, nothing is refused.
func TestSlowStart(t *testing.T) {
	const window = 100 * time.Second
	for _, balance := range topology.Balances() {
		p := named(t, balance, 5)
		p.SetSlowStart(window)
		last := p.Members()[4]
		last.Since = 200 * time.Second
		p.Set(p.Members())
		at := func(now time.Duration) (share float64) {
			n := 0
			for k := range 4000 {
				r := Request{Hash: mix(uint64(k)), Random: mix(uint64(k + 9999))}
				g := pick(t, p, &r, now)
				if g.Member == last {
					n++
				}
				var targets [ProbesPerCall]*Member
				for _, m := range targets[:p.ProbeTargets(&r, &targets)] {
					p.Feed(m, m.Load(), now)
				}
				p.Release(g, time.Millisecond, Success)
			}
			return float64(n) / 4000
		}
		cold, warm, hot := at(200*time.Second), at(250*time.Second), at(300*time.Second)
		if cold > 0.06 || warm > 0.17 || hot < 0.13 || !(cold < warm && warm < hot) {
			t.Errorf("%s: shares of 0.2: new %.3f, half-way %.3f, after that %.3f", balance, cold, warm, hot)
		}
		for _, m := range p.Members() {
			m.Since = 200 * time.Second
		}
		p.Set(p.Members())
		if share := at(200 * time.Second); share < 0.13 {
			t.Errorf("%s: all are new, and one of five has %.3f", balance, share)
		}
	}
}

func TestBoundRequests(t *testing.T) {
	p := named(t, topology.RoundRobin, 4)
	third := p.Members()[2]
	r := Request{Prefer: third.Key, Bound: true}
	for range 5 {
		if g := pick(t, p, &r, 0); g.Member != third {
			t.Fatal("a bound request went elsewhere")
		}
	}
	r.Exclude(third)
	if g := pick(t, p, &r, 0); g.Member == third {
		t.Error("a retry went to the backend that had failed")
	}
	if !p.Has(third.Key) || p.Has(1) {
		t.Error("Has is wrong")
	}
	if pick(t, p, &Request{Prefer: 1, Bound: true}, 0).Member == nil {
		t.Error("a request bound to one that is gone found none")
	}
}

// No policy allocates when it picks.
func TestPickAllocatesNothing(t *testing.T) {
	for _, balance := range topology.Balances() {
		p := named(t, balance, 20)
		p.SetSlowStart(time.Second)
		var r Request
		now := time.Duration(0)
		if n := testing.AllocsPerRun(200, func() {
			now += 10 * time.Millisecond
			r.Hash, r.Random = r.Hash+1, r.Random+1
			g, _ := p.Pick(&r, now)
			var targets [ProbesPerCall]*Member
			for _, m := range targets[:p.ProbeTargets(&r, &targets)] {
				p.Feed(m, m.Load(), now)
			}
			p.Report(g, now, Success)
			p.Release(g, time.Millisecond, Success)
		}); n != 0 {
			t.Errorf("%s: %v allocations", balance, n)
		}
	}
}
