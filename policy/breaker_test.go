package policy

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

var testBreaker = topology.Breaker{
	Failures: 3, Open: topology.Duration(time.Second), MaxOpen: topology.Duration(4 * time.Second), MaxEjected: 1,
}

func fail(t *testing.T, b *Breaker, now time.Duration, n int) {
	t.Helper()
	for range n {
		ticket, ok := b.Admit(now, true)
		if !ok {
			t.Fatalf("at %v: not admitted", now)
		}
		if b.Report(now, ticket, Failure) {
			b.Trip(now)
		}
	}
}

func TestBreakerOpensAndProbes(t *testing.T) {
	const s = time.Second
	b := NewBreaker(testBreaker)
	fail(t, b, 0, 2)
	b.Report(0, 0, Success) // a success in between
	fail(t, b, 0, 2)
	b.Report(0, 0, Neutral) // which a neutral outcome is not
	if b.State() != BreakerClosed {
		t.Fatal("opened too early")
	}
	fail(t, b, 0, 1)
	now := time.Duration(0)
	for i, pause := range []time.Duration{s, 2 * s, 4 * s, 4 * s} {
		if _, ok := b.Admit(now+pause-1, true); ok || b.State() != BreakerOpen {
			t.Fatalf("pause %d: a call passed before %v", i, pause)
		}
		now += pause
		probe, ok := b.Admit(now, true)
		if !ok || probe == 0 {
			t.Fatalf("pause %d: no probe after %v", i, pause)
		}
		if _, ok := b.Admit(now, true); ok {
			t.Fatalf("pause %d: a second probe passed", i)
		}
		b.Report(now, 0, Success) // of a call that began before: says nothing
		if b.State() != BreakerHalfOpen {
			t.Fatalf("pause %d: %v", i, b.State())
		}
		b.Report(now, probe, Failure)
	}
	now += 4 * s
	probe, _ := b.Admit(now, true)
	b.Report(now, probe, Neutral)
	if probe, _ = b.Admit(now, true); probe == 0 {
		t.Fatal("after a neutral probe, the next call is none")
	}
	b.Report(now, probe, Success)
	if b.State() != BreakerClosed {
		t.Fatalf("after a good probe: %v", b.State())
	}
	fail(t, b, now, 3)
	if !b.Admits(now+s, true) {
		t.Error("closing did not reset the pause")
	}
}

func TestBreakerPrefersRepeatableProbes(t *testing.T) {
	b := NewBreaker(testBreaker)
	fail(t, b, 0, 3)
	if b.Admits(1500*time.Millisecond, false) || !b.Admits(time.Second, true) {
		t.Error("a call that cannot be repeated was taken as the probe at once")
	}
	if !b.Admits(2*time.Second, false) {
		t.Error("without repeatable calls nothing ever probes")
	}
}

func TestBreakerGivesALostProbeUp(t *testing.T) {
	b := NewBreaker(testBreaker)
	fail(t, b, 0, 3)
	lost, _ := b.Admit(time.Second, true)
	if b.Admits(5*time.Second-1, true) {
		t.Fatal("two probes at once")
	}
	probe, ok := b.Admit(5*time.Second, true)
	if !ok {
		t.Fatal("stuck half-open")
	}
	b.Report(5*time.Second, lost, Failure)
	if b.State() != BreakerHalfOpen {
		t.Error("the lost probe counted")
	}
	b.Report(6*time.Second, probe, Success)
	if b.State() != BreakerClosed {
		t.Error("the second probe did not count")
	}
	for range 3 {
		if b.Report(7*time.Second, lost, Failure) {
			t.Error("the lost probe counts against the closed breaker")
		}
	}
}

// naiveBreaker is the same machine in the plainest words.
type naiveBreaker struct {
	cfg      topology.Breaker
	state    string
	failures int
	pause    time.Duration
	until    time.Duration
	probe    int // number of the call that probes
}

func (n *naiveBreaker) admit(now time.Duration, call int) bool {
	switch n.state {
	case "open":
		if now < n.until {
			return false
		}
	case "half-open":
		if now < n.until+n.cfg.MaxOpen.Std() {
			return false
		}
	default:
		return true
	}
	n.state, n.probe, n.until = "half-open", call, now
	return true
}

func (n *naiveBreaker) report(now time.Duration, call, since int, o Outcome) {
	switch {
	case n.state == "closed" && since != 0 && o == Failure: // an ordinary call
		if n.failures++; n.failures >= n.cfg.Failures {
			n.state, n.pause, n.until = "open", n.cfg.Open.Std(), now+n.cfg.Open.Std()
		}
	case n.state == "closed" && since != 0 && o == Success:
		n.failures = 0
	case n.state == "half-open" && n.probe == call && o == Failure:
		n.pause = min(2*n.pause, n.cfg.MaxOpen.Std())
		n.state, n.until = "open", now+n.pause
	case n.state == "half-open" && n.probe == call && o == Success:
		n.state, n.failures = "closed", 0
	case n.state == "half-open" && n.probe == call:
		n.state, n.until = "open", now
	}
}

