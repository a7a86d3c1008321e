package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/app/topview"
	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/orchestrate"
)

// statusAnswer is what 'banyan status --json' prints.
type statusAnswer struct {
	Info     control.Info                `json:"info"`
	Status   observe.Status              `json:"status"`
	Replicas []orchestrate.ServiceStatus `json:"replicas"`
	Events   []orchestrate.Event         `json:"events"`
	Caches   []control.CacheStatus       `json:"caches"`
}

func (c *cli) status() *cobra.Command {
	var window time.Duration
	var events bool
	cmd := &cobra.Command{
		Use:     "status",
		GroupID: "run",
		Short:   "Show the running system: replicas, rates, latencies, CPU, memory",
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, info, err := c.running(cmd.Context())
			if err != nil {
				return err
			}
			a := statusAnswer{Info: info}
			if a.Status, err = client.Status(cmd.Context(), window); err != nil {
				return err
			}
			if a.Replicas, err = client.Replicas(cmd.Context()); err != nil {
				return err
			}
			if a.Events, err = client.Events(cmd.Context()); err != nil {
				return err
			}
			if a.Caches, err = client.Caches(cmd.Context()); err != nil {
				return err
			}
			if c.json {
				return writeJSON(c.out, a)
			}
			c.printStatus(a, events)
			c.noteChanged(info)
			return nil
		},
	}
	cmd.Flags().DurationVar(&window, "window", 10*time.Second, "over which rates and latencies are taken")
	cmd.Flags().BoolVar(&events, "events", false, "show the latest events too")
	return cmd
}

func (c *cli) printStatus(a statusAnswer, events bool) {
	fmt.Fprintf(c.out, "%s: %s on http://%s since %s (pid %d)\n\n", a.Info.System, a.Info.State, a.Info.Address,
		a.Info.Since.Format(time.DateTime), a.Info.PID)
	fmt.Fprintln(c.out, strings.TrimRight(topview.RenderTable(a.Status), "\n"))
	c.printCaches(a.Caches)
	for _, s := range a.Replicas {
		if s.LimitsAdvisory != "" {
			fmt.Fprintf(c.out, "\n%s: limits are advisory: %s\n", s.Service, s.LimitsAdvisory)
		}
	}
	if events {
		fmt.Fprintln(c.out)
		for _, e := range a.Events {
			fmt.Fprintln(c.out, strings.TrimRight(fmt.Sprintf("%s  %-12s %s  %s", e.Time.Format(time.TimeOnly), firstOf(e.Replica, e.Service), e.What, e.Why), " "))
		}
	}
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
