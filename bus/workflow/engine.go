package workflow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/banyanhq/banyan/bus/journal"
	"github.com/banyanhq/banyan/policy/saga"
)

// Performer makes an attempt. It returns an outcome in any case; when ctx ends for another reason than the attempt's own
// time-out, the outcome is not looked at.
type Performer interface {
	Perform(ctx context.Context, e saga.Effect) saga.Outcome
}

// Log is where the engine keeps what happens, in order.
type Log interface {
	// Append, Flush, Oldest, Drop, Stats and Close are as those of journal.Journal.
	Append(journal.Record) error
	Flush(context.Context) error
	Oldest() (id uint64, newest time.Time, size int64, ok bool)
	Drop(id uint64) error
	Stats() journal.Stats
	Close() error
}

// Config of an Engine.
type Config struct {
	// Dir holds the journal.
	Dir string
	// OpenLog opens a log that is elsewhere, on several nodes. Default: the journal in Dir.
	OpenLog func(replay func(journal.Position, []byte) error) (Log, error)
	// Sagas that can be started. Runs of others go on as they were begun.
	Sagas []*saga.Definition
	// Performer makes attempts.
	Performer Performer
	// Waits hears of a run that begins to wait for an event of a topic; it must not block. Nil: nobody.
	Waits func(run, topic, key string)
	// Concurrency bounds the attempts under way at once. Default 256.
	Concurrency int
	// MaxRuns and MaxBytes bound what is kept in memory; a start beyond is refused. Default 200,000 and 512 MiB.
	MaxRuns  int
	MaxBytes int64
	// Now, for tests. Default time.Now.
	Now func() time.Time
	// OpenFile opens a segment of the journal, for tests that make disks fail.
	OpenFile func(path string) (journal.File, error)
	// SegmentBytes of the journal. Default 16 MiB.
	SegmentBytes int64
	// Log of what operators should know. Default: none.
	Log *slog.Logger
}

// Errors of the engine.
var (
	ErrNoSaga   = errors.New("no such saga")
	ErrNoRun    = errors.New("no such run")
	ErrKeyUsed  = errors.New("the key was used to start a run with another input")
	ErrFull     = errors.New("too many runs are kept")
	ErrInvalid  = errors.New("invalid")
	ErrTooLarge = errors.New("too large")
	ErrClosed   = errors.New("the sagas are closed")
)

// Engine is safe for concurrent use. One lock guards all runs: the journal is to have their events in the order in which they
// happened, and what waits is the disk, not the lock.
type Engine struct {
	cfg     Config
	defs    map[string]*saga.Definition
	journal Log
	slots   chan struct{}

	mu      sync.Mutex
	runs    map[string]*run
	bytes   int64
	timers  timers
	byWait  map[waitKey]map[string]bool // runs that wait for an event of a topic
	counts  map[string]*Counts
	ctx     context.Context // of attempts; nil until Run
	ready   []*run          // whose attempt is on disk and was not made yet, before Run
	closed  bool
	attempt sync.WaitGroup
	wake    chan struct{}
	failed  chan struct{} // closed when the journal has failed
	failure error
}

type waitKey struct{ topic, key string }

// run is an instance with what the engine knows of it. Engine.mu guards it.
type run struct {
	*saga.Instance
	base   uint64        // segment of the earliest record that is needed
	bytes  int64         // of its records since then
	stored chan struct{} // closed when its start is on disk, or was refused
	refuse error         // of its start
	ended  chan struct{} // closed when nothing more happens, or when it is stuck
	waits  *waitKey
	armed  time.Duration // the earliest timer that it has; 0: none
}

// Counts of what happened to the runs of a saga since the engine was opened.
type Counts struct {
	Started, Completed, Compensated, Stuck, Attempts, Retries uint64
}

// Open reads what is stored.
func Open(cfg Config) (*Engine, error) {
	if cfg.Concurrency <= 0 {
		cfg.Concurrency = 256
	}
	if cfg.MaxRuns <= 0 {
		cfg.MaxRuns = 200_000
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 512 << 20
	}
	if cfg.SegmentBytes <= 0 {
		cfg.SegmentBytes = 16 << 20
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	e := &Engine{cfg: cfg, defs: map[string]*saga.Definition{}, slots: make(chan struct{}, cfg.Concurrency), runs: map[string]*run{},
		byWait: map[waitKey]map[string]bool{}, counts: map[string]*Counts{}, wake: make(chan struct{}, 1), failed: make(chan struct{})}
	for _, d := range cfg.Sagas {
		if err := d.Check(); err != nil {
			return nil, err
		}
		e.defs[d.Name] = d
	}
	open := cfg.OpenLog
	if open == nil {
		open = func(replay func(journal.Position, []byte) error) (Log, error) {
			return journal.Open(journal.Options{Dir: cfg.Dir, SegmentBytes: cfg.SegmentBytes, OpenFile: cfg.OpenFile}, replay)
		}
	}
	var err error
	if e.journal, err = open(e.replay); err != nil {
		return nil, fmt.Errorf("sagas: %w", err)
	}
	e.resume()
	return e, nil
}

// resume goes on with what was under way.
func (e *Engine) resume() {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	for _, r := range e.runs {
		if ev, ok := r.Interrupt(now); ok {
			e.happen(r, ev)
		} else {
			e.happen(r)
		}
	}
}

func (e *Engine) now() time.Duration { return time.Duration(e.cfg.Now().UnixNano()) }

// Run makes attempts until ctx ends; then it waits for all goroutines and closes the journal.
func (e *Engine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return ErrClosed
	}
	e.ctx = ctx
	for _, r := range e.ready {
		e.perform(r)
	}
	e.ready = nil
	e.mu.Unlock()
	e.loop(ctx)
	cancel()
	return e.Close()
}

// loop does what is due by itself.
func (e *Engine) loop(ctx context.Context) {
	compact := time.NewTicker(time.Second)
	defer compact.Stop()
	for {
		wait := e.due()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-e.wake:
		case <-compact.C:
			if err := e.compact(ctx); err != nil && ctx.Err() == nil {
				e.cfg.Log.Error("making the journal of the sagas smaller", "error", err)
			}
		case <-e.failed:
			timer.Stop()
			return
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// Close ends an engine; what is under way is made again by the next one.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	e.mu.Unlock()
	e.attempt.Wait()
	err := e.journal.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failure != nil {
		err = e.failure
	}
	return err
}
