package monitor

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/banyanhq/banyan/observe/metrics"
	"github.com/banyanhq/banyan/observe/notify"
	"github.com/banyanhq/banyan/observe/slo"
	"github.com/banyanhq/banyan/topology"
)

// Configure takes over what a topology says of its monitoring. dir is the state directory; getenv gives the secrets that
// the file names.
func Configure(sys *topology.System, dir string, getenv func(string) string) (Config, error) {
	t := &sys.Monitoring
	cfg := Config{
		Store: metrics.Config{Dir: StoreDir(dir), Retention: t.Retention.Std(), MaxBytes: int64(t.Size),
			Limits: metrics.Limits{SeriesPerTarget: t.SeriesPerTarget, SeriesPerMetric: t.SeriesPerMetric}},
		Interval: t.Interval.Std(), Objectives: slo.Objectives(sys), MinEvents: t.Alerts.MinEvents,
		Silences: SilencesFile(dir), Labels: map[string]string{"system": sys.Name},
		Calls: func() map[string][]string { return calls(sys) },
	}
	for _, pattern := range t.Rules {
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(sys.Dir, pattern)
		}
		cfg.RuleFiles = append(cfg.RuleFiles, pattern)
	}
	for _, r := range t.RemoteWrite {
		f := metrics.ForwardConfig{URL: r.URL}
		if r.BearerEnv != "" {
			token, err := secret(getenv, r.BearerEnv)
			if err != nil {
				return cfg, fmt.Errorf("monitoring.remote_write %s: %w", r.URL, err)
			}
			f.Headers = map[string]string{"Authorization": "Bearer " + token}
		}
		cfg.RemoteWrite = append(cfg.RemoteWrite, f)
	}
	var err error
	cfg.Notify, err = alerting(&t.Alerts, getenv)
	return cfg, err
}

func secret(getenv func(string) string, name string) (string, error) {
	if v := getenv(name); v != "" {
		return v, nil
	}
	return "", fmt.Errorf("the environment has no variable %s", name)
}

// calls are the services that each uses.
func calls(sys *topology.System) map[string][]string {
	out := map[string][]string{}
	for name, s := range sys.Services {
		for _, use := range s.Uses {
			if kind, service := topology.ServiceOf(use); kind == "" {
				out[name] = append(out[name], service)
			}
		}
	}
	return out
}

// heartbeat is the receiver that the watchdog's route leads to.
const heartbeat = "heartbeat"

func alerting(a *topology.Alerting, getenv func(string) string) (notify.Config, error) {
	cfg := notify.Config{Alertmanagers: a.Alertmanagers}
	if s := a.SMTP; s != nil {
		cfg.SMTP = &notify.SMTP{Address: s.Address, From: s.From, Username: s.Username}
		if s.PasswordEnv != "" {
			password, err := secret(getenv, s.PasswordEnv)
			if err != nil {
				return cfg, fmt.Errorf("monitoring.alerts.smtp: %w", err)
			}
			cfg.SMTP.Password = password
		}
	}
	const watchdog = `{alertname="` + slo.WatchdogAlert + `"}`
	if a.Heartbeat != "" {
		cfg.Receivers = append(cfg.Receivers, notify.Receiver{Name: heartbeat + " of the watchdog", Heartbeat: a.Heartbeat})
		cfg.Routes = append(cfg.Routes, notify.Route{Receiver: heartbeat + " of the watchdog", Match: watchdog,
			Wait: time.Second, Interval: 10 * time.Second, Repeat: time.Minute, Continue: true})
	}
	names := slices.Sorted(maps.Keys(a.Receivers))
	for _, name := range names {
		r := a.Receivers[name]
		cfg.Receivers = append(cfg.Receivers, notify.Receiver{Name: name, Webhook: r.Webhook, Mail: r.Mail})
	}
	for _, r := range a.Routes {
		cfg.Routes = append(cfg.Routes, notify.Route{Receiver: r.To, Match: r.Match, GroupBy: r.GroupBy, Wait: r.Wait.Std(),
			Interval: r.Interval.Std(), Repeat: r.Repeat.Std(), Continue: r.Continue})
	}
	if len(a.Routes) == 0 && len(names) > 0 {
		cfg.Routes = append(cfg.Routes, notify.Route{Receiver: names[0], Match: `{alertname!="` + slo.WatchdogAlert + `"}`})
	}
	return cfg, nil
}

// ServiceTarget is the page of one replica of a service; ok is false if the service shows no metrics.
func ServiceTarget(sys *topology.System, service, replica, address string) (t metrics.Target, ok bool) {
	s := sys.Services[service]
	if s == nil || s.Metrics == "" || address == "" {
		return t, false
	}
	scheme := "http"
	if s.TLS != nil {
		scheme = "https"
	}
	return metrics.Target{Job: service, Instance: address, URL: scheme + "://" + address + s.Metrics, Interval: sys.Monitoring.Interval.Std(),
		Labels: map[string]string{"system": sys.Name, "service": service, "replica": replica}}, true
}
