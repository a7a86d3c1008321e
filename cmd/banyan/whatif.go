package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/topology"
)

// whatIfFlags are the flags of whatif.
type whatIfFlags struct {
	rate, think string
	users       int
	verify      bool
	duration    time.Duration
}

// whatIfAnswer is what whatif prints as JSON.
type whatIfAnswer struct {
	Changes   []string      `json:"changes"`
	Predicted *plan.WhatIf  `json:"predicted"`
	Effects   []plan.Effect `json:"predicted_effects"`
	Measured  []plan.Effect `json:"measured_effects,omitempty"`
}

func (c *cli) whatif() *cobra.Command {
	var f whatIfFlags
	cmd := &cobra.Command{
		Use:     "whatif PATH=VALUE ...",
		GroupID: "predict",
		Short:   "Predict what a change of the file would do, and verify it by running both",
		Long: `Predict what a change of the file would do under its workload: each change sets one field by its path. With --verify,
run the system as it is and as it would be, one after the other, on free ports and with data of their own, load both with
the same workload, and print the measured change beside the predicted one. Nothing that runs already is touched, but what
else uses the machine meanwhile is in the figures.`,
		Example: `  banyan whatif services.catalog.replicas=3
  banyan whatif 'services.web.limits.cpu=0.5' 'routes.GET /.retry.attempts=1' --rate 300/s
  banyan whatif services.catalog.replicas=3 --verify --duration 30s`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.runWhatIf(cmd.Context(), args, f) },
	}
	cmd.Flags().StringVar(&f.rate, "rate", "", "for an open load of so many scenario starts, such as 200/s")
	cmd.Flags().IntVar(&f.users, "users", 0, "for a closed load of so many users")
	cmd.Flags().StringVar(&f.think, "think", "", "mean pause of a user between two requests, such as 1s")
	cmd.Flags().BoolVar(&f.verify, "verify", false, "run and load both, and hold the prediction against it")
	cmd.Flags().DurationVar(&f.duration, "duration", 20*time.Second, "length of each load, with --verify")
	return cmd
}

func (c *cli) runWhatIf(ctx context.Context, edits []string, f whatIfFlags) error {
	files, err := c.calibratedFiles()
	if err != nil {
		return err
	}
	before, err := c.read(files)
	if err != nil {
		return err
	}
	change, err := topology.Edits(before, edits...)
	if err != nil {
		return wrongUse{err}
	}
	after, err := topology.LoadOver(files, change)
	if err != nil {
		return wrongUse{err}
	}
	var loads [2]plan.Load
	for i, sys := range []*topology.System{before, after} {
		if err := overrideLoad(sys, f.rate, f.users, f.think); err != nil {
			return err
		}
		if loads[i], err = app.PlannedLoad(sys); err != nil {
			return err
		}
	}
	w, err := plan.MakeWhatIf(before, after, loads[0], loads[1], plan.Options{Cores: float64(runtime.NumCPU())})
	if err != nil {
		return err
	}
	a := whatIfAnswer{Changes: edits, Predicted: w, Effects: plan.Effects(w.Before.Outcome(), w.After.Outcome())}
	if f.verify {
		if a.Measured, err = c.verifyWhatIf(ctx, files, change, [2]*topology.System{before, after}, f); err != nil {
			return err
		}
	}
	if c.json {
		return writeJSON(c.out, a)
	}
	c.printWhatIf(a, before)
	return nil
}

