package simulate

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/stats"
)

// Run simulates the model and returns what it measured. It runs replications on as many goroutines as Options.Workers
// says; all have ended when it returns. Errors: the context's; ErrTooManyEvents and ErrTooManyInProgress, wrapped, where
// the model would go on for too long.
func (m *Model) Run(ctx context.Context) (*Result, error) {
	r := &run{m: m, load: m.load, result: newResult(m)}
	if m.load.auto {
		if err := r.findWarmup(ctx); err != nil {
			return nil, fmt.Errorf("simulate: finding the warm-up: %w", err)
		}
	}
	if err := r.replicate(ctx); err != nil {
		return nil, fmt.Errorf("simulate: %w", err)
	}
	r.result.complete(m, r.load)
	return r.result, nil
}

// run is one call of Run.
type run struct {
	m      *Model
	load   *workload
	result *Result

	telling sync.Mutex
}

func (r *run) tell(p Progress) {
	r.telling.Lock()
	defer r.telling.Unlock()
	r.m.o.Progress(p)
}

// findWarmup simulates one replication of its own, of which nothing but the length of the warm-up is kept.
func (r *run) findWarmup(ctx context.Context) error {
	s, err := newSim(r.m, r.load, -1)
	if err != nil {
		return err
	}
	s.probe = &warmupProbe{}
	if err := s.run(ctx); err != nil {
		return err
	}
	at, settled := s.probe.warmup()
	if !settled {
		r.result.Notes = append(r.result.Notes, "no steady state was found (MSER-5): the figures depend on how long is simulated")
	}
	load := *r.load
	load.warmup = at
	load.end += at
	load.pieces = slices.Clone(load.pieces)
	for i := range load.pieces {
		load.pieces[i].length += float64(at) * 1e-9
	}
	r.load = &load
	r.result.WarmupFound = true
	return nil
}

// finished is a replication that has ended.
type finished struct {
	replication int
	sim         *sim
	err         error
}

// replicate runs replications and adds them to the result in their order, whichever is done first.
func (r *run) replicate(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	most := r.m.o.Replications
	if r.m.o.Precision > 0 {
		most = max(most, r.m.o.MaxReplications)
	}
	var next atomic.Int64
	done := make(chan finished)
	var workers sync.WaitGroup
	for range min(r.m.o.Workers, most) {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= most || ctx.Err() != nil {
					return
				}
				s, err := r.replication(ctx, i)
				done <- finished{i, s, err}
			}
		})
	}
	go func() {
		workers.Wait()
		close(done)
	}()
	early := map[int]finished{}
	turn := 0
	var failed error
	stopped := false
	for f := range done {
		early[f.replication] = f
		for !stopped {
			f, ok := early[turn]
			if !ok {
				break
			}
			delete(early, turn)
			turn++
			if failed = f.err; failed == nil {
				failed = r.result.add(f.sim)
			}
			if stopped = failed != nil || r.enough(turn, most); stopped {
				cancel()
			}
		}
	}
	if failed == nil && !stopped {
		failed = context.Cause(ctx)
	}
	return failed
}

// enough reports whether so many replications do.
func (r *run) enough(n, most int) bool {
	if n >= most {
		if p := r.m.o.Precision; p > 0 && r.result.precision() > p {
			r.result.Notes = append(r.result.Notes, fmt.Sprintf(
				"the asked precision of %.3g was not reached in %d replications: the mean latency is known to %.3g of itself", p, n, r.result.precision()))
		}
		return true
	}
	return r.m.o.Precision > 0 && n >= r.m.o.Replications && r.result.precision() <= r.m.o.Precision
}

func (r *run) replication(ctx context.Context, i int) (*sim, error) {
	s, err := newSim(r.m, r.load, i)
	if err != nil {
		return nil, err
	}
	if r.m.o.Progress != nil {
		s.tell = r.tell
	}
	if i == 0 {
		s.tally.keepTimeline(s)
		if r.m.o.Trace > 0 {
			s.trace = &tracer{most: int32(r.m.o.Trace)}
		}
	}
	if err := s.run(ctx); err != nil {
		return nil, fmt.Errorf("replication %d: %w", i+1, err)
	}
	return s, nil
}

// quantiles are those that a result gives.
var quantiles = [...]float64{0.5, 0.9, 0.95, 0.99, 0.999}

// latencySamples are the figures of latencies, by replication.
type latencySamples struct {
	rate, errors, mean sample
	quantile           [len(quantiles)]sample
}

func (l *latencySamples) add(h *stats.Histogram, bad int64, seconds float64) {
	l.rate.add(float64(h.Count()) / seconds)
	if h.Count() == 0 {
		return // a replication without a request says nothing about latencies
	}
	l.errors.add(float64(bad) / float64(h.Count()))
	l.mean.add(h.Mean())
	for i, q := range quantiles {
		l.quantile[i].add(float64(h.Quantile(q)))
	}
}

// precision is the half width of the confidence interval of the mean latency as a share of it.
func (r *Result) precision() float64 {
	s := &r.samples.all.mean
	if s.n < 2 || s.mean == 0 {
		return math.Inf(1)
	}
	return s.halfWidth() / s.mean
}

func spanOf(nanos float64) time.Duration {
	if !(nanos < maxSpan) {
		return maxSpan
	}
	return time.Duration(math.Round(nanos))
}
