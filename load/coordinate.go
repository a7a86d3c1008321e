package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

const (
	maxWorkers     = 100
	workerPatience = 5 * time.Second        // of silence, before a worker is lost
	workerBeat     = 500 * time.Millisecond // between two questions
	startLead      = time.Second            // from the last word of the coordinator to the start
)

// coordinator has workers send the parts of one run.
type coordinator struct {
	run      *run
	workers  []*remote
	patience time.Duration
	start    time.Time
	words    string // how requests are started

	mu     sync.Mutex
	latest []status // of each worker
}

// coordinate runs cfg on its workers. The n-th arrival, or user, of the run belongs to worker n modulo their number, so
// that all together send what one generator would, at the same instants. The coordinator itself runs setup and teardown.
// An error is returned only where nothing of the load was sent.
func coordinate(ctx context.Context, cfg Config) (*Result, error) {
	r, thresholds, err := prepare(cfg)
	if err != nil {
		return nil, err
	}
	c := &coordinator{run: r, patience: workerPatience, words: r.inWords(), latest: make([]status, len(cfg.Workers))}
	if cfg.patience > 0 {
		c.patience = cfg.patience
	}
	if err := c.enlist(cfg); err != nil {
		return nil, err
	}
	transport := c.workers[0].client.Transport.(*http.Transport)
	defer transport.CloseIdleConnections()
	defer c.each(func(_ int, w *remote) error { w.leave(); return nil })
	jobs, err := c.jobs()
	if err != nil {
		return nil, err
	}
	if err := c.each(func(i int, w *remote) error {
		if err := w.meet(ctx); err != nil {
			return err
		}
		if err := w.ask(ctx, pathPrepare, jobs[i], &struct{}{}); err != nil {
			return err
		}
		return w.readClock(ctx)
	}); err != nil {
		return nil, err
	}
	if err := r.setUp(ctx); err != nil {
		return nil, err
	}
	c.start = time.Now().Add(startLead)
	err = c.each(func(_ int, w *remote) error {
		return w.ask(ctx, pathStart, begin{At: w.instant(c.start), Kept: r.plan.kept()}, &struct{}{})
	})
	if err == nil {
		c.follow(ctx)
	}
	failed := r.tearDown(ctx, r.plan.scenarios)
	if err != nil {
		return nil, err
	}
	res := c.result(ctx.Err() != nil, thresholds)
	res.Warnings = append(res.Warnings, failed...)
	cfg.Metrics.finish(res)
	return res, nil
}

// enlist checks the workers' addresses.
func (c *coordinator) enlist(cfg Config) error {
	if len(cfg.Secret) < minSecret {
		return fmt.Errorf("load: a secret of %d bytes for the workers: want %d at least", len(cfg.Secret), minSecret)
	}
	if len(cfg.Workers) > maxWorkers {
		return fmt.Errorf("load: %d workers: want %d at most", len(cfg.Workers), maxWorkers)
	}
	if u := c.run.cfg.Workload.Users; u > 0 && u < len(cfg.Workers) {
		return fmt.Errorf("load: %d users cannot be divided among %d workers", u, len(cfg.Workers))
	}
	client := &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute}, // and no proxy
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for i, address := range cfg.Workers {
		if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
			return fmt.Errorf("load: worker %.200q: want HOST:PORT", address)
		}
		if slices.Contains(cfg.Workers[:i], address) {
			return fmt.Errorf("load: worker %s is named twice", address)
		}
		c.workers = append(c.workers, &remote{address: address, secret: cfg.Secret, client: client, report: WorkerReport{Address: address}})
	}
	return nil
}

