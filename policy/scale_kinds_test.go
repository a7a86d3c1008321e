package policy

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// The worked examples of Knative's documentation and of its autoscaler's tests: a target of 10 with all of it used.
func TestKnativeScaler(t *testing.T) {
	full := KnativeConfig{Target: 10, Utilization: 1, Max: 10_000}
	for _, c := range []struct {
		name    string
		cfg     KnativeConfig
		samples []float64 // in flight, one each 2 s; the last is at the decision
		u       Usage     // replicas
		want    int
		why     ScaleReason
	}{
		{"nothing changes", full, repeat(100, 30), Usage{Replicas: 10, Ready: 10}, 10, ScaleInFlight},
		{"grows to the average", full, repeat(150, 30), Usage{Replicas: 10, Ready: 10}, 15, ScaleInFlight},
		{"shrinks by half at most", full, repeat(10, 30), Usage{Replicas: 10, Ready: 10}, 5, ScaleInFlight},
		{"panics at twice", full, append(repeat(100, 27), 200, 200, 200), Usage{Replicas: 10, Ready: 10}, 20, ScalePanic},
		{"does not panic below", full, append(repeat(100, 27), 190, 190, 190), Usage{Replicas: 10, Ready: 10}, 11, ScaleInFlight},
		{"70 % of the target", KnativeConfig{Target: 100, Max: 100}, repeat(700, 30), Usage{Replicas: 10, Ready: 10}, 10, ScaleInFlight},
		{"at most so many times as many", KnativeConfig{Target: 10, Utilization: 1, MaxUp: 3, Max: 1000}, repeat(1000, 30), Usage{Replicas: 2, Ready: 2}, 6, ScalePanic},
		{"bounded", KnativeConfig{Target: 1, Utilization: 1, Max: 7}, repeat(100, 30), Usage{Replicas: 5, Ready: 5}, 7, ScaleMax},
	} {
		s := NewKnativeScaler(c.cfg)
		var n int
		var why ScaleReason
		for i, v := range c.samples {
			c.u.InFlight = v
			n, why = s.Decide(time.Duration(i)*2*time.Second, c.u)
		}
		if n != c.want || why != c.why {
			t.Errorf("%s: %d (%v), want %d (%v)", c.name, n, why, c.want, c.why)
		}
	}
}

func repeat(v float64, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = v
	}
	return out
}

// In panic nothing is taken away; it ends a stable window after it was last asked for.
func TestKnativePanicHoldsAndEnds(t *testing.T) {
	s := NewKnativeScaler(KnativeConfig{Target: 10, Utilization: 1, Max: 100})
	n := 2
	var why ScaleReason
	for tick := range 60 {
		now := time.Duration(tick) * 2 * time.Second
		load := 20.0
		if tick >= 10 && tick < 15 {
			load = 200
		}
		before := n
		n, why = s.Decide(now, Usage{Replicas: n, Ready: n, InFlight: load})
		if why == ScalePanic && n < before {
			t.Fatalf("at %v: %d replicas after %d, in panic", now, n, before)
		}
	}
	if why == ScalePanic || n != 2 {
		t.Errorf("long after the burst: %d replicas (%v), want 2 without panic", n, why)
	}
}

func TestKnativeKeepsTheLastReplicaForItsGrace(t *testing.T) {
	s := NewKnativeScaler(KnativeConfig{Target: 10, Max: 10})
	for sec := 0; sec <= 120; sec += 2 {
		n, _ := s.Decide(time.Duration(sec)*time.Second, Usage{Replicas: 1, Ready: 1})
		want := 1
		if sec >= 30 {
			want = 0
		}
		if n != want {
			t.Fatalf("after %d s without load: %d replicas, want %d", sec, n, want)
		}
	}
}

// Out after three minutes above the target, in after fifteen below nine tenths of it, in proportion.
func TestTrackingScaler(t *testing.T) {
	s := NewTrackingScaler(TrackingConfig{Target: 100, Max: 100})
	n := 10
	at := func(minute int, rate float64) int {
		for tick := range 4 {
			now := time.Duration(minute)*time.Minute + time.Duration(tick)*15*time.Second
			n, _ = s.Decide(now, Usage{Replicas: n, Ready: n, Requests: rate})
		}
		return n
	}
	minute := 0
	for ; minute < 5; minute++ {
		if got := at(minute, 950); got != 10 {
			t.Fatalf("minute %d, at 95 %% of the target: %d replicas, want 10", minute, got)
		}
	}
	grown := -1
	for ; minute < 12; minute++ {
		if got := at(minute, 1500); got != 10 && grown < 0 {
			grown = minute
			if got != 15 {
				t.Fatalf("grew to %d, want 15", got)
			}
		}
	}
	if grown != 8 {
		t.Errorf("grew in minute %d, want 8: three data points after minute 5", grown)
	}
	shrunk := -1
	for ; minute < 40; minute++ {
		if got := at(minute, 500); got < 15 && shrunk < 0 {
			shrunk = minute
		}
	}
	if shrunk < 12+14 || shrunk > 12+17 {
		t.Errorf("shrank in minute %d, want about 15 after minute 12", shrunk)
	}
}

func TestStepScaler(t *testing.T) {
	for _, c := range []struct {
		rate float64
		want int
	}{
		{1900, 15}, {2500, 20}, {1010, 11}, {990, 10}, {690, 9}, {400, 8}, {1300, 13},
	} {
		s := NewStepScaler(StepConfig{Target: 100, Max: 100})
		var n int
		for tick := range 5 {
			n, _ = s.Decide(time.Duration(tick)*15*time.Second, Usage{Replicas: 10, Ready: 10, Requests: c.rate})
			if tick == 0 && n != c.want {
				t.Errorf("at %v/s: %d replicas, want %d", c.rate, n, c.want)
			}
		}
		if n != 10 {
			t.Errorf("at %v/s: a second step within the cool-down, to %d", c.rate, n)
		}
	}
}

