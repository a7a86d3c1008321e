package app

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/gateway/peerlink"
	"github.com/banyanhq/banyan/orchestrate"
	"github.com/banyanhq/banyan/policy"
)

// maxCanaryEvents bounds how many events of canaries are remembered.
const maxCanaryEvents = 256

// canaryJournal is what became of canaries lately, and of the file: what no other part remembers.
type canaryJournal struct {
	mu     sync.Mutex
	events []orchestrate.Event // oldest first
}

// note remembers what a look at a canary has changed; the gateway calls it.
func (j *canaryJournal) note(route, service string, e policy.CanaryEvent) {
	what := "canary " + e.State.String()
	if e.State == policy.CanaryRunning {
		what = "canary step"
	}
	j.add(orchestrate.Event{Time: time.Now(), Service: service, What: what,
		Why: fmt.Sprintf("route %s: it is given %.3g %% of the requests: %s", route, 100*e.Share, e.Reason)})
}

func (j *canaryJournal) add(e orchestrate.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, e)
	if len(j.events) > maxCanaryEvents {
		j.events = slices.Delete(j.events, 0, len(j.events)-maxCanaryEvents)
	}
}

func (j *canaryJournal) list() []orchestrate.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.events)
}

// Events are the latest things that happened to services, replicas and canaries, and the alerts that began and ended, oldest first.
func (a *App) Events() []orchestrate.Event {
	all := append(a.orch.Events(), a.canaries.list()...)
	if m := a.monitor.Load(); m != nil {
		for _, t := range m.Turns() {
			e := orchestrate.Event{Time: t.At, Service: t.Service, What: "alert fires", Why: fmt.Sprintf("%s (%s): %s", t.Name, t.Severity, t.Summary)}
			if t.Ended {
				e.What = "alert ended"
			}
			all = append(all, e)
		}
	}
	slices.SortStableFunc(all, func(x, y orchestrate.Event) int { return x.Time.Compare(y.Time) })
	return all
}

// Canaries says where the canaries of routes stand, in the file's order.
func (a *App) Canaries() []control.CanaryStatus {
	all := []control.CanaryStatus{}
	for _, c := range a.gateway.Canaries() {
		all = append(all, control.CanaryStatus{
			Route: c.Route, Service: c.Service, Against: c.Against, State: c.State.String(), Share: c.Share, Step: c.Step, Steps: c.Steps,
			Verdict: c.Verdict.String(), Reason: c.Reason, Baseline: c.Baseline, Newcomer: c.Newcomer,
		})
	}
	return all
}

// Connections counts the connections of clients, by listener of the gateway.
func (a *App) Connections() []gateway.ConnectionStats { return a.gateway.Connections() }

// Gateways says how it stands with the other gateways of the system.
func (a *App) Gateways() []peerlink.Peer {
	if peers := a.gateway.Peers(); peers != nil {
		return peers
	}
	return []peerlink.Peer{}
}
