package policy

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

// oracle is a Foreteller that knows the traffic, and notes what it is told.
type oracle struct {
	rate func(at time.Duration) float64 // nil: the last rate
	now  time.Duration
	seen []float64
}

const oracleStep = 15 * time.Second

func (o *oracle) Observe(rate float64) {
	o.now += oracleStep
	o.seen = append(o.seen, rate)
}

func (o *oracle) Outlook(start time.Duration) stats.Outlook {
	last := o.seen[len(o.seen)-1]
	out := stats.Outlook{Ready: true, Masked: !(last < 1e8)}
	if o.rate == nil {
		return out
	}
	for ahead := time.Duration(0); ahead <= 5*time.Minute; ahead += oracleStep {
		out.Beyond = math.Max(out.Beyond, o.rate(o.now+ahead))
		if ahead <= start {
			out.Until = out.Beyond
		}
	}
	return out
}

// servicePlay plays a ServiceScaler against replicas that start as they should, each of which has a core.
type servicePlay struct {
	s     *ServiceScaler
	fleet ImaginedFleet
	now   time.Duration
	start time.Duration
	cost  float64 // of a request, in seconds of CPU
	got   ScaleDecision
}

func newServicePlay(scale topology.Scale, least, most int, ahead Foreteller) *servicePlay {
	scale.Predict = true
	scale.CoolDown = topology.Duration(2 * time.Minute)
	return &servicePlay{fleet: NewImaginedFleet(least), start: 2 * time.Minute,
		s: NewServiceScaler(ServiceConfig{Scale: scale, Min: least, Max: most, Interval: oracleStep, Ahead: ahead})}
}

func (p *servicePlay) step(rate float64) ScaleDecision {
	p.now += oracleStep
	p.fleet.Arrive(p.now)
	u := Usage{Replicas: p.fleet.Total(), Ready: p.fleet.Ready(), Requests: rate}
	if u.Ready > 0 {
		u.CPU = math.Min(1, rate*p.cost/float64(u.Ready))
	}
	p.got = p.s.Decide(p.now, u, p.start, 0)
	p.fleet.Resize(p.got.Replicas, p.now+p.start)
	return p.got
}

func halfHours(at time.Duration) float64 { return 500 - 450*math.Cos(2*math.Pi*at.Minutes()/30) }

// By whatever target, a forecast that sees waves coming for which the policy is too late is followed once it has proved that;
// until then the policy is, to the replica.
func TestServiceFollowsTheSideThatPays(t *testing.T) {
	for name, c := range map[string]struct {
		scale topology.Scale
		cost  float64
	}{
		"requests":            {topology.Scale{Target: topology.ScaleTarget{Requests: 70}}, 0},
		"CPU":                 {topology.Scale{Target: topology.ScaleTarget{CPU: 0.7}}, 0.01},
		"CPU before requests": {topology.Scale{Target: topology.ScaleTarget{CPU: 0.7, Requests: 1000}}, 0.01},
		"knative":             {topology.Scale{Policy: "knative", Target: topology.ScaleTarget{Requests: 70}}, 0},
		"tracking":            {topology.Scale{Policy: "tracking", Target: topology.ScaleTarget{CPU: 0.7}}, 0.01},
	} {
		ahead := newServicePlay(c.scale, 1, 40, &oracle{rate: halfHours})
		c.scale.Predict = false
		alone := newServicePlay(c.scale, 1, 40, nil)
		ahead.cost, alone.cost = c.cost, c.cost
		late, differed := 0, false
		for ahead.now < 4*time.Hour {
			rate := halfHours(ahead.now)
			d, plain := ahead.step(rate), alone.step(rate)
			if d.Insured && d.Sides.Followed == SidePredictive {
				if d.Sides.Proof != ProofGiven && d.Sides.Proof != ProofOverlap {
					t.Errorf("%s: followed since %v", name, d.Sides.Proof)
				}
				differed = true
			}
			if !differed && c.cost == 0 && d.Replicas != plain.Replicas {
				t.Fatalf("%s, at %v: %d replicas before anything was proved, the policy alone has %d", name, ahead.now, d.Replicas, plain.Replicas)
			}
			if ahead.now > 2*time.Hour && halfHours(ahead.now) > 101*float64(ahead.fleet.Ready()) {
				late++
			}
		}
		if !differed || late > 0 {
			t.Errorf("%s: the forecast was followed: %v; late %d times in the last two hours", name, differed, late)
		}
		if d := ahead.got; !d.Insured || d.Sides.Asked[SideReactive] != d.Reactive || d.Sides.Lead < d.Sides.Needed {
			t.Errorf("%s: decision %+v", name, d)
		}
	}
}

