package policy

import (
	"fmt"
	"math"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// The parameters of the autoscaler that a file does not set: those of Kubernetes.
const (
	scaleTolerance  = 0.1              // a level so near to its target is left alone
	scaleStep       = 15 * time.Second // the span over which growth is bounded
	scaleStepFactor = 2                // by which it may grow in that span,
	scaleStepLeast  = 4                // or by so many replicas if that is more
	maxScaleHistory = 1024
)

// ScaleReason says what decided on a number of replicas.
type ScaleReason uint8

// The reasons.
const (
	ScaleOnTarget   ScaleReason = iota // all levels are near their targets, or nothing is measured
	ScaleCPU                           // the CPU asks for it
	ScaleRequests                      // the requests a second do
	ScaleInFlight                      // the requests in flight do
	ScaleQueue                         // the messages that wait do
	ScaleStabilised                    // it would be fewer, but more were needed a short time ago
	ScaleStepBound                     // it would be more, but would grow too fast
	ScaleMin                           // it would be fewer than the minimum
	ScaleMax                           // it would be more than the maximum
	ScalePanic                         // load rose within seconds to a multiple of what the replicas hold
	ScaleForecast                      // the load that is forecast asks for it
	ScaleSchedule                      // the file asks for so many at this time
)

// String returns the reason in words.
func (r ScaleReason) String() string {
	switch r {
	case ScaleOnTarget:
		return "on target"
	case ScaleCPU:
		return "CPU"
	case ScaleRequests:
		return "requests"
	case ScaleInFlight:
		return "requests in flight"
	case ScaleQueue:
		return "messages that wait"
	case ScaleStabilised:
		return "more were needed a short time ago"
	case ScaleStepBound:
		return "growing as fast as it may"
	case ScaleMin:
		return "minimum"
	case ScaleMax:
		return "maximum"
	case ScalePanic:
		return "panic"
	case ScaleForecast:
		return "forecast"
	case ScaleSchedule:
		return "schedule"
	}
	return fmt.Sprintf("ScaleReason(%d)", uint8(r))
}

// Usage of a service is what its autoscaler goes by.
type Usage struct {
	// Replicas that are wanted now, and those of them that answer requests.
	Replicas, Ready int
	// CPU used by the ready replicas on average, as a share of their limit.
	CPU float64
	// Requests a second, in flight, and messages that wait: all replicas together.
	Requests, InFlight, Queue float64
}

// Scaler decides how many replicas a service has, by the algorithm of Kubernetes' horizontal pod autoscaler (Kubernetes
// documentation, Horizontal Pod Autoscaling, 'Algorithm details' and 'Configurable scaling behavior', with its defaults):
// as many as bring each level to its target, the largest of these; none where the level is within a tenth of it. A
// replica that is not ready counts as idle where replicas are added, and not at all where they are taken away. Fewer are
// taken only when no more were needed for as long as CoolDown; in 15 s the number at most doubles, or grows by four.
//
// One goroutine at a time may call its methods.
type Scaler struct {
	cfg      topology.Scale
	min, max int
	recent   recommendations
	// the step that growth is bounded by: when it began, and from how many
	stepAt   time.Duration
	stepFrom int
	stepped  bool
}

// recommendations are those within a cool-down, each larger than those after it: the first is the largest.
type recommendations struct {
	coolDown time.Duration
	recent   []recommendation
}

type recommendation struct {
	at time.Duration
	n  int
}

// withinBounds keeps a number of replicas between two bounds, and says so where one of them decided.
func withinBounds(n int, why ScaleReason, least, most int) (int, ScaleReason) {
	switch {
	case n < least:
		return least, ScaleMin
	case n > most:
		return most, ScaleMax
	}
	return n, why
}

// NewScaler returns the autoscaler of a service between two bounds.
func NewScaler(cfg topology.Scale, least, most int) *Scaler {
	least = max(least, 0)
	return &Scaler{cfg: cfg, min: least, max: max(most, least, 1), recent: recommendations{coolDown: cfg.CoolDown.Std()}}
}

// Decide returns how many replicas there should be at an instant, and what decided on that.
func (s *Scaler) Decide(now time.Duration, u Usage) (replicas int, why ScaleReason) {
	n, why := s.recommend(u)
	n, why = withinBounds(n, why, s.min, s.max)
	most := s.recent.remember(now, n)
	if n < u.Replicas {
		if most = min(most, u.Replicas); most > n {
			n, why = most, ScaleStabilised
		}
	}
	if !s.stepped || now-s.stepAt >= scaleStep {
		s.stepAt, s.stepFrom, s.stepped = now, u.Replicas, true
	}
	if bound := max(scaleStepFactor*s.stepFrom, s.stepFrom+scaleStepLeast); n > bound {
		n, why = max(bound, u.Replicas), ScaleStepBound
	}
	return n, why
}

// recommend returns the largest number that a level asks for.
func (s *Scaler) recommend(u Usage) (n int, why ScaleReason) {
	n, why = -1, ScaleOnTarget
	ready := float64(min(u.Ready, u.Replicas))
	consider := func(total, target float64, reason ScaleReason) {
		if !(target > 0) || !(total >= 0) || math.IsInf(total, 0) {
			return
		}
		if want := s.wanted(u, total, target, ready); want > n {
			n, why = want, reason
			if want == u.Replicas {
				why = ScaleOnTarget
			}
		}
	}
	t := s.cfg.Target
	consider(u.CPU*ready, float64(t.CPU), ScaleCPU)
	consider(u.Requests, float64(t.Requests), ScaleRequests)
	consider(u.InFlight, t.Concurrency, ScaleInFlight)
	consider(u.Queue, t.Queue, ScaleQueue)
	if n < 0 {
		return u.Replicas, ScaleOnTarget
	}
	return n, why
}

// wanted is the number of replicas over which a total makes the target each.
func (s *Scaler) wanted(u Usage, total, target, ready float64) int {
	// Rounded up, but for what is only the representation of fractions.
	exact := int(min(math.Ceil(total/target-1e-9), 1e9))
	if u.Replicas <= 0 {
		return exact // something waits for the first replica, or nothing does
	}
	if ready == 0 {
		return u.Replicas // nothing is measured of those that are starting
	}
	if level := total / ready / target; level > 1+scaleTolerance {
		if total/float64(u.Replicas)/target <= 1+scaleTolerance {
			return u.Replicas // enough are on their way
		}
		return max(exact, u.Replicas)
	} else if level >= 1-scaleTolerance {
		return u.Replicas
	}
	return min(exact, u.Replicas)
}

// remember keeps what matters of the recommendations within the cool-down, and returns the largest.
func (s *recommendations) remember(now time.Duration, n int) (most int) {
	k := 0
	for k < len(s.recent) && now-s.recent[k].at > s.coolDown {
		k++
	}
	s.recent = s.recent[:copy(s.recent, s.recent[k:])]
	for len(s.recent) > 0 && s.recent[len(s.recent)-1].n <= n {
		s.recent = s.recent[:len(s.recent)-1]
	}
	if len(s.recent) < maxScaleHistory {
		s.recent = append(s.recent, recommendation{now, n})
	}
	return s.recent[0].n
}
