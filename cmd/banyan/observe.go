package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/observe/metrics"
	"github.com/banyanhq/banyan/observe/monitor"
	"github.com/banyanhq/banyan/observe/promapi"
	"github.com/banyanhq/banyan/topology"
)

// observeFlags are what the monitor that stands alone takes from its command line.
type observeFlags struct {
	listen, data                      string
	targets, rules                    []string
	remoteWrite, alertmanagers        []string
	interval, retention               time.Duration
	size                              string
	timeout, lookback                 time.Duration
	maxSamples                        int
	targetSeries, metricSeries, total int
	verbose                           bool
}

func (c *cli) observe() *cobra.Command {
	var f observeFlags
	cmd := &cobra.Command{
		Use:     "observe",
		GroupID: "run",
		Short:   "Keep metrics and evaluate alerts, alone: Prometheus's API, remote write and OTLP in",
		Long: `Keep metrics and evaluate alerts, alone. It reads the pages named with --target, takes remote writes
(POST /api/v1/write) and OTLP metrics (POST /v1/metrics), evaluates rules, and answers Prometheus's HTTP API for Grafana.

With -f it goes by the file's 'monitoring' and 'slos', and reads the services with 'metrics' that run elsewhere ('backends')
and the system's own page where 'admin' names its port. 'banyan up' has the same inside, for its own system.`,
		Example: `  banyan observe --target shop=http://127.0.0.1:9100/metrics --rules 'rules/*.yml'
  banyan observe --listen :9090 --retention 720h --size 20GiB --alertmanager http://127.0.0.1:9093
  banyan observe -f banyan.yaml`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.observeConfig(cmd, f)
			if err != nil {
				return err
			}
			return c.runMonitor(cmd.Context(), f.listen, cfg)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:9090", "`address` to answer on")
	flags.StringVar(&f.data, "data", "", "`folder` for the metrics (default banyan-data here, or the state folder with -f)")
	flags.StringArrayVar(&f.targets, "target", nil, "`[JOB=]URL` of a page with metrics to read")
	flags.StringArrayVar(&f.rules, "rules", nil, "`file` of rules in Prometheus's format; patterns are expanded")
	flags.StringArrayVar(&f.remoteWrite, "remote-write", nil, "`URL` that all samples are sent on to")
	flags.StringArrayVar(&f.alertmanagers, "alertmanager", nil, "`URL` of an Alertmanager that is sent the alerts")
	flags.DurationVar(&f.interval, "interval", 15*time.Second, "between two readings of a page, and two evaluations of a rule")
	flags.DurationVar(&f.retention, "retention", 15*24*time.Hour, "how long metrics are kept")
	flags.StringVar(&f.size, "size", "0", "what they may take on disk, such as 20GiB; 0: no bound")
	flags.DurationVar(&f.timeout, "query-timeout", 2*time.Minute, "after which a query ends with an error")
	flags.DurationVar(&f.lookback, "lookback", 5*time.Minute, "for how long a sample stands for its series")
	flags.IntVar(&f.maxSamples, "query-samples", 50_000_000, "how many samples a query may hold in memory")
	flags.IntVar(&f.targetSeries, "series-per-target", 100_000, "how many series one page, or one sender, may have")
	flags.IntVar(&f.metricSeries, "series-per-metric", 20_000, "how many series of one name it may have")
	flags.IntVar(&f.total, "series", 2_000_000, "how many series there may be in memory")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "log every event")
	return cmd
}

