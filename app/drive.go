package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/orchestrate"
	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/simulate"
	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

// idleSpan is how long the system is watched before a load, to learn what it uses without one.
const idleSpan = 3 * time.Second

// idlePatience is how long is waited for such a span. What a load leaves behind, messages above all, goes on for some seconds.
const idlePatience = 12 * time.Second

// Measure loads the running system of a state directory with the workload of sys, and joins what the clients saw with
// what was observed of the system meanwhile. Target, Workload and Dir of cfg are filled in here.
func Measure(ctx context.Context, stateDir string, sys *topology.System, cfg load.Config) (*Run, error) {
	client := control.Dial(stateDir)
	info, err := client.Info(ctx)
	if err != nil {
		return nil, err
	}
	if info.System != sys.Name {
		return nil, fmt.Errorf("the system that runs here is %s, not %s", info.System, sys.Name)
	}
	replicas, err := client.Replicas(ctx)
	if err != nil {
		return nil, err
	}
	idle, err := watchIdle(ctx, started(info, replicas), client.Window)
	if err != nil {
		return nil, err
	}
	before, err := client.Caches(ctx)
	if err != nil {
		return nil, err
	}
	storedBefore, err := client.CacheServers(ctx)
	if err != nil {
		return nil, err
	}
	tablesBefore, err := client.TableUsage(ctx)
	if err != nil {
		return nil, err
	}
	cfg.Target, cfg.Workload, cfg.Dir = "http://"+info.Address, sys.Workload, sys.Dir
	result, err := load.Run(ctx, cfg)
	if err != nil {
		return nil, err
	}
	run := &Run{Name: RunName(result), Result: result}
	// The test may have been ended by ctx: its record is worth as much.
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	from := result.Start.Add(result.Warmup)
	to := from.Add(result.Duration)
	during, err := settledWindow(late, client, from, to)
	if err != nil {
		result.Warnings = append(result.Warnings, fmt.Sprintf("Nothing was observed of the system meanwhile (%v): the run can be neither compared nor calibrated from.", err))
		return run, nil
	}
	actual, err := actualSystem(late, client, sys)
	if err != nil {
		return nil, err
	}
	offered, err := offeredLoad(sys, result)
	if err != nil {
		return nil, err
	}
	pulses, err := client.Pulses(late, from, to)
	if err != nil {
		return nil, err
	}
	run.Measurement = Measurement(actual, clientSide(run, cfg.Router, offered), during, idle)
	after, err := client.Caches(late)
	if err != nil {
		return nil, err
	}
	run.Measurement.HitRatios = hitRatios(before, after)
	stored, err := client.CacheServers(late)
	if err != nil {
		return nil, err
	}
	run.Measurement.CacheHits, run.Measurement.CacheCommands = cacheCounts(storedBefore, stored, measuredShare(result.Warmup, result.Duration))
	tables, err := client.TableUsage(late)
	if err != nil {
		return nil, err
	}
	run.Measurement.Tables = tableMeasurements(sys, tablesBefore, tables, result.Warmup, result.Duration)
	run.Measurement.Pulses = pulseSteps(pulses, sys.Routes)
	return run, nil
}

// measuredShare is the share of what was counted since before the warm-up that belongs to the measurement: the warm-up's rate is taken to go on.
func measuredShare(warmup, length time.Duration) float64 {
	if length <= 0 {
		return 0
	}
	return length.Seconds() / (warmup + length).Seconds()
}

// pulseSteps turns readings into differences; routes are named in the order of the file.
func pulseSteps(pulses []observe.Pulse, routes []*topology.Route) []plan.Pulse {
	var steps []plan.Pulse
	for i := 1; i < len(pulses); i++ {
		a, b := pulses[i-1], pulses[i]
		if b.CPU < a.CPU || len(a.Requests) != len(routes) || len(b.Requests) != len(routes) {
			continue // a replica went away with its counters, or the file is not the one that runs
		}
		step := plan.Pulse{Seconds: b.At.Sub(a.At).Seconds(), CPU: (b.CPU - a.CPU).Seconds(), Requests: map[string]float64{}}
		for j, route := range routes {
			if n := b.Requests[j] - a.Requests[j]; n > 0 {
				step.Requests[route.Name] = float64(n)
			}
		}
		steps = append(steps, step)
	}
	return steps
}

// RunName names the record of a result after its start, so that names sort by time.
func RunName(r *load.Result) string { return r.Start.UTC().Format("20060102T150405.000Z") }

// started is when the last of the replicas that run became ready, or the supervisor started if that was later.
func started(info control.Info, services []orchestrate.ServiceStatus) time.Time {
	last := info.Since
	for _, s := range services {
		for _, r := range s.Replicas {
			if r.ReadySince.After(last) {
				last = r.ReadySince
			}
		}
	}
	return last
}

