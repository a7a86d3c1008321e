package main

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/simulate"
	"github.com/banyanhq/banyan/topology"
)

func (c *cli) compare() *cobra.Command {
	var simulated bool
	var live liveFlags
	cmd := &cobra.Command{
		Use:     "compare [RUN]",
		GroupID: "predict",
		Short:   "Hold prediction and simulation against a load test",
		Long: `Predict and simulate the system under the very load that a load test offered, and print all three side by side, with
the error of each and where the model should not be trusted. RUN is the name or file of a load test's record; left out,
the newest.

With --live, watch the running system instead: CPU, number and time of the visits to each service are held against what the
calibrated model says of the very load of each interval, by a sequential test (CUSUM). Exit code 1 when the system left the
model, with the station and by how much.`,
		Example: `  banyan compare
  banyan compare --live --for 10m`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := live.options(cmd, args)
			if err != nil {
				return err
			}
			if live.on {
				return c.compareLive(cmd.Context(), &live, o)
			}
			sys, err := c.openCalibrated()
			if err != nil {
				return err
			}
			m, err := c.measurement(named(args))
			if err != nil {
				return err
			}
			cmp, err := comparison(cmd.Context(), sys, m, simulated)
			if err != nil {
				return err
			}
			if c.json {
				return writeJSON(c.out, cmp)
			}
			c.printComparison(m, cmp)
			return nil
		},
	}
	cmd.Flags().BoolVar(&simulated, "simulate", true, "simulate the load too")
	live.register(cmd)
	return cmd
}

