package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/app/topview"
	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/gateway/peerlink"
	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/orchestrate"
	"github.com/banyanhq/banyan/policy"
)

// statusAnswer is what 'banyan status --json' prints.
type statusAnswer struct {
	Info     control.Info                `json:"info"`
	Status   observe.Status              `json:"status"`
	Replicas []orchestrate.ServiceStatus `json:"replicas"`
	Events   []orchestrate.Event         `json:"events"`
	Caches   []control.CacheStatus       `json:"caches"`
	Stores   []control.CacheServerStatus `json:"cache_servers"`
	Canaries []control.CanaryStatus      `json:"canaries"`
	Gateways []peerlink.Peer             `json:"gateways"`
	// Connections of clients over HTTP, by listener of the gateway.
	Connections []gateway.ConnectionStats `json:"connections"`
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
			if a.Stores, err = client.CacheServers(cmd.Context()); err != nil {
				return err
			}
			if a.Canaries, err = client.Canaries(cmd.Context()); err != nil {
				return err
			}
			if a.Gateways, err = client.Gateways(cmd.Context()); err != nil {
				return err
			}
			if a.Connections, err = client.Connections(cmd.Context()); err != nil {
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
	if a.Info.Monitor != "" {
		fmt.Fprintf(c.out, "Prometheus's API on %s\n\n", a.Info.Monitor)
	}
	fmt.Fprintln(c.out, strings.TrimRight(topview.RenderTable(a.Status), "\n"))
	c.printCaches(a.Caches)
	fmt.Fprint(c.out, cacheNodesTable(a.Stores))
	c.printCanaries(a.Canaries)
	c.printGateways(a.Gateways)
	c.printConnections(a.Connections)
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

// printCanaries shows where canaries stand, and why.
func (c *cli) printCanaries(all []control.CanaryStatus) {
	if len(all) == 0 {
		return
	}
	t := table{gap: true, head: []string{"CANARY", "OF", "STATE", "SHARE", "STEP", "REQUESTS", "FAILED", "P95", "VERDICT"}}
	for _, s := range all {
		arm := func(a policy.CanaryArm) []string {
			return []string{fmt.Sprint(a.Requests), fmt.Sprint(a.Failures), a.P95.Round(10 * time.Microsecond).String()}
		}
		t.row(append([]string{s.Service, s.Route, s.State, fmt.Sprintf("%.3g%%", 100*s.Share), fmt.Sprintf("%d of %d", s.Step, s.Steps)},
			append(arm(s.Newcomer), s.Verdict)...)...)
		t.row(append([]string{s.Against, s.Route, "", fmt.Sprintf("%.3g%%", 100-100*s.Share), ""}, append(arm(s.Baseline), "")...)...)
	}
	t.write(c.out)
	for _, s := range all {
		if s.Reason != "" {
			fmt.Fprintf(c.out, "%s: %s\n", s.Service, s.Reason)
		}
	}
}

// printGateways shows how it stands with the other gateways of the system.
func (c *cli) printGateways(all []peerlink.Peer) {
	if len(all) == 0 {
		return
	}
	t := table{gap: true, head: []string{"GATEWAY", "HEARS OF THIS ONE", "HEARD", "ERROR"}}
	for _, p := range all {
		hears, heard := "no", "no"
		switch {
		case p.Self:
			hears, heard = "this one", ""
		default:
			if p.Hears {
				hears = "yes"
			}
			if p.Reports {
				heard = fmt.Sprintf("%v ago", p.Silent.Round(time.Millisecond))
			}
		}
		t.row(p.Address, hears, heard, p.Error)
	}
	t.write(c.out)
}

// printConnections shows the listeners at which not all clients got in, or those that were there had to leave.
func (c *cli) printConnections(all []gateway.ConnectionStats) {
	t := table{gap: true, head: []string{"LISTENER", "CONNECTIONS", "MAX", "REFUSED", "DENIED", "CLOSED FOR OTHERS", "ACCEPT FAILED"}}
	for _, l := range all {
		if l.Refused+l.Denied+l.Closed+l.Failed == 0 {
			continue
		}
		limit := "-"
		if l.Max > 0 {
			limit = fmt.Sprint(l.Max)
		}
		t.row(l.Listener, fmt.Sprint(l.Open), limit, fmt.Sprint(l.Refused), fmt.Sprint(l.Denied), fmt.Sprint(l.Closed), fmt.Sprint(l.Failed))
	}
	if len(t.rows) > 0 {
		t.write(c.out)
	}
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
