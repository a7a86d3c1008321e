package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/compression"
)

// Config of a Store.
type Config struct {
	// Dir holds the blocks and the write-ahead log. Required.
	Dir string
	// Retention is how long samples are kept. Default: 15 days.
	Retention time.Duration
	// MaxBytes bounds the blocks and the log on disk; the oldest block goes first. 0: no bound. One block is at least two
	// hours.
	MaxBytes int64
	// Limits of what is taken.
	Limits Limits
	// Exemplars is how many are kept, in memory. Default: 20,000.
	Exemplars int
	// OutOfOrder is how much older than the newest sample of its series a sample may be. Default: 10 minutes; negative:
	// not at all.
	OutOfOrder time.Duration
	// Log is told of what goes wrong. Default: slog.Default().
	Log *slog.Logger
}

// Limits of what a Store takes.
type Limits struct {
	// SeriesPerTarget and SeriesPerMetric hold one origin (a target, a sender): the series it has, and those of one metric
	// name. Defaults: 100,000 and 20,000.
	SeriesPerTarget, SeriesPerMetric int
	// Series of all origins in memory. Default: 2,000,000.
	Series int
	// Labels of a series, LabelName and LabelValue bytes of each. Defaults: 64, 256, 4096.
	Labels, LabelName, LabelValue int
	// Body is the size of one page or message in bytes, decompressed. Default: 64 MiB.
	Body int
}

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		field *int
		value int
	}{
		{&l.SeriesPerTarget, 100_000}, {&l.SeriesPerMetric, 20_000}, {&l.Series, 2_000_000}, {&l.Labels, 64},
		{&l.LabelName, 256}, {&l.LabelValue, 4096}, {&l.Body, 64 << 20},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	return l
}

// Store keeps series on disk. Its methods may be called from several goroutines at once.
type Store struct {
	cfg      Config
	db       *tsdb.DB
	registry *prometheus.Registry
	metadata catalogue
	counts   counters

	mu      sync.Mutex
	origins map[string]*origin
}

// counters of what became of samples, over all origins.
type counters struct {
	samples, outOfOrder, duplicates, outOfBounds, refused, invalid, exemplars, exemplarErrors atomic.Int64
}

// Open opens the storage in a directory, or makes one there. After a crash it reads the write-ahead log.
func Open(cfg Config) (*Store, error) {
	if cfg.Dir == "" {
		return nil, errors.New("opening the metrics: no directory")
	}
	if cfg.Retention == 0 {
		cfg.Retention = 15 * 24 * time.Hour
	}
	if cfg.Retention < 0 || cfg.MaxBytes < 0 {
		return nil, fmt.Errorf("opening the metrics: retention of %v and %d bytes: want no less than 0", cfg.Retention, cfg.MaxBytes)
	}
	if cfg.Exemplars == 0 {
		cfg.Exemplars = 20_000
	}
	switch {
	case cfg.OutOfOrder == 0:
		cfg.OutOfOrder = 10 * time.Minute
	case cfg.OutOfOrder < 0:
		cfg.OutOfOrder = 0
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	cfg.Limits = cfg.Limits.withDefaults()
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("opening the metrics: %w", err)
	}
	opts := tsdb.DefaultOptions()
	opts.RetentionDuration = cfg.Retention.Milliseconds()
	opts.MaxBytes = cfg.MaxBytes
	opts.EnableExemplarStorage = true
	opts.MaxExemplars = int64(cfg.Exemplars)
	opts.OutOfOrderTimeWindow = cfg.OutOfOrder.Milliseconds()
	opts.WALCompression = compression.Snappy
	// Blocks are merged up to a tenth of the retention, as Prometheus does, so that old time goes in small steps.
	opts.MaxBlockDuration = max(opts.MinBlockDuration, min(cfg.Retention/10, 31*24*time.Hour).Milliseconds())
	// A small system has few series: the default of 16,384 stripes would take more memory than they do.
	opts.StripeSize = 4096
	registry := prometheus.NewRegistry()
	db, err := tsdb.Open(cfg.Dir, cfg.Log, registry, opts, nil)
	if err != nil {
		return nil, fmt.Errorf("opening the metrics in %s: %w", cfg.Dir, err)
	}
	s := &Store{cfg: cfg, db: db, registry: registry, origins: map[string]*origin{}}
	registry.MustRegister(&storeCollector{s})
	return s, nil
}