// named is the argument of a command that takes one or none.
func named(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// measurement is what was measured in the load test of that name, in the newest where name is empty.
func (c *cli) measurement(name string) (*plan.Measurement, error) {
	dir, err := c.stateDir()
	if err != nil {
		return nil, err
	}
	run, err := app.OpenRun(dir, name)
	if err != nil {
		return nil, err
	}
	if run.Measurement == nil {
		return nil, fmt.Errorf("nothing was observed of the system in run %s: load it while it is up", run.Name)
	}
	if m := run.Measurement; !(m.Cores > 0) || !(m.Seconds() > 0) {
		return nil, fmt.Errorf("run %s is damaged: it was measured on %v cores for %v s", run.Name, m.Cores, m.Seconds())
	}
	return run.Measurement, nil
}

// comparison predicts and simulates the load of a measurement, with the replicas and limits that really ran.
func comparison(ctx context.Context, sys *topology.System, m *plan.Measurement, simulated bool) (*plan.Comparison, error) {
	cores := float64(runtime.NumCPU())
	replicas, cpu := map[string]int{}, map[string]float64{}
	for name, s := range m.Services {
		if sys.Services[name] != nil {
			replicas[name], cpu[name] = max(1, int(s.Replicas+0.5)), s.Limit
		}
	}
	o := plan.Options{Cores: cores, Replicas: replicas, CPU: cpu}
	sys = tablesAsTheyRan(sys, m)
	p, err := plan.Predict(sys, m.Load, o)
	if err != nil {
		return nil, err
	}
	if simulated { // as 'plan' does
		if _, err := p.Simulate(ctx, sys, o); err != nil {
			return nil, err
		}
	}
	var sim *simulate.Result
	if simulated && !p.Saturated {
		model, err := simulate.New(sys, simulate.Options{Seed: 1, Cores: cores, Replicas: replicas, CPU: cpu, Load: &m.Load, Duration: m.End.Sub(m.Start), Clients: 1})
		if err != nil {
			return nil, err
		}
		if sim, err = model.Run(ctx); err != nil {
			return nil, err
		}
	}
	var calibrated float64
	if k := sys.Calibration; k != nil {
		calibrated = k.Throughput
		if k.Source == m.Source {
			p.Notes = append(p.Notes, "The demands were derived from this very run: what agrees here proves nothing. Calibrate at one load and compare at another.")
		}
	}
	return plan.Compare(p, sim, m, calibrated), nil
}

// tablesAsTheyRan is a system whose embedded tables are what was measured: on one node, whatever the file says.
func tablesAsTheyRan(sys *topology.System, m *plan.Measurement) *topology.System {
	if len(m.Tables) == 0 {
		return sys
	}
	actual := *sys
	actual.Tables = maps.Clone(sys.Tables)
	for name := range m.Tables {
		if t := sys.Tables[name]; t != nil {
			one := *t
			one.Replicas, one.Shards, one.CPU, one.Consistency = 1, 1, 0, "strong"
			actual.Tables[name] = &one
		}
	}
	return &actual
}

func (c *cli) printComparison(m *plan.Measurement, cmp *plan.Comparison) {
	fmt.Fprintf(c.out, "%s, run %s: %s for %s\n", cmp.System, cmp.Source, describeLoad(m.Load), duration(m.End.Sub(m.Start)))
	routes := slices.Sorted(maps.Keys(cmp.Routes))
	latency := func(v float64) string { return duration(secs(v)) }
	t := comparisonTable("REQUESTS/S")
	for _, name := range routes {
		t.row(cells(name, cmp.Routes[name].Throughput, digits)...)
	}
	t.row(cells("all", cmp.Total, digits)...)
	t.write(c.out)
	if cmp.Refused != nil {
		t = comparisonTable("REFUSED")
		t.row(cells("all", *cmp.Refused, percent)...)
		t.write(c.out)
	}
	t = comparisonTable("MEAN LATENCY")
	for _, name := range routes {
		t.row(cells(name, cmp.Routes[name].Mean, latency)...)
	}
	t.write(c.out)
	t = comparisonTable("P99 LATENCY")
	for _, name := range routes {
		t.row(cells(name, cmp.Routes[name].P99, latency)...)
	}
	t.write(c.out)
	if len(cmp.Hits)+len(cmp.CacheHits) > 0 {
		t = comparisonTable("CACHE HITS")
		for _, name := range slices.Sorted(maps.Keys(cmp.Hits)) {
			t.row(cells(name, cmp.Hits[name], percent)...)
		}
		for _, name := range slices.Sorted(maps.Keys(cmp.CacheHits)) {
			t.row(cells("caches."+name, cmp.CacheHits[name], percent)...)
		}
		t.write(c.out)
	}
	printComparedTables(c.out, cmp.Tables)
	t = comparisonTable("CPU, CORES")
	t.head = append(t.head, "USED")
	for _, name := range slices.SortedFunc(maps.Keys(cmp.Services), compareServices) {
		capacity := m.Cores
		if ms := m.Services[name]; ms.Limit > 0 {
			capacity = ms.Limit * max(ms.Replicas, 1)
		}
		t.row(append(cells(name, cmp.Services[name], cores), percent(cmp.Services[name].Measured/capacity))...)
	}
	t.row(append(cells("machine", cmp.Machine, cores), percent(cmp.Machine.Measured/m.Cores))...)
	t.write(c.out)
	fmt.Fprintln(c.out)
	for _, v := range cmp.Validity {
		fmt.Fprintln(c.out, v)
	}
}

func comparisonTable(what string) table {
	return table{gap: true, head: []string{what, "MEASURED", "PREDICTED", "ERROR", "SIMULATED", "ERROR"}}
}

// cells is a row of a comparison; what was not predicted or simulated is a dash.
func cells(name string, p plan.Pair, format func(float64) string) []string {
	row := []string{name, format(p.Measured), "-", "-", "-", "-"}
	if p.Predicted != 0 {
		row[2], row[3] = format(p.Predicted), deviation(p.Error)
	}
	if p.Simulated != 0 {
		row[4], row[5] = format(p.Simulated), deviation(p.SimulatedError)
	}
	return row
}

func secs(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func cores(v float64) string { return fmt.Sprintf("%.3f", v) }

// compareServices puts the gateway and the client behind the services.
func compareServices(a, b string) int {
	key := func(s string) string {
		if s == plan.Gateway || s == plan.Client {
			return "~" + s
		}
		return s
	}
	switch ka, kb := key(a), key(b); {
	case ka < kb:
		return -1
	case ka > kb:
		return 1
	}
	return 0
}
