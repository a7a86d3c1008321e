package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/bus"
	"github.com/banyanhq/banyan/cache"
	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/observe/monitor"
	"github.com/banyanhq/banyan/orchestrate"
	"github.com/banyanhq/banyan/store"
	"github.com/banyanhq/banyan/topology"
)

// Config of an App.
type Config struct {
	// System to run; loaded by package topology.
	System *topology.System
	// Files that it was read from, for 'status'.
	Files []string
	// Dir is the state directory.
	Dir string
	// Version of the program.
	Version string
	// Log of what operators should know. Default: none.
	Log *slog.Logger
	// Progress is told what start-up is doing, a line at a time. Default: nobody.
	Progress func(line string)
	// Serving is called once, when every service is ready. Default: nobody.
	Serving func(control.Info)
	// GatewayOnly runs no service, so that all must have backends elsewhere: the gateway stands alone.
	GatewayOnly bool
	// Load reads the system anew, for Reload. Default: it cannot be reloaded.
	Load func() (*topology.System, error)
	// TakeOver has the outside listener handed over by the gateway that runs in the state directory, which then finishes
	// what it has and ends. Only with GatewayOnly.
	TakeOver bool
	// Lapse is how many times faster than the clock time passes for the autoscaler (autoscale.Config). Default: 1.
	Lapse float64
	// Page, if set, makes what is served on the admin address beside the metrics. Default: nothing.
	Page func(*App) (Page, error)
	// Linger is how long streams and TCP connections may go on once another gateway has taken over. Default 10 minutes.
	Linger time.Duration
}

// Page is what people see of a running system in a browser.
type Page interface {
	// Handler of the admin address, which must ask who asks.
	http.Handler
	// API answers operations on the control socket, which only its owner can reach.
	API() http.Handler
	// Run owns what the page does in the background, until ctx ends. It returns when all of that has ended.
	Run(ctx context.Context) error
}

// App is a system that runs on this machine. New prepares it, Run runs it.
type App struct {
	cfg          Config
	system       atomic.Pointer[topology.System] // what runs; Reload replaces it
	reload       sync.Mutex                      // held by Reload
	gateway      *gateway.Gateway
	caches       map[string]cache.Nodes    // the embedded ones
	bus          atomic.Pointer[bus.Nodes] // nil: there is none, or not yet
	tables       atomic.Pointer[store.Store]
	tableHistory tableHistory
	orch         *orchestrate.Orchestrator
	canaries     canaryJournal
	observer     *observe.Observer
	pulses       *observe.Pulses
	scaler       *autoscale.Controller // nil where no service is scaled
	page         Page                  // nil: none
	metrics      net.Listener
	// monitoring is the configuration of monitor, nil where nothing is kept; monitor is nil then too, or if it could not be
	// opened.
	monitoring *monitor.Config
	monitor    atomic.Pointer[monitor.Monitor]
	reloads    reloadJournal
	telemetry  atomic.Pointer[telemetry] // nil: there is none, or not yet
	since      time.Time
	loaded     atomic.Pointer[time.Time] // when the system was read
	state      atomic.Value              // string
	parted     atomic.Bool               // another gateway has taken over
	running    context.Context
	stop       context.CancelFunc
}

