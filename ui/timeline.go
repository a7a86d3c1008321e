package ui

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/orchestrate"
)

// maxEvents bounds the time-line that a page is given.
const maxEvents = 400

// EventKind groups what happens.
type EventKind string

// The kinds of events.
const (
	KindDeploy  EventKind = "deploy"  // new versions: reloads, rolling replacements, canaries
	KindScaling EventKind = "scaling" // by hand or by the autoscaler
	KindReplica EventKind = "replica" // a replica came or went
	KindFault   EventKind = "fault"   // something broke, or was broken on purpose
	KindAlert   EventKind = "alert"   // an alert began to fire, or ended
)

// Event is one entry of the time-line.
type Event struct {
	// ID is the same whenever it is asked for.
	ID string `json:"id"`
	// At in milliseconds since 1970.
	At      int64     `json:"at"`
	Kind    EventKind `json:"kind"`
	Service string    `json:"service,omitempty"`
	Replica string    `json:"replica,omitempty"`
	What    string    `json:"what"`
	Why     string    `json:"why,omitempty"`
	// Bad says that it is nobody's wish.
	Bad bool `json:"bad,omitempty"`
}

// timeline joins events and decisions of the autoscaler that changed something, oldest first, the latest of them.
func timeline(events []orchestrate.Event, decisions []autoscale.Decision) []Event {
	all := make([]Event, 0, len(events))
	for _, e := range events {
		all = append(all, eventOf(e))
	}
	for _, d := range decisions {
		if d.From != d.To && !d.DryRun || d.Error != "" {
			all = append(all, decisionEvent(d))
		}
	}
	slices.SortStableFunc(all, func(a, b Event) int { return int(a.At - b.At) })
	return all[max(0, len(all)-maxEvents):]
}

func eventOf(e orchestrate.Event) Event {
	out := Event{At: e.Time.UnixMilli(), Service: e.Service, Replica: e.Replica, What: e.What, Why: e.Why}
	out.Kind, out.Bad = kindOf(e.What)
	return out.identified(e.Time)
}

// kindOf sorts an event by its words. What is not known here is shown as what happened to a replica.
func kindOf(what string) (kind EventKind, bad bool) {
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(what, w) })
	}
	switch {
	case has("alert"):
		return KindAlert, has("fires")
	case has("canary"):
		return KindDeploy, has("rolled back")
	case has("reload", "replac", "restarting", "restored", "built"):
		return KindDeploy, has("failed", "gave up")
	case has("scaled", "limits"):
		return KindScaling, false
	case has("exited", "killed", "unready", "lost", "fail", "crash", "gave up", "giving up", "not ready", "never ready", "not alive", "cut short", "cannot", "not start"):
		return KindFault, true
	}
	return KindReplica, false
}

func decisionEvent(d autoscale.Decision) Event {
	out := Event{At: d.At.UnixMilli(), Kind: KindScaling, Service: d.Service, What: fmt.Sprintf("autoscaler: %v to %v", d.From, d.To), Why: d.Why}
	if d.Error != "" {
		out.What, out.Why, out.Bad = out.What+" failed", d.Error, true
	}
	return out.identified(d.At)
}

// identified gives an event its ID, from all that it says.
func (e Event) identified(at time.Time) Event {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d\x00%s\x00%s\x00%s\x00%s", at.UnixNano(), e.Service, e.Replica, e.What, e.Why)
	e.ID = fmt.Sprintf("%x", h.Sum64())
	return e
}

// eventsAfter are those that are not among the IDs that were seen.
func eventsAfter(all []Event, seen map[string]bool) []Event {
	fresh := []Event{}
	for _, e := range all {
		if !seen[e.ID] {
			fresh = append(fresh, e)
		}
	}
	return fresh
}
