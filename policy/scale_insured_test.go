package policy

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestImaginedFleet(t *testing.T) {
	f := NewImaginedFleet(3)
	f.Resize(5, 10*time.Second)
	f.Resize(9, 20*time.Second)
	check := func(what string, ready, total int) {
		t.Helper()
		if f.Ready() != ready || f.Total() != total {
			t.Errorf("%s: %d ready of %d, want %d of %d", what, f.Ready(), f.Total(), ready, total)
		}
	}
	check("asked for", 3, 9)
	f.Arrive(10 * time.Second)
	check("the first have started", 5, 9)
	f.Resize(6, 30*time.Second)
	check("the youngest went", 5, 6)
	f.Resize(2, 30*time.Second)
	check("those that serve went too", 2, 2)
	f.Arrive(time.Minute)
	check("nothing is left to start", 2, 2)
	f.Resize(-1, 0)
	check("none", 0, 0)
}

// insuredPlay plays an InsuredScaler whose fleet is as it says, and returns what it asked for at each of the steps.
type insuredPlay struct {
	s     *InsuredScaler
	fleet ImaginedFleet
	now   time.Duration
	got   InsuredDecision
}

const insuredStart = time.Minute

func newInsuredPlay(reactive func(time.Duration, Usage) (int, ScaleReason), ready int) *insuredPlay {
	return &insuredPlay{fleet: NewImaginedFleet(ready), s: NewInsuredScaler(InsuredConfig{Reactive: reactive,
		Predictive: PredictiveConfig{Need: func(r float64) int { return int(math.Ceil(r / 10)) }, Min: 1, Max: 100}})}
}

func (p *insuredPlay) step(rate, foretold float64) (replicas int, why ScaleReason) {
	p.now += 15 * time.Second
	p.fleet.Arrive(p.now)
	p.got = p.s.Decide(Moment{Now: p.now, Usage: Usage{Replicas: p.fleet.Total(), Ready: p.fleet.Ready(), Requests: rate}, Load: rate,
		Outlook: Outlook{Until: foretold, Beyond: foretold}, Start: insuredStart})
	p.fleet.Resize(p.got.Replicas, p.now+insuredStart)
	return p.got.Replicas, p.got.Why
}

func (p *insuredPlay) ahead() bool { return p.s.followed == SidePredictive }

func always(n int) func(time.Duration, Usage) (int, ScaleReason) {
	return func(time.Duration, Usage) (int, ScaleReason) { return n, ScaleRequests }
}

// Without proof it does exactly what the reactive policy does; with it, what the predictive one does; and when that fails it
// goes back before it has lost more than it was seen to save.
func TestInsuredScalerWantsProof(t *testing.T) {
	p := newInsuredPlay(always(20), 20)
	for i := range 8 { // two blocks of a start-up
		if n, _ := p.step(100, 120); n != 20 {
			t.Fatalf("step %d: %d replicas before there is any proof, want the reactive policy's 20", i, n)
		}
	}
	for range 40 {
		p.step(100, 120)
	}
	if n, why := p.step(100, 120); n != 12 || why != ScaleForecast || !p.ahead() {
		t.Fatalf("with proof: %d replicas (%v), want the predictive policy's 12", n, why)
	}
	// From now on the forecast is too low, and the replicas that are missing cost more than all that was saved.
	var lost int
	for lost = 0; lost < 100 && p.ahead(); lost++ {
		p.step(150, 0)
		p.step(10, 0)
	}
	if lost > 10 {
		t.Errorf("it was followed for %d steps of missing replicas", 2*lost)
	}
	for range 8 {
		p.step(150, 0)
	}
	if n, _ := p.step(150, 0); n != 20 {
		t.Errorf("after the failure: %d replicas, want the reactive policy's 20", n)
	}
}

// A change from one policy to the other takes nothing away until what the other one has would have started.
func TestInsuredScalerOverlaps(t *testing.T) {
	n := 20
	p := newInsuredPlay(func(time.Duration, Usage) (int, ScaleReason) { return n, ScaleRequests }, 20)
	for !p.ahead() {
		if got, _ := p.step(100, 120); got != 20 {
			t.Fatalf("%d replicas, want 20: there was no proof before this decision", got)
		}
	}
	until := p.now + insuredStart
	for p.now+15*time.Second < until {
		if got, _ := p.step(100, 120); got != 20 {
			t.Errorf("%v before the other fleet would have started: %d replicas, want the larger number, 20", until-p.now, got)
		}
	}
	if got, _ := p.step(100, 120); got != 12 {
		t.Errorf("after that: %d replicas, want 12", got)
	}
}

// On noise no forecast can foresee, it is the reactive policy: where the predictive one only has other luck.
func TestInsuredScalerIsNotTakenInByLuck(t *testing.T) {
	followed := 0
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 9))
		p := newInsuredPlay(func(time.Duration, Usage) (int, ScaleReason) { return 12 + rng.IntN(4), ScaleRequests }, 13)
		for range 2000 {
			p.step(100+20*rng.Float64(), float64(120+10*rng.IntN(4)))
			if p.ahead() {
				followed++
			}
		}
	}
	if followed > 20*2000/5 {
		t.Errorf("followed in %d of %d decisions", followed, 20*2000)
	}
}

// Once a day has been seen, it is the predictive policy that has to be proved worse.
func TestInsuredScalerTrustsAfterADay(t *testing.T) {
	for name, c := range map[string]struct {
		reactive [2]int // replicas of the reactive policy, in turns of a block; the predictive one has 13
		want     bool
	}{
		"about the same": {[2]int{12, 15}, true},
		"better":         {[2]int{14, 15}, true},
		"proved worse":   {[2]int{10, 12}, false},
	} {
		asked := 0
		p := newInsuredPlay(func(time.Duration, Usage) (int, ScaleReason) {
			asked++
			return c.reactive[asked/16%2], ScaleRequests
		}, 13)
		for p.now < probation+time.Hour {
			p.step(95, 130)
		}
		if p.ahead() != c.want {
			t.Errorf("%s: the predictive policy is followed: %v, want %v", name, p.ahead(), c.want)
		}
		// The forecast fails; the reactive policy, 15 by now, does not.
		c.reactive = [2]int{15, 15}
		for range 400 {
			p.step(140, 0)
			p.step(10, 0)
		}
		if p.ahead() {
			t.Errorf("%s: the predictive policy is followed where it has failed for hours", name)
		}
	}
}

// A day of a few long intervals proves nothing: until there have been more, the larger of the two counts.
func TestInsuredScalerInDoubt(t *testing.T) {
	p := newInsuredPlay(always(15), 15)
	p.s.cfg.Interval = 30 * time.Minute
	for p.now < probation+time.Hour {
		p.step(100, 125)
	}
	if n, _ := p.step(100, 125); n != 15 {
		t.Errorf("after a day of %d intervals: %d replicas, want the larger number, 15", probation/p.s.cfg.Interval, n)
	}
	for p.now < (leastIntervals+10)*p.s.cfg.Interval {
		p.step(100, 125)
	}
	if n, _ := p.step(100, 125); n != 13 {
		t.Errorf("after %d intervals: %d replicas, want the predictive policy's 13", leastIntervals, n)
	}
}