func TestBreakerAgainstNaiveModel(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 6))
		cfg := testBreaker
		cfg.Failures = 1 + rng.IntN(4)
		b, model := NewBreaker(cfg), &naiveBreaker{cfg: cfg, state: "closed"}
		type call struct {
			number   int
			ticket   Ticket
			ordinary int
		}
		var open []call
		now := time.Duration(0)
		history := ""
		for i := 1; i <= 400; i++ {
			now += time.Duration(rng.IntN(400)) * time.Millisecond
			if rng.IntN(2) == 0 {
				want := model.admit(now, i)
				ticket, ok := b.Admit(now, true)
				history += fmt.Sprintf("%v admit %d: %v\n", now, i, ok)
				if ok != want || (ok && (ticket != 0) != (model.state == "half-open")) {
					t.Fatalf("seed %d: want %v\n%s", seed, want, history)
				}
				if ok {
					c := call{number: i, ticket: ticket}
					if ticket == 0 {
						c.ordinary = 1
					}
					open = append(open, c)
				}
			} else if len(open) > 0 {
				k := rng.IntN(len(open))
				c := open[k]
				open = append(open[:k], open[k+1:]...)
				o := Outcome(rng.IntN(3))
				model.report(now, c.number, c.ordinary, o)
				if b.Report(now, c.ticket, o) {
					b.Trip(now)
				}
				history += fmt.Sprintf("%v report %d %v\n", now, c.number, o)
			}
			if b.State().String() != model.state {
				t.Fatalf("seed %d: %v, want %v\n%s", seed, b.State(), model.state, history)
			}
		}
	}
}

func TestMaxEjected(t *testing.T) {
	for _, c := range []struct {
		n      int
		share  topology.Percent
		opened int
	}{{1, 0.5, 0}, {2, 0.5, 1}, {3, 0.5, 1}, {4, 0.5, 2}, {10, 0.1, 1}, {10, 0.3, 3}, {4, 0, 0}, {4, 1, 4}} {
		cfg := testBreaker
		cfg.MaxEjected = c.share
		p := newPool(t, topology.RoundRobin, &cfg, c.n)
		// All fail, always.
		for range 100 * c.n {
			g, why := p.Pick(&Request{Repeatable: true}, 0)
			if why != Picked {
				break
			}
			p.Report(g, 0, Failure)
			p.Release(g, 0, Failure)
		}
		if got := p.ejected(p.Members()); got != c.opened {
			t.Errorf("%d backends, at most %v ejected: %d are", c.n, c.share, got)
		}
		_, why := p.Pick(&Request{}, 0)
		if want := c.opened == c.n; (why == AllBroken) != want {
			t.Errorf("%d backends, at most %v ejected: %v", c.n, c.share, why)
		}
	}
}

func TestBrokenBackendsAreUsedWhenTooFewAreLeft(t *testing.T) {
	cfg := testBreaker
	cfg.MaxEjected = 0.5
	p := newPool(t, topology.LeastRequest, &cfg, 4)
	m := p.Members()
	m[0].Breaker.Trip(0)
	m[1].Breaker.Trip(0)
	used := func() map[int]bool {
		seen := map[int]bool{}
		for range 20 {
			g := pick(t, p, &Request{}, 0)
			seen[int(indexOf(p, g))] = true
			p.Report(g, 0, Success)
			p.Release(g, 0, Success)
		}
		return seen
	}
	if seen := used(); len(seen) != 2 || seen[0] || seen[1] {
		t.Fatalf("broken backends used: %v", seen)
	}
	p.Set(m[:3]) // 2 of 3 broken: more than half
	if seen := used(); len(seen) != 3 {
		t.Fatalf("used only %v", seen)
	}
}

func TestProbeGetsItsRequest(t *testing.T) {
	for _, balance := range []topology.Balance{topology.RoundRobin, topology.LeastRequest} {
		p := newPool(t, balance, &topology.Breaker{Failures: 1, Open: topology.Duration(time.Second), MaxEjected: 0.5}, 2)
		p.Members()[0].Breaker.Trip(0)
		probes := 0
		for range 10 {
			g := pick(t, p, &Request{Repeatable: true}, time.Second)
			if g.Probe() {
				probes++
			} else if indexOf(p, g) == 0 {
				t.Errorf("%s: an ordinary call to a broken backend", balance)
			}
		}
		if probes != 1 {
			t.Errorf("%s: %d probes at once", balance, probes)
		}
	}
}

func BenchmarkBreakerClosed(b *testing.B) {
	br := NewBreaker(testBreaker)
	b.ReportAllocs()
	for b.Loop() {
		t, _ := br.Admit(0, true)
		br.Report(0, t, Success)
	}
}

// A probe that goes on is told as a success before it would be given up as lost.
func TestProbeTimeIsWithinTheLongestPause(t *testing.T) {
	for _, c := range []struct{ open, longest, want time.Duration }{
		{time.Second, 30 * time.Second, time.Second}, {time.Second, time.Second, time.Second / 2}, {0, time.Second, 0},
	} {
		p := newPool(t, topology.RoundRobin, &topology.Breaker{Failures: 1, Open: topology.Duration(c.open), MaxOpen: topology.Duration(c.longest), MaxEjected: 1}, 1)
		if got := p.ProbeTime(); got != c.want {
			t.Errorf("pauses of %v to %v: %v, want %v", c.open, c.longest, got, c.want)
		}
	}
}
