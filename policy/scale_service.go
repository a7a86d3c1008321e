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

// ServiceScaler decides for a service by what its file says: as Kubernetes does, and where the file says 'predict' ahead
// of the traffic as well, the larger of the two. The forecast counts while it has been better than the last value of
// late. A service that may have no replica keeps one while it has requests.
//
// One goroutine at a time may call its methods.
type ServiceScaler struct {
	cfg        topology.Scale
	reactive   *Scaler
	predictive *PredictiveScaler
	ahead      Foreteller
	interval   time.Duration
	each       float64 // of the decision being made
	cost       float64 // replicas' worth of CPU that one request a second takes; 0: not known
	seen       int
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
	s := &ServiceScaler{cfg: cfg, reactive: NewScaler(cfg, least, most), interval: interval}
	if cfg.Predict && ahead != nil {
		s.ahead = ahead
		s.predictive = NewPredictiveScaler(PredictiveConfig{CoolDown: cfg.CoolDown.Std(), Min: s.reactive.min, Max: s.reactive.max, Need: func(rate float64) int {
			return int(math.Min(math.Ceil(rate/s.each-1e-9), 1e9))
		}})
	}
	return s
}

// Decide returns how many replicas there should be at an instant. start is how long the latest replica took to serve; 0:
// not known.
func (s *ServiceScaler) Decide(now time.Duration, u Usage, start time.Duration) ScaleDecision {
	n, why := s.reactive.Decide(now, u)
	d := ScaleDecision{Replicas: n, Why: why, Reactive: n}
	s.learnCost(u)
	d.Each = s.takes()
	if s.predictive != nil {
		s.look(now, u, start, &d)
	}
	if d.Replicas == 0 && (u.InFlight > 0 || u.Requests > 0) {
		d.Replicas, d.Why = min(1, s.reactive.max), ScaleInFlight
	}
	return d
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
