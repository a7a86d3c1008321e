package monitor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/prometheus/promql"
	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/observe/cause"
	"github.com/banyanhq/banyan/observe/metrics"
	"github.com/banyanhq/banyan/observe/notify"
	"github.com/banyanhq/banyan/observe/promapi"
	"github.com/banyanhq/banyan/observe/rules"
	"github.com/banyanhq/banyan/observe/slo"
)

// Config of a Monitor.
type Config struct {
	// Store of the metrics; its Dir is required.
	Store metrics.Config
	// Targets that are read; asked every few seconds. Default: none.
	Targets func() []metrics.Target
	// Interval of rules that name none, and the one at which targets are read, as far as windows depend on it. Default: 15 s.
	Interval time.Duration
	// RuleFiles in Prometheus's format; patterns are expanded.
	RuleFiles []string
	// Objectives for which there are burn-rate alerts, and MinEvents that they need.
	Objectives []slo.Objective
	MinEvents  int
	// RemoteWrite sends samples on.
	RemoteWrite []metrics.ForwardConfig
	// Notify says who is told; its Silences, External, Labels and Log are filled in here.
	Notify notify.Config
	// Silences is the file that keeps them. Default: in memory.
	Silences string
	// External is the URL under which the mux is served, for links.
	External string
	// Labels of the system that alerts and what is sent on get.
	Labels map[string]string
	// Events that may have caused an alert, and Calls between services. Default: none are known.
	Events func() []cause.Event
	Calls  func() map[string][]string
	// MaxSamples of one query, Timeout and Lookback. Defaults: those of promapi.
	Engine promapi.EngineConfig
	// Version of the program.
	Version string
	// Log of what goes wrong. Default: slog.Default().
	Log *slog.Logger
}

// Monitor is all of it.
type Monitor struct {
	cfg      Config
	store    *metrics.Store
	engine   *promql.Engine
	scraper  *metrics.Scraper
	forward  []*metrics.Forwarder
	rules    *rules.Manager
	notifier *notify.Notifier
	silences *notify.Silences
	mux      *http.ServeMux

	objectives atomic.Pointer[[]slo.Objective]
	requests   gate

	turns      turns
	suspectsMu sync.Mutex
	suspects   map[string]suspects // by alert
}

