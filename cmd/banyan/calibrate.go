package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/plan"
)

func (c *cli) calibrate() *cobra.Command {
	return &cobra.Command{
		Use:     "calibrate [RUN]",
		GroupID: "predict",
		Short:   "Derive what requests cost from a load test, for the planner",
		Long: `Derive, from a load test of the running system, what a request of each route asks of each service: visits, CPU time and
delay. The result is written beside the topology file, as banyan.calibration.yaml, and used by plan and compare from
then on. Calibrate at a moderate load, about 30% of what the system holds. RUN is the name or file of a load test's
record; left out, the newest.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			paths, err := c.paths()
			if err != nil {
				return err
			}
			m, err := c.measurement(args)
			if err != nil {
				return err
			}
			sys, err := c.open()
			if err != nil {
				return err
			}
			k, err := plan.Calibrate(sys, m)
			if err != nil {
				return err
			}
			file := app.CalibrationFile(paths[0])
			if err := app.WriteCalibration(file, k); err != nil {
				return err
			}
			if c.json {
				return writeJSON(c.out, k)
			}
			c.printCalibration(file, k)
			return nil
		},
	}
}

func (c *cli) printCalibration(file string, k *plan.Calibrated) {
	t := table{head: []string{"ROUTE", "SERVICE", "VISITS", "CPU/VISIT", "ASYNC", "DELAY"}}
	for _, route := range slices.Sorted(maps.Keys(k.Demands)) {
		first := route
		for _, svc := range slices.SortedFunc(maps.Keys(k.Demands[route]), compareServices) {
			d := k.Demands[route][svc]
			t.row(first, svc, digits(d.Visits), duration(d.CPU.Std()), duration(d.Async.Std()), duration(d.Delay.Std()))
			first = ""
		}
	}
	t.left = 2
	t.write(c.out)
	fmt.Fprintf(c.out, "\nWritten to %s, from %s at %s requests/s.\n", file, k.Calibration.Source, digits(k.Calibration.Throughput))
	for _, n := range k.Notes {
		fmt.Fprintf(c.out, "Note: %s.\n", n)
	}
}
