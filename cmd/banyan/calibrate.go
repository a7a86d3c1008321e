package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/topology"
)

func (c *cli) calibrate() *cobra.Command {
	var sweep string
	cmd := &cobra.Command{
		Use:     "calibrate [RUN...]",
		GroupID: "predict",
		Short:   "Derive what requests cost from a load test, for the planner",
		Long: `Derive, from a load test of the running system, what a request of each route asks of each service: visits, CPU time and
delay, each with its standard error; how the times of each service vary, and by which law; how often services call each
other; the hit ratios of caches; and, where the state directory has a sweep ('banyan load --sweep'), how throughput grows
with the number of requests at once. The result is written beside the topology file, as banyan.calibration.yaml, and used by plan and compare from
then on. Calibrate at a moderate load, about 30% of what the system holds. RUN is the name or file of a load test's
record; left out, the newest. Of several runs at the same load the one counts whose requests cost the median CPU time: a
virtual machine is faster or slower by the minute, and one run cannot say which it was.`,
		Example: `  banyan load --rate 100/s && banyan calibrate
  banyan calibrate 20261202T092351.143Z 20261202T092428.310Z 20261202T092501.772Z`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			paths, err := c.paths()
			if err != nil {
				return err
			}
			runs, err := c.measurements(args)
			if err != nil {
				return err
			}
			sys, err := c.open()
			if err != nil {
				return err
			}
			k, err := plan.Calibrate(sys, runs...)
			if err != nil {
				return err
			}
			if err := c.addSweep(k, sweep); err != nil {
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
	cmd.Flags().StringVar(&sweep, "sweep", "", "record of a sweep to take the scaling law from, or none (default: the newest)")
	return cmd
}

// measurements are those of the load tests that are named, each once, or that of the newest.
func (c *cli) measurements(names []string) ([]*plan.Measurement, error) {
	if len(names) == 0 {
		names = []string{""}
	}
	var runs []*plan.Measurement
	for _, name := range names {
		m, err := c.measurement(name)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(runs, func(r *plan.Measurement) bool { return r.Source == m.Source }) {
			return nil, fmt.Errorf("run %s is named twice", m.Source)
		}
		runs = append(runs, m)
	}
	return runs, nil
}

// addSweep adds the law that a sweep found to a calibration.
func (c *cli) addSweep(k *plan.Calibrated, name string) error {
	if name == "none" {
		return nil
	}
	dir, err := c.stateDir()
	if err != nil {
		return err
	}
	s, err := app.OpenSweep(dir, name)
	if err != nil || s == nil {
		return err
	}
	if s.Workload != nil && s.Workload.Think > 0 {
		k.Notes = append(k.Notes, "the users of the sweep thought between requests: its law is not taken over")
		return nil
	}
	if k.Calibration.USL, err = app.USL(s); err != nil {
		return err
	}
	if k.Calibration.USL == nil {
		k.Notes = append(k.Notes, "the sweep of "+s.Start.Format(time.RFC3339)+" gave no law: "+s.Why)
	}
	return nil
}

func (c *cli) printCalibration(file string, k *plan.Calibrated) {
	t := table{head: []string{"ROUTE", "SERVICE", "VISITS", "CPU/VISIT", "+-", "ASYNC", "DELAY"}}
	for _, route := range slices.Sorted(maps.Keys(k.Demands)) {
		first := route
		for _, svc := range slices.SortedFunc(maps.Keys(k.Demands[route]), compareServices) {
			d := k.Demands[route][svc]
			t.row(first, svc, digits(d.Visits), duration(d.CPU.Std()), errorOf(d), duration(d.Async.Std()), duration(d.Delay.Std()))
			first = ""
		}
	}
	t.left = 2
	t.write(c.out)
	if len(k.Tables) > 0 {
		t = table{gap: true, head: []string{"TABLE", "READ CPU", "DELAY", "WRITE CPU", "DELAY", "FOLLOW CPU", "FSYNC"}}
		for _, name := range slices.Sorted(maps.Keys(k.Tables)) {
			v := k.Tables[name]
			read, write, follow := costOf(v.Read), costOf(v.Write), costOf(v.Follow)
			t.row("tables."+name, duration(read.CPU.Std()), duration(read.Delay.Std()), duration(write.CPU.Std()), duration(write.Delay.Std()),
				duration(follow.CPU.Std()), duration(v.Fsync.Std()))
		}
		t.write(c.out)
	}
	if len(k.Calibration.Services) > 0 {
		t = table{gap: true, head: []string{"SERVICE", "TIME", "SCV", "+-", "LAW", "MISFIT"}}
		for _, svc := range slices.Sorted(maps.Keys(k.Calibration.Services)) {
			s := k.Calibration.Services[svc]
			law, misfit := "-", "-"
			if s.Distribution != "" {
				law, misfit = s.Distribution, percent(s.Misfit)
			}
			t.row(svc, duration(s.Time.Std()), digits(s.SCV), digits(s.SCVError), law, misfit)
		}
		t.write(c.out)
	}
	if len(k.Calibration.Edges) > 0 {
		t = table{gap: true, left: 2, head: []string{"CALLER", "CALLS", "EACH VISIT", "+-"}}
		for _, e := range k.Calibration.Edges {
			t.row(e.From, e.To, digits(e.Calls), digits(e.Error))
		}
		t.write(c.out)
	}
	for _, route := range slices.Sorted(maps.Keys(k.Calibration.HitRatios)) {
		h := k.Calibration.HitRatios[route]
		fmt.Fprintf(c.out, "\n%s: %s of the requests (+-%s) are answered from the cache.\n", route, percent(h.Share), percent(h.Error))
	}
	if u := k.Calibration.USL; u != nil {
		fmt.Fprintf(c.out, "\nUp to %s requests at once: contention %.4f (+-%.4f), coherence %.6f (+-%.6f), one alone %s/s (+-%s).\n",
			digits(u.Most), u.Alpha, u.AlphaError, u.Beta, u.BetaError, digits(u.Gamma), digits(u.GammaError))
	}
	fmt.Fprintf(c.out, "\nWritten to %s, from %s at %s requests/s.\n", file, k.Calibration.Source, digits(k.Calibration.Throughput))
	for _, n := range k.Notes {
		fmt.Fprintf(c.out, "Note: %s.\n", n)
	}
}

// costOf is a cost that may be left out.
func costOf(c *topology.Cost) topology.Cost {
	if c == nil {
		return topology.Cost{}
	}
	return *c
}

// errorOf is the standard error of a demand's CPU time as a share of it.
func errorOf(d *topology.Demand) string {
	all := d.CPU + d.Async
	if d.CPUError <= 0 || all <= 0 {
		return "-"
	}
	return percent(float64(d.CPUError) / float64(all))
}
