package main

import (
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/simulate"
	"github.com/banyanhq/banyan/topology"
)

func (c *cli) simulate() *cobra.Command {
	var rate, think, duration string
	var users, replications, trace int
	var seed uint64
	var replicas map[string]int
	var faults []string
	cmd := &cobra.Command{
		Use:     "simulate",
		GroupID: "predict",
		Short:   "Replay the system event by event, with faults, at any size",
		Long: `Simulate the system under its workload, by discrete events: each request, its calls, the CPU that they share, time-outs,
retries, breakers, and faults. The policies are the very code that the gateway runs. Costs of requests come from a
calibration beside the file where there is one. The same seed gives the same result, bit for bit.`,
		Example: "  banyan simulate --rate 800/s\n  banyan simulate --users 5000 --think 10s --replications 20\n  banyan simulate --fault 'kill:catalog*1@10s'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			sys, err := c.openCalibrated()
			if err != nil {
				return err
			}
			if err := overrideLoad(sys, rate, users, think); err != nil {
				return err
			}
			o := simulate.Options{Seed: seed, Cores: float64(runtime.NumCPU()), Replicas: replicas, Replications: replications, Trace: trace}
			if duration != "" {
				d, err := topology.ParseDuration(duration)
				if err != nil {
					return usagef("--duration: %w", err)
				}
				o.Duration = d.Std()
			}
			if o.Faults, err = parseFaults(faults); err != nil {
				return err
			}
			if o.Arrivals, err = app.TraceArrivals(sys); err != nil {
				return err
			}
			model, err := simulate.New(sys, o)
			if err != nil {
				return err
			}
			begin := time.Now()
			result, err := model.Run(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				return writeJSON(c.out, result)
			}
			if err := result.WriteText(c.out); err != nil {
				return err
			}
			fmt.Fprintf(c.out, "\n%d events in %s.\n", result.Events, time.Since(begin).Round(time.Millisecond))
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&rate, "rate", "", "open load: starts of scenarios, such as 200/s")
	fl.IntVar(&users, "users", 0, "closed load: users who wait for each answer, and think")
	fl.StringVar(&think, "think", "", "mean pause of a user between two requests, such as 1s")
	fl.StringVar(&duration, "duration", "", "simulated time after the warm-up, such as 60s")
	fl.Uint64Var(&seed, "seed", 1, "of all that is drawn")
	fl.IntVar(&replications, "replications", 5, "runs with random numbers of their own, for the confidence intervals")
	fl.StringToIntVar(&replicas, "replicas", nil, "other numbers of replicas, such as catalog=3,cart=2")
	fl.StringArrayVar(&faults, "fault", nil, "what breaks: kill:SERVICE*N@AT, stall:SERVICE*N@AT+FOR, isolate:SERVICE*N@AT+FOR, slow:SERVICE*N@AT+FORxFACTOR, errors:SERVICE*N@AT+FORxSHARE, partition:FROM>TO@AT+FOR (N replicas; left out: all)")
	fl.IntVar(&trace, "trace", 0, "record every step of so many requests (with --json)")
	return cmd
}
