package orchestrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Balancer is what distributes requests over the replicas of a service. Add, SetReady and Remove are called from the
// service's controller and must not block; Drain blocks.
type Balancer interface {
	// Add makes a replica known, not ready yet. SetReady follows.
	Add(service, id, address string)
	// SetReady says whether the replica may be given requests.
	SetReady(service, id string, ready bool)
	// Drain gives the replica no further requests and waits until those that it has are finished. It returns ctx's
	// error if that ends first. The replica stays known.
	Drain(ctx context.Context, service, id string) error
	// Remove forgets the replica. It may come at any time after Add, also during Drain.
	Remove(service, id string)
}

// Config of an Orchestrator.
type Config struct {
	// System whose services are run, with all defaults filled in. Required.
	System *topology.System
	// Root is the folder that the paths in System are relative to: that of the topology file. Left out: the working
	// folder.
	Root string
	// Dir is the state directory; it is created. Below it: bin (programs), logs, data/SERVICE, run. Left out: .banyan
	// in Root.
	Dir string
	// Env returns variables for a replica's environment, each NAME=value, on top of those that the package sets. The
	// service's own env wins over them. It is called at each start, from several goroutines at once. Left out: none.
	Env func(service, replica string) []string
	// Output returns what gets a replica's output, besides its log file. It is called at each start. Left out: nothing does.
	Output func(service, replica string) Output
	// Balancer that is told of the replicas. Required.
	Balancer Balancer
	// NoCgroups makes limits advisory even where control groups could keep them.
	NoCgroups bool
	// Log of what happens. Left out: discarded.
	Log *slog.Logger
	// Events is how many of the latest events are kept for Events. Left out: 1000.
	Events int
}

