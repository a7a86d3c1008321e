package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/policy"
)

func (c *cli) autoscale() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "autoscale",
		GroupID: "run",
		Short:   "Show what the autoscaler of the running system decided, and why",
		Long: `Show the latest decision about each service that is scaled: those whose file says 'scale' and leaves room between
'replicas.min' and 'replicas.max'. The autoscaler decides each 15 s; REACTIVE is what the policy that reacts would have
chosen, PREDICTIVE what the forecast would have: '*' marks the one that was followed.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			latest, err := c.latestDecisions(cmd)
			if err != nil {
				return err
			}
			if c.json {
				return writeJSON(c.out, latest)
			}
			printDecisions(c.out, latest, "SERVICE", func(d autoscale.Decision) string { return d.Service })
			return nil
		},
	}
	cmd.AddCommand(c.autoscaleWhy(), c.autoscaleProve())
	return cmd
}

func (c *cli) autoscaleWhy() *cobra.Command {
	var n int
	cmd := &cobra.Command{
		Use:   "why SERVICE",
		Short: "Show the decisions about a service: what was seen, what was forecast, what won",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := c.stateDir()
			if err != nil {
				return err
			}
			all, err := control.Dial(dir).ScaleDecisions(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if n > 0 && len(all) > n {
				all = all[len(all)-n:]
			}
			if c.json {
				return writeJSON(c.out, all)
			}
			printDecisions(c.out, all, "TIME", func(d autoscale.Decision) string { return d.At.Local().Format("15:04:05.0") })
			if len(all) > 0 {
				explainDecision(c.out, all[len(all)-1])
			}
			return nil
		},
	}
	cmd.Flags().IntVarP(&n, "lines", "n", 20, "how many of the latest decisions; 0: all that are kept")
	return cmd
}

func (c *cli) latestDecisions(cmd *cobra.Command) ([]autoscale.Decision, error) {
	dir, err := c.stateDir()
	if err != nil {
		return nil, err
	}
	client := control.Dial(dir)
	names, err := client.ScaledServices(cmd.Context())
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no service is scaled: that takes 'scale' and room between 'replicas.min' and 'replicas.max' in the file")
	}
	latest := []autoscale.Decision{}
	for _, name := range names {
		all, err := client.ScaleDecisions(cmd.Context(), name)
		if err != nil {
			return nil, err
		}
		if len(all) > 0 {
			latest = append(latest, all[len(all)-1])
		}
	}
	return latest, nil
}

func printDecisions(w io.Writer, all []autoscale.Decision, first string, key func(autoscale.Decision) string) {
	t := table{head: []string{first, "REPLICAS", "READY", "REQUESTS/S", "IN FLIGHT", "CPU", "REACTIVE", "PREDICTIVE", "WHY"}}
	for _, d := range all {
		size, why := fmt.Sprint(d.To.Replicas), d.Why
		if d.To.Replicas != d.From.Replicas {
			size = fmt.Sprintf("%d to %d", d.From.Replicas, d.To.Replicas)
		}
		if d.To.Cores != d.From.Cores {
			size += fmt.Sprintf(" of %s cores", digits(d.To.Cores))
		}
		if d.To.Memory != d.From.Memory {
			size += fmt.Sprintf(" with %d MiB", d.To.Memory>>20)
		}
		if d.DryRun {
			why += " (dry run)"
		}
		if d.Error != "" {
			why += ": " + d.Error
		}
		reactive, predictive := fmt.Sprint(d.Reactive), "-"
		if d.Sides != nil {
			predictive = fmt.Sprint(d.Sides.Predictive)
			if d.Sides.Followed == policy.SidePredictive.String() {
				predictive += "*"
			} else {
				reactive += "*"
			}
		}
		t.row(key(d), size, fmt.Sprint(d.Ready), digits(d.Requests), digits(d.InFlight), percent(d.CPU), reactive, predictive, why)
	}
	t.write(w)
}

// explainDecision says in words what the latest decision went by.
func explainDecision(w io.Writer, d autoscale.Decision) {
	fmt.Fprintln(w)
	if d.Each > 0 {
		fmt.Fprintf(w, "One replica takes %s requests/s at its target. ", digits(d.Each))
	}
	if d.Sides == nil {
		fmt.Fprintln(w, "No forecast was asked: that takes 'scale.predict', and a target that tells what one replica takes.")
		return
	}
	other, would := "predictive", d.Sides.Predictive
	if d.Sides.Followed == other {
		other, would = "reactive", d.Reactive
	}
	fmt.Fprintf(w, "The %s side was followed: %s. The %s one would have asked for %d.\n", d.Sides.Followed, d.Sides.Because, other, would)
	fmt.Fprintf(w, "Both are played with fleets of their own: of late the predictive one would have %s; to prove anything takes %s.\n",
		saved(d.Sides.Saved), replicaHours(d.Sides.Proof))
	if o := d.Outlook; o != nil {
		start := "not measured"
		if o.StartUp > 0 {
			start = duration(o.StartUp.Round(time.Millisecond))
		}
		fmt.Fprintf(w, "Forecast until a replica started now serves (%s): up to %s/s, in the next five minutes %s/s (%s; error %s of the last value's).\n",
			start, digits(o.Until), digits(o.Beyond), o.Model, percent(1-o.Skill))
	}
}

// saved says what a side saved or cost, replicas that were missing being priced.
func saved(hours float64) string {
	if hours < 0 {
		return "cost " + replicaHours(-hours) + " more"
	}
	return "saved " + replicaHours(hours)
}

func replicaHours(v float64) string { return digits(v) + " replica-hours" }