// New checks that the system can be run and prepares its parts. It binds nothing and starts nothing.
func New(cfg Config) (*App, error) {
	if err := Unsupported(cfg.System); err != nil {
		return nil, err
	}
	if cfg.GatewayOnly {
		if err := allElsewhere(cfg.System); err != nil {
			return nil, err
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string) {}
	}
	if cfg.Serving == nil {
		cfg.Serving = func(control.Info) {}
	}
	a := &App{cfg: cfg, since: time.Now()}
	a.system.Store(cfg.System)
	a.loaded.Store(&a.since)
	a.state.Store(control.Starting)
	var err error
	if a.gateway, err = gateway.New(gateway.Config{System: cfg.System, Log: cfg.Log, StateDir: cfg.Dir, OnCanary: a.canaries.note}); err != nil {
		return nil, err
	}
	if cfg.GatewayOnly {
		warnOfCaches(cfg.System, cfg.Log)
		warnOfTables(cfg.System, cfg.Log)
	} else {
		if a.caches, err = newCacheServers(cfg.System, cfg.Dir, cfg.Log); err != nil {
			return nil, err
		}
	}
	a.orch, err = orchestrate.New(orchestrate.Config{
		System: ownServices(cfg.System), Root: cfg.System.Dir, Dir: cfg.Dir, Log: cfg.Log, Balancer: balancer{a.gateway, cfg.System.Zone},
		Env: func(service, replica string) []string {
			env := append(environ(a.system.Load(), service, a.gateway.EdgeURL, a.cacheURL, a.cacheAddresses), a.busEnviron(service)...)
			return append(append(env, a.tablesEnviron(service)...), a.telemetryEnviron(service, replica)...)
		},
		Output: a.output,
	})
	if err != nil {
		return nil, err
	}
	a.addElsewhere(cfg.System)
	a.observer, err = observe.New(observe.Config{
		System: cfg.System.Name, Version: cfg.Version, Sample: a.sample, Log: cfg.Log,
		Collectors: []prometheus.Collector{a.gateway.Collector(), cache.Collector(a.caches), bus.Collector(a.bus.Load), store.Collector(a.tables.Load), a.pressure(), telemetryCollector{a}},
		Record:     observe.RecordConfig{Dir: filepath.Join(cfg.Dir, "samples")},
	})
	if err != nil {
		return nil, err
	}
	if err := a.configureMonitor(); err != nil {
		return nil, err
	}
	a.pulses = observe.NewPulses(a.pulse)
	if a.scaler, err = newAutoscaler(a); err != nil {
		return nil, err
	}
	if cfg.Page != nil {
		a.page, err = cfg.Page(a)
	}
	return a, err
}

// Run builds the services, starts everything and serves until ctx ends or Stop is called; then it drains and stops all
// of it. It returns nil after a stop that was asked for.
func (a *App) Run(ctx context.Context) error {
	ctx, a.stop = context.WithCancel(ctx)
	a.running = ctx
	defer a.stop()
	if err := os.MkdirAll(a.cfg.Dir, 0o755); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	if i, err := control.Dial(a.cfg.Dir).Info(ctx); err == nil && !a.cfg.TakeOver {
		return fmt.Errorf("%s is already up (pid %d) on http://%s", i.System, i.PID, i.Address)
	}
	if err := a.orch.Build(ctx, a.built); err != nil {
		return stopped(ctx, err)
	}
	socket, err := a.listen(ctx)
	if err != nil {
		return err
	}
	a.openMonitor()
	return a.serve(ctx, socket)
}

// built tells of the progress of a build that takes a while.
func (a *App) built(step orchestrate.BuildStep) {
	switch {
	case !step.Done:
		a.cfg.Progress("building " + strings.Join(step.Services, ", "))
	case step.Err == nil:
		a.cfg.Progress(fmt.Sprintf("built in %s", step.Took.Round(10*time.Millisecond)))
	}
}