func (c Config) validate() (Config, error) {
	if c.System == nil {
		return c, errors.New("orchestrate: no system is given")
	}
	if c.Balancer == nil {
		return c, errors.New("orchestrate: no balancer is given")
	}
	for name, svc := range c.System.Services {
		if svc == nil {
			return c, fmt.Errorf("orchestrate: services.%s is empty", name)
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Output == nil {
		c.Output = func(string, string) Output { return nil }
	}
	if c.Events <= 0 {
		c.Events = 1000
	}
	root, err := filepath.Abs(c.Root)
	if err != nil {
		return c, fmt.Errorf("orchestrate: find the folder of the topology file: %w", err)
	}
	c.Root = root
	c.Dir = absolute(root, cmp.Or(c.Dir, ".banyan"))
	return c, nil
}

// Change is what Scale changes; what is nil stays.
type Change struct {
	// Replicas wanted, from 0 to 10000. The service's min and max bind the autoscaler, not whoever asks here.
	Replicas *int
	// CPU and Memory limits of each replica; 0 takes the limit away.
	CPU    *topology.CPU
	Memory *topology.Bytes
}

// Orchestrator runs the services of one system. Its methods may be called from any goroutine, before, during and
// after Run.
type Orchestrator struct {
	cfg     Config
	journal *journal
	board   *board

	mu          sync.Mutex
	ran         bool
	controllers map[string]*controller // nil unless running
}

// New checks the configuration. Nothing is started or written yet.
func New(cfg Config) (*Orchestrator, error) {
	cfg, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	return &Orchestrator{cfg: cfg, journal: newJournal(cfg.Events, cfg.Log), board: newBoard()}, nil
}

// Run starts the services and keeps them as they should be until ctx ends; then it drains and stops them, callers
// before callees, each within its drain deadline. It returns nil when ctx ended, a *LockedError if another supervisor
// runs the state directory, else what kept it from starting. It can be called once.
func (o *Orchestrator) Run(ctx context.Context) error {
	o.mu.Lock()
	again := o.ran
	o.ran = true
	o.mu.Unlock()
	if again {
		return errors.New("orchestrate: Run was called before")
	}
	err := o.run(ctx)
	o.mu.Lock()
	o.controllers = nil
	o.mu.Unlock()
	o.board.end(err)
	return err
}

func (o *Orchestrator) run(ctx context.Context) error {
	for _, folder := range []string{"bin", "logs", "data", "run"} {
		if err := os.MkdirAll(filepath.Join(o.cfg.Dir, folder), 0o755); err != nil {
			return fmt.Errorf("create the state directory: %w", err)
		}
	}
	// One directory, one name: the lock, the markers and the control groups must not depend on the way to it.
	dir, err := filepath.EvalSymlinks(o.cfg.Dir)
	if err != nil {
		return fmt.Errorf("find the state directory: %w", err)
	}
	locked, err := lock(dir)
	if err != nil {
		return err
	}
	defer locked.Close()

	hash := dirHash(dir)
	killed, crashed := clearLeftovers(dir, hash)
	if killed > 0 {
		o.journal.add(slog.LevelWarn, "", "", "cleared away", fmt.Sprintf("%d processes of a run that died", killed))
	}
	desired, err := openDesired(dir)
	if err != nil {
		o.journal.add(slog.LevelError, "", "", "desired state lost", err.Error())
	}
	if !crashed {
		desired.Overrides = make(map[string]override) // nothing to come back from
	}
	run := newRunID()
	d := &driver{
		root: o.cfg.Root, dir: dir, run: run + ":" + hash, env: o.cfg.Env, output: o.cfg.Output, balancer: o.cfg.Balancer,
		journal: o.journal, spawn: newSpawner(), ports: newPortPool(),
		cgroups: &cgroupRoot{reason: "control groups are switched off"},
	}
	if !o.cfg.NoCgroups {
		d.cgroups = openCgroups(hash, run)
		clearCgroups(d.cgroups.abandoned(hash))
	}
	if why := d.cgroups.advisory(); why != "" {
		o.journal.add(slog.LevelWarn, "", "", "limits are advisory", why)
	}
	order := watchOrder{Run: d.run, Cgroups: d.cgroups.paths}
	if err := writeJSON(filepath.Join(dir, "run", supervisorFile), order); err != nil {
		return fmt.Errorf("write the state directory: %w", err)
	}

	var threads sync.WaitGroup
	threads.Go(d.spawn.run)
	defer threads.Wait()
	defer d.spawn.close()

	watched, release := context.WithCancel(context.Background())
	var guard sync.WaitGroup
	defer guard.Wait()
	defer release()
	started := make(chan error, 1)
	guard.Go(func() { (&watchdog{d.spawn, order, o.journal}).run(watched, started) })
	if err := <-started; err != nil {
		return err
	}

	o.supervise(ctx, d, desired)

	removeCgroups(d.cgroups.paths)
	_ = os.RemoveAll(filepath.Join(dir, "run", exeFolder))
	desired.forget()
	_ = os.Remove(filepath.Join(dir, "run", supervisorFile))
	return nil
}

// supervise runs a controller for each service until ctx has ended and all have stopped.
func (o *Orchestrator) supervise(ctx context.Context, d *driver, desired *desiredState) {
	services := o.cfg.System.Services
	order := calleesFirst(services)
	controllers := make(map[string]*controller, len(order))
	for _, name := range order {
		controllers[name] = newController(d, name, services[name], desired, o.board)
	}
	o.mu.Lock()
	o.controllers = controllers
	o.mu.Unlock()

	var all sync.WaitGroup
	// All start at once, callees a little ahead: the gateway holds calls to what is not ready yet, so waiting for one
	// service before starting the next would only add up their start-up times.
	for rank, name := range order {
		c := controllers[name]
		all.Go(c.run)
		var callers []*controller
		for _, other := range order[rank+1:] { // a cycle is cut where the order cuts it
			if slices.Contains(services[other].Uses, name) {
				callers = append(callers, controllers[other])
			}
		}
		all.Go(func() {
			<-ctx.Done()
			for _, caller := range callers {
				<-caller.done
			}
			close(c.quit)
		})
	}
	all.Wait()
}

// calleesFirst orders the services so that each comes after those it uses, cycles aside.
func calleesFirst(services map[string]*topology.Service) []string {
	var order []string
	seen := make(map[string]bool)
	var visit func(name string)
	visit = func(name string) {
		svc := services[name]
		if svc == nil || seen[name] {
			return
		}
		seen[name] = true
		for _, used := range svc.Uses {
			visit(used)
		}
		order = append(order, name)
	}
	for _, name := range sortedKeys(services) {
		visit(name)
	}
	return order
}

var errNotRunning = errors.New("the system does not run")

func (o *Orchestrator) controller(service string) (*controller, error) {
	if o.cfg.System.Services[service] == nil {
		return nil, fmt.Errorf("there is no service %q", service)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.controllers[service]
	if c == nil {
		return nil, errNotRunning
	}
	return c, nil
}

// ask sends an order and waits for its answer.
func (o *Orchestrator) ask(ctx context.Context, service string, order func(reply chan error) event) error {
	c, err := o.controller(service)
	if err != nil {
		return err
	}
	reply := make(chan error, 1)
	if !c.send(order(reply)) {
		return errNotRunning
	}
	select {
	case err := <-reply:
		return err
	case <-c.done:
		select {
		case err := <-reply:
			return err
		default:
			return errNotRunning
		}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Scale changes how many replicas a service should have and the limits of each. It returns when the change is
// accepted and running replicas have the new limits, which needs no restart; WaitSettled waits for the replicas. If
// the kernel refuses a limit, for example because more memory is in use, nothing is changed.
func (o *Orchestrator) Scale(ctx context.Context, service string, change Change) error {
	err := o.ask(ctx, service, func(reply chan error) event { return scaleOrder{change, reply} })
	if errors.Is(err, errNotRunning) {
		return fmt.Errorf("scale %s: %w", service, err)
	}
	return err
}

// Restart replaces all replicas of a service by new ones, running what Build has built by now, within the bounds of
// the service's 'deploy'. It returns when all are replaced and ready. If a new replica does not become ready, the
// replacement is undone, and the error says why. When ctx ends first, the replacement goes on.
func (o *Orchestrator) Restart(ctx context.Context, service string) error {
	err := o.ask(ctx, service, func(reply chan error) event { return replaceOrder{reply} })
	if errors.Is(err, errNotRunning) {
		return fmt.Errorf("restart %s: %w", service, err)
	}
	return err
}

// Status returns how each service is, in order of name.
func (o *Orchestrator) Status() []ServiceStatus {
	v := o.board.view()
	list := make([]ServiceStatus, 0, len(v.services))
	for _, name := range sortedKeys(v.services) {
		list = append(list, v.services[name].status)
	}
	return list
}

// Usage measures each replica, in order of service and replica.
func (o *Orchestrator) Usage() []ReplicaUsage {
	table := sync.OnceValue(readProcessTable)
	var list []ReplicaUsage
	o.eachMeter(func(m *meter) { list = append(list, m.read(table)) })
	return list
}

// CPU returns the CPU time that all replicas have used so far. It costs less than Usage, for those who look often.
func (o *Orchestrator) CPU() (sum time.Duration) {
	table := sync.OnceValue(readProcessTable)
	o.eachMeter(func(m *meter) { sum += m.cpu(table) })
	return sum
}

// eachMeter calls f for each replica's, in order of service and replica.
func (o *Orchestrator) eachMeter(f func(*meter)) {
	v := o.board.view()
	for _, name := range sortedKeys(v.services) {
		for _, m := range v.services[name].meters {
			f(m)
		}
	}
}

// Events returns the latest events, oldest first.
func (o *Orchestrator) Events() []Event { return o.journal.list() }

// Logs returns the logs of the replicas.
func (o *Orchestrator) Logs() Logs { return OpenLogs(o.cfg.Dir) }

// WaitReady returns nil once every service has had its least number of replicas ready at the same time as all others.
// It returns an error as soon as a replica is known to be unable to start, naming it, with the reason and its last
// lines; the orchestrator goes on trying.
func (o *Orchestrator) WaitReady(ctx context.Context) error {
	return o.wait(ctx, func(v view) (bool, error) {
		ready := true
		for _, name := range sortedKeys(o.cfg.System.Services) {
			p, ok := v.services[name]
			if ok && p.status.Ready >= min(o.cfg.System.Services[name].Replicas.Min, p.status.Desired) {
				continue
			}
			if p.failure != "" {
				return false, fmt.Errorf("services.%s does not start: %s", name, p.failure)
			}
			ready = false
		}
		return ready, nil
	})
}

// WaitSettled returns nil when the service is as it should be: as many replicas ready as wanted, of the wanted
// revision, and none being started or stopped.
func (o *Orchestrator) WaitSettled(ctx context.Context, service string) error {
	if o.cfg.System.Services[service] == nil {
		return fmt.Errorf("there is no service %q", service)
	}
	return o.wait(ctx, func(v view) (bool, error) { return v.services[service].status.Settled, nil })
}

// wait looks at the board after each change until done says so.
func (o *Orchestrator) wait(ctx context.Context, done func(view) (bool, error)) error {
	for {
		v := o.board.view()
		if ok, err := done(v); ok || err != nil {
			return err
		}
		if v.ended {
			return cmp.Or(v.err, errNotRunning)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-v.changed:
		}
	}
}