// observeConfig joins the file, where there is one, with the flags, which win where they were given.
func (c *cli) observeConfig(cmd *cobra.Command, f observeFlags) (monitor.Config, error) {
	size, err := topology.ParseBytes(f.size)
	if err != nil {
		return monitor.Config{}, usagef("--size %s", err)
	}
	var cfg monitor.Config
	dir := f.data
	if len(c.files) > 0 {
		sys, err := c.open()
		if err != nil {
			return cfg, err
		}
		if dir == "" {
			if dir, err = c.stateDir(); err != nil {
				return cfg, err
			}
		}
		if cfg, err = monitor.Configure(sys, dir, os.Getenv); err != nil {
			return cfg, wrongUse{err}
		}
		all := systemTargets(sys)
		cfg.Targets = func() []metrics.Target { return all }
	}
	if dir == "" {
		dir = "banyan-data"
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return cfg, fmt.Errorf("making the folder for metrics: %w", err)
	}
	given := func(name string) bool { return len(c.files) == 0 || cmd.Flags().Changed(name) }
	cfg.Store.Dir, cfg.Silences = monitor.StoreDir(dir), monitor.SilencesFile(dir)
	if given("retention") {
		cfg.Store.Retention = f.retention
	}
	if given("size") {
		cfg.Store.MaxBytes = int64(size)
	}
	if given("interval") {
		cfg.Interval = f.interval
	}
	if given("series-per-target") {
		cfg.Store.Limits.SeriesPerTarget = f.targetSeries
	}
	if given("series-per-metric") {
		cfg.Store.Limits.SeriesPerMetric = f.metricSeries
	}
	cfg.Store.Limits.Series = f.total
	cfg.RuleFiles = append(cfg.RuleFiles, f.rules...)
	for _, u := range f.remoteWrite {
		cfg.RemoteWrite = append(cfg.RemoteWrite, metrics.ForwardConfig{URL: u})
	}
	cfg.Notify.Alertmanagers = append(cfg.Notify.Alertmanagers, f.alertmanagers...)
	cfg.Engine = promapi.EngineConfig{MaxSamples: f.maxSamples, Timeout: f.timeout, Lookback: f.lookback}
	cfg.Version, cfg.Log = version(), c.logger(f.verbose)
	if len(f.targets) > 0 {
		all, err := flagTargets(f.targets, cfg.Interval)
		if err != nil {
			return cfg, err
		}
		if before := cfg.Targets; before != nil {
			all = append(before(), all...)
		}
		cfg.Targets = func() []metrics.Target { return all }
	}
	return cfg, nil
}

// flagTargets reads [JOB=]URL.
func flagTargets(texts []string, interval time.Duration) (all []metrics.Target, err error) {
	for _, text := range texts {
		job, url, named := strings.Cut(text, "=")
		if !named || strings.Contains(job, "/") {
			job, url = "target", text
		}
		if !strings.Contains(url, "://") {
			return nil, usagef("--target %s: want [JOB=]URL, such as shop=http://127.0.0.1:9100/metrics", text)
		}
		all = append(all, metrics.Target{Job: job, URL: url, Interval: interval})
	}
	return all, nil
}

// systemTargets are the pages that are known without the system's supervisor: those whose addresses the file names.
func systemTargets(sys *topology.System) (all []metrics.Target) {
	if _, port, err := net.SplitHostPort(sys.Admin); err == nil && port != "0" {
		all = append(all, metrics.Target{Job: "banyan", Instance: sys.Admin, URL: "http://" + sys.Admin + "/metrics", Interval: sys.Monitoring.Interval.Std()})
	}
	for _, name := range sys.SortedServices() {
		for _, b := range sys.Services[name].Backends {
			if t, ok := monitor.ServiceTarget(sys, name, b.Address, b.Address); ok {
				all = append(all, t)
			}
		}
	}
	return all
}

// runMonitor serves a monitor alone until ctx ends.
func (c *cli) runMonitor(ctx context.Context, listen string, cfg monitor.Config) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("opening the address to answer on: %w", err)
	}
	cfg.External = "http://" + l.Addr().String()
	m, err := monitor.Open(cfg)
	if err != nil {
		l.Close()
		return err
	}
	srv := monitorServer(m.Handler())
	if c.json {
		_ = writeJSON(c.out, map[string]string{"address": cfg.External, "data": cfg.Store.Dir}) // a closed standard output ends nothing
	} else {
		fmt.Fprintf(c.out, "Prometheus's API on %s; metrics are kept in %s\n", cfg.External, cfg.Store.Dir)
	}
	return serveMonitor(ctx, srv, l, m)
}

// monitorServer answers for a monitor. A client that sends its request slowly is given up: anyone who reaches the address could hold what a
// request takes for good.
func monitorServer(h http.Handler) *http.Server {
	return &http.Server{Handler: monitor.Timely(h), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
}

// serveMonitor runs the server and the monitor until ctx ends or one of them fails. The server ends first, so that no query
// finds its store closed.
func serveMonitor(ctx context.Context, srv *http.Server, l net.Listener, m *monitor.Monitor) error {
	serving, endServing := context.WithCancel(ctx)
	defer endServing()
	running, endRunning := context.WithCancel(context.WithoutCancel(ctx))
	defer endRunning()
	var all errgroup.Group
	all.Go(func() error {
		defer endServing()
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	all.Go(func() error {
		defer endServing()
		return m.Run(running)
	})
	<-serving.Done()
	stop, done := context.WithTimeout(running, 10*time.Second)
	defer done()
	err := srv.Shutdown(stop)
	if err != nil {
		err = srv.Close() // what has not ended by now is cut off
	}
	endRunning()
	return errors.Join(err, all.Wait())
}
