package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/autoscale/replay"
)

func (c *cli) autoscaleProve() *cobra.Command {
	var startUp time.Duration
	var hold float64
	cmd := &cobra.Command{
		Use:   "prove SERVICE",
		Short: "Prove on the system's own recorded traffic that 'predict' costs no more than what it replaces",
		Long: `Play what was recorded of a service, in all runs that the state directory has, against the predictive policy and the
reactive ones, at equal service. Exit code 1: forecasting costs more than Kubernetes' rule there, so 'scale.predict' is
better left off. Nothing needs to run.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sys, err := c.open()
			if err != nil {
				return err
			}
			dir, err := c.stateDir()
			if err != nil {
				return err
			}
			trace, each, err := app.ScaleHistory(dir, sys, args[0])
			if err != nil {
				return err
			}
			capacity, err := autoscale.LinearCapacity(each)
			if err != nil {
				return err
			}
			svc := sys.Services[args[0]]
			plant := replay.Plant{Capacity: capacity, StartUp: startUp, Tick: autoscale.Interval, Min: svc.Replicas.Min, Max: svc.Replicas.Max,
				WarmUp: min(int(48*time.Hour/trace.Step), len(trace.Rates)/5)}
			result, err := replay.Compare(cmd.Context(), trace, plant, replay.Policies(), hold)
			if err != nil {
				return fmt.Errorf("proving %s: %w", args[0], err)
			}
			return c.printProof(args[0], result, trace.Step)
		},
	}
	cmd.Flags().DurationVar(&startUp, "startup", 10*time.Second, "how long a new replica takes to serve")
	cmd.Flags().Float64Var(&hold, "hold", 0.995, "share of the time in which the replicas must be enough")
	return cmd
}

// printProof prints the comparison and the verdict.
func (c *cli) printProof(service string, result *replay.Comparison, step time.Duration) error {
	predictive, reactive := result.Results[0], result.Results[1]
	won := predictive.Reached && (!reactive.Reached || predictive.Cost <= reactive.Cost)
	if c.json {
		if err := writeJSON(c.out, struct {
			Proved bool `json:"proved"`
			*replay.Comparison
		}{won, result}); err != nil {
			return err
		}
	} else {
		printReplay(c.out, result, step)
		fmt.Fprintln(c.out)
		if won {
			fmt.Fprintf(c.out, "Proved: on its own traffic, forecasting costs %s no more than reacting does. 'scale.predict' may be on.\n", service)
		} else {
			fmt.Fprintf(c.out, "Not proved: on its own traffic, reacting is cheaper for %s. Leave 'scale.predict' off.\n", service)
		}
	}
	if !won {
		return errNo
	}
	return nil
}
