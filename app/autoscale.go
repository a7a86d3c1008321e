package app

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/orchestrate"
	"github.com/banyanhq/banyan/topology"
)

// fleet is how the autoscaler sees the services and scales them.
type fleet struct{ a *App }

// Read joins what the gateway counts of a service's requests with what its replicas use.
func (f fleet) Read(services []string) map[string]autoscale.Reading {
	asked := make(map[string]bool, len(services))
	for _, name := range services {
		asked[name] = true
	}
	out := make(map[string]autoscale.Reading, len(services))
	for _, s := range f.a.orch.Status() {
		if asked[s.Service] {
			out[s.Service] = autoscale.Reading{Replicas: s.Desired, Ready: s.Ready, Limit: float64(s.CPU), MemoryLimit: int64(s.Memory), CPU: map[string]time.Duration{}}
		}
	}
	g := f.a.gateway.Stats()
	for _, r := range g.Routes {
		addRequests(out, r.Service, r.Traffic.Requests, r.Traffic.InFlight, time.Duration(r.Traffic.Latency.Sum()))
	}
	for _, e := range g.Edges {
		addRequests(out, e.To, e.Traffic.Requests, e.Traffic.InFlight, time.Duration(e.Traffic.Latency.Sum()))
	}
	for _, u := range f.a.orch.Usage() {
		if r, ok := out[u.Service]; ok {
			r.CPU[u.Replica] = u.CPU
			r.Memory = max(r.Memory, int64(u.Memory))
			r.MemoryKills += u.OOMKills
			out[u.Service] = r
		}
	}
	starts := startUps(f.a.orch.Events())
	for name, r := range out {
		r.StartUp = starts[name]
		out[name] = r
	}
	return out
}

func addRequests(out map[string]autoscale.Reading, service string, requests, inFlight int64, busy time.Duration) {
	r, ok := out[service]
	if !ok {
		return
	}
	r.Requests += requests
	r.InFlight += inFlight
	r.Busy += busy
	out[service] = r
}

// startUps is how long the latest replica of each service took from its start until it was ready.
func startUps(events []orchestrate.Event) map[string]time.Duration {
	started := map[string]time.Time{}
	took := map[string]time.Duration{}
	for _, e := range events {
		key := e.Service + "\x00" + e.Replica
		switch e.What {
		case "started":
			started[key] = e.Time
		case "ready":
			if at, ok := started[key]; ok {
				took[e.Service] = e.Time.Sub(at)
			}
		}
	}
	return took
}

// Scale sets what of the size differs from what it is, and does not wait for the replicas.
func (f fleet) Scale(ctx context.Context, service string, to autoscale.Size) error {
	var change orchestrate.Change
	for _, s := range f.a.orch.Status() {
		if s.Service != service {
			continue
		}
		if to.Replicas != s.Desired {
			change.Replicas = &to.Replicas
		}
		if cpu := topology.CPU(to.Cores); cpu != s.CPU {
			change.CPU = &cpu
		}
		if memory := topology.Bytes(to.Memory); memory != s.Memory {
			change.Memory = &memory
		}
	}
	return f.a.orch.Scale(ctx, service, change)
}

// autoscaler of the system; nil where no service is scaled.
func newAutoscaler(a *App) (*autoscale.Controller, error) {
	return autoscale.New(autoscale.Config{Fleet: fleet{a}, System: a.cfg.System, Cores: float64(runtime.NumCPU()), Log: a.cfg.Log,
		History: a.learnFrom, Lapse: a.cfg.Lapse, Expect: a.gateway.Expect, Changed: func(d autoscale.Decision) {
			what := fmt.Sprintf("%v to %v: %s", d.From, d.To, d.Why)
			if d.DryRun {
				what = "would go from " + what
			}
			a.cfg.Log.Info("autoscaler", "service", d.Service, "decided", what)
		}})
}

// runAutoscaler scales once the services are ready: what a start costs is no load.
func (a *App) runAutoscaler(ctx context.Context) error {
	if a.scaler == nil {
		return nil
	}
	if err := a.waitReady(ctx); err != nil {
		return nil // whoever announces it ends the system
	}
	return a.scaler.Run(ctx)
}

// ScaleDecisions are those about a service; ok is false when it is not scaled.
func (a *App) ScaleDecisions(service string) (all []autoscale.Decision, ok bool) {
	if a.scaler == nil {
		return nil, false
	}
	return a.scaler.Decisions(service)
}

// ScaledServices are those that the autoscaler scales.
func (a *App) ScaledServices() []string {
	if a.scaler == nil {
		return nil
	}
	return a.scaler.Services()
}
