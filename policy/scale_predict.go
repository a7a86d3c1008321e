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
	// Utilization that is aimed at where the load is the usual one, above 0 and up to 1; the rest is headroom. At other loads
	// the headroom is as the square root of the replicas: noise and surprises grow more slowly than the load does
	// (square-root staffing: Halfin and Whitt 1981), and a replica too many costs the same at any load. measuredShare of it
	// is added to what is measured. Default: 1, no headroom.
	Utilization float64
	// CoolDown is how long fewer must have been enough before any are taken away; zero trusts the outlook alone.
	CoolDown time.Duration
	Min, Max int
}

// PredictiveScaler decides ahead of the traffic: as many replicas as hold the objective at what is to be reckoned with
// until a replica started now serves, and never fewer than the load of this moment needs, forecast or not. It takes
// replicas away only when the outlook beyond that allows it too.
type PredictiveScaler struct {
	cfg    PredictiveConfig
	spare  float64 // headroom at the usual load, as a share of what it needs
	usual  usual
	recent recommendations
}

// NewPredictiveScaler returns the scaler of a service.
func NewPredictiveScaler(cfg PredictiveConfig) *PredictiveScaler {
	cfg.Max = max(cfg.Max, cfg.Min, 1)
	s := &PredictiveScaler{cfg: cfg, recent: recommendations{coolDown: cfg.CoolDown}}
	s.Aim(cfg.Utilization)
	return s
}

// Aim changes the utilization that is aimed at.
func (s *PredictiveScaler) Aim(utilization float64) {
	if s.spare = 0; utilization > 0 && utilization < 1 {
		s.spare = 1/utilization - 1
	}
}

// usual is the mean of what was needed, of the last two weeks or so: the target utilization is that of such a load.
type usual struct {
	mean, seen float64
	at         time.Duration
}

const usualMemory = 14 * 24 * time.Hour

func (m *usual) observe(now time.Duration, need float64) {
	m.seen++
	w := math.Max(1/m.seen, float64(now-m.at)/float64(usualMemory))
	m.mean += math.Min(w, 1) * (need - m.mean)
	m.at = now
}

// measuredShare of the headroom is added to the rate that is measured: less than to the forecast, since noise is in it,
// but some, since a burst that begins goes on.
const measuredShare = 0.5

// need is how many replicas hold a rate with a share of the headroom.
func (s *PredictiveScaler) need(rate, share float64) int {
	if !(rate >= 0) || math.IsInf(rate, 0) {
		return 0
	}
	n := s.cfg.Need(rate)
	if n <= 0 || s.spare == 0 {
		return n
	}
	return s.cfg.Need(rate * (1 + share*s.spare*math.Sqrt(math.Max(1, s.usual.mean)/float64(n))))
}

// Decide returns how many replicas there should be.
func (s *PredictiveScaler) Decide(now time.Duration, u Usage, o Outlook) (replicas int, why ScaleReason) {
	if u.Requests >= 0 && !math.IsInf(u.Requests, 0) {
		s.usual.observe(now, float64(min(s.cfg.Need(u.Requests), s.cfg.Max)))
	}
	wanted, why := 0, ScaleOnTarget
	consider := func(rate, share float64, reason ScaleReason) {
		if n := s.need(rate, share); n > wanted {
			wanted, why = n, reason
		}
	}
	consider(u.Requests, measuredShare, ScaleRequests)
	consider(o.Until, 1, ScaleForecast)
	most := s.recent.remember(now, wanted)
	if wanted < u.Replicas {
		keep := min(u.Replicas, max(s.need(o.Beyond, 1), most))
		if keep > wanted {
			wanted, why = keep, ScaleStabilised
		}
	}
	return withinBounds(wanted, why, s.cfg.Min, s.cfg.Max)
}
