package load

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
)

// run is one load test under way.
type run struct {
	cfg      Config
	plan     *plan
	closed   bool // users, not arrivals
	schedule func() Schedule
	replay   *replay
	end      time.Duration
	timeout  time.Duration

	origin  time.Time
	ctx     context.Context // done: cut everything
	stop    <-chan struct{} // closed: send nothing more
	targets targets
	pacer   *pacer // of what is late; nil: it is sent at once
	waker   *waker
	rec     *recorder

	startCPU, warmCPU, endCPU time.Duration
	crewFull                  int64 // times that an arrival waited because MaxInFlight scenarios were under way
}

// now is the instant since the start of the run.
func (r *run) now() time.Duration { return time.Since(r.origin) }

func (r *run) stopped() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

// Run sends the workload and returns what came of it. No request is begun after the end of its duration; those under
// way are waited for, at most for their timeout. Where ctx is done before, everything is cut at once, and the result is
// that of the part that was run, marked as cut short. An error is returned only where nothing was sent: a workload, a
// target or a trace that is not right.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	if len(cfg.Workers) > 0 {
		return coordinate(ctx, cfg)
	}
	r, thresholds, err := prepare(cfg)
	if err != nil {
		return nil, err
	}
	return r.whole(ctx, thresholds)
}

// whole runs what was prepared: the setup, the load, the teardown.
func (r *run) whole(ctx context.Context, thresholds []Threshold) (*Result, error) {
	if r.cfg.kept != nil {
		r.plan.restore(r.cfg.kept)
		return r.send(ctx, thresholds)
	}
	if err := r.setUp(ctx); err != nil {
		return nil, err
	}
	res, err := r.send(ctx, thresholds)
	failed := r.tearDown(ctx, r.plan.scenarios)
	if err != nil {
		return nil, err
	}
	res.Warnings = append(res.Warnings, failed...)
	return res, nil
}

// send sends the load.
func (r *run) send(ctx context.Context, thresholds []Threshold) (*Result, error) {
	wake, err := r.cfg.newAlarm()
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	defer wake.close()
	beat, err := r.cfg.newAlarm()
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	defer beat.close()
	started := time.Now()
	if !r.cfg.startAt.IsZero() {
		started = r.cfg.startAt
		wait := time.NewTimer(time.Until(started))
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
	}
	r.origin = started
	r.waker = &waker{now: r.now, alarm: wake}

	helpers, endHelpers := context.WithCancel(context.Background())
	stopCtx, stop := context.WithDeadline(ctx, started.Add(r.end))
	defer stop()
	r.ctx, r.stop = ctx, stopCtx.Done()
	r.startCPU = processCPU()
	r.warmCPU = r.startCPU
	r.cfg.Metrics.attach(r)

	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-ctx.Done():
			r.targets.cut()
		case <-helpers.Done():
		}
	})
	wg.Go(func() { r.waker.run(helpers) })
	wg.Go(func() { r.observe(helpers) })
	if r.cfg.watch != nil {
		wg.Go(func() { r.watching(helpers) })
	}
	if r.closed {
		r.runUsers()
	} else {
		r.runArrivals(beat)
	}
	endHelpers()
	wg.Wait()
	if r.endCPU == 0 {
		r.endCPU = processCPU()
	}
	r.targets.close()
	res := r.result(started, thresholds)
	r.cfg.Metrics.finish(res)
	return res, nil
}

// prepare checks and makes all that can be made before the clock runs.
func prepare(cfg Config) (*run, []Threshold, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, nil, err
	}
	w := cfg.Workload
	r := &run{cfg: cfg, closed: w.Users > 0, timeout: w.Timeout.Std()}
	r.targets.cfg = &r.cfg
	if _, err := r.targets.find(""); err != nil {
		return nil, nil, err
	}
	if r.plan, err = compile(w, cfg.Router, &r.targets); err != nil {
		return nil, nil, fmt.Errorf("load: %w", err)
	}
	for _, f := range r.plan.feeders {
		f.part = cfg.part
		if err := f.load(cfg.files()); err != nil {
			return nil, nil, fmt.Errorf("load: %w", err)
		}
	}
	thresholds, err := parseThresholds(w.Thresholds, slices.Concat(r.plan.names, r.plan.allTags()))
	if err != nil {
		return nil, nil, fmt.Errorf("load: %w", err)
	}
	warm := w.Warmup.Std()
	if r.closed {
		r.end = warm + w.Duration.Std()
	} else if err := r.arrange(); err != nil {
		return nil, nil, fmt.Errorf("load: %w", err)
	}
	if warm >= r.end {
		return nil, nil, fmt.Errorf("load: a warm-up of %s leaves nothing of %s to measure", warm, r.end)
	}
	r.rec = newRecorder(r.plan, 2*runtime.GOMAXPROCS(0), warm, r.end)
	if r.replay != nil {
		r.rec.trace = &Timeline{Width: r.replay.bin()}
	}
	return r, thresholds, nil
}

// arrange makes the schedule of an open workload.
func (r *run) arrange() error {
	w := r.cfg.Workload
	var profile *Profile
	var err error
	switch {
	case w.Trace != nil:
		var s *series
		if s, err = readTraceFrom(w.Trace, r.cfg.files()); err != nil {
			return err
		}
		if r.replay, err = replayOf(s, w.Trace, w.Warmup.Std()); err != nil {
			return err
		}
		profile = r.replay.profile
	case len(w.Stages) > 0:
		profile, err = Ramps(w.Stages)
	default:
		profile, err = Steady(float64(w.Rate), w.Warmup.Std()+w.Duration.Std())
	}
	if err != nil {
		return err
	}
	r.end = profile.Duration()
	if r.cfg.CatchUp == "capped" {
		r.pacer = &pacer{rate: func(due time.Duration) float64 {
			rate := profile.RateAt(due)
			if of := r.cfg.part.of; of > 0 {
				rate /= float64(of)
			}
			return rate
		}}
	}
	r.schedule = func() Schedule {
		if w.Arrivals == "constant" {
			return r.cfg.part.schedule(Even{profile})
		}
		return r.cfg.part.schedule(NewPoisson(profile, r.cfg.Seed))
	}
	return nil
}

// observe tells of progress once a second and takes the CPU time at both ends of the measured part.
func (r *run) observe(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	warm := time.NewTimer(r.rec.warm - r.now())
	defer warm.Stop()
	stop := r.stop
	last := Progress{Target: r.cfg.Target, Schedule: r.inWords()}
	var schedule Schedule
	if !r.closed {
		schedule = r.schedule()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-stop:
			r.endCPU, stop = processCPU(), nil
		case <-warm.C:
			r.warmCPU = processCPU()
		case <-ticker.C:
			now := r.now()
			recent := r.rec.tick(now)
			if stop == nil || r.cfg.Progress == nil && r.cfg.Metrics == nil {
				continue
			}
			last = r.progress(last, schedule, now, recent)
			r.cfg.Metrics.see(last)
			if r.cfg.Progress != nil {
				r.cfg.Progress(last)
			}
		}
	}
}
