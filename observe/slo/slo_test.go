package slo_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"go.yaml.in/yaml/v3"

	"github.com/banyanhq/banyan/observe/metrics"
	"github.com/banyanhq/banyan/observe/promapi"
	"github.com/banyanhq/banyan/observe/rules"
	"github.com/banyanhq/banyan/observe/slo"
	"github.com/banyanhq/banyan/topology"
)

func system(t *testing.T, slos string) *topology.System {
	t.Helper()
	path := filepath.Join(t.TempDir(), "banyan.yaml")
	text := `system: shop
services: {web: {run: ./web, layer: presentation}}
routes: [{path: /, to: web, name: home}]
slos: ` + slos
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	sys, err := topology.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return sys
}

func TestObjectives(t *testing.T) {
	sys := system(t, `{b: {route: home, latency: {p99: 200ms, p50: 1s}, availability: 99.9%}, a: {route: home, availability: 99%, window: 7d}}`)
	var got []string
	for _, o := range slo.Objectives(sys) {
		got = append(got, fmt.Sprintf("%s %s %s %.3f %s", o.SLO, o.Kind, o.Service, o.Target, slo.Promql(o.Window)))
	}
	want := []string{"a availability web 0.990 7d", "b availability web 0.999 30d", "b p50<1s web 0.500 30d", "b p99<200ms web 0.990 30d"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q want %q", got, want)
	}
}

// The bucket of a limit is found however its bound is written.
func TestBucketOfALimit(t *testing.T) {
	for limit, want := range map[time.Duration]string{200 * time.Millisecond: `le="0.2"`, time.Second: `le=~"1([.]0)?"`, 1500 * time.Millisecond: `le="1.5"`} {
		if got := (slo.Objective{Route: "home", Limit: limit}).Bad("rate", "5m"); !strings.Contains(got, want) {
			t.Errorf("%v: %s: want %s", limit, got, want)
		}
	}
}

// The table of the SRE workbook, and what becomes of it for other windows and targets.
func TestBurns(t *testing.T) {
	text := func(o slo.Objective) string {
		var all []string
		for _, b := range slo.Burns(o, slo.Config{}) {
			all = append(all, fmt.Sprintf("%s %s/%s %.4g", b.Severity, slo.Promql(b.Long), slo.Promql(b.Short), b.Factor))
		}
		return strings.Join(all, ", ")
	}
	day := 24 * time.Hour
	for _, test := range []struct {
		target float64
		window time.Duration
		want   string
	}{
		{0.999, 30 * day, "page 1h/5m 14.4, page 6h/30m 6, ticket 1d/2h 3, ticket 3d/6h 1"},
		{0.999, 90 * day, "page 1h/5m 43.2, page 6h/30m 18, ticket 1d/2h 9, ticket 3d/6h 3"},
		{0.999, 10 * day, "page 20m/100s 14.4, page 2h/10m 6, ticket 8h/40m 3, ticket 1d/2h 1"},
		{0.9, 30 * day, "page 6h/30m 6, ticket 1d/2h 3, ticket 3d/6h 1"}, // 14.4 times 10 % is more than all
		{0.5, 30 * day, "ticket 3d/6h 1"},
		{0.999, time.Hour, "ticket 6m/1m 1"}, // the others are too short to be measured every 15 s
		{0.999, 10 * time.Minute, ""},
	} {
		if got := text(slo.Objective{Target: test.target, Window: test.window}); got != test.want {
			t.Errorf("%v over %v: got %s want %s", test.target, test.window, got, test.want)
		}
	}
}

// promtool, which knows nothing of Banyan, takes the rules.
func TestRulesAreTakenByPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("there is no promtool here (Debian's package prometheus)")
	}
	sys := system(t, `{b: {route: home, latency: {p99: 200ms, p50: 1s}, availability: 99.9%}, a: {route: home, availability: 99%, window: 7d}}`)
	text, err := yaml.Marshal(map[string]any{"groups": slo.Rules(slo.Objectives(sys), slo.Config{})})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(promtool, "check", "rules", path).CombinedOutput(); err != nil {
		t.Errorf("%v: %s\n%s", err, out, text)
	}
}

