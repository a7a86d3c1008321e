package ui

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/topology"
)

// SLOBoard holds every promise of the file against what was measured. The history reaches back six hours at most: what
// is said of longer windows is what the last hours mean for them.
type SLOBoard struct {
	At   int64       `json:"at"`
	SLOs []SLOStatus `json:"slos"`
}

// SLOStatus is one promise.
type SLOStatus struct {
	Name  string `json:"name"`
	Route string `json:"route"`
	// Window of the promise in seconds.
	Window float64 `json:"window_s"`
	// Health is idle where nothing was asked, warning where the budget is used faster than it lasts, failing where the
	// promise is broken over the last hours.
	Health  Health         `json:"health"`
	Targets []TargetStatus `json:"targets"`
}

// TargetStatus is one limit of a promise.
type TargetStatus struct {
	// What is promised: 'availability', or a percentile such as 'p99'.
	What string `json:"what"`
	// Limit in words, such as '99.9%' or '200ms'.
	Limit string `json:"limit"`
	// Allowed is the share of requests that may miss it.
	Allowed float64 `json:"allowed"`
	// Looks are what was measured over the last minutes and hours.
	Looks []Look `json:"looks"`
}

// Look is what was measured over a span before now.
type Look struct {
	Span     string `json:"span"`
	Requests int64  `json:"requests"`
	// Missed is the share of requests that missed the limit, Burn that over what is allowed: 1 uses the budget up exactly
	// at the end of the window.
	Missed float64 `json:"missed"`
	Burn   float64 `json:"burn"`
	// Measured percentile in milliseconds; 0 for availability.
	Measured float64 `json:"measured_ms,omitempty"`
}

// lookSpans are the spans of a board, shortest first.
var lookSpans = []struct {
	name string
	span time.Duration
}{{"5m", 5 * time.Minute}, {"1h", time.Hour}, {"6h", 6 * time.Hour}}

// boardEvery is how often the board is reckoned at most: six hours take a while to read.
const boardEvery = 10 * time.Second

type board struct {
	mu   sync.Mutex
	made time.Time
	last *SLOBoard
}

// slos returns the board, made anew if it is older than boardEvery.
func (s *Server) slos(now time.Time) (*SLOBoard, error) {
	s.board.mu.Lock()
	defer s.board.mu.Unlock()
	if s.board.last != nil && now.Sub(s.board.made) < boardEvery {
		return s.board.last, nil
	}
	sys := s.cfg.System.Topology()
	out := &SLOBoard{At: now.UnixMilli(), SLOs: []SLOStatus{}}
	var windows []*observe.Window
	if len(sys.SLOs) > 0 {
		for _, l := range lookSpans {
			w, err := s.cfg.System.Window(now.Add(-l.span), now)
			if err != nil && !errors.Is(err, observe.ErrNoData) {
				return nil, fmt.Errorf("reading the history: %w", err)
			}
			windows = append(windows, w) // nil: nothing was observed
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sys.SLOs)) {
		out.SLOs = append(out.SLOs, sloStatus(name, sys.SLOs[name], windows))
	}
	s.board.last, s.board.made = out, now
	return out, nil
}

func sloStatus(name string, slo *topology.SLO, windows []*observe.Window) SLOStatus {
	st := SLOStatus{Name: name, Route: slo.Route, Window: slo.Window.Std().Seconds(), Targets: []TargetStatus{}, Health: Idle}
	if slo.Availability > 0 {
		t := TargetStatus{What: "availability", Limit: slo.Availability.String(), Allowed: 1 - float64(slo.Availability)}
		t.look(slo.Route, windows, func(c *observe.CallSums) (missed, measured float64) { return c.ErrorShare(), 0 })
		st.add(t)
	}
	for _, p := range sortedPercentiles(slo.Latency) {
		limit := slo.Latency[p.name].Std()
		t := TargetStatus{What: p.name, Limit: slo.Latency[p.name].String(), Allowed: 1 - p.q}
		t.look(slo.Route, windows, func(c *observe.CallSums) (missed, measured float64) {
			if c.Latency == nil || c.Latency.Count() == 0 {
				return 0, 0
			}
			return float64(c.Latency.CountAbove(int64(limit))) / float64(c.Latency.Count()), ms(c.Latency.QuantileDuration(p.q))
		})
		st.add(t)
	}
	return st
}

type percentile struct {
	name string
	q    float64
}

func sortedPercentiles(of map[string]topology.Duration) (all []percentile) {
	for name := range of {
		v, _ := strconv.ParseFloat(strings.TrimPrefix(name, "p"), 64) // the file was checked
		all = append(all, percentile{name, v / 100})
	}
	slices.SortFunc(all, func(a, b percentile) int { return cmp.Compare(a.q, b.q) })
	return all
}

func (t *TargetStatus) look(route string, windows []*observe.Window, measure func(*observe.CallSums) (missed, measured float64)) {
	for i, w := range windows {
		l := Look{Span: lookSpans[i].name}
		if w != nil {
			if c, ok := w.Route(route); ok && c.Requests > 0 {
				l.Requests = c.Requests
				l.Missed, l.Measured = measure(&c)
				if t.Allowed > 0 {
					l.Burn = l.Missed / t.Allowed
				} else if l.Missed > 0 {
					l.Burn = 1000 // nothing may miss it
				}
			}
		}
		t.Looks = append(t.Looks, l)
	}
}

// add takes a target in, and the worse of its health and that so far.
func (st *SLOStatus) add(t TargetStatus) {
	st.Targets = append(st.Targets, t)
	health := Idle
	if len(t.Looks) > 0 {
		switch now, long := t.Looks[0], t.Looks[len(t.Looks)-1]; {
		case long.Burn > 1:
			health = Failing
		case now.Burn > 1:
			health = Warning
		case long.Requests > 0:
			health = OK
		}
	}
	rank := []Health{Idle, OK, Warning, Failing}
	if slices.Index(rank, health) > slices.Index(rank, st.Health) {
		st.Health = health
	}
}
