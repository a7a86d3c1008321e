package policy

import (
	"math"
	"time"

	"github.com/banyanhq/banyan/topology"
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
	// CoolDown is how long fewer must have been enough before any are taken away; zero trusts the outlook alone.
	CoolDown time.Duration
	Min, Max int
}

// PredictiveScaler decides ahead of the traffic: as many replicas as hold the objective at what is to be reckoned with
// until a replica started now serves, and never fewer than the load of this moment needs, forecast or not. It takes
// replicas away only when the outlook beyond that allows it too.
type PredictiveScaler struct {
	cfg    PredictiveConfig
	recent Scaler // remembers what was needed within the cool-down
}

// NewPredictiveScaler returns the scaler of a service.
func NewPredictiveScaler(cfg PredictiveConfig) *PredictiveScaler {
	cfg.Max = max(cfg.Max, cfg.Min, 1)
	s := &PredictiveScaler{cfg: cfg}
	s.recent.cfg.CoolDown = topology.Duration(cfg.CoolDown)
	return s
}

// Decide returns how many replicas there should be.
func (s *PredictiveScaler) Decide(now time.Duration, u Usage, o Outlook) (replicas int, why ScaleReason) {
	wanted, why := 0, ScaleOnTarget
	consider := func(rate float64, reason ScaleReason) {
		if !(rate >= 0) || math.IsInf(rate, 0) {
			return
		}
		if n := s.cfg.Need(rate); n > wanted {
			wanted, why = n, reason
		}
	}
	consider(u.Requests, ScaleRequests)
	consider(o.Until, ScaleForecast)
	s.recent.remember(now, wanted)
	if wanted < u.Replicas {
		keep := min(u.Replicas, max(s.cfg.Need(math.Max(o.Beyond, 0)), s.recent.recent[0].n))
		if keep > wanted {
			wanted, why = keep, ScaleStabilised
		}
	}
	switch {
	case wanted < s.cfg.Min:
		return s.cfg.Min, ScaleMin
	case wanted > s.cfg.Max:
		return s.cfg.Max, ScaleMax
	}
	return wanted, why
}
