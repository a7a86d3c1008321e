package policy

import (
	"math"
	"time"
)

// MemorySizer decides on the limit of memory of a service's replicas, as Kubernetes' vertical pod autoscaler recommends
// it (its recommender's decaying histogram and OOM bump): the 90th percentile of what was used, samples losing half of
// their weight in a day, and 15 % more. Before that it acts on what cannot wait: a replica at nine tenths of its limit, or
// killed at it, gets a fifth more, or 100 MiB where that is more. It shrinks a limit only after an hour without a change,
// and only by a fifth at least: giving memory back costs a program more than having it.
//
// One goroutine at a time may call its methods.
type MemorySizer struct {
	min, max float64
	weights  [memoryBuckets]float64
	scale    float64 // weight of a sample now; old samples are not touched
	at       time.Duration
	samples  int
	kills    uint64
	changed  time.Duration
	started  bool
}

const (
	memoryBuckets    = 200
	memoryFirst      = 10e6 // upper bound of the first bucket, in bytes
	memoryGrowth     = 1.05
	memoryHalfLife   = 24 * time.Hour
	memoryPercentile = 0.9
	memoryMargin     = 1.15
	memoryFull       = 0.9
	memoryBump       = 1.2
	memoryBumpLeast  = 100 << 20
	memoryShrink     = 0.8
	memoryPatience   = time.Hour
	memoryLeastSeen  = 40
)

// NewMemorySizer returns the sizer of limits between two bounds, in bytes.
func NewMemorySizer(least, most int64) *MemorySizer {
	return &MemorySizer{min: float64(least), max: math.Max(float64(most), float64(least)), scale: 1}
}

// Decide returns the limit that replicas should have. used is what the largest of them uses, limit what they have, kills
// how many have been killed at it since the start.
func (s *MemorySizer) Decide(now time.Duration, used, limit int64, kills uint64) int64 {
	if !s.started {
		s.started, s.at, s.changed, s.kills = true, now, now, kills
	}
	killed := kills > s.kills
	s.kills = kills
	s.observe(now, float64(used))
	switch {
	case limit <= 0:
		return limit
	case killed || float64(used) >= memoryFull*float64(limit):
		return s.set(now, limit, math.Max(memoryBump*float64(limit), float64(limit)+memoryBumpLeast))
	}
	if s.samples < memoryLeastSeen {
		return limit
	}
	want := memoryMargin * s.percentile(memoryPercentile)
	if want > float64(limit) {
		return s.set(now, limit, want)
	}
	if now-s.changed >= memoryPatience && want < memoryShrink*float64(limit) && float64(used)*memoryMargin < want {
		return s.set(now, limit, want)
	}
	return limit
}

// set keeps a limit within the bounds, in whole mebibytes.
func (s *MemorySizer) set(now time.Duration, limit int64, want float64) int64 {
	want = math.Min(math.Max(want, s.min), s.max)
	n := int64(math.Ceil(want/(1<<20))) << 20
	if n != limit {
		s.changed = now
	}
	return n
}

func (s *MemorySizer) observe(now time.Duration, used float64) {
	if !(used > 0) {
		return
	}
	if now > s.at {
		s.scale *= math.Exp2(float64(now-s.at) / float64(memoryHalfLife))
		s.at = now
	}
	if s.scale > 1e100 {
		for i := range s.weights {
			s.weights[i] /= s.scale
		}
		s.scale = 1
	}
	i := 0
	if used > memoryFirst {
		i = min(int(math.Ceil(math.Log(used/memoryFirst)/math.Log(memoryGrowth))), memoryBuckets-1)
	}
	s.weights[i] += s.scale
	s.samples++
}

// percentile is the upper bound of the bucket that it lies in.
func (s *MemorySizer) percentile(p float64) float64 {
	total := 0.0
	for _, w := range s.weights {
		total += w
	}
	sum := 0.0
	for i, w := range s.weights {
		if sum += w; sum >= p*total {
			return memoryFirst * math.Pow(memoryGrowth, float64(i))
		}
	}
	return memoryFirst * math.Pow(memoryGrowth, memoryBuckets-1)
}
