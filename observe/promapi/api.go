package promapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/banyanhq/banyan/observe/metrics"
	"github.com/banyanhq/banyan/observe/rules"
)

// Store is what is asked for series.
type Store interface {
	storage.Queryable
	storage.ExemplarQueryable
	// Metadata says what metrics are; with a name only that.
	Metadata(name string) map[string]metadata.Metadata
	// Stats are figures of cardinality, the limit largest of each kind.
	Stats(limit int) *tsdb.Stats
	// Chunks in memory.
	Chunks() int64
	// Offenders are the metrics with more series than they may have.
	Offenders() []metrics.Offender
}

// Config of an API.
type Config struct {
	// Store and Engine that answer queries. Required.
	Store  Store
	Engine *promql.Engine
	// Rules and Alerts: what the rules are, and how they stand. Default: there are none.
	Rules func() []rules.GroupStatus
	// Targets that are read. Default: there are none.
	Targets func() []metrics.TargetStatus
	// Alertmanagers that alerts are sent to, by URL.
	Alertmanagers []string
	// Retention in words, for the state of the server.
	Retention string
	// Version of this program.
	Version string
	// MaxQueries at once; further ones wait for a second and are then refused. Default: 20.
	MaxQueries int
	// Timeout of a query. Default: 2 minutes.
	Timeout time.Duration
	// Log is told of answers that could not be written. Default: slog.Default().
	Log *slog.Logger
}

// API answers.
type API struct {
	cfg     Config
	parser  parser.Parser
	slots   chan struct{}
	started time.Time
}

// Bounds of requests.
const (
	maxForm   = 10 << 20
	maxPoints = 11_000 // of one series, as in Prometheus
)

// EngineConfig of an engine.
type EngineConfig struct {
	// MaxSamples that one query may hold in memory. Default: 50 million.
	MaxSamples int
	// Timeout of a query. Default: 2 minutes.
	Timeout time.Duration
	// Lookback is for how long a sample stands for its series. Default: 5 minutes.
	Lookback time.Duration
	// Registerer of the engine's metrics. Default: none.
	Registerer prometheus.Registerer
}

// NewEngine returns Prometheus's engine.
func NewEngine(cfg EngineConfig) *promql.Engine {
	if cfg.MaxSamples == 0 {
		cfg.MaxSamples = 50_000_000
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Minute
	}
	return promql.NewEngine(promql.EngineOpts{
		Reg: cfg.Registerer, MaxSamples: cfg.MaxSamples, Timeout: cfg.Timeout, LookbackDelta: cfg.Lookback,
		NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() },
		EnableAtModifier:         true, EnableNegativeOffset: true, EnablePerStepStats: true,
		Parser: parser.NewParser(parser.Options{}),
	})
}

// New checks the configuration.
func New(cfg Config) (*API, error) {
	if cfg.Store == nil || cfg.Engine == nil {
		return nil, errors.New("the metrics' API needs a store and an engine")
	}
	if cfg.Rules == nil {
		cfg.Rules = func() []rules.GroupStatus { return nil }
	}
	if cfg.Targets == nil {
		cfg.Targets = func() []metrics.TargetStatus { return nil }
	}
	if cfg.MaxQueries == 0 {
		cfg.MaxQueries = 20
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Minute
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &API{cfg: cfg, parser: parser.NewParser(parser.Options{}), slots: make(chan struct{}, cfg.MaxQueries), started: time.Now()}, nil
}

// Mount adds the paths to a mux.
func (a *API) Mount(mux *http.ServeMux) {
	both := func(path string, h handler) {
		mux.Handle("GET /api/v1/"+path, a.answer(h))
		mux.Handle("POST /api/v1/"+path, a.answer(h))
	}
	both("query", a.query)
	both("query_range", a.queryRange)
	both("query_exemplars", a.exemplars)
	both("format_query", a.format)
	both("labels", a.labelNames)
	both("series", a.series)
	get := func(path string, h handler) { mux.Handle("GET /api/v1/"+path, a.answer(h)) }
	get("label/{name}/values", a.labelValues)
	get("metadata", a.metadata)
	get("rules", a.rules)
	get("alerts", a.alerts)
	get("alertmanagers", func(*http.Request) (any, annotations.Annotations, error) {
		active := []map[string]string{}
		for _, url := range a.cfg.Alertmanagers {
			active = append(active, map[string]string{"url": url})
		}
		return map[string]any{"activeAlertmanagers": active, "droppedAlertmanagers": []string{}}, nil, nil
	})
	get("targets", a.targets)
	get("targets/metadata", a.targetsMetadata)
	get("status/buildinfo", a.buildInfo)
	get("status/runtimeinfo", a.runtimeInfo)
	get("status/tsdb", a.tsdbStatus)
	get("status/config", a.configStatus)
	get("status/flags", a.flags)
	get("status/cardinality", func(*http.Request) (any, annotations.Annotations, error) { return a.offenders(), nil, nil })
	get("status/walreplay", func(*http.Request) (any, annotations.Annotations, error) {
		return map[string]any{"min": 0, "max": 0, "current": 0, "state": "done"}, nil, nil
	})
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "Banyan is healthy.") })
	mux.HandleFunc("GET /-/ready", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "Banyan is ready.") })
}

