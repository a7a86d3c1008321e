package monitor

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/banyanhq/banyan/observe/rules"
)

// Turn is an alert that began to fire, or ended.
type Turn struct {
	At                               time.Time
	Ended                            bool
	Name, Severity, Service, Summary string

	labels uint64
}

// turns remembers the latest turns of alerts.
type turns struct {
	mu  sync.Mutex
	all []Turn // oldest first
}

const maxTurns = 200

// note takes what is told of an alert, which is told of again and again.
func (t *turns) note(a rules.Alert) {
	turn := Turn{At: a.Fired, Name: a.Labels.Get(labels.AlertName), Severity: a.Labels.Get("severity"), Service: a.Labels.Get("service"),
		Summary: a.Annotations.Get("summary"), labels: a.Labels.Hash()}
	if a.State == rules.Inactive {
		turn.At, turn.Ended = a.Resolved, true
	}
	if a.State == rules.Pending || turn.At.IsZero() || turn.Severity == "none" { // a watchdog always fires
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.all) == maxTurns && turn.At.Before(t.all[0].At) {
		return // it was there, and was forgotten
	}
	for _, known := range t.all {
		if known.labels == turn.labels && known.Ended == turn.Ended && known.At.Equal(turn.At) {
			return
		}
	}
	t.all = append(t.all, turn)
	slices.SortStableFunc(t.all, func(a, b Turn) int { return a.At.Compare(b.At) })
	t.all = t.all[max(0, len(t.all)-maxTurns):]
}

// Turns are the latest alerts that began to fire or ended in this run, oldest first.
func (m *Monitor) Turns() []Turn {
	m.turns.mu.Lock()
	defer m.turns.mu.Unlock()
	return slices.Clone(m.turns.all)
}
