package rules

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/banyanhq/banyan/observe/metrics"
)

func openStore(t *testing.T) *metrics.Store {
	t.Helper()
	s, err := metrics.Open(metrics.Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

var engine = promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: 30 * time.Second})

func manager(t *testing.T, s *metrics.Store, text string, tell func([]Alert)) *Manager {
	t.Helper()
	source, err := Parse("test.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(Config{Store: s, Engine: engine, Sources: []Source{source}, Tell: tell, Log: slog.New(slog.DiscardHandler), Labels: map[string]string{"system": "shop"}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func put(t *testing.T, s *metrics.Store, at time.Time, v float64, pairs ...string) {
	t.Helper()
	b := s.Begin(t.Context(), "test")
	b.Append(labels.FromStrings(pairs...), metrics.Sample{T: at.UnixMilli(), V: v})
	if r, err := b.Commit(); err != nil || r.Problems != nil {
		t.Fatal(err, r.Problems)
	}
}

// dump returns the samples of a metric, as seconds after start.
func dump(t *testing.T, s *metrics.Store, name string, start time.Time) string {
	t.Helper()
	q, err := s.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	var lines []string
	set := q.Select(context.Background(), true, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", name))
	for set.Next() {
		line := set.At().Labels().DropMetricName().String()
		for it := set.At().Iterator(nil); it.Next() == chunkenc.ValFloat; {
			ts, v := it.At()
			text := fmt.Sprint(v)
			if value.IsStaleNaN(v) {
				text = "stale"
			}
			line += fmt.Sprintf(" %s@%d", text, (ts-start.UnixMilli())/1000)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

var start = time.Unix(1_700_000_000, 0)

func TestRecording(t *testing.T) {
	s := openStore(t)
	m := manager(t, s, `
groups:
- name: g
  labels: {team: a}
  rules:
  - {record: "x:sum", expr: "sum by (job) (x)", labels: {kind: sum}}
  - {record: "x:twice", expr: "2 * x:sum"}
  - {record: "x:bad", expr: "label_replace(x, 'job', '', '', '')"}
`, nil)
	for i := range 3 {
		at := start.Add(time.Duration(i) * 10 * time.Second)
		put(t, s, at, float64(i), "__name__", "x", "job", "a", "i", "1")
		if i < 2 {
			put(t, s, at, 10, "__name__", "x", "job", "b", "i", "2")
		} else {
			put(t, s, at, math.Float64frombits(value.StaleNaN), "__name__", "x", "job", "b", "i", "2")
		}
		m.Evaluate(t.Context(), at)
	}
	if got, want := dump(t, s, "x:sum", start), `{job="a", kind="sum", team="a"} 0@0 1@10 2@20`+"\n"+`{job="b", kind="sum", team="a"} 10@0 10@10 stale@20`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got, want := dump(t, s, "x:twice", start), `{job="a", kind="sum", team="a"} 0@0 2@10 4@20`; !strings.HasPrefix(got, want) {
		t.Errorf("a rule does not see what the one before it wrote: %s", got)
	}
}

// The states of an alert, step by step: what there is at each instant, and what is told.
func TestAlertStates(t *testing.T) {
	s := openStore(t)
	var told []string
	m := manager(t, s, `
groups:
- name: g
  interval: 10s
  rules:
  - alert: High
    expr: x > 5
    for: 20s
    keep_firing_for: 15s
    labels: {severity: page, size: "{{ if gt $value 50.0 }}big{{ else }}small{{ end }}"}
    annotations: {summary: "{{ $labels.job }} of {{ $externalLabels.system }} is at {{ $value | humanize }}"}
`, func(all []Alert) {
		for _, a := range all {
			told = append(told, string(a.State)+" "+a.Labels.Get("job")+": "+a.Annotations.Get("summary"))
		}
	})
	states := func() string {
		var out []string
		for _, g := range m.Groups() {
			for _, r := range g.Rules {
				for _, a := range r.Alerts {
					out = append(out, string(a.State)+" "+a.Labels.Get("job"))
				}
			}
		}
		return strings.Join(out, ", ")
	}
	for i, step := range []struct {
		a     float64
		state string
		told  string
	}{
		{1, "", ""},
		{6, "pending a", ""},
		{1, "", ""}, // never fired: nobody is told
		{7, "pending a", ""},
		{8, "pending a", ""},
		{9, "firing a", "firing a: a of shop is at 9"},
		{10, "firing a", ""}, // told of already
		{1, "firing a", ""},  // kept
		{1, "firing a", ""},
		{1, "", "inactive a: a of shop is at 10"},
		{1, "", ""},
		{60, "pending a", ""},
	} {
		at := start.Add(time.Duration(i) * 10 * time.Second)
		put(t, s, at, step.a, "__name__", "x", "job", "a")
		told = nil
		m.Evaluate(t.Context(), at)
		if got := states(); got != step.state || strings.Join(told, "; ") != step.told {
			t.Errorf("step %d: %q, told %q: want %q, told %q", i, got, told, step.state, step.told)
		}
	}
	got := dump(t, s, "ALERTS", start)
	for _, want := range []string{
		`{alertname="High", alertstate="firing", job="a", severity="page", size="small"} 1@50 1@60 1@70 1@80 stale@90`,
		`{alertname="High", alertstate="pending", job="a", severity="page", size="small"} 1@10 stale@20 1@30 1@40 stale@50`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got\n%s\nwant a line\n%s", got, want)
		}
	}
}

// After a restart an alert takes up the time for which it was pending.
func TestPendingTimeIsRestored(t *testing.T) {
	const text = "groups: [{name: g, rules: [{alert: High, expr: x > 5, for: 30m}]}]"
	s := openStore(t)
	at := start
	run := func(m *Manager, steps int) {
		for range steps {
			put(t, s, at, 10, "__name__", "x")
			m.Evaluate(t.Context(), at)
			at = at.Add(10 * time.Second)
		}
	}
	run(manager(t, s, text, nil), 6*15)
	at = at.Add(5 * time.Minute) // nobody evaluates
	m := manager(t, s, text, nil)
	run(m, 1)
	a := m.Groups()[0].Rules[0].Alerts[0]
	// The outage counts for nothing: it was pending for 15 minutes and still is.
	if got := at.Add(-10 * time.Second).Sub(a.Active); a.State != Pending || got < 14*time.Minute || got > 16*time.Minute {
		t.Errorf("%s for %v after the restart: want pending for 15m", a.State, got)
	}
	run(m, 6*16)
	if a := m.Groups()[0].Rules[0].Alerts[0]; a.State != Firing {
		t.Errorf("%s 31 minutes after it began: want firing", a.State)
	}
}

func TestResumed(t *testing.T) {
	at := func(minutes int) time.Time { return start.Add(time.Duration(minutes) * time.Minute) }
	for _, test := range []struct {
		name              string
		before, seen, now int
		hold              time.Duration
		want              int
	}{
		{"it was firing", 0, 40, 50, 30 * time.Minute, 0},
		{"a short hold begins anew", 0, 1, 5, 5 * time.Minute, 5},
		{"what is left is less than the grace", 0, 25, 40, 30 * time.Minute, 20},
		{"the outage does not count", 0, 5, 20, 30 * time.Minute, 15},
	} {
		if got := resumed(at(test.before), at(test.seen), at(test.now), test.hold); !got.Equal(at(test.want)) {
			t.Errorf("%s: since %v: want %v", test.name, got.Sub(start), at(test.want).Sub(start))
		}
	}
}

func TestReplaceKeepsState(t *testing.T) {
	s := openStore(t)
	m := manager(t, s, "groups: [{name: g, rules: [{alert: High, expr: x > 5, for: 1m}]}]", nil)
	put(t, s, start, 10, "__name__", "x")
	m.Evaluate(t.Context(), start)
	other, err := Parse("test.yml", []byte("groups: [{name: g, rules: [{alert: High, expr: x > 5, for: 1m}, {alert: Low, expr: x < 1}]}]"))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Replace([]Source{other}); err != nil {
		t.Fatal(err)
	}
	if g := m.Groups()[0]; len(g.Rules) != 2 || len(g.Rules[0].Alerts) != 1 {
		t.Errorf("after a replacement: %+v", g)
	}
	if err := m.Replace([]Source{other, other}); err == nil {
		t.Error("a group that stands twice was taken")
	}
}

func TestLimitsAndErrors(t *testing.T) {
	s := openStore(t)
	m := manager(t, s, `
groups:
- name: g
  limit: 1
  rules:
  - {alert: Many, expr: x}
  - {record: "y", expr: x}
  - {record: "z", expr: "sum by (none) (x) + on () group_left () x"}
  - {alert: Odd, expr: "x == 1", annotations: {summary: "{{ index .Nothing 7 }}"}}
`, nil)
	put(t, s, start, 1, "__name__", "x", "i", "1")
	put(t, s, start, 2, "__name__", "x", "i", "2")
	m.Evaluate(t.Context(), start)
	g := m.Groups()[0]
	for i, want := range []string{"exceeded limit of 1", "exceeded limit of 1", "", ""} {
		if err := fmt.Sprint(g.Rules[i].Error); !strings.Contains(err, want) {
			t.Errorf("%s: error %s: want %q", g.Rules[i].Name, err, want)
		}
	}
	if got := g.Rules[3].Alerts[0].Annotations.Get("summary"); !strings.Contains(got, "error expanding template") {
		t.Errorf("annotation %q: want it to say what is wrong with its template", got)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("a.yml", "groups: [{name: g, rules: [{record: a, expr: x}]}]")
	write("b.yml", "groups: [{name: g, rules: [{record: b, expr: x}]}]")
	all, err := Load(filepath.Join(dir, "*.yml"))
	if err != nil || len(all) != 2 {
		t.Fatalf("%d files, %v", len(all), err)
	}
	for name, text := range map[string]string{"expr": "groups: [{name: g, rules: [{record: a, expr: 'sum('}]}]", "field": "groups: [{name: g, rulez: []}]",
		"both": "groups: [{name: g, rules: [{record: a, alert: b, expr: x}]}]", "template": "groups: [{name: g, rules: [{alert: b, expr: x, labels: {a: '{{ nofunc }}'}}]}]"} {
		path := write(name+".bad", text)
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v: want one that names the file", name, err)
		}
	}
	if _, err := Load(filepath.Join(dir, "*.none")); err == nil {
		t.Error("a pattern that matches nothing was taken")
	}
}

func TestReplay(t *testing.T) {
	s := openStore(t)
	m := manager(t, s, "groups: [{name: g, interval: 10s, rules: [{alert: High, expr: x > 5, for: 30s, labels: {severity: page}}]}]", nil)
	// Twice high for a minute, once for 20 s, and high at the end.
	for i := range 120 {
		v := 1.0
		if i >= 10 && i < 16 || i >= 40 && i < 42 || i >= 60 && i < 66 || i >= 110 {
			v = float64(i)
		}
		put(t, s, start.Add(time.Duration(i)*10*time.Second), v, "__name__", "x", "job", "a")
	}
	all, err := m.Replay(t.Context(), "High", start, start.Add(119*10*time.Second), 0)
	if err != nil {
		t.Fatal(err)
	}
	var spans []string
	for _, f := range all[0].Fired {
		to := -1.0
		if !f.To.IsZero() {
			to = f.To.Sub(start).Seconds()
		}
		spans = append(spans, fmt.Sprintf("%v-%v peak %v", f.From.Sub(start).Seconds(), to, f.Peak))
	}
	if want := []string{"130-160 peak 15", "630-660 peak 65", "1130--1 peak 119"}; !slices.Equal(spans, want) || all[0].Pending != 1 || all[0].Steps != 120 {
		t.Errorf("got %q, %d pending only, %d steps: want %q, 1, 120", spans, all[0].Pending, all[0].Steps, want)
	}
	if _, err := m.Replay(t.Context(), "None", start, start.Add(time.Hour), 0); err == nil {
		t.Error("an alert that there is not was replayed")
	}
	if _, err := m.Replay(t.Context(), "High", start, start.Add(time.Hour), time.Microsecond); err == nil {
		t.Error("millions of steps were taken")
	}
}

// Run evaluates at the interval, follows replacements and ends with its context. The clock is a false one.
func TestRun(t *testing.T) {
	s := openStore(t)
	source, err := Parse("test.yml", []byte("groups: [{name: g, interval: 10s, rules: [{alert: Always, expr: vector(1)}]}]"))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		told := 0
		m, err := New(Config{Store: s, Engine: engine, Sources: []Source{source}, Resend: 10 * time.Second, Tell: func([]Alert) { told++ }, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if told < 5 || told > 7 {
			t.Errorf("told %d times within a minute: want about 6", told)
		}
		if err := m.Replace(nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		before := told
		time.Sleep(time.Minute)
		synctest.Wait()
		if told != before {
			t.Error("a rule that was replaced is still evaluated")
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}
