package monitor

import (
	"context"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/banyanhq/banyan/observe/cause"
	"github.com/banyanhq/banyan/observe/rules"
)

// suspects of an alert, as they were found when it began to fire: events are forgotten with time.
type suspects struct {
	at  time.Time
	all []cause.Suspect
}

// maxSuspected alerts are remembered with their suspects.
const maxSuspected = 1000

// tell passes alerts on, and notes who is suspected of those that are new. A watchdog has no cause.
func (m *Monitor) tell(alerts []rules.Alert) {
	for i, a := range alerts {
		m.turns.note(a)
		if a.State != rules.Firing || a.Labels.Get("severity") == "none" {
			continue
		}
		all := m.suspectsOf(context.Background(), a)
		if len(all) == 0 {
			continue
		}
		// The likeliest goes out with the message.
		b := labels.NewBuilder(a.Annotations)
		b.Set("suspect", all[0].What)
		alerts[i].Annotations = b.Labels()
	}
	m.notifier.Tell(alerts)
}

// suspectsOf an alert, looked for once.
func (m *Monitor) suspectsOf(ctx context.Context, a rules.Alert) []cause.Suspect {
	key := a.Labels.String() + a.Active.UTC().String()
	m.suspectsMu.Lock()
	known, ok := m.suspects[key]
	m.suspectsMu.Unlock()
	// What happens shortly after counts too: until then it is looked at again.
	if ok && known.at.Sub(a.Active) > cause.After {
		return known.all
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	all, err := cause.Suspects(ctx, a.Labels, a.Active, m.cfg.Calls(), m.cfg.Events(), m.query)
	if err != nil {
		m.cfg.Log.Warn("looking for what may have caused an alert", "alert", a.Labels.String(), "error", err)
	}
	m.suspectsMu.Lock()
	defer m.suspectsMu.Unlock()
	if len(m.suspects) >= maxSuspected {
		clear(m.suspects)
	}
	m.suspects[key] = suspects{time.Now(), all}
	return all
}
