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
	// presumedUtilization of a replica at its targets, where Scale does not say it.
	presumedUtilization = 0.7
	costMemory          = 0.1   // weight of the latest interval in what a request costs
	leastForCost        = 1.0   // requests a second that say what one costs
	mostGap             = 6_000 // intervals in which nobody looked that the forecast is told of: a day of 15 s
)

// ServiceConfig of a ServiceScaler.
type ServiceConfig struct {
	// Scale is what the file says of the service.
	Scale    topology.Scale
	Min, Max int
	// Interval between two decisions, or what a rate is the mean of if that is longer.
	Interval time.Duration
	// Ahead learns the rates and looks ahead. Nil: nothing is forecast, whatever Scale says.
	Ahead Foreteller
	// Need is how many replicas hold the objective at a rate. Nil: by the targets and by what a request is seen to cost.
	Need func(rate float64) int
}

// ServiceScaler decides for a service by what its file says: by the policy that it names, and where the file says
// 'predict' by an InsuredScaler, which plays that policy against a forecast and follows the one that has proved to cost
// less. 'up', 'simulate', 'replay' and 'prove' all decide by it.
//
// What a replica holds is more than its target: by the target of CPU the CPU that it has, by any other target that over its
// Utilization. What a forecast knows is requests; while another target (of CPU, of requests in flight, of messages) is
// nearer, what is measured of that counts as so many requests as would fill the replicas as much. Where no target tells what
// a replica takes in requests, or none has come yet, the policy decides alone.
//
// Bursts, schedules and the last replica of a service that has requests hold whoever is followed. Replicas and start-ups of
// the side that is not followed are imagined: with the start-up that was measured last, with no failures but those that the
// real ones have, and with requests in flight and messages as they really are, though its own fleet would have had others.
//
// One goroutine at a time may call its methods.
type ServiceScaler struct {
	cfg      ServiceConfig
	reactive func(now time.Duration, u Usage) (int, ScaleReason)
	insured  *InsuredScaler // nil: nothing is forecast
	each     float64        // requests a second that a replica takes at its target, in the decision being made
	busy     float64        // its utilization then
	cost     float64        // replicas' worth of CPU that one request a second takes; 0: not known
	last     time.Duration  // decision
	decided  bool
	burst    int // replicas that the latest burst asked for, held for the cool-down
	burstAt  time.Duration
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
	// Reactive is what the policy asks for without any forecast.
	Reactive int
	// Each is how many requests a second a replica takes at its target; 0: not known.
	Each float64
	// Outlook of the forecast.
	Outlook stats.Outlook
	// Insured says that the two sides were played; Sides is how they stand.
	Insured bool
	Sides   InsuredDecision
}

// NewServiceScaler returns the autoscaler of a service, which is asked at each interval.
func NewServiceScaler(cfg ServiceConfig) *ServiceScaler {
	cfg.Min = max(cfg.Min, 0)
	cfg.Max = max(cfg.Max, cfg.Min, 1)
	s := &ServiceScaler{cfg: cfg}
	s.reactive = s.policy()
	if cfg.Scale.Predict && cfg.Ahead != nil {
		if cfg.Need == nil {
			cfg.Need = s.need
		}
		s.insured = NewInsuredScaler(InsuredConfig{Interval: cfg.Interval,
			Reactive:   func(now time.Duration, u Usage) (int, ScaleReason) { return s.reactive(now, u) },
			Predictive: PredictiveConfig{Need: cfg.Need, CoolDown: cfg.Scale.CoolDown.Std(), Min: cfg.Min, Max: cfg.Max}})
	}
	return s
}