// each does something with all workers at once, and returns all that failed.
func (c *coordinator) each(do func(i int, w *remote) error) error {
	errs := make([]error, len(c.workers))
	var wg sync.WaitGroup
	for i, w := range c.workers {
		wg.Go(func() {
			if err := do(i, w); err != nil {
				errs[i] = fmt.Errorf("load: worker %s: %w", w.address, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// jobs makes each worker's part of the run.
func (c *coordinator) jobs() ([]*job, error) {
	cfg := &c.run.cfg
	w, err := c.named()
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	contents, err := c.contents()
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	out := make([]*job, len(c.workers))
	for i := range out {
		out[i] = &job{Target: cfg.Target, Workload: w, Seed: cfg.Seed, Part: int64(i), Of: int64(len(out)),
			Connections: cfg.Connections, MaxInFlight: cfg.MaxInFlight, MaxLate: cfg.MaxLate, MaxBody: cfg.MaxBody, Streams: cfg.Streams, CatchUp: cfg.CatchUp, Files: contents}
	}
	return out, nil
}

// named is the workload with only the scenarios that are run, every step under the name that it has here, without what
// only the coordinator does.
func (c *coordinator) named() (*topology.Workload, error) {
	data, err := json.Marshal(c.run.cfg.Workload)
	if err != nil {
		return nil, fmt.Errorf("the workload as JSON: %w", err)
	}
	w := &topology.Workload{}
	if err := unwrap(data, w); err != nil {
		return nil, fmt.Errorf("the workload as JSON: %w", err)
	}
	w.Thresholds = nil
	all := w.Scenarios
	w.Scenarios = map[string]*topology.Scenario{}
	for _, sc := range c.run.plan.scenarios {
		s := all[sc.name]
		for i, st := range sc.steps {
			s.Steps[i].Name = st.name
		}
		w.Scenarios[sc.name] = s
	}
	for name := range w.Mix {
		if w.Scenarios[name] == nil {
			delete(w.Mix, name)
		}
	}
	return w, nil
}

// contents reads the files that the workers need.
func (c *coordinator) contents() (map[string][]byte, error) {
	out := map[string][]byte{}
	total := 0
	names := []string{}
	if t := c.run.cfg.Workload.Trace; t != nil {
		names = append(names, t.File)
	}
	for _, f := range c.run.plan.feeders {
		if f.file != "" {
			names = append(names, f.file)
		}
	}
	for _, s := range c.run.cfg.Workload.Scenarios {
		for _, st := range s.Steps {
			if st.GRPC != nil && st.GRPC.Descriptors != "" && !slices.Contains(names, st.GRPC.Descriptors) {
				names = append(names, st.GRPC.Descriptors)
			}
		}
	}
	for _, name := range names {
		f, err := c.run.cfg.files().open(name)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(io.LimitReader(f, maxJobFiles+1))
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("reading %s for the workers: %w", name, err)
		}
		out[name] = data
		if total += len(data); total > maxJobFiles {
			return nil, fmt.Errorf("the files that the workers need are more than %d MiB", maxJobFiles>>20)
		}
	}
	return out, nil
}

// follow returns when every worker has ended or is lost.
func (c *coordinator) follow(ctx context.Context) {
	helpers, end := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	if c.run.cfg.Progress != nil || c.run.cfg.Metrics != nil {
		wg.Go(func() { c.show(helpers) })
	}
	_ = c.each(func(i int, w *remote) error {
		w.follow(ctx, c.patience, min(workerBeat, c.patience/2), func(s status) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.latest[i] = s
		})
		if w.report.Lost != "" {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.latest[i] = status{Progress: Progress{TotalSent: w.report.LastSent, TotalFailed: w.status.Progress.TotalFailed}}
		}
		return nil
	})
	end()
	wg.Wait()
}

// show tells of the progress of all workers once a second.
func (c *coordinator) show(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p := c.progress()
		if p.Elapsed == 0 {
			continue
		}
		c.run.cfg.Metrics.see(p)
		if c.run.cfg.Progress != nil {
			c.run.cfg.Progress(p)
		}
	}
}

// progress adds up what the workers said last.
func (c *coordinator) progress() Progress {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := Progress{Target: c.run.cfg.Target, Schedule: c.words, Length: c.run.end}
	recent := stats.NewHistogram(2)
	for i := range c.latest {
		p := &c.latest[i].Progress
		all.Elapsed = max(all.Elapsed, p.Elapsed)
		all.Offered += p.Offered
		all.Sent += p.Sent
		all.Completed += p.Completed
		all.Failed += p.Failed
		all.InFlight += p.InFlight
		all.Behind += p.Behind
		all.Waiting += p.Waiting
		all.Connections += p.Connections
		all.NotSent += p.NotSent
		all.Full = all.Full || p.Full
		for k, n := range p.Errors {
			if all.Errors == nil {
				all.Errors = map[Kind]int64{}
			}
			all.Errors[k] += n
		}
		all.TotalSent += p.TotalSent
		all.TotalFailed += p.TotalFailed
		all.CPU += p.CPU
		all.Cores += p.Cores
		if h := c.latest[i].Recent; h != nil {
			_ = recent.Merge(h) // of another precision: left out of a passing look
		}
	}
	all.Warming = all.Elapsed < c.run.rec.warm
	all.take(recent)
	return all
}

// result puts together what the workers found.
func (c *coordinator) result(cut bool, thresholds []Threshold) *Result {
	r := c.run
	res := r.frame(c.start)
	res.CutShort = cut
	for _, name := range r.plan.names {
		s := newStep(name)
		res.Steps = append(res.Steps, &s)
	}
	res.Timeline.Width = time.Second
	if r.replay != nil {
		res.Trace = r.replayed(Timeline{Width: r.replay.bin()})
	}
	var longest time.Duration
	for i, w := range c.workers {
		if w.result != nil {
			if err := res.merge(w.result); err != nil {
				w.lose(err)
				w.result = nil
			} else {
				w.report.Total, w.report.Generator = w.result.Total, &w.result.Generator
				longest = max(longest, w.result.Duration)
				for _, text := range w.result.Warnings {
					res.Warnings = append(res.Warnings, w.address+": "+text)
				}
			}
		}
		res.Workers = append(res.Workers, w.report)
		c.portion(&res.Workers[i], part{int64(i), int64(len(c.workers))})
	}
	if cut {
		res.Duration = min(longest, res.Planned)
	}
	for i := range res.Workers {
		if w := &res.Workers[i]; w.Lost != "" {
			res.Warnings = append(res.Warnings, w.lossText(len(res.Workers)))
		}
	}
	total := newStep("total")
	for _, s := range res.Steps {
		total.merge(s)
	}
	res.Total, res.Tags = &total, r.plan.tagged(res.Steps)
	for _, t := range thresholds {
		res.Verdicts = append(res.Verdicts, t.Judge(res))
	}
	return res
}

// portion says how much of the measured part was the share of a worker.
func (c *coordinator) portion(w *WorkerReport, p part) {
	r := c.run
	if r.closed {
		w.Users = p.share(int64(r.cfg.Workload.Users))
		return
	}
	s := p.schedule(r.schedule())
	w.Due = dueBefore(s, 0, r.end) - dueBefore(s, 0, r.rec.warm)
}
