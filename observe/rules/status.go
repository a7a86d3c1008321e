package rules

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// GroupStatus says how it stands with a group.
type GroupStatus struct {
	Name     string
	File     string
	Interval time.Duration
	Limit    int
	Last     time.Time
	Took     time.Duration
	Rules    []RuleStatus
}

// RuleStatus says how it stands with a rule.
type RuleStatus struct {
	// Alert is false for a recording rule, which has neither alerts, For, KeepFiringFor nor annotations.
	Alert              bool
	Name, Query        string
	For, KeepFiringFor time.Duration
	Labels             labels.Labels
	Annotations        labels.Labels
	// Health is ok, err, or unknown before the first evaluation; Error says what was wrong.
	Health string
	Error  error
	Last   time.Time
	Took   time.Duration
	// Alerts that are pending or firing, the longest first.
	Alerts []Alert
}

// State of an alerting rule: that of its worst alert.
func (r RuleStatus) State() State {
	state := Inactive
	for _, a := range r.Alerts {
		if a.State == Firing {
			return Firing
		}
		state = Pending
	}
	return state
}

// Groups says how it stands with every group.
func (m *Manager) Groups() []GroupStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]GroupStatus, 0, len(m.groups))
	for _, g := range m.groups {
		s := GroupStatus{Name: g.name, File: g.file, Interval: g.interval, Limit: g.limit, Last: g.last, Took: g.took}
		for _, r := range g.rules {
			s.Rules = append(s.Rules, r.status())
		}
		out = append(out, s)
	}
	return out
}

func (r *rule) status() RuleStatus {
	s := RuleStatus{Alert: r.alert, Name: r.name, Query: r.query, For: r.hold, KeepFiringFor: r.keep, Labels: r.labels,
		Annotations: r.annotations, Health: r.health, Error: r.err, Last: r.last, Took: r.took}
	for _, a := range r.active {
		if a.State != Inactive {
			s.Alerts = append(s.Alerts, *a)
		}
	}
	slices.SortFunc(s.Alerts, func(a, b Alert) int {
		return cmp.Or(a.Active.Compare(b.Active), labels.Compare(a.Labels, b.Labels))
	})
	return s
}
