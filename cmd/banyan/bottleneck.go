package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/topology"
)

// bottleneckAnswer is what --json prints.
type bottleneckAnswer struct {
	Findings []plan.Finding `json:"findings"`
	// Observation is what they were found from.
	Observation *plan.Observation `json:"observation"`
}

func (c *cli) bottleneck() *cobra.Command {
	var window time.Duration
	cmd := &cobra.Command{
		Use:     "bottleneck",
		GroupID: "run",
		Short:   "Rank what limits the running system, with evidence and the gain of mending it",
		Long: `Rank what limits the running system or hurts it: CPU, a CPU limit that holds replicas back, a pool that is too small, a
lock, a slow dependency, repeated calls, an uneven replica, a queue that grows, the log of a table, a hot key, and an adaptive
bound that refuses requests, with what is short behind it. Each comes with the figures that show it and
the time of a request that is predicted to be saved by mending it. The system must have been given load in the window.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if window < 2*time.Second || window > 10*time.Minute {
				return usagef("--window %v: want 2s to 10m, for which distributions are kept", window)
			}
			client, info, err := c.running(cmd.Context())
			if err != nil {
				return err
			}
			c.noteChanged(info)
			a := bottleneckAnswer{Findings: []plan.Finding{}}
			text, err := client.Topology(cmd.Context())
			if err != nil {
				return err
			}
			if a.Observation, err = observation(cmd, client, text, window); err != nil {
				return err
			}
			found, err := plan.Bottlenecks(a.Observation)
			if err != nil {
				return err
			}
			if err := c.predictGains(cmd.Context(), client, found, a.Observation); err != nil {
				return err
			}
			a.Findings = append(a.Findings, found...)
			if c.json {
				return writeJSON(c.out, a)
			}
			c.printBottlenecks(a)
			return nil
		},
	}
	cmd.Flags().DurationVar(&window, "window", 30*time.Second, "how far to look back")
	return cmd
}

// predictGains has the model say what mending a finding saves, where there is a calibration.
func (c *cli) predictGains(ctx context.Context, client *control.Client, found []plan.Finding, o *plan.Observation) error {
	paths, err := c.calibratedFiles()
	if err != nil || len(found) == 0 {
		return nil // a gateway that was started from flags has no file
	}
	sys, err := c.read(paths)
	if err != nil {
		return err
	}
	load := plan.Load{Rates: map[string]float64{}}
	for _, r := range o.Routes {
		if sys.RouteByName(r.Route) != nil && sys.Demands[r.Route] != nil && r.Calls > 0 {
			load.Rates[r.Route] = r.Calls / o.Seconds
		}
	}
	if len(load.Rates) == 0 {
		return nil
	}
	replicas, cpu, err := runningSizes(ctx, client, sys)
	if err != nil {
		return err
	}
	return plan.PredictGains(found, sys, load, plan.Options{Cores: o.Cores, Replicas: replicas, CPU: cpu})
}

// observation asks for the window up to now, in the planner's terms.
func observation(cmd *cobra.Command, client *control.Client, text string, window time.Duration) (*plan.Observation, error) {
	sys, err := topology.Parse(topology.Source{Name: "the running system", Data: []byte(text)})
	if err != nil {
		return nil, fmt.Errorf("reading the running system's topology: %w", err)
	}
	now := time.Now()
	w, err := client.Window(cmd.Context(), now.Add(-window), now)
	if err != nil {
		return nil, err
	}
	tables, err := client.TableWindow(cmd.Context(), w.Start, w.End)
	if err != nil {
		return nil, err
	}
	o := app.Observation(sys, w)
	app.ObserveTables(o, sys, tables)
	return o, nil
}

func (c *cli) printBottlenecks(a bottleneckAnswer) {
	o := a.Observation
	fmt.Fprintf(c.out, "%s, %.0f s: ", o.System, o.Seconds)
	if len(a.Findings) == 0 {
		fmt.Fprintf(c.out, "nothing is near its limit (%.2f of %.0f cores busy).\n", o.Busy, o.Cores)
		return
	}
	fmt.Fprintf(c.out, "a request takes %s on average.\n\n", duration(a.Findings[0].Mean))
	t := table{head: []string{"", "CLASS", "WHERE", "SCORE", "GAIN"}, left: 3}
	for i, f := range a.Findings {
		t.row(fmt.Sprint(i+1), string(f.Class), f.Service, percent(f.Score), duration(f.Gain))
	}
	t.write(c.out)
	for i, f := range a.Findings {
		fmt.Fprintf(c.out, "\n%d. %s at %s", i+1, f.Class, f.Service)
		if len(f.Edges) > 0 {
			fmt.Fprintf(c.out, " (%s)", strings.Join(f.Edges, ", "))
		}
		if len(f.Routes) > 0 {
			fmt.Fprintf(c.out, ", on %s", strings.Join(f.Routes, ", "))
		}
		fmt.Fprintln(c.out)
		for _, e := range f.Evidence {
			fmt.Fprintf(c.out, "   - %s\n", e)
		}
		if f.Class == plan.ClassBound {
			fmt.Fprintf(c.out, "   %s.\n", f.Remedy)
			continue
		}
		fmt.Fprintf(c.out, "   %s: saves %s of %s in each request (%s).\n", f.Remedy, duration(f.Gain), duration(f.Mean), f.By)
	}
}