// world is a store with the gateway's counters of one route, a sample every 15 s.
type world struct {
	store *metrics.Store
	rules *rules.Manager
	start time.Time
	told  []rules.Alert
	total float64
	bad   float64
	now   time.Time
}

func newWorld(t *testing.T, objectives []slo.Objective) *world {
	t.Helper()
	s, err := metrics.Open(metrics.Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w := &world{store: s, start: time.Unix(1_700_000_000, 0)}
	w.now = w.start
	w.rules, err = rules.New(rules.Config{Store: s, Engine: promapi.NewEngine(promapi.EngineConfig{}), Log: slog.New(slog.DiscardHandler),
		Sources: []rules.Source{{Name: "slos", Groups: slo.Rules(objectives, slo.Config{})}},
		Tell: func(all []rules.Alert) {
			for _, a := range all {
				if a.Labels.Get("alertname") == slo.BurnAlert {
					w.told = append(w.told, a)
				}
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// run goes on for a time with so many requests a second and a share of them bad; alerts are evaluated each minute if asked.
func (w *world) run(t *testing.T, d time.Duration, rate, bad float64, evaluate bool) {
	t.Helper()
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(15 * time.Second) {
		w.total += rate * 15
		w.bad += rate * 15 * bad
		b := w.store.Begin(t.Context(), "gateway")
		add := func(v float64, pairs ...string) {
			b.Append(labels.FromStrings(append(pairs, "route", "home", "service", "web")...), metrics.Sample{T: w.now.UnixMilli(), V: v})
		}
		add(w.total-w.bad, "__name__", "banyan_gateway_requests_total", "code", "200")
		add(w.bad, "__name__", "banyan_gateway_requests_total", "code", "503")
		add(w.total, "__name__", "banyan_gateway_request_duration_seconds_count")
		add(w.total-w.bad, "__name__", "banyan_gateway_request_duration_seconds_bucket", "le", "0.2")
		if r, err := b.Commit(); err != nil || r.Problems != nil {
			t.Fatal(err, r.Problems)
		}
		if evaluate && w.now.Sub(w.start)%time.Minute == 0 {
			w.rules.Evaluate(t.Context(), w.now)
		}
	}
}

// firing lists the windows of the alerts that were told of, in order, each once.
func (w *world) firing() string {
	var out []string
	for _, a := range w.told {
		text := a.Labels.Get("objective") + " " + a.Labels.Get("window") + " " + a.Labels.Get("severity")
		if a.State == rules.Firing && (len(out) == 0 || out[len(out)-1] != text) {
			out = append(out, text)
		}
	}
	return strings.Join(out, ", ")
}

func TestBurnRateAlerts(t *testing.T) {
	day := 24 * time.Hour
	availability := []slo.Objective{{SLO: "home", Kind: "availability", Route: "home", Service: "web", Target: 0.999, Window: 30 * day}}
	latency := []slo.Objective{{SLO: "home", Kind: "p99<200ms", Route: "home", Service: "web", Target: 0.99, Window: 30 * day, Limit: 200 * time.Millisecond}}

	t.Run("a fast burn pages within minutes, and the page ends after the cause", func(t *testing.T) {
		w := newWorld(t, availability)
		w.run(t, 2*time.Hour, 10, 0.0001, false)
		w.run(t, 10*time.Minute, 10, 0.1, true) // 100 times the budget
		began := time.Duration(-1)
		for _, a := range w.told {
			if a.Labels.Get("window") == "1h" && a.Labels.Get("severity") == slo.Page && began < 0 {
				began = a.Fired.Sub(w.start) - 2*time.Hour
			}
		}
		if began < 0 || began > 10*time.Minute {
			t.Fatalf("it paged after %v; fired: %q", began, w.firing())
		}
		w.told = nil
		w.run(t, 10*time.Minute, 10, 0, true)
		resolved := false
		for _, a := range w.told {
			resolved = resolved || a.State == rules.Inactive && a.Labels.Get("window") == "1h"
		}
		if !resolved {
			t.Error("the page has not ended ten minutes after its cause")
		}
	})
	t.Run("what the promise allows wakes nobody", func(t *testing.T) {
		w := newWorld(t, availability)
		w.run(t, 4*time.Hour, 10, 0.0009, false)
		w.run(t, 30*time.Minute, 10, 0.0009, true)
		if got := w.firing(); got != "" {
			t.Errorf("fired: %q", got)
		}
	})
	t.Run("one failure in a quiet night wakes nobody", func(t *testing.T) {
		w := newWorld(t, availability)
		w.run(t, time.Hour, 0.002, 0, false)
		w.run(t, 30*time.Minute, 0.002, 1, true) // 3.6 requests, all of them bad
		if got := w.firing(); got != "" {
			t.Errorf("fired: %q", got)
		}
	})
	t.Run("slow answers burn the budget of latency", func(t *testing.T) {
		w := newWorld(t, latency)
		w.run(t, time.Hour, 10, 0.001, false)
		w.run(t, 20*time.Minute, 10, 0.5, true)
		if got := w.firing(); !strings.Contains(got, "p99<200ms 1h page") {
			t.Errorf("fired: %q", got)
		}
	})
	t.Run("replayed, the same alert fires at the same time", func(t *testing.T) {
		w := newWorld(t, availability)
		w.run(t, 2*time.Hour, 10, 0, false)
		w.run(t, 12*time.Minute, 10, 0.1, true)
		w.run(t, 30*time.Minute, 10, 0, true)
		all, err := w.rules.Replay(t.Context(), slo.BurnAlert, w.start.Add(2*time.Hour), w.now, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		var live time.Time
		for _, a := range w.told {
			if a.Labels.Get("window") == "1h" && a.State == rules.Firing {
				live = a.Fired
				break
			}
		}
		for _, r := range all {
			if r.Labels.Get("window") != "1h" {
				continue
			}
			if len(r.Fired) != 1 || !r.Fired[0].From.Equal(live) || r.Fired[0].To.IsZero() || r.Fired[0].Peak < 0.0144 {
				t.Errorf("replayed %+v: want one that fired at %v and ended", r.Fired, live)
			}
		}
	})
}

func TestBoard(t *testing.T) {
	day := 24 * time.Hour
	all := []slo.Objective{{SLO: "home", Kind: "availability", Route: "home", Target: 0.99, Window: 30 * day}}
	w := newWorld(t, all)
	w.run(t, 3*time.Hour, 10, 0.005, false) // half of the budget's rate
	engine := promapi.NewEngine(promapi.EngineConfig{})
	query := func(ctx context.Context, expr string) (promql.Vector, error) {
		q, err := engine.NewInstantQuery(ctx, w.store, nil, expr, w.now)
		if err != nil {
			return nil, err
		}
		defer q.Close()
		res := q.Exec(ctx)
		if res.Err != nil {
			return nil, res.Err
		}
		v, err := res.Vector()
		return append(promql.Vector(nil), v...), err
	}
	board, err := slo.Board(t.Context(), all, slo.Config{}, 3*time.Hour, query)
	if err != nil {
		t.Fatal(err)
	}
	s := board[0]
	if math.Abs(s.Rates[0].Burn-0.5) > 0.01 {
		t.Errorf("burn rate %v: want 0.5", s.Rates[0].Burn)
	}
	// Three of 720 hours at half the rate.
	if want := 1 - 0.5*3/720; math.Abs(s.Left-want) > 0.0005 {
		t.Errorf("%v of the budget left: want %v", s.Left, want)
	}
	if math.Abs(s.Share-0.995) > 0.001 || s.Events < 100_000 {
		t.Errorf("%v good of %v events", s.Share, s.Events)
	}
	if s.Ends < 59*day || s.Ends > 61*day {
		t.Errorf("it ends in %v: want 60 days", s.Ends)
	}
	// Nothing was asked of a route yet: nothing is used up.
	board, err = slo.Board(t.Context(), []slo.Objective{{Route: "other", Target: 0.99, Window: day}}, slo.Config{}, time.Hour, query)
	if err != nil || board[0].Left != 1 || !math.IsNaN(board[0].Share) {
		t.Errorf("got %+v, %v", board, err)
	}
}