// listen binds every address, so that a port that is taken is known before anything runs.
func (a *App) listen(ctx context.Context) (socket net.Listener, err error) {
	var before *control.HandOver
	if a.cfg.TakeOver {
		if before, err = a.takeOver(ctx); err != nil {
			return nil, err
		}
	}
	if before != nil {
		defer before.Close() // unless it was confirmed, the other one goes on
	}
	if err := a.gateway.Listen(); err != nil {
		return nil, inUse(err, "listen")
	}
	if a.metrics == nil {
		if a.metrics, err = net.Listen("tcp", a.cfg.System.Admin); err != nil {
			return nil, inUse(fmt.Errorf("opening the metrics' address: %w", err), "admin")
		}
	}
	for _, name := range a.cacheNames() {
		if err := a.caches[name].Listen(); err != nil {
			return nil, fmt.Errorf("caches.%s: %w", name, err)
		}
	}
	if err := a.openBus(); err != nil {
		return nil, err
	}
	if err := a.openTables(); err != nil {
		a.closeBlocks()
		return nil, err
	}
	if err := a.openTelemetry(); err != nil {
		a.closeBlocks()
		return nil, err
	}
	if before != nil {
		if err := before.Confirm(); err != nil {
			return nil, fmt.Errorf("taking over: %w", err)
		}
	}
	if socket, err = control.Listen(a.cfg.Dir); err != nil {
		a.closeBlocks()
	}
	return socket, err
}

// closeBlocks gives back what was opened of blocks that are not to run.
func (a *App) closeBlocks() {
	if b := a.bus.Load(); b != nil {
		b.Close()
	}
	if s := a.tables.Load(); s != nil {
		s.Close()
	}
	if t := a.telemetry.Load(); t != nil {
		t.close()
	}
}

// inUse adds, where an address is taken by another program, the field of the file that names another.
func inUse(err error, field string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; end the program that has it, or name another in '%s'", err, field)
	}
	return err
}

// serve runs the parts. The data plane outlives the replicas, which need it to drain; the control socket and the
// metrics outlive both.
func (a *App) serve(ctx context.Context, socket net.Listener) error {
	rim, endRim := context.WithCancel(context.WithoutCancel(ctx))
	defer endRim()
	var outer errgroup.Group
	outer.Go(func() error { return a.guard("control", control.Serve(rim, socket, a, a.pageAPI())) })
	outer.Go(func() error { return a.guard("metrics", a.serveMetrics(rim)) })
	outer.Go(func() error { return a.guard("observe", a.observer.Run(rim)) })
	if m := a.monitor.Load(); m != nil {
		outer.Go(func() error { return a.guard("monitor", m.Run(rim)) })
	}
	if a.page != nil {
		outer.Go(func() error { return a.guard("page", a.page.Run(rim)) })
	}
	outer.Go(func() error { return a.guard("pulses", a.pulses.Run(rim)) })
	outer.Go(func() error { return a.guard("gateway", a.gateway.Run(rim)) })
	for name, server := range a.caches {
		outer.Go(func() error { return a.guard("caches."+name, server.Run(rim)) })
	}

	if b := a.bus.Load(); b != nil {
		outer.Go(func() error { return a.guard("bus", b.Run(rim)) })
	}
	if s := a.tables.Load(); s != nil {
		outer.Go(func() error { return a.guard("tables", s.Run(rim)) })
	}
	if t := a.telemetry.Load(); t != nil {
		outer.Go(func() error { return a.guard("logs and traces", t.run(rim, a.gateway)) })
	}

	var inner errgroup.Group
	inner.Go(func() error {
		if err := a.guard("bus", stopped(ctx, a.awaitBus(ctx))); err != nil || ctx.Err() != nil {
			return err
		}
		if err := a.guard("caches", stopped(ctx, a.awaitCaches(ctx))); err != nil || ctx.Err() != nil {
			return err
		}
		return a.guard("orchestrate", a.runServices(ctx))
	})
	inner.Go(func() error { return a.announce(ctx) })
	inner.Go(func() error { return a.guard("autoscale", a.runAutoscaler(ctx)) })
	err := inner.Wait()
	endRim()
	return stopped(ctx, errors.Join(err, outer.Wait()))
}

// guard ends the whole system when one part has failed.
func (a *App) guard(part string, err error) error {
	if err != nil {
		a.stop()
		return fmt.Errorf("%s: %w", part, err)
	}
	return nil
}