// Close writes what is in memory to the log and ends the engine. Nothing may be appended or asked any more.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("closing the metrics: %w", err)
	}
	return nil
}

// Querier implements storage.Queryable, for PromQL.
func (s *Store) Querier(mint, maxt int64) (storage.Querier, error) { return s.db.Querier(mint, maxt) }

// ExemplarQuerier implements storage.ExemplarQueryable.
func (s *Store) ExemplarQuerier(ctx context.Context) (storage.ExemplarQuerier, error) {
	return s.db.ExemplarQuerier(ctx)
}

// Gatherer has the store's and the engine's own metrics.
func (s *Store) Gatherer() prometheus.Gatherer { return s.registry }

// Limits that hold, defaults filled in.
func (s *Store) Limits() Limits { return s.cfg.Limits }

// Head says what is in memory: the number of series and the span of time in milliseconds since 1970.
func (s *Store) Head() (series uint64, mint, maxt int64) {
	h := s.db.Head()
	return h.NumSeries(), h.MinTime(), h.MaxTime()
}

// Stats are the engine's figures of cardinality, the limit largest of each kind. They are expensive.
func (s *Store) Stats(limit int) *tsdb.Stats { return s.db.Head().Stats("__name__", limit) }

// Chunks in memory, as the engine counts them.
func (s *Store) Chunks() int64 {
	families, err := s.registry.Gather()
	if err != nil {
		s.cfg.Log.Error("gathering the storage's own metrics", "error", err)
	}
	for _, f := range families {
		if f.GetName() == "prometheus_tsdb_head_chunks" && len(f.GetMetric()) > 0 {
			return int64(f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	return 0
}

// Span says which time there are samples of, in milliseconds since 1970; ok is false if there are none.
func (s *Store) Span() (mint, maxt int64, ok bool) {
	mint, maxt = s.db.Head().MinTime(), s.db.Head().MaxTime()
	if b := s.db.Blocks(); len(b) > 0 {
		mint, maxt = min(mint, b[0].MinTime()), max(maxt, b[len(b)-1].MaxTime())
	}
	return mint, maxt, mint <= maxt
}

type storeCollector struct{ s *Store }

var (
	samplesDesc = prometheus.NewDesc("banyan_metrics_samples_total", "Samples by what became of them.", []string{"outcome"}, nil)
	originDesc  = prometheus.NewDesc("banyan_metrics_origin_series", "Series that an origin has.", []string{"origin"}, nil)
	refusedDesc = prometheus.NewDesc("banyan_metrics_refused_samples_total", "Samples of series that were over a limit, by origin and metric.", []string{"origin", "metric"}, nil)
)

// Describe implements prometheus.Collector.
func (c *storeCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- samplesDesc
	ch <- originDesc
	ch <- refusedDesc
}

// Collect implements prometheus.Collector.
func (c *storeCollector) Collect(ch chan<- prometheus.Metric) {
	n := &c.s.counts
	for _, v := range []struct {
		outcome string
		n       *atomic.Int64
	}{
		{"stored", &n.samples}, {"out_of_order", &n.outOfOrder}, {"duplicate", &n.duplicates}, {"out_of_bounds", &n.outOfBounds},
		{"over_limit", &n.refused}, {"invalid", &n.invalid},
	} {
		ch <- prometheus.MustNewConstMetric(samplesDesc, prometheus.CounterValue, float64(v.n.Load()), v.outcome)
	}
	for _, o := range c.s.sortedOrigins() {
		ch <- prometheus.MustNewConstMetric(originDesc, prometheus.GaugeValue, float64(o.series.Load()), o.name)
	}
	for _, o := range c.s.Offenders() {
		ch <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, float64(o.Refused), o.Origin, o.Metric)
	}
}
