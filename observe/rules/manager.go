package rules

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"

	"github.com/banyanhq/banyan/observe/metrics"
)

// Store is where rules read and write.
type Store interface {
	storage.Queryable
	Begin(ctx context.Context, origin string) *metrics.Batch
}

// Config of a Manager.
type Config struct {
	// Store and Engine. Required.
	Store  Store
	Engine *promql.Engine
	// Sources of the rules; Replace gives others.
	Sources []Source
	// Interval of groups that name none. Default: 15 s.
	Interval time.Duration
	// Resend is after how long an alert that goes on is told of again. Default: 1 minute.
	Resend time.Duration
	// Tell is given the alerts that fire or are resolved. It must not block. Default: nobody is told.
	Tell func([]Alert)
	// External is the address of this server, for templates, and Labels those of the system.
	External *url.URL
	Labels   map[string]string
	// Log of evaluations that fail. Default: slog.Default().
	Log *slog.Logger
}

// origin of what rules write, among the store's.
const origin = "rules"

// Manager evaluates rules. Its methods may be called from several goroutines at once.
type Manager struct {
	cfg Config
	x   expander

	mu      sync.Mutex // guards groups and what is in them, but not during queries
	groups  []*group
	changed chan struct{} // closed when the groups are replaced
}

// New checks and compiles the rules.
func New(cfg Config) (*Manager, error) {
	if cfg.Store == nil || cfg.Engine == nil {
		return nil, errors.New("rules need a store and an engine")
	}
	if cfg.Interval == 0 {
		cfg.Interval = 15 * time.Second
	}
	if cfg.Interval < 0 {
		return nil, fmt.Errorf("rules: interval of %v: want more than 0", cfg.Interval)
	}
	if cfg.Resend == 0 {
		cfg.Resend = time.Minute
	}
	if cfg.Tell == nil {
		cfg.Tell = func([]Alert) {}
	}
	if cfg.External == nil {
		cfg.External = &url.URL{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	m := &Manager{cfg: cfg, changed: make(chan struct{})}
	m.x = expander{m.instant, cfg.External, cfg.Labels}
	var err error
	m.groups, err = compile(cfg.Sources, cfg.Interval)
	return m, err
}

// Replace has the manager go by other rules. Alerts of rules that stay (the same file, group, name, expression and labels)
// keep their state. With an error nothing has changed.
func (m *Manager) Replace(sources []Source) error {
	groups, err := compile(sources, m.cfg.Interval)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := func(g *group, r *rule) string {
		return g.file + "\x00" + g.name + "\x00" + r.name + "\x00" + r.query + "\x00" + r.labels.String()
	}
	before := map[string]*rule{}
	for _, g := range m.groups {
		for _, r := range g.rules {
			before[key(g, r)] = r
		}
	}
	for _, g := range groups {
		for _, r := range g.rules {
			if old := before[key(g, r)]; old != nil && old.alert == r.alert {
				r.active, r.restored, r.written = old.active, old.restored, old.written
			}
		}
	}
	m.groups = groups
	close(m.changed)
	m.changed = make(chan struct{})
	return nil
}

// Run evaluates the groups at their intervals until ctx ends, and returns when no evaluation is under way.
func (m *Manager) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		m.mu.Lock()
		groups, changed := m.groups, m.changed
		m.mu.Unlock()
		inner, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		for _, g := range groups {
			wg.Go(func() { m.repeat(inner, g) })
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
		cancel()
		wg.Wait()
	}
	return nil
}

// repeat evaluates a group at each interval, at an instant within it that depends on the group.
func (m *Manager) repeat(ctx context.Context, g *group) {
	h := fnv.New64a()
	h.Write([]byte(g.file + "\x00" + g.name))
	offset := time.Duration(h.Sum64() % uint64(g.interval))
	now := time.Now()
	next := now.Truncate(g.interval).Add(offset)
	if next.Before(now) {
		next = next.Add(g.interval)
	}
	timer := time.NewTimer(next.Sub(now))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		m.evaluate(ctx, g, next)
		for now = time.Now(); !next.After(now); next = next.Add(g.interval) {
			if now.Sub(next) > time.Hour { // the clock was set on
				next = now
			}
		}
		if next.Sub(now) > g.interval { // the clock was set back
			next = now.Add(g.interval)
		}
		timer.Reset(next.Sub(now))
	}
}

// Evaluate evaluates every group once, as of an instant.
func (m *Manager) Evaluate(ctx context.Context, at time.Time) {
	m.mu.Lock()
	groups := m.groups
	m.mu.Unlock()
	for _, g := range groups {
		m.evaluate(ctx, g, at)
	}
}

