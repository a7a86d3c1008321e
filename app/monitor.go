package app

import (
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/banyanhq/banyan/observe/cause"
	"github.com/banyanhq/banyan/observe/metrics"
	"github.com/banyanhq/banyan/observe/monitor"
	"github.com/banyanhq/banyan/observe/rules"
	"github.com/banyanhq/banyan/observe/slo"
	"github.com/banyanhq/banyan/topology"
)

// configureMonitor prepares what keeps the metrics. A gateway that stands alone keeps none: several of one system share a
// state directory, or hand it over, and 'banyan observe' reads them all.
func (a *App) configureMonitor() error {
	sys := a.cfg.System
	if a.cfg.GatewayOnly || sys.Monitoring.Off {
		return nil
	}
	cfg, err := monitor.Configure(sys, a.cfg.Dir, os.Getenv)
	if err != nil {
		return err
	}
	if _, err := rules.Load(cfg.RuleFiles...); err != nil { // said now, and not when everything runs
		return err
	}
	cfg.Targets, cfg.Events, cfg.Version, cfg.Log = a.targets, a.causes, a.cfg.Version, a.cfg.Log
	a.monitoring = &cfg
	return nil
}

// openMonitor opens the store. A system serves without it if that cannot be: its requests matter more than their metrics.
func (a *App) openMonitor() {
	if a.monitoring == nil {
		return
	}
	a.monitoring.External = a.adminURL()
	m, err := monitor.Open(*a.monitoring)
	if err != nil {
		a.cfg.Log.Error("metrics are not kept, and alerts are not evaluated", "error", err)
		return
	}
	a.monitor.Store(m)
}

// KeepsMetrics reports whether metrics are kept and alerts evaluated.
func (a *App) KeepsMetrics() bool { return a.monitor.Load() != nil }

// targets are the pages to read: Banyan's own, with the gateway, caches and queues, that of the monitor itself, and those of
// the services.
func (a *App) targets() []metrics.Target {
	sys := a.system.Load()
	all := []metrics.Target{{Job: "banyan", Instance: a.metrics.Addr().String(), URL: a.adminURL() + "/metrics", Interval: sys.Monitoring.Interval.Std()}}
	all = append(all, metrics.Target{Job: "banyan-monitor", Instance: a.metrics.Addr().String(), URL: a.adminURL() + "/monitor/metrics",
		Interval: sys.Monitoring.Interval.Std(), Labels: map[string]string{"system": sys.Name}})
	add := func(service, replica, address string) {
		if t, ok := monitor.ServiceTarget(sys, service, replica, address); ok {
			all = append(all, t)
		}
	}
	for _, s := range a.orch.Status() {
		for _, r := range s.Replicas {
			if r.PID != 0 {
				add(s.Service, r.ID, r.Address)
			}
		}
	}
	for name, s := range sys.Services {
		for _, b := range s.Backends {
			add(name, b.Address, b.Address)
		}
	}
	return all
}

// processes are those of the replicas, for the kernel's figures of their control groups.
func (a *App) processes() []metrics.Process {
	var all []metrics.Process
	for _, s := range a.orch.Status() {
		for _, r := range s.Replicas {
			if r.PID != 0 {
				all = append(all, metrics.Process{Service: s.Service, Replica: r.ID, PID: r.PID})
			}
		}
	}
	return all
}

func (a *App) pressure() prometheus.Collector { return metrics.Pressure(a.processes) }

// causeKinds are the orchestrator's events that may explain an alert, by what kind of cause they are.
var causeKinds = map[string]string{
	"scaled": "scaling", "limits changed": "scaling", "replacing": "deploy", "replaced": "deploy", "replacement failed": "deploy",
	"restarting": "deploy", "exited": "exit", "not alive": "exit", "not ready": "exit", "never ready": "exit",
}

// causes are the events that may explain an alert.
func (a *App) causes() []cause.Event {
	all := a.reloads.list()
	for _, e := range a.Events() {
		kind, ok := causeKinds[e.What]
		if !ok {
			continue
		}
		what := firstWord(e.Replica, e.Service) + " " + e.What
		if e.Why != "" {
			what += ": " + e.Why
		}
		all = append(all, cause.Event{At: e.Time, Kind: kind, Service: e.Service, What: what})
	}
	for _, service := range a.ScaledServices() {
		decisions, _ := a.ScaleDecisions(service)
		for _, d := range decisions {
			if d.From != d.To && !d.DryRun {
				all = append(all, cause.Event{At: d.At, Kind: "scaling", Service: service, What: service + " was scaled: " + d.Why})
			}
		}
	}
	return all
}

func firstWord(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// reloadJournal remembers the latest reloads.
type reloadJournal struct {
	mu  sync.Mutex
	all []cause.Event
}

// maxReloads are remembered.
const maxReloads = 50

func (j *reloadJournal) note(changes []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range changes {
		j.all = append(j.all, cause.Event{At: time.Now(), Kind: "reload", What: "the file was reloaded: " + c})
	}
	j.all = j.all[max(0, len(j.all)-maxReloads):]
}

func (j *reloadJournal) list() []cause.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]cause.Event(nil), j.all...)
}

// reloadMonitor has the alerts go by another version of the file.
func (a *App) reloadMonitor(sys *topology.System) error {
	if m := a.monitor.Load(); m != nil {
		return m.Replace(slo.Objectives(sys))
	}
	return nil
}
