package promapi

import (
	"math"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/index"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/banyanhq/banyan/observe/metrics"
	"github.com/banyanhq/banyan/observe/rules"
)

// speaks is the version of Prometheus whose API this is: clients choose by it what they may ask for.
const speaks = "3.16.0"

type groupJSON struct {
	Name           string    `json:"name"`
	File           string    `json:"file"`
	Rules          []any     `json:"rules"`
	Interval       float64   `json:"interval"`
	Limit          int       `json:"limit"`
	EvaluationTime float64   `json:"evaluationTime"`
	LastEvaluation time.Time `json:"lastEvaluation"`
}

// ruleJSON is what both kinds of rules have.
type ruleJSON struct {
	Name           string        `json:"name"`
	Query          string        `json:"query"`
	Labels         labels.Labels `json:"labels"`
	Health         string        `json:"health"`
	LastError      string        `json:"lastError,omitempty"`
	EvaluationTime float64       `json:"evaluationTime"`
	LastEvaluation time.Time     `json:"lastEvaluation"`
	Type           string        `json:"type"`
}

type alertingJSON struct {
	State         rules.State   `json:"state"`
	Duration      float64       `json:"duration"`
	KeepFiringFor float64       `json:"keepFiringFor"`
	Annotations   labels.Labels `json:"annotations"`
	Alerts        []alertJSON   `json:"alerts"`
	ruleJSON
}

type alertJSON struct {
	Labels          labels.Labels `json:"labels"`
	Annotations     labels.Labels `json:"annotations"`
	State           rules.State   `json:"state"`
	ActiveAt        time.Time     `json:"activeAt"`
	KeepFiringSince *time.Time    `json:"keepFiringSince,omitempty"`
	Value           string        `json:"value"`
}

func alertsJSON(all []rules.Alert) []alertJSON {
	out := make([]alertJSON, 0, len(all))
	for _, a := range all {
		j := alertJSON{Labels: a.Labels, Annotations: a.Annotations, State: a.State, ActiveAt: a.Active,
			Value: strconv.FormatFloat(a.Value, 'e', -1, 64)}
		if !a.KeepSince.IsZero() {
			j.KeepFiringSince = &a.KeepSince
		}
		out = append(out, j)
	}
	return out
}

func ruleOf(r rules.RuleStatus) any {
	j := ruleJSON{Name: r.Name, Query: r.Query, Labels: r.Labels, Health: r.Health, EvaluationTime: r.Took.Seconds(),
		LastEvaluation: r.Last, Type: "recording"}
	if r.Error != nil {
		j.LastError = r.Error.Error()
	}
	if !r.Alert {
		return j
	}
	j.Type = "alerting"
	return alertingJSON{r.State(), r.For.Seconds(), r.KeepFiringFor.Seconds(), r.Annotations, alertsJSON(r.Alerts), j}
}

// wanted says whether a name is among those that a parameter lists; all are where it lists none.
func wanted(r *http.Request, param, name string) bool {
	list := r.Form[param]
	return len(list) == 0 || slices.Contains(list, name)
}

func (a *API) rules(r *http.Request) (any, annotations.Annotations, error) {
	kind := r.FormValue("type")
	if kind != "" && kind != "alert" && kind != "record" {
		return nil, nil, badData("invalid parameter %q: not supported value %q", "type", kind)
	}
	sets, err := a.selectors(r)
	if err != nil {
		return nil, nil, err
	}
	groups := []groupJSON{}
	for _, g := range a.cfg.Rules() {
		if !wanted(r, "rule_group[]", g.Name) || !wanted(r, "file[]", g.File) {
			continue
		}
		j := groupJSON{g.Name, g.File, []any{}, g.Interval.Seconds(), g.Limit, g.Took.Seconds(), g.Last}
		for _, rule := range g.Rules {
			if kind == "alert" && !rule.Alert || kind == "record" && rule.Alert || !wanted(r, "rule_name[]", rule.Name) || !matches(sets, rule.Labels) {
				continue
			}
			if r.FormValue("exclude_alerts") == "true" {
				rule.Alerts = nil
			}
			j.Rules = append(j.Rules, ruleOf(rule))
		}
		if len(j.Rules) > 0 || len(g.Rules) == 0 {
			groups = append(groups, j)
		}
	}
	return map[string]any{"groups": groups}, nil, nil
}

// matches says whether any of the selectors is met; where there are none, anything is.
func matches(sets []matchers, l labels.Labels) bool {
	return len(sets) == 0 || slices.ContainsFunc(sets, func(set matchers) bool {
		for _, m := range set {
			if !m.Matches(l.Get(m.Name)) {
				return false
			}
		}
		return true
	})
}

func (a *API) alerts(*http.Request) (any, annotations.Annotations, error) {
	all := []alertJSON{}
	for _, g := range a.cfg.Rules() {
		for _, r := range g.Rules {
			all = append(all, alertsJSON(r.Alerts)...)
		}
	}
	return map[string]any{"alerts": all}, nil, nil
}