// Open opens the store and prepares the rest. Whoever gets a Monitor runs it, or closes it.
func Open(cfg Config) (*Monitor, error) {
	if cfg.Interval == 0 {
		cfg.Interval = 15 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Targets == nil {
		cfg.Targets = func() []metrics.Target { return nil }
	}
	if cfg.Events == nil {
		cfg.Events = func() []cause.Event { return nil }
	}
	if cfg.Calls == nil {
		cfg.Calls = func() map[string][]string { return nil }
	}
	cfg.Store.Log = cfg.Log
	external, err := url.Parse(cfg.External)
	if err != nil {
		return nil, fmt.Errorf("the monitor's address: %w", err)
	}
	m := &Monitor{cfg: cfg, mux: http.NewServeMux(), suspects: map[string]suspects{}}
	m.objectives.Store(&cfg.Objectives)
	sources, err := m.sources(cfg.Objectives)
	if err != nil {
		return nil, err
	}
	if m.silences, err = notify.OpenSilences(cfg.Silences); err != nil {
		return nil, err
	}
	cfg.Notify.Silences, cfg.Notify.External, cfg.Notify.Labels, cfg.Notify.Log = m.silences, cfg.External, cfg.Labels, cfg.Log
	if m.notifier, err = notify.New(cfg.Notify); err != nil {
		return nil, err
	}
	if m.store, err = metrics.Open(cfg.Store); err != nil {
		return nil, err
	}
	if err := m.build(sources, external); err != nil {
		return nil, errors.Join(err, m.store.Close())
	}
	return m, nil
}

// build makes what stands on the store.
func (m *Monitor) build(sources []rules.Source, external *url.URL) error {
	registry := prometheus.NewRegistry()
	cfg := m.cfg
	cfg.Engine.Registerer = registry
	m.engine = promapi.NewEngine(cfg.Engine)
	m.scraper = metrics.NewScraper(m.store, cfg.Targets)
	for _, f := range cfg.RemoteWrite {
		if f.Labels == nil {
			f.Labels = cfg.Labels
		}
		fw, err := metrics.NewForwarder(m.store, f)
		if err != nil {
			return err
		}
		m.forward = append(m.forward, fw)
	}
	var err error
	m.rules, err = rules.New(rules.Config{Store: m.store, Engine: m.engine, Sources: sources, Interval: cfg.Interval, Tell: m.tell,
		External: external, Labels: cfg.Labels, Log: cfg.Log})
	if err != nil {
		return err
	}
	retention := cfg.Store.Retention.String()
	if cfg.Store.MaxBytes > 0 {
		retention += fmt.Sprintf(" or %d bytes", cfg.Store.MaxBytes)
	}
	api, err := promapi.New(promapi.Config{Store: m.store, Engine: m.engine, Rules: m.rules.Groups, Targets: m.scraper.Targets,
		Alertmanagers: cfg.Notify.Alertmanagers, Retention: retention, Version: cfg.Version, Timeout: cfg.Engine.Timeout, Log: cfg.Log})
	if err != nil {
		return err
	}
	registry.MustRegister(&collector{m})
	m.mount(api, prometheus.Gatherers{m.store.Gatherer(), registry})
	return nil
}

// sources are the files of rules, and the rules that follow from objectives.
func (m *Monitor) sources(objectives []slo.Objective) ([]rules.Source, error) {
	sources, err := rules.Load(m.cfg.RuleFiles...)
	if err != nil {
		return nil, err
	}
	return append(sources, rules.Source{Name: "slos", Groups: slo.Rules(objectives, m.sloConfig())}), nil
}

func (m *Monitor) sloConfig() slo.Config {
	return slo.Config{MinEvents: m.cfg.MinEvents, Scrape: m.cfg.Interval}
}

// Replace has other objectives, and reads the files of rules anew. With an error nothing has changed.
func (m *Monitor) Replace(objectives []slo.Objective) error {
	sources, err := m.sources(objectives)
	if err != nil {
		return err
	}
	if err := m.rules.Replace(sources); err != nil {
		return err
	}
	m.objectives.Store(&objectives)
	return nil
}

// Mux is where all handlers are. Further ones may be added before it serves; what serves it is Handler.
func (m *Monitor) Mux() *http.ServeMux { return m.mux }

// Handler serves the mux. Run waits for requests that are under way before it closes the store, and refuses those that come
// later. What changes something is refused to web pages of other sites, whose visitors' browsers reach addresses that the
// sites do not.
func (m *Monitor) Handler() http.Handler {
	return m.requests.wrap(http.NewCrossOriginProtection().Handler(m.mux))
}

// Store of the metrics.
func (m *Monitor) Store() *metrics.Store { return m.store }

// Close closes a Monitor that was not run.
func (m *Monitor) Close() error { return errors.Join(m.store.Close(), m.engine.Close()) }

// Run reads, evaluates and tells until ctx ends; then it closes the store.
func (m *Monitor) Run(ctx context.Context) error {
	var all errgroup.Group
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, run := range []func(context.Context) error{m.scraper.Run, m.rules.Run, m.notifier.Run,
		func(ctx context.Context) error { return m.store.Forward(ctx, m.forward) }} {
		all.Go(func() error {
			defer cancel() // none goes on alone
			return run(ctx)
		})
	}
	err := all.Wait()
	if !m.requests.close(patience) {
		// The engine's files must not go away under a query: what is committed is in the log, and read from there the next time.
		m.cfg.Log.Warn("a query does not end: the metrics are left open")
		return err
	}
	return errors.Join(err, m.Close())
}

// mount adds all handlers.
func (m *Monitor) mount(api *promapi.API, own prometheus.Gatherer) {
	api.Mount(m.mux)
	m.notifier.Mount(m.mux, m.Alerts)
	m.mux.Handle("POST /api/v1/write", m.store.RemoteWrite())
	otlp := m.store.OTLP()
	m.mux.Handle("POST /v1/metrics", otlp)
	m.mux.Handle("POST /api/v1/otlp/v1/metrics", otlp)
	m.mux.Handle("GET /monitor/metrics", promhttp.HandlerFor(own, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	m.mountOwn()
}

// Alerts that are pending or firing, of all rules.
func (m *Monitor) Alerts() []rules.Alert {
	var out []rules.Alert
	for _, g := range m.rules.Groups() {
		for _, r := range g.Rules {
			out = append(out, r.Alerts...)
		}
	}
	return out
}

func (m *Monitor) query(ctx context.Context, expr string, at time.Time) (promql.Vector, error) {
	q, err := m.engine.NewInstantQuery(ctx, m.store, nil, expr, at)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	res := q.Exec(ctx)
	if res.Err != nil {
		return nil, res.Err
	}
	v, err := res.Vector()
	return slices.Clone(v), err
}

// StoreDir is where the metrics of a state directory are.
func StoreDir(stateDir string) string { return filepath.Join(stateDir, "metrics") }

// SilencesFile is where the silences of a state directory are.
func SilencesFile(stateDir string) string { return filepath.Join(stateDir, "silences.json") }
