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
	closed   bool            // users, not arrivals
	arrivals func() Schedule // of all generators
	replay   *replay
	end      time.Duration
	timeout  time.Duration

	origin  time.Time
	ctx     context.Context // done: cut everything
	stop    <-chan struct{} // closed: send nothing more
	targets targets         // of setup and teardown, and of the load where it is not looped
	peak    float64         // arrivals per second of an open workload, at most
	lanes   []*lane

	filesMissing string // what the system's limit of open files may do to the run; empty: nothing
	pacer        *pacer // of what is late; nil: it is sent at once
	waker        *waker
	rec          *recorder

	startCPU, warmCPU, endCPU time.Duration
	lasted                    time.Duration // until all sessions had ended
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

// ended reports whether the time is over in which requests are due. What has waited until then for a connection or a session is not
// sent any more: it was the target that kept it.
func (r *run) ended() bool { return r.now() >= r.end }

// Invalid is an error of what was asked for, found before anything was sent.
type Invalid struct{ error }

func (e Invalid) Unwrap() error { return e.error }

// lateAtEnd is how long after the end of an open workload requests are still begun that were due before it. A generator that
// is woken some milliseconds late, on a machine with more to do, has not sent the last ones by then, and they would count as
// errors of a system that was never asked.
const lateAtEnd = 200 * time.Millisecond

func (r *run) grace() time.Duration {
	if r.closed {
		return 0
	}
	return lateAtEnd
}

// Run sends the workload and returns what came of it. No request is begun that is due after the end of its duration, and none
// lateAtEnd after it; those under way are waited for, at most for their timeout. Where ctx is done before, everything is cut
// at once, and the result is
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
	r.fitFiles(raiseFiles(r.files()))
	if r.lanes, err = r.makeLanes(); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	defer closeLanes(r.lanes)
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
	stopCtx, stop := context.WithDeadline(ctx, started.Add(r.end+r.grace()))
	defer stop()
	r.ctx, r.stop = ctx, stopCtx.Done()
	r.startCPU = processCPU()
	r.warmCPU = r.startCPU
	r.cfg.Metrics.attach(r)

	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-ctx.Done():
			for _, l := range r.lanes {
				l.cut()
			}
		case <-helpers.Done():
		}
	})
	wg.Go(func() { r.waker.run(helpers) })
	wg.Go(func() { r.observe(helpers) })
	if r.cfg.watch != nil {
		wg.Go(func() { r.watching(helpers) })
	}
	var sending sync.WaitGroup
	for _, l := range r.lanes[1:] {
		sending.Go(func() { l.send(beat) })
	}
	r.lanes[0].send(beat)
	sending.Wait()
	r.lasted = r.now()
	endHelpers()
	wg.Wait()
	if r.endCPU == 0 {
		r.endCPU = processCPU()
	}
	res := r.result(started, thresholds)
	r.cfg.Metrics.finish(res)
	return res, nil
}

// prepare checks and makes all that can be made before the clock runs.
func prepare(cfg Config) (_ *run, _ []Threshold, err error) {
	defer func() {
		if err != nil {
			err = Invalid{err}
		}
	}()
	cfg, err = cfg.withDefaults()
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
	r.peak = profile.peak() / float64(max(r.cfg.part.of, 1))
	r.arrivals = func() Schedule {
		if w.Arrivals == "constant" {
			return Even{profile}
		}
		return NewPoisson(profile, r.cfg.Seed)
	}
	return nil
}

// schedule is this generator's part of the arrivals.
func (r *run) schedule() Schedule { return r.cfg.part.schedule(r.arrivals()) }

// otherFiles is how many files a run may need beside its connections; one that is being made takes two for a moment.
const otherFiles = 1024

// files is how many the run may want open at once.
func (r *run) files() uint64 {
	n := r.cfg.Connections
	if !r.closed {
		n = min(n, r.cfg.MaxInFlight)
	}
	return uint64(n*len(r.targets.all)) + otherFiles
}

// fitFiles has users share connections where the system does not let each have his own.
func (r *run) fitFiles(limit uint64) {
	if limit >= r.files() {
		return
	}
	r.filesMissing = fmt.Sprintf("the system lets this process have %s files open at once (ulimit -n)", count(int64(limit)))
	if r.closed && r.cfg.Connections >= r.cfg.Workload.Users && limit > 2*otherFiles {
		r.cfg.Connections = int(limit-otherFiles) / len(r.targets.all)
		for _, t := range r.targets.all {
			t.pool.limit = r.cfg.Connections
		}
		r.filesMissing += fmt.Sprintf(": the %s users share %s connections", count(int64(r.cfg.Workload.Users)), count(int64(r.cfg.Connections)))
		return
	}
	r.filesMissing += fmt.Sprintf(", and the run may want %s: connections beyond that fail as %q", count(int64(r.files())), LocalLimit)
}

// crewFull is how often an arrival waited because MaxInFlight scenarios were under way.
func (r *run) crewFull() (n int64) {
	for _, l := range r.lanes {
		n += l.full
	}
	return n
}

// observe tells of progress once a second and takes the CPU time at both ends of the measured part.
func (r *run) observe(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	warm := time.NewTimer(r.rec.warm - r.now())
	defer warm.Stop()
	end := time.NewTimer(r.rec.end - r.now())
	defer end.Stop()
	last := Progress{Target: r.cfg.Target, Schedule: r.inWords()}
	var schedule Schedule
	if !r.closed {
		schedule = r.schedule()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			r.endCPU = processCPU()
		case <-warm.C:
			r.warmCPU = processCPU()
		case <-ticker.C:
			now := r.now()
			recent := r.rec.tick(now)
			if now > r.rec.end || r.stopped() || r.cfg.Progress == nil && r.cfg.Metrics == nil {
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