// announce waits until every service is ready and says so.
func (a *App) announce(ctx context.Context) error {
	if err := a.waitReady(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		a.stop()
		return err
	}
	a.observer.Observe(a.sample()) // so that whoever is told that it serves finds the services in 'status' at once
	a.state.CompareAndSwap(control.Starting, control.Serving)
	a.cfg.Serving(a.Info())
	<-ctx.Done()
	a.state.Store(control.Stopping)
	return nil
}

// stopped turns the error of a part that was told to stop into none.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// endpoints are the addresses from outside besides the plain one.
func (a *App) endpoints() (all []string) {
	if addr := a.gateway.TLSAddr(); addr != nil {
		line := "TLS on https://" + addr.String()
		if root := a.gateway.TLSRoot(); root != "" {
			line += " (clients must trust " + root + ")"
		}
		all = append(all, line)
	}
	if addr := a.gateway.PeerAddr(); addr != nil {
		all = append(all, "other gateways on "+addr.String())
	}
	for _, t := range a.cfg.System.TCP {
		all = append(all, "tcp "+t.Name+" on "+a.gateway.TCPAddr(t.Name).String())
	}
	for _, name := range a.cacheNames() {
		all = append(all, "cache "+name+" on "+a.cacheURL(name)+clusterText(a.cfg.System.Caches[name])+keptText(a.caches[name].Persists()))
	}
	return slices.Concat(all, a.busEndpoints(), a.tableEndpoints(), a.telemetryEndpoints())
}

// Info says what runs, and where.
func (a *App) Info() control.Info {
	return control.Info{
		Bus: a.busURL(), Monitor: a.monitorURL(),
		System: a.system.Load().Name, State: a.State(), PID: os.Getpid(), Since: a.since, Loaded: *a.loaded.Load(),
		Address: a.gateway.Addr().String(), Metrics: "http://" + a.metrics.Addr().String() + "/metrics",
		Endpoints: a.endpoints(), Files: a.cfg.Files, Cores: runtime.NumCPU(), Page: a.pageURL(),
	}
}

// Status is the system's state, with rates and latencies over the last window.
func (a *App) Status(window time.Duration) (observe.Status, error) { return a.observer.Status(window) }

// Present is Status without trends.
func (a *App) Present(window time.Duration) (observe.Status, error) {
	return a.observer.Present(window)
}

// Replicas is what the orchestrator knows of each service.
func (a *App) Replicas() []orchestrate.ServiceStatus { return a.orch.Status() }

// Window is everything that was observed between two instants.
func (a *App) Window(from, to time.Time) (*observe.Window, error) { return a.observer.Window(from, to) }

// Pulses are the readings of requests and CPU between two instants.
func (a *App) Pulses(from, to time.Time) []observe.Pulse { return a.pulses.Between(from, to) }

// Scale changes a service's replicas or limits and returns when that has been carried out.
func (a *App) Scale(ctx context.Context, service string, change orchestrate.Change) error {
	if err := a.orch.Scale(ctx, service, change); err != nil {
		return err
	}
	return a.orch.WaitSettled(ctx, service)
}

// Restart replaces all replicas of a service, one after the other.
func (a *App) Restart(ctx context.Context, service string) error { return a.orch.Restart(ctx, service) }

// System is the topology that it goes by. It must not be changed.
func (a *App) System() *topology.System { return a.system.Load() }

// State is starting, serving or stopping.
func (a *App) State() string { return a.state.Load().(string) }

// Dir is the state directory.
func (a *App) Dir() string { return a.cfg.Dir }

// Topology is the system that it goes by, as YAML with everything said.
func (a *App) Topology() ([]byte, error) { return a.system.Load().YAML() }

// Why says what was decided for a request, by its id or its trace's; ok is false if that is not remembered.
func (a *App) Why(id string) (d gateway.Decision, ok bool) { return a.gateway.Why(id) }

// Stop ends the system; Run returns when everything is gone.
func (a *App) Stop() {
	a.state.Store(control.Stopping)
	a.stop()
}
