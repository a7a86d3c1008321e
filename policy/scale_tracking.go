package policy

import (
	"math"
	"time"
)

// TrackingConfig of a TrackingScaler; zero values are the defaults of AWS.
type TrackingConfig struct {
	Target   float64       // requests a second for each replica
	Period   time.Duration // 1 min: of a data point
	OutAfter int           // 3 data points above the target
	InAfter  int           // 15 data points below InBelow of the target
	InBelow  float64       // 0.9
	WarmUp   time.Duration // 5 min: a replica so young counts as capacity, and nothing is taken away
	Min, Max int
}

// TrackingScaler decides as target tracking of AWS's auto scaling does, as far as it is documented (Amazon EC2 Auto
// Scaling user guide, 'Target tracking scaling policies'): two alarms on one-minute data points, one high and one low;
// either sets the capacity in proportion to the metric. It grows at once, and shrinks only by the low alarm.
type TrackingScaler struct {
	cfg     TrackingConfig
	sum     float64
	n       float64
	from    time.Duration
	started bool
	above   int
	below   int
	last    float64 // the latest data point
	lastOut time.Duration
	everOut bool
}

// NewTrackingScaler fills in the defaults.
func NewTrackingScaler(cfg TrackingConfig) *TrackingScaler {
	setDefault(&cfg.Period, time.Minute)
	if cfg.OutAfter <= 0 {
		cfg.OutAfter = 3
	}
	if cfg.InAfter <= 0 {
		cfg.InAfter = 15
	}
	setDefault(&cfg.InBelow, 0.9)
	setDefault(&cfg.WarmUp, 5*time.Minute)
	cfg.Max = max(cfg.Max, cfg.Min, 1)
	return &TrackingScaler{cfg: cfg}
}

// Decide returns how many replicas there should be.
func (s *TrackingScaler) Decide(now time.Duration, u Usage) (replicas int, why ScaleReason) {
	if !s.started {
		s.started, s.from = true, now
	}
	wanted, why := u.Replicas, ScaleOnTarget
	if now-s.from >= s.cfg.Period {
		if s.n > 0 {
			s.point(s.sum / s.n / math.Max(1, float64(u.Replicas)))
		}
		s.sum, s.n, s.from = 0, 0, now
		wanted, why = s.alarms(now, u)
	}
	if u.Requests >= 0 && !math.IsInf(u.Requests, 0) {
		s.sum += u.Requests
		s.n++
	}
	return withinBounds(wanted, why, s.cfg.Min, s.cfg.Max)
}

func (s *TrackingScaler) point(v float64) {
	s.last = v
	s.above++
	s.below++
	if v <= s.cfg.Target {
		s.above = 0
	}
	if v >= s.cfg.InBelow*s.cfg.Target {
		s.below = 0
	}
}

func (s *TrackingScaler) alarms(now time.Duration, u Usage) (int, ScaleReason) {
	wanted := int(math.Ceil(float64(max(u.Replicas, 1))*s.last/s.cfg.Target - 1e-9))
	switch {
	case s.above >= s.cfg.OutAfter && wanted > u.Replicas:
		s.above = 0
		s.lastOut, s.everOut = now, true
		return wanted, ScaleRequests
	case s.below >= s.cfg.InAfter && wanted < u.Replicas:
		if s.everOut && now-s.lastOut < s.cfg.WarmUp {
			return u.Replicas, ScaleStabilised
		}
		s.below = 0
		return wanted, ScaleRequests
	}
	return u.Replicas, ScaleOnTarget
}

// StepConfig of a StepScaler.
type StepConfig struct {
	Target   float64 // requests a second for each replica
	Steps    []Step
	After    time.Duration // 1 min above or below before a step is taken
	CoolDown time.Duration // 5 min between two steps; a larger step out is taken at once
	Min, Max int
}

// Step changes the replicas by a share of them, of at least one, from a level relative to the target on: from 1.2 on by
// +0.2, say. A negative change holds at and below its level.
type Step struct {
	Level, Change float64
}

// DefaultSteps are the steps where none are given.
func DefaultSteps() []Step {
	return []Step{{0.5, -0.2}, {0.7, -0.1}, {1, 0.1}, {1.25, 0.3}, {1.5, 0.5}, {2, 1}}
}

// StepScaler decides by a table of steps, as step scaling of AWS and rules of thumb do (Amazon EC2 Auto Scaling user
// guide, 'Step and simple scaling policies').
type StepScaler struct {
	cfg     StepConfig
	samples []sample
	last    time.Duration
	change  float64 // of the last step
	stepped bool
}

// NewStepScaler fills in the defaults.
func NewStepScaler(cfg StepConfig) *StepScaler {
	if len(cfg.Steps) == 0 {
		cfg.Steps = DefaultSteps()
	}
	setDefault(&cfg.After, time.Minute)
	setDefault(&cfg.CoolDown, 5*time.Minute)
	cfg.Max = max(cfg.Max, cfg.Min, 1)
	return &StepScaler{cfg: cfg}
}

// Decide returns how many replicas there should be.
func (s *StepScaler) Decide(now time.Duration, u Usage) (replicas int, why ScaleReason) {
	s.samples = keepSince(s.samples, now-s.cfg.After)
	if u.Requests >= 0 && !math.IsInf(u.Requests, 0) {
		s.samples = append(s.samples, sample{now, u.Requests})
	}
	if len(s.samples) == 0 || !(s.cfg.Target > 0) {
		return min(max(u.Replicas, s.cfg.Min), s.cfg.Max), ScaleOnTarget
	}
	wanted, why := u.Replicas, ScaleOnTarget
	if change := s.step(meanSince(s.samples, now-s.cfg.After) / math.Max(1, float64(u.Replicas)) / s.cfg.Target); change != 0 {
		why = ScaleRequests
		if s.stepped && now-s.last < s.cfg.CoolDown && !(change > 0 && change > s.change) {
			change, why = 0, ScaleStabilised
		} else {
			s.last, s.change, s.stepped = now, change, true
		}
		by := math.Ceil(math.Abs(change) * float64(u.Replicas))
		wanted += int(math.Copysign(by, change))
	}
	return withinBounds(wanted, why, s.cfg.Min, s.cfg.Max)
}

// step is the change at a level: of those out the last that is reached, of those in the first.
func (s *StepScaler) step(level float64) float64 {
	change := 0.0
	for _, st := range s.cfg.Steps {
		if st.Change > 0 && level >= st.Level {
			change = st.Change
		}
	}
	for _, st := range s.cfg.Steps {
		if st.Change < 0 && level <= st.Level {
			return st.Change
		}
	}
	return change
}