// policy is how it reacts. Those that know one metric are given how many replicas' worth there is by the target that
// asks for most.
func (s *ServiceScaler) policy() func(time.Duration, Usage) (int, ScaleReason) {
	switch s.cfg.Scale.Policy {
	case "knative":
		k := NewKnativeScaler(KnativeConfig{Target: 1, Utilization: 1, Min: s.cfg.Min, Max: s.cfg.Max})
		return func(now time.Duration, u Usage) (int, ScaleReason) {
			worth := s.worth(u)
			return k.Decide(now, Usage{Replicas: u.Replicas, Ready: u.Ready, Requests: worth})
		}
	case "tracking":
		t := NewTrackingScaler(TrackingConfig{Target: 1, Min: s.cfg.Min, Max: s.cfg.Max})
		return func(now time.Duration, u Usage) (int, ScaleReason) {
			return t.Decide(now, Usage{Replicas: u.Replicas, Ready: u.Ready, Requests: s.worth(u)})
		}
	case "steps":
		t := NewStepScaler(StepConfig{Target: 1, CoolDown: s.cfg.Scale.CoolDown.Std(), Min: s.cfg.Min, Max: s.cfg.Max})
		return func(now time.Duration, u Usage) (int, ScaleReason) {
			return t.Decide(now, Usage{Replicas: u.Replicas, Ready: u.Ready, Requests: s.worth(u)})
		}
	}
	return NewScaler(s.cfg.Scale, s.cfg.Min, s.cfg.Max).Decide
}

// worth is how many replicas at their targets the load would fill.
func (s *ServiceScaler) worth(u Usage) float64 {
	worth := 0.0
	for _, level := range []struct{ total, target float64 }{
		{u.CPU * float64(u.Ready), float64(s.cfg.Scale.Target.CPU)}, {u.Requests, float64(s.cfg.Scale.Target.Requests)},
		{u.InFlight, s.cfg.Scale.Target.Concurrency}, {u.Queue, s.cfg.Scale.Target.Queue},
	} {
		if w := level.total / level.target; level.target > 0 && w >= 0 && !math.IsInf(w, 0) {
			worth = math.Max(worth, w)
		}
	}
	return worth
}

// Decide returns how many replicas there should be at an instant. start is how long the latest replica took to serve; 0:
// not known. scheduled is how many a schedule asks for.
func (s *ServiceScaler) Decide(now time.Duration, u Usage, start time.Duration, scheduled int) ScaleDecision {
	if start <= 0 {
		start = PresumedStart
	}
	s.learnCost(u)
	s.each, s.busy = s.takes()
	d := ScaleDecision{Each: s.each}
	least, leastWhy := s.least(now, u, scheduled)
	if s.insured != nil {
		now = s.observe(now, u.Requests)
		d.Outlook = s.cfg.Ahead.Outlook(start + s.cfg.Interval)
	}
	if s.insured != nil && s.each > 0 {
		s.insured.Aim(s.busy)
		d.Insured = true
		d.Sides = s.insured.Decide(Moment{Now: now, Usage: u, Load: s.load(u, d.Outlook.Masked),
			Outlook: Outlook{Until: d.Outlook.Until, Beyond: d.Outlook.Beyond}, Start: start, Least: least, LeastWhy: leastWhy})
		d.Replicas, d.Why, d.Reactive = d.Sides.Replicas, d.Sides.Why, d.Sides.Asked[SideReactive]
		return d
	}
	d.Replicas, d.Why = s.reactive(now, u)
	d.Reactive = d.Replicas
	if least > d.Replicas {
		d.Replicas, d.Why = min(least, s.cfg.Max), leastWhy
	}
	return d
}

// least is how many replicas there are whatever the policies say, and why.
func (s *ServiceScaler) least(now time.Duration, u Usage, scheduled int) (n int, why ScaleReason) {
	if u.InFlight > 0 || u.Requests > 0 {
		n, why = 1, ScaleInFlight
	}
	if s.burst > n && now-s.burstAt < s.cfg.Scale.CoolDown.Std() {
		n, why = s.burst, ScalePanic
	}
	if scheduled > n {
		n, why = scheduled, ScaleSchedule
	}
	return n, why
}

// observe tells the forecast of the interval that ends now, and of those before it in which nobody looked; what comes again
// within half an interval is no further one. It returns the instant that is decided at, never before that of the decision
// before.
func (s *ServiceScaler) observe(now time.Duration, rate float64) time.Duration {
	if s.decided {
		now = max(now, s.last)
		passed := int64((now - s.last + s.cfg.Interval/2) / max(s.cfg.Interval, 1))
		if passed < 1 {
			return now
		}
		for range min(passed-1, mostGap) {
			s.cfg.Ahead.Observe(math.NaN())
		}
	}
	s.decided, s.last = true, now
	s.cfg.Ahead.Observe(rate)
	return now
}

