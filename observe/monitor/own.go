package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"go.yaml.in/yaml/v3"

	"github.com/banyanhq/banyan/observe/cause"
	"github.com/banyanhq/banyan/observe/notify"
	"github.com/banyanhq/banyan/observe/rules"
	"github.com/banyanhq/banyan/observe/slo"
)

// Alert is one as Banyan's own clients see it.
type Alert struct {
	Name        string            `json:"name"`
	State       string            `json:"state"`
	Severity    string            `json:"severity"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	ActiveAt    time.Time         `json:"activeAt"`
	Value       *float64          `json:"value"`
	SilencedBy  []string          `json:"silencedBy"`
	Suspects    []cause.Suspect   `json:"suspects"`
}

// Board is what 'banyan slo' shows.
type Board struct {
	At        time.Time      `json:"at"`
	Standings []slo.Standing `json:"standings"`
}

// mountOwn adds the handlers that Prometheus and Alertmanager have no names for.
func (m *Monitor) mountOwn() {
	m.mux.HandleFunc("GET /monitor/alerts", func(w http.ResponseWriter, r *http.Request) { reply(w, m.ownAlerts(r.Context()), nil) })
	m.mux.HandleFunc("GET /monitor/slos", func(w http.ResponseWriter, r *http.Request) {
		b, err := m.Board(r.Context(), time.Now())
		reply(w, b, err)
	})
	m.mux.HandleFunc("GET /monitor/replay", m.serveReplay)
	m.mux.HandleFunc("GET /monitor/destinations", func(w http.ResponseWriter, _ *http.Request) { reply(w, m.notifier.Status(), nil) })
	m.mux.HandleFunc("GET /monitor/rules.yml", func(w http.ResponseWriter, _ *http.Request) {
		text, err := RulesYAML(*m.objectives.Load(), m.sloConfig())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/yaml")
		w.Write(text)
	})
}

// RulesYAML writes the rules of objectives as a file for Prometheus.
func RulesYAML(all []slo.Objective, cfg slo.Config) ([]byte, error) {
	return yaml.Marshal(map[string]any{"groups": slo.Rules(all, cfg)})
}

func reply(w http.ResponseWriter, v any, err error) {
	code := http.StatusOK
	if err != nil {
		code = http.StatusInternalServerError
		if errors.Is(err, rules.ErrNoRule) || errors.Is(err, errBadRequest) {
			code = http.StatusBadRequest
		}
		v = map[string]string{"error": err.Error()}
	}
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	w.Write(data)
}

func (m *Monitor) ownAlerts(ctx context.Context) []Alert {
	out := []Alert{}
	now := time.Now()
	for _, a := range m.Alerts() {
		own := Alert{Name: a.Labels.Get(labels.AlertName), State: string(a.State), Severity: a.Labels.Get("severity"), Labels: a.Labels.Map(),
			Annotations: a.Annotations.Map(), ActiveAt: a.Active, SilencedBy: m.silences.By(a.Labels, now), Suspects: []cause.Suspect{}}
		if !math.IsNaN(a.Value) && !math.IsInf(a.Value, 0) {
			own.Value = &a.Value
		}
		if own.Severity != "none" {
			own.Suspects = append(own.Suspects, m.suspectsOf(ctx, a)...)
		}
		out = append(out, own)
	}
	return out
}

// Board says how it stands with the objectives.
func (m *Monitor) Board(ctx context.Context, at time.Time) (Board, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var data time.Duration
	if mint, _, ok := m.store.Span(); ok {
		data = max(at.Sub(time.UnixMilli(mint)), 0)
	}
	standings, err := slo.Board(ctx, *m.objectives.Load(), m.sloConfig(), data, func(ctx context.Context, expr string) (promql.Vector, error) {
		return m.query(ctx, expr, at)
	})
	return Board{at, standings}, err
}

var errBadRequest = errors.New("bad request")

// serveReplay replays an alert: parameters alert, from, to (RFC 3339) and step (a duration).
func (m *Monitor) serveReplay(w http.ResponseWriter, r *http.Request) {
	var from, to time.Time
	var step time.Duration
	var errs [3]error
	from, errs[0] = time.Parse(time.RFC3339, r.FormValue("from"))
	to, errs[1] = time.Parse(time.RFC3339, r.FormValue("to"))
	if text := r.FormValue("step"); text != "" {
		step, errs[2] = time.ParseDuration(text)
	}
	if err := errors.Join(errs[:]...); err != nil {
		reply(w, nil, errors.Join(errBadRequest, err))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Minute)
	defer cancel()
	all, err := m.rules.Replay(ctx, r.FormValue("alert"), from, to, step)
	reply(w, all, err)
}

// Silences of the monitor.
func (m *Monitor) Silences() *notify.Silences { return m.silences }
