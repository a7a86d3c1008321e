package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/autoscale"
)

func (c *cli) autoscale() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "autoscale",
		GroupID: "run",
		Short:   "Show what the autoscaler of the running system decided, and why",
		Long: `Show the latest decision about each service that is scaled: those whose file says 'scale' and leaves room between
'replicas.min' and 'replicas.max'. The autoscaler decides each 15 s; REACTIVE is what Kubernetes' rule alone would have
chosen, AHEAD the largest rate that is forecast until a replica started now serves.`,
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
	t := table{head: []string{first, "REPLICAS", "READY", "REQUESTS/S", "IN FLIGHT", "CPU", "REACTIVE", "AHEAD", "WHY"}}
	for _, d := range all {
		size, why, ahead := fmt.Sprint(d.To.Replicas), d.Why, "-"
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
		if d.Outlook != nil && d.Outlook.Used {
			ahead = digits(d.Outlook.Until) + "/s"
		}
		t.row(key(d), size, fmt.Sprint(d.Ready), digits(d.Requests), digits(d.InFlight), percent(d.CPU), fmt.Sprint(d.Reactive), ahead, why)
	}
	t.write(w)
}

// explainDecision says in words what the latest decision went by.
func explainDecision(w io.Writer, d autoscale.Decision) {
	fmt.Fprintln(w)
	if d.Each > 0 {
		fmt.Fprintf(w, "One replica takes %s requests/s at its target. ", digits(d.Each))
	}
	o := d.Outlook
	switch {
	case o == nil:
		fmt.Fprintln(w, "It was not decided by a forecast: that takes 'scale.predict', and ten minutes of traffic.")
	case !o.Used:
		fmt.Fprintf(w, "The forecast (%s) does not count: it has shown no skill over the last value yet (%s).\n", o.Model, deviation(o.Skill))
	default:
		fmt.Fprintf(w, "A replica takes %s to start: until then up to %s/s are reckoned with, %s/s in the next five minutes (%s; error %s of the last value's).\n",
			duration(o.StartUp.Round(time.Millisecond)), digits(o.Until), digits(o.Beyond), o.Model, percent(1-o.Skill))
	}
}
