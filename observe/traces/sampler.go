package traces

import (
	"hash/fnv"
	"math"
	"time"

	"github.com/banyanhq/banyan/stats"
)

// Reasons why a trace is kept.
const (
	KeptError  = "error"
	KeptSlow   = "slow"
	KeptRare   = "rare"
	KeptFew    = "few"
	KeptRandom = "random"
)

// Sampling says which traces are kept.
type Sampling struct {
	// Share of the traces that nothing else is to be said of, from 0 to 1. Default 0.05; negative: none.
	Share float64
	// Few traces in a second are kept in any case. Default 5; negative: none.
	Few float64
	// Slowest is the share of each route's traces that count as its slowest. Default 0.01.
	Slowest float64
	// Rare is how many traces of a route within Window are all kept. Default 10.
	Rare int
	// Window is how long routes are remembered for what is rare and slow. Default 10 minutes.
	Window time.Duration
	// KeepAll returns why every trace is to be kept now, and "" if that is not so. Default: it never is.
	KeepAll func() string
}

func (s Sampling) withDefaults() Sampling {
	or := func(v *float64, d float64) {
		if *v == 0 {
			*v = d
		}
		*v = max(*v, 0)
	}
	or(&s.Share, 0.05)
	or(&s.Few, 5)
	or(&s.Slowest, 0.01)
	if s.Rare == 0 {
		s.Rare = 10
	}
	if s.Window <= 0 {
		s.Window = 10 * time.Minute
	}
	if s.KeepAll == nil {
		s.KeepAll = func() string { return "" }
	}
	return s
}

const (
	maxRoutes  = 2000
	minForSlow = 100 // traces of a route before any of it is called slow
)

// sampler decides, given the time. It is pure but for KeepAll.
type sampler struct {
	cfg    Sampling
	routes map[string]*routeStats
	tokens float64
	filled time.Time
}

// routeStats are a route's traces in the present window and the one before.
type routeStats struct {
	since         time.Time
	count, before int
	now, last     *stats.Histogram
}

func newSampler(cfg Sampling) *sampler {
	cfg = cfg.withDefaults()
	return &sampler{cfg: cfg, routes: map[string]*routeStats{}, tokens: cfg.Few}
}

// decide says why a trace is kept, "" if it is not, and of how many it is one.
func (s *sampler) decide(at time.Time, traceID, route string, took time.Duration, failed bool) (reason string, weight float64) {
	r := s.route(at, route)
	slow, rare := r.slow(took, s.cfg.Slowest), r.count+r.before < s.cfg.Rare
	r.count++
	r.now.Record(int64(took))
	if why := s.cfg.KeepAll(); why != "" {
		return why, 1
	}
	switch {
	case failed:
		return KeptError, 1
	case slow:
		return KeptSlow, 1
	case rare:
		return KeptRare, 1
	case s.few(at):
		return KeptFew, 1
	case draw(traceID) < s.cfg.Share:
		return KeptRandom, 1 / s.cfg.Share
	}
	return "", 0
}

// route returns what is known of a route; those beyond the bound share one.
func (s *sampler) route(at time.Time, name string) *routeStats {
	r := s.routes[name]
	if r == nil && len(s.routes) >= maxRoutes {
		s.forget(at)
		if len(s.routes) >= maxRoutes {
			name = "(other)"
			r = s.routes[name]
		}
	}
	if r == nil {
		r = &routeStats{since: at, now: stats.NewHistogram(1), last: stats.NewHistogram(1)}
		s.routes[name] = r
	}
	if age := at.Sub(r.since); age >= s.cfg.Window || age < 0 {
		if age >= 2*s.cfg.Window {
			r.now, r.count = stats.NewHistogram(1), 0
		}
		r.last, r.before = r.now, r.count
		r.now, r.count, r.since = stats.NewHistogram(1), 0, at
	}
	return r
}

// forget drops routes of which nothing came for two windows.
func (s *sampler) forget(at time.Time) {
	for name, r := range s.routes {
		if at.Sub(r.since) >= 2*s.cfg.Window {
			delete(s.routes, name)
		}
	}
}

// slow reports whether a trace is among the slowest share of its route.
func (r *routeStats) slow(took time.Duration, share float64) bool {
	h := r.last
	if r.before < minForSlow {
		h = r.now
		if r.count < minForSlow {
			return false
		}
	}
	return int64(took) > h.Quantile(1-share)
}

// few takes from what is kept in any case.
func (s *sampler) few(at time.Time) bool {
	if d := at.Sub(s.filled); d > 0 {
		s.tokens = min(max(s.cfg.Few, 1), s.tokens+s.cfg.Few*d.Seconds())
		s.filled = at
	}
	if s.cfg.Few == 0 || s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}

// draw is a number from 0 to 1 that is the same for a trace wherever it is drawn.
func draw(traceID string) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(traceID)) // never fails
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return float64(x) / math.MaxUint64
}
