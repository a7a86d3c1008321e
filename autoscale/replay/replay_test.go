package replay

import (
	"context"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/policy"
)

func linear(t *testing.T, each float64) *autoscale.Capacity {
	t.Helper()
	c, err := autoscale.LinearCapacity(each)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// script is a policy that asks for given numbers, one after another, and notes what it was shown.
type script struct {
	want []int
	seen []policy.Usage
}

func (*script) observe(int) {}

func (s *script) decide(_ time.Duration, u policy.Usage) int {
	s.seen = append(s.seen, u)
	return s.want[min(len(s.seen), len(s.want))-1]
}

// Replicas serve after their start-up delay, are paid for at once, and the youngest go first.
func TestThePlant(t *testing.T) {
	p := Plant{Capacity: linear(t, 10), StartUp: 2 * time.Minute, Tick: time.Minute, Min: 1, Max: 10}
	s := &script{want: []int{1, 4, 4, 3, 3, 3}}
	out := p.play(Trace{time.Minute, []float64{10, 10, 10, 30, 30, 30}}, s)
	ready := []int{1, 1, 1, 1, 3, 3}
	total := []int{1, 1, 4, 4, 3, 3}
	for i, u := range s.seen {
		if i == 3 {
			// Two of the three that were started at 1 min serve from 3 min on; one was taken away at that very instant.
			if u.Ready != 4 {
				t.Errorf("minute 3: %d ready, want 4", u.Ready)
			}
			continue
		}
		if u.Ready != ready[i] || u.Replicas != total[i] {
			t.Errorf("minute %d: %d ready of %d, want %d of %d", i, u.Ready, u.Replicas, ready[i], total[i])
		}
	}
	if out.Violated != 0 || out.Changes != 2 || math.Abs(out.ReplicaHours*60-18) > 1e-9 || math.Abs(out.Oracle*60-12) > 1e-9 {
		t.Errorf("outcome %+v: want no violation, 2 changes, 18 replica-minutes, the oracle's 12", out)
	}
	late := p.play(Trace{time.Minute, []float64{10, 10, 10, 30, 30, 30}}, &script{want: []int{1, 1, 4}})
	if late.Violated != 1 || late.Affected != 1800 {
		t.Errorf("started a minute later: %d steps and %v requests, want 1 and 1800", late.Violated, late.Affected)
	}
}

// A policy never sees a step's rate before the first tick of the step has passed.
func TestMeasurementsLag(t *testing.T) {
	p := Plant{Capacity: linear(t, 10), Tick: 15 * time.Second, Min: 1, Max: 10}
	s := &script{want: []int{1}}
	p.play(Trace{time.Minute, []float64{10, 20, math.NaN(), 40}}, s)
	want := []float64{10, 10, 10, 10, 10, 20, 20, 20, 20, 20, 20, 20, 20, 40, 40, 40}
	for i, u := range s.seen {
		if u.Requests != want[i] {
			t.Errorf("tick %d: shown %v/s, want %v", i, u.Requests, want[i])
		}
	}
}

func made(days int, rng *rand.Rand) Trace {
	tr := Trace{Step: time.Minute}
	for i := range days * 1440 {
		wave := 1 + 0.7*math.Sin(2*math.Pi*float64(i)/1440) + 0.2*math.Sin(6*math.Pi*float64(i)/1440)
		tr.Rates = append(tr.Rates, 400*wave*(1+0.04*rng.NormFloat64()))
	}
	return tr
}

// On traffic with a day, forecasting pays; where nothing can be foretold it costs next to nothing more.
func TestPredictivePays(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	noise := Trace{Step: time.Minute}
	for range 4 * 1440 {
		noise.Rates = append(noise.Rates, 400*math.Exp(0.3*rng.NormFloat64()))
	}
	for name, c := range map[string]struct {
		tr   Trace
		most float64
	}{"a day's wave": {made(5, rng), 0.97}, "noise": {noise, 1.03}} {
		p := Plant{Capacity: linear(t, 20), StartUp: 3 * time.Minute, Tick: 15 * time.Second, Min: 1, Max: 500, WarmUp: 2 * 1440}
		got, err := Compare(context.Background(), c.tr, p, []string{"predictive", "hpa"}, 0.995)
		if err != nil {
			t.Fatal(err)
		}
		a, b := got.Results[0], got.Results[1]
		if !a.Reached || !b.Reached {
			t.Fatalf("%s: predictive reached %v, hpa %v", name, a.Reached, b.Reached)
		}
		t.Logf("%s: predictive %.3f, hpa %.3f of the oracle", name, a.Cost, b.Cost)
		if a.Cost > c.most*b.Cost {
			t.Errorf("%s: predictive costs %.3f of the oracle, hpa %.3f: want at most %.2f of that", name, a.Cost, b.Cost, c.most)
		}
		if a.At.Held() < 0.995 || a.Cost < 1 {
			t.Errorf("%s: holds %.4f at %.3f of the oracle", name, a.At.Held(), a.Cost)
		}
	}
}

func TestEveryPolicyPlays(t *testing.T) {
	tr := made(2, rand.New(rand.NewPCG(2, 2)))
	tr.Rates[100], tr.Rates[2000] = math.NaN(), 1e12
	p := Plant{Capacity: linear(t, 20), StartUp: time.Minute, Tick: 15 * time.Second, Min: 1, Max: 200, WarmUp: 400}
	got, err := Compare(context.Background(), tr, p, Policies(), 0.99)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range got.Results {
		if !r.Reached {
			t.Errorf("%s: not reached", r.Policy)
		}
		for _, point := range r.Curve {
			if !(point.Cost() > 0.2) || point.Steps != got.Steps || point.ReplicaHours > 200*tr.Step.Hours()*float64(point.Steps)+1e-6 {
				t.Errorf("%s at %v: %+v", r.Policy, point.Knob, point.Outcome)
			}
		}
	}
	page := got.HTML("made <traffic>")
	if !strings.Contains(page, "made &lt;traffic&gt;") || strings.Contains(page, "NaN") || strings.Contains(page, "<script") {
		t.Error("the page is wrong")
	}
}

func TestRefusesWhatItCannotPlay(t *testing.T) {
	tr := Trace{time.Minute, []float64{1, 2, 3, 4}}
	ok := Plant{Capacity: linear(t, 1), Tick: time.Minute, Min: 0, Max: 5}
	for name, c := range map[string]struct {
		tr    Trace
		with  func(p *Plant)
		names []string
		hold  float64
		want  string
	}{
		"no step":        {Trace{0, tr.Rates}, nil, nil, 0.9, "no step"},
		"empty":          {Trace{time.Minute, nil}, nil, nil, 0.9, "nothing is left"},
		"all warm-up":    {tr, func(p *Plant) { p.WarmUp = 4 }, nil, 0.9, "nothing is left"},
		"no traffic":     {Trace{time.Minute, make([]float64, 9)}, nil, nil, 0.9, "no request"},
		"all missing":    {Trace{time.Minute, []float64{math.NaN(), math.NaN(), math.NaN()}}, nil, nil, 0.9, "no request"},
		"no tick":        {tr, func(p *Plant) { p.Tick = 0 }, nil, 0.9, "tick"},
		"bounds":         {tr, func(p *Plant) { p.Min = 9 }, nil, 0.9, "replicas"},
		"unknown policy": {tr, nil, []string{"magic"}, 0.9, `"magic" is unknown`},
		"objective":      {tr, nil, []string{"hpa"}, 1.5, "objective"},
		"tiny tick":      {tr, func(p *Plant) { p.Tick = 1 }, nil, 0.9, "decisions"},
	} {
		p := ok
		if c.with != nil {
			c.with(&p)
		}
		if _, err := Compare(context.Background(), c.tr, p, c.names, c.hold); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

func TestStopsWhenToldTo(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	p := Plant{Capacity: linear(t, 20), Tick: 15 * time.Second, Min: 1, Max: 100}
	if _, err := Compare(ctx, made(1, rand.New(rand.NewPCG(3, 3))), p, []string{"hpa"}, 0.9); err == nil {
		t.Error("no error")
	}
}

func TestCoarser(t *testing.T) {
	nan := math.NaN()
	got := Trace{time.Second, []float64{1, 3, nan, 5, nan, nan, 9}}.Coarser(2 * time.Second)
	if got.Step != 2*time.Second || len(got.Rates) != 3 || got.Rates[0] != 2 || got.Rates[1] != 5 || !math.IsNaN(got.Rates[2]) {
		t.Errorf("%+v", got)
	}
}