// handler answers a request whose form is parsed: data that knows its JSON, warnings, an error.
type handler func(*http.Request) (data any, warnings annotations.Annotations, err error)

// fault is an error with its place in Prometheus's own table of kinds.
type fault struct {
	kind   string
	status int
	err    error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

func badData(format string, args ...any) error {
	return &fault{"bad_data", http.StatusBadRequest, fmt.Errorf(format, args...)}
}

// statusClosed is what nginx calls a client that went away before its answer.
const statusClosed = 499

// classify finds the kind of an error.
func classify(err error) *fault {
	var f *fault
	var canceled promql.ErrQueryCanceled
	var timeout promql.ErrQueryTimeout
	var storageErr promql.ErrStorage
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &timeout), errors.Is(err, context.DeadlineExceeded):
		return &fault{"timeout", http.StatusServiceUnavailable, err}
	case errors.As(err, &canceled), errors.Is(err, context.Canceled):
		return &fault{"canceled", statusClosed, err}
	case errors.As(err, &storageErr):
		return &fault{"internal", http.StatusInternalServerError, err}
	}
	return &fault{"execution", http.StatusUnprocessableEntity, err}
}

// answer wraps what a handler says into Prometheus's envelope.
func (a *API) answer(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		var data any
		var warnings annotations.Annotations
		err := r.ParseForm()
		if err != nil {
			err = badData("reading the parameters: %w", err)
		} else {
			data, warnings, err = h(r)
		}
		buf := []byte(`{"status":"success"`)
		code := http.StatusOK
		if err != nil {
			f := classify(err)
			code = f.status
			buf = append(buf[:0], `{"status":"error","errorType":"`+f.kind+`","error":`...)
			buf = appendString(buf, f.Error())
		} else {
			buf = append(buf, `,"data":`...)
			if buf, err = appendData(buf, data); err != nil {
				a.cfg.Log.Error("writing an answer", "path", r.URL.Path, "error", err)
				http.Error(w, "the answer cannot be written", http.StatusInternalServerError)
				return
			}
		}
		warn, infos := warnings.AsStrings(r.FormValue("query"), 10, 10)
		buf = appendList(buf, "warnings", warn)
		buf = appendList(buf, "infos", infos)
		buf = append(buf, '}')
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		w.Write(buf)
	})
}

// enter waits for a place among the queries.
func (a *API) enter(ctx context.Context) (leave func(), err error) {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case a.slots <- struct{}{}:
		return func() { <-a.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		return nil, &fault{"unavailable", http.StatusServiceUnavailable, fmt.Errorf("%d queries are under way already", cap(a.slots))}
	}
}

// offenders of cardinality; an empty list where there are none.
func (a *API) offenders() []metrics.Offender {
	if o := a.cfg.Store.Offenders(); o != nil {
		return o
	}
	return []metrics.Offender{}
}

// limitOf reads the parameter limit; 0: none.
func limitOf(r *http.Request) (int, error) {
	text := r.FormValue("limit")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, badData("invalid parameter %q: %q is not a number of 0 or more", "limit", text)
	}
	return n, nil
}

var errTruncated = errors.New("results truncated due to limit")

// selectors reads the parameter match[].
func (a *API) selectors(r *http.Request) (sets []matchers, err error) {
	for _, text := range r.Form["match[]"] {
		set, err := a.parser.ParseMetricSelector(text)
		if err != nil {
			return nil, badData("invalid parameter %q: %w", "match[]", err)
		}
		narrow := false
		for _, m := range set {
			narrow = narrow || m != nil && !m.Matches("")
		}
		if !narrow {
			return nil, badData("invalid parameter %q: match[] must contain at least one non-empty matcher", "match[]")
		}
		sets = append(sets, set)
	}
	return sets, nil
}