func (c *cli) printWhatIf(a whatIfAnswer, sys *topology.System) {
	w := a.Predicted
	fmt.Fprintf(c.out, "%s under %s, with %s\n\n", sys.Name, describeLoad(w.Before.Load), strings.Join(a.Changes, ", "))
	t := table{head: []string{"PREDICTED", "BEFORE", "AFTER", "CHANGE"}}
	for _, e := range a.Effects {
		t.row(e.What, effectFigure(e.What, e.Before), effectFigure(e.What, e.After), effectChange(e))
	}
	knee, full := w.Before.Knee.Throughput, w.Before.Saturation.Throughput
	for _, e := range []plan.Effect{
		{What: "knee", Before: knee, After: w.After.Knee.Throughput, Change: w.After.Knee.Throughput/max(knee, 1e-9) - 1},
		{What: "holds", Before: full, After: w.After.Saturation.Throughput, Change: w.After.Saturation.Throughput/max(full, 1e-9) - 1},
	} {
		t.row(e.What, digits(e.Before)+"/s", digits(e.After)+"/s", deviation(e.Change))
	}
	if b, n := w.CostBefore, w.CostAfter; b != nil && n != nil {
		t.row("cost a month", fmt.Sprintf("%.2f %s", b.Month, b.Currency), fmt.Sprintf("%.2f %s", n.Month, n.Currency), deviation(n.Month/max(b.Month, 1e-9)-1))
	}
	t.write(c.out)
	if w.Before.Bottleneck != w.After.Bottleneck {
		fmt.Fprintf(c.out, "\nThe first bottleneck is %s, and would be %s.\n", w.Before.Bottleneck, w.After.Bottleneck)
	}
	t = table{gap: true, head: []string{"ROUTE", "MEAN", "AFTER", "P99", "AFTER"}}
	for i, r := range w.Before.Routes {
		mean, p99 := "-", "-"
		if i < len(w.After.Routes) && w.After.Routes[i].Route == r.Route {
			mean, p99 = duration(w.After.Routes[i].Mean), duration(w.After.Routes[i].P99)
		}
		t.row(r.Route, duration(r.Mean), mean, duration(r.P99), p99)
	}
	t.write(c.out)
	if a.Measured != nil {
		t = table{gap: true, head: []string{"MEASURED", "BEFORE", "AFTER", "CHANGE", "PREDICTED"}}
		for i, e := range a.Measured {
			t.row(e.What, effectFigure(e.What, e.Before), effectFigure(e.What, e.After), effectChange(e), effectChange(a.Effects[i]))
		}
		t.write(c.out)
	}
	for _, note := range w.After.Notes {
		fmt.Fprintf(c.out, "Note: %s.\n", note)
	}
	if sys.Calibration == nil {
		fmt.Fprintln(c.out, "Costs are the file's, not measured: 'banyan calibrate' derives them from a load test.")
	}
}

func effectFigure(what string, v float64) string {
	switch what {
	case "mean", "p99":
		return duration(secs(v))
	case "cpu":
		return cores(v)
	}
	return digits(v)
}

// effectChange prints a change; from or to nothing there is none.
func effectChange(e plan.Effect) string {
	if e.Before == 0 || e.After == 0 {
		return "-"
	}
	return deviation(e.Change)
}

// verifyWhatIf runs the system before and after, and measures both under the same load.
func (c *cli) verifyWhatIf(ctx context.Context, files []string, change topology.Source, systems [2]*topology.System, f whatIfFlags) ([]plan.Effect, error) {
	dir, err := os.MkdirTemp("", "banyan-whatif-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the two runs: %w", err)
	}
	defer os.RemoveAll(dir)
	ports := filepath.Join(dir, "ports.yaml") // beside whatever runs already
	if err := os.WriteFile(ports, []byte("listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\n"), 0o600); err != nil {
		return nil, fmt.Errorf("writing the overlay of the two runs: %w", err)
	}
	changed := filepath.Join(dir, "change.yaml")
	if err := os.WriteFile(changed, change.Data, 0o600); err != nil {
		return nil, fmt.Errorf("writing the overlay of the second run: %w", err)
	}
	var outcomes [2]plan.Outcome
	seed := rand.Uint64() >> 11
	for i, all := range [][]string{append(append([]string{}, files...), ports), append(append([]string{}, files...), changed, ports)} {
		name := [...]string{"before", "after"}[i]
		if !c.json {
			fmt.Fprintf(c.err, "%s the change: running and loading it for %s\n", name, f.duration)
		}
		m, err := c.measureVersion(ctx, all, filepath.Join(dir, name), systems[i], f.duration, seed)
		if err != nil {
			return nil, fmt.Errorf("measuring it %s the change: %w", name, err)
		}
		outcomes[i] = m.Outcome()
	}
	return plan.Effects(outcomes[0], outcomes[1]), nil
}

// measureVersion runs a version of the system, loads it, and stops it.
func (c *cli) measureVersion(ctx context.Context, files []string, state string, sys *topology.System, length time.Duration, seed uint64) (m *plan.Measurement, err error) {
	flags := []string{"--state", state}
	for _, f := range files {
		flags = append(flags, "-f", f)
	}
	if err := again(ctx, append([]string{"up", "-d"}, flags...)...); err != nil {
		return nil, err
	}
	defer func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if stop := again(late, append([]string{"down"}, flags...)...); err == nil {
			err = stop
		}
	}()
	w := *sys.Workload
	w.Duration, w.Thresholds = topology.Duration(length), nil
	measured := *sys
	measured.Workload = &w
	run, err := app.Measure(ctx, state, &measured, load.Config{Router: topology.NewRouter(sys.Routes), Dir: sys.Dir, Seed: seed})
	if err != nil {
		return nil, err
	}
	if run.Measurement == nil {
		return nil, fmt.Errorf("nothing was observed of the system: %s", strings.Join(run.Result.Warnings, " "))
	}
	return run.Measurement, nil
}

// again runs this program once more, with other arguments.
func again(ctx context.Context, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("banyan %s: %s", args[0], strings.TrimPrefix(strings.TrimSpace(errs.String()), "banyan: "))
	}
	return nil
}
