package rules

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"
)

// State of an alert.
type State string

// The states of an alert.
const (
	Inactive State = "inactive" // it was active, and is resolved
	Pending  State = "pending"  // its condition holds, not yet for long enough
	Firing   State = "firing"
)

// Alert is one that is active, or that was until lately.
type Alert struct {
	Labels      labels.Labels `json:"labels"`
	Annotations labels.Labels `json:"annotations"`
	State       State         `json:"state"`
	// Value of the expression at the last evaluation at which it had one.
	Value float64 `json:"-"`
	// Active is since when its condition has held.
	Active time.Time `json:"activeAt"`
	// Fired is when it began to fire, Resolved when it ended; zero before.
	Fired    time.Time `json:"firedAt,omitzero"`
	Resolved time.Time `json:"resolvedAt,omitzero"`
	// KeepSince is since when its condition no longer holds and only keep_firing_for has it fire.
	KeepSince time.Time `json:"keepFiringSince,omitzero"`
	// Rule is its expression.
	Rule string `json:"rule"`

	sent time.Time
}

// resolvedFor is how long a resolved alert is still told of, so that one message that is lost does no harm.
const resolvedFor = 15 * time.Minute

// definitions stand before every template, as in Prometheus.
const definitions = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"

// queryFunc evaluates an expression at an instant.
type queryFunc func(ctx context.Context, query string, at time.Time) (promql.Vector, error)

// expander fills in the templates of one rule.
type expander struct {
	query    queryFunc
	external *url.URL
	labels   map[string]string // external
}

func (x *expander) expand(ctx context.Context, r *rule, text string, s promql.Sample, at time.Time) string {
	if !strings.Contains(text, "{{") {
		return text
	}
	data := template.AlertTemplateData(s.Metric.Map(), x.labels, x.external.String(), s)
	t := template.NewTemplateExpander(ctx, definitions+text, "__alert_"+r.name, data, model.TimeFromUnixNano(at.UnixNano()),
		template.QueryFunc(x.query), x.external, nil)
	out, err := t.Expand()
	if err != nil {
		return fmt.Sprintf("<error expanding template: %s>", err)
	}
	return out
}

// found makes alerts of what the expression of a rule gave, by the hash of their labels.
func (r *rule) found(ctx context.Context, x *expander, vector promql.Vector, at time.Time) (map[uint64]*Alert, error) {
	now := make(map[uint64]*Alert, len(vector))
	b := labels.NewBuilder(labels.EmptyLabels())
	for _, s := range vector {
		b.Reset(s.Metric)
		b.Del(labels.MetricName)
		r.labels.Range(func(l labels.Label) { b.Set(l.Name, x.expand(ctx, r, l.Value, s, at)) })
		b.Set(labels.AlertName, r.name)
		lset := b.Labels()
		h := lset.Hash()
		if now[h] != nil {
			return nil, fmt.Errorf("vector contains metrics with the same labelset after applying alert labels: %s", lset)
		}
		notes := labels.NewScratchBuilder(r.annotations.Len())
		r.annotations.Range(func(l labels.Label) { notes.Add(l.Name, x.expand(ctx, r, l.Value, s, at)) })
		now[h] = &Alert{Labels: lset, Annotations: notes.Labels(), State: Pending, Value: s.F, Active: at, Rule: r.query}
	}
	return now, nil
}

// step moves a rule's alerts on to an instant, given those that its expression gave then. It is Prometheus's own state
// machine: pending while younger than 'for', firing after, kept by keep_firing_for, resolved and then forgotten.
func (r *rule) step(now map[uint64]*Alert, at time.Time) {
	for h, a := range now {
		if old := r.active[h]; old != nil && old.State != Inactive {
			old.Value, old.Annotations = a.Value, a.Annotations
			continue
		}
		r.active[h] = a
	}
	for h, a := range r.active {
		if now[h] == nil {
			keep := false
			if a.State == Firing && r.keep > 0 {
				if a.KeepSince.IsZero() {
					a.KeepSince = at
				}
				keep = at.Sub(a.KeepSince) < r.keep
			}
			if a.State == Pending || !a.Resolved.IsZero() && at.Sub(a.Resolved) > resolvedFor {
				delete(r.active, h)
			}
			if a.State != Inactive && !keep {
				a.State, a.Resolved = Inactive, at
			}
			if !keep {
				continue
			}
		} else {
			a.KeepSince = time.Time{}
		}
		if a.State == Pending && at.Sub(a.Active) >= r.hold {
			a.State, a.Fired = Firing, at
		}
	}
}

// live counts the alerts that are pending or firing.
func (r *rule) live() (n int) {
	for _, a := range r.active {
		if a.State != Inactive {
			n++
		}
	}
	return n
}

// series are those by which a rule's alerts are told of in the store.
func (r *rule) series(at time.Time) (out []promql.Sample) {
	for _, a := range r.active {
		if a.State == Inactive {
			continue
		}
		b := labels.NewBuilder(a.Labels)
		b.Set(labels.MetricName, "ALERTS_FOR_STATE")
		out = append(out, promql.Sample{Metric: b.Labels(), T: at.UnixMilli(), F: float64(a.Active.Unix())})
		b.Set(labels.MetricName, "ALERTS")
		b.Set("alertstate", string(a.State))
		out = append(out, promql.Sample{Metric: b.Labels(), T: at.UnixMilli(), F: 1})
	}
	return out
}

// toTell are copies of the alerts that somebody is to be told of now: firing for the first time, or since a resend, or
// resolved since they were told of last.
func (r *rule) toTell(at time.Time, resend time.Duration) (out []Alert) {
	for _, a := range r.active {
		switch {
		case a.State == Pending, a.Fired.IsZero(): // also resolved without ever having fired
			continue
		case !a.Resolved.IsZero() && a.Resolved.After(a.sent):
		case at.Sub(a.sent) < resend:
			continue
		}
		a.sent = at
		out = append(out, *a)
	}
	return out
}
