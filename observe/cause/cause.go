// Package cause lists what may have caused an alert: what was done to the system shortly before it began (deploys, scalings,
// reloads, faults, exits), and which parts were saturated then, the likeliest first.
//
// It is a list of suspects, with a figure and an instant each, and no verdict: what stands first is what concerns the
// alert's own service or those that it calls, and is nearest in time.
//
// Suspects is a function of what it is given; it starts no goroutine and keeps nothing.
package cause

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

// Event is something that happened to the system.
type Event struct {
	At time.Time `json:"at"`
	// Kind: deploy, scaling, reload, fault, exit, ...
	Kind string `json:"kind"`
	// Service that it concerns; empty: the system.
	Service string `json:"service,omitempty"`
	// What happened, in a line.
	What string `json:"what"`
}

// Suspect is a possible cause.
type Suspect struct {
	Event
	// Score from 0 to 1 by which suspects are ordered.
	Score float64 `json:"score"`
}

// Before and After the beginning of an alert's condition: what lies in between is looked at.
const (
	Before = 15 * time.Minute
	After  = 2 * time.Minute
)

// Query evaluates an expression at an instant.
type Query func(ctx context.Context, expr string, at time.Time) (promql.Vector, error)

// saturation is a query that gives a series for each part that is saturated.
type saturation struct {
	expr string
	// subject is the label that names the service, and part the one that names the part of it; empty: the system.
	subject, part string
	what          func(part string, value float64) string
}

func share(format string) func(string, float64) string {
	return func(part string, v float64) string { return fmt.Sprintf(format, strings.TrimSpace(part), 100*v) }
}

var saturations = []saturation{
	{`max by (service, replica) (rate(banyan_replica_cpu_seconds_total[1m]) / on (service, replica) banyan_replica_cpu_limit_cores) > 0.9`,
		"service", "replica", share("%s uses %.0f %% of its CPU limit")},
	{`max by (service, replica) (banyan_replica_memory_bytes / on (service, replica) banyan_replica_memory_limit_bytes) > 0.9`,
		"service", "replica", share("%s uses %.0f %% of its memory limit")},
	{`max by (service, replica) (rate(banyan_replica_cpu_throttled_seconds_total[1m])) > 0.1`,
		"service", "replica", share("%s is held back by its CPU limit for %.0f %% of the time")},
	{`max by (service) (1 - banyan_service_replicas_ready / banyan_service_replicas_wanted) > 0`,
		"service", "service", share("%s lacks %.0f %% of its replicas")},
	{`max by (service, backend) (banyan_gateway_backend_breaker_state) == 1`,
		"service", "backend", func(part string, _ float64) string { return "the breaker of " + part + " is open" }},
	{`max(rate(banyan_machine_cpu_seconds_total[1m]) / banyan_machine_cpu_cores) > 0.9`,
		"", "", share("the machine%s uses %.0f %% of its CPU")},
	{`max(rate(banyan_machine_cpu_stolen_seconds_total[1m]) / banyan_machine_cpu_cores) > 0.1`,
		"", "", share("the hypervisor%s keeps %.0f %% of the machine's CPU for others")},
	{`max(banyan_machine_memory_used_bytes / banyan_machine_memory_bytes) > 0.95`,
		"", "", share("the machine%s uses %.0f %% of its memory")},
	{`max by (queue) (delta(banyan_queue_messages{state="ready"}[5m])) > 100`,
		"", "queue", func(part string, v float64) string {
			return fmt.Sprintf("queue %s has grown by %.0f messages in five minutes", part, v)
		}},
}

// related says how near two services are: 1 the same, 0.8 one that it calls, directly or not, 0.4 neither, 0.6 the system.
func related(service, subject string, calls map[string][]string) float64 {
	switch {
	case subject == "":
		return 0.6
	case service == "" || service == subject:
		return 1
	}
	seen := map[string]bool{service: true}
	for next := []string{service}; len(next) > 0; {
		at := next[0]
		next = next[1:]
		for _, to := range calls[at] {
			if to == subject {
				return 0.8
			}
			if !seen[to] {
				seen[to] = true
				next = append(next, to)
			}
		}
	}
	return 0.4
}

// Suspects of an alert whose condition has held since an instant. calls says which services each calls; events are those
// that are known; query may be nil, then no saturation is looked for. Errors of queries are told beside what was found.
func Suspects(ctx context.Context, alert labels.Labels, since time.Time, calls map[string][]string, events []Event, query Query) ([]Suspect, error) {
	service := alert.Get("service")
	out := []Suspect{}
	for _, e := range events {
		lag := since.Sub(e.At)
		if lag > Before || lag < -After {
			continue
		}
		// What came just before weighs most; what came after hardly causes it, but conditions are seen late.
		near := 1 - 0.8*float64(max(lag, 0))/float64(Before)
		if lag < 0 {
			near = 0.3
		}
		out = append(out, Suspect{e, near * related(service, e.Service, calls)})
	}
	var failed error
	if query != nil {
		for _, s := range saturations {
			v, err := query(ctx, s.expr, since)
			if err != nil {
				failed = fmt.Errorf("looking for what was saturated: %w", err)
				continue
			}
			for _, p := range v {
				out = append(out, s.suspect(p, service, since, calls))
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Suspect) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), b.At.Compare(a.At), cmp.Compare(a.What, b.What))
	})
	return out[:min(len(out), 20)], failed
}

func (s saturation) suspect(p promql.Sample, service string, at time.Time, calls map[string][]string) Suspect {
	subject := ""
	if s.subject != "" {
		subject = p.Metric.Get(s.subject)
	}
	part := ""
	if s.part != "" {
		part = p.Metric.Get(s.part)
	}
	return Suspect{Event{at, "saturation", subject, s.what(part, p.F)}, 0.9 * related(service, subject, calls)}
}
