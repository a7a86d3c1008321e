package policy

import (
	"math"
	"time"

	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

// Foreteller learns the rate of a service's requests and looks ahead; forecast.Predictor is one.
type Foreteller interface {
	// Observe takes the mean rate since the last decision.
	Observe(rate float64)
	// Outlook of someone to whom a start takes so long.
	Outlook(start time.Duration) stats.Outlook
}

// Parameters of a ServiceScaler that a file does not set.
const (
	// PresumedStart is what a start is taken to last before one was measured.
	PresumedStart = 10 * time.Second
	costMemory    = 0.1 // weight of the latest interval in what a request costs
	leastForCost  = 1.0 // requests a second that say what one costs
	leastSeen     = 40  // decisions before any is made by the forecast
)

// ServiceScaler decides for a service by what its file says: by the policy that it names, and where the file says
// 'predict' ahead of the traffic as well, the larger of the two. The forecast counts while it has been better than the
// last value of late. A service that may have no replica keeps one while it has requests.
//
// One goroutine at a time may call its methods.
type ServiceScaler struct {
	cfg        topology.Scale
	min, max   int
	reactive   func(now time.Duration, u Usage) (int, ScaleReason)
	predictive *PredictiveScaler
	ahead      Foreteller
	interval   time.Duration
	each       float64 // of the decision being made
	cost       float64 // replicas' worth of CPU that one request a second takes; 0: not known
	seen       int
	burst      int // replicas that the latest burst asked for, held for the cool-down
	burstAt    time.Duration
}

// ScaleInterval is the time between two decisions of a policy: that of the peer that it is of.
func ScaleInterval(cfg topology.Scale) time.Duration {
	if cfg.Policy == "knative" {
		return 2 * time.Second
	}
	return 15 * time.Second
}

// ScaleDecision is how many replicas there should be, and why.
type ScaleDecision struct {
	Replicas int
	Why      ScaleReason
	// Reactive is what is asked for without any forecast.
	Reactive int
	// Each is how many requests a second one replica takes at the tightest of its targets; 0: not known.
	Each float64
	// Outlook that was looked at, and whether it counted.
	Outlook     stats.Outlook
	OutlookUsed bool
}

// NewServiceScaler returns the autoscaler of a service between two bounds, which is asked at each interval. ahead may be
// nil: then nothing is forecast, as when the file does not say 'predict'.
func NewServiceScaler(cfg topology.Scale, least, most int, interval time.Duration, ahead Foreteller) *ServiceScaler {
	least = max(least, 0)
	s := &ServiceScaler{cfg: cfg, min: least, max: max(most, least, 1), interval: interval}
	s.reactive = s.policy()
	if cfg.Predict && ahead != nil {
		s.ahead = ahead
		s.predictive = NewPredictiveScaler(PredictiveConfig{CoolDown: cfg.CoolDown.Std(), Min: s.min, Max: s.max, Need: func(rate float64) int {
			return int(math.Min(math.Ceil(rate/s.each-1e-9), 1e9))
		}})
	}
	return s
}

// policy is how it reacts. Those that know one metric are given how many replicas' worth there is by the target that
// asks for most.
func (s *ServiceScaler) policy() func(time.Duration, Usage) (int, ScaleReason) {
	switch s.cfg.Policy {
	case "knative":
		k := NewKnativeScaler(KnativeConfig{Target: 1, Utilization: 1, Min: s.min, Max: s.max})
		return func(now time.Duration, u Usage) (int, ScaleReason) {
			worth := s.worth(u)
			return k.Decide(now, Usage{Replicas: u.Replicas, Ready: u.Ready, Requests: worth})
		}
	case "tracking":
		t := NewTrackingScaler(TrackingConfig{Target: 1, Min: s.min, Max: s.max})
		return func(now time.Duration, u Usage) (int, ScaleReason) {
			return t.Decide(now, Usage{Replicas: u.Replicas, Ready: u.Ready, Requests: s.worth(u)})
		}
	case "steps":
		t := NewStepScaler(StepConfig{Target: 1, CoolDown: s.cfg.CoolDown.Std(), Min: s.min, Max: s.max})
		return func(now time.Duration, u Usage) (int, ScaleReason) {
			return t.Decide(now, Usage{Replicas: u.Replicas, Ready: u.Ready, Requests: s.worth(u)})
		}
	}
	return NewScaler(s.cfg, s.min, s.max).Decide
}

// worth is how many replicas at their targets the load would fill.
func (s *ServiceScaler) worth(u Usage) float64 {
	worth := 0.0
	for _, level := range []struct{ total, target float64 }{
		{u.CPU * float64(u.Ready), float64(s.cfg.Target.CPU)}, {u.Requests, float64(s.cfg.Target.Requests)},
		{u.InFlight, s.cfg.Target.Concurrency}, {u.Queue, s.cfg.Target.Queue},
	} {
		if w := level.total / level.target; level.target > 0 && w >= 0 && !math.IsInf(w, 0) {
			worth = math.Max(worth, w)
		}
	}
	return worth
}

// Decide returns how many replicas there should be at an instant. start is how long the latest replica took to serve; 0:
// not known. least is how many a schedule asks for.
func (s *ServiceScaler) Decide(now time.Duration, u Usage, start time.Duration, least int) ScaleDecision {
	n, why := s.reactive(now, u)
	d := ScaleDecision{Replicas: n, Why: why, Reactive: n}
	s.learnCost(u)
	d.Each = s.takes()
	if s.predictive != nil {
		s.look(now, u, start, &d)
	}
	if d.Replicas < s.burst && now-s.burstAt < s.cfg.CoolDown.Std() {
		d.Replicas, d.Why = s.burst, ScalePanic
	}
	if d.Replicas < least {
		d.Replicas, d.Why = min(least, s.max), ScaleSchedule
	}
	if d.Replicas == 0 && (u.InFlight > 0 || u.Requests > 0) {
		d.Replicas, d.Why = 1, ScaleInFlight
	}
	return d
}

// A burst is so many times what the ready replicas take, in requests enough that it is not chance.
const (
	burstFactor   = 2.0
	leastForBurst = 30
)

// Burst looks at the requests that arrived within the last few seconds, between two decisions: where they are twice what
// the ready replicas take, it returns how many replicas take them, ok true. They are kept for the cool-down.
func (s *ServiceScaler) Burst(now time.Duration, u Usage, over time.Duration) (replicas int, ok bool) {
	each := s.takes()
	if !(each > 0) || !(u.Requests*over.Seconds() >= leastForBurst) || math.IsInf(u.Requests, 0) {
		return 0, false
	}
	need := int(math.Min(math.Ceil(u.Requests/each-1e-9), float64(s.max)))
	if float64(need) < burstFactor*math.Max(1, float64(u.Ready)) || need <= u.Replicas {
		return 0, false
	}
	s.burst, s.burstAt = need, now
	return need, true
}

// Learn takes the rates of earlier intervals, oldest first, NaN where one is not known, so that the forecast need not begin
// with nothing. It is called before the first decision.
func (s *ServiceScaler) Learn(rates []float64) {
	if s.ahead == nil {
		return
	}
	for _, rate := range rates {
		s.ahead.Observe(rate)
		if !math.IsNaN(rate) {
			s.seen++
		}
	}
}

func (s *ServiceScaler) look(now time.Duration, u Usage, start time.Duration, d *ScaleDecision) {
	s.ahead.Observe(u.Requests)
	s.seen++
	if start <= 0 {
		start = PresumedStart
	}
	d.Outlook = s.ahead.Outlook(start + s.interval)
	d.OutlookUsed = s.seen >= leastSeen && d.Outlook.Ready && d.Outlook.Skill > 0 && d.Each > 0
	var o Outlook
	if d.OutlookUsed {
		o = Outlook{Until: d.Outlook.Until, Beyond: d.Outlook.Beyond}
	}
	if !(d.Each > 0) {
		return
	}
	s.each = d.Each
	if n, why := s.predictive.Decide(now, u, o); n > d.Replicas {
		d.Replicas, d.Why = n, why
	}
}

// learnCost of a request, from an interval that had enough of them.
func (s *ServiceScaler) learnCost(u Usage) {
	if !(u.Requests >= leastForCost) || !(u.CPU >= 0) || u.Ready == 0 || math.IsInf(u.CPU/u.Requests, 0) {
		return
	}
	cost := u.CPU * float64(u.Ready) / u.Requests
	if s.cost == 0 {
		s.cost = cost
	}
	s.cost += costMemory * (cost - s.cost)
}

// takes is how many requests a second one replica takes at the tightest of its targets.
func (s *ServiceScaler) takes() float64 {
	each := math.Inf(1)
	if t := float64(s.cfg.Target.Requests); t > 0 {
		each = t
	}
	if t := float64(s.cfg.Target.CPU); t > 0 && s.cost > 0 {
		each = math.Min(each, t/s.cost)
	}
	if math.IsInf(each, 1) {
		return 0
	}
	return each
}