// watchIdle returns a window before now in which nothing was asked of the system, nil if something is asked of it all the
// time. What was observed before counts, but for what was before the system had started: to start takes CPU time. Where something
// was asked a moment ago, or it has started just now, it waits for a window to come.
func watchIdle(ctx context.Context, started time.Time, window func(ctx context.Context, from, to time.Time) (*observe.Window, error)) (*observe.Window, error) {
	tick := time.NewTicker(time.Second) // as often as is observed
	defer tick.Stop()
	for last := time.Now().Add(idlePatience); ; {
		now := time.Now()
		from := now.Add(-idleSpan - 2*time.Second)
		if from.Before(started) {
			from = started
		}
		w, err := window(ctx, from, now)
		switch {
		case err == nil && w.Covered >= idleSpan && Quiet(w):
			return w, nil
		case now.Before(last):
		case err != nil:
			return nil, fmt.Errorf("watching the idle system: %w", err)
		default:
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

// settledWindow waits until the observation has gone past the end of the span, and returns what lies in it.
func settledWindow(ctx context.Context, client *control.Client, from, to time.Time) (*observe.Window, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		last, err := client.Window(ctx, to.Add(-time.Second), to.Add(time.Second))
		if errors.Is(err, control.ErrNotRunning) {
			return nil, err
		}
		if err == nil && !last.End.Before(to) {
			return client.Window(ctx, from, to)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the last second's observation: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// actualSystem is sys with the limits that the running replicas really have.
func actualSystem(ctx context.Context, client *control.Client, sys *topology.System) (*topology.System, error) {
	services, err := client.Replicas(ctx)
	if err != nil {
		return nil, err
	}
	actual := *sys
	actual.Services = map[string]*topology.Service{}
	for name, svc := range sys.Services {
		actual.Services[name] = svc
	}
	for _, s := range services {
		if svc := sys.Services[s.Service]; svc != nil {
			now := *svc
			now.Limits.CPU, now.Limits.Memory = s.CPU, s.Memory
			actual.Services[s.Service] = &now
		}
	}
	return &actual, nil
}

// offeredLoad is what the test offered, in the planner's terms.
func offeredLoad(sys *topology.System, r *load.Result) (plan.Load, error) {
	mix, think, err := plan.RequestMix(sys)
	if err != nil {
		return plan.Load{}, err
	}
	if sys.Workload.Users > 0 {
		return mix.Closed(sys.Workload.Users, think), nil
	}
	if r.Duration <= 0 {
		return plan.Load{}, errors.New("the test had no length")
	}
	due := r.Scenarios.Started + r.Scenarios.NotStarted
	return mix.Open(float64(due) / r.Duration.Seconds()), nil
}

// clientSide puts what the generator saw of each step to the step's route.
func clientSide(run *Run, router *topology.Router, offered plan.Load) ClientSide {
	r := run.Result
	c := ClientSide{
		Source: run.Name, Start: r.Start.Add(r.Warmup), Load: offered,
		Latency: map[string]*stats.Histogram{}, Errors: map[string]int64{}, Notes: r.Warnings,
	}
	c.End = c.Start.Add(r.Duration)
	if r.Duration > 0 {
		c.CPU = r.Generator.CPU.Seconds() / r.Duration.Seconds()
	}
	routes := stepRoutes(r.Workload, router)
	for _, s := range r.Steps {
		c.NotSent += s.NotSent
		route := routes[s.Name]
		if route == "" || s.Latency == nil {
			continue
		}
		c.Errors[route] += s.Failed()
		if h := c.Latency[route]; h == nil {
			c.Latency[route] = s.Latency.Clone()
		} else if err := h.Merge(s.Latency); err != nil {
			panic("the generator's histograms differ in precision: " + err.Error())
		}
	}
	return c
}

// stepRoutes is the route that each step of a workload leads to, by the step's name in reports.
func stepRoutes(w *topology.Workload, router *topology.Router) map[string]string {
	routes := map[string]string{}
	for _, scenario := range w.Scenarios {
		for _, step := range scenario.Steps {
			if !step.IsRouted() {
				continue
			}
			route := router.OfStep(step)
			if route == nil {
				continue
			}
			name := step.Name
			if name == "" {
				name = route.Name
			}
			routes[name] = route.Name
		}
	}
	return routes
}

// PlannedLoad is the load that the file's workload puts on the system; a trace is planned for at its peak.
func PlannedLoad(sys *topology.System) (plan.Load, error) {
	peak := 0.0
	if w := sys.Workload; w != nil && w.Trace != nil {
		var err error
		if peak, err = load.TracePeak(w.Trace, sys.Dir); err != nil {
			return plan.Load{}, err
		}
	}
	return plan.LoadOf(sys, peak)
}

// TraceArrivals is what the simulator needs of a workload that replays a trace, nil for another one.
func TraceArrivals(sys *topology.System) (*simulate.Arrivals, error) {
	if sys.Workload == nil || sys.Workload.Trace == nil {
		return nil, nil
	}
	counts, period, err := load.TraceCounts(sys.Workload.Trace, sys.Dir)
	if err != nil {
		return nil, err
	}
	return &simulate.Arrivals{Counts: counts, Period: period}, nil
}
