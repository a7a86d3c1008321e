package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// DefaultMemory is the default of Config.Memory. A system of 20 services in 40 replicas, with 40 edges and 10 routes,
// every edge reached from every route, 5,000 calls a second whose latencies spread over four decades, needs 77 MiB for
// its ten minutes and six hours (TestMemoryIsBounded); most systems need a tenth of it.
const DefaultMemory = 96 << 20

// ErrNoData is returned where nothing is known of a span.
var ErrNoData = errors.New("nothing was observed in this span")

// Config of an Observer.
type Config struct {
	// System is the name of the system: a label of every metric, and the heading of the status.
	System string
	// Version of the program, for banyan_build_info.
	Version string
	// Sample returns the counters of this instant. It is called from Run, never twice at once, and should return well
	// within Interval: Run cannot stop before it has. Required.
	Sample func() Sample
	// Interval between samples. Default: 1 s.
	Interval time.Duration
	// Ticks, if set, replaces the ticker of Interval: a sample is taken for each value.
	Ticks <-chan time.Time
	// Memory in bytes that the history may use at most, beside the last sample. Default: DefaultMemory; at least 1 MiB.
	Memory int
	// Record, if its Dir is set, says where the intervals are recorded.
	Record RecordConfig
	// Collectors of other parts, shown by Handler.
	Collectors []prometheus.Collector
	// Log is told of what goes wrong while running. Default: slog.Default().
	Log *slog.Logger
}

// Observer keeps the history of a system. Its methods may be called from several goroutines at once.
type Observer struct {
	cfg     Config
	handler http.Handler

	observing sync.Mutex // held by Observe throughout: samples come one after the other
	track     tracker
	record    *recorder // nil: none

	mu      sync.Mutex // guards what is below; held briefly
	history history
	last    *Sample
	first   time.Time // instant of the first sample
	counts  counts
}

// counts is what the observer says of itself.
type counts struct {
	samples, skipped, recordErrors int64
	recorded                       int64 // bytes
}

// New checks the configuration and prepares an Observer. It opens no file: Run does.
func New(cfg Config) (*Observer, error) {
	if cfg.Sample == nil {
		return nil, errors.New("observing: no source of samples")
	}
	if cfg.Interval == 0 {
		cfg.Interval = time.Second
	}
	if cfg.Interval < 0 {
		return nil, fmt.Errorf("observing: interval of %v: want more than 0", cfg.Interval)
	}
	if cfg.Memory == 0 {
		cfg.Memory = DefaultMemory
	}
	if cfg.Memory < 1<<20 {
		return nil, fmt.Errorf("observing: %d bytes of memory: want at least 1 MiB", cfg.Memory)
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	o := &Observer{cfg: cfg, history: newHistory(cfg.Memory)}
	if cfg.Record.Dir != "" {
		r, err := newRecorder(cfg.Record, cfg.System, cfg.Version)
		if err != nil {
			return nil, err
		}
		o.record = r
	}
	h, err := o.newHandler()
	if err != nil {
		return nil, err
	}
	o.handler = h
	return o, nil
}

// Run takes a sample at once and then at every tick, until ctx ends; then it takes a last one, closes the recording and
// returns nil. A recording that cannot be written is logged and tried again: it never stops the observation.
func (o *Observer) Run(ctx context.Context) error {
	ticks := o.cfg.Ticks
	if ticks == nil {
		ticker := time.NewTicker(o.cfg.Interval)
		defer ticker.Stop()
		ticks = ticker.C
	}
	defer o.close()
	o.Observe(o.cfg.Sample())
	for {
		select {
		case <-ctx.Done():
			o.Observe(o.cfg.Sample())
			return nil
		case <-ticks:
			o.Observe(o.cfg.Sample())
		}
	}
}

func (o *Observer) close() {
	o.observing.Lock()
	defer o.observing.Unlock()
	if o.record != nil {
		if err := o.record.close(); err != nil {
			o.cfg.Log.Error("closing the recording", "error", err)
		}
	}
}

// Observe adds one sample. Run calls it; a program that has its own rhythm may call it instead.
func (o *Observer) Observe(s Sample) {
	o.observing.Lock()
	defer o.observing.Unlock()
	iv, ok := o.track.next(&s)
	var blob []byte
	if ok {
		blob = encode(iv)
	}
	o.mu.Lock()
	if o.last == nil {
		o.first = s.At
	}
	o.last = &s
	o.counts.samples++
	if ok {
		// An interval that was just made adds up without error: only a damaged one would not.
		if err := o.history.push(iv, blob); err != nil {
			o.cfg.Log.Error("keeping an interval", "error", err)
		}
	} else if o.counts.samples > 1 {
		o.counts.skipped++
	}
	o.mu.Unlock()
	if ok && o.record != nil {
		o.append(blob, iv.Start)
	}
}

// append records one interval. Only the first failure of a row is logged, for a full disk would fill the log as well.
func (o *Observer) append(blob []byte, start time.Time) {
	failing := o.record.failing
	n, err := o.record.append(blob, start)
	o.mu.Lock()
	o.counts.recorded += int64(n)
	if err != nil {
		o.counts.recordErrors++
	}
	o.mu.Unlock()
	switch {
	case err != nil && !failing:
		o.cfg.Log.Error("recording what is observed; trying again every second", "error", err)
	case err == nil && failing:
		o.cfg.Log.Info("recording again")
	}
}

// snapshot returns the last sample (nil if there is none) and the intervals of a span.
func (o *Observer) snapshot(from, to time.Time) (*Sample, time.Time, []stored) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last, o.first, o.history.between(from, to)
}
