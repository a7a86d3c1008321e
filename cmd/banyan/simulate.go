package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/simulate"
	"github.com/banyanhq/banyan/stats/plot"
	"github.com/banyanhq/banyan/topology"
)

// simulateFlags are what the command line says of a simulation.
type simulateFlags struct {
	rate, think, duration, warmup, html, fit string
	users, replications, trace               int
	cells, zones, clients                    int
	seed                                     uint64
	precision, dispersion                    float64
	replicas                                 map[string]int
	faults, failures                         []string
	fixed                                    bool
}

func (c *cli) simulate() *cobra.Command {
	var f simulateFlags
	cmd := &cobra.Command{
		Use:     "simulate",
		GroupID: "predict",
		Short:   "Replay the system event by event, with faults, at any size",
		Long: `Simulate the system under its workload, by discrete events: each request, its calls, the CPU that they share, caches, tables,
queues and functions, time-outs, retries, breakers, the autoscaler, and faults. The policies are the very code that the gateway
runs. Costs of requests come from a calibration beside the file where there is one. The same seed gives the same result, bit for
bit.`,
		Example: `  banyan simulate --rate 800/s
  banyan simulate --users 5000 --think 10s --replications 20
  banyan simulate --fault 'kill:catalog*1@10s' --fault 'isolate:*/2@20s+5s' --zones 3 --html report.html
  banyan simulate --users 5000000 --cells 2500 --fit 60%`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sys, err := c.openCalibrated()
			if err != nil {
				return err
			}
			return c.runSimulation(cmd.Context(), sys, &f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.rate, "rate", "", "open load: starts of scenarios, such as 200/s")
	fl.IntVar(&f.users, "users", 0, "closed load: users who wait for each answer, and think")
	fl.StringVar(&f.think, "think", "", "mean pause of a user between two requests, such as 1s")
	fl.StringVar(&f.duration, "duration", "", "simulated time after the warm-up, such as 60s")
	fl.StringVar(&f.warmup, "warmup", "", "simulated time before that, which is left out, such as 10s (default: the file's; a steady load finds it)")
	fl.Uint64Var(&f.seed, "seed", 1, "of all that is drawn")
	fl.IntVar(&f.replications, "replications", 5, "runs with random numbers of their own, for the confidence intervals")
	fl.Float64Var(&f.precision, "precision", 0, "run more replications until the mean latency is known to this share, such as 0.02 (at most 50)")
	fl.StringToIntVar(&f.replicas, "replicas", nil, "other numbers of replicas, such as catalog=3,cart=2")
	fl.StringArrayVar(&f.faults, "fault", nil, "what breaks: kill:WHO@AT, slow:WHO@AT+FORxFACTOR, errors:WHO@AT+FORxSHARE, stall:WHO@AT+FOR, isolate:WHO@AT+FOR, partition:FROM>TO@AT+FOR; WHO is SERVICE[*N][/ZONE], of N replicas or all; a service may be *, or a block such as tables.orders")
	fl.StringArrayVar(&f.failures, "failures", nil, "replicas that fail at random: SERVICE=MTBF/MTTR, such as catalog=1h/2m")
	fl.IntVar(&f.zones, "zones", 1, "zones that the replicas of each service are spread over, for faults that hit one")
	fl.IntVar(&f.clients, "clients", 0, "client addresses that sessions come from in turn (0: each has its own)")
	fl.Float64Var(&f.dispersion, "dispersion", 0, "of the work that comes to the CPU; 2 is none beyond chance (0: the calibration's)")
	fl.BoolVar(&f.fixed, "fixed", false, "keep the numbers of replicas, whatever 'scale' says")
	fl.IntVar(&f.cells, "cells", 1, "divide the system into so many equal, independent cells, and simulate one")
	fl.StringVar(&f.fit, "fit", "", "size cores and replicas for a utilisation, such as 60%, and say what that needs")
	fl.IntVar(&f.trace, "trace", 0, "record every step of so many requests")
	fl.StringVar(&f.html, "html", "", "write a report with plots to this file")
	return cmd
}

// options turns flags into options.
func (f *simulateFlags) options(sys *topology.System) (o simulate.Options, err error) {
	o = simulate.Options{
		Seed: f.seed, Cores: float64(runtime.NumCPU()), Replicas: f.replicas, Replications: f.replications, Precision: f.precision, Trace: f.trace,
		Zones: f.zones, Clients: f.clients, Dispersion: f.dispersion, Cells: f.cells,
	}
	for _, d := range []struct {
		flag, text string
		to         *time.Duration
	}{{"duration", f.duration, &o.Duration}, {"warmup", f.warmup, &o.Warmup}} {
		if d.text == "" {
			continue
		}
		v, err := topology.ParseDuration(d.text)
		if err != nil {
			return o, usagef("--%s: %w", d.flag, err)
		}
		if *d.to = v.Std(); v == 0 {
			*d.to = -1 // none, where 0 is the default
		}
	}
	if o.Duration < 0 {
		return o, usagef("--duration: want more than 0")
	}
	if f.fit != "" {
		share, err := topology.ParsePercent(f.fit)
		if err != nil {
			return o, usagef("--fit: %w", err)
		}
		o.Fit = float64(share)
	}
	if o.Faults, err = parseFaults(f.faults); err != nil {
		return o, err
	}
	if o.Failures, err = parseFailures(f.failures); err != nil {
		return o, err
	}
	if !f.fixed {
		o.Autoscale = simulate.FileAutoscaler(sys)
	}
	o.Arrivals, err = app.TraceArrivals(sys)
	return o, err
}

func (c *cli) runSimulation(ctx context.Context, sys *topology.System, f *simulateFlags) error {
	if err := overrideLoad(sys, f.rate, f.users, f.think); err != nil {
		return err
	}
	o, err := f.options(sys)
	if err != nil {
		return err
	}
	line := c.progress()
	o.Progress = line.simulated
	model, err := simulate.New(sys, o)
	if err != nil {
		return err
	}
	begin := time.Now()
	result, err := model.Run(ctx)
	line.end()
	if err != nil {
		return err
	}
	if f.html != "" {
		var page bytes.Buffer
		if err := result.WriteHTML(&page); err != nil {
			return err
		}
		if err := replaceFile(f.html, page.Bytes()); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	if c.json {
		return writeJSON(c.out, result)
	}
	if err := result.WriteText(c.out); err != nil {
		return err
	}
	writeEvents(c.out, result.Trace)
	fmt.Fprintf(c.out, "\n%d events in %s.\n", result.Events, time.Since(begin).Round(time.Millisecond))
	return nil
}

// writeEvents prints what happened to the requests that were recorded.
func writeEvents(w io.Writer, events []simulate.TraceEvent) {
	for i, e := range events {
		if i == 0 {
			fmt.Fprintf(w, "\nat, s     request  what\n")
		}
		where := e.Service
		if e.Replica >= 0 {
			where = fmt.Sprintf("%s/%d", where, e.Replica)
		}
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%-9.6f %7d  %-10s %s %s", e.At.Seconds(), e.Request, e.What, where, e.Detail), " "))
	}
}

// simulated shows how far a simulation has come.
func (p *progressLine) simulated(s simulate.Progress) {
	if p.w == nil {
		return
	}
	p.print(fmt.Sprintf("replication %d: %s of %s simulated, %s events", s.Replication+1, plot.Brief(s.At), plot.Brief(s.End), plot.Count(s.Events)))
}
