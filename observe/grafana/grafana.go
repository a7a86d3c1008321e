// Package grafana writes dashboards for Grafana (its JSON model, schema 39: Grafana 10 and later) over the metrics that
// Banyan keeps: the system, one service, caches, queues, and the SLOs.
//
// Every panel has a unit, and every query can be asked of Banyan's own API, or of a Prometheus that reads Banyan's page. The
// package is a function: the same dashboards come out each time, so that they can be kept under version control.
package grafana

import (
	"encoding/json"
	"fmt"

	"github.com/banyanhq/banyan/observe/slo"
)

// Dashboard is one page, ready to be imported or provisioned.
type Dashboard struct {
	// Name of the file, without .json.
	Name  string
	model map[string]any
	exprs []string
}

// JSON of the dashboard.
func (d Dashboard) JSON() ([]byte, error) {
	data, err := json.MarshalIndent(d.model, "", "  ")
	return append(data, '\n'), err
}

// Queries of all panels and variables, with Grafana's own variables in them.
func (d Dashboard) Queries() []string { return d.exprs }

// The units of Grafana that are used here.
const (
	perSecond = "reqps"
	seconds   = "s"
	share     = "percentunit"
	bytes     = "bytes"
	cores     = "none"
	count     = "short"
)

// panel is a chart, or a row of figures where stat is set.
type panel struct {
	title, unit, help string
	stat              bool
	max               float64 // of the axis; 0: none
	queries           []query
	thresholds        []float64 // yellow, red
}

type query struct{ legend, expr string }

func q(legend, expr string) query { return query{legend, expr} }

// builder lays panels out, three to a row.
type builder struct {
	d      Dashboard
	panels []any
	vars   []any
	x, y   int
}

func newBuilder(name string) *builder { return &builder{d: Dashboard{Name: name}} }

const source = "${datasource}"

func datasource() map[string]string { return map[string]string{"type": "prometheus", "uid": source} }

func (b *builder) row(title string) {
	if b.x > 0 {
		b.x, b.y = 0, b.y+8
	}
	b.panels = append(b.panels, map[string]any{"id": len(b.panels) + 1, "type": "row", "title": title, "collapsed": false, "panels": []any{},
		"gridPos": map[string]int{"x": 0, "y": b.y, "w": 24, "h": 1}})
	b.y++
}

func (b *builder) add(p panel) {
	kind := "timeseries"
	if p.stat {
		kind = "stat"
	}
	var targets []any
	for i, query := range p.queries {
		b.d.exprs = append(b.d.exprs, query.expr)
		targets = append(targets, map[string]any{"refId": string(rune('A' + i)), "expr": query.expr, "legendFormat": query.legend,
			"datasource": datasource(), "range": !p.stat, "instant": p.stat})
	}
	steps := []any{map[string]any{"color": "green", "value": nil}}
	for i, at := range p.thresholds {
		steps = append(steps, map[string]any{"color": []string{"yellow", "red"}[min(i, 1)], "value": at})
	}
	defaults := map[string]any{"unit": p.unit, "min": 0, "thresholds": map[string]any{"mode": "absolute", "steps": steps},
		"custom": map[string]any{"fillOpacity": 10, "showPoints": "never", "spanNulls": false}}
	if p.max > 0 {
		defaults["max"] = p.max
	}
	if p.stat {
		delete(defaults, "min")
	}
	b.panels = append(b.panels, map[string]any{"id": len(b.panels) + 1, "type": kind, "title": p.title, "description": p.help,
		"datasource": datasource(), "targets": targets, "fieldConfig": map[string]any{"defaults": defaults, "overrides": []any{}},
		"options": map[string]any{"legend": map[string]any{"displayMode": "list", "placement": "bottom"}, "tooltip": map[string]any{"mode": "multi", "sort": "desc"}},
		"gridPos": map[string]int{"x": b.x, "y": b.y, "w": 8, "h": 8}})
	if b.x += 8; b.x >= 24 {
		b.x, b.y = 0, b.y+8
	}
}

// variable is a list to choose from, filled by label_values.
func (b *builder) variable(name, metric, label string) {
	b.d.exprs = append(b.d.exprs, metric)
	b.vars = append(b.vars, map[string]any{"name": name, "label": name, "type": "query", "datasource": datasource(), "refresh": 2, "sort": 1,
		"includeAll": true, "multi": true, "allValue": ".*", "current": map[string]any{"text": "All", "value": "$__all"},
		"query":      map[string]any{"refId": "v", "query": fmt.Sprintf("label_values(%s, %s)", metric, label)},
		"definition": fmt.Sprintf("label_values(%s, %s)", metric, label)})
}

func (b *builder) build(uid, title string) Dashboard {
	vars := append([]any{map[string]any{"name": "datasource", "label": "source", "type": "datasource", "query": "prometheus"}}, b.vars...)
	b.d.model = map[string]any{"uid": uid, "title": title, "tags": []string{"banyan"}, "schemaVersion": 39, "version": 1, "editable": true,
		"timezone": "browser", "refresh": "10s", "time": map[string]string{"from": "now-1h", "to": "now"}, "graphTooltip": 1,
		"templating": map[string]any{"list": vars}, "annotations": map[string]any{"list": []any{alertsOnCharts()}}, "panels": b.panels, "links": []any{}}
	return b.d
}

// alertsOnCharts marks when alerts fired.
func alertsOnCharts() map[string]any {
	return map[string]any{"name": "alerts", "enable": true, "iconColor": "red", "datasource": datasource(),
		"expr": `ALERTS{alertstate="firing",severity!="none"}`, "titleFormat": "{{alertname}} {{slo}}", "textFormat": "{{objective}}", "step": "30s"}
}

// All dashboards. The one of the SLOs is there if there are objectives.
func All(objectives []slo.Objective) []Dashboard {
	all := []Dashboard{system(), service(), cache(), queue()}
	if len(objectives) > 0 {
		all = append(all, slos(objectives))
	}
	return all
}