func TestTakes(t *testing.T) {
	for _, c := range []struct {
		name       string
		t          topology.ScaleTarget
		cost       float64
		each, busy float64
	}{
		{"requests", topology.ScaleTarget{Requests: 40}, 0, 40, 0.7},
		{"with a utilization", topology.ScaleTarget{Requests: 40, Utilization: 0.8}, 0, 40, 0.8},
		{"CPU", topology.ScaleTarget{CPU: 0.5}, 0.01, 50, 0.5},
		{"the tighter one", topology.ScaleTarget{CPU: 0.5, Requests: 40}, 0.01, 40, 0.7},
		{"the tighter one", topology.ScaleTarget{CPU: 0.5, Requests: 60}, 0.01, 50, 0.5},
		{"not known yet", topology.ScaleTarget{CPU: 0.5}, 0, 0, 0},
		{"nothing in requests", topology.ScaleTarget{Concurrency: 5, Queue: 9}, 0, 0, 0},
	} {
		if each, busy := Takes(c.t, c.cost); each != c.each || busy != c.busy {
			t.Errorf("%s: %v at %v, want %v at %v", c.name, each, busy, c.each, c.busy)
		}
	}
}

// Another target that is nearer holds the side that forecasts as well: a forecast knows nothing of messages that wait.
func TestAnotherTargetCountsAsRequests(t *testing.T) {
	p := newServicePlay(topology.Scale{Target: topology.ScaleTarget{Requests: 70, Queue: 100}}, 1, 40, &oracle{})
	d := p.s.Decide(15*time.Second, Usage{Replicas: 2, Ready: 2, Requests: 70, Queue: 800}, 0, 0)
	// 800 messages are 8 replicas' worth: as much as 560 requests a second, which 5.6 replicas of 100 hold, and half of the headroom.
	if d.Sides.Asked != [2]int{6, 7} {
		t.Errorf("asked for %v by the policy and the forecast, want 6 (as fast as it may grow) and 7", d.Sides.Asked)
	}
}

// Replicas that ought to serve and do not leave no room to take others away.
func TestFailedReplicasAreMissingOfBothSides(t *testing.T) {
	steady := func(time.Duration) float64 { return 500 }
	p := newServicePlay(topology.Scale{Target: topology.ScaleTarget{CPU: 0.5}}, 1, 40, &oracle{rate: steady})
	p.cost = 0.01
	for range 100 {
		p.step(500)
	}
	if p.got.Replicas != 10 || !p.got.Insured {
		t.Fatalf("500/s of 10 ms each at half of the CPU: %d replicas, want 10 (%+v)", p.got.Replicas, p.got)
	}
	for range 100 {
		p.now += oracleStep
		d := p.s.Decide(p.now, Usage{Replicas: 10, Ready: 4, Requests: 500, CPU: 1}, p.start, 0)
		if d.Replicas < 10 {
			t.Fatalf("six of ten replicas fail, the others are full: %d replicas (%v)", d.Replicas, d.Why)
		}
	}
	for range 100 {
		p.now += oracleStep
		if d := p.s.Decide(p.now, Usage{Replicas: 10}, p.start, 0); d.Replicas != 10 {
			t.Fatalf("all have failed, nothing is measured: %d replicas (%v), want the 10 that are wanted", d.Replicas, d.Why)
		}
	}
}

// From zero: whoever wakes a service wakes it in both fleets, and it grows from there, by CPU alone too.
func TestServiceGrowsFromZero(t *testing.T) {
	for name, target := range map[string]topology.ScaleTarget{"requests": {Requests: 50}, "CPU": {CPU: 0.5}} {
		p := newServicePlay(topology.Scale{Target: target}, 0, 40, &oracle{})
		p.cost, p.start = 0.01, 5*time.Second
		p.fleet = NewImaginedFleet(1)
		for range 40 {
			p.step(20)
		}
		for range 40 {
			p.step(0)
		}
		if p.got.Replicas != 0 {
			t.Errorf("%s: ten minutes without a request: %d replicas, want none", name, p.got.Replicas)
		}
		p.fleet = NewImaginedFleet(1) // a request woke it
		for range 20 {
			p.step(490)
		}
		if p.got.Replicas < 8 || p.got.Replicas > 12 {
			t.Errorf("%s: five minutes of 490/s: %d replicas, want about 10", name, p.got.Replicas)
		}
	}
}