type targetJSON struct {
	DiscoveredLabels   map[string]string `json:"discoveredLabels"`
	Labels             labels.Labels     `json:"labels"`
	ScrapePool         string            `json:"scrapePool"`
	ScrapeURL          string            `json:"scrapeUrl"`
	GlobalURL          string            `json:"globalUrl"`
	LastError          string            `json:"lastError"`
	LastScrape         time.Time         `json:"lastScrape"`
	LastScrapeDuration float64           `json:"lastScrapeDuration"`
	Health             string            `json:"health"`
	ScrapeInterval     string            `json:"scrapeInterval"`
	ScrapeTimeout      string            `json:"scrapeTimeout"`
}

func targetOf(t metrics.TargetStatus) targetJSON {
	j := targetJSON{DiscoveredLabels: map[string]string{"job": t.Job, "__address__": t.Instance, "__metrics_path__": t.URL}, Labels: t.Set,
		ScrapePool: t.Job, ScrapeURL: t.URL, GlobalURL: t.URL, LastScrape: t.Last, LastScrapeDuration: t.Took.Seconds(), Health: t.Health,
		ScrapeInterval: t.Interval.String(), ScrapeTimeout: t.Timeout.String()}
	if t.Error != nil {
		j.LastError = t.Error.Error()
	}
	return j
}

func (a *API) targets(r *http.Request) (any, annotations.Annotations, error) {
	active := []targetJSON{}
	if state := r.FormValue("state"); state == "" || state == "any" || state == "active" {
		for _, t := range a.cfg.Targets() {
			if pool := r.FormValue("scrapePool"); pool == "" || pool == t.Job {
				active = append(active, targetOf(t))
			}
		}
	}
	return map[string]any{"activeTargets": active, "droppedTargets": []targetJSON{}, "droppedTargetCounts": map[string]int{}}, nil, nil
}

func (a *API) targetsMetadata(r *http.Request) (any, annotations.Annotations, error) {
	type entry struct {
		Target labels.Labels `json:"target"`
		Metric string        `json:"metric,omitempty"`
		Type   string        `json:"type"`
		Help   string        `json:"help"`
		Unit   string        `json:"unit"`
	}
	limit, err := limitOf(r)
	if err != nil {
		return nil, nil, err
	}
	out := []entry{}
	// What a metric is does not depend on the target here: it is said once, of the first.
	for _, t := range a.cfg.Targets() {
		for name, m := range a.cfg.Store.Metadata(r.FormValue("metric")) {
			if limit > 0 && len(out) >= limit {
				break
			}
			out = append(out, entry{t.Set, name, string(m.Type), m.Help, m.Unit})
		}
		break
	}
	return out, nil, nil
}

func (a *API) buildInfo(*http.Request) (any, annotations.Annotations, error) {
	return map[string]string{"version": speaks, "revision": "banyan " + a.cfg.Version, "branch": "", "buildUser": "", "buildDate": "",
		"goVersion": runtime.Version()}, nil, nil
}

func (a *API) runtimeInfo(*http.Request) (any, annotations.Annotations, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return map[string]any{"startTime": a.started.UTC(), "CWD": "", "hostname": host, "serverTime": time.Now().UTC(), "reloadConfigSuccess": true,
		"lastConfigTime": a.started.UTC(), "corruptionCount": 0, "goroutineCount": runtime.NumGoroutine(), "GOMAXPROCS": runtime.GOMAXPROCS(0),
		"GOMEMLIMIT": int64(math.MaxInt64), "GOGC": "", "GODEBUG": "", "storageRetention": a.cfg.Retention}, nil, nil
}

type statJSON struct {
	Name  string `json:"name"`
	Value uint64 `json:"value"`
}

func statsOf(all []index.Stat) []statJSON {
	out := make([]statJSON, 0, len(all))
	for _, s := range all {
		out = append(out, statJSON{s.Name, s.Count})
	}
	return out
}

func (a *API) tsdbStatus(r *http.Request) (any, annotations.Annotations, error) {
	limit := 10
	if text := r.FormValue("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 10_000 {
			return nil, nil, badData("limit must be a number from 1 to 10000")
		}
		limit = n
	}
	s := a.cfg.Store.Stats(limit)
	p := s.IndexPostingStats
	return map[string]any{
		"headStats":                   map[string]any{"numSeries": s.NumSeries, "numLabelPairs": p.NumLabelPairs, "chunkCount": a.cfg.Store.Chunks(), "minTime": s.MinTime, "maxTime": s.MaxTime},
		"seriesCountByMetricName":     statsOf(p.CardinalityMetricsStats),
		"labelValueCountByLabelName":  statsOf(p.CardinalityLabelStats),
		"memoryInBytesByLabelName":    statsOf(p.LabelValueStats),
		"seriesCountByLabelValuePair": statsOf(p.LabelValuePairsStats),
	}, nil, nil
}

func (a *API) configStatus(*http.Request) (any, annotations.Annotations, error) {
	return map[string]string{"yaml": ""}, nil, nil
}

func (a *API) flags(*http.Request) (any, annotations.Annotations, error) {
	return map[string]string{"query.timeout": a.cfg.Timeout.String(), "query.max-concurrency": strconv.Itoa(cap(a.slots)),
		"storage.tsdb.retention.time": a.cfg.Retention}, nil, nil
}