func (m *Manager) instant(ctx context.Context, query string, at time.Time) (promql.Vector, error) {
	q, err := m.cfg.Engine.NewInstantQuery(ctx, m.cfg.Store, nil, query, at)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	res := q.Exec(ctx)
	if res.Err != nil {
		return nil, res.Err
	}
	switch v := res.Value.(type) {
	case promql.Vector:
		for i := range v { // histograms go back to the engine's pool
			if v[i].H != nil {
				v[i].H = v[i].H.Copy()
			}
		}
		return v, nil
	case promql.Scalar:
		return promql.Vector{{T: v.T, F: v.V, Metric: labels.EmptyLabels()}}, nil
	}
	return nil, fmt.Errorf("the rule's result is a %s: want a vector or a scalar", res.Value.Type())
}

// evaluate evaluates a group's rules one after the other, so that each finds what those before it wrote.
func (m *Manager) evaluate(ctx context.Context, g *group, at time.Time) {
	start := time.Now()
	for _, r := range g.rules {
		if ctx.Err() != nil {
			return
		}
		begun := time.Now()
		err := m.evaluateRule(ctx, g, r, at.Add(-g.offset))
		m.mu.Lock()
		before := r.health
		r.health, r.err, r.last, r.took = "ok", err, at, time.Since(begun)
		if err != nil {
			r.health = "err"
		}
		m.mu.Unlock()
		if err != nil && ctx.Err() == nil && before != "err" {
			m.cfg.Log.Warn("evaluating a rule", "group", g.name, "rule", r.name, "error", err)
		}
	}
	m.mu.Lock()
	g.last, g.took = at, time.Since(start)
	m.mu.Unlock()
}

func (m *Manager) evaluateRule(ctx context.Context, g *group, r *rule, at time.Time) error {
	vector, err := m.instant(ctx, r.query, at)
	if err != nil {
		return err
	}
	if !r.alert {
		return m.record(ctx, g, r, vector, at)
	}
	now, err := r.found(ctx, &m.x, vector, at)
	if err != nil {
		return err
	}
	m.mu.Lock()
	if !r.restored {
		r.restored = true
		m.mu.Unlock()
		restore(ctx, m.cfg.Store, r, now, at)
		m.mu.Lock()
	}
	r.step(now, at)
	if n := r.live(); g.limit > 0 && n > g.limit {
		clear(r.active)
		m.mu.Unlock()
		return fmt.Errorf("exceeded limit of %d with %d alerts", g.limit, n)
	}
	series, tell := r.series(at), r.toTell(at, m.cfg.Resend)
	m.mu.Unlock()
	if len(tell) > 0 {
		m.cfg.Tell(tell)
	}
	return m.write(ctx, r, series, at)
}

// record writes the result of a recording rule under its name.
func (m *Manager) record(ctx context.Context, g *group, r *rule, vector promql.Vector, at time.Time) error {
	b := labels.NewBuilder(labels.EmptyLabels())
	for i := range vector {
		b.Reset(vector[i].Metric)
		b.Set(model.MetricNameLabel, r.name)
		r.labels.Range(func(l labels.Label) { b.Set(l.Name, l.Value) })
		vector[i].Metric, vector[i].T = b.Labels(), at.UnixMilli()
	}
	if vector.ContainsSameLabelset() {
		return errors.New("vector contains metrics with the same labelset after applying rule labels")
	}
	if g.limit > 0 && len(vector) > g.limit {
		return fmt.Errorf("exceeded limit of %d with %d series", g.limit, len(vector))
	}
	return m.write(ctx, r, vector, at)
}

// write stores samples, and marks as stale what the rule wrote the last time and does not now.
func (m *Manager) write(ctx context.Context, r *rule, samples []promql.Sample, at time.Time) error {
	now := make(map[uint64]labels.Labels, len(samples))
	for _, s := range samples {
		now[s.Metric.Hash()] = s.Metric
	}
	m.mu.Lock()
	before := r.written
	r.written = now
	m.mu.Unlock()
	if len(samples)+len(before) == 0 {
		return nil
	}
	b := m.cfg.Store.Begin(ctx, origin)
	for _, s := range samples {
		b.Append(s.Metric, metrics.Sample{T: s.T, V: s.F, F: s.H})
	}
	for h, lset := range before {
		if _, ok := now[h]; !ok {
			b.Append(lset, metrics.Sample{T: at.UnixMilli(), V: math.Float64frombits(value.StaleNaN)})
		}
	}
	res, err := b.Commit()
	return errors.Join(err, res.Problems)
}
