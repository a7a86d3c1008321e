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
		Long: `Play what was recorded of a service, in all runs that the state directory has, against what scales it with
'scale.predict' (predictive), and against other policies, at equal service. Exit code 1: that costs more than its
'scale.policy' alone, or never holds the objective, so 'scale.predict' is better left off. Nothing needs to run.`,
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
				Reactive: svc.Scale.Policy,
				WarmUp:   min(int(48*time.Hour/trace.Step), len(trace.Rates)/5)}
			result, err := replay.Compare(cmd.Context(), trace, plant, replay.Policies(), hold)
			if err != nil {
				return fmt.Errorf("proving %s: %w", args[0], err)
			}
			return c.printProof(args[0], svc.Scale.Policy, result, trace.Step)
		},
	}
	cmd.Flags().DurationVar(&startUp, "startup", 10*time.Second, "how long a new replica takes to serve")
	cmd.Flags().Float64Var(&hold, "hold", 0.995, "share of the time in which the replicas must be enough")
	return cmd
}

// printProof prints the comparison with the policy that the file names, and the verdict.
func (c *cli) printProof(service, policy string, result *replay.Comparison, step time.Duration) error {
	predictive, reactive := result.Of("predictive"), result.Of(replay.Named(policy))
	won := paysOff(predictive, reactive)
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
		fmt.Fprintln(c.out, verdict(service, policy, predictive, reactive))
	}
	if !won {
		return errNo
	}
	return nil
}

// paysOff says whether 'scale.predict' costs no more than reacting does.
func paysOff(predictive, reactive *replay.Result) bool {
	return predictive.Reached && (!reactive.Reached || predictive.Cost <= reactive.Cost)
}

// verdict on 'scale.predict' in words.
func verdict(service, policy string, predictive, reactive *replay.Result) string {
	onePlace := func(share float64) string { return fmt.Sprintf("%.1f%%", 100*share) }
	alone := fmt.Sprintf("by 'scale.policy: %s' alone", policy)
	switch {
	case !predictive.Reached:
		return fmt.Sprintf("Not proved: with 'scale.predict' %s holds the objective at no setting. Leave it off.", service)
	case !reactive.Reached:
		return fmt.Sprintf("Proved: with 'scale.predict' %s holds the objective on its own traffic, and %s at no setting.", service, alone)
	case predictive.Cost > reactive.Cost:
		return fmt.Sprintf("Not proved: on its own traffic, %s costs %s more with 'scale.predict' than %s. Leave it off.", service, onePlace(predictive.Cost/reactive.Cost-1), alone)
	case predictive.Cost > 0.995*reactive.Cost:
		return fmt.Sprintf("Proved, but of little use: on its own traffic, %s costs the same with 'scale.predict' as %s.", service, alone)
	}
	return fmt.Sprintf("Proved: on its own traffic, %s costs %s less with 'scale.predict' than %s.", service, onePlace(1-predictive.Cost/reactive.Cost), alone)
}