// load is the requests a second that would fill the replicas as they are filled; not known where the rate is no rate.
func (s *ServiceScaler) load(u Usage, masked bool) float64 {
	if masked || !(u.Requests >= 0) {
		return math.NaN()
	}
	return math.Max(u.Requests, s.each*s.worth(u))
}

// need is how many replicas hold a rate by what each takes.
func (s *ServiceScaler) need(rate float64) int {
	return int(math.Min(math.Ceil(rate*s.busy/s.each-1e-9), 1e9))
}

// A burst is so many times what the ready replicas take, in requests enough that it is not chance.
const (
	burstFactor   = 2.0
	leastForBurst = 30
)

// Burst looks at the requests that arrived within the last few seconds, between two decisions: where they are twice what
// the ready replicas take, it returns how many replicas take them, ok true. They are kept for the cool-down.
func (s *ServiceScaler) Burst(now time.Duration, u Usage, over time.Duration) (replicas int, ok bool) {
	each, _ := s.takes()
	if !(each > 0) || !(u.Requests*over.Seconds() >= leastForBurst) || math.IsInf(u.Requests, 0) {
		return 0, false
	}
	need := int(math.Min(math.Ceil(u.Requests/each-1e-9), float64(s.cfg.Max)))
	if float64(need) < burstFactor*math.Max(1, float64(u.Ready)) || need <= u.Replicas {
		return 0, false
	}
	s.burst, s.burstAt = need, now
	return need, true
}

// Learn takes the rates of earlier intervals, oldest first, NaN where one is not known, so that neither the forecast nor what
// it has proved need begin with nothing. What a request costs the CPU is not known of then: without a target of requests
// nothing is proved by it. It is called before the first decision.
func (s *ServiceScaler) Learn(rates []float64) {
	if s.insured == nil {
		return
	}
	s.each, s.busy = s.takes()
	if s.each > 0 {
		s.insured.Aim(s.busy)
	}
	fleet := NewImaginedFleet(0)
	for i, rate := range rates {
		s.cfg.Ahead.Observe(rate)
		if !(s.each > 0) {
			continue
		}
		now := time.Duration(i-len(rates)) * s.cfg.Interval
		o := s.cfg.Ahead.Outlook(PresumedStart + s.cfg.Interval)
		m := Moment{Now: now, Load: math.NaN(), Outlook: Outlook{Until: o.Until, Beyond: o.Beyond}, Start: PresumedStart}
		if rate >= 0 && !o.Masked {
			m.Load = rate
		}
		fleet.Arrive(now)
		m.Usage = Usage{Replicas: fleet.Total(), Ready: fleet.Ready(), Requests: m.Load}
		fleet.Resize(s.insured.Decide(m).Replicas, now+PresumedStart)
	}
	s.insured.Restart()
	s.reactive = s.policy()
}

// saturated replicas have no CPU left: they take fewer requests than arrive.
const saturated = 0.95

// learnCost of a request, from an interval that had enough of them. Of saturated replicas it is only known to be no less.
func (s *ServiceScaler) learnCost(u Usage) {
	if !(u.Requests >= leastForCost) || !(u.CPU >= 0) || u.Ready == 0 || math.IsInf(u.CPU/u.Requests, 0) {
		return
	}
	cost := u.CPU * float64(u.Ready) / u.Requests
	if u.CPU >= saturated && cost < s.cost {
		return
	}
	if s.cost == 0 {
		s.cost = cost
	}
	s.cost += costMemory * (cost - s.cost)
}

// takes is how many requests a second one replica takes at its targets, and its utilization then.
func (s *ServiceScaler) takes() (each, busy float64) { return Takes(s.cfg.Scale.Target, s.cost) }

// Takes is how many requests a second one replica takes at the tightest of its targets of requests and CPU, and its
// utilization then, so that it holds each/busy at most. cost is the share of a replica's CPU that one request a second
// takes; 0: not known. Where no target tells, each is 0.
func Takes(t topology.ScaleTarget, cost float64) (each, busy float64) {
	if t.Requests > 0 {
		if each, busy = float64(t.Requests), float64(t.Utilization); !(busy > 0 && busy <= 1) {
			busy = presumedUtilization
		}
	}
	if byCPU := float64(t.CPU) / cost; t.CPU > 0 && cost > 0 && (each == 0 || byCPU < each) {
		each, busy = byCPU, math.Min(float64(t.CPU), 1)
	}
	return each, busy
}
