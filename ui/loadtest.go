package ui

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/banyanhq/banyan/load"
)

// LoadState is how a load test does that was started from here.
type LoadState struct {
	Running bool        `json:"running"`
	Request LoadRequest `json:"request"`
	// Started in milliseconds since 1970.
	Started int64 `json:"started"`
	// Points are looks about a second apart, the latest maxLoadPoints of them.
	Points []LoadPoint `json:"points"`
	// Error that ended it, empty otherwise.
	Error string `json:"error,omitempty"`
	// Summary of what was found, once it is over.
	Summary *LoadSummary `json:"summary,omitempty"`
}

// LoadPoint is one look at a load test under way. Latencies count from the intended start of each request.
type LoadPoint struct {
	Elapsed  float64 `json:"elapsed_s"`
	Length   float64 `json:"length_s"`
	Warming  bool    `json:"warming,omitempty"`
	Sent     float64 `json:"sent_rate"`
	Failed   float64 `json:"failed_rate"`
	InFlight int64   `json:"in_flight"`
	P50      float64 `json:"p50_ms"`
	P90      float64 `json:"p90_ms"`
	P99      float64 `json:"p99_ms"`
	// Trouble of the generator itself, in words.
	Trouble string `json:"trouble,omitempty"`
}

// LoadSummary is what a load test found.
type LoadSummary struct {
	Rate     float64  `json:"rate,omitempty"`
	Requests int64    `json:"requests,omitempty"`
	Errors   float64  `json:"errors,omitempty"`
	P50      float64  `json:"p50_ms,omitempty"`
	P99      float64  `json:"p99_ms,omitempty"`
	Max      float64  `json:"max_ms,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	// Knee in scenario starts a second, with its 95 % interval, where it was searched for.
	Knee     float64     `json:"knee,omitempty"`
	KneeLow  float64     `json:"knee_low,omitempty"`
	KneeHigh float64     `json:"knee_high,omitempty"`
	KneeWhy  string      `json:"knee_why,omitempty"`
	Probes   []KneePoint `json:"probes,omitempty"`
}

// KneePoint is one probe of a search.
type KneePoint struct {
	Rate    float64 `json:"rate"`
	P99     float64 `json:"p99_ms"`
	Verdict string  `json:"verdict"`
}

// Bounds of a load test that is started from the page.
const (
	maxLoadPoints  = 900
	maxLoadSeconds = 3600
	maxLoadUsers   = 100000
	maxLoadRate    = 1e6
)

func (r LoadRequest) validate() error {
	switch {
	case !(r.Rate >= 0 && r.Rate <= maxLoadRate):
		return wrongf("rate %v: want 0 to %g a second", r.Rate, maxLoadRate)
	case r.Users < 0 || r.Users > maxLoadUsers:
		return wrongf("users %d: want 0 to %d", r.Users, maxLoadUsers)
	case r.Rate > 0 && r.Users > 0:
		return wrongf("a rate and users exclude each other")
	case !(r.Seconds == 0 || r.Seconds >= 1 && r.Seconds <= maxLoadSeconds):
		return wrongf("seconds %v: want 1 to %d", r.Seconds, maxLoadSeconds)
	case r.FindKnee && r.Users > 0:
		return wrongf("the knee is searched for by rate, not by users")
	case r.FindKnee != (r.SLO != ""):
		return wrongf("find_knee and slo go together: what must hold at the knee")
	}
	if r.SLO != "" {
		if len(r.SLO) > 256 {
			return wrongf("slo: at most 256 characters")
		}
		if _, err := load.ParseSLO(r.SLO); err != nil {
			return wrongf("slo: %w", err)
		}
	}
	return nil
}

// loadTests runs one load test at a time.
type loadTests struct {
	loader Loader

	mu     sync.Mutex
	now    *LoadState
	cancel context.CancelFunc // of the one that runs
	ended  chan struct{}      // closed when it has ended
}

// start begins a test. It goes on until it is over, is stopped, or the server ends.
func (t *loadTests) start(ctx context.Context, req LoadRequest) error {
	if t.loader == nil {
		return refusedf("this system has no workload that could be sent from here")
	}
	if err := req.validate(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now != nil && t.now.Running {
		return refusedf("a load test runs already: stop it, or wait for its end")
	}
	if ctx.Err() != nil {
		return refusedf("the system is stopping")
	}
	ctx, t.cancel = context.WithCancel(ctx)
	t.now = &LoadState{Running: true, Request: req, Started: time.Now().UnixMilli(), Points: []LoadPoint{}}
	t.ended = make(chan struct{})
	go t.run(ctx, t.now, t.ended) // wait waits for it
	return nil
}

func (t *loadTests) run(ctx context.Context, st *LoadState, ended chan<- struct{}) {
	defer close(ended)
	out, err := t.loader.Load(ctx, st.Request, func(p load.Progress) {
		t.mu.Lock()
		defer t.mu.Unlock()
		st.Points = append(st.Points, pointOf(p))
		if len(st.Points) > maxLoadPoints {
			st.Points = slices.Delete(st.Points, 0, len(st.Points)-maxLoadPoints)
		}
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cancel()
	st.Running = false
	if err != nil {
		st.Error = err.Error()
		if errors.Is(err, context.Canceled) {
			st.Error = "stopped"
		}
	}
	if out != nil {
		st.Summary = summaryOf(out)
	}
}

// stop ends the test that runs, and returns when it has ended or ctx has.
func (t *loadTests) stop(ctx context.Context) error {
	t.mu.Lock()
	if t.now == nil || !t.now.Running {
		t.mu.Unlock()
		return refusedf("no load test runs")
	}
	cancel, ended := t.cancel, t.ended
	t.mu.Unlock()
	cancel()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the load test to end: %w", ctx.Err())
	}
}

// wait returns when no test runs.
func (t *loadTests) wait() {
	t.mu.Lock()
	ended := t.ended
	t.mu.Unlock()
	if ended != nil {
		<-ended
	}
}

// state is how the latest test does, with so many of its looks; nil if there was none.
func (t *loadTests) state(looks int) *LoadState {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now == nil {
		return nil
	}
	st := *t.now
	st.Points = slices.Clone(st.Points[max(0, len(st.Points)-looks):])
	return &st
}

func pointOf(p load.Progress) LoadPoint {
	return LoadPoint{Elapsed: p.Elapsed.Seconds(), Length: p.Length.Seconds(), Warming: p.Warming, Sent: p.Sent, Failed: p.Failed, InFlight: p.InFlight,
		P50: ms(p.P50), P90: ms(p.P90), P99: ms(p.P99), Trouble: p.Bottleneck()}
}

func summaryOf(o *LoadOutcome) *LoadSummary {
	s := &LoadSummary{}
	if r := o.Result; r != nil {
		t := r.Total
		s.Rate, s.Requests, s.Warnings = t.Rate, t.Requests, r.Warnings
		if t.Requests > 0 {
			s.Errors = float64(t.Failed()) / float64(t.Requests)
		}
		if t.Latency != nil && t.Latency.Count() > 0 {
			s.P50, s.P99, s.Max = ms(t.Latency.QuantileDuration(0.5)), ms(t.Latency.QuantileDuration(0.99)), ms(time.Duration(t.Latency.Max()))
		}
	}
	if k := o.Knee; k != nil {
		s.Knee, s.KneeLow, s.KneeHigh, s.KneeWhy, s.Warnings = k.Knee, k.Low, k.High, k.Why, k.Warnings
		for _, p := range k.Probes {
			s.Probes = append(s.Probes, KneePoint{Rate: p.Rate, P99: ms(p.P99), Verdict: string(p.Verdict)})
		}
	}
	return s
}