func TestPredictiveScaler(t *testing.T) {
	need := func(rate float64) int { return int(math.Ceil(rate / 100)) }
	for _, c := range []struct {
		name string
		u    Usage
		o    Outlook
		aim  float64
		want int
		why  ScaleReason
	}{
		{"the forecast asks for more", Usage{Replicas: 5, Requests: 500}, Outlook{Until: 900, Beyond: 900}, 0, 9, ScaleForecast},
		{"with headroom, at 5 as usual of a quarter", Usage{Replicas: 5, Requests: 500}, Outlook{Until: 500, Beyond: 500}, 0.8, 7, ScaleForecast},
		{"which grows with the square root", Usage{Replicas: 5, Requests: 400}, Outlook{Until: 1600, Beyond: 1600}, 0.8, 18, ScaleForecast},
		{"with headroom on what is measured", Usage{Replicas: 5, Requests: 1600}, Outlook{}, 0.8, 18, ScaleRequests},
		{"what is measured beats the forecast", Usage{Replicas: 5, Requests: 1200}, Outlook{Until: 300, Beyond: 300}, 0, 12, ScaleRequests},
		{"without a forecast", Usage{Replicas: 5, Requests: 700}, Outlook{}, 0, 7, ScaleRequests},
		{"fewer, since all allow it", Usage{Replicas: 9, Requests: 300}, Outlook{Until: 400, Beyond: 400}, 0, 4, ScaleForecast},
		{"not fewer when they will be wanted", Usage{Replicas: 9, Requests: 300}, Outlook{Until: 400, Beyond: 800}, 0, 8, ScaleStabilised},
		{"nonsense is no load", Usage{Replicas: 2, Requests: math.NaN()}, Outlook{Until: math.Inf(1), Beyond: math.NaN()}, 0, 1, ScaleMin},
		{"bounded", Usage{Replicas: 9, Requests: 1e12}, Outlook{Until: 1e15}, 0, 20, ScaleMax},
	} {
		s := NewPredictiveScaler(PredictiveConfig{Need: need, Utilization: c.aim, Min: 1, Max: 20})
		if n, why := s.Decide(0, c.u, c.o); n != c.want || why != c.why {
			t.Errorf("%s: %d (%v), want %d (%v)", c.name, n, why, c.want, c.why)
		}
	}
}

func TestPredictiveScalerWaitsForItsCoolDown(t *testing.T) {
	s := NewPredictiveScaler(PredictiveConfig{Need: func(r float64) int { return int(r) }, CoolDown: 5 * time.Minute, Max: 100})
	if n, _ := s.Decide(0, Usage{Replicas: 50, Requests: 50}, Outlook{}); n != 50 {
		t.Fatalf("%d replicas, want 50", n)
	}
	if n, why := s.Decide(4*time.Minute, Usage{Replicas: 50, Requests: 10}, Outlook{}); n != 50 || why != ScaleStabilised {
		t.Errorf("within the cool-down: %d (%v), want 50", n, why)
	}
	if n, _ := s.Decide(6*time.Minute, Usage{Replicas: 50, Requests: 10}, Outlook{}); n != 10 {
		t.Errorf("after the cool-down: %d, want 10", n)
	}
}

// Whatever they are told, all kinds stay within their bounds.
func TestScalersStayWithinTheirBounds(t *testing.T) {
	odd := []float64{math.NaN(), math.Inf(1), math.Inf(-1), -5, 0, 1e300}
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		least, most := rng.IntN(3), 3+rng.IntN(40)
		knative := NewKnativeScaler(KnativeConfig{Target: 10, Min: least, Max: most})
		tracking := NewTrackingScaler(TrackingConfig{Target: 10, Min: least, Max: most})
		steps := NewStepScaler(StepConfig{Target: 10, Min: least, Max: most})
		predictive := NewPredictiveScaler(PredictiveConfig{Need: func(r float64) int { return int(math.Min(r/10, 1e9)) }, Utilization: 0.8, Min: least, Max: most})
		insured := NewInsuredScaler(InsuredConfig{Predictive: PredictiveConfig{Need: func(r float64) int { return int(math.Min(r/10, 1e9)) }, Utilization: 0.8, Min: least, Max: most},
			Reactive: NewScaler(topology.Scale{Target: topology.ScaleTarget{Requests: 8}}, least, most).Decide})
		var n [5]int
		for tick := range 400 {
			now := time.Duration(tick) * 15 * time.Second
			value := func() float64 {
				if rng.IntN(5) == 0 {
					return odd[rng.IntN(len(odd))]
				}
				return 500 * rng.Float64()
			}
			u := Usage{Requests: value(), InFlight: value()}
			for i := range n {
				u.Replicas, u.Ready = n[i], rng.IntN(n[i]+1)
				switch i {
				case 0:
					n[i], _ = knative.Decide(now, u)
				case 1:
					n[i], _ = tracking.Decide(now, u)
				case 2:
					n[i], _ = steps.Decide(now, u)
				case 3:
					n[i], _ = predictive.Decide(now, u, Outlook{Until: value(), Beyond: value()})
				case 4:
					n[i] = insured.Decide(Moment{Now: now, Usage: u, Load: value(), Outlook: Outlook{Until: value(), Beyond: value()}, Start: time.Minute, Least: rng.IntN(60) - 50}).Replicas
				}
				if n[i] < least || n[i] > most {
					t.Fatalf("seed %d, scaler %d: %d replicas, outside of %d to %d", seed, i, n[i], least, most)
				}
			}
		}
	}
}
