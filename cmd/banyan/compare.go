package main

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/topology"
)

func (c *cli) compare() *cobra.Command {
	return &cobra.Command{
		Use:     "compare [RUN]",
		GroupID: "predict",
		Short:   "Hold the prediction against a load test",
		Long: `Predict the system under the very load that a load test offered, and print predicted and measured side by side, with
the error of each and where the model should not be trusted. RUN is the name or file of a load test's record; left out,
the newest.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sys, err := c.openCalibrated()
			if err != nil {
				return err
			}
			m, err := c.measurement(args)
			if err != nil {
				return err
			}
			cmp, err := comparison(sys, m)
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
}

// measurement is what was measured in the load test that args name, or in the newest.
func (c *cli) measurement(args []string) (*plan.Measurement, error) {
	dir, err := c.stateDir()
	if err != nil {
		return nil, err
	}
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	run, err := app.OpenRun(dir, name)
	if err != nil {
		return nil, err
	}
	if run.Measurement == nil {
		return nil, fmt.Errorf("nothing was observed of the system in run %s: load it while it is up", run.Name)
	}
	return run.Measurement, nil
}

// comparison predicts the load of a measurement, with the replicas and limits that really ran.
func comparison(sys *topology.System, m *plan.Measurement) (*plan.Comparison, error) {
	o := plan.Options{Cores: float64(runtime.NumCPU()), Replicas: map[string]int{}, CPU: map[string]float64{}}
	for name, s := range m.Services {
		if sys.Services[name] != nil {
			o.Replicas[name], o.CPU[name] = max(1, int(s.Replicas+0.5)), s.Limit
		}
	}
	p, err := plan.Predict(sys, m.Load, o)
	if err != nil {
		return nil, err
	}
	var calibrated float64
	if k := sys.Calibration; k != nil {
		calibrated = k.Throughput
		if k.Source == m.Source {
			p.Notes = append(p.Notes, "The demands were derived from this very run: what agrees here proves nothing. Calibrate at one load and compare at another.")
		}
	}
	return plan.Compare(p, m, calibrated), nil
}

func (c *cli) printComparison(m *plan.Measurement, cmp *plan.Comparison) {
	fmt.Fprintf(c.out, "%s, run %s: %s for %s\n\n", cmp.System, cmp.Source, describeLoad(m.Load), duration(m.End.Sub(m.Start)))
	t := table{head: []string{"ROUTE", "REQ/S", "MEASURED", "ERROR", "MEAN", "MEASURED", "ERROR", "P99", "MEASURED", "ERROR"}}
	for _, name := range slices.Sorted(maps.Keys(cmp.Routes)) {
		r := cmp.Routes[name]
		row := []string{name, digits(r.Throughput.Predicted), digits(r.Throughput.Measured), deviation(r.Throughput.Error)}
		for _, p := range []plan.Pair{r.Mean, r.P99} {
			row = append(row, duration(secs(p.Predicted)), duration(secs(p.Measured)), errorOf(p))
		}
		t.row(row...)
	}
	t.row("all", digits(cmp.Total.Predicted), digits(cmp.Total.Measured), deviation(cmp.Total.Error), "", "", "", "", "", "")
	t.write(c.out)
	fmt.Fprintln(c.out)
	t = table{head: []string{"SERVICE", "CPU", "MEASURED", "ERROR", "USED", "MEASURED"}}
	for _, name := range slices.SortedFunc(maps.Keys(cmp.Services), compareServices) {
		s := cmp.Services[name]
		capacity := m.Cores
		if ms := m.Services[name]; ms.Limit > 0 {
			capacity = ms.Limit * max(ms.Replicas, 1)
		}
		t.row(name, cores(s.Predicted), cores(s.Measured), deviation(s.Error), percent(s.Predicted/capacity), percent(s.Measured/capacity))
	}
	t.row("machine", cores(cmp.Machine.Predicted), cores(cmp.Machine.Measured), deviation(cmp.Machine.Error),
		percent(cmp.Machine.Predicted/m.Cores), percent(cmp.Machine.Measured/m.Cores))
	t.write(c.out)
	fmt.Fprintln(c.out)
	for _, v := range cmp.Validity {
		fmt.Fprintln(c.out, v)
	}
}

// errorOf prints the error of a pair, or a dash where nothing was predicted.
func errorOf(p plan.Pair) string {
	if p.Predicted == 0 {
		return "-"
	}
	return deviation(p.Error)
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