// Values that the forecast takes for faults move the side that forecasts no more than the policy, and do not count as proof of anything.
func TestFaultsProveNothing(t *testing.T) {
	steady := func(time.Duration) float64 { return 500 }
	p := newServicePlay(topology.Scale{Target: topology.ScaleTarget{Requests: 70}}, 1, 40, &oracle{rate: steady})
	for i := range 2000 {
		rate := 500.0
		if i%50 == 49 {
			rate = []float64{1e9, math.NaN(), math.Inf(1), -7, 1e300}[i/50%5]
		}
		d := p.step(rate)
		if d.Replicas < 1 || d.Replicas > 40 {
			t.Fatalf("%d replicas", d.Replicas)
		}
		want := 8 // of 500/s
		if i%50 == 49 {
			want = d.Reactive // a surge may be true, and is believed as far as the policy believes it
		}
		if n := d.Sides.Asked[SidePredictive]; n > want || want > 16 {
			t.Fatalf("step %d, %v/s: the forecast asks for %d replicas, want at most %d", i, rate, n, want)
		}
	}
	// What is left of the fault: the policy's replicas, doubled and kept for the cool-down; none that were missing, at 199 each.
	if l := p.got.Sides; !(math.Abs(l.Lead) < 30) || !(l.Needed < 10) {
		t.Errorf("the forecast leads by %v replica-hours, %v would prove something", l.Lead, l.Needed)
	}
}

// Intervals in which nobody looked are missing ones, a decision that comes twice is one, and time that goes back stands still.
func TestGapsAndDuplicates(t *testing.T) {
	o := &oracle{}
	p := newServicePlay(topology.Scale{Target: topology.ScaleTarget{Requests: 70}}, 1, 40, o)
	for _, at := range []int{0, 15, 30, 30, 31, 20, 44, 106, 120} {
		p.s.Decide(time.Duration(at)*time.Second, Usage{Replicas: 1, Ready: 1, Requests: float64(at)}, 0, 0)
	}
	nan := math.NaN()
	if want := []float64{0, 15, 30, 44, nan, nan, nan, 106, 120}; !slices.EqualFunc(o.seen, want, func(a, b float64) bool {
		return a == b || math.IsNaN(a) && math.IsNaN(b)
	}) {
		t.Errorf("the forecast was told of %v, want %v", o.seen, want)
	}
	p.s.Decide(1e6*time.Hour, Usage{Replicas: 1, Ready: 1, Requests: 1}, 0, 0)
	if len(o.seen) > 2*mostGap {
		t.Errorf("after a gap of a century: told of %d intervals", len(o.seen))
	}
}

// What a history proves holds from the first decision on, with the replicas that there really are.
func TestLearnProves(t *testing.T) {
	jumps := func(at time.Duration) float64 {
		if at%(10*time.Minute) < 5*time.Minute {
			return 1000
		}
		return 100
	}
	var rates []float64
	for at := time.Duration(0); at < 12*time.Hour; at += oracleStep {
		rates = append(rates, jumps(at))
	}
	rates[50], rates[1000] = math.NaN(), 1e9
	p := newServicePlay(topology.Scale{Target: topology.ScaleTarget{Requests: 70}}, 1, 40, &oracle{rate: jumps})
	p.s.Learn(rates)
	if d := p.step(100); d.Sides.Followed != SidePredictive || d.Sides.Lead <= d.Sides.Needed || d.Replicas < 10 || d.Reactive != 2 {
		t.Errorf("after twelve hours of history, with one replica: %+v", d)
	}
	bare := newServicePlay(topology.Scale{Target: topology.ScaleTarget{CPU: 0.7}}, 1, 40, &oracle{rate: jumps})
	bare.cost = 0.01
	bare.s.Learn(rates)
	if d := bare.step(100); d.Sides.Followed != SideReactive || d.Sides.Lead != 0 {
		t.Errorf("nothing is known of what a request costs: %+v", d)
	}
}

func TestServiceDecidesWithoutAllocating(t *testing.T) {
	p := newServicePlay(topology.Scale{Target: topology.ScaleTarget{Requests: 70}}, 1, 40, constant{})
	i := 0
	if allocs := testing.AllocsPerRun(2000, func() {
		i++
		p.step(halfHours(time.Duration(i) * oracleStep))
	}); allocs > 0 {
		t.Errorf("%v allocations for each decision", allocs)
	}
}

// constant is a Foreteller to whom all is the same.
type constant struct{}

func (constant) Observe(float64)                     {}
func (constant) Outlook(time.Duration) stats.Outlook { return stats.Outlook{Until: 600, Beyond: 700} }
