package policy

import (
	"math"
	"time"
)

// Outlook is what a forecast says of the requests a second that a service will be asked for.
type Outlook struct {
	// Until a replica that is started now serves: the largest that is to be reckoned with at any instant until then, or
	// until the next decision after it. Zero when nothing is forecast.
	Until float64
	// Beyond is the same over the time for which a replica is not taken away and fetched back.
	Beyond float64
}

// PredictiveConfig of a PredictiveScaler.
type PredictiveConfig struct {
	// Need is how many replicas hold the objective at a rate; it never decreases.
	Need func(rate float64) int
	// Headroom beyond the n replicas that a rate needs, in square roots of n: 0.5 has 5 more than 100, and 2 more than 16.
	// Noise and surprises grow more slowly than the load does (square-root staffing: Halfin and Whitt 1981), and a replica
	// too many costs the same at any load. measuredShare of it is added to what is measured.
	Headroom float64
	// CoolDown is how long fewer must have been enough before any are taken away; zero trusts the outlook alone.
	CoolDown time.Duration
	Min, Max int
}

// PredictiveScaler decides ahead of the traffic: as many replicas as hold the objective at what is to be reckoned with
// until a replica started now serves, and never fewer than the load of this moment needs, forecast or not. It takes
// replicas away only when the outlook beyond that allows it too.
type PredictiveScaler struct {
	cfg    PredictiveConfig
	recent recommendations
}

// NewPredictiveScaler returns the scaler of a service.
func NewPredictiveScaler(cfg PredictiveConfig) *PredictiveScaler {
	cfg.Max = max(cfg.Max, cfg.Min, 1)
	return &PredictiveScaler{cfg: cfg, recent: recommendations{coolDown: cfg.CoolDown}}
}

// measuredShare of the headroom is added to the rate that is measured: less than to the forecast, since noise is in it,
// but some, since a burst that begins goes on.
const measuredShare = 0.5

func (s *PredictiveScaler) need(rate, headroom float64) int {
	if !(rate >= 0) || math.IsInf(rate, 0) {
		return 0
	}
	n := s.cfg.Need(rate)
	if n <= 0 || !(headroom > 0) {
		return n
	}
	return s.cfg.Need(rate * (1 + headroom/math.Sqrt(float64(n))))
}

// Decide returns how many replicas there should be.
func (s *PredictiveScaler) Decide(now time.Duration, u Usage, o Outlook) (replicas int, why ScaleReason) {
	wanted, why := 0, ScaleOnTarget
	consider := func(rate, headroom float64, reason ScaleReason) {
		if n := s.need(rate, headroom); n > wanted {
			wanted, why = n, reason
		}
	}
	consider(u.Requests, measuredShare*s.cfg.Headroom, ScaleRequests)
	consider(o.Until, s.cfg.Headroom, ScaleForecast)
	most := s.recent.remember(now, wanted)
	if wanted < u.Replicas {
		keep := min(u.Replicas, max(s.need(o.Beyond, s.cfg.Headroom), most))
		if keep > wanted {
			wanted, why = keep, ScaleStabilised
		}
	}
	return withinBounds(wanted, why, s.cfg.Min, s.cfg.Max)
}
