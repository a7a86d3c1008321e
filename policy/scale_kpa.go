package policy

import (
	"math"
	"time"
)

// KnativeConfig of a KnativeScaler; zero values are Knative's defaults.
type KnativeConfig struct {
	// Target of the metric for each replica, of which Utilization (0.7) is aimed at.
	Target, Utilization float64
	StableWindow        time.Duration // 60 s
	PanicWindow         time.Duration // a tenth of it
	PanicThreshold      float64       // 2: panic from so many times the ready replicas
	MaxUp, MaxDown      float64       // 1000 and 2: the ratio that one decision may change by
	Grace               time.Duration // 30 s without load before the last replica goes
	Min, Max            int
}

// KnativeScaler decides as the autoscaler of Knative Serving does (its pkg/autoscaler/scaling; Knative documentation,
// 'About autoscaling' and 'Configuring concurrency'): the average of a stable window over the target, but in panic the
// largest that the panic window has asked for, until a whole stable window has passed without panic. It goes by the
// requests in flight where they are known, else by requests a second.
type KnativeScaler struct {
	cfg      KnativeConfig
	samples  []sample // of the stable window, oldest first
	panicked bool
	panicAt  time.Duration
	most     int // asked for in this panic
	idle     bool
	idleFrom time.Duration
}

type sample struct {
	at    time.Duration
	value float64
}

// NewKnativeScaler fills in the defaults.
func NewKnativeScaler(cfg KnativeConfig) *KnativeScaler {
	setDefault(&cfg.Utilization, 0.7)
	setDefault(&cfg.StableWindow, time.Minute)
	setDefault(&cfg.PanicWindow, cfg.StableWindow/10)
	setDefault(&cfg.PanicThreshold, 2)
	setDefault(&cfg.MaxUp, 1000)
	setDefault(&cfg.MaxDown, 2)
	setDefault(&cfg.Grace, 30*time.Second)
	cfg.Max = max(cfg.Max, cfg.Min, 1)
	return &KnativeScaler{cfg: cfg}
}

func setDefault[T float64 | time.Duration](v *T, d T) {
	if !(*v > 0) {
		*v = d
	}
}

// Decide returns how many replicas there should be.
func (s *KnativeScaler) Decide(now time.Duration, u Usage) (replicas int, why ScaleReason) {
	value, why := u.InFlight, ScaleInFlight
	if u.InFlight == 0 {
		value, why = u.Requests, ScaleRequests
	}
	s.samples = keepSince(s.samples, now-s.cfg.StableWindow)
	if value >= 0 && !math.IsInf(value, 0) {
		s.samples = append(s.samples, sample{now, value})
	}
	if len(s.samples) == 0 || !(s.cfg.Target > 0) {
		return min(max(u.Replicas, s.cfg.Min), s.cfg.Max), ScaleOnTarget
	}
	target := s.cfg.Target * s.cfg.Utilization
	ready := math.Max(1, float64(u.Ready))
	upper, lower := math.Ceil(s.cfg.MaxUp*ready), math.Floor(ready/s.cfg.MaxDown)
	stable := math.Ceil(meanSince(s.samples, now-s.cfg.StableWindow) / target)
	fast := math.Ceil(meanSince(s.samples, now-s.cfg.PanicWindow) / target)
	wanted := int(math.Min(math.Max(stable, lower), upper))
	panicking := fast/ready >= s.cfg.PanicThreshold
	switch {
	case panicking:
		if !s.panicked {
			s.most = 0
		}
		s.panicked, s.panicAt = true, now
	case s.panicked && now > s.panicAt+s.cfg.StableWindow:
		s.panicked = false
	}
	if s.panicked {
		s.most = max(s.most, int(math.Min(math.Max(fast, lower), upper)))
		wanted, why = s.most, ScalePanic
	}
	wanted = s.atLeastOne(now, wanted, u)
	return withinBounds(wanted, why, s.cfg.Min, s.cfg.Max)
}

// atLeastOne keeps the last replica for the grace period.
func (s *KnativeScaler) atLeastOne(now time.Duration, wanted int, u Usage) int {
	if wanted > 0 {
		s.idle = false
		return wanted
	}
	if !s.idle {
		s.idle, s.idleFrom = true, now
	}
	if u.Replicas > 0 && now-s.idleFrom < s.cfg.Grace {
		return 1
	}
	return 0
}

// keepSince drops the samples at or before an instant.
func keepSince(samples []sample, since time.Duration) []sample {
	k := 0
	for k < len(samples) && samples[k].at <= since {
		k++
	}
	return samples[:copy(samples, samples[k:])]
}

func meanSince(samples []sample, since time.Duration) float64 {
	sum, n := 0.0, 0.0
	for i := len(samples) - 1; i >= 0 && samples[i].at > since; i-- {
		sum += samples[i].value
		n++
	}
	if n == 0 {
		return samples[len(samples)-1].value
	}
	return sum / n
}
